"""Splits a data set into training, validation and test parts without overlap."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from ffnet.data.dataset import Part
from ffnet.errors import InputError
from ffnet.spec.sections import GIVEN, Data

Index = npt.NDArray[np.intp]
Way = Literal["last", "stratified"]

DEFAULT_FRACTION = {True: 0.1, False: 0.15}  # of the training file: with, without a test part


def divide(
    parts: Mapping[str, Part], data: Data, validation: float | None, way: Way
) -> tuple[Part, Part, Part]:
    """The training, validation and test parts: those that the files give, the others cut off.

    Args:
        parts: those of the files: "train", perhaps "validation" and "test".
        data: what the study says of the split.
        validation: the size of the validation part where the study says none; None: a tenth of the
            training file, or 15 % where test examples are cut from it too.
        way: how validation and test examples are chosen where the study does not say.

    Raises:
        InputError: the study's split cannot be made, or splits what the files have split.
    """
    way = data.split or way
    _refuse_ignored(parts, data, way)

    def cut(part: Part, wanted: float, field: str) -> tuple[Part, Part]:
        count = amount(wanted, len(part), field)
        if way == "last":
            return last(count, part)
        return stratified(count, part, data.split_seed)

    rest, held, test = parts["train"], parts.get("validation"), parts.get("test")
    default = DEFAULT_FRACTION[test is not None]
    wanted = data.validation or validation or default
    if held is None and wanted < 1:  # of the whole training file, also where test was cut from it
        wanted = amount(wanted, len(rest), "validation")
    if test is None:
        rest, test = cut(rest, data.test or default, "test")
    if held is None:
        rest, held = cut(rest, wanted, "validation")
    return rest, held, test


def _refuse_ignored(parts: Mapping[str, Part], data: Data, way: Way) -> None:
    """A field that the files leave without an effect is refused."""
    name = "the given data set" if data.dataset == GIVEN else data.dataset
    for field, value in (("validation", data.validation), ("test", data.test)):
        if field in parts and value is not None:
            raise InputError(
                f"{field} must be left out: {name} has a {field} part of its own. Given: {value:g}"
            )
    if {"validation", "test"} <= parts.keys() and data.split is not None:
        raise InputError(
            f"split must be left out: {name} has validation and test parts of its own. "
            f"Given: {data.split}"
        )
    if data.split_seed and (way == "last" or {"validation", "test"} <= parts.keys()):
        raise InputError(
            f"split_seed must be left out: no example of {name} is chosen at random. "
            f"Given: {data.split_seed}"
        )


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
    at even distances: exact in total, within one example for each class. The rest keeps an example
    of each class.

    Raises:
        InputError: too few examples are left for the rest to have one of each class.
    """
    n = len(part)
    order = np.lexsort((np.random.default_rng(seed).random(n), part.y))
    drawn = np.zeros(n, bool)
    drawn[order[((np.arange(count) + 0.5) * n / count).astype(np.intp)]] = True
    _spare_each_class(drawn, part.y)
    assert drawn.sum() == count
    return part.take(np.flatnonzero(~drawn)), part.take(np.flatnonzero(drawn))


def _spare_each_class(drawn: npt.NDArray[np.bool_], y: npt.NDArray[np.int32]) -> None:
    """Give each class that was drawn whole an example back, in exchange for a frequent class's."""
    for lost in np.setdiff1d(y, y[~drawn]):
        left = np.bincount(y[~drawn], minlength=1)
        frequent = left.argmax()
        if left[frequent] < 2:
            raise InputError(
                f"a split must leave an example of each class to train on. Given: {drawn.sum()} of "
                f"{len(y)} examples drawn, {len(np.unique(y))} classes; draw fewer"
            )
        drawn[np.flatnonzero(drawn & (y == lost))[0]] = False
        drawn[np.flatnonzero(~drawn & (y == frequent))[-1]] = True
