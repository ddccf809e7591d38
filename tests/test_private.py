"""A private Ray is private: its sockets, files and processes, while a study runs."""

import os
import re
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from conftest import Job, command_line, rows_of, token_of, unpruned_study, wait_for
from ffnet.errors import InputError, RunError
from ffnet.ray_cluster.private_host import Host
from ffnet.system import scratch
from sockets import in_reach_of_others, listening, open_files, sessions

HOSTILE = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_AUTH_TOKEN": "1234",
    "RAY_GCS_SERVER_PORT": "1",
    "RAY_REDIS_ADDRESS": "127.0.0.1:1",
    "RAY_USE_TLS": "1",
    "http_proxy": "http://127.0.0.1:1",
    "https_proxy": "http://127.0.0.1:1",
    "OMP_NUM_THREADS": "7",
}
"""Variables that a user may have set for other programs and other clusters."""


class Running(NamedTuple):
    """A running study.

    Attributes:
        driver: the driver's process.
        folder: the private Ray's folder.
        out: the run's folder.
    """

    driver: subprocess.Popen[str]
    folder: Path
    out: Path

    def processes(self) -> list[int]:
        """Return the driver, and all processes of the session of its Ray."""
        host = int((self.folder / "host").read_text())
        return [self.driver.pid, *sessions(host)]


