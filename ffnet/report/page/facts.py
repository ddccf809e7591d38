"""What the page says about a run: the content of its files, read once."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from ffnet.run import ledger, ranking, recorded, tables
from ffnet.run.folder import RunFolder
from ffnet.run.ledger import Ledger
from ffnet.run.tables import Row, Status
from ffnet.spec.base import Values
from ffnet.spec.sections import Metric, Tuning
from ffnet.spec.study import Study
from ffnet.spec.validation import validated

METRICS: dict[Metric, str] = {
    "val_accuracy": "validation accuracy",
    "val_loss": "validation loss",
    "val_balanced_accuracy": "balanced validation accuracy",
    "val_macro_f1": "validation macro F1",
    "val_auc": "validation AUC",
}
"""A metric's column → its name on the page."""


@dataclass(frozen=True)
class Facts:
    """The content of a run's files.

    Attributes:
        folder: the run.
        document: the content of study.json.
        study: the study; None for a single net.
        tuning: names the metric by which trials are compared.
        rows: the rows of trials.parquet, the best trial first.
        reports: the rows of epochs.parquet, by trial and step.
    """

    folder: RunFolder
    document: Values
    study: Study | None
    tuning: Tuning
    rows: Sequence[Row]
    reports: Sequence[Row]

    @classmethod
    def read(cls, folder: RunFolder) -> "Facts":
        """Read a run, which may be running and may have no tables yet.

        Raises:
            InputError: a file of the run cannot be read.
        """
        document = recorded.read_study_json(folder)
        source, whole = str(folder.study), document["study"]
        tuning = ranking.tuning_of(whole, source)
        rows = tables.read(folder.trials) if folder.trials.exists() else []
        reports = tables.read(folder.epochs) if folder.epochs.exists() else []
        known = {row["trial"] for row in rows}  # epochs.parquet is written first
        return cls(
            folder=folder,
            document=document,
            study=validated(Study, whole, source, recorded=True) if "space" in whole else None,
            tuning=tuning,
            rows=ranking.best_first(rows, tuning),
            reports=sorted(
                (report for report in reports if report["trial"] in known),
                key=lambda report: (report["trial"], report["step"]),
            ),
        )

    @property
    def metric(self) -> Metric:
        """The column of the study's metric in epochs.parquet."""
        return self.tuning.metric

    @property
    def metric_name(self) -> str:
        """The metric's name on the page."""
        return METRICS[self.metric]

    @property
    def name(self) -> str:
        """The study's name; for a single net, the name of the run's folder."""
        return str(self.document["study"].get("name") or self.folder.name)

    @property
    def data(self) -> Values:
        """The section of study.json about the data."""
        data: Values = self.document["data"]
        return data

    @property
    def epochs(self) -> int:
        """Number of epochs of a trial that is not stopped."""
        whole = self.document["study"]
        return int(whole["budget"]["epochs"] if "budget" in whole else whole["epochs"])

    @cached_property
    def counts(self) -> Counter[Status]:
        """Status → number of trials."""
        return Counter(Status(row["status"]) for row in self.rows)

    @cached_property
    def sound(self) -> list[Row]:
        """The trials with a figure that neither diverged nor failed, the best first."""
        return [row for row in self.rows if self.value(row) is not None]

    @property
    def best(self) -> Row | None:
        """The best trial; None while no trial has a figure."""
        return self.sound[0] if self.sound else None

    @property
    def validation_examples(self) -> int | None:
        """Number of validation examples; None if study.json does not say it."""
        size = self.data.get("sizes", {}).get("validation")
        return int(size) if size else None

    @cached_property
    def of_trial(self) -> dict[int, list[Row]]:
        """Trial number → its reports, in order."""
        found: dict[int, list[Row]] = {}
        for report in self.reports:
            found.setdefault(report["trial"], []).append(report)
        return found

    @property
    def searched(self) -> list[str]:
        """The names of the fields that the study varies; for a single net, none."""
        return self.study.space.varied(self.study.base) if self.study else []

    @property
    def ended(self) -> bool:
        """Whether no trial is running and all trials of the study have begun."""
        wanted = self.study.trials if self.study else 1
        return not self.counts[Status.RUNNING] and len(self.rows) >= wanted

    def value(self, row: Row) -> float | None:
        """A trial's best figure; None if it has none, or if the trial diverged or failed."""
        value = row[f"best_{self.metric}"]
        if value is None or not math.isfinite(value) or row["status"] in ranking.UNSOUND:
            return None
        return float(value)

    def best_report(self, row: Row) -> Row | None:
        """The report with a trial's best figure."""
        epoch = row[f"best_{self.metric}_epoch"]
        reports = self.of_trial.get(row["trial"], [])
        return next((r for r in reports if r["epoch"] == epoch), None)

    @cached_property
    def ledger(self) -> Ledger:
        """Where the core time of a run with trials went."""
        return ledger.read(self.folder)

    def wall_seconds(self) -> float | None:
        """Seconds from the study's start to the last write of its tables.

        Where that was not recorded, they begin with the first trial.
        """
        if self.rows and self.ledger.wall_seconds is not None:
            return self.ledger.wall_seconds
        begun = [row["started_at"] for row in self.rows if row["started_at"]]
        times: list[Any] = [row["ended_at"] for row in self.rows]
        times += [report["reported_at"] for report in self.reports]
        last: datetime | None = max((time for time in times if time), default=None)
        return (last - min(begun)).total_seconds() if last and begun else None
