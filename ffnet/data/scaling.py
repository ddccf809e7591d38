"""Scales examples to mean 0 and standard deviation 1. Features are scaled in float64, so that two
close numbers stay different."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ffnet.data.raw import blocks, listed
from ffnet.errors import InputError

Array = npt.NDArray[Any]


def statistics(x: Array, columns: Sequence[str] | None = None) -> tuple[Array, Array]:
    """Return mean and standard deviation of each channel (images) or column (features).

    A channel or column whose values are all equal gets deviation 1, so that dividing by it
    changes nothing.

    Args:
        x: examples [N, ...] as in `Part.x`, not yet standardised.
        columns: names of the features, for messages.

    Returns:
        Mean and deviation, [C] or [D]; float32 for pixels (uint8), else float64.

    Raises:
        InputError: float64 cannot hold the spread of a column.
    """
    rows = _by_channel(x)
    return _of_bytes(rows) if x.dtype == np.uint8 else _of_floats(rows, columns)


def standardized(x: Array, mean: Array, std: Array) -> Array:
    """Return (x - mean) / std, float32 [N, ...]. `ffnet.nets.normalization` gives the same bits.

    Args:
        x: examples [N, ...] as in `Part.x`.
        mean, std: results of `statistics`; the computation uses their dtype.

    Raises:
        InputError: float32 cannot hold a result.
    """
    scaled = np.empty(x.shape, np.float32)
    scale = 1 / std
    for part in blocks(x):
        with np.errstate(over="ignore", under="ignore"):
            scaled[part] = (_by_channel(x[part]) - mean).__imul__(scale).reshape(scaled[part].shape)
        if not np.isfinite(scaled[part]).all():
            raise InputError(
                "features must lie within 1e38 standard deviations of the training part's mean. "
                "Given: a number further away; correct it or drop its row"
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


def _of_floats(rows: Array, columns: Sequence[str] | None) -> tuple[Array, Array]:
    """Scale each column to 0 … 1 before summing, so that large numbers keep their precision."""
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
