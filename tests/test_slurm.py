"""Studies as jobs of a real Slurm, which the tests start with two nodes on this machine."""

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import ROOT, reports_of, rows_of, unpruned_study, wait_for

TRIALS, EPOCHS = 5, 120
TOO_WIDE = "[2000000000, 2000000000]"  # no machine has the memory for their weights
DAEMONS = {n: shutil.which(n, path="/usr/sbin:/usr/bin") for n in ("munged", "slurmctld", "slurmd")}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(DAEMONS.values()),
        reason="needs Debian's packages slurm-wlm and munge, and root, as whom Slurm's daemons run",
    ),
]


@dataclass(frozen=True)
class SlurmJob:
    """A job, and the folder from which it was submitted."""

    number: int
    folder: Path

    @property
    def log(self) -> str:
        return (self.folder / f"{self.number}.log").read_text()

    @property
    def private(self) -> list[Path]:
        """Return the folder with the job's token; there is none after the job's end."""
        return list(self.folder.glob(f".ffnet-{self.number}-*"))

    def field(self, name: str) -> str:
        shown = command("scontrol", "--oneliner", "show", "job", self.number)
        return shown.partition(f" {name}=")[2].split()[0]

    def end(self) -> tuple[str, str]:
        """Wait for the job's end, check that nothing is left, and return state and exit code."""
        ends = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        wait_for(lambda: self.field("JobState") in ends, seconds=300)
        wait_for(lambda: not self.processes(), seconds=10)
        assert not self.private
        assert not list(Path("/tmp").glob(f"ffnet-{self.number}-*"))
        return self.field("JobState"), self.field("ExitCode")

    def processes(self) -> list[Path]:
        """Return the processes with the job's number or token in their environment."""
        words = (f"SLURM_JOB_ID={self.number}\0", f"/.ffnet-{self.number}-")
        found = (p for p in Path("/proc").glob("[0-9]*") if str(self.folder) in read(p / "environ"))
        return [p for p in found if any(word in read(p / "environ") for word in words)]


def read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # a process that has ended
        return ""


def command(*words: object, **options: object) -> str:
    done = subprocess.run(  # type: ignore[call-overload]
        [*map(str, words)], capture_output=True, text=True, timeout=30, **options
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def running(folder: Path, name: str, *arguments: object) -> Iterator[None]:
    """A context manager: a daemon runs in the foreground until the block ends."""
    log = folder / f"{name}{arguments[-1] if name == 'slurmd' else ''}.log"
    with log.open("w") as file:
        words = [str(DAEMONS[name]), *map(str, arguments)]
        daemon = subprocess.Popen(words, stdout=file, stderr=file)
        try:
            yield
        finally:
            daemon.terminate()
            daemon.wait(timeout=20)


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    """Start Slurm with nodes n1 and n2 of two CPUs each, on free ports and in a new folder.

    Slurm tracks processes by their parents, because a container cannot use cgroups. It checks jobs
    every second, not every minute.
    """
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    controller, *nodes = free_ports(3)
    host = platform.node().partition(".")[0]
    config = folder / "slurm.conf"
    config.write_text(
        f"""
ClusterName=ffnet
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdSpoolDir={folder}/spool-%n
SlurmdPidFile={folder}/%n.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,batch_sched_delay=1
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={nodes[0]} CPUs=2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={nodes[1]} CPUs=2
PartitionName=main Nodes=ALL Default=YES
"""
    )
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))
    munge = ["--foreground", "--force", "--key-file", key]
    for option in ("socket", "pid-file", "log-file", "seed-file"):
        munge += [f"--{option}", folder / f"munge.{option.removesuffix('-file')}"]
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("SLURM_CONF", str(config))
        stack.callback(shutil.rmtree, folder)
        stack.enter_context(running(folder, "munged", *munge))
        wait_for((folder / "munge.socket").exists)
        stack.enter_context(running(folder, "slurmctld", "-D", "-f", config))
        for node in ("n1", "n2"):
            stack.enter_context(running(folder, "slurmd", "-D", "-f", config, "-N", node))
        wait_for(lambda: command("sinfo", "--noheader", "--format=%D %t").split() == ["2", "idle"])
        yield
        command("scancel", "--me")
        wait_for(lambda: not command("squeue", "--noheader"))


