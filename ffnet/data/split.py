"""Splits a data set into training, validation and test parts that share no example."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from ffnet.data.dataset import Part
from ffnet.data.groups import dealt, spare_classes
from ffnet.errors import InputError
from ffnet.spec.sections import GIVEN, Data

Index = npt.NDArray[np.intp]
Way = Literal["last", "stratified"]

DEFAULT_FRACTION = {True: 0.1, False: 0.15}
"""{whether the files have a test part: default share of the training file for a new part}."""
FEW = 2
"""A class with so few examples is needed for training: no part can judge how well it is known."""


def divide(
    parts: Mapping[str, Part], data: Data, validation: float | None, way: Way
) -> tuple[Part, Part, Part]:
    """Return the training, validation and test parts.

    Parts that the files have are used as they are. Missing parts are taken from "train"; if it has
    groups, whole groups are drawn.

    Args:
        parts: the parts of the files: "train", and perhaps "validation" and "test".
        data: the fields of the split in the study.
        validation: size of the validation part if the study has none. None stands for a tenth of
            the training file, or 15 % if the test part is taken from it, too.
        way: how examples are chosen if the study does not say.

    Raises:
        InputError: the study's split is impossible, or it sets the size of a part that the files
            have already.
    """
    way = data.split or way
    _refuse_ignored(parts, data, way)

    def cut(part: Part, wanted: float, field: str) -> tuple[Part, Part]:
        count = amount(wanted, len(part), field)
        if way == "last":
            return last(count, part)
        if part.group is not None:
            return by_group(count, part, data.split_seed)
        return stratified(count, part, data.split_seed)

    rest, held, test = parts["train"], parts.get("validation"), parts.get("test")
    default = DEFAULT_FRACTION[test is not None]
    wanted = data.validation or validation or default
    if held is None and wanted < 1:  # a share of the file's training part, before test is taken
        wanted = amount(wanted, len(rest), "validation")
    if test is None:
        rest, test = cut(rest, data.test or default, "test")
    if held is None:
        rest, held = cut(rest, wanted, "validation")
    return rest, held, test


def _refuse_ignored(parts: Mapping[str, Part], data: Data, way: Way) -> None:
    """Raise InputError if a field of the split would have no effect."""
    name = "the given data set" if data.dataset == GIVEN else data.dataset
    for field, value in (("validation", data.validation), ("test", data.test)):
        if field in parts and value is not None:
            raise InputError(
                f"{field} must be left out: {name} already has a {field} part. Given: {value:g}"
            )
    if {"validation", "test"} <= parts.keys() and data.split is not None:
        raise InputError(
            f"split must be left out: {name} already has validation and test parts. "
            f"Given: {data.split}"
        )
    if data.group is not None and way == "last":
        raise InputError(
            f"a split by group draws groups at random: leave group out, or set split = stratified. "
            f"Given: split last, group {data.group}"
        )
    if data.split_seed and (way == "last" or {"validation", "test"} <= parts.keys()):
        raise InputError(
            f"split_seed must be left out: no example of {name} is chosen at random. "
            f"Given: {data.split_seed}"
        )


def amount(wanted: float, whole: int, field: str) -> int:
    """Return the number of examples that a count (>= 1) or a fraction (< 1) of `whole` stands for.

    Raises:
        InputError: the count is not a whole number, or one of the two parts would be empty.
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
    """Return (the rest, the last `count` examples), as views where that is possible.

    A class of up to FEW examples that are all among the last ones stays in the rest: no net could
    learn it otherwise.
    """
    cut = len(part) - count
    few = np.flatnonzero(np.bincount(part.y) <= FEW)
    back = np.isin(part.y[cut:], np.setdiff1d(few, part.y[:cut]))
    if back.all() or not back.any():
        return part.take(slice(0, cut)), part.take(slice(cut, None))
    held = np.arange(len(part)) >= cut
    held[cut:] &= ~back
    return part.take(np.flatnonzero(~held)), part.take(np.flatnonzero(held))


def by_group(count: int, part: Part, seed: int) -> tuple[Part, Part]:
    """Draw whole groups at random with about `count` examples, and about their share of each class.

    `ffnet.data.groups.dealt` has the rule. The rest keeps an example of each class.

    Returns:
        (the rest, the examples drawn), both in the file's order.

    Raises:
        InputError: there are too few groups.
    """
    assert part.group is not None
    share = count / len(part)
    held = dealt(part.y, part.group, (1 - share, share), seed) == 1
    held = spare_classes(held, part.y, part.group)
    if not held.any() or held.all():
        raise InputError(
            f"a split by group must leave whole groups on both sides, and an example of each class "
            f"to train on. Given: {len(np.unique(part.group)):,} groups to draw about {count:,} of "
            f"{len(part):,} examples from; leave group out, or give files for each part"
        )
    return part.take(np.flatnonzero(~held)), part.take(np.flatnonzero(held))


def stratified(count: int, part: Part, seed: int) -> tuple[Part, Part]:
    """Draw `count` examples at random, from each class in proportion to its size.

    The examples are ordered by class, in random order within a class, and drawn at equal
    distances. So the total is exact, and each class is right within one example. The rest keeps
    at least one example of each class.

    Returns:
        (the rest, the examples drawn), both in the file's order.

    Raises:
        InputError: the rest would be too small to have an example of each class.
    """
    n = len(part)
    order = np.lexsort((np.random.default_rng(seed).random(n), part.y))
    drawn = np.zeros(n, bool)
    drawn[order[((np.arange(count) + 0.5) * n / count).astype(np.intp)]] = True
    _spare_each_class(drawn, part.y)
    assert drawn.sum() == count
    return part.take(np.flatnonzero(~drawn)), part.take(np.flatnonzero(drawn))


def _spare_each_class(drawn: npt.NDArray[np.bool_], y: npt.NDArray[np.int32]) -> None:
    """Put back an example of each class that was drawn completely.

    An example of a frequent class is drawn instead.
    """
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
