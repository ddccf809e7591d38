"""A disk that is full, read-only or gone: the rows are saved, and one line says where."""

import errno
import io
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext, redirect_stderr
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from conftest import Job
from ffnet.cli import command
from ffnet.data.load import load
from ffnet.errors import RunError, StorageError
from ffnet.run import rescue, storage, tables
from ffnet.run import writer as writing
from ffnet.run.checkpoints import KEPT_REPORTS
from ffnet.run.folder import RunFolder
from ffnet.run.hold import Hold, held
from ffnet.run.past import Past
from ffnet.run.rows import PLACE
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.study import Study
from ffnet.spec.trial import TrialConfig
from ffnet.system import output
from ffnet.system.live import LiveLine
from ffnet.tuning import driver
from ffnet.tuning.losses import Losses
from ffnet.tuning.recorder import Recorder
from ffnet.tuning.worker import TrialWorker

STUDY = Study.model_validate({"space": {"learning_rate": {"uniform": [0.1, 0.2]}}})
NOW = "2026-01-01T00:00:00+00:00"
REPORT = {
    "status": "running", "step": 5, "epoch": 1.0, "val_accuracy": 0.5, "val_loss": 1.5,
    "train_loss": 1.5, "train_seconds": 0.1, "evaluate_seconds": 0.1, "node": "here", "worker": 7,
    "worker_memory": 9, "started_at": NOW, "reported_at": NOW,
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a folder in which tables are saved when the run cannot be written."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


class Disk:
    """A small file system in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """Fill the disk to the last byte."""
        with (self.path / "filler").open("wb", buffering=0) as file:
            for size in (1 << 16, 1 << 10, 1):
                try:
                    while file.write(b"0" * size):
                        pass
                except OSError:
                    continue

    def make_room(self) -> None:
        (self.path / "filler").unlink()

    def make_read_only(self) -> None:
        """Make only the run's folder read-only: an open file keeps the file system writable."""
        run = str(self.path / "run")
        subprocess.run(["mount", "--bind", run, run], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", run], check=True)

    def make_writable(self) -> None:
        subprocess.run(["umount", str(self.path / "run")], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(path)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--recursive", "--lazy", str(path)], check=True)


@pytest.fixture
def hold(disk: Disk) -> Iterator[Hold]:
    """Hold a run on the disk, with its study.json."""
    with held(RunFolder.at(disk.path / "run")) as hold:
        document = {"study": {}, "data": {}, "versions": {}, "started_at": NOW}
        storage.write_json(hold.folder.study, document)
        yield hold


def begun(hold: Hold) -> tuple[Recorder, Any]:
    """Return a study's recorder after the first report of the first trial, and the trial."""
    config = TrialConfig(number=0, net=NetSpec(), training=Training(), epochs=8, seed=1)
    trial = SimpleNamespace(config={"trial": config.model_dump(), "sampled_at": 0.0})
    recorder = Recorder(STUDY, hold, Losses(), Past())
    recorder.on_trial_start(trial)
    recorder.on_trial_result(trial, dict(REPORT))
    recorder.writer.flush()
    return recorder, trial


def test_a_failed_write_names_path_and_reason_and_leaves_the_table_before(
    disk: Disk, hold: Hold
) -> None:
    begun(hold)
    disk.fill()
    with pytest.raises(StorageError) as error:
        tables.write(hold.folder.trials, [{"trial": 1, "status": "done"}] * 999, tables.TRIALS)
    assert error.value.filename == hold.folder.trials.place
    assert error.value.strerror == "No space left on device"
    assert [row["trial"] for row in tables.read(hold.folder.trials)] == [0]
    left = {path.name for path in (disk.path / "run").iterdir()}
    assert left == {".driver", "study.json", "trials.parquet", "epochs.parquet"}


def full(disk: Disk) -> None:
    disk.fill()


def read_only(disk: Disk) -> None:
    disk.make_read_only()


def removed(disk: Disk) -> None:
    shutil.rmtree(disk.path / "run")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (full, "No space left on device"),
        (read_only, "Read-only file system"),
        (removed, "was removed, moved, or taken over"),
    ],
)
def test_rows_that_cannot_be_written_at_the_end_are_saved_and_taken_back(
    fault: Any, words: str, disk: Disk, hold: Hold, own_state: Path
) -> None:
    recorder, trial = begun(hold)
    fault(disk)
    recorder.on_trial_result(trial, REPORT | {"step": 10, "epoch": 2.0})
    with pytest.raises(RunError) as error:
        recorder.finish()
    assert error.value.exit_status == 1
    assert words in str(error.value)
    assert f"{hold.folder}: could not be written" in str(error.value)
    (saved,) = (own_state / "ffnet" / "saved").iterdir()
    assert str(saved) in str(error.value)
    assert (saved.stat().st_mode & 0o777) == 0o700
    rows = tables.read(RunFolder.existing(saved).trials)  # `ffnet table` shows them, too
    assert [(row["status"], row["epochs"]) for row in rows] == [("stopped", 2.0)]
    if fault is full:
        disk.make_room()
    elif fault is read_only:
        disk.make_writable()
    assert rescue.take_back(hold.folder) == RunFolder(str(saved))
    assert tables.read(hold.folder.trials) == rows
    assert len(tables.read(hold.folder.epochs)) == 2
    assert json.loads((disk.path / "run" / "study.json").read_text())["started_at"] == NOW
    assert not saved.exists()
    assert rescue.take_back(hold.folder) is None


def test_saved_tables_are_not_taken_back_into_a_run_that_went_on(
    disk: Disk, hold: Hold, own_state: Path
) -> None:
    recorder, _ = begun(hold)
    disk.fill()
    with pytest.raises(RunError):
        recorder.finish()
    disk.make_room()
    document = {"study": {}, "data": {}, "versions": {}, "started_at": NOW, "resumed": [{}]}
    storage.write_json(hold.folder.study, document)
    assert rescue.take_back(hold.folder) is None
    assert rescue.followed(hold.folder)
    assert len(list((own_state / "ffnet" / "saved").iterdir())) == 1


def test_what_a_driver_saves_that_another_has_followed_is_said_to_stay_there(
    disk: Disk, hold: Hold
) -> None:
    recorder, _ = begun(hold)
    hold.lost = True
    document = {"study": {}, "data": {}, "versions": {}, "started_at": NOW, "resumed": [{}]}
    storage.write_json(hold.folder.study, document)
    with pytest.raises(RunError, match="will not use them, because another driver has continued"):
        recorder.finish()
    assert rescue.found(hold.folder) is None


def test_what_is_saved_is_found_by_every_name_of_the_folder(
    tmp_path: Path, own_state: Path
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    run = RunFolder.at(tmp_path / "link" / "run")
    with pytest.raises(RunError, match="saved in"):
        raise rescue.save(run, lambda folder: storage.write_json(folder.study, {}), "gone")
    assert rescue.found(RunFolder.at(tmp_path / "real" / "run"))
    assert rescue.found(RunFolder.at(tmp_path / "link" / ".." / "real" / "run"))


@pytest.mark.parametrize("name", ["ä" * 127, "x" * 255, "試験" * 40])
def test_a_run_with_a_long_name_finds_a_place_too(name: str, own_state: Path) -> None:
    run = RunFolder(f"/gone/{name}")
    with pytest.raises(RunError, match="saved in"):
        raise rescue.save(run, lambda folder: storage.write_json(folder.study, {}), "gone")
    assert rescue.found(run)


def test_where_the_first_place_cannot_be_written_another_is_taken(
    disk: Disk, hold: Hold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(disk.path / "state"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "tmp"))
    recorder, _ = begun(hold)
    disk.fill()
    with pytest.raises(RunError, match=f"saved in {tmp_path}/tmp/ffnet-{os.getuid()}/saved/run-"):
        recorder.finish()


def test_where_nothing_can_be_written_the_error_says_so(
    disk: Disk, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, _ = begun(hold)
    disk.fill()
    monkeypatch.setattr(rescue, "_places", lambda run: [RunFolder(f"{run}/saved")])
    with pytest.raises(RunError, match="nor could any other place: its last rows are lost"):
        recorder.finish()


def test_a_place_of_another_user_is_not_taken(tmp_path: Path) -> None:
    if os.getuid():
        pytest.skip("needs the right to give a folder away")
    folder = tmp_path / "ffnet-0" / "saved" / "run"
    (tmp_path / "ffnet-0").mkdir()
    os.chown(tmp_path / "ffnet-0", 65534, 65534)
    with pytest.raises(PermissionError, match="can be written by another user"):
        rescue._make_private(folder)


def test_a_place_where_others_can_write_is_neither_taken_nor_read(
    tmp_path: Path, own_state: Path
) -> None:
    run = RunFolder(str(tmp_path / "run"))
    raised = rescue.save(run, lambda folder: storage.write_json(folder.study, {}), "gone")
    assert "saved in" in str(raised)
    (own_state / "ffnet" / "saved").chmod(0o777)
    assert rescue.found(run) is None
    with pytest.raises(PermissionError, match="can be written by another user"):
        rescue._make_private(own_state / "ffnet" / "saved" / "run")


# --- while a study runs --------------------------------------------------------------------------


def test_tables_that_cannot_be_written_for_a_while_do_not_end_a_study(
    disk: Disk, hold: Hold
) -> None:
    recorder, trial = begun(hold)
    disk.fill()
    recorder.on_trial_result(trial, REPORT | {"step": 10, "epoch": 2.0})
    recorder.writer._write_again_at = 0.0
    recorder.on_step_end()
    assert recorder.stopping is None
    disk.make_room()
    recorder.writer._write_again_at = 0.0
    recorder.on_step_end()
    assert tables.read(hold.folder.trials)[0]["epochs"] == 2.0
    assert recorder.writer._failing_since is None


def test_no_trial_reports_more_than_its_checkpoint_holds_before_the_tables_are_written(
    disk: Disk, hold: Hold
) -> None:
    recorder, trial = begun(hold)
    recorder.writer._write_again_at = (
        math.inf
    )  # writing takes so long that tables are written rarely
    for step in range(10, 10 + 3 * KEPT_REPORTS):
        recorder.on_trial_result(trial, REPORT | {"step": step})
        recorder.on_step_end()
        recorder.writer._write_again_at = math.inf
        assert step + 2 - len(tables.read(hold.folder.epochs)) - 10 < KEPT_REPORTS


def test_tables_that_cannot_be_written_for_long_end_it(
    disk: Disk, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "FAILING_SECONDS", -1.0)
    recorder, trial = begun(hold)
    disk.fill()
    recorder.on_trial_result(trial, REPORT | {"step": 10, "epoch": 2.0})
    recorder.writer._write_again_at = 0.0
    recorder.on_step_end()
    expected = f"epochs.parquet: {os.strerror(28)}"
    assert str(recorder.stopping).endswith(expected)
    assert str(recorder.writer.unwritable).endswith(expected)


def test_a_traceback_that_cannot_be_kept_does_not_end_a_study(disk: Disk, hold: Hold) -> None:
    recorder, trial = begun(hold)
    disk.fill()
    failed = {"status": "failed", "reason": "why", "traceback": "Traceback: …"}
    recorder.on_trial_result(trial, REPORT | failed)
    assert recorder.writer.rows[0]["reason"] == "why"
    assert recorder.stopping is None


def test_a_trial_whose_checkpoint_finds_no_room_is_stopped_not_failed_and_ends_the_study(
    hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(_: TrialWorker) -> NoReturn:
        raise StorageError(28, "No space left on device", "/run/checkpoints/00000.npy")

    monkeypatch.setattr(TrialWorker, "_step", no_room)
    monkeypatch.setattr(TrialWorker, "_place", lambda _: {n: REPORT[n] for n in PLACE})
    result = TrialWorker.step(TrialWorker.__new__(TrialWorker))
    reason = "/run/checkpoints/00000.npy: No space left on device"
    assert (result["status"], result["reason"], result["done"]) == ("stopped", reason, True)
    recorder, trial = begun(hold)
    recorder.on_trial_result(trial, result)
    recorder.on_trial_complete(trial)
    recorder.finish()
    (row,) = tables.read(hold.folder.trials)
    assert (row["status"], row["reason"], row["epochs"]) == ("stopped", reason, 1.0)
    assert recorder.writer.unwritable == reason
    assert Past([row]).goes_on(row, STUDY)  # with --resume


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_ray_tune_without_room_for_its_own_state_ends_the_study_in_order(
    number: int, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: Any) -> NoReturn:
        raise OSError(number, os.strerror(number), "/tmp/ray/state.json")

    monkeypatch.setattr("ffnet.ray_cluster.cluster.connected", lambda *_, **__: nullcontext(1))
    monkeypatch.setattr("ffnet.ray_cluster.shared_folder.refuse_unseen", lambda _: None)
    monkeypatch.setattr(driver, "_fit", no_room)
    live = LiveLine(io.StringIO())
    recorder = driver.run_study(STUDY, load(STUDY.data), None, Past(), hold, live)
    assert recorder.writer.unwritable == f"/tmp/ray/state.json: {os.strerror(number)}"
    assert tables.read(hold.folder.trials) == []


def test_a_log_on_a_full_disk_ends_nothing_and_spills_nothing(
    disk: Disk, capfd: pytest.CaptureFixture[str]
) -> None:
    with output.redirected(disk.path / "ray.log", 1, 2):
        print("before")
        sys.stdout.flush()
        disk.fill()
        for _ in range(1000):
            print("lost" * 100)
            print("lost" * 100, file=sys.stderr)
    print("after")
    out, err = capfd.readouterr()
    assert (out, err) == ("after\n", "")
    assert (disk.path / "ray.log").read_text().startswith("before\n")


def test_a_command_that_cannot_write_ends_in_one_line_with_status_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def main(_: list[str]) -> int:
        raise StorageError(28, "No space left on device", "/run/study.json")

    monkeypatch.setattr(sys, "argv", ["tune.py"])
    errors = io.StringIO()
    with redirect_stderr(errors), pytest.raises(SystemExit) as end:
        command.run(main)
    assert end.value.code == 1
    expected = "error: /run/study.json: could not be written (No space left on device)\n"
    assert errors.getvalue() == expected


def test_a_run_whose_only_rows_are_saved_elsewhere_is_kept_for_resume(
    disk: Disk, small_study: Path, call: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_study(
        study: Study, data: Any, address: None, past: Past, hold: Hold, *_: Any, **__: Any
    ) -> None:
        recorder, _trial = begun(hold)
        tables.write(hold.folder.trials, [], tables.TRIALS)  # as it was when the disk became full
        disk.fill()
        recorder.finish()
        raise AssertionError("there was room")

    monkeypatch.setattr(driver, "run_study", run_study)
    done = call("tune", small_study, "--out", disk.path / "run")
    assert done.returncode == 1
    assert "its tables are saved in" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (disk.path / "run" / "study.json").exists()
    disk.make_room()
    for remove in (False, True):  # the run's folder may have gone altogether
        if remove:
            shutil.rmtree(disk.path / "run")
        done = call("tune", small_study, "--out", disk.path / "run")
        assert done.returncode == 2
        assert "are saved in" in done.stderr
        assert "bring them back with --resume, move them away" in done.stderr
    seen: list[Past] = []

    def take(*given: Any, **_: Any) -> NoReturn:
        seen.append(given[3])
        raise KeyboardInterrupt

    monkeypatch.setattr(driver, "run_study", take)
    call("tune", small_study, "--out", disk.path / "run", "--resume")
    assert [row["trial"] for row in seen[0].trials] == [0]
