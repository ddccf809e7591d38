"""Raw rows of a table with an encoding: as they stand in the files, or as a user gives them.

Both are a structured array [N] with a field for each column: numbers as float64, NaN for a gap;
categories as text and dates as ISO 8601, "" for a gap. The exported net takes these values.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ffnet.data import kinds
from ffnet.data.columns import base, stored
from ffnet.data.encoding import Column
from ffnet.data.given import as_table
from ffnet.data.kinds import Codes, Piece
from ffnet.data.raw import Place, Raw, listed, refused
from ffnet.data.text_columns import GAPS, stripped
from ffnet.errors import InputError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

PER_DAY = 86_400_000_000  # microseconds
ROWS = Place("rows")


def as_in_files(raw: Raw, at: npt.NDArray[np.intp]) -> Array:
    """Return rows of a mixed table as they stand in the files.

    Args:
        raw: the table.
        at: the wanted rows, counted over all parts of `raw` in their order.
    """
    assert raw.columns
    numbers = raw.features().rows(at)
    columns: dict[str, Array] = {}
    for i, name in enumerate(raw.columns):
        values = numbers[:, i].astype(np.float64)
        if i in raw.categories:
            values = _texts(np.nan_to_num(values, nan=-1).astype(np.int32), raw.categories[i])
        elif i in raw.dates:
            values = _dates(values)
        columns[name] = values
    return _joined(columns, len(at))


def of_user(columns: Sequence[Column], given: Any, missing: Sequence[str] = ()) -> Array:
    """Return rows that a user gives, by the rules of the reader of tables.

    Args:
        columns: the encoding.
        given: a DataFrame of pandas, a PyArrow Table, a table of another library with Arrow's C
            interface, a list of dicts, or a dict of columns. Other columns than those of the
            encoding are ignored.
        missing: texts that stand for a gap, besides the usual ones.

    Raises:
        InputError: it is no table, lacks a column, or holds a value of another kind.
    """
    table = _table(given, [column.name for column in columns])
    gaps, found = [*GAPS, *missing], {}
    for column in columns:
        values = stored(table[column.name])
        if column.kind != "category" and base(values.type) == "text":
            values = stripped(values, gaps)
        piece = Piece(column.name, ROWS, values.type, values)
        with refused(piece.of, "cannot be read"):
            found[column.name] = _values(piece, column)
    return _joined(found, len(table))


def is_table(given: Any) -> bool:
    """Whether a user's rows have names for their columns: see `of_user`."""
    if isinstance(given, Sequence) and not isinstance(given, str):
        return len(given) > 0 and all(isinstance(row, Mapping) for row in given)
    return isinstance(given, Mapping) or as_table(given, ROWS) is not None


def numbers_by_name(names: Sequence[str], given: Any) -> Floats:
    """Return the named columns of rows that a user gives as numbers [N, columns]: see `of_user`."""
    rows = of_user([Column(name, "number") for name in names], given)
    return np.column_stack([rows[name] for name in names])


def by_name(x: Array) -> Array | dict[str, Array]:
    """Return a structured array as {name of a field: its values}; other arrays as they are."""
    return {name: x[name] for name in x.dtype.names} if x.dtype.names else x


def _table(given: Any, columns: Sequence[str]) -> pa.Table:
    """Return rows that a user gives as a table, which has these columns and perhaps others."""
    table = _any_table(given)
    rows = given if isinstance(given, Sequence) else [dict.fromkeys(table.schema.names)]
    for at, row in enumerate(rows):
        if lacking := [name for name in columns if name not in row]:
            where = f"row {at} (counted from 0)" if isinstance(given, Sequence) else "rows"
            raise InputError(
                f"rows must have the columns of the data. Given: {where} without "
                f"{listed(lacking, 12)}; a gap is null or NaN"
            )
    return table


def _any_table(given: Any) -> pa.Table:
    with refused(ROWS, "cannot be read as a table"):
        if isinstance(given, Mapping):
            return pa.table({n: pa.array(values, from_pandas=True) for n, values in given.items()})
        if isinstance(given, Sequence) and all(isinstance(row, Mapping) for row in given):
            names = dict.fromkeys(name for row in given for name in row)
            return pa.table(
                {n: pa.array([row.get(n) for row in given], from_pandas=True) for n in names}
            )
        table = as_table(given, ROWS)
    if table is None:
        raise InputError(
            f"rows must be a DataFrame, a PyArrow Table or a list of dicts, with the columns of "
            f"the data. Given: a {type(given).__name__}"
        )
    return table


def _values(piece: Piece, column: Column) -> Array:
    kind = base(piece.type)
    if kind == "nothing":
        every: Array = np.full(len(piece.values), np.nan if column.kind == "number" else "")
        return every if column.kind == "number" else every.astype(object)
    if column.kind == "category":
        codes, texts = kinds.categories([piece])
        return _texts(codes[0], texts.to_pylist())
    if column.kind == "date":
        if kind not in ("dates", "text"):
            raise InputError(f"{piece.of} must hold dates. Given: {piece.type}")
        return _dates(_parsed(piece) if kind == "text" else kinds.dates(piece))
    if kind not in ("numbers", "booleans", "text"):
        raise InputError(f"{piece.of} must hold numbers. Given: {piece.type}")
    return kinds.numbers(piece)


def _parsed(piece: Piece) -> Floats:
    """Read dates that are written as text."""
    found = []
    for row, text in enumerate(piece.values.to_pylist()):
        try:
            at = datetime.fromisoformat(text) if text else None
        except ValueError:
            raise InputError(
                f"{piece.of} must hold dates such as 2024-02-29. Given: {listed([text])} in "
                f"{piece.where.row(row)}"
            ) from None
        found.append(np.nan if at is None else _days(at))
    return np.array(found, np.float64)


def _days(at: datetime) -> float:
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return (at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() / 86_400


def _texts(codes: Codes, texts: Sequence[str]) -> Array:
    """Return the texts of provisional codes; "" for a gap, whose code is -1."""
    return np.array([*texts, ""], object)[codes]


def _dates(days: Floats) -> Array:
    """Return dates as ISO 8601; "" for a gap."""
    gap = np.isnan(days)
    ticks = np.rint(np.where(gap, 0, days) * PER_DAY).astype("datetime64[us]")
    return np.where(gap, "", np.datetime_as_string(ticks)).astype(object)


def _joined(columns: Mapping[str, Array], rows: int) -> Array:
    whole = np.empty(rows, [(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        whole[name] = values
    return whole
