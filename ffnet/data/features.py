"""Turns the features of files into floats without merging two numbers; refuses missing values."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ffnet.data.raw import Place, blocks, listed
from ffnet.errors import InputError

Array = npt.NDArray[Any]


def as_floats(x: Array, where: Place, columns: Sequence[str] | None = None) -> Array:
    """Return features [N, ...] as float32 if every number of the dtype fits, else as float64.

    Args:
        x: numbers [N, ...].
        where: the table, array or column.
        columns: names of the features.

    Raises:
        InputError: the values are not numbers, or a number is missing, infinite or one that
            float64 cannot hold.
    """
    if x.dtype.kind not in "biuf":
        raise InputError(f"{where}: features must be numbers. Given: {listed([x.dtype])}")
    small = x.dtype.itemsize <= (4 if x.dtype.kind == "f" else 2)
    with np.errstate(over="ignore", under="ignore"):  # only long doubles; refused below
        floats = x.astype(np.float32 if small else np.float64, copy=False)
    if x.dtype.kind == "f":
        _refuse_gaps(x, where, columns)
    _refuse_rounded(x, floats, where, columns)
    return floats


def fits_float32(x: Array) -> bool:
    """Whether float32 holds every number of `x`."""
    if x.dtype in (np.uint8, np.float32):
        return True
    with np.errstate(over="ignore", under="ignore"):
        return all((x[rows].astype(np.float32) == x[rows]).all() for rows in blocks(x))


def _refuse_rounded(x: Array, floats: Array, where: Place, columns: Sequence[str] | None) -> None:
    """Raise InputError if float64 rounds a number, because two numbers may become equal."""
    for at in _rounded(x, floats):
        whole = x.dtype.kind in "iu"
        way = "subtract a constant from the whole column" if whole else "save them as float64"
        if columns:
            way += ", or name it in drop if it is an identifier, in categorical if it is a code"
        row, column = divmod(at, x.size // len(x))
        raise InputError(
            f"{where}: features must be numbers that float64 holds. Given: {x.flat[at]!s} in "
            f"{_named(column, columns)}, {where.row(row)}; {way}"
        )


def _named(column: int, columns: Sequence[str] | None) -> str:
    return f"column {listed([columns[column]])}" if columns else f"feature {column}"


def _rounded(x: Array, floats: Array) -> Iterator[int]:
    """Yield the positions of numbers that float64 rounds: integers beyond 2^53, long doubles."""
    if x.size == 0 or x.itemsize < 8:
        return
    if x.dtype.kind == "f":
        yield from map(int, np.flatnonzero(x != floats) if x.itemsize > 8 else ())
    elif max(int(x.max()), -int(x.min())) > 2**53:
        for at, (value, rounded) in enumerate(zip(x.flat, floats.flat, strict=True)):
            if int(value) != int(rounded):
                yield at


def _refuse_gaps(x: Array, where: Place, columns: Sequence[str] | None) -> None:
    for rows in blocks(x):
        wrong = ~np.isfinite(x[rows]).reshape(rows.stop - rows.start, -1)
        if wrong.any():
            row = int(wrong.any(axis=1).argmax())
            column = int(wrong[row].argmax())
            value = x[rows].reshape(len(wrong), -1)[row, column]
            given = "NaN, a missing value," if np.isnan(value) else f"{value}"
            raise InputError(
                f"{where}: features must be finite numbers. Given: {given} in "
                f"{_named(column, columns)}, {where.row(rows.start + row)}; fill such gaps or drop "
                f"these rows"
            )
