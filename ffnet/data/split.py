"""Splits a data set into training, validation and test parts without overlap."""

import numpy as np
import numpy.typing as npt

from ffnet.data.dataset import Part
from ffnet.errors import InputError

Index = npt.NDArray[np.intp]


def amount(wanted: float, whole: int, field: str) -> int:
    """Examples meant by a count (>= 1) or a fraction (< 1) of `whole`.

    Raises:
        InputError: not a whole count, nothing, or not less than `whole`.
    """
    count = round(wanted * whole) if wanted < 1 else int(wanted)
    if wanted >= 1 and wanted != count:
        raise InputError(f"{field} must be a whole count or a fraction below 1. Given: {wanted:g}")
    if not 1 <= count < whole:
        raise InputError(
            f"{field} must leave examples on both sides. Given: {wanted:g} of {whole} examples"
        )
    return count


def last(count: int, part: Part) -> tuple[Part, Part]:
    """(the rest, the last `count` examples), as views."""
    cut = len(part) - count
    return part.take(slice(0, cut)), part.take(slice(cut, None))


def stratified(count: int, part: Part, seed: int) -> tuple[Part, Part]:
    """(the rest, `count` examples drawn at random with every class in proportion), in file order.

    Examples are put in random order within their class, the classes after one another, and picked
    at even distances: exact in total, within one example for each class.
    """
    n = len(part)
    order = np.lexsort((np.random.default_rng(seed).random(n), part.y))
    drawn = np.sort(order[((np.arange(count) + 0.5) * n / count).astype(np.intp)])
    rest = np.setdiff1d(np.arange(n), drawn, assume_unique=True)
    assert len(drawn) == count
    assert len(rest) + count == n  # every example once: in no two parts
    return part.take(rest), part.take(drawn)
