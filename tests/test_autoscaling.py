"""A study on a cluster that starts nodes for waiting trials, and ends idle nodes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from conftest import Job, command_line, reports_of, rows_of, unpruned_study, wait_for
from ray_nodes import RayNodes, ray_nodes

pytestmark = pytest.mark.slow

MOST, TRIALS = 2, 4  # the cluster's largest number of workers; trials of the study
HEAD = "f" * 51 + "00000"  # Ray's stand-in for a cloud expects this id of the head


@contextmanager
def growing(folder: Path, autoscaler: str) -> Iterator[RayNodes]:
    """Start a head that runs no trials, and a cloud that adds nodes with one CPU when trials wait.

    The cloud is the one that Ray has for tests: each node is a raylet on this machine.

    Args:
        folder: folder for the cluster's files.
        autoscaler: v2 (`ray up` and KubeRay use it) or v1 (`ray start --autoscaling-config`).
    """
    settings = {
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": str(int(autoscaler == "v2")),
        "RAY_CLOUD_INSTANCE_ID": HEAD,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
    }
    with ray_nodes(folder, **settings) as nodes:
        (folder / "cluster.yaml").write_text(yaml.dump(configuration(nodes.address)))
        nodes.head(num_cpus=0, autoscaling_config=str(folder / "cluster.yaml"))
        wait_for(lambda: "Node status" in status(nodes))  # the autoscaler looks at the cluster
        yield nodes


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNodes]:
    with growing(tmp_path_factory.mktemp("growing"), "v2") as nodes:
        yield nodes


def configuration(address: str) -> dict[str, object]:
    """Return the file for `ray start --autoscaling-config`; idle nodes end after 3 seconds."""
    steps = ("setup", "head_setup", "worker_setup", "initialization", "head_start_ray")
    return {
        **{f"{step}_commands": [] for step in (*steps, "worker_start_ray")},
        "auth": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "cluster_name": "growing",
        "max_workers": MOST,
        "idle_timeout_minutes": 0.05,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": address,
            "head_node_id": HEAD,
            "launch_multiple": True,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {
                "resources": {"CPU": 1, "object_store_memory": 100_000_000},
                "node_config": {},
                "max_workers": MOST,
            },
        },
    }


def status(nodes: RayNodes) -> str:
    """Return the output of `ray status`."""
    code = "from ray.scripts.scripts import cli; cli()"
    return subprocess.run(
        [sys.executable, "-c", code, "status", "--address", nodes.address],
        env=os.environ | nodes.environment, capture_output=True, text=True, timeout=60,
    ).stdout  # fmt: skip


@pytest.fixture
def study_file(tmp_path: Path, blobs: Path) -> Path:
    """Write a study without pruning, whose trials take some seconds each."""
    path = tmp_path / "four.toml"
    return unpruned_study(path, blobs, TRIALS, epochs=60, training="batch_size = 4")


def run(nodes: RayNodes, *arguments: object) -> list[int]:
    """Run a study to its end. Returns the number of the cluster's workers at each change."""
    driver = subprocess.Popen(
        command_line("tune", *arguments, "--address", nodes.address),
        env=os.environ | nodes.environment, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    seen, end = [len(nodes.nodes()) - 1], time.monotonic() + 120
    try:
        while driver.poll() is None:
            assert time.monotonic() < end
            count = len(nodes.nodes()) - 1
            if count != seen[-1]:
                seen.append(count)
            time.sleep(0.1)
    finally:
        driver.kill()
        driver.wait()
    assert driver.returncode == 0
    return seen


def test_nodes_come_for_trials_that_wait_and_go_when_idle(
    cluster: RayNodes, study_file: Path, tmp_path: Path
) -> None:
    """Each node has room for one trial, so trials that run at the same time use several nodes."""
    out = tmp_path / "run"
    seen = run(cluster, study_file, "--out", out)
    assert seen[0] == 0
    assert max(seen) == MOST
    assert [row["status"] for row in rows_of(out)] == ["done"] * TRIALS
    workers = {row["worker"] for row in rows_of(out)}
    assert len(workers) == MOST
    spans = [[r for r in reports_of(out) if r["worker"] == worker] for worker in workers]
    all_begun = max(min(r["started_at"] for r in span) for span in spans)
    assert all(all_begun < max(r["reported_at"] for r in span) for span in spans)
    wait_for(lambda: len(cluster.nodes()) == 1)


def test_a_trial_that_no_type_of_node_holds_is_refused(
    cluster: RayNodes, job: Job, study_file: Path, tmp_path: Path
) -> None:
    done = job(
        "tune", study_file, "--address", cluster.address, "--out", tmp_path / "run", "--gpus", 1,
        env=os.environ | cluster.environment,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        "error: a trial must fit on one node. Given: 1 CPUs, 1 GPUs; nodes: 0 CPUs, 0 GPUs; the "
        "cluster cannot start a larger node; lower --cpus or --gpus\n"
    )
    assert not (tmp_path / "run").exists()


def test_a_search_that_learns_needs_a_bound(
    cluster: RayNodes, job: Job, study_file: Path, tmp_path: Path
) -> None:
    done = job(
        "tune", study_file, "--address", cluster.address, "--out", tmp_path / "run",
        "--search", "tpe", env=os.environ | cluster.environment,
    )  # fmt: skip
    assert done.returncode == 2
    assert "tpe learns from trials that have ended" in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_earlier_autoscaler_is_asked_for_no_more_than_the_concurrency(
    study_file: Path, tmp_path: Path
) -> None:
    with growing(tmp_path, "v1") as nodes:
        out = tmp_path / "run"
        seen = run(nodes, study_file, "--out", out, "--concurrency", 1, "--epochs", 5)
        assert seen[:2] == [0, 1]
        assert max(seen) == 1
        assert [row["status"] for row in rows_of(out)] == ["done"] * TRIALS
        assert len({row["worker"] for row in rows_of(out)}) == 1
        wait_for(lambda: len(nodes.nodes()) == 1)
