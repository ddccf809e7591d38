"""All events of a run's writer, without Ray and TensorFlow."""

import errno
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ffnet.errors import RunError
from ffnet.run import storage, tables
from ffnet.run import writer as writing
from ffnet.run.folder import RunFolder
from ffnet.run.hold import Hold, held
from ffnet.run.past import Past
from ffnet.run.rows import Rows, place
from ffnet.run.tables import Status
from ffnet.run.writer import Writer
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.sections import Tuning
from ffnet.spec.trial import TrialConfig

NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)


def trial(number: int = 0) -> TrialConfig:
    return TrialConfig(number=number, net=NetSpec(), training=Training(), epochs=4, seed=7)


def report(epoch: int, accuracy: float | None = 0.5, **more: Any) -> dict[str, Any]:
    """Return a trial's figures after some epochs of ten steps. With None, the trial diverged."""
    scores = {} if accuracy is None else {"val_accuracy": accuracy, "val_loss": 1 - accuracy}
    times = {"train_seconds": 2.0, "evaluate_seconds": 0.5}
    at = {"started_at": NOW.isoformat(), "reported_at": NOW.isoformat()}
    return {"step": 10 * epoch, "epoch": float(epoch)} | scores | times | at | place() | more


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Hold]:
    with held(RunFolder.at(tmp_path / "run")) as hold:
        storage.write_json(hold.folder.study, {"study": {}, "data": {}, "versions": {}})
        yield hold


@pytest.fixture
def writer(hold: Hold) -> Writer:
    return Writer(hold, Tuning())


def written(hold: Hold) -> tuple[list[tables.Row], list[tables.Row]]:
    return tables.read(hold.folder.trials), tables.read(hold.folder.epochs)


def test_a_run_has_both_tables_before_its_first_trial(hold: Hold, writer: Writer) -> None:
    assert written(hold) == ([], [])


def test_a_trial_that_begins_runs_and_has_trained_nothing(hold: Hold, writer: Writer) -> None:
    writer.begin(trial(3), sampled_at=0.0)
    writer.flush()
    (row,), reports = written(hold)
    assert (row["trial"], row["status"], row["epochs"], row["seed"]) == (3, "running", 0.0, 7)
    assert (row["hidden_sizes"], row["reason"], row["ended_at"]) == ([512], None, None)
    assert reports == []


def test_a_first_report_stands_in_both_tables(hold: Hold, writer: Writer) -> None:
    writer.begin(trial())
    assert writer.report(0, report(1, 0.8))
    writer.flush()
    (row,), (epoch,) = written(hold)
    assert (row["epochs"], row["best_val_accuracy"], row["last_val_loss"]) == (
        1.0, 0.8, pytest.approx(0.2),
    )  # fmt: skip
    assert (epoch["trial"], epoch["step"], epoch["val_accuracy"]) == (0, 10, 0.8)
    assert epoch["started_at"] == NOW
    assert epoch["learning_rate"] == 0.01


def test_a_report_that_comes_again_after_a_loss_is_counted_once(writer: Writer) -> None:
    writer.begin(trial())
    writer.report(0, report(1))
    writer.begin(trial())
    assert not writer.report(0, report(1, 0.9), again=True)
    assert not writer.report(0, report(1, 0.9))
    assert writer.report(0, report(2, 0.6))
    assert writer.rows[0]["train_seconds"] == 4.0
    assert [r["val_accuracy"] for r in writer.reports.values()] == [0.5, 0.6]


def test_under_pbt_a_step_may_be_reported_anew_but_not_from_a_checkpoint() -> None:
    rows = Rows(Tuning(scheduler="pbt"))
    rows.begin(trial())
    rows.report(0, report(1))
    assert not rows.report(0, report(1, 0.9), again=True)
    rows.begin(trial(), parent=0)
    assert rows.report(0, report(1, 0.7))
    assert [(r["val_accuracy"], r["parent"]) for r in rows.reports.values()] == [(0.7, 0)]


def test_reports_that_only_a_checkpoint_has_come_into_the_tables(hold: Hold) -> None:
    """A driver was killed while it wrote the tables: only epochs.parquet has epoch 2."""
    first, second = report(1), report(2, 0.9)
    times = {"started_at": NOW, "reported_at": NOW}
    row = {"trial": 0, "status": "running", "epochs": 1.0, "best_val_accuracy": 0.5}
    past = Past([row], [first | times | {"trial": 0}], undecided=[second | times | {"trial": 0}])
    writer = Writer(hold, Tuning(), past, waiting={0})
    assert len(written(hold)[1]) == 2
    assert writer.rows[0]["epochs"] == 1.0
    writer.begin(trial())
    writer.report(0, second, again=True)
    writer.flush()
    (row,), reports = written(hold)
    assert (row["epochs"], row["best_val_accuracy"], len(reports)) == (2.0, 0.9, 2)


