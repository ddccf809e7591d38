"""Finds columns that tell the class by themselves, which may hold the target under another name."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ffnet.data.dataset import Part

FEWEST = 20
"""With fewer examples, a column may tell the classes apart by chance."""
FIRST = 10_000
"""So many examples are looked at first. Nearly every column fails there."""


def telling(part: Part) -> list[int]:
    """Return the columns each of which predicts all labels of a part.

    Either each value belongs to one class, and values repeat; or the numbers in order show each
    class once, so that thresholds tell the classes apart.

    Args:
        part: the training part: features [N, columns].
    """
    if len(part) < FEWEST or part.x.ndim != 2:
        return []
    return [
        i
        for i in range(part.x.shape[1])
        if _tells(part.x[:FIRST, i], part.y[:FIRST]) and _tells(part.x[:, i], part.y)
    ]


def _tells(x: npt.NDArray[Any], y: npt.NDArray[np.int32]) -> bool:
    order = np.lexsort((y, x))
    x, y = x[order], y[order]
    same = (x[1:] == x[:-1]) | (np.isnan(x[1:]) & np.isnan(x[:-1]))
    changes = y[1:] != y[:-1]
    if (same & changes).any():
        return False
    repeats = 2 * int(same.sum()) >= len(x)
    return repeats or int(changes.sum()) + 1 == len(np.unique(y))
