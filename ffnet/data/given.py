"""Reads data from Python: arrays of examples and labels, or a table with a column of labels.

    (x, y)                                    arrays, or what NumPy can turn into arrays: lists, …
    (frame, series)                           a table of features, and its labels
    frame                                     a table; the study's `target` names the labels' column
    {"train": (x, y), "validation": (x, y), "test": (x, y)}      parts, of arrays or of tables

A table is a pandas DataFrame, a PyArrow Table or RecordBatch, or a table of any library that has
Arrow's C interface, for example Polars. pandas is never imported here.

Arrays obey the rules of npz files, and tables obey the rules of Parquet files. The same content
gives the same data set, bit by bit. The caller's arrays are not changed.
"""

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from ffnet.data import arrays, images, labels, tables
from ffnet.data.by_column import ByColumn
from ffnet.data.coded import Coded
from ffnet.data.labels import Labels
from ffnet.data.raw import PARTS, Array, Place, Raw, listed, refuse_uneven, refused
from ffnet.errors import InputError
from ffnet.spec.sections import GIVEN, Data

FORMS = 'a pair (x, y), a table, or {"train": …, "validation": …, "test": …} of pairs or tables'
UNNAMED_LABELS = "y"


class GivenTable(tables.Table):
    """A table in memory."""

    def __init__(self, table: pa.Table, where: Place) -> None:
        self.table, self.where, self.name = table, where, str(where)
        self.schema = table.schema

    def read(self, columns: list[str]) -> pa.Table:
        """Return the named columns, without copying them."""
        return self.table.select(columns)

    def images(self, column: str) -> Array:
        """Return the decoded images of a column."""
        batches = self.table.select([column]).to_batches(tables.IMAGES_AT_ONCE)
        return images.decode(tables.encoded(batches), len(self.table), self.where.of(column))

    def reading(self) -> AbstractContextManager[None]:
        """Turn errors that PyArrow raises for odd values into an InputError."""
        return refused(self.where, "cannot be read as a table")


def as_given(data: Data) -> Data:
    """Return the `[data]` section for data from Python: its dataset is "given".

    Raises:
        InputError: the study names another data set, or a folder of data.
    """
    default = Data.model_fields["dataset"].default
    for field, value, usual in (
        ("dataset", data.dataset, (default, GIVEN)),
        ("data_dir", data.data_dir, (None,)),
    ):
        if value not in usual:
            raise InputError(
                f"{field} must be left out when the data are given from Python (data=…). "
                f"Given: {value}"
            )
    return data.model_copy(update={"dataset": GIVEN})


def read(given: Any, data: Data) -> Raw:
    """Read data from Python into parts.

    Args:
        given: a pair (x, y), a table, or a dict of parts; see the top of this module.
        data: `target` names the column of labels of a table; `drop_unlabelled` decides whether
            rows without a label are left out or refused.

    Raises:
        InputError: `given` has another form, or breaks a rule of npz or Parquet files.

    Example:
        >>> read(([[0.5], [1.5]], ["low", "high"]), Data(dataset="given")).parts["train"][1]
        array(['low', 'high'], dtype='<U4')
    """
    parts = _parts(given)
    target = data.target
    if target is None and _is_pair(parts["train"]):
        name = getattr(parts["train"][1], "name", None)
        target = UNNAMED_LABELS if name is None else str(name)
    found = {
        part: _read(value, part, f" ({part})" if isinstance(given, Mapping) else "", target)
        for part, value in parts.items()
    }
    in_tables = {part: [each] for part, each in found.items() if isinstance(each, GivenTable)}
    in_arrays = [each for each in found.values() if isinstance(each, arrays.Pair)]
    if in_tables and in_arrays:
        raise InputError("data: all parts must be tables, or all must be arrays. Given: both")
    if in_tables:
        raw = tables.read(in_tables, data.model_copy(update={"target": target}))
        raw = replace(raw, given="a table")
    else:
        raw = arrays.read(in_arrays, data.drop_unlabelled)
        raw = replace(raw, target=target, given="arrays")
    _refuse_copies(raw)
    return raw


def _parts(given: Any) -> dict[str, Any]:
    """Return {part: its data}. Data without parts are all in the part "train"."""
    if not isinstance(given, Mapping):
        return {"train": given}
    parts: dict[str, Any] = {}
    for name, value in given.items():
        part = PARTS.get(name) if isinstance(name, str) else None
        if part is None or part in parts:
            raise InputError(
                f"data: its parts must be called train, validation and test, each once. Given: "
                f"{listed(given)}; a table of columns is a DataFrame or a PyArrow Table"
            )
        parts[part] = value
    if "train" not in parts:
        raise InputError(f"data: must have a part called train. Given: {listed(given) or 'none'}")
    return parts


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2


def _read(value: Any, part: str, suffix: str, target: str | None) -> GivenTable | arrays.Pair:
    """Read one part, as a table with its labels or as a pair of arrays."""
    where = Place(f"data{suffix}")
    if not _is_pair(value):
        table = as_table(value, where)
        if table is None:
            size = f" of {len(value)}" if isinstance(value, tuple | list) else ""
            raise InputError(f"{where}: must be {FORMS}. Given: a {type(value).__name__}{size}")
        return GivenTable(table, where)
    x, y = value
    if isinstance(x, tuple):
        raise InputError(f"{where}: must be {FORMS}. Given: a pair whose x is a tuple")
    of_x, of_y = Place(f"x{suffix}"), Place(f"y{suffix}")
    table = as_table(x, of_x)
    if table is None:
        return arrays.Pair(part, where, of_x, _array(x, of_x), of_y, _labels(y, of_y))
    _refuse_other_index(x, y, of_x, of_y)
    assert target is not None
    return GivenTable(_with_labels(table, y, of_x, of_y, target), where)


