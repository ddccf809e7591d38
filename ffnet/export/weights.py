"""Finds the file with a trial's weights: those of its best report, else those of its last report.

A checkpoint holds the report of its weights, so its figures are compared with the trial's row of
the table. No file is taken for the best weights only because of its name.
"""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ffnet.errors import InputError
from ffnet.run import checkpoints, tables
from ffnet.run.checkpoints import Saved
from ffnet.run.folder import RunFolder
from ffnet.run.storage import File
from ffnet.run.tables import Row
from ffnet.spec.net import MUTABLE
from ffnet.spec.sections import METRICS, Tuning

FIGURES = ("trial", "step", "epoch", *METRICS)
COLUMNS = [*FIGURES, "parent", *MUTABLE]


@dataclass(frozen=True)
class Weights:
    """The weights of a report.

    Attributes:
        file: the checkpoint.
        saved: its content.
        report: the report: the keys FIGURES and `status`; also MUTABLE and `parent` if the tables
            have them.
        best: whether this is the trial's best report by the study's metric. Else it is the last.
    """

    file: File
    saved: Saved
    report: Row
    best: bool


class Finder:
    """Finds the weights of a run's trials. It reads epochs.parquet when it is first needed."""

    def __init__(self, run: RunFolder, tuning: Tuning) -> None:
        """Name the run, and the tuning that has its metric."""
        self._run, self._metric = run, tuning.metric
        self._reports: pa.Table | None = None

    def of(self, row: Row) -> Weights | None:
        """The weights of a trial's best report; else those of its last report; else None.

        None also if the only weights are newer than the tables, or another trial's (pbt copied
        them as the study ended).

        Args:
            row: the trial's row of trials.parquet.

        Raises:
            InputError: the best weights are not found and a checkpoint of the trial is damaged.
        """
        return self.best(row) or self._last(row)

    def best(self, row: Row) -> Weights | None:
        """The weights of a trial's best report. Raises InputError: see `of`."""
        number, damage = row["trial"], None
        for file in (
            self._run.checkpoint_best(number),
            self._run.checkpoint(number),
            self._run.checkpoint_before(number),
        ):
            try:
                saved = _loaded(file)
            except InputError as error:
                damage = damage or error
                continue
            report = self._report(saved, number) if saved else None
            if saved and report and self._is_best(report, row):
                return Weights(file, saved, report | {"status": row["status"]}, best=True)
        if damage:
            raise damage
        return None

    def _last(self, row: Row) -> Weights | None:
        file = self._run.checkpoint(row["trial"])
        saved = _loaded(file)
        if saved is None or any(
            r.get("trial", row["trial"]) != row["trial"] for r in saved.reports[-1:]
        ):
            return None
        for report in self._at(row["trial"], saved.step):
            same = all(report[name] == row[name] for name in ("parent", *MUTABLE))
            if same and report["val_loss"] is not None:
                return Weights(file, saved, report | {"status": row["status"]}, best=False)
        return None

    def _report(self, saved: Saved, number: int) -> Row | None:
        """The report of a checkpoint's weights; None if it is not the trial's own."""
        in_table = self._at(number, saved.step)
        if not saved.reports:  # as earlier versions of `ffnet train` wrote them
            return in_table[0] if in_table else None
        own = saved.reports[-1]
        if own.get("trial", number) != number or "val_loss" not in own:
            return None
        known = {name: own[name] for name in FIGURES if name in own} | {"trial": number}
        for report in in_table:  # it also has the hyper-parameters that pbt changes
            if report["val_loss"] == own["val_loss"]:
                return report | known
        return known

    def _is_best(self, report: Row, row: Row) -> bool:
        best = f"best_{self._metric}"
        return (
            report.get(self._metric) is not None
            and report[self._metric] == row[best]
            and report["epoch"] == row[f"{best}_epoch"]
        )

    def _at(self, number: int, step: int) -> list[Row]:
        """The rows of epochs.parquet for a trial's step: one, or none."""
        if self._reports is None:
            self._reports = tables.read_table(self._run.epochs, COLUMNS)
        wanted = (pc.field("trial") == number) & (pc.field("step") == step)
        rows: list[Row] = self._reports.filter(wanted).to_pylist()
        return rows


def _loaded(file: File) -> Saved | None:
    """A checkpoint; None if it does not exist, or is removed meanwhile by a study that runs."""
    try:
        return checkpoints.load(file) if file.exists() else None
    except FileNotFoundError:
        return None
