"""What a study did before it was stopped or killed, so that it can go on: its tables, read back."""

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
    """The rows of both tables, of a study that begins none."""

    trials: list[Row] = field(default_factory=list)
    reports: list[Row] = field(default_factory=list)

    def unfinished(self, study: Study) -> list[TrialConfig]:
        """The trials to go on with, each from its checkpoint where it has one."""
        rows = (row for row in self.trials if row["status"] in UNFINISHED)
        return [recorded.config(study.resolved(), row) for row in rows]


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
    past = Past(_rows(folder.trials), _rows(folder.epochs))
    again = {"at": datetime.now(UTC).isoformat(), "commit": provenance.commit()}
    storage.write_json(folder.study, document | {"resumed": [*document.get("resumed", []), again]})
    return past


def _rows(table: File) -> list[Row]:
    """The rows without what is null; none where the study was killed before its first table."""
    if not table.exists():
        return []
    return [{k: v for k, v in row.items() if v is not None} for row in tables.read(table)]


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
