"""What a study did before it was stopped or killed, so that it can go on: its tables, read back."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ffnet.data.dataset import DataSet
from ffnet.errors import InputError
from ffnet.netspec import TrialConfig
from ffnet.results import provenance, recorded, storage, tables
from ffnet.results.layout import RunFolder
from ffnet.results.storage import File
from ffnet.results.tables import Row
from ffnet.study import Study

UNFINISHED = ("running", "stopped")
FREE = {"budget": ("wall_seconds", "concurrency", "max_failed"), "data": ("data_dir",)}
"""Fields that may differ when a study goes on, as `resources` may: they do not change results."""


@dataclass(frozen=True)
class Past:
    """What a study did before; empty for a new study.

    Attributes:
        trials, reports: the rows of both tables.
        retry_failed: whether failed trials are tried again.
    """

    trials: list[Row] = field(default_factory=list)
    reports: list[Row] = field(default_factory=list)
    retry_failed: bool = False

    def goes_on(self, row: Row, study: Study) -> bool:
        """Whether a trial is trained further: it is unfinished, or the study has more epochs."""
        return (
            row["status"] in UNFINISHED
            or (row["status"] == "done" and row["epochs"] < study.budget.epochs)
            or (row["status"] == "failed" and self.retry_failed)
        )

    def unfinished(self, study: Study) -> list[TrialConfig]:
        """The trials to go on with, by number, each from its checkpoint where it has one."""
        rows = sorted(self.trials, key=lambda row: row["trial"])
        resolved = study.resolved()
        return [recorded.config(resolved, row) for row in rows if self.goes_on(row, study)]


def read(folder: RunFolder, study: Study, data: DataSet) -> Past:
    """The past of a run that is to go on; study.json notes when it did.

    Raises:
        InputError: the run is of another study or of other data.
    """
    document = recorded.document(folder)
    for place, before, now in _differences(document["study"], study.resolved()):
        raise InputError(
            f"{folder} holds another study: {place} is {before!r} there. Given: {now!r}; "
            f"name a new folder with --out"
        )
    if document["data"]["sha256"] != data.digest:
        raise InputError(
            f"{folder} was begun with other data, SHA-256 {document['data']['sha256']}. "
            f"Given: {data.digest} at {data.source}"
        )
    rows = _rows(folder.trials)
    past = Past(rows, _judged(study, rows, _rows(folder.epochs)))
    again = {"at": datetime.now(UTC).isoformat(), "commit": provenance.commit()}
    storage.write_json(folder.study, document | {"resumed": [*document.get("resumed", []), again]})
    return past


def _rows(table: File) -> list[Row]:
    """The rows without what is null; none where the study was killed before its first table."""
    if not table.exists():
        return []
    return [{k: v for k, v in row.items() if v is not None} for row in tables.read(table)]


def _judged(study: Study, rows: list[Row], reports: list[Row]) -> list[Row]:
    """The reports that the trials' rows know of.

    epochs.parquet is written first. After a kill between the two it holds reports of which nobody
    knows what was decided; they come again with the trial's checkpoint. Under PBT a trial's epochs
    may go back.
    """
    if study.tuning.scheduler == "pbt":
        return reports
    until = {
        row["trial"]: row["epochs"] if row["status"] in UNFINISHED else math.inf for row in rows
    }
    return [report for report in reports if report["epoch"] <= until.get(report["trial"], -1)]


def _differences(before: dict[str, Any], now: dict[str, Any]) -> Iterable[tuple[str, Any, Any]]:
    for section in sorted((before.keys() | now.keys()) - {"resources"}):
        old, new = before.get(section), now.get(section)
        if not isinstance(old, dict) or not isinstance(new, dict):
            if old != new:
                yield section, old, new
            continue
        for name in sorted((old.keys() | new.keys()) - set(FREE.get(section, ()))):
            if old.get(name) != new.get(name):
                yield f"{section}.{name}", old.get(name), new.get(name)
