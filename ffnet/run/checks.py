"""Checks a run's table while it is read: it may come from another person or be damaged."""

import math
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ffnet.errors import InputError, one_line
from ffnet.spec.net import NEWEST, PATH
from ffnet.spec.sections import LOWER_IS_BETTER, METRICS, on_test

BYTES_OF_A_CELL = 32  # a cell needs at least so much memory as a Python object
MOST_MEMORY = 0.5  # share of the machine's memory that a table may take
SHOWN, LISTED = 60, 200  # characters of a value, and of a list of columns, in a message

FIRST_COLUMNS = {
    "trial", "status", "reason", "hidden_sizes", "activation", "initializer", "learning_rate",
    "batch_size", "seed", "best_val_accuracy", "best_val_accuracy_epoch", "best_val_loss",
    "best_val_loss_epoch", "last_val_accuracy", "last_val_loss", "epochs", "node", "worker",
    "queue_seconds", "setup_seconds", "train_seconds", "evaluate_seconds", "report_seconds",
    "worker_memory", "started_at", "ended_at", "epoch", "step", "train_loss", "val_loss",
    "val_accuracy", "reported_at",
}  # fmt: skip
"""Columns of ffnet's first version. A table of a later version has all of them."""

_NEW_METRICS = [metric for metric in METRICS if metric not in FIRST_COLUMNS]
LATEST_COLUMNS = {"embedding_sizes", "class_weight", *_NEW_METRICS, *map(on_test, _NEW_METRICS)} | {
    f"{prefix}_{metric}{suffix}"
    for metric in _NEW_METRICS
    for prefix, suffix in (("best", ""), ("best", "_epoch"), ("last", ""))
}
"""Columns that came last but for PATH and NEWEST. Columns in none of the sets came before them.

A table has all columns of a version and of the versions before it. Only those of NEWEST came one by
one, so any of them may be absent.
"""

Rule = Callable[[Any], Any]  # a column → a boolean column that says which values are right


def _between(low: Any, high: Any) -> Rule:
    """The rule that values lie from `low` to `high`.

    The bounds become Arrow values only when a value lies outside, because PyArrow then imports
    pandas, and this import takes longer than everything else.
    """

    def rule(column: Any) -> Any:
        with suppress(OverflowError, ValueError):  # a time that Python cannot represent
            found = pc.min_max(column).as_py()
            if found["min"] is None or (low <= found["min"] and found["max"] <= high):
                return pc.equal(column, column)  # false for NaN, which `min_max` ignores
        return pc.and_kleene(
            pc.greater_equal(column, pa.scalar(low)), pc.less_equal(column, pa.scalar(high))
        )

    return rule


COUNT = ("a whole number from 0", _between(0, 2**62))
POSITIVE = ("above 0", _between(math.ulp(0.0), sys.float_info.max))
SHARE = ("from 0 to 1", _between(0, 1))
FINITE = ("a finite number", pc.is_finite)
_in_years = _between(0, int(datetime(2200, 1, 1, tzinfo=UTC).timestamp() * 1e6))
YEARS = (
    "a time of the years 1970 to 2199",
    lambda column: _in_years(column.cast(pa.int64())),  # as microseconds: without pandas
)
RULES: dict[str, tuple[str, Rule]] = {
    **dict.fromkeys(("trial", "seed", "parent", "worker", "worker_memory", "step"), COUNT),
    **dict.fromkeys(("look", "net", "fold", "winner", "nets", "most"), COUNT),  # trained again
    "folds": ("2 or more", _between(2, 2**31)),
    **dict.fromkeys(("epoch", "batch_size", "best_epoch", "pruned_epoch"), POSITIVE),
    **{f"best_{metric}_epoch": POSITIVE for metric in METRICS},
    "epochs": ("0 or more", _between(0, 2**53)),
    **dict.fromkeys(("started_at", "ended_at", "reported_at"), YEARS),
    **{
        prefix + metric: FINITE if metric in LOWER_IS_BETTER else SHARE
        for metric in METRICS
        for prefix in ("", "best_", "last_")
    },
    **{on_test(metric): SHARE for metric in METRICS if metric not in LOWER_IS_BETTER},
    **dict.fromkeys(("label_smoothing", "average_decay", "augment_crop", "augment_erase"), SHARE),
    **dict.fromkeys(
        (
            "learning_rate", "momentum", "weight_decay", "warmup_epochs", "step_epochs",
            "step_factor", "train_loss", "queue_seconds", "setup_seconds", "train_seconds",
            "evaluate_seconds", "report_seconds", "winner_figure", "gain", "mixup", "clip_norm",
            "frequency_scale", "augment_rotate", "input_noise",
        ),
        FINITE,
    ),
}  # fmt: skip
"""Column → the rule for its values, in words and as a function. Null is always allowed."""


