"""A trial's best weights stay: after each report, the weights that the table means are there."""

import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf

from ffnet.errors import InputError
from ffnet.export.weights import Finder
from ffnet.run import checkpoints, storage, tables
from ffnet.run.folder import RunFolder
from ffnet.run.improvement import Improvement, ended_early
from ffnet.run.storage import File
from ffnet.run.tables import Row
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.sections import Tuning
from ffnet.spec.trial import TrialConfig
from ffnet.tuning.worker import TrialWorker

NOW = "2026-01-01T00:00:00+00:00"
ACCURACY, LOSS, PBT = Tuning(), Tuning(metric="val_loss"), Tuning(scheduler="pbt")


class Trial:
    """A trial without Ray, whose weights are a single number: the step times its number.

    Attributes:
        row: the trial's row of the table.
        step: number of trained steps.
    """

    def __init__(self, folder: RunFolder, tuning: Tuning = ACCURACY, number: int = 1) -> None:
        self.folder, self.tuning, self.number = folder, tuning, number
        self.row: Row = dict.fromkeys(tables.TRIALS.names)
        self.row |= {"trial": number, "status": "running", "epochs": 0.0}
        self.begin()

    def begin(self) -> None:
        """Continue on a fresh worker."""
        worker: Any = TrialWorker.__new__(TrialWorker)
        worker._folder, worker._tuning = self.folder, self.tuning
        net, training = NetSpec(), Training()
        config = TrialConfig(number=self.number, net=net, training=training, epochs=999, seed=0)
        worker.reset_config({"trial": config.model_dump()})
        self.weights = tf.Variable([0.0])
        trainer = SimpleNamespace(variables=[self.weights])
        worker._trainer = lambda: trainer
        self.worker, self.step = worker, worker._restore(trainer)

    def report(self, *accuracies: float) -> None:
        """Train an epoch for each accuracy and report it."""
        for accuracy in accuracies:
            self.step += 1
            self.weights.assign([100.0 * self.number + self.step])
            figures = {"val_accuracy": accuracy, "val_loss": 1 - accuracy}
            report = {"trial": self.number, "step": self.step, "epoch": float(self.step), **figures}
            self.worker._noted(FIELDS | report)
            self.worker._save(self.step)
            tables.note_score(self.row, {k: v for k, v in report.items() if v is not None})
            self.row["epochs"] = report["epoch"]

    def takes_over(self, other: "Trial", place: Path) -> None:
        """Continue from another trial's checkpoint, as with population-based training."""
        place.mkdir(exist_ok=True)
        assert other.worker.save_checkpoint(str(place)) is None
        self.worker.load_checkpoint(str(place))
        self.begin()

    def best(self) -> float | None:
        """The weights that are found for the best report of the trial's row."""
        found = Finder(self.folder, self.tuning).best(self.row)
        return float(found.saved.arrays[0][0]) if found else None


FIELDS = {
    "node": "here:1", "worker": 7, "worker_memory": 9, "train_seconds": 0.5,
    "evaluate_seconds": 0.1, "started_at": NOW, "reported_at": NOW,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder.create(tmp_path / "run")
    storage.write_json(folder.study, {})
    tables.write(folder.epochs, [], tables.EPOCHS)
    return folder


def damage(file: File) -> None:
    content = bytearray(Path(file.place).read_bytes())
    content[-1] ^= 4
    Path(file.place).write_bytes(content)


@pytest.mark.parametrize("tuning", [ACCURACY, LOSS])
def test_the_weights_of_the_first_best_report_are_there_at_every_moment(
    folder: RunFolder, tuning: Tuning
) -> None:
    """50 courses of up to seven reports with ties, on workers that are lost now and then."""
    draw = random.Random(0)
    for number in range(50):
        trial, accuracies = Trial(folder, tuning, number), []
        for _ in range(draw.randint(1, 7)):
            accuracies.append(draw.choice((0.1, 0.2, 0.3)))
            trial.report(accuracies[-1])
            first = accuracies.index(max(accuracies)) + 1
            assert trial.best() == 100 * number + first, accuracies
            if draw.random() < 0.3:
                trial.begin()
                assert trial.step == len(accuracies)


def test_without_hard_links_the_best_weights_stay_too(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError("no")))
    trial = Trial(folder)
    for accuracy, best in ((0.1, 101), (0.3, 102), (0.2, 102), (0.1, 102), (0.4, 105), (0.3, 105)):
        trial.report(accuracy)
        assert trial.best() == best


