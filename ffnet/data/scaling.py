"""Scales examples: measures the training part, and subtracts a centre and divides by a scale.

Features are scaled in float64, so that two close numbers stay different. A gap (NaN) has no effect
on what is measured, and stays a gap. The smooth clip of `robust` and the knots of `quantile` are
applied in the graph, by `ffnet.nets.preparation`.
"""

from collections.abc import Callable
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ffnet.data.raw import blocks
from ffnet.errors import InputError

Array = npt.NDArray[Any]
Scaling = Literal["standard", "robust", "quantile"]

Cell = Callable[[int, float], str]
"""Returns what messages call the place of a number, given its column or channel; see `Raw.cell`."""


def _feature(column: int, _number: float) -> str:
    return f"feature {column}"


MOST_KNOTS = 129
"""The knots of a column divide its numbers into up to 128 parts with the same count."""


class Scales(NamedTuple):
    """How the numbers of each column are scaled.

    Attributes:
        centre, scale: float64 [D]; a number becomes (number - centre) / scale.
        knots: for `quantile`, the knots of each column: an even number of floats. The first half
            are scaled numbers, each larger than the one before, also as float32; the second half
            says what they become. Between two knots the map is linear; a number beyond the
            outermost knots becomes what the nearest knot becomes. Empty for other scalings.
    """

    centre: Array
    scale: Array
    knots: tuple[tuple[float, ...], ...]


def scales(x: Array, scaling: Scaling, cell: Cell = _feature) -> Scales:
    """Measure how to scale features.

    standard: mean and standard deviation.
    robust: the median, and the distance between the quartiles; if that is 0, half the distance
        between the smallest and the largest number. The graph then clips a scaled number x
        smoothly, to x / sqrt(1 + (x / 3)²). Source: Holzmüller, Grinsztajn and Steinwart, "Better
        by default: strong pre-tuned MLPs and boosted trees on tabular data", 2024.
    quantile: mean and standard deviation, and knots of a map to a normal distribution. Quantiles
        at equal distances become the same quantiles of the normal distribution; numbers that fill
        several quantiles become the middle one. The outermost knots are at the probabilities
        1 / 2N and 1 - 1 / 2N for N numbers.

    A column whose numbers are all equal gets scale 1.

    Args:
        x: features of the training part [N, D], not yet scaled; NaN for a gap.
        scaling: the study's `scaling`.
        cell: names the place of a number, for messages.

    Raises:
        InputError: float64 cannot hold the spread of a column.

    Example:
        >>> scales(np.array([[1.0], [2.0], [4.0], [5.0], [np.nan]]), "robust").centre
        array([3.])
    """
    if scaling == "robust":
        of_columns = [_quartiles(_there(x, i)) for i in range(x.shape[1])]
        low, centre, scale, high = np.array(of_columns).T
        _refuse_wide(scale, low, high, cell)
        return Scales(centre, scale, ())
    centre, scale = statistics(x, cell)
    if scaling == "standard":
        return Scales(centre, scale, ())
    knots = tuple(_knots(_there(x, i), centre[i], scale[i]) for i in range(x.shape[1]))
    return Scales(centre, scale, knots)


def _there(x: Array, column: int) -> Array:
    """Return the numbers of a column without its gaps, float64 [M]."""
    numbers = np.asarray(x[:, column], np.float64)
    return numbers[~np.isnan(numbers)]


def _quartiles(numbers: Array) -> tuple[float, float, float, float]:
    """Return the smallest number, the median, the robust scale, and the largest number."""
    if not len(numbers):
        return 0.0, 0.0, 1.0, 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # refused by the caller
        low, first, median, third, high = np.quantile(numbers, [0, 0.25, 0.5, 0.75, 1])
        return low, median, float(third - first) or float(high - low) / 2 or 1.0, high


def _knots(numbers: Array, centre: float, scale: float) -> tuple[float, ...]:
    """Return the knots of a column, as `Scales.knots` says."""
    count = len(numbers)
    if not count:
        return (0.0, 0.0)
    probabilities = np.linspace(0, 1, min(MOST_KNOTS, max(2, count)))
    quantiles = np.quantile(numbers, probabilities)
    scaled = standardized(quantiles[:, None], np.array([centre]), np.array([scale]))[:, 0]
    places, first, counts = np.unique(scaled, return_index=True, return_counts=True)
    middle = (probabilities[first] + probabilities[first + counts - 1]) / 2
    normal = map(NormalDist().inv_cdf, middle.clip(0.5 / count, 1 - 0.5 / count))
    return (*map(float, places), *normal)