def test_a_diverged_trial_has_a_reason_and_no_figures(hold: Hold, writer: Writer) -> None:
    writer.begin(trial())
    writer.report(0, report(1, None))
    writer.end(0, Status.DIVERGED, "loss nan after step 10")
    writer.flush()
    (row,), (epoch,) = written(hold)
    assert (row["status"], row["reason"]) == ("diverged", "loss nan after step 10")
    assert (row["best_val_accuracy"], epoch["val_loss"], epoch["train_loss"]) == (None, None, None)
    assert writer.best(5) == []


def test_a_failed_trial_has_its_traceback_and_its_note(hold: Hold, writer: Writer) -> None:
    writer.begin(trial())
    writer.note(0, "its checkpoint was damaged")
    writer.traceback(0, "Traceback: ä\ud800")
    writer.end(0, Status.FAILED, "ValueError: no")
    writer.flush()
    assert written(hold)[0][0]["reason"] == "ValueError: no; its checkpoint was damaged"
    with hold.folder.traceback(0).open() as file:
        assert file.read() == "Traceback: ä\\ud800".encode()


def test_what_still_runs_at_the_end_is_stopped(hold: Hold, writer: Writer) -> None:
    writer.begin(trial(0))
    writer.begin(trial(1))
    writer.report(1, report(4))
    writer.end(1, Status.DONE)
    writer.finish("stopped by SIGINT")
    assert [(r["status"], r["reason"]) for r in written(hold)[0]] == [
        ("stopped", "stopped by SIGINT"), ("done", None),
    ]  # fmt: skip
    assert [Status(r["status"]).has_ended for r in written(hold)[0]] == [False, True]


def test_only_the_best_ended_trials_keep_their_checkpoints(hold: Hold, writer: Writer) -> None:
    for number in range(7):
        writer.begin(trial(number))
        for epoch in (1, 2):
            writer.report(number, report(epoch, number / 10))
            writer.checkpoint(number, b"weights", best=epoch == 1)
        if number:
            writer.end(number, Status.DONE)
    writer.flush()
    best = [f"{n:05d}{kind}.npy" for n in range(2, 7) for kind in ("-best", "")]
    assert kept_by(hold) == [  # trial 0 still runs
        "00000-before.npy", "00000-best.npy", "00000.npy", *best,
    ]  # fmt: skip


def test_a_trial_that_falls_out_of_the_best_loses_its_checkpoints_later(hold: Hold) -> None:
    writer = Writer(hold, Tuning(metric="val_loss"), keep=1)
    for number, accuracy in enumerate((0.5, 0.9, 0.7, 0.9)):
        writer.begin(trial(number))
        writer.report(number, report(1, accuracy))
        writer.checkpoint(number, b"weights", best=True)
        writer.end(number, Status.DONE)
        writer.flush()
        first = 0 if number == 0 else 1  # of two equal trials the first one is better
        assert kept_by(hold) == [f"{first:05d}-best.npy", f"{first:05d}.npy"]


def kept_by(hold: Hold) -> list[str]:
    return sorted(path.name for path in (Path(hold.folder.place) / "checkpoints").iterdir())


def test_a_checkpoint_that_finds_no_room_is_saved_with_the_next_tables(
    hold: Hold, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer.begin(trial())
    with monkeypatch.context() as full:
        full.setattr(storage.File, "replacing", no_room)
        writer.checkpoint(0, b"best weights", best=True)
        writer.checkpoint(0, b"weights")
        assert writer.unwritable is None
    writer.flush()
    assert Path(hold.folder.checkpoint(0).place).read_bytes() == b"weights"
    assert Path(hold.folder.checkpoint_best(0).place).read_bytes() == b"best weights"


def test_a_final_write_that_fails_saves_all_of_it_elsewhere(
    hold: Hold, writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    writer.begin(trial())
    writer.report(0, report(1))
    writer.checkpoint(0, b"best weights", best=True)
    writer.checkpoint(0, b"weights")
    path = Path(hold.folder.place)
    path.rename(tmp_path / "moved")
    with pytest.raises(RunError, match=r"could not be written .* saved in .*/saved/run-.*; do so"):
        writer.finish("the end", then="do so")
    (saved,) = (tmp_path / "state" / "ffnet" / "saved").iterdir()
    assert json.loads((saved / "study.json").read_text())["versions"] == {}
    assert tables.read(RunFolder.existing(saved).trials)[0]["status"] == "stopped"
    assert Path(RunFolder.at(saved).checkpoint_best(0).place).read_bytes() == b"best weights"
    (tmp_path / "moved").rename(path)


def test_tables_that_cannot_be_written_for_long_end_the_run(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/run/trials.parquet")

    monkeypatch.setattr(tables, "write", no_room)
    monkeypatch.setattr(writing, "FAILING_SECONDS", -1.0)
    writer.begin(trial())
    writer._write_again_at = 0.0
    writer.write_when_due()
    assert writer.unwritable == "/run/trials.parquet: No space left on device"
