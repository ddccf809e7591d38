"""Cross-validation: training and validation part together, divided into folds of similar size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ffnet.data.dataset import DataSet, Part
from ffnet.data.groups import Bools, Ints, dealt, spare_classes
from ffnet.data.scaling import standardized, statistics
from ffnet.errors import InputError


@dataclass(frozen=True)
class Fold:
    """Which fold is the validation part.

    Attributes:
        number: the fold, from 0 to `of` - 1.
        of: number of folds.
        seed: decides which examples are in which fold.
    """

    number: int
    of: int
    seed: int


def check(data: DataSet, folds: int, seeds: Sequence[int]) -> None:
    """Refuse a number of folds that leaves a fold without a validation part.

    Raises:
        InputError: there are fewer than two folds, or too few examples or groups for so many.
    """
    pool = _pool(data)
    if not 2 <= folds <= len(pool) or not all(held.any() for held in _held(pool, folds, seeds)):
        groups = "" if pool.group is None else f" in {len(np.unique(pool.group)):,} groups"
        raise InputError(
            f"--folds must be from 2 to a number for which each fold has examples to validate on, "
            f"and each class one to train on. Given: {folds}, for {len(pool):,} examples{groups} "
            f"in the training and validation parts"
        )


def validation_labels(data: DataSet, folds: int, seeds: Sequence[int]) -> Iterator[Ints]:
    """Yield the labels of each fold's validation part, for each seed."""
    pool = _pool(data)
    for held in _held(pool, folds, seeds):
        yield pool.y[held]


def folded(data: DataSet, fold: Fold, scaling: str) -> DataSet:
    """The data set with a fold as its validation part, and the other folds as its training part.

    The folds are stratified: each of them has the same share of each class, within one example. A
    class with fewer examples than folds is in some validation parts only, and a single example of
    a class is always in the training part. If the data set has groups, each group is in one fold,
    and the shares are as even as `ffnet.data.groups.dealt` makes them.

    Each fold's examples are standardised by the training part that belongs to it, and so is the
    test part, which stays as it is otherwise.

    Args:
        data: the data set with its own split.
        fold: the fold.
        scaling: the study's `scaling`.
    """
    pool = _pool(data)
    held = spare_classes(_heaps(pool, fold.of, fold.seed) == fold.number, pool.y, pool.group)
    new = replace(
        data, train=pool.take(np.flatnonzero(~held)), validation=pool.take(np.flatnonzero(held))
    )
    if pool.x.dtype != np.uint8:
        return _standardized(new)
    if scaling == "unit":
        return new
    mean, std = statistics(new.train.x)
    return replace(new, mean=mean, std=std)


def _pool(data: DataSet) -> Part:
    """The examples of the training part, then those of the validation part."""
    parts = data.train, data.validation
    groups = [part.group for part in parts if part.group is not None]
    return Part(
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.y for part in parts]),
        np.concatenate(groups) if groups else None,
    )


def _heaps(pool: Part, folds: int, seed: int) -> Ints:
    """The fold that each example belongs to, int [N]."""
    if pool.group is not None:
        return dealt(pool.y, pool.group, [1 / folds] * folds, seed)
    order = np.lexsort((np.random.default_rng(seed).random(len(pool)), pool.y))
    heaps = np.empty(len(pool), np.intp)
    heaps[order] = np.arange(len(pool)) % folds
    return heaps


def _held(pool: Part, folds: int, seeds: Sequence[int]) -> Iterator[Bools]:
    """Yield which examples are the validation part, for each seed and each of its folds."""
    for heaps in (_heaps(pool, folds, seed) for seed in seeds):
        for number in range(folds):
            yield spare_classes(heaps == number, pool.y, pool.group)


def _standardized(data: DataSet) -> DataSet:
    """The features with mean 0 and deviation 1 in this training part."""
    mean, std = statistics(data.train.x)

    def of(part: Part) -> Part:
        return replace(part, x=standardized(part.x, mean, std))

    return replace(
        data,
        train=of(data.train),
        validation=of(data.validation),
        test=of(data.test) if data.test else None,
        mean=data.mean + mean * data.std,
        std=data.std * std,
    )
