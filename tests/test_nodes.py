"""A study on three nodes loses a node: where trials ran, what was sent, what was repeated."""

import hashlib
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from conftest import Job, command_line, reports_of, rows_of, unpruned_study, wait_for
from ffnet.data.load import load
from ffnet.run.tables import Row
from ffnet.spec.sections import Data
from ray_nodes import ray_nodes

pytestmark = pytest.mark.slow

TRIALS, EPOCHS = 10, 60
EXAMPLES, FEATURES = 2_000, 500
CPUS = (1, 2, 1)
"""CPUs of the nodes. The study fills them, so two workers run on the second node, which is lost."""

QUICK = {  # a head hears of a lost node after a second and a half instead of fifteen
    "RAY_health_check_initial_delay_ms": "500",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "3",
}


@dataclass(frozen=True)
class Lived:
    """What happened in a study that lost a node.

    Attributes:
        out: the run's folder.
        printed: the driver's output.
        nodes: ids of the three nodes; the second was killed.
        workers: the workers of each node that were training when the second was killed.
        threads: the number of each worker's threads that run TensorFlow's operations.
        stored: bytes that each node's object store has taken in; for the second before it was
            killed.
        lost: rows of the trials that ran on the second node, as they were when it was killed.
        before: reports of these trials before another worker reported.
    """

    out: Path
    printed: str
    nodes: list[str]
    workers: list[set[int]]
    threads: list[int]
    stored: list[float]
    lost: list[Row]
    before: list[Row]


@pytest.fixture(scope="module")
def study_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a study with 4 MB of data, without pruning, so that every trial's epochs are known."""
    folder = tmp_path_factory.mktemp("wide")
    random = np.random.default_rng(0)
    y = np.arange(EXAMPLES) % 2
    x = random.normal(size=(EXAMPLES, FEATURES)) + y[:, None] * random.normal(size=FEATURES)
    np.savez(folder / "wide.npz", x=x.astype(np.float32), y=y)
    return unpruned_study(
        folder / "study.toml", folder / "wide.npz", TRIALS, EPOCHS,
        net="hidden_sizes = 8", training="batch_size = 4",
    )  # fmt: skip