# --- tables --------------------------------------------------------------------------------------


def as_table(value: Any, where: Place) -> pa.Table | None:
    """Return the value as a PyArrow table, or None if it is no table.

    An index of pandas becomes a column, and the metadata say that this column is an index, as in
    a Parquet file.
    """
    if isinstance(value, pa.Table):
        return value
    if isinstance(value, pa.RecordBatch):
        return pa.Table.from_batches([value])
    if _is_frame(value) or hasattr(value, "__arrow_c_stream__"):
        with refused(where, "cannot be read as a table"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*column names of mixed type", UserWarning)
            return pa.table(value)
    return None


def _is_frame(value: Any) -> bool:
    """Whether a value is a DataFrame of pandas, judged by its attributes."""
    return hasattr(value, "iloc") and hasattr(value, "columns")


def _is_series(value: Any) -> bool:
    return hasattr(value, "iloc") and hasattr(value, "to_frame")


def _with_labels(table: pa.Table, y: Any, of_x: Place, of_y: Place, target: str) -> pa.Table:
    """Return the table with the labels as its last column."""
    if target in table.schema.names:
        raise InputError(
            f"{of_x}: must not have a column with the labels' name. Given: {listed([target])}; "
            f"drop this column if it holds the labels, or give the labels another name with target"
        )
    column = _column(y, of_y)
    refuse_uneven(len(table), len(column), f"{of_x} and {of_y}")
    return table.append_column(target, column)


def _refuse_other_index(x: Any, y: Any, of_x: Place, of_y: Place) -> None:
    """Raise InputError if x and y have different indices of pandas.

    ffnet joins rows by their position, and different indices say that the positions do not match.
    """
    if _is_frame(x) and (_is_series(y) or _is_frame(y)) and not x.index.equals(y.index):
        refuse_uneven(len(x), len(y), f"{of_x} and {of_y}")
        raise InputError(
            f"{of_x} and {of_y}: must have the same index. Given: different ones; if the rows are "
            f"in the same order, give y.to_numpy()"
        )


def _column(y: Any, where: Place) -> pa.ChunkedArray:
    """Return labels of any kind as a column of Arrow."""
    column = _arrow(y, where)
    if column is not None:
        return column
    array = _array(y, where)
    found = labels.from_array(array, where)
    with refused(where, "cannot be read as labels"):
        if found.width is not None:
            flat = pa.array(np.ascontiguousarray(array, np.float64).ravel())
            return pa.chunked_array([pa.FixedSizeListArray.from_arrays(flat, found.width)])
        place = pa.array(np.cumsum(found.there) - 1, mask=~found.there)
        return pa.chunked_array([pa.array(found.values).take(place)])


# --- arrays --------------------------------------------------------------------------------------


def _labels(y: Any, where: Place) -> Labels:
    column = _arrow(y, where)
    if column is not None:
        return labels.from_column(column, where)
    return labels.from_array(_array(y, where), where)


def _arrow(y: Any, where: Place) -> pa.ChunkedArray | None:
    """Return labels as a column of Arrow if a table library holds them; None for all others."""
    with refused(where, "cannot be read as labels"):
        if isinstance(y, pa.Array):
            return pa.chunked_array([y])
        if _is_series(y):
            return pa.table(y.to_frame("y"))["y"]
        if _is_frame(y):
            return pa.table(y).column(0) if len(y.columns) == 1 else None
        if hasattr(y, "__arrow_c_stream__"):
            return pa.chunked_array(y)
    return None


def _array(value: Any, where: Place) -> Array:
    """Return the value as a NumPy array. It shares the caller's memory if that is possible."""
    masked = np.argwhere(value.mask).tolist() if isinstance(value, np.ma.MaskedArray) else []
    if len(masked):
        raise InputError(
            f"{where}: must have no masked values. Given: {len(masked):,}, the first in "
            f"{where.row(masked[0][0])}; fill them or leave these rows out"
        )
    with refused(where, "must be an array, or values that NumPy can turn into an array"):
        array = np.asarray(value)
        if array.ndim == 0:
            raise TypeError(f"it is of type {type(value).__name__}")
        if isinstance(value, list) and array.ndim == 1 and array.dtype.kind in "US":
            array = np.array(value, object)  # NumPy would turn a number among texts into text
    return array


def _refuse_copies(raw: Raw) -> None:
    """Raise InputError if two parts are equal: a net would be tested on its training examples."""
    for (one, (x, y)), (other, (u, v)) in combinations(raw.parts.items(), 2):
        if _same(y, v) and _same(x, u):
            raise InputError(
                f"data ({other}): must not have the same content as another part. Given: a copy of "
                f"{one}"
            )


def _same(a: Any, b: Any) -> bool:
    """Whether two parts have the same examples, or the same labels."""
    if isinstance(a, ByColumn) and isinstance(b, ByColumn):
        columns = zip(a.columns(), b.columns(), strict=False)
        return a.shape == b.shape and all(np.array_equal(*each) for each in columns)
    if isinstance(a, Coded) and isinstance(b, Coded):
        return np.array_equal(a.codes, b.codes) and np.array_equal(a.texts, b.texts)
    return np.array_equal(a, b)
