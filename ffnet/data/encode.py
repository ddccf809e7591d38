"""Turns the columns of a table into what nets get, by the training part alone.

Memory holds the result in float32, and only one column as it stands in the files.

See `ffnet.data.encoding.Column` for what the numbers mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ffnet.data import aligned, duplicates
from ffnet.data.encoding import Column
from ffnet.data.features import fits_float32
from ffnet.data.raw import Raw
from ffnet.data.scaling import Cell, Scaling, scales, standardized, statistics
from ffnet.errors import InputError
from ffnet.spec.sections import Data

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Encoded:
    """Columns as nets get them.

    Attributes:
        columns, mean, std, dtype: `encoding`, `mean`, `std` and `dtype` of the `DataSet`.
        x: {part: its examples}.
        hashes: {part: the hashes of its examples as they stand in the files}.
    """

    columns: tuple[Column, ...] | None
    mean: Array
    std: Array
    dtype: str
    x: dict[str, Array]
    hashes: dict[str, duplicates.Hashes]


def encode(raw: Raw, rows: Mapping[str, Rows], data: Data, with_columns: bool) -> Encoded:
    """Measure the training part, and encode all parts. Only one column at a time is copied.

    Args:
        raw: the columns of all files.
        rows: {part: its rows}, counted over all parts of `raw` in their order; "train" is measured.
        data: `scaling`, and `imputation` of gaps in numbers.
        with_columns: whether the data set gets an encoding. A table of complete numbers gets none.

    Raises:
        InputError: float64 cannot hold the spread of a column.
    """
    assert raw.columns
    if data.scaling == "unit":
        raise InputError("scaling unit divides pixels (uint8) by 255. Given: columns of a table")
    width, table = len(raw.columns), raw.features()
    mean, std, columns, fits = np.zeros(width), np.ones(width), [], True
    x = {p: aligned.empty((len(of_part), width), np.float32) for p, of_part in rows.items()}
    hashed = np.zeros(len(table), np.uint64)
    for i, (name, values) in enumerate(zip(raw.columns, table.columns(), strict=True)):
        duplicates.add_column(values, hashed)
        cell = _in_column(raw, i)
        train = values[rows["train"]]
        if i in raw.categories:
            column, place = _categories(name, train, raw.categories[i])
            columns.append(column)
            found = _codes(values, place)
        elif with_columns:
            column, mean[i], std[i] = of_numbers(name, train, data.scaling, data.imputation, cell)
            columns.append(replace(column, kind="date") if i in raw.dates else column)
            found = _scaled(values, mean[i], std[i], cell)
        else:
            fits = fits and fits_float32(values)
            mean[i : i + 1], std[i : i + 1] = statistics(train[:, None], cell, width)
            found = _scaled(values, mean[i], std[i], cell)
        for part, of_part in rows.items():
            x[part][:, i] = found[of_part]
    return Encoded(
        tuple(columns) if with_columns else None,
        mean,
        std,
        "float32" if fits and not with_columns else "float64",
        x,
        {part: hashed[of_part] for part, of_part in rows.items()},
    )


def _in_column(raw: Raw, column: int) -> Cell:
    """Return what names the place of a number of this column, which is measured alone."""
    return lambda _, number: raw.cell(column, number)


def _scaled(values: Array, mean: np.float64, std: np.float64, cell: Cell) -> Array:
    """Return scaled numbers, float32 [N]."""
    return standardized(values[:, None], np.array([mean]), np.array([std]), cell)[:, 0]


def _categories(name: str, train: Floats, texts: tuple[str, ...]) -> tuple[Column, Array]:
    """Return the column, and an array {provisional code: code} whose last item is for gaps."""
    there = train[~np.isnan(train)].astype(np.intp)
    counts = np.bincount(there, minlength=len(texts))
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    place = np.full(len(texts) + 1, len(order) + 1, np.float32)
    place[order] = np.arange(len(order))
    place[-1] = len(order)
    found = tuple(texts[i] for i in order)
    return Column(name, "category", found, gaps=len(there) < len(train)), place


def _codes(values: Floats, place: Array) -> Array:
    """Return the codes of provisional codes, float32 [N]."""
    known = np.where(np.isnan(values), len(place) - 1, values)
    return place[known.astype(np.intp)]


def of_numbers(
    name: str, train: Array, scaling: Scaling, imputation: str, cell: Cell
) -> tuple[Column, np.float64, np.float64]:
    """Return a column of numbers, its centre and its scale, measured in the training part [N].

    A column without two different numbers there has no scale. Its knots make all numbers 0, so that
    no number of another part, however large, disturbs a net that has learned nothing about it.
    `cell` names the place of a number, for messages.
    """
    measured = scales(train[:, None], scaling, cell)
    centre, scale = measured.centre[0], measured.scale[0]
    there = train[~np.isnan(train)]
    constant = not len(there) or bool(there.min() == there.max())
    fill = 0.0
    if len(there) and (imputation, scaling) != ("mean", "standard"):
        middle = np.median(there) if imputation == "median" else there.mean()
        fill = float((middle - centre) / scale)
    column = Column(
        name,
        "number",
        gaps=len(there) < len(train),
        fill=fill,
        scaling=scaling,
        knots=measured.knots[0] if measured.knots else (0.0, 0.0) * constant,
    )
    return column, centre, scale