def check_file(name: str, table: pq.ParquetFile, schema: pa.Schema) -> None:
    """Refuse a file by its metadata, before its rows are read.

    Args:
        name: the file's name, for messages.
        table: the file.
        schema: the columns that ffnet writes. The file may have further columns.

    Raises:
        InputError: the file lacks a column, has a column twice, or is too large to be read.
    """
    have = table.schema_arrow.names
    if twice := sorted({column for column in have if have.count(column) > 1}):
        given = one_line(twice[0], SHOWN)
        raise InputError(f"{name}: each column must have a different name. Given: {given}, twice")
    needed = {*schema.names} - {*NEWEST}
    between = needed - FIRST_COLUMNS - LATEST_COLUMNS - {*PATH}
    for latest in ({*NEWEST}, {*PATH}, LATEST_COLUMNS, between):
        if latest & {*have}:
            break
        needed -= latest
    if lacking := [column for column in schema.names if column in needed and column not in have]:
        given = one_line(", ".join(have), LISTED)
        raise InputError(f"{name}: needs a column {lacking[0]!r}. Given: {given}")
    groups = [table.metadata.row_group(i) for i in range(table.num_row_groups)]
    cells = table.metadata.num_rows * max(1, len(have)) * BYTES_OF_A_CELL
    size = max(cells, sum(abs(group.total_byte_size) for group in groups))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory * MOST_MEMORY:
        raise InputError(
            f"{name}: must fit into half of the machine's memory. Given: {table.metadata.num_rows} "
            f"rows, {size / 1e9:,.1f} GB or more"
        )


def checked(name: str, table: pa.Table, schema: pa.Schema, keys: list[str]) -> pa.Table:
    """The table with its known columns converted to the schema's types.

    Args:
        name: the file's name, for messages.
        table: the table as it was read, with at least the columns `keys`.
        schema: the types of the known columns.
        keys: columns without nulls, which together identify a row.

    Raises:
        InputError: a value is wrong. The message names its row, counted from 1, and its column.
    """
    for column in set(table.column_names) & set(schema.names):
        at = table.column_names.index(column)
        typed = _typed(name, column, table.column(at), schema.field(column).type)
        table = table.set_column(at, schema.field(column), typed)
        if column in RULES:
            words, rule = RULES[column]
            _refuse_first(name, column, typed, pc.invert(rule(typed)), words)
        _refuse_inner_nulls(name, column, typed)
    for key in keys:
        values = table.column(key)
        _refuse_first(name, key, values, pc.is_null(values), "given")
    _refuse_twice(name, table.select([key for key in keys if key != "status"]))
    return table


def check_values(name: str, column: str, values: Any, valid: Iterable[str]) -> None:
    """Refuse a text column if it has null or a value that is not in `valid`."""
    valid = list(valid)
    if not set(values.unique().to_pylist()) <= set(valid):
        wrong = pc.invert(pc.is_in(values, pa.array(valid)))
        _refuse_first(name, column, values, wrong, "|".join(valid))


def _typed(name: str, column: str, values: Any, wanted: pa.DataType) -> Any:
    given = values.type
    if pa.types.is_dictionary(given):
        given = given.value_type
    if not _may_become(given, wanted):
        raise InputError(f"{name}, column {column}: must be {wanted}. Given: {given}")
    try:
        return values.cast(wanted)
    except pa.ArrowException as error:
        raise InputError(
            f"{name}, column {column}: must be {wanted} ({one_line(str(error), SHOWN)})"
        ) from None


def _may_become(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values may be converted: only to a wider or narrower type of the same kind."""
    types = pa.types
    if types.is_list(wanted):
        inner = types.is_list(given) or types.is_large_list(given)
        return inner and _may_become(given.value_type, wanted.value_type)
    return (
        types.is_null(given)
        or given == wanted
        or (types.is_integer(wanted) and types.is_integer(given))
        or (types.is_floating(wanted) and (types.is_floating(given) or types.is_integer(given)))
        or (types.is_string(wanted) and types.is_large_string(given))
        or (types.is_timestamp(wanted) and types.is_timestamp(given) and given.tz is not None)
    )


def _refuse_first(name: str, column: str, values: Any, wrong: Any, words: str) -> None:
    """Raise InputError for the first wrong row, if there is any."""
    if not pc.any(wrong).as_py():
        return
    at = pc.index(pc.fill_null(wrong, False), True).as_py()
    given = one_line(str(values[at]), SHOWN)
    raise InputError(f"{name}, row {at + 1}: {column} must be {words}. Given: {given}")


def _refuse_inner_nulls(name: str, column: str, values: Any) -> None:
    if pa.types.is_list(values.type) and pc.list_flatten(values).null_count:
        raise InputError(f"{name}, column {column}: a list must have no missing values")


def _refuse_twice(name: str, keys: pa.Table) -> None:
    """Raise InputError for the first row that has the same keys as an earlier row."""
    columns = [column.to_pylist() for column in keys.columns]
    seen: set[tuple[Any, ...]] = set()
    for at, key in enumerate(zip(*columns, strict=True)):
        if key in seen:
            words = ", ".join(f"{n} {v}" for n, v in zip(keys.column_names, key, strict=True))
            raise InputError(f"{name}, row {at + 1}: {words} is also in an earlier row")
        seen.add(key)
