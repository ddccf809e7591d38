"""Each run has one driver: a live driver keeps others out, a dead driver's run is taken over."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from conftest import Job, wait_for
from ffnet.errors import InputError, RunError
from ffnet.run import hold, storage
from ffnet.run.folder import HOLD, RunFolder
from ffnet.run.hold import Driver, Hold, driver_of, held
from ffnet.run.storage import File
from s3_server import Server, s3_server

HOLDER = """
import sys
from ffnet.run.hold import driver_of, held
from ffnet.run.folder import RunFolder
with held(RunFolder.at(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with s3_server() as server:
        yield server


@pytest.fixture(params=["folder", "bucket"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> RunFolder:
    """Return a run's folder: a local one, and one in an object store."""
    if request.param == "folder":
        return RunFolder.at(tmp_path / "run")
    server: Server = request.getfixturevalue("server")
    return RunFolder.at(server.uri(tmp_path.name))


@contextmanager
def holder(folder: RunFolder) -> "Iterator[subprocess.Popen[str]]":
    """Start another process that holds the run."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder.place],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def marks(folder: RunFolder) -> list[str]:
    return [name for name in storage.names(folder.place) if name.startswith(HOLD)]


def test_a_second_driver_is_refused_and_told_of_the_first(folder: RunFolder) -> None:
    with holder(folder) as first, pytest.raises(InputError) as error, held(folder):
        pass
    assert f"process {first.pid} on {os.uname().nodename}, since 20" in str(error.value)
    assert "one driver at a time" in str(error.value)


def test_a_reader_sees_the_driver_while_it_lives_and_leaves_its_mark(folder: RunFolder) -> None:
    assert driver_of(folder) is None
    with holder(folder) as first:
        driver = driver_of(folder)
        assert driver
        assert driver.pid == first.pid
        first.kill()
        first.wait()
        assert driver_of(folder) is None
        assert len(marks(folder)) == 1


def test_a_run_is_free_after_its_driver_has_ended(folder: RunFolder) -> None:
    with holder(folder) as first:
        first.communicate("")
    assert first.returncode == 0
    assert marks(folder) == []
    with held(folder):
        assert len(marks(folder)) == 1


def test_the_run_of_a_killed_driver_is_taken_over_at_once(folder: RunFolder) -> None:
    with holder(folder) as first:
        first.kill()
        first.wait()
        assert len(marks(folder)) == 1
        with held(folder):
            assert len(marks(folder)) == 1
    assert marks(folder) == []


def test_a_stopped_process_holds_its_run_still(folder: RunFolder) -> None:
    with holder(folder) as first:
        os.kill(first.pid, signal.SIGSTOP)
        with pytest.raises(InputError, match=f"process {first.pid} on"), held(folder):
            pass
        os.kill(first.pid, signal.SIGCONT)


def test_of_many_drivers_at_once_at_most_one_holds_the_run(folder: RunFolder) -> None:
    start, holds = threading.Barrier(6), []

    def take() -> None:
        start.wait()
        with suppress(InputError):
            holds.append(Hold(folder))

    for _ in range(5):
        threads = [threading.Thread(target=take) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(holds) <= 1
        for one in holds:
            one.release()
        holds.clear()
    with held(folder):  # refused drivers left nothing behind that keeps others out
        assert len(marks(folder)) == 1


def elsewhere(folder: RunFolder) -> Callable[[], None]:
    """Write the mark of a driver on another machine. Returns a function that writes it again."""
    there = replace(Driver.this(), host="far", boot="another-start", namespace="pid:[1]")
    name = f"{HOLD}-0123" if storage.is_remote(folder.place) else HOLD
    mark = File(storage.below(folder.place, name))

    def write() -> None:
        if not storage.is_remote(folder.place):
            Path(mark.place).parent.mkdir(exist_ok=True)
            Path(mark.place).write_bytes(json.dumps(asdict(there)).encode())
            return
        with mark.replacing() as file:
            file.write(json.dumps(asdict(there)).encode())

    write()
    return write


def test_a_driver_on_another_machine_that_still_writes_its_mark_lives(folder: RunFolder) -> None:
    beat, ended = elsewhere(folder), threading.Event()

    def beat_on() -> None:
        while not ended.wait(0.5):
            beat()

    other = threading.Thread(target=beat_on)
    other.start()
    try:
        with pytest.raises(InputError, match=r"process \d+ on far, since"), held(folder):
            pass
    finally:
        ended.set()
        other.join()


@pytest.mark.slow
def test_a_driver_on_another_machine_that_is_silent_is_taken_for_dead(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hold, "DEAD_AFTER", 3.0)
    elsewhere(folder)
    with held(folder):
        assert len(marks(folder)) == 1
    assert "waiting until it is clear whether process" in capsys.readouterr().err


def test_an_old_mark_of_before_a_restart_of_the_machine_is_taken_over_without_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder.at(tmp_path / "run")
    elsewhere(folder)
    os.utime(tmp_path / "run" / HOLD, (0, 0))
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waited"))
    with held(folder):
        pass


def test_the_copy_of_a_run_is_free(tmp_path: Path) -> None:
    folder = RunFolder.at(tmp_path / "run")
    with holder(folder):
        shutil.copytree(tmp_path / "run", tmp_path / "copy")
        with held(RunFolder.at(tmp_path / "copy")):
            pass


def test_a_mark_that_was_not_written_whole_keeps_nobody_out(folder: RunFolder) -> None:
    if storage.is_remote(folder.place):
        with File(storage.below(folder.place, f"{HOLD}-0123")).replacing() as file:
            file.write(b'{"host": "a')
    else:
        Path(folder.place).mkdir()
        (Path(folder.place) / HOLD).write_bytes(b'{"host": "a')
    with held(folder):
        assert len(marks(folder)) == 1


def test_a_driver_whose_run_was_taken_over_notices_and_writes_no_more(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held(folder) as mine:
        for name in marks(folder):
            storage.delete(storage.below(folder.place, name))
        with held(folder):
            if storage.is_remote(folder.place):
                mine.check()  # the mark is written in time: no check at each write
            monkeypatch.setattr(hold, "DEAD_AFTER", 0.0)
            with pytest.raises(RunError, match="taken over by another driver"):
                mine.check()
            mine.release()
            assert len(marks(folder)) == 1  # the other driver's mark


def test_a_refused_command_leaves_the_folder_as_it_was(
    tmp_path: Path, small_study: Path, call: Job
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    done = call("tune", small_study, "--out", tmp_path / "mine")
    assert done.returncode == 2
    assert "must be empty. Given: notes.txt in it" in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("flags", [[], ["--resume"]])
def test_a_second_study_in_a_run_is_refused_before_ray_starts(
    tmp_path: Path, small_study: Path, call: Job, flags: list[str]
) -> None:
    folder = RunFolder.at(tmp_path / "run")
    with holder(folder) as first:
        for job, more in (("tune", [small_study, *flags]), ("train", ["--epochs", "1"])):
            done = call(job, *more, "--out", folder.place)
            assert done.returncode == 2
            assert f"which process {first.pid} on" in done.stderr
            assert len(done.stderr.splitlines()) == 1
        assert wait_for(lambda: marks(folder)) == [HOLD]
