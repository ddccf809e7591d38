"""Cross-validation: training and validation part together, divided into folds of equal size."""

from dataclasses import dataclass, replace

import numpy as np

from ffnet.data.dataset import DataSet, Part
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


def check(data: DataSet, folds: int) -> None:
    """Refuse a number of folds for which a fold would lack a class.

    Raises:
        InputError: there are fewer than two folds, or a class has fewer examples than folds.
    """
    counts = np.bincount(np.concatenate([data.train.y, data.validation.y]))
    least = int(counts[counts > 0].min())
    if not 2 <= folds <= least:
        rarest = data.classes[int(np.flatnonzero(counts == least)[0])]
        raise InputError(
            f"--folds must be from 2 to the number of examples of the rarest class in the training "
            f"and validation parts, {least} of {rarest}. Given: {folds}"
        )


def folded(data: DataSet, fold: Fold, scaling: str) -> DataSet:
    """The data set with a fold as its validation part, and the other folds as its training part.

    The folds are stratified: each of them has the same share of each class, within one example.
    Each fold's examples are standardised by the training part that belongs to it, and so is the
    test part, which stays as it is otherwise.

    Args:
        data: the data set with its own split.
        fold: the fold.
        scaling: the study's `scaling`.
    """
    parts = data.train, data.validation
    x = np.concatenate([part.x for part in parts])
    y = np.concatenate([part.y for part in parts])
    order = np.lexsort((np.random.default_rng(fold.seed).random(len(y)), y))
    held = np.zeros(len(y), bool)
    held[order[fold.number :: fold.of]] = True
    new = replace(data, train=Part(x[~held], y[~held]), validation=Part(x[held], y[held]))
    if x.dtype != np.uint8:
        return _standardized(new)
    if scaling == "unit":
        return new
    mean, std = statistics(new.train.x)
    return replace(new, mean=mean, std=std)


def _standardized(data: DataSet) -> DataSet:
    """The features with mean 0 and deviation 1 in this training part."""
    mean, std = statistics(data.train.x)

    def of(part: Part) -> Part:
        return Part(standardized(part.x, mean, std), part.y)

    return replace(
        data,
        train=of(data.train),
        validation=of(data.validation),
        test=of(data.test) if data.test else None,
        mean=data.mean + mean * data.std,
        std=data.std * std,
    )