@pytest.fixture(scope="module")
def lived(study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    """Run the study by its command line, and kill a node when all four workers have trained.

    A worker that has trained is stopped until all have, as a busy machine may start one long after
    another, and a trial takes only two seconds.
    """
    folder = tmp_path_factory.mktemp("lived")
    out = folder / "run"
    with ray_nodes(folder, **QUICK) as cluster:
        ids = [cluster.head(num_cpus=CPUS[0])] + [cluster.add(num_cpus=cpus) for cpus in CPUS[1:]]
        driver = subprocess.Popen(
            command_line("tune", study_file, "--address", cluster.address, "--out", out),
            env=os.environ | cluster.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        try:
            workers: list[set[int]] = [set() for _ in ids]
            wait_for(lambda: all_have_trained(out, ids, workers, driver), seconds=240)
            send(signal.SIGCONT, set().union(*workers))
            threads = [tensorflow_threads(pid) for pid in sorted(set().union(*workers))]
            stored = [cluster.nodes()[node]["stored"] for node in ids]
            cluster.kill(ids[1])
            lost = [row for row in training(out) if row["worker"] in workers[1]]
            before, reports = [], of(lost, reports_of(out))
            while {report["worker"] for report in reports} <= workers[1]:
                before, reports = reports, of(lost, reports_of(out))
                assert driver.poll() is None
                time.sleep(0.1)
            printed, errors = driver.communicate(timeout=300)
        finally:
            driver.kill()
            driver.communicate()
        assert driver.returncode == 0, errors
        for at in (0, 2):
            stored[at] = cluster.nodes()[ids[at]]["stored"]
        yield Lived(out, printed, ids, workers, threads, stored, lost, before)


def training(out: Path) -> list[Row]:
    """Return the trials that run and have reported."""
    return [row for row in rows_of(out) if row["status"] == "running" and row["node"]]


def all_have_trained(
    out: Path, nodes: list[str], workers: list[set[int]], driver: subprocess.Popen[str]
) -> bool:
    """Whether the workers of all nodes have trained. They are stopped, and added to `workers`.

    Only a worker in the first third of a trial is stopped, so that the trial is not about to end.
    """
    assert driver.poll() is None, driver.communicate()
    begun = [row for row in training(out) if row["epochs"] <= EPOCHS / 3]
    for node, seen in zip(nodes, workers, strict=True):
        new = {row["worker"] for row in begun if is_on(row, node)} - seen
        send(signal.SIGSTOP, new)
        seen |= new
    return [len(seen) for seen in workers] == list(CPUS)


def send(number: signal.Signals, workers: set[int]) -> None:
    for worker in workers:
        os.kill(worker, number)


def tensorflow_threads(process: int) -> int:
    """Return the number of a process's threads in TensorFlow's inter-op pool."""
    names = (path.read_text() for path in Path(f"/proc/{process}/task").glob("*/comm"))
    return sum(name.strip() == "tf_Compute" for name in names)


def is_on(row: Row, node: str) -> bool:
    return str(row["node"]).endswith(f":{node[:8]}")


def of(trials: list[Row], reports: list[Row]) -> list[Row]:
    numbers = {row["trial"] for row in trials}
    return [report for report in reports if report["trial"] in numbers]


def test_trials_run_on_all_three_nodes(lived: Lived) -> None:
    assert [len(workers) for workers in lived.workers] == list(CPUS)
    reported = {report["worker"] for report in reports_of(lived.out)}
    assert all(workers <= reported for workers in lived.workers)


def test_a_worker_has_as_many_threads_as_its_trial_has_cpus(lived: Lived) -> None:
    assert lived.threads == [1] * sum(CPUS)


def test_the_data_set_is_sent_to_each_node_once(lived: Lived, study_file: Path) -> None:
    """Each raylet counts the bytes that its object store has ever taken in.

    On the head these are the driver's copy; on the second node two workers share a copy. All other
    objects, for example the study, are small beside the data.
    """
    data = load(Data(dataset=str(study_file.with_name("wide.npz")))).without_test()
    size = sum(part.x.nbytes + part.y.nbytes for part in (data.train, data.validation))
    for stored in lived.stored:
        assert size <= stored < 1.5 * size


def test_every_trial_is_accounted_for_though_a_node_was_lost(lived: Lived) -> None:
    rows = rows_of(lived.out)
    assert sorted(row["trial"] for row in rows) == list(range(TRIALS))
    assert {row["status"] for row in rows} == {"done"}
    assert f"{TRIALS} trials: {TRIALS} done" in lived.printed
    epochs = Counter((report["trial"], report["epoch"]) for report in reports_of(lived.out))
    assert epochs == Counter({(t, e): 1 for t in range(TRIALS) for e in range(1, EPOCHS + 1)})


def test_trials_lost_with_a_node_go_on_where_they_were(lived: Lived) -> None:
    """If an epoch is trained again, the table has the worker that trained it last.

    The test counts reports from before the loss that another worker has replaced. There must be
    none: only the epoch that was being trained is trained again, and it had no report yet.
    """
    assert len(lived.lost) == CPUS[1]
    for row in of(lived.lost, rows_of(lived.out)):
        assert is_on(row, lived.nodes[0]) or is_on(row, lived.nodes[2])
    after = {(r["trial"], r["epoch"]): r["worker"] for r in of(lived.lost, reports_of(lived.out))}
    for row in lived.lost:
        own = {r["epoch"]: r["worker"] for r in lived.before if r["trial"] == row["trial"]}
        assert set(own.values()) == {row["worker"]}
        again = [epoch for epoch, worker in own.items() if after[row["trial"], epoch] != worker]
        assert again == []
        assert 1 <= len(own) < EPOCHS
        assert after[row["trial"], EPOCHS] != row["worker"]


def test_another_process_reads_the_same_bytes_and_rows(lived: Lived, job: Job) -> None:
    files = sorted(path for path in lived.out.rglob("*") if path.is_file())
    assert {lived.out / "trials.parquet", lived.out / "epochs.parquet"} < set(files)
    done = subprocess.run(["sha256sum", *files], capture_output=True, text=True, check=True)
    own = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}" for path in files]
    assert done.stdout.splitlines() == own
    printed = job("table", lived.out, "--columns", "all", "--sort", "trial", "--format", "json")
    assert printed.returncode == 0, printed.stderr
    rows = sorted(rows_of(lived.out), key=lambda row: int(row["trial"]))
    assert json.loads(printed.stdout) == json.loads(json.dumps(rows, default=str))