@pytest.fixture(scope="module")
def running(blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Start a long study with variables meant for other programs, and with umask 0."""
    folder = tmp_path_factory.mktemp("private")
    study = unpruned_study(folder / "long.toml", blobs, trials=50, epochs=2000)
    driver = subprocess.Popen(
        command_line("tune", study, "--out", folder / "run", "--concurrency", 1),
        env=os.environ | HOSTILE,
        umask=0,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    token = wait_for(lambda: token_of(driver.pid))
    wait_for(lambda: any(row["epochs"] for row in rows_of(folder / "run")))
    yield Running(driver, token.parent, folder / "run")
    driver.kill()
    driver.communicate()


@pytest.mark.slow
def test_every_socket_of_a_study_listens_on_loopback(running: Running) -> None:
    # Sockets of the head, the raylet, the agents, the driver and a worker.
    wait_for(lambda: len(listening(running.processes())) > 8, seconds=30)
    assert in_reach_of_others(running.processes()) == []


@pytest.mark.slow
def test_the_folder_of_a_study_is_closed_to_others(running: Running) -> None:
    folder = running.folder
    assert folder.stat().st_uid == os.geteuid()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("lock", "token", "host", "ray/store", "ray/raylet", "ray/session/logs/raylet.out"):
        assert (folder / name).lstat().st_mode & 0o077 == 0, name
    if os.geteuid() == 0:
        look = (
            "import pathlib, socket, sys; f = pathlib.Path(sys.argv[1])\n"
            "for act in (lambda: list(f.iterdir()), (f / 'token').read_text,\n"
            "            lambda: socket.socket(socket.AF_UNIX).connect(f'{f}/ray/store')):\n"
            "    try: act(); print('open')\n"
            "    except PermissionError: pass\n"
        )
        seen = subprocess.run(
            ["/usr/bin/env", "python3", "-c", look, str(folder)],
            user=65534, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "open" not in seen.stdout


@pytest.mark.slow
def test_all_that_a_study_writes_is_in_its_folder_or_in_the_run(running: Running) -> None:
    places = (running.folder, running.out, Path("/dev"), Path("/proc"))
    for pid in running.processes():
        for name in open_files(pid):
            path = Path(name)
            if not path.is_absolute() or any(place in path.parents for place in places):
                continue
            assert not os.access(path, os.W_OK) or not writes(pid, name), name
    shared_memory = [
        line
        for pid in running.processes()
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines()
        if "/dev/shm/" in line
    ]
    assert shared_memory
    assert all(line.endswith("(deleted)") for line in shared_memory)  # no one else can open it


def writes(pid: int, name: str) -> bool:
    """Whether a process has a file open for writing."""
    for file in Path(f"/proc/{pid}/fd").iterdir():
        if str(file.readlink()) == name:
            flags = re.search(r"flags:\t(\d+)", Path(f"/proc/{pid}/fdinfo/{file.name}").read_text())
            if flags and int(flags[1], 8) & (os.O_WRONLY | os.O_RDWR):
                return True
    return False


@pytest.mark.slow
def test_results_have_the_modes_that_the_user_wants(running: Running) -> None:
    checkpoint = wait_for(lambda: next(running.out.glob("checkpoints/*.npy"), None))
    assert stat.S_IMODE(checkpoint.stat().st_mode) == 0o666
    assert stat.S_IMODE((running.out / "trials.parquet").stat().st_mode) == 0o666


@pytest.mark.slow
def test_ray_is_out_of_reach_of_the_terminal_and_the_process_group(running: Running) -> None:
    driver, *rays = running.processes()
    assert rays
    assert os.getsid(driver) not in {os.getsid(pid) for pid in rays}


@pytest.mark.slow
def test_a_killed_driver_leaves_nothing(running: Running) -> None:  # the last of this study
    rays = running.processes()[1:]
    running.driver.kill()
    wait_for(lambda: not running.folder.exists(), seconds=60)
    wait_for(lambda: not any(map(alive, rays)), seconds=10)


# --- the folder without a Ray --------------------------------------------------------------------


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make an empty folder for temporary folders. Its path is short: Ray puts sockets below it."""
    with tempfile.TemporaryDirectory(prefix="ffp-", dir="/tmp") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


HOLD = """
import sys, subprocess, time
from ffnet.system import scratch
with scratch.folder() as folder:
    left = subprocess.Popen(
        ["sleep", "600"], env={"FFNET_SCRATCH": str(folder)}, stdout=subprocess.DEVNULL
    )
    print(folder, left.pid, flush=True)
    sys.stdin.read()
"""


def test_the_next_start_clears_what_a_killed_one_left_and_nothing_else(place: Path) -> None:
    holders = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    told = [holder.stdout.readline().split() for holder in holders if holder.stdout]
    (dead, its_child), (living, _) = [(Path(path), int(pid)) for path, pid in told]
    (place / "ffnet-other").mkdir()
    holders[0].kill()
    holders[0].communicate()
    assert dead.exists()
    os.kill(its_child, 0)
    with scratch.folder() as own:
        assert not dead.exists()
        wait_for(lambda: not alive(its_child))
        assert stat.S_IMODE(own.stat().st_mode) == 0o700
        assert {path.name for path in place.iterdir()} == {own.name, living.name, "ffnet-other"}
    holders[1].communicate("")
    assert [path.name for path in place.iterdir()] == ["ffnet-other"]


HOST = """
import sys
from ffnet.ray_cluster.private_host import Host
host = Host(1)
print(host.folder, host.process.pid, flush=True)
sys.stdin.read()
"""


def test_a_driver_that_is_killed_while_ray_starts_leaves_nothing(place: Path) -> None:
    """Ray starts while the driver reads its data: nobody has connected to it yet."""
    driver = subprocess.Popen(
        [sys.executable, "-c", HOST], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert driver.stdout
    folder, host = driver.stdout.readline().split()
    assert (Path(folder) / "token").exists()
    driver.kill()
    driver.communicate()
    wait_for(lambda: not Path(folder).exists(), seconds=60)
    wait_for(lambda: not alive(int(host)))


def test_a_study_whose_data_are_refused_leaves_no_ray(place: Path, call: Job) -> None:
    """Ray has begun to start by then."""
    made: list[Host] = []

    def host(cpus: int) -> Host:
        made.append(Host(cpus))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ffnet.cli.tune.Host", host)
        done = call("tune", "digits", "--dataset", place / "absent.csv")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert made[0].process.returncode is not None
    assert not list(place.iterdir())


def test_a_study_on_a_cluster_starts_no_ray_of_its_own(place: Path, call: Job) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ffnet.cli.tune.Host", lambda cpus: pytest.fail("it started"))
        done = call("tune", "digits", "--address", "127.0.0.1:1", "--dataset", place / "absent.csv")
    assert done.returncode == 2


def test_a_ray_that_cannot_start_is_an_error_with_its_reason(place: Path) -> None:
    with Host(1) as host:
        assert host.process.stdin
        host.process.kill()
        with pytest.raises(RunError, match=r"Ray did not start \(its host ended\)"):
            host.address()
    host.close()  # once more
    assert not list(place.iterdir())


def alive(pid: int) -> bool:
    """Whether a process runs and is not a zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_place_for_ray_that_will_not_do_is_refused_in_one_line(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = place / ("x" * 100)
    long.mkdir()
    for path, words in (
        (long, "RAY_TMPDIR must have at most 77 bytes"),
        (Path("/nowhere"), "RAY_TMPDIR must be a folder that can be written to"),
        (Path("/proc/self"), "RAY_TMPDIR must be a folder that can be written to"),
        (Path("/dev/null"), "RAY_TMPDIR must be a folder that can be written to"),
    ):
        monkeypatch.setenv("RAY_TMPDIR", str(path))
        with pytest.raises(InputError, match=words):
            scratch.base()
