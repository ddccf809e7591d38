"""Intervals against SciPy and against answers that are known."""

import math

import numpy as np
import pytest
from scipy import stats

from ffnet.run import intervals


def test_the_t_interval_of_a_mean_is_scipys() -> None:
    values = [0.91, 0.93, 0.90, 0.95, 0.92]
    found = intervals.mean(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.deviation == pytest.approx(np.std(values, ddof=1))
    assert found.count == 5


def test_a_paired_interval_is_that_of_the_differences() -> None:
    first, second = [0.91, 0.93, 0.90, 0.95], [0.90, 0.90, 0.88, 0.94]
    found = intervals.mean(np.subtract(first, second).tolist())
    expected = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.excludes_zero == bool(stats.ttest_rel(first, second).pvalue < 0.05)


def test_folds_that_share_examples_widen_an_interval_as_nadeau_and_bengio_say() -> None:
    values = [0.1, 0.2, 0.3, 0.4, 0.5]
    plain, folds = intervals.mean(values), intervals.mean(values, shared=1 / 4)
    assert plain.high is not None
    assert folds.high is not None
    wider = (folds.high - 0.3) / (plain.high - 0.3)
    assert wider == pytest.approx(math.sqrt((1 / 5 + 1 / 4) / (1 / 5)))


def test_one_value_has_no_interval_and_equal_values_have_an_interval_without_width() -> None:
    assert intervals.mean([0.5]) == intervals.Estimate(1, 0.5, None, None, None)
    assert not intervals.mean([0.5]).excludes_zero
    assert intervals.mean([0.0, 0.0]) == intervals.Estimate(2, 0.0, 0.0, 0.0, 0.0)
    assert not intervals.mean([0.0, 0.0]).excludes_zero
    assert intervals.mean([-0.1, -0.1]).excludes_zero


def test_the_exact_interval_of_no_hit_is_the_rule_of_three() -> None:
    low, high = intervals.share(0, 10)
    assert low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / 10))
    assert intervals.share(10, 10)[1] == 1


def test_an_accuracy_of_one_leaves_room_below_it() -> None:
    low, high = intervals.accuracy(1.0, 100)
    assert high == pytest.approx(1)
    assert low == pytest.approx(100 / (100 + stats.norm.ppf(0.975) ** 2))  # Wilson's formula


def test_the_bootstrap_of_the_largest_value_agrees_with_resamples() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=12)
    most = values[random.integers(12, size=(20_000, 12))].max(axis=1)
    expected = np.quantile(most, [0.025, 0.975], method="inverted_cdf")
    assert intervals.largest(values.tolist()) == pytest.approx(tuple(expected))


def test_an_interval_of_accuracies_ends_at_1_and_one_of_losses_at_0() -> None:
    assert intervals.mean([0.0, 0.9, 1.0]).within() == (0.0, 1.0)
    assert intervals.mean([0.0, 0.0]).within() == (0.0, 0.0)
    assert intervals.mean([1.0, 5.0]).within(math.inf) == pytest.approx((0, 28.41), abs=0.01)
    assert intervals.mean([0.9]).within() is None
