"""A run's folder that a node does not see, because it has another file system in its place."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Job, wait_for
from ray_nodes import RayNodes, ray_nodes

APART = 'mount -t tmpfs none "$0" && exec "$@"'  # in a new mount namespace


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder in whose place the second node sees another file system."""
    return tmp_path_factory.mktemp("unshared")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[RayNodes]:
    unshare = ["unshare", "--mount", "sh", "-c", APART, str(folder)]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("needs the right to mount a file system in a namespace (unshare --mount)")
    with ray_nodes(tmp_path_factory.mktemp("token")) as cluster:
        cluster.head(num_cpus=1)
        node = [
            "start", "--block", "--address", cluster.address, "--num-cpus=1",
            "--dashboard-agent-listen-port=0", "--min-worker-port=0", "--max-worker-port=0",
        ]  # fmt: skip
        with subprocess.Popen(
            [*unshare, str(Path(sys.executable).with_name("ray")), *node],
            env=os.environ | cluster.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as second:
            try:
                wait_for(lambda: len(cluster.nodes()) == 2)
                yield cluster
            finally:
                second.terminate()


@pytest.mark.slow
def test_it_is_refused_before_the_first_trial(
    cluster: RayNodes, folder: Path, small_study: Path, job: Job
) -> None:
    place, environment = folder / "run", os.environ | cluster.environment
    flags = ["--address", cluster.address, "--out", place]
    done = job("tune", small_study, *flags, env=environment)
    assert done.returncode == 2
    assert "every node must see the results folder. Given" in done.stderr
    assert done.stderr.count("No such file or directory") == 1  # from the other node only
    assert len(done.stderr.splitlines()) == 1
    assert not place.exists()


@pytest.mark.slow
def test_a_folder_that_both_see_is_not(
    cluster: RayNodes, tmp_path: Path, small_study: Path, job: Job
) -> None:
    flags = ["--address", cluster.address, "--out", tmp_path / "run", "--trials", 1]
    done = job("tune", small_study, *flags, env=os.environ | cluster.environment)
    assert done.returncode == 0, done.stderr


def test_a_head_that_does_not_answer_for_long_ends_the_driver_with_its_reason() -> None:
    code = """
import socket, time
from ffnet.ray_cluster import cluster
cluster.LOOK_SECONDS, cluster.HEAD_SECONDS = 0.05, 0.5
head = socket.create_server(("127.0.0.1", 0))
address = f"127.0.0.1:{head.getsockname()[1]}"
say = lambda reason: print(reason, flush=True)
with cluster.watched(lambda ends: cluster._watch_head(address, say, ends)):
    time.sleep(1.5)
    print("it answers", flush=True)
    head.close()
    time.sleep(60)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    first, second = done.stdout.splitlines()
    assert first == "it answers"
    assert second.startswith("the cluster's head, 127.0.0.1:")
