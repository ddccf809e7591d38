"""The training loop: `train` yields a Report after each interval, so the caller can stop early."""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ffnet.spec.trial import TrialConfig, report_points, steps_per_epoch
from ffnet.training.metrics import Score
from ffnet.training.trainer import Trainer


@dataclass(frozen=True)
class Report:
    """Figures of a trial after some steps.

    Attributes:
        step: number of steps trained since the start.
        epoch: number of epochs trained since the start; 0.5 is half an epoch.
        train_loss: mean cross-entropy of all training examples since the last report, without
            class weights. Each loss is measured before the step that learns from the example.
        batch_loss: mean cross-entropy of the last batch, without class weights.
        validation: score on the validation part.
        diverged: whether a loss was NaN or infinite. Then this is the last report.
        train_seconds, evaluate_seconds: seconds of training and of evaluation since the last
            report.
        started_at, reported_at: when the first step after the last report began, and when the
            evaluation ended.
    """

    step: int
    epoch: float
    train_loss: float
    batch_loss: float
    validation: Score
    diverged: bool
    train_seconds: float
    evaluate_seconds: float
    started_at: datetime
    reported_at: datetime

    def measured(self) -> dict[str, Any]:
        """Return the report's columns of epochs.parquet as JSON values.

        A diverged report has no losses and no metrics. A metric that is not defined is missing.
        """
        row: dict[str, Any] = {
            "step": self.step,
            "epoch": self.epoch,
            "train_seconds": self.train_seconds,
            "evaluate_seconds": self.evaluate_seconds,
            "started_at": self.started_at.isoformat(),
            "reported_at": self.reported_at.isoformat(),
        }
        if not self.diverged:  # no scheduler ever judges a net whose loss is NaN
            row |= {"train_loss": self.train_loss, **self.validation.figures("val")}
        return row


def train(
    trainer: Trainer, config: TrialConfig, after: int = 0, points: Iterable[int] | None = None
) -> Iterator[Report]:
    """Train the trainer's net, and yield a report at each point.

    The seed and the epoch alone decide the batches, so a resumed net sees the same batches as a
    net that was never interrupted.

    Args:
        trainer: the trainer, whose net has either fresh weights or those of a checkpoint.
        config: the trial.
        after: number of steps that the net has been trained already.
        points: steps after which to report, ascending; default: `report_points`.
    """
    per_epoch = steps_per_epoch(config, trainer.examples)
    for point in points or report_points(config, trainer.examples):
        if point <= after:
            continue
        started_at, started = datetime.now(UTC), time.perf_counter()
        total, last, seen = _run(trainer, config, range(after, point), per_epoch)
        trained = time.perf_counter()
        validation = trainer.evaluate(trainer.data.validation)
        diverged = not (math.isfinite(total) and math.isfinite(validation.loss))
        after = point
        yield Report(
            step=point,
            epoch=point / per_epoch,
            train_loss=total / seen,
            batch_loss=last,
            validation=validation,
            diverged=diverged,
            train_seconds=trained - started,
            evaluate_seconds=time.perf_counter() - trained,
            started_at=started_at,
            reported_at=datetime.now(UTC),
        )
        if diverged:
            return


def _run(
    trainer: Trainer, config: TrialConfig, steps: range, per_epoch: int
) -> tuple[float, float, int]:
    """Call `Trainer.run` for each epoch that the steps touch, and add up its results."""
    total, last, seen = 0.0, 0.0, 0
    step = steps.start
    while step < steps.stop and math.isfinite(last):
        epoch, first = divmod(step, per_epoch)
        until = min(per_epoch, first + steps.stop - step)
        part, last, more = trainer.run(config, epoch, range(first, until))
        total, seen, step = total + part, seen + more, step + until - first
    return total, last, seen