@pytest.fixture
def folder(slurm: None, tmp_path: Path) -> Path:
    """Make a folder to submit from, with ffnet's jobs and environment."""
    (tmp_path / "jobs").symlink_to(ROOT / "jobs")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


def submit(folder: Path, options: str, *arguments: object) -> SlurmJob:
    number = command(
        "sbatch", "--parsable", "--output=%j.log", *options.split(), ROOT / "cluster/slurm.sbatch",
        *arguments, cwd=folder,
    )  # fmt: skip
    return SlurmJob(int(number), folder)


def statuses(out: Path) -> Counter[str]:
    return Counter(row["status"] for row in rows_of(out))


@pytest.fixture
def study(folder: Path, blobs: Path) -> Path:
    """Write a study without pruning, so that every trial's epochs are known."""
    return unpruned_study(folder / "five.toml", blobs, TRIALS, EPOCHS)


def test_a_job_of_two_nodes_runs_trials_on_both(folder: Path) -> None:
    out = folder / "run"
    digits = "jobs/studies/digits.toml"
    job = submit(folder, "--nodes=2", digits, "--out", "run", "--trials", 8, "--epochs", 10)
    assert job.end() == ("COMPLETED", "0:0"), job.log
    assert sorted(row["trial"] for row in rows_of(out)) == list(range(8))
    assert set(statuses(out)) <= {"done", "pruned"}
    assert len({row["node"] for row in rows_of(out)}) == 2
    assert "8 trials: " in job.log
    assert "error" not in job.log


def test_a_signal_requeues_the_job_and_no_trial_runs_twice(folder: Path, study: Path) -> None:
    out = folder / "run"
    job = submit(folder, "--cpus-per-task=2", study, "--out", out)
    wait_for(lambda: statuses(out)["done"] >= 2, seconds=300)
    command("scancel", "--batch", "--signal=USR1", job.number)
    wait_for(lambda: job.field("Restarts") == "1", seconds=300)
    before = rows_of(out)
    assert not job.private
    ended = [row for row in before if row["status"] == "done"]
    assert 2 <= len(ended) < TRIALS
    assert job.end() == ("COMPLETED", "0:0"), job.log
    after = {row["trial"]: row for row in rows_of(out)}
    assert sorted(row["trial"] for row in rows_of(out)) == list(range(TRIALS))
    assert statuses(out) == {"done": TRIALS}
    assert all(after[row["trial"]] == row for row in ended)
    epochs = Counter((row["trial"], row["epoch"]) for row in reports_of(out))
    assert epochs == Counter({(t, e): 1 for t in range(TRIALS) for e in range(1, EPOCHS + 1)})
    for row in before:
        if row["status"] == "stopped":  # went on where it was
            own = sorted(
                (r["epoch"], r["worker"]) for r in reports_of(out) if r["trial"] == row["trial"]
            )
            old = [worker == row["worker"] for _, worker in own]
            assert old == sorted(old, reverse=True)
            assert row["epochs"] <= sum(old) < EPOCHS


def ray_status(job: SlurmJob, environment: dict[str, str]) -> str:
    """Return what the job's Ray answers a process with this environment."""
    lines = (read(process / "cmdline").split("\0") for process in job.processes())
    driver = next(line for line in lines if "jobs/tune.py" in line)
    done = subprocess.run(
        [Path(sys.executable).with_name("ray"), "status", "--address", driver[-2]],
        env=os.environ | environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_jobs_that_share_a_node_fail_and_are_cancelled_alone(folder: Path, study: Path) -> None:
    long = submit(folder, "--nodelist=n1", study, "--out", folder / "long", "--epochs", 100_000)
    bad = submit(folder, "--nodelist=n1", study, "--out", "bad", "--hidden-sizes", TOO_WIDE)
    wait_for(lambda: statuses(folder / "long")["running"], seconds=300)
    token = long.private[0] / "token"
    assert long.private[0].stat().st_mode & 0o777 == 0o700
    assert token.stat().st_mode & 0o777 == 0o600
    for process in long.processes():
        assert token.read_text() not in read(process / "environ") + read(process / "cmdline")
    for other in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}):
        assert "InvalidAuthToken" in ray_status(long, other)
    assert bad.end() == ("FAILED", "1:0"), bad.log
    assert statuses(folder / "bad") == {"failed": TRIALS}
    assert long.field("JobState") == "RUNNING"
    command("scancel", long.number)
    assert long.end()[0] == "CANCELLED"
