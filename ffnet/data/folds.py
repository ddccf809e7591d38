"""Cross-validation: training and validation part together, divided into folds of similar size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ffnet.data.dataset import Array, DataSet, Part
from ffnet.data.encode import of_numbers
from ffnet.data.encoding import Column
from ffnet.data.groups import Bools, Ints, dealt, spare_classes
from ffnet.data.raw import listed
from ffnet.data.scaling import Cell, standardized, statistics
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


def held_out(data: DataSet, folds: int, seed: int) -> tuple[list[Ints], Ints]:
    """Which examples are the validation part of each fold, and the labels of all examples.

    The examples are numbered from 0: those of the training part, then those of the validation part.
    An example that is always trained on is in no fold's validation part: see `folded`.
    """
    pool = _pool(data)
    return [np.flatnonzero(held) for held in _held(pool, folds, [seed])], pool.y


def folded(data: DataSet, fold: Fold, scaling: str, imputation: str = "mean") -> DataSet:
    """The data set with a fold as its validation part, and the other folds as its training part.

    The folds are stratified: each of them has the same share of each class, within one example. A
    class with fewer examples than folds is in some validation parts only, and a single example of
    a class is always in the training part. If the data set has groups, each group is in one fold,
    and the shares are as even as `ffnet.data.groups.dealt` makes them.

    Each fold's numbers are scaled by the training part that belongs to it, and gaps filled by it,
    also in the test part, which stays as it is otherwise. Categories keep their codes, and columns
    their indicators of gaps, so that the nets of all folds have the same inputs.

    Args:
        data: the data set with its own split.
        fold: the fold.
        scaling, imputation: the study's fields.
    """
    pool = _pool(data)
    held = spare_classes(_heaps(pool, fold.of, fold.seed) == fold.number, pool.y, pool.group)
    new = replace(
        data, train=pool.take(np.flatnonzero(~held)), validation=pool.take(np.flatnonzero(held))
    )
    if new.encoding:
        return _encoded(new, new.encoding, imputation)
    if pool.x.dtype != np.uint8:
        mean, std = statistics(new.train.x, _cell(*data.columns or ()))
        return _scaled(new, mean, std)
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


def _encoded(data: DataSet, encoding: tuple[Column, ...], imputation: str) -> DataSet:
    """The columns of numbers and dates scaled, and their gaps filled, by this training part."""
    mean, std, columns = np.zeros(len(encoding)), np.ones(len(encoding)), []
    for i, column in enumerate(encoding):
        if column.kind != "category":
            x = data.train.x[:, i]
            new, mean[i], std[i] = of_numbers(
                column.name, x, column.scaling, imputation, _cell(column.name)
            )
            column = replace(new, kind=column.kind, gaps=column.gaps)
        columns.append(column)
    return replace(_scaled(data, mean, std), encoding=tuple(columns))


def _cell(*columns: str) -> Cell:
    """Return what names a column in messages. Files and rows are not known any more."""
    return lambda at, _: f"column {listed([columns[at]])}" if columns else f"feature {at}"


def _scaled(data: DataSet, mean: Array, std: Array) -> DataSet:
    """The features of all parts, scaled once more."""
    cell = _cell(*data.columns or ())

    def of(part: Part) -> Part:
        return replace(part, x=standardized(part.x, mean, std, cell))

    return replace(
        data,
        train=of(data.train),
        validation=of(data.validation),
        test=of(data.test) if data.test else None,
        mean=data.mean + mean * data.std,
        std=data.std * std,
    )