def statistics(x: Array, cell: Cell = _feature, width: int = 0) -> tuple[Array, Array]:
    """Return mean and standard deviation of each channel (images) or column (features).

    A channel or column whose values are all equal gets deviation 1, so that dividing by it
    changes nothing. Gaps (NaN) are not counted.

    Args:
        x: examples [N, ...] as in `Part.x`, not yet standardised.
        cell: names the place of a number, for messages.
        width: for a single column [N, 1] of a table without gaps: how many columns the table has.
            The results are then, bit by bit, those of the whole table.

    Returns:
        Mean and deviation, [C] or [D]; float32 for pixels (uint8), else float64.

    Raises:
        InputError: float64 cannot hold the spread of a column.
    """
    rows = _by_channel(x)
    return _of_bytes(rows) if x.dtype == np.uint8 else _of_floats(rows, cell, width)


def standardized(x: Array, mean: Array, std: Array, cell: Cell = _feature) -> Array:
    """Return (x - mean) / std, float32 [N, ...]. `ffnet.nets.normalization` gives the same bits.

    Args:
        x: examples [N, ...] as in `Part.x`; NaN for a gap, which stays NaN.
        mean, std: results of `statistics` or `scales`; the computation uses their dtype.
        cell: names the place of a number, for messages.

    Raises:
        InputError: float32 cannot hold a result.
    """
    scaled = np.empty(x.shape, np.float32)
    scale = 1 / std
    for part in blocks(x):
        with np.errstate(over="ignore", under="ignore"):
            scaled[part] = (_by_channel(x[part]) - mean).__imul__(scale).reshape(scaled[part].shape)
        if (far := np.isinf(_by_channel(scaled[part]))).any():
            at, column = (int(i[0]) for i in np.nonzero(far))
            number = _by_channel(x[part])[at, column]
            raise InputError(
                f"features must lie within 1e38 standard deviations of the training part's mean. "
                f"Given: {number:g} in {cell(column, number)}; correct it or leave its row out"
            )
    return scaled


def _by_channel(x: Array) -> Array:
    """Reshape x to two axes: [pixels, channels] for images, [N, columns] for features."""
    return x.reshape(-1, 1 if x.ndim == 3 else x.shape[-1])


def _of_bytes(rows: Array) -> tuple[Array, Array]:
    """Use a histogram: it is exact, and seven times faster than sums of squares in float64."""
    counts = np.zeros((rows.shape[1], 256))
    for start in range(0, len(rows), 1 << 20):
        for column, count in enumerate(counts):
            count += np.bincount(rows[start : start + (1 << 20), column], minlength=256)
    value = np.arange(256)
    mean = counts @ value / len(rows)
    std = np.sqrt(np.maximum(counts @ value**2 / len(rows) - mean**2, 0))
    std[(counts > 0).sum(axis=1) == 1] = 1
    return mean.astype(np.float32), std.astype(np.float32)


def _of_floats(rows: Array, cell: Cell, width: int) -> tuple[Array, Array]:
    """Scale each column to 0 … 1 before summing, so that large numbers keep their precision."""
    low = np.fmin.reduce([np.fmin.reduce(rows[part]) for part in blocks(rows)]).astype(np.float64)
    high = np.fmax.reduce([np.fmax.reduce(rows[part]) for part in blocks(rows)]).astype(np.float64)
    empty = np.isnan(low)  # a column of gaps
    low[empty] = high[empty] = 0
    with np.errstate(all="ignore"):
        return _of_range(rows, low, high, cell, width)


def _of_range(rows: Array, low: Array, high: Array, cell: Cell, width: int) -> tuple[Array, Array]:
    span = high - low
    constant = span == 0
    span[constant] = 1
    gaps = sum(np.isnan(rows[part]).sum(axis=0) for part in blocks(rows))
    count = np.maximum(len(rows) - gaps, 1)
    add = np.nansum if gaps.any() else _in_order if width > 1 else np.sum
    every = [*blocks(rows, width or None)]
    total = sum(add((rows[part] - low) / span, axis=0) for part in every)
    middle = total / count
    squares = sum(add(((rows[part] - low) / span - middle) ** 2, axis=0) for part in every)
    std = np.sqrt(squares / count) * span
    std[constant] = 1
    _refuse_wide(std, low, high, cell)
    return low + middle * span, std


def _in_order(numbers: Array, axis: int) -> Array:
    """Add the numbers one by one, as NumPy adds the rows of a table of two columns or more."""
    total: Array = np.add.accumulate(numbers, axis)[-1]
    return total


def _refuse_wide(scale: Array, low: Array, high: Array, cell: Cell) -> None:
    """Raise InputError if float64 cannot hold a column's scale, or 1 / scale."""
    with np.errstate(over="ignore", divide="ignore"):
        wrong = ~(np.isfinite(scale) & np.isfinite(1 / scale))
    if wrong.any():
        column = int(wrong.argmax())
        far = max(low[column], high[column], key=abs)
        raise InputError(
            f"features must have a spread that float64 holds. Given: {low[column]:g} to "
            f"{high[column]:g}, {far:g} in {cell(column, far)}; scale this column, correct the "
            f"number, or leave the column out"
        )
