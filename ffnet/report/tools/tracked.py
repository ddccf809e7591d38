"""A run as experiment trackers take it: parameters, metrics by step, and tags of each trial."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ffnet.report.hparams import HParams, Value, as_text, of_study
from ffnet.run import ranking, recorded, tables
from ffnet.run.folder import RunFolder
from ffnet.run.study_files import name_of
from ffnet.run.tables import Row, Status
from ffnet.spec.base import Values
from ffnet.spec.net import MUTABLE
from ffnet.spec.sections import METRICS

CURVES = ("train_loss", *METRICS, "epoch")
"""Columns of epochs.parquet that are metrics of a step."""

IDENTITIES = ("trial", "seed", "parent", "worker")
"""Numbers that name something. They are tags, because nobody compares them."""


@dataclass(frozen=True)
class Report:
    """One report of a trial.

    Attributes:
        step: the number of training steps until the report.
        at: when it was reported; None if the table does not say it.
        metrics: name → number, without missing numbers.
    """

    step: int
    at: datetime | None
    metrics: dict[str, float]


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        number: its number in the table.
        status: its status.
        params: name → value of all hyper-parameters that the trial has: see `HParams.of`.
        metrics: name → number: the figures of the trial's row, such as best_val_accuracy.
        tags: name → text: the other columns of its row, and `best` for the best trial.
        begun: when it began, or None.
        ended: when it ended, or None.
        reports: its reports, by step.
    """

    number: int
    status: Status
    params: dict[str, Value]
    metrics: dict[str, float]
    tags: dict[str, str]
    begun: datetime | None
    ended: datetime | None
    reports: list[Report]


@dataclass(frozen=True)
class Tracked:
    """A run.

    Attributes:
        name: the name of its folder.
        study: the name of its study, or of its folder if it is a single net, with letters, digits,
            `_`, `.` and `-`. Runs of one study belong together.
        params: name → value of all fields of the study, such as tuning.scheduler.
        metrics: name → number: the best trial's value of the study's metric, and the number of
            trials of each status.
        tags: name → text: versions, commit, data, and the number of the best trial.
        begun: when the first trial began, or None.
        ended: when the last trial ended, or None.
        trials: all trials, by number.
    """

    name: str
    study: str
    params: dict[str, Value]
    metrics: dict[str, float]
    tags: dict[str, str]
    begun: datetime | None
    ended: datetime | None
    trials: list[Trial]

    def counts(self) -> Counter[Status]:
        """Status → number of trials."""
        return Counter(trial.status for trial in self.trials)


def tracked(folder: RunFolder) -> Tracked:
    """Read a run.

    Args:
        folder: the run. It may be running, and it may be a single net.

    Raises:
        InputError: the run cannot be read.
    """
    document = recorded.read_study_json(folder)
    study = document["study"]
    rows = tables.read(folder.trials) if folder.trials.exists() else []
    reports = tables.read(folder.epochs) if folder.epochs.exists() else []
    tuning = ranking.tuning_of(study, str(folder.study))
    best = ranking.best(rows, tuning)
    column = f"best_{tuning.metric}"
    counts = Counter(row["status"] for row in rows)
    return Tracked(
        name=folder.name,
        study=study.get("name") or name_of(folder.name),
        params=_flat(study),
        metrics=({column: best[column]} if best else {})
        | {"trials": len(rows)}
        | {f"trials_{status}": counts[status] for status in Status},
        tags=_about(document, best),
        begun=min((row["started_at"] for row in rows if row["started_at"]), default=None),
        ended=max((row["ended_at"] for row in rows if row["ended_at"]), default=None),
        trials=_trials(rows, reports, of_study(study, str(folder.study)), best),
    )


def _about(document: Values, best: Row | None) -> dict[str, str]:
    """The tags of a run."""
    tags = {f"version.{name}": version for name, version in document["versions"].items()}
    tags |= {"data": document["data"].get("name"), "data.sha256": document["data"]["sha256"]}
    tags |= {"commit": document.get("commit"), "best_trial": best and best["trial"]}
    return {name: str(value) for name, value in tags.items() if value is not None}


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Value]:
    """Nested values with names such as tuning.scheduler. Lists and empty tables become texts."""
    flat: dict[str, Value] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{before}{name}.")
        elif value is not None:
            simple = isinstance(value, bool | int | float | str)
            flat[before + name] = value if simple else json.dumps(value)
    return flat


def _trials(rows: list[Row], reports: list[Row], hparams: HParams, best: Row | None) -> list[Trial]:
    of_trial = defaultdict(list)
    for report in sorted(reports, key=lambda report: report["step"]):
        of_trial[report["trial"]].append(report)
    return [
        Trial(
            number=row["trial"],
            status=Status(row["status"]),
            params=_params(row, hparams),
            metrics=_figures(row),
            tags=_tags(row) | ({"best": "true"} if row is best else {}),
            begun=row["started_at"],
            ended=row["ended_at"],
            reports=_reports(of_trial[row["trial"]], hparams),
        )
        for row in sorted(rows, key=lambda row: row["trial"])
    ]


def _params(row: Row, hparams: HParams) -> dict[str, Value]:
    """A trial's hyper-parameters. Those that the study varies have the form that TensorBoard shows.

    If there is a number for each layer, such as hidden_sizes.1, then hidden_sizes is the text of
    the whole list.
    """
    varied, everything = hparams.of(row), HParams().of(row)
    for name in {name.partition(".")[0] for name in varied if "." in name}:
        everything[name] = as_text(name, row[name])
    return everything | varied


def _figures(row: Row) -> dict[str, float]:
    """The numbers of a row that are results."""
    return {
        name: value
        for name, value in row.items()
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and name not in (*tables.HYPERPARAMETERS, *IDENTITIES)
    }


def _tags(row: Row) -> dict[str, str]:
    """The texts of a row that are no hyper-parameters, and its identities."""
    return {
        name: str(value)
        for name, value in row.items()
        if name in IDENTITIES or (isinstance(value, str) and name not in tables.HYPERPARAMETERS)
        if value is not None
    }


def _reports(rows: list[Row], hparams: HParams) -> list[Report]:
    """A trial's reports. Hyper-parameters that changed while the trial trained are metrics too."""
    changing = [name for name in MUTABLE if any(row[name] != rows[0][name] for row in rows)]
    return [
        Report(
            step=row["step"],
            at=row["reported_at"],
            metrics={name: row[name] for name in CURVES if row[name] is not None}
            | {
                name: value
                for name, value in hparams.of({name: row[name] for name in changing}).items()
                if isinstance(value, int | float)
            },
        )
        for row in rows
    ]