def test_a_best_report_that_is_older_than_the_kept_ones_is_remembered(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "KEPT_REPORTS", 5)
    trial = Trial(folder)
    trial.report(0.1, 0.5, *[0.4] * 10)
    trial.begin()
    trial.report(0.45)
    assert trial.best() == 102
    trial.report(0.6, 0.1)
    assert trial.best() == 114


@pytest.mark.parametrize("accuracies", [(0.1, 0.3), (0.3, 0.1), (0.3, 0.1, 0.2), (0.1, 0.3, 0.2)])
def test_a_damaged_last_checkpoint_never_becomes_the_best_weights(
    folder: RunFolder, accuracies: Sequence[float]
) -> None:
    trial = Trial(folder)
    trial.report(*accuracies)
    damage(folder.checkpoint(1))
    trial.begin()
    assert trial.step == len(accuracies) - 1
    trial.report(accuracies[-1], 0.05)  # the same bits again
    assert trial.best() == 101 + accuracies.index(max(accuracies))


def test_a_run_that_kept_no_best_weights_has_none_until_a_report_is_better(
    folder: RunFolder,
) -> None:
    trial = Trial(folder)
    trial.report(0.5, 0.3)
    folder.checkpoint_best(1).delete()  # as earlier versions left it
    trial.begin()
    trial.report(0.4)
    assert trial.best() is None
    trial.report(0.6, 0.2)
    assert trial.best() == 104


def test_damaged_best_weights_are_refused_and_no_others_are_taken(folder: RunFolder) -> None:
    trial = Trial(folder)
    trial.report(0.5, 0.3)
    damage(folder.checkpoint_best(1))
    with pytest.raises(InputError, match=r"00001-best\.npy: the checkpoint is damaged"):
        trial.best()


# --- population-based training -----------------------------------------------------------------


@pytest.mark.parametrize("own", [(0.5,), (0.5, 0.3), (0.3, 0.5), (0.2, 0.5, 0.3)])
def test_a_trial_keeps_its_best_weights_when_it_takes_over_those_of_another(
    folder: RunFolder, tmp_path: Path, own: Sequence[float]
) -> None:
    trial, other = (Trial(folder, PBT, number) for number in (1, 2))
    trial.report(*own)
    other.report(0.1, 0.4)
    trial.takes_over(other, tmp_path / "copy")
    assert trial.step == 2
    assert trial.best() == 101 + own.index(0.5)
    trial.report(0.45)  # its best report is still one of the weights before
    assert trial.best() == 101 + own.index(0.5)
    trial.report(0.6, 0.1)
    assert trial.best() == 104
    assert other.best() == 202


def test_a_report_of_another_trial_with_equal_figures_is_not_its_own(
    folder: RunFolder, tmp_path: Path
) -> None:
    trial, other = (Trial(folder, PBT, number) for number in (1, 2))
    trial.report(0.1, 0.5)
    other.report(0.1, 0.5)
    trial.takes_over(other, tmp_path / "copy")
    assert trial.best() == 102
    folder.checkpoint_best(1).delete()
    folder.checkpoint_before(1).delete()
    assert trial.best() is None


def test_a_paused_trial_that_continues_keeps_its_best_weights(
    folder: RunFolder, tmp_path: Path
) -> None:
    trial = Trial(folder, PBT)
    for accuracy, best in ((0.2, 101), (0.5, 102), (0.3, 102), (0.6, 104), (0.1, 104)):
        trial.report(accuracy)
        trial.takes_over(trial, tmp_path / "copy")
        assert trial.best() == best


