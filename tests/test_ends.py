"""A study stops cleanly: after any signal at any moment, without a reader, without a terminal."""

import contextlib
import fcntl
import os
import pty
import shutil
import signal
import subprocess
import tempfile
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import RunningRay, command_line, rows_of, unpruned_study, wait_for
from ffnet.ray_cluster.private_ray import RAY_DIED
from ffnet.run.folder import RunFolder
from ffnet.run.hold import held
from ffnet.system import output

Driver = subprocess.Popen[str]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a folder for temporary folders; it must be empty after the test."""
    path = Path(tempfile.mkdtemp(prefix="ffe-", dir="/tmp"))
    monkeypatch.setenv("RAY_TMPDIR", str(path))
    monkeypatch.setenv("TMPDIR", str(path))
    yield path
    try:
        wait_for(lambda: not list(path.iterdir()), seconds=20)
        assert processes_of(path) == []
    finally:
        for pid in processes_of(path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        shutil.rmtree(path)


def processes_of(place: Path) -> list[str]:
    """Return the processes whose environment or open files name this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            told = (process / "environ").read_text(errors="replace").split("\0")
            opened = [file.readlink() for file in (process / "fd").iterdir()]
            named = any(line.startswith(f"FFNET_SCRATCH={place}/") for line in told)
            if named or any(place in path.parents for path in opened):
                found.append(process.name)
    return found


@pytest.fixture
def long_study(tmp_path: Path, blobs: Path) -> Path:
    """Write a study that does not end by itself."""
    return unpruned_study(tmp_path / "long.toml", blobs, trials=50, epochs=2000)


def command_of(study: Path, out: Path, *flags: object) -> list[str]:
    """Return the command of a study with one trial at a time: so one process needs TensorFlow."""
    return command_line("tune", study, "--out", out, "--concurrency", 1, *flags)


def start(study: Path, out: Path, *flags: object, **options: Any) -> Driver:
    """Start a study as a process."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen(command_of(study, out, *flags), **options)


def shell(study: Path, out: Path, script: str) -> Driver:
    """Start a study by a line of shell that ends in `"$@"`."""
    return subprocess.Popen(["sh", "-c", script, "sh", *command_of(study, out)], text=True)


def trains(out: Path) -> bool:
    """Whether a trial has reported."""
    return any(row["epochs"] for row in rows_of(out))


def reach(moment: Callable[[Path], bool], driver: Driver, out: Path) -> None:
    """Wait for a moment of a study; fail with its errors if it ends before."""
    wait_for(lambda: moment(out) or driver.poll() is not None)
    assert moment(out), driver.communicate()


# --- output --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_reader_that_leaves_does_not_end_the_study(
    running_ray: RunningRay, small_study: Path, tmp_path: Path
) -> None:
    environment = os.environ | running_ray.environment
    address = "--address", running_ray.address
    driver = start(small_study, tmp_path / "run", *address, env=environment)
    assert driver.stdout
    assert driver.stderr
    assert driver.stdout.readline().startswith("blobs")
    driver.stdout.close()
    driver.stderr.close()
    wait_for(lambda: [row for row in rows_of(tmp_path / "run") if row.get("ended_at")])
    assert driver.wait(timeout=120) == 0
    assert len(rows_of(tmp_path / "run")) == 6


@pytest.mark.slow
def test_a_study_needs_no_output_and_an_ignored_signal_stays_ignored(
    place: Path, small_study: Path, tmp_path: Path
) -> None:
    driver = shell(small_study, tmp_path / "run", 'trap "" HUP; exec "$@" <&- >&- 2>&-')  # nohup
    reach(trains, driver, tmp_path / "run")
    driver.send_signal(signal.SIGHUP)
    assert driver.wait(timeout=120) == 0
    assert {row["status"] for row in rows_of(tmp_path / "run")} <= {"done", "pruned"}
    assert (tmp_path / "run" / "study.json").read_text().startswith("{")


@pytest.mark.slow
def test_a_terminal_that_goes_away_stops_the_study_in_order(
    place: Path, long_study: Path, tmp_path: Path
) -> None:
    terminal, inside = pty.openpty()
    driver = start(
        long_study, tmp_path / "run", stdin=inside, stdout=inside, stderr=inside,
        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(inside)
    reach(trains, driver, tmp_path / "run")
    os.close(terminal)
    assert driver.wait(timeout=60) == os.EX_TEMPFAIL
    rows = rows_of(tmp_path / "run")
    assert {row["status"] for row in rows} == {"stopped"}
    assert {row["reason"] for row in rows} == {"stopped by SIGHUP"}


def test_a_full_disk_takes_no_output_and_says_so_where_it_matters(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        raw = output._Forgiving(full, None, closefd=False)
        assert raw.write(b"progress") == 8
        raw = output._Forgiving(full, output.READER_LEFT, closefd=False)
        assert raw.write(b"a table") == 7
        assert "No space left" in str(raw.error)
    finally:
        os.close(full)


# --- signals -------------------------------------------------------------------------------------


def ray_starts(out: Path) -> bool:
    """Whether Ray's host runs, but no trial has begun."""
    return any(Path(os.environ["RAY_TMPDIR"]).glob("*/host"))


