"""Chooses which trials a table shows, in which order, and with which columns."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from ffnet.errors import InputError
from ffnet.report.text import default_columns
from ffnet.report.where import Condition
from ffnet.run import ledger, tables
from ffnet.run.folder import RunFolder
from ffnet.run.listing import labels
from ffnet.run.ranking import best_first, ranked, tuning_of
from ffnet.run.study_files import read_study
from ffnet.run.tables import Row, Status
from ffnet.spec.base import Values
from ffnet.spec.sections import Tuning

RUN = "run"
"""The column with the run's name. It is in no file: every table gets it when it is read."""


@dataclass(frozen=True)
class Asked:
    """What a user wants to see.

    Attributes:
        statuses: only trials with one of these.
        where: only trials for which this is true; None for all.
        sort: a column, with - before it for descending order; None for the best trial first.
        columns: names of columns; ["all"] for all, None for the main ones.
        top: how many trials; 0 for all.
    """

    statuses: Sequence[str] = tuple(Status)
    where: Condition | None = None
    sort: str | None = None
    columns: Sequence[str] | None = None
    top: int = 0


@dataclass(frozen=True)
class Chosen:
    """The rows of a table.

    Attributes:
        rows: the rows, in order, at most as many as asked for.
        columns: the names of the columns to show.
        found: how many trials fit what was asked.
        begun: how many trials have begun in all runs.
        core_times: a line for each run: where its core time went.
    """

    rows: list[Row]
    columns: list[str]
    found: int
    begun: int
    core_times: list[str]


def choose(folders: Sequence[RunFolder], asked: Asked) -> Chosen:
    """The trials of one or more runs.

    Raises:
        InputError: a run comes twice, has no table yet, or cannot be read; a column does not exist;
            or runs of different metrics have no common order.
    """
    places = [folder.place for folder in folders]
    for folder in folders:
        if places.count(folder.place) > 1:
            raise InputError(f"each run must come once. Given: {folder}, twice")
        if not folder.trials.exists():
            raise InputError(f"{folder} has no table yet: its study has not written one")
    studies = [read_study(str(folder.study)) for folder in folders]
    tunings = [tuning_of(s, str(f.study)) for s, f in zip(studies, folders, strict=True)]
    columns = _columns(asked.columns, studies)
    sort = (asked.sort or f"best_{tunings[0].metric}").removeprefix("-").strip()
    names, needed = labels(folders), [*columns, sort, "trial", "status"]
    if not asked.sort:
        _refuse_two_metrics(names, tunings)
    rows: list[Row] = []
    begun, core_times = 0, []
    for name, folder in zip(names, folders, strict=True):
        table = _read(folder, [*needed, *(asked.where.columns if asked.where else ())])
        begun += len(table)
        rows += _rows(table, name, needed, asked)
        core_times.append(f"{name}: " * (len(folders) > 1) + _core_time(folder, table))
    if asked.sort:
        rows = ranked(rows, sort, descending=asked.sort.startswith("-"))
    else:
        rows = best_first(rows, tunings[0])
    return Chosen(rows[: asked.top or len(rows)], columns, len(rows), begun, core_times)


def _columns(asked: Sequence[str] | None, studies: Sequence[Values]) -> list[str]:
    several = [RUN] if len(studies) > 1 else []
    if asked is None:
        each = [name for study in studies for name in default_columns(study)]
        last = default_columns(studies[0])[-5:]  # the figures stay behind all searched fields
        searched = [name for name in dict.fromkeys(each) if name not in last]
        return [*several, *searched, *last]
    return [*several, *tables.TRIALS.names] if list(asked) == ["all"] else list(asked)


def _refuse_two_metrics(names: Sequence[str], tunings: Sequence[Tuning]) -> None:
    for name, tuning in zip(names, tunings, strict=True):
        if tuning.metric != tunings[0].metric:
            raise InputError(
                f"runs with different metrics have no best trial in common: give an order with "
                f"--sort. Given: {tunings[0].metric} in {names[0]}, {tuning.metric} in {name}"
            )


def _read(folder: RunFolder, names: Sequence[str]) -> pa.Table:
    """A run's table with these columns, and those of the ledger."""
    wanted = dict.fromkeys([*names, *ledger.COLUMNS])
    return tables.read_table(folder.trials, [name for name in wanted if name != RUN])


def _rows(table: pa.Table, run: str, names: Sequence[str], asked: Asked) -> list[Row]:
    if asked.where:
        named = table.append_column(RUN, pa.array([run] * len(table), pa.string()))
        table = asked.where.keep(named).drop_columns([RUN])
    wanted = [name for name in dict.fromkeys(names) if name != RUN]
    rows: list[Row] = table.select(wanted).to_pylist()
    for row in rows:
        row[RUN] = run
    return [row for row in rows if row["status"] in asked.statuses]


def _core_time(folder: RunFolder, trials: pa.Table) -> str:
    try:
        return ledger.read(folder, trials).line()
    except InputError as error:  # epochs.parquet or the metadata are damaged; the table is not
        return f"core time: not known ({error})"
