"""`ffnet confirm`: the choice, the seeds, the statistics, the test part that is looked at once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ffnet.data.dataset import DataSet, Part
from ffnet.data.folds import Fold, check, folded
from ffnet.data.load import load
from ffnet.errors import InputError
from ffnet.run import confirm, tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row, Status
from ffnet.spec.sections import Data, Tuning

ACCURACY, LOSS = Tuning(), Tuning(metric="val_loss")


def trial(number: int, accuracy: float | None, **more: Any) -> Row:
    """Return a row of trials.parquet."""
    figures = {"best_val_accuracy": accuracy, "learning_rate": 0.1 + number}
    empty = dict.fromkeys(tables.TRIALS.names)
    return empty | {"trial": number, "status": Status.DONE, "seed": number} | figures | more


def net(number: int, trial: int, seed: int, accuracy: float, **more: Any) -> Row:
    """Return a row of confirm.parquet."""
    figures = {"val_accuracy": accuracy, "val_loss": 1 - accuracy, "best_epoch": 3.0}
    empty = dict.fromkeys(confirm.KIND.schema.names)
    row = {"look": 1, "net": number, "trial": trial, "seed": seed, "status": Status.DONE}
    return empty | row | figures | {"chosen": False} | more


def nets(figures: dict[int, list[float]], **more: Any) -> list[Row]:
    """Return rows of confirm.parquet: {trial: the accuracies of its nets}."""
    of_trials = [(t, s, value) for t, values in figures.items() for s, value in enumerate(values)]
    return [net(n, t, s, value, **more) for n, (t, s, value) in enumerate(of_trials)]


def summary(rows: list[Row], tuning: Tuning = ACCURACY) -> confirm.Confirmed:
    found = confirm.summary(rows, tuning, {"sizes": {"test": 270}})
    assert found is not None
    return found


# --- which configurations, which seeds -----------------------------------------------------------


def test_the_best_configurations_are_the_first_rows_of_the_table() -> None:
    rows = [trial(0, 0.7), trial(1, 0.9), trial(2, 0.8, status=Status.PRUNED), trial(3, None)]
    assert [r["trial"] for r in confirm.best_configurations(rows, ACCURACY, 2)] == [1, 2]
    assert [r["trial"] for r in confirm.best_configurations(rows, ACCURACY, None)] == [1, 2, 0]


def test_equal_configurations_are_trained_once() -> None:
    rows = [trial(0, 0.9), trial(1, 0.8, learning_rate=0.1), trial(2, 0.7)]
    assert [r["trial"] for r in confirm.best_configurations(rows, ACCURACY, None)] == [0, 2]


@pytest.mark.parametrize(
    ("rows", "top", "words"),
    [
        ([], None, "needs a trial that has reported val_accuracy"),
        ([trial(0, None)], None, "needs a trial that has reported val_accuracy"),
        (
            [trial(0, 0.9, status=Status.DIVERGED)],
            None,
            "needs a trial that has reported val_accuracy",
        ),
        ([trial(0, 0.9), trial(1, 0.8)], 3, "from 1 to .* 2. Given: 3"),
        ([trial(0, 0.9)], 0, "Given: 0"),
        ([trial(0, 0.9, parent=3)], None, "took over weights of trial 3 .*another scheduler"),
    ],
)
def test_configurations_that_cannot_be_confirmed_are_refused(
    rows: list[Row], top: int | None, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        confirm.best_configurations(rows, ACCURACY, top)


def test_seeds_are_fresh_and_more_seeds_begin_with_the_fewer() -> None:
    first = confirm.fresh_seeds(0, [], 5)
    assert len(set(first)) == 5
    assert all(0 <= seed < 2**31 for seed in first)
    assert confirm.fresh_seeds(0, [], 8)[:5] == first
    assert confirm.fresh_seeds(1, [], 5) != first
    assert confirm.fresh_seeds(0, first[:1], 5) == confirm.fresh_seeds(0, [], 6)[1:]


def test_a_second_look_is_refused_unless_it_is_asked_for() -> None:
    confirm.refuse_second_look({}, again=False)
    looked = {"test_looks": [{"at": "2026-11-25T15:00:00+00:00"}]}
    with pytest.raises(InputError, match=r"with 1 look, the first at 2026-11-25.*--again"):
        confirm.refuse_second_look(looked, again=False)
    confirm.refuse_second_look(looked, again=True)


# --- what the nets say ---------------------------------------------------------------------------


def test_the_winner_has_the_best_mean_and_no_net_that_diverged() -> None:
    rows = nets({0: [0.90, 0.94], 1: [0.93, 0.93], 2: [0.99, 0.99]})
    rows[-1]["status"] = Status.DIVERGED
    found = summary(rows)
    assert [*found.validation] == [1, 0, 2]
    assert found.broken == (2,)
    assert summary(rows, LOSS).chosen == 1


def test_the_comparison_with_the_runner_up_is_paired_by_seed() -> None:
    first, second = [0.91, 0.93, 0.90, 0.95], [0.90, 0.90, 0.88, 0.94]
    rows = nets({4: second, 7: first})
    np.random.default_rng(0).shuffle(rows)
    found = summary(rows)
    assert (found.chosen, found.runner_up) == (7, 4)
    expected = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert found.difference is not None
    assert (found.difference.low, found.difference.high) == pytest.approx(tuple(expected))


def test_a_winner_that_is_better_for_every_seed_is_told_apart() -> None:
    found = summary(nets({0: [0.90, 0.91, 0.92], 1: [0.80, 0.81, 0.83]}))
    assert found.told_apart
    assert "trial 0 is better than trial 1 on this validation part" in found.lines()[1]


def test_a_winner_that_may_be_luck_is_said_to_be() -> None:
    found = summary(nets({0: [0.90, 0.80, 0.92], 1: [0.80, 0.91, 0.88]}))
    assert not found.told_apart
    assert "trial 0 cannot be told from trial 1" in found.lines()[1]


def test_with_a_loss_the_lower_mean_wins() -> None:
    found = summary(nets({0: [0.8, 0.8], 1: [0.9, 0.9]}), LOSS)
    assert found.chosen == 1
    assert found.difference is not None
    assert found.difference.mean == pytest.approx(-0.1)


def test_the_test_accuracy_has_mean_deviation_and_a_t_interval() -> None:
    rows = nets({0: [0.9, 0.9, 0.9], 1: [0.8, 0.8, 0.8]})
    for row, accuracy in zip(rows, [0.95, 0.96, 0.97], strict=False):
        row |= {"chosen": True, "test_accuracy": accuracy, "test_loss": 0.1}
    found = summary(rows)
    assert found.test is not None
    expected = stats.ttest_1samp([0.95, 0.96, 0.97], 0).confidence_interval(0.95)
    assert (found.test.low, found.test.high) == pytest.approx(tuple(expected))
    said = " ".join(found.lines())
    assert "mean 0.9600, deviation 0.0100, 95 % interval of the mean 0.9352 to 0.9848 (t, 3" in said
    assert "270 test examples" in said


def test_only_the_last_look_counts() -> None:
    rows = nets({0: [0.9, 0.9]}) + [r | {"look": 2} for r in nets({5: [0.7, 0.8]})]
    found = summary(rows)
    assert (found.look, found.chosen, found.runner_up) == (2, 5, None)


def test_without_rows_there_is_no_summary() -> None:
    assert confirm.summary([], ACCURACY, {}) is None


def test_the_table_is_read_as_it_was_written_and_checked(tmp_path: Path) -> None:
    folder, rows = RunFolder.at(tmp_path), nets({0: [0.9, 0.8]})
    assert confirm.read(folder) == []
    tables.write(folder.confirm, rows, confirm.KIND.schema)
    assert confirm.read(folder) == rows
    tables.write(folder.confirm, [rows[0] | {"val_accuracy": 1.5}], confirm.KIND.schema)
    with pytest.raises(InputError, match=r"row 1: val_accuracy must be from 0 to 1. Given: 1.5"):
        confirm.read(folder)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"folds": 1}, r"row 1: folds must be 2 or more. Given: 1"),
        ({"trial": None}, r"row 1: trial must be given. Given: None"),
        ({"look": -1}, "row 1: look must be a whole number from 0"),
        ({"status": "won"}, "row 1: status must be running|done"),
    ],
)
def test_a_table_with_values_that_no_confirmation_has_is_refused(
    tmp_path: Path, wrong: dict[str, Any], words: str
) -> None:
    folder = RunFolder.at(tmp_path)
    tables.write(folder.confirm, [net(0, 1, 2, 0.5) | wrong], confirm.KIND.schema)
    with pytest.raises(InputError, match=words.replace("|", r"\|")):
        confirm.read(folder)


def test_nets_without_figures_change_no_summary() -> None:
    rows = nets({0: [0.9, 0.8], 1: [0.7, 0.6]})
    lacking = [net(9, 0, 9, 0.5, val_accuracy=None, test_accuracy=0.5)]
    assert summary([*rows, *lacking]).validation == summary(rows).validation
    assert summary([*rows, *lacking]).test is None


def test_a_confirmation_of_broken_nets_chooses_none() -> None:
    found = summary(nets({0: [0.9, 0.8], 1: [0.7, 0.6]}, status=Status.FAILED))
    assert found.chosen is None
    assert found.lines() == ["no trial is chosen, because each has a net that diverged or failed"]


# --- folds ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(Data())


def test_each_example_is_in_one_fold_and_each_class_is_spread_evenly(digits: DataSet) -> None:
    folds = [folded(digits, Fold(n, 5, seed=3), "standard") for n in range(5)]
    pool = len(digits.train) + len(digits.validation)
    assert sum(len(fold.validation) for fold in folds) == pool
    assert all(len(fold.train) + len(fold.validation) == pool for fold in folds)
    images = np.concatenate([fold.validation.x for fold in folds]).reshape(pool, -1)
    whole = np.concatenate([digits.train.x, digits.validation.x]).reshape(pool, -1)
    assert (np.sort(images, axis=0) == np.sort(whole, axis=0)).all()
    counts = np.array([np.bincount(fold.validation.y) for fold in folds])
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert all(fold.test is digits.test for fold in folds)


def test_the_seed_decides_the_folds(digits: DataSet) -> None:
    def first(seed: int) -> Any:
        return folded(digits, Fold(0, 5, seed), "standard").validation.x

    assert (first(1) == first(1)).all()
    assert (first(1) != first(2)).any()


def test_features_are_standardised_by_the_training_part_of_the_fold() -> None:
    x, y = np.random.default_rng(0).normal(5, [1, 100], size=(200, 2)), np.arange(200) % 2
    data = load(Data(), (x, y))
    new = folded(data, Fold(1, 4, seed=0), "standard")
    assert new.train.x.mean(axis=0) == pytest.approx([0, 0], abs=1e-6)
    assert new.train.x.std(axis=0) == pytest.approx([1, 1], abs=1e-6)
    assert new.test is not None
    assert data.test is not None
    before = data.test.x * data.std + data.mean
    assert new.test.x * new.std + new.mean == pytest.approx(before, rel=1e-5)


def test_pixels_keep_their_values_and_get_the_statistics_of_the_fold(digits: DataSet) -> None:
    new = folded(digits, Fold(0, 3, seed=0), "standard")
    assert new.train.x.dtype == np.uint8
    assert new.mean == pytest.approx(new.train.x.mean(), rel=1e-5)
    assert folded(digits, Fold(0, 3, seed=0), "unit").mean == digits.mean


def pool(digits: DataSet, y: Any, group: Any = None) -> DataSet:
    """Return a data set with these classes, and groups, in its training and validation parts."""
    y, half = np.asarray(y, np.int32), len(y) // 2
    part = Part(np.arange(len(y), dtype=np.float32)[:, None], y, group)
    parts = {"train": part.take(slice(0, half)), "validation": part.take(slice(half, None))}
    scale = {"mean": np.zeros(1), "std": np.ones(1), "test": None}
    return DataSet(**{**vars(digits), **parts, **scale})


def test_a_class_may_have_fewer_examples_than_there_are_folds(digits: DataSet) -> None:
    y = [0, 1, 1, *[2] * 3, *[3] * 20]
    data = pool(digits, y)
    check(data, 10, [1, 2])
    for seed in (1, 2):
        folds = [folded(data, Fold(n, 10, seed), "standard") for n in range(10)]
        assert all(set(fold.train.y) == {0, 1, 2, 3} for fold in folds)
        held = np.concatenate([fold.validation.y for fold in folds])
        assert sorted(held) == y[1:]  # a single example is always trained on


def test_folds_keep_groups_together(digits: DataSet) -> None:
    random = np.random.default_rng(0)
    group = random.integers(0, 40, 600).astype(np.int32)
    y = (group % 2 + random.integers(0, 2, 600)) % 3
    data = pool(digits, y, group)
    check(data, 5, [7])
    folds = [folded(data, Fold(n, 5, 7), "standard") for n in range(5)]
    for fold in folds:
        assert fold.train.group is not None
        assert fold.validation.group is not None
        assert not set(fold.train.group) & set(fold.validation.group)
        assert len(fold.train) + len(fold.validation) == 600
        share = np.bincount(fold.validation.y, minlength=3) / np.bincount(y)
        assert share == pytest.approx([0.2] * 3, abs=0.06)
    assert sum(len(fold.validation) for fold in folds) == 600


@pytest.mark.parametrize(("folds", "groups"), [(1, 3), (31, 3), (4, 3), (31, None)])
def test_folds_that_would_be_empty_are_refused(
    digits: DataSet, folds: int, groups: int | None
) -> None:
    group = None if groups is None else np.arange(30, dtype=np.int32) % groups
    data = pool(digits, np.arange(30) // 3 % 2, group)
    check(data, 3, [0])
    words = f"{folds}, for 30 examples{'' if groups is None else ' in 3 groups'} in"
    with pytest.raises(InputError, match=f"--folds must be from 2 .*Given: {words}"):
        check(data, folds, [0])