def begun(out: Path) -> bool:
    """Whether the study's folder exists; Ray starts later."""
    return (out / "study.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "sign", "times", "statuses"),
    [
        (begun, signal.SIGTERM, 1, {130}),
        (ray_starts, signal.SIGHUP, 1, {130}),
        (ray_starts, signal.SIGINT, 3, {130}),
        (trains, signal.SIGTERM, 2, {75, 130}),  # the kernel merges equal signals that wait
    ],
    ids=lambda value: getattr(value, "__name__", None) or getattr(value, "name", None),
)
def test_signals_at_any_moment(
    place: Path,
    long_study: Path,
    tmp_path: Path,
    moment: Any,
    sign: signal.Signals,
    times: int,
    statuses: set[int],
) -> None:
    out = tmp_path / "run"
    driver = start(long_study, out)
    reach(moment, driver, out)
    for _ in range(times):
        driver.send_signal(sign)
    _, errors = driver.communicate(timeout=60)
    assert errors == ""
    assert driver.returncode in statuses
    if moment is trains:
        rows = rows_of(out)
        assert rows
        if driver.returncode == os.EX_TEMPFAIL:
            assert {row["status"] for row in rows} == {"stopped"}
    elif times == 3 and out.exists():  # the third ended the process before it could tidy up
        with held(RunFolder.at(out)) as hold:
            hold.folder.begin()
    else:
        assert not out.exists()  # the study had not begun


def child(name: str) -> int:
    """Return the private Ray's process whose program has this name."""
    mark = f"FFNET_SCRATCH={os.environ['RAY_TMPDIR']}/".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            program = (process / "cmdline").read_bytes().split(b"\0")[:3]
            ours = mark in (process / "environ").read_bytes()
            if ours and any(word.endswith(f"/{name}".encode()) for word in program):
                return int(process.name)
    raise AssertionError(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gcs_server", "ray_host.py"])
def test_when_a_process_of_ray_is_killed_the_rows_are_written_and_a_line_says_so(
    name: str, place: Path, long_study: Path, tmp_path: Path
) -> None:
    driver = start(long_study, tmp_path / "run")
    reach(trains, driver, tmp_path / "run")
    os.kill(child(name), signal.SIGKILL)
    _, errors = driver.communicate(timeout=30)
    assert driver.returncode == 1
    assert errors.startswith("error: processes of Ray were killed, perhaps because memory ran out;")
    assert errors.endswith("go on with --resume\n")
    assert len(errors.splitlines()) == 1
    rows = rows_of(tmp_path / "run")
    assert {row["status"] for row in rows} == {"stopped"}
    assert {row["reason"] for row in rows} == {RAY_DIED}


@pytest.mark.slow
def test_a_signal_while_a_study_ends_changes_nothing(
    place: Path, small_study: Path, tmp_path: Path
) -> None:
    driver = start(small_study, tmp_path / "run")

    def ended() -> bool:
        rows = rows_of(tmp_path / "run")
        return len(rows) == 6 and all(row.get("ended_at") for row in rows)

    wait_for(ended)
    driver.send_signal(signal.SIGTERM)
    driver.send_signal(signal.SIGTERM)
    _, errors = driver.communicate(timeout=60)
    assert errors == ""
    assert driver.returncode in (0, os.EX_TEMPFAIL, 130)
    assert {row["status"] for row in rows_of(tmp_path / "run")} <= {"done", "pruned"}
