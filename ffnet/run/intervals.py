"""Confidence intervals with SciPy. SciPy is imported when it is used, because it takes 0.5 s."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """The mean of some values, and its 95 % t interval.

    Attributes:
        count: number of values.
        mean: their mean.
        deviation: their standard deviation (n - 1); None for one value.
        low, high: the interval of the mean; None for one value.
    """

    count: int
    mean: float
    deviation: float | None
    low: float | None
    high: float | None

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval is wholly above 0 or wholly below 0."""
        return self.low is not None and self.high is not None and self.low * self.high > 0

    def within(self, most: float = 1.0) -> tuple[float, float] | None:
        """The part of the interval from 0 to `most`, where the mean must lie.

        None for one value.

        Example:
            >>> Estimate(2, 0.9, 0.1, 0.2, 1.6).within()
            (0.2, 1.0)
        """
        if self.low is None or self.high is None:
            return None
        return max(0.0, self.low), min(most, self.high)


def mean(values: Sequence[float], shared: float = 0.0) -> Estimate:
    """The mean of values with a 95 % t interval.

    Args:
        values: one or more values.
        shared: the size of a validation part divided by that of a training part, if the values
            come from a cross-validation. The training parts of its folds share examples, so the
            values depend on each other, and the variance of their mean is s²·(1/n + shared)
            instead of s²/n: Nadeau and Bengio, "Inference for the Generalization Error", 2003.

    Example:
        >>> mean([1.0, 2.0, 3.0]).mean
        2.0
    """
    n, center = len(values), float(np.mean(values))
    if n < 2:
        return Estimate(n, center, None, None, None)
    from scipy.stats import t

    deviation = float(np.std(values, ddof=1))
    half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * deviation * math.sqrt(1 / n + shared)
    return Estimate(n, center, deviation, center - half, center + half)


def share(hits: int, count: int) -> tuple[float, float]:
    """The exact 95 % interval (Clopper and Pearson) of a share that was `hits` of `count`."""
    from scipy.stats import binomtest

    found = binomtest(hits, count).proportion_ci(CONFIDENCE, method="exact")
    return float(found.low), float(found.high)


def accuracy(value: float, examples: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval (Wilson) of an accuracy that was measured on `examples` examples.

    It says how much the accuracy may change with other examples of the same kind.
    """
    from scipy.stats import binomtest

    found = binomtest(round(value * examples), examples).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def difference(
    first: float, second: float, examples: int, comparisons: int = 1
) -> tuple[float, float]:
    """The interval (Newcombe) of the difference of two accuracies, `first` - `second`.

    Newcombe, "Interval estimation for the difference between independent proportions", 1998, method
    10: it is made from the intervals of Wilson.

    Args:
        first, second: the accuracies, each measured on `examples` examples.
        examples: number of examples.
        comparisons: how many such intervals are computed. All of them together hold with 95 %
            (Bonferroni).
    """
    confidence = 1 - (1 - CONFIDENCE) / comparisons
    (low, high), (other_low, other_high) = (
        accuracy(value, examples, confidence) for value in (first, second)
    )
    change = first - second
    below = math.hypot(first - low, other_high - second)
    above = math.hypot(high - first, second - other_low)
    return change - below, change + above


def chance_of_lead(ahead: int, own: int, other: int) -> float:
    """The probability that the best `ahead` of all trials are all in one of two runs.

    Both runs are assumed to be the same study, so that each trial could as well be in the other
    run: an exact permutation test, two-sided.

    Args:
        ahead: how many trials of the leading run are better than all trials of the other run.
        own, other: how many trials the leading and the other run have.

    Example:
        >>> round(chance_of_lead(2, 2, 2), 3)
        0.333
    """
    from scipy.stats import hypergeom

    both = (hypergeom.pmf(ahead, own + other, count, ahead) for count in (own, other))
    return min(float(sum(both)), 1.0)


def largest(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % percentile interval of the largest of some values, by the bootstrap.

    A resample of n values has no value above the i-th smallest with the probability (i / n)^n. So
    the percentiles of its largest value are known exactly, and nothing is drawn at random. No
    resample can hold a larger value than the largest one given.
    """
    ordered, n, tail = sorted(values), len(values), (1 - CONFIDENCE) / 2
    low, high = (ordered[math.ceil(n * q ** (1 / n)) - 1] for q in (tail, 1 - tail))
    return low, high
