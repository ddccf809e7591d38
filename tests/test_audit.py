"""`ffnet audit`: which pruned trials are drawn, and what they say of the pruning."""

import math
from typing import Any

import pytest

from ffnet.errors import InputError
from ffnet.run import audit, intervals, tables
from ffnet.run.tables import Row, Status
from ffnet.spec.sections import Tuning

STUDY = {
    "tuning": {"metric": "val_accuracy"}, "budget": {"epochs": 10}, "resources": {"cpus": 2.0},
}  # fmt: skip


def trial(number: int, status: Status = Status.PRUNED, **more: Any) -> Row:
    """Return a row of trials.parquet: three epochs of 2.5 seconds each."""
    times = {"epochs": 3.0, "train_seconds": 6.0, "evaluate_seconds": 1.5}
    return dict.fromkeys(tables.TRIALS.names) | {"trial": number, "status": status} | times | more


def audited(number: int, gain: float | None, **more: Any) -> Row:
    """Return a row of audit.parquet."""
    row = {"trial": number, "status": Status.DONE, "matches": True, "winner": 99, "gain": gain}
    return dict.fromkeys(audit.KIND.schema.names) | row | more


def summary(rows: list[Row], trials: list[Row]) -> audit.Audited:
    found = audit.summary(rows, trials, STUDY)
    assert found is not None
    return found


def test_the_seed_draws_the_trials_and_more_trials_include_the_fewer() -> None:
    rows = [*map(trial, range(30)), trial(30, Status.DONE)]
    drawn = [row["trial"] for row in audit.chosen(rows, 0, 12)]
    assert len(set(drawn)) == 12
    assert 30 not in drawn
    assert [row["trial"] for row in audit.chosen(rows, 0, 5)] == drawn[:5]
    assert [row["trial"] for row in audit.chosen(rows[::-1], 0, 5)] == drawn[:5]
    assert [row["trial"] for row in audit.chosen(rows, 1, 12)] != drawn
    assert len(audit.chosen(rows, 0, None)) == 10
    assert len(audit.chosen(rows[:4], 0, None)) == 4


@pytest.mark.parametrize(
    ("rows", "count", "words"),
    [
        ([trial(0, Status.DONE)], None, "needs pruned trials"),
        ([trial(0)], 2, "pruned trials, 1. Given: 2"),
        ([trial(0)], 0, "Given: 0"),
    ],
)
def test_an_audit_of_trials_that_are_not_there_is_refused(
    rows: list[Row], count: int | None, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        audit.chosen(rows, 0, count)


def test_pruning_saves_the_epochs_that_were_not_trained_at_the_measured_speed() -> None:
    rows = [trial(0), trial(1, epochs=5.0, train_seconds=5.0), trial(2, Status.DONE, epochs=10.0)]
    saved = audit.saved(rows, epochs=10, cpus=2)
    assert saved.epochs == 7 + 5
    assert saved.core_seconds == pytest.approx(2 * (7 * 7.5 / 3 + 5 * 6.5 / 5))
    assert saved.share == pytest.approx(12 / (12 + 18))
    assert audit.saved([], 10, 1) == audit.Saved(0, 0, 0)


def test_the_gain_is_how_much_better_a_trial_is_by_the_metric() -> None:
    row = {"status": Status.DONE, "best_val_accuracy": 0.8, "best_val_loss": 0.3}
    winner = {"best_val_accuracy": 0.9, "best_val_loss": 0.4}
    assert audit.gain(row, winner, Tuning()) == pytest.approx(-0.1)
    assert audit.gain(row, winner, Tuning(metric="val_loss")) == pytest.approx(0.1)
    assert audit.gain(row | {"status": Status.DIVERGED}, winner, Tuning()) is None


def test_the_trials_that_beat_the_winner_are_counted_with_an_exact_interval() -> None:
    gains = [-0.2, 0.01, None, 0.03, 0.0]
    found = summary([audited(n, gain) for n, gain in enumerate(gains)], [*map(trial, range(40))])
    assert found.beaten_by == (3, 1)
    assert (found.audited, found.pruned) == (5, 40)
    assert found.share == intervals.share(2, 5)
    assert found.regret == 0.03
    assert found.regret_interval == (0.0, 0.03)


def test_where_none_beats_the_winner_the_regret_is_nothing() -> None:
    found = summary([audited(n, -0.1) for n in range(10)], [*map(trial, range(40))])
    assert found.beaten_by == ()
    assert (found.regret, found.regret_interval) == (0.0, (0.0, 0.0))
    assert found.share[1] == pytest.approx(1 - 0.025 ** (1 / 10))
    assert "0 of 10 audited trials would have beaten trial 99" in found.lines()[0]


def test_the_share_is_known_where_every_pruned_trial_was_trained() -> None:
    found = summary([audited(n, 0.1 - n) for n in range(4)], [*map(trial, range(4))])
    assert found.share == (0.25, 0.25)
    assert "all of them were trained" in found.lines()[0]


def test_trials_that_failed_are_in_no_share_and_differences_are_told() -> None:
    rows = [audited(0, -0.1), audited(1, None, status=Status.FAILED, matches=None)]
    found = summary([*rows, audited(2, -0.1, matches=False)], [*map(trial, range(9))])
    assert (found.audited, found.failed, found.different) == (2, 1, (2,))
    assert "1 of 2 trained to the same bits; different: 2, perhaps" in found.lines()[3]
    assert "not trained again, because of errors: 1" in found.lines()[4]
    nothing = summary(rows[1:], [trial(1)])
    assert (nothing.audited, nothing.regret) == (0, 0.0)
    assert not math.isinf(nothing.regret_interval[0])
