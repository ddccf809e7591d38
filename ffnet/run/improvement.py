"""Follows the reports of a trial: which is the best, and since when none was better."""

from collections.abc import Iterable
from typing import Any

from ffnet.run.tables import Row, Status
from ffnet.spec.sections import Tuning

NO_BETTER = "no better for"
CLOSE = 1e-9  # epochs; a tolerance, because 0.1 · 3 ≠ 0.3 in floating point


class Improvement:
    """The best report of a trial by the study's metric, and whether the trial should end.

    Attributes:
        best: the best report; of equal reports the first. None while no report has the metric.
    """

    def __init__(self, tuning: Tuning, reports: Iterable[Row] = ()) -> None:
        """Follow a trial.

        Args:
            tuning: its metric, `patience_epochs` and `min_delta`.
            reports: the trial's reports so far, the first one first.
        """
        self._tuning = tuning
        self._sign = 1.0 if tuning.mode == "max" else -1.0
        self.best: Row | None = None
        self._better: Row | None = None  # the last report that was better by more than min_delta
        self._latest = 0.0  # epoch
        for report in reports:
            self.add(report)

    def add(self, report: Row) -> None:
        """Take the next report. A report without the metric, of a diverged trial, changes nothing.

        A report is better if its metric exceeds that of the last better report by more than
        `min_delta`, as in Keras' EarlyStopping.
        """
        if self._tuning.metric not in report:
            return
        self._latest = report["epoch"]
        if self._gain(report, self.best) > 0:
            self.best = report
        if self._gain(report, self._better) > self._tuning.min_delta:
            self._better = report

    @property
    def ended(self) -> str | None:
        """Why the trial should end: "no better for 3 epochs". None while it should go on."""
        patience = self._tuning.patience_epochs
        if patience is None or self._better is None:
            return None
        epochs = self._latest - self._better["epoch"]
        if epochs < patience - CLOSE:
            return None
        return f"{NO_BETTER} {epochs:g} epoch{'' if epochs == 1 else 's'}"

    def needed(self) -> list[Row]:
        """The reports that decide `best` and `ended`, besides those that follow."""
        both = [report for report in (self._better, self.best) if report is not None]
        return both if len(both) < 2 or both[0] is not both[1] else both[:1]

    def _gain(self, report: Row, than: Row | None) -> float:
        if than is None:
            return float("inf")
        metric = self._tuning.metric
        return self._sign * float(report[metric] - than[metric])


def ended_early(row: dict[str, Any]) -> bool:
    """Whether a trial is done before its last epoch, because it became no better."""
    return row["status"] == Status.DONE and str(row.get("reason") or "").startswith(NO_BETTER)
