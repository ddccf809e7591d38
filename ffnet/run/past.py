"""Reads back what a study did before it was stopped or killed, so that it can continue."""

import math
import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from ffnet.data.dataset import DataSet
from ffnet.errors import InputError
from ffnet.run import learnt, provenance, recorded, rescue, storage, tables
from ffnet.run.folder import RunFolder
from ffnet.run.improvement import ended_early
from ffnet.run.ledger import REPORT_COLUMNS, in_progress
from ffnet.run.sessions import Session, of_metadata
from ffnet.run.storage import File
from ffnet.run.tables import Row, Status
from ffnet.spec.base import Values
from ffnet.spec.net import ENDING
from ffnet.spec.study import Study
from ffnet.spec.trial import TrialConfig, report_points, steps_per_epoch
from ffnet.spec.validation import validated

FREE = (
    "resources", "data.data_dir", "budget.wall_seconds", "budget.concurrency", "budget.max_failed",
    "budget.trial_timeout_seconds", "budget.keep_checkpoints",
)  # fmt: skip
"""Fields and sections that may differ when a study continues: they do not change results."""

EXTENDED = ("budget.trials", "budget.epochs")
"""Fields that may grow when a study continues: see `check_extension`."""


@dataclass(frozen=True)
class Past:
    """What earlier processes of a study did; empty for a new study.

    Attributes:
        trials: the rows of trials.parquet.
        reports: the rows of epochs.parquet that the trials' rows include.
        undecided: the other rows of epochs.parquet. They come again with the trials' checkpoints:
            see `_judged`.
        sessions: the processes that ran the study; empty if an earlier version ran it.
        retry_failed: whether failed trials are trained again.
        document: the content that study.json gets when the study continues.
        learnt: the trials of an earlier run that the study learns from.
        notes: lines for the user about these trials.
    """

    trials: list[Row] = field(default_factory=list)
    reports: list[Row] = field(default_factory=list)
    retry_failed: bool = False
    document: Values | None = None
    undecided: list[Row] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    learnt: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def goes_on(self, row: Row, study: Study) -> bool:
        """Whether a trial is trained further.

        It is when it has not ended, when the study now has more epochs, or when it failed and
        failed trials are trained again. A trial that ended as it became no better stays done with
        more epochs, too: in a longer study it would have ended at the same epoch.
        """
        more = row["epochs"] < study.budget.epochs and not ended_early(row)
        return (
            not Status(row["status"]).has_ended
            or (row["status"] == Status.DONE and more)
            or (row["status"] == Status.FAILED and self.retry_failed)
        )

    def unfinished(self, study: Study) -> list[TrialConfig]:
        """The configurations of the trials that are trained further, by number."""
        rows = sorted(self.trials, key=lambda row: row["trial"])
        resolved = study.resolved()
        return [recorded.config(resolved, row) for row in rows if self.goes_on(row, study)]

    def left(self, study: Study) -> int:
        """How many trials still need training: the unfinished and the new ones."""
        return study.trials - len(self.trials) + len(self.unfinished(study))

    def accept(self, folder: RunFolder) -> None:
        """Write into study.json that the study continues, and which fields have changed."""
        if self.document:
            storage.write_json(folder.study, self.document)


def read(folder: RunFolder, study: Study, data: DataSet, retry_failed: bool = False) -> Past:
    """The past of a run that will continue.

    Args:
        folder: the run's folder.
        study: the study as it is now. It may have more trials or epochs than the run.
        data: its data set.
        retry_failed: whether failed trials are trained again.

    Raises:
        InputError: the run has another study or other data, or cannot have more trials or epochs.
    """
    document = recorded.read_study_json(rescue.found(folder) or folder)
    before = validated(Study, document["study"], str(folder.study), recorded=True)
    changed = {p: (old, new) for p, old, new in _differences(before.resolved(), study.resolved())}
    for place, (old, new) in changed.items():
        if not _may_change(place, old, new):
            again = ["ffnet", "tune", str(folder.study), "--out", str(folder), "--resume"]
            raise InputError(
                f"{folder} holds another study: {place} is {old!r} there. Given: {new!r}; "
                f"name a new folder with --out, or continue that study: {shlex.join(again)}"
            )
    check_extension(before, study)
    provenance.check_data(document["data"], data, str(folder))
    if saved := rescue.take_back(folder):
        print(f"tables that were saved in {saved} are back in the run")
    elif saved := rescue.followed(folder):
        print(f"tables in {saved} are not used, because another driver has continued the run since")
    rows, reports = _rows(folder.trials), _rows(folder.epochs)
    past = Past(rows, retry_failed=retry_failed)
    _check_last_reports(past, study, len(data.train))
    judged = _judged(past, study, reports)
    now = {"at": datetime.now(UTC).isoformat(), "commit": provenance.commit(), "changed": changed}
    document |= {"study": study.resolved(), "resumed": [*document.get("resumed", []), now]}
    keys = {(report["trial"], report["step"]) for report in judged}
    undecided = [r for r in reports if (r["trial"], r["step"]) not in keys]
    return replace(
        past, reports=judged, document=document, undecided=undecided,
        sessions=_sessions(folder), learnt=learnt.read(folder) if study.tuning.learn_from else [],
    )  # fmt: skip


