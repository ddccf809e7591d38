"""Turns the features of files into floats without merging two numbers; refuses missing values."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ffnet.data.raw import blocks, listed
from ffnet.errors import InputError

Array = npt.NDArray[Any]


def as_floats(
    x: Array, where: str, columns: Sequence[str] | None = None, rows: Array | None = None
) -> Array:
    """Return features [N, ...] as float32 if every number of the dtype fits, else as float64.

    Args:
        x: numbers [N, ...].
        where: what messages call the file and the array or column.
        columns: names of the features.
        rows: the numbers of the rows in the file, for messages; None if `x` has all rows.

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
        _refuse_gaps(x, where, columns, rows)
    _refuse_rounded(x, floats, where, columns, rows)
    return floats


def fits_float32(x: Array) -> bool:
    """Whether float32 holds every number of `x`."""
    if x.dtype in (np.uint8, np.float32):
        return True
    with np.errstate(over="ignore", under="ignore"):
        return all((x[rows].astype(np.float32) == x[rows]).all() for rows in blocks(x))


def _refuse_rounded(
    x: Array, floats: Array, where: str, columns: Sequence[str] | None, rows: Array | None
) -> None:
    """Raise InputError if float64 rounds a number, because two numbers may become equal."""
    for at in _rounded(x, floats):
        whole = x.dtype.kind in "iu"
        way = "subtract a constant from the whole column" if whole else "save them as float64"
        row, column = divmod(at, x.size // len(x))
        name = f" of column {listed([columns[column]])}" if columns else ""
        raise InputError(
            f"{where}: features must be numbers that float64 holds. Given: {x.flat[at]!s} at row "
            f"{row if rows is None else rows[row]}{name}; {way}"
        )


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


def _refuse_gaps(
    x: Array, where: str, columns: Sequence[str] | None, numbers: Array | None
) -> None:
    for rows in blocks(x):
        wrong = ~np.isfinite(x[rows]).reshape(rows.stop - rows.start, -1)
        if wrong.any():
            row = int(wrong.any(axis=1).argmax())
            column = int(wrong[row].argmax())
            value = x[rows].reshape(len(wrong), -1)[row, column]
            given = "NaN, a missing value," if np.isnan(value) else f"{value}"
            name = f"column {listed([columns[column]])}" if columns else f"feature {column}"
            at = rows.start + row if numbers is None else numbers[rows.start + row]
            raise InputError(
                f"{where}: features must be finite numbers. Given: {given} in {name} at row "
                f"{at} (counted from 0); fill such gaps or drop these rows"
            )
