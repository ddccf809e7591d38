"""Scaling of features: robust and quantile, gaps, and what must keep its bits."""

from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from scipy import stats

from ffnet.data.folds import Fold, folded
from ffnet.data.load import load
from ffnet.data.scaling import MOST_KNOTS, scales, standardized, statistics
from ffnet.errors import InputError
from ffnet.spec.sections import Data

HEAVY = np.random.default_rng(3).standard_t(1.5, size=(1000, 3)) * [1, 50, 1e-3] + [0, 7, 3]


def with_gaps(x: Any, every: int = 7) -> Any:
    """Return the rows with a row of gaps before each of them whose number `every` divides."""
    return np.insert(x, np.arange(0, len(x), every), np.nan, axis=0)


@pytest.mark.parametrize("scaling", ["standard", "robust", "quantile"])
def test_gaps_have_no_effect_on_what_is_measured(scaling: Any) -> None:
    whole, gappy = scales(HEAVY, scaling), scales(with_gaps(HEAVY), scaling)
    assert gappy.centre == pytest.approx(whole.centre, rel=1e-12)
    assert gappy.scale == pytest.approx(whole.scale, rel=1e-12)
    assert len(gappy.knots) == len(whole.knots)
    for one, other in zip(gappy.knots, whole.knots, strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    scaled = standardized(with_gaps(HEAVY), whole.centre, whole.scale)
    assert (scaled[~np.isnan(scaled).any(axis=1)] == standardized(HEAVY, *whole[:2])).all()
    assert np.isnan(scaled).all(axis=1).sum() == len(with_gaps(HEAVY)) - len(HEAVY)


def test_standard_scaling_of_complete_numbers_has_the_bits_of_the_statistics() -> None:
    mean, std = statistics(HEAVY)
    centre, scale, knots = scales(HEAVY, "standard")
    assert (centre.tobytes(), scale.tobytes(), knots) == (mean.tobytes(), std.tobytes(), ())
    assert mean == pytest.approx(HEAVY.mean(axis=0), rel=1e-9)
    assert std == pytest.approx(HEAVY.std(axis=0), rel=1e-9)


def test_robust_scaling_takes_quartiles_then_half_the_range_then_one() -> None:
    quartiles = [0, 1, 2, 3, 4, 5, 6, 7, 1000]
    rare = [0, 0, 0, 0, 0, 0, 0, 3, -5]  # quartiles 0 and 0
    found = scales(np.array([quartiles, rare, [4] * 9], np.float32).T, "robust")
    assert found.centre.tolist() == [4, 0, 4]
    assert found.scale.tolist() == [4, 4, 1]
    assert found.knots == ()


def mapped(x: Any, knots: tuple[float, ...]) -> Any:
    half = len(knots) // 2
    return np.interp(x, knots[:half], knots[half:])


def test_the_knots_of_a_column_map_it_to_a_normal_distribution() -> None:
    found = scales(HEAVY, "quantile")
    scaled = standardized(HEAVY, found.centre, found.scale)
    for i, knots in enumerate(found.knots):
        assert len(knots) == 2 * MOST_KNOTS
        half = len(knots) // 2
        assert (np.diff(np.array(knots[:half], np.float32)) > 0).all()
        assert stats.kstest(mapped(scaled[:, i], knots), "norm").statistic < 0.01
        assert knots[half] == pytest.approx(stats.norm.ppf(0.5 / 1000))
        assert knots[-1] == pytest.approx(-knots[half])


def test_numbers_that_fill_several_quantiles_become_the_middle_one() -> None:
    zeros = np.repeat([0.0, 1.0, 2.0], [600, 200, 200])[:, None]
    centre, scale, (knots,) = scales(zeros, "quantile")
    became = mapped(standardized(np.array([[0.0], [1.0], [2.0]]), centre, scale)[:, 0], knots)
    assert became == pytest.approx(stats.norm.ppf([0.3, 0.7, 0.9]), abs=0.02)


@pytest.mark.parametrize("scaling", ["robust", "quantile"])
def test_columns_without_spread_or_numbers_have_scale_one(scaling: Any) -> None:
    x = np.array([[5, np.nan, 1], [5, np.nan, np.nan], [np.nan, np.nan, np.nan]])
    centre, scale, knots = scales(x, scaling)
    assert centre.tolist() == [5, 0, 1]
    assert scale.tolist() == [1, 1, 1]
    assert all(mapped(0.0, each) == 0 for each in knots)


@pytest.mark.parametrize("scaling", ["standard", "robust", "quantile"])
def test_a_spread_that_float64_cannot_hold_is_refused_by_its_column(scaling: Any) -> None:
    x = np.array([[0, -1.7e308], [1, 1.7e308], [2, -1.7e308], [3, 1.7e308]])
    with pytest.raises(
        InputError, match=r"Given: -1.7e\+308 to 1.7e\+308, -1.7e\+308 in column b:"
    ):
        scales(x, scaling, lambda at, number: f"column {'ab'[at]}: {number:g}")


# --- tables --------------------------------------------------------------------------------------


def table(gaps: bool = False) -> Any:
    frame = pd.DataFrame(HEAVY, columns=["a", "b", "c"])
    if gaps:
        frame.loc[::9, "a"] = np.nan
        frame["d"] = ["u", "v", "w", "v"] * 250
    return frame.assign(y=(HEAVY[:, 1] > 7).astype(int))


@pytest.mark.parametrize("scaling", ["robust", "quantile"])
def test_complete_numbers_get_an_encoding_measured_in_the_training_part(scaling: Any) -> None:
    data = load(Data(target="y", scaling=scaling), table())
    assert data.encoding is not None
    assert [(c.name, c.kind, c.gaps, c.scaling) for c in data.encoding] == [
        (name, "number", False, scaling) for name in "abc"
    ]
    train = data.train.x * data.std + data.mean  # as in the file, up to float32
    found = scales(train, scaling)
    assert data.mean == pytest.approx(found.centre, rel=1e-4, abs=1e-6)
    assert data.std == pytest.approx(found.scale, rel=1e-4)
    assert all(bool(column.knots) == (scaling == "quantile") for column in data.encoding)
    assert load(Data(target="y"), table()).encoding is None


@pytest.mark.parametrize("scaling", ["standard", "robust", "quantile"])
@pytest.mark.parametrize("imputation", ["mean", "median"])
def test_folds_measure_columns_anew_and_keep_codes(scaling: Any, imputation: Any) -> None:
    asked = Data(target="y", scaling=scaling, imputation=imputation)
    data = load(asked, table(gaps=True))
    new = folded(data, Fold(1, 4, seed=5), scaling, imputation)
    assert data.encoding is not None
    assert new.encoding is not None
    assert new.encoding[3] == data.encoding[3]
    assert new.encoding[0].gaps
    assert set(new.train.x[:, 3]) == {0, 1, 2}
    assert (new.mean[3], new.std[3]) == (0, 1)
    again = scales(new.train.x[:, :3], scaling)
    assert again.centre == pytest.approx([0] * 3, abs=1e-6)
    assert again.scale == pytest.approx([1] * 3, rel=1e-5)
    a = new.train.x[:, 0][~np.isnan(new.train.x[:, 0])]
    middle = np.median(a) if imputation == "median" else a.mean(dtype=np.float64)
    assert new.encoding[0].fill == pytest.approx(middle, abs=1e-5)
    for column, knots in zip(new.encoding, again.knots, strict=False):
        assert column.knots == pytest.approx(knots, abs=1e-4)
    assert data.test is not None
    assert new.test is not None
    before, after = (each.test.x[:, 1] * each.std[1] + each.mean[1] for each in (data, new))  # type: ignore[union-attr]
    assert after == pytest.approx(before, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("scaling", ["robust", "quantile"])
def test_scaling_of_columns_is_refused_without_columns(scaling: Any) -> None:
    words = f"scaling {scaling} is for the columns of a table; data has none"
    with pytest.raises(InputError, match=words):
        load(Data(scaling=scaling), (HEAVY, HEAVY[:, 1] > 7))