def is_same(folder: RunFolder, study: Study) -> bool:
    """Whether the run in a folder has this study, so that it can continue there."""
    try:
        values = recorded.read_study_json(folder)["study"]
        before = validated(Study, values, str(folder.study), recorded=True)
    except InputError:
        return False
    return all(_may_change(*each) for each in _differences(before.resolved(), study.resolved()))


def _may_change(place: str, before: Any, now: Any) -> bool:
    if place == "tuning.learn_from":
        return isinstance(before, str) and isinstance(now, str) and _may_be_one(before, now)
    return place in EXTENDED or place in FREE or place.split(".")[0] in FREE


def _may_be_one(*paths: str) -> bool:
    """Whether two paths may name one run, because one path ends with the other.

    The folder from which a path starts may be another one when a study continues, and
    `ffnet submit` makes the path absolute. What was learnt lies in the study's own folder.

    >>> _may_be_one("runs/a", "/home/me/runs/a"), _may_be_one("runs/a", "/home/me/runs/b")
    (True, False)
    """
    parts = ([p for p in PurePath(os.path.normpath(path)).parts if p != ".."] for path in paths)
    shorter, longer = sorted(parts, key=len)
    return bool(shorter) and longer[-len(shorter) :] == shorter


def check_extension(before: Study, now: Study) -> None:
    """Refuse fewer trials or epochs, and more if they would change the results so far.

    Args:
        before: the run's study.
        now: the study that would continue the run.

    Raises:
        InputError: says what cannot change, and why.
    """
    for name, had, has in (
        ("trials", before.trials, now.trials),
        ("epochs", before.budget.epochs, now.budget.epochs),
    ):
        if had == has:
            continue
        given = f"Given: {name} {has}, before {had}"
        if has < had:
            raise InputError(
                f"a study that continues must have as many {name} as before or more. {given}"
            )
        if now.tuning.scheduler in ("hyperband", "pbt"):
            raise InputError(
                f"{now.tuning.scheduler} compares a set of trials that is fixed at the beginning, "
                f"so its studies cannot get more {name}. {given}; start a new study"
            )
        if name == "epochs" and (ending := _that_ends(now)):
            raise InputError(
                f"{ending} ends at the last epoch, so with more epochs the trials would have been "
                f"trained with other rates. {given}; start a new study"
            )


def _that_ends(study: Study) -> str | None:
    """A schedule that ends at the last epoch, which a trial may have, with its field's name."""
    for name, values in ENDING.items():
        drawn = (probe for domain in study.space.root.get(name, ()) for probe in domain.probes())
        for value in (getattr(study.training, name), *drawn):
            if value in values:
                return f"{name} {value}"
    return None


def _sessions(folder: RunFolder) -> list[Session]:
    """The sessions until now. What running trials did before a kill, without a report, is lost."""
    if not folder.trials.exists():
        return []
    trials = tables.read_table(folder.trials, ["trial", "status", "started_at"])
    sessions = of_metadata(trials.schema.metadata, str(folder.trials))
    if sessions:
        reports = tables.read_table(folder.epochs, REPORT_COLUMNS)
        sessions[-1].lost_seconds += in_progress(trials, sessions[-1], reports)
    return sessions


def _rows(table: File) -> list[Row]:
    """A table's rows without nulls. No rows if the study was killed before its first table."""
    if not table.exists():
        return []
    return [{k: v for k, v in row.items() if v is not None} for row in tables.read(table)]


def _check_last_reports(past: Past, study: Study, examples: int) -> None:
    """Refuse more epochs if a trial ended at a step where a longer training does not report.

    The trial's next report would then cover another part of the training than its row says.

    Args:
        past: what the study did.
        study: the study with more epochs.
        examples: number of training examples.

    Raises:
        InputError: names the trial, its last step and `report_steps`.
    """
    for config in past.unfinished(study):
        row = next(row for row in past.trials if row["trial"] == config.number)
        step = round(row["epochs"] * steps_per_epoch(config, examples))
        if row["status"] == Status.DONE and step not in report_points(config, examples):
            raise InputError(
                f"a study can get more epochs only if each trial ended at a multiple of "
                f"report_steps. Given: trial {row['trial']} ended at step {step}, report_steps "
                f"{config.training.report_steps}; start a new study"
            )


def _judged(past: Past, study: Study, reports: list[Row]) -> list[Row]:
    """The reports that the trials' rows include.

    epochs.parquet is written before trials.parquet. After a kill between the two, epochs.parquet
    has reports whose trials may or may not have been stopped. These reports come again with the
    trials' checkpoints. With PBT all reports count, as a trial may go back to an earlier epoch.
    """
    if study.tuning.scheduler == "pbt":
        return reports
    until = {
        row["trial"]: row["epochs"] if past.goes_on(row, study) else math.inf for row in past.trials
    }
    return [report for report in reports if report["epoch"] <= until.get(report["trial"], -1)]


def _differences(before: Values, now: Values) -> Iterable[tuple[str, Any, Any]]:
    """(field, value before, value now) for each field that differs."""
    for section in sorted(before.keys() | now.keys()):
        old, new = before.get(section), now.get(section)
        if not isinstance(old, dict) or not isinstance(new, dict):
            if old != new:
                yield section, old, new
            continue
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                yield f"{section}.{name}", old.get(name), new.get(name)