def test_weights_that_another_trial_had_trained_to_the_end_become_its_own(
    folder: RunFolder, tmp_path: Path
) -> None:
    trial, other = (Trial(folder, PBT, number) for number in (1, 2))
    trial.report(0.3)
    other.report(0.4, 0.7)
    trial.takes_over(other, tmp_path / "copy")
    trial.worker._place = dict
    taken = trial.worker._taken_over()
    trial.worker._save(taken["step"])
    tables.note_score(trial.row, taken)
    assert (taken["trial"], trial.row["best_val_accuracy"]) == (1, 0.7)
    assert trial.best() == 202


# --- patience ----------------------------------------------------------------------------------


def ends(accuracies: Sequence[float], every: float = 1.0, **fields: Any) -> tuple[int, str] | None:
    """The number of reports after which a trial ends, and the reason. None if it does not end."""
    followed = Improvement(Tuning(**fields))
    for number, accuracy in enumerate(accuracies, 1):
        followed.add({"epoch": number * every, "val_accuracy": accuracy, "val_loss": 1 - accuracy})
        if followed.ended:
            return number, followed.ended
    return None


@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss"])
def test_a_trial_ends_when_it_is_no_better_for_so_many_epochs(metric: str) -> None:
    ended = ends((0.5, 0.6, 0.6, 0.5, 0.4, 0.9), metric=metric, patience_epochs=3)
    assert ended == (5, "no better for 3 epochs")
    assert ends((0.5, 0.6, 0.6, 0.5, 0.7, 0.7), metric=metric, patience_epochs=3) is None
    assert ends((0.5, 0.4), metric=metric, patience_epochs=1) == (2, "no better for 1 epoch")
    assert ends((0.5,) * 20, metric=metric) is None


def test_gains_up_to_min_delta_count_only_together() -> None:
    """As in Keras: a report is compared with the last report that was better."""
    slow = (0.500, 0.504, 0.508, 0.512, 0.516)
    assert ends(slow, patience_epochs=2, min_delta=0.01) == (3, "no better for 2 epochs")
    assert ends(slow, patience_epochs=3, min_delta=0.01) is None  # epoch 4 exceeds epoch 1 by 0.012


def test_patience_is_counted_in_epochs_not_in_reports() -> None:
    ended = ends((0.5, *[0.4] * 20), every=0.1, patience_epochs=0.3)
    assert ended == (4, "no better for 0.3 epochs")
    assert ends((0.5, 0.4), every=5.0, patience_epochs=2) == (2, "no better for 5 epochs")


def test_a_trial_that_continues_ends_where_it_would_have_ended(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last better report is older than all reports that a checkpoint keeps."""
    monkeypatch.setattr(checkpoints, "KEPT_REPORTS", 5)
    trial = Trial(folder, Tuning(patience_epochs=12, min_delta=0.1))
    trial.report(0.5, 0.55, *[0.3] * 9)
    trial.begin()
    trial.report(0.58)
    assert trial.worker._outlook() == {"status": "running", "done": False}
    trial.begin()
    trial.report(0.2)
    expected = {"status": "done", "reason": "no better for 12 epochs", "done": True}
    assert trial.worker._outlook() == expected
    trial.begin()  # the driver was killed before it wrote the row
    assert expected.items() <= trial.worker._again().items()
    assert trial.best() == 112


def test_only_a_done_trial_with_the_reason_has_ended_early() -> None:
    reason = "no better for 3 epochs"
    assert ended_early({"status": "done", "reason": f"{reason}; its checkpoint was damaged"})
    assert not ended_early({"status": "done", "reason": "its checkpoint was damaged"})
    assert not ended_early({"status": "done"})
    assert not ended_early({"status": "stopped", "reason": reason})
