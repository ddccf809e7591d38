"""Gives features mean 0 and deviation 1: in float64, so that close numbers stay apart."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ffnet.data.raw import blocks, listed
from ffnet.errors import InputError

Array = npt.NDArray[Any]


def statistics(x: Array, columns: Sequence[str] | None = None) -> tuple[Array, Array]:
    """Mean and standard deviation per channel (images) or per column (features).

    A constant channel or column, whose values are all equal, gets deviation 1, so that dividing by
    it changes nothing.

    Args:
        x: examples [N, ...] as in `Part.x`; floats as they stand in the file.
        columns: names of the features of one example, for messages.

    Returns:
        Both float32 for pixels (uint8), else both float64.

    Raises:
        InputError: the values of a column lie too far apart for float64.
    """
    rows = _by_channel(x)
    return _of_bytes(rows) if x.dtype == np.uint8 else _of_floats(rows, columns)


def standardized(x: Array, mean: Array, std: Array) -> Array:
    """(x - mean) / deviation as float32. `ffnet.nets.normalization` gives the same bits.

    Args:
        x: examples [N, ...] as in `Part.x`.
        mean, std: of `statistics`; the arithmetic is of their dtype.

    Raises:
        InputError: a result that float32 cannot hold.
    """
    scaled = np.empty(x.shape, np.float32)
    scale = 1 / std
    for part in blocks(x):
        with np.errstate(over="ignore", under="ignore"):
            scaled[part] = (_by_channel(x[part]) - mean).__imul__(scale).reshape(scaled[part].shape)
        if not np.isfinite(scaled[part]).all():
            raise InputError(
                "features must lie within 1e38 deviations of the training part's mean. Given: "
                "one that lies further away; correct it or drop its row"
            )
    return scaled


def _by_channel(x: Array) -> Array:
    """[…, channels] of images, [N, columns] of features, [pixels, 1] of grey images."""
    return x.reshape(-1, 1 if x.ndim == 3 else x.shape[-1])


def _of_bytes(rows: Array) -> tuple[Array, Array]:
    """By histogram: exact, and seven times faster than sums of squares in float64."""
    counts = np.zeros((rows.shape[1], 256))
    for start in range(0, len(rows), 1 << 20):
        for column, count in enumerate(counts):
            count += np.bincount(rows[start : start + (1 << 20), column], minlength=256)
    value = np.arange(256)
    mean = counts @ value / len(rows)
    std = np.sqrt(np.maximum(counts @ value**2 / len(rows) - mean**2, 0))
    std[(counts > 0).sum(axis=1) == 1] = 1
    return mean.astype(np.float32), std.astype(np.float32)


def _of_floats(rows: Array, columns: Sequence[str] | None) -> tuple[Array, Array]:
    """Sums are of differences from the lowest value, divided by the largest difference."""
    low = np.min([rows[part].min(axis=0) for part in blocks(rows)], axis=0).astype(np.float64)
    high = np.max([rows[part].max(axis=0) for part in blocks(rows)], axis=0).astype(np.float64)
    with np.errstate(all="ignore"):
        return _of_range(rows, low, high, columns)


def _of_range(
    rows: Array, low: Array, high: Array, columns: Sequence[str] | None
) -> tuple[Array, Array]:
    span = high - low
    constant = span == 0
    span[constant] = 1
    total = sum(((rows[part] - low) / span).sum(axis=0) for part in blocks(rows))
    middle = total / len(rows)
    squares = sum((((rows[part] - low) / span - middle) ** 2).sum(axis=0) for part in blocks(rows))
    std = np.sqrt(squares / len(rows)) * span
    std[constant] = 1
    wrong = ~(np.isfinite(std) & np.isfinite(1 / std))
    if wrong.any():
        column = int(wrong.argmax())
        name = f"column {listed([columns[column]])}" if columns else f"feature {column}"
        raise InputError(
            f"features must have a spread that float64 holds. Given: {low[column]:g} to "
            f"{high[column]:g} in {name}; scale or drop it"
        )
    return low + middle * span, std
