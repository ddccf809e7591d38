"""The search: which configurations it suggests."""

import collections
from typing import Any

import numpy as np
import pytest
from ray.tune.search import Searcher

from ffnet.run import recorded
from ffnet.run.tables import Row
from ffnet.spec.base import Values
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.study import Study
from ffnet.spec.validation import validated
from ffnet.tuning.losses import LOST_RETRIES, Losses
from ffnet.tuning.search import StudySearch, sample, trial_seed

SPACE = {
    "hidden_sizes": {"choice": [[8], [8, 4], 16]},
    "learning_rate": {"log_uniform": [1e-3, 1e-1]},
    "batch_size": {"log_integer": [1, 3]},
    "activation": "tanh",
}


def study(trials: int = 5, search: str = "random", **fields: Any) -> Study:
    return validated(
        Study,
        {"space": SPACE, "budget": {"trials": trials}, "tuning": {"search": search}} | fields,
        "test",
    )


def test_a_random_trial_follows_from_the_studys_seed_and_its_number_alone() -> None:
    assert sample(study(), 3) == sample(study(trials=9), 3)
    assert sample(study(), 3) != sample(study(seed=1), 3)
    assert len({trial_seed(0, n) for n in range(1000)}) == 1000


@pytest.mark.parametrize(
    ("domain", "low", "high"),
    [
        ({"uniform": [1.0, 3.0]}, 1.0, 3.0),
        ({"log_uniform": [1e-3, 1e-1]}, 1e-3, 1e-1),
        ({"integer": [2, 4]}, 2, 4),
        ({"log_integer": [1, 8]}, 1, 8),
    ],
)
def test_samples_fill_their_domain_and_integers_reach_both_ends(
    domain: dict[str, Any], low: float, high: float
) -> None:
    name = "batch_size" if isinstance(low, int) else "learning_rate"
    of = study(space={name: domain})
    drawn = [getattr(sample(of, n).training, name) for n in range(400)]
    assert min(drawn) >= low
    assert max(drawn) <= high
    if isinstance(low, int):
        assert set(drawn) == set(range(low, int(high) + 1))
    middle = np.sqrt(low * high) if "log" in next(iter(domain)) else (low + high) / 2
    assert 0.3 < np.mean(np.array(drawn) < middle) < 0.7


def test_choices_may_be_lists_and_fixed_values_stay() -> None:
    drawn = [sample(study(), n).net for n in range(60)]
    counts = collections.Counter(net.hidden_sizes for net in drawn)
    assert set(counts) == {(8,), (8, 4), (16,)}
    assert {net.activation for net in drawn} == {"tanh"}


def test_without_a_scheduler_the_longest_trials_come_first() -> None:
    space = {"hidden_sizes": {"log_integer": [4, 4096]}}

    def widths(**fields: Any) -> list[int]:
        of = validated(Study, {"space": space, "budget": {"trials": 20}} | fields, "test")
        search = StudySearch(of)
        suggested = [search.suggest(str(n)) for n in range(20)]
        return [s["trial"]["net"]["hidden_sizes"][0] for s in suggested if isinstance(s, dict)]

    by_number = widths()
    assert by_number != sorted(by_number, reverse=True)
    assert widths(tuning={"scheduler": "none"}) == sorted(by_number, reverse=True)
    limited = {"trials": 20, "wall_seconds": 9}
    assert widths(tuning={"scheduler": "none"}, budget=limited) == by_number


@pytest.mark.parametrize("name", [n for n in recorded.OPTIONAL if n != "step_epochs"])
def test_a_trial_that_drew_no_value_has_none_when_it_is_read_from_its_row(name: str) -> None:
    """The study has a value, too: that of the trials for which the condition does not hold."""
    value = 0.5 if name in ("momentum", "average_decay", "step_factor") else 2
    base: Values = {"number_embedding": "plr", "schedule": "step", "step_epochs": 1, name: value}
    of = study(
        space={
            "batch_size": {"choice": [16, 32]},
            name: {"choice": [None], "when": {"batch_size": 16}},
        },
        net={n: base[n] for n in base.keys() & NetSpec.model_fields.keys()},
        training={n: base[n] for n in base.keys() & Training.model_fields.keys()},
    )
    found = set()
    for number in range(9):
        config = sample(of, number)
        row: Row = {"trial": number, "seed": config.seed, **config.hyperparameters()}
        for given in (row, {n: v for n, v in row.items() if v is not None}):
            again = recorded.config(of.resolved(), given)
            assert again.hyperparameters() == config.hyperparameters()
        found.add(row[name])
    assert None in found
    assert len(found) == 2


def test_a_study_ends_when_every_trial_has_ended() -> None:
    search = StudySearch(study(trials=2))
    first, second = search.suggest("a"), search.suggest("b")
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert (first["trial"]["number"], second["trial"]["number"]) == (0, 1)
    search.on_trial_complete("a", {})
    assert search.suggest("c") is None  # b may still be lost
    search.on_trial_complete("b", {})
    assert search.suggest("d") == Searcher.FINISHED


def test_a_lost_trial_comes_again_under_its_number_a_bounded_number_of_times() -> None:
    losses = Losses()
    search = StudySearch(study(trials=1), losses=losses)
    first = search.suggest("0")
    assert isinstance(first, dict)
    for i in range(LOST_RETRIES):
        search.on_trial_complete(str(i), error=True)
        assert not losses.gave_up(0)  # it is queued again
        again = search.suggest(str(i + 1))
        assert isinstance(again, dict)
        assert again["trial"] == first["trial"]
    search.on_trial_complete(str(LOST_RETRIES), error=True)
    assert losses.reasons == {0: "its worker was lost 4 times: see ray.log"}
    assert search.suggest("x") == Searcher.FINISHED


def test_a_trial_that_is_given_up_is_not_begun_again() -> None:
    losses = Losses()
    search = StudySearch(study(trials=1), losses=losses)
    search.suggest("0")
    losses.give_up(0, "it was silent")
    search.on_trial_complete("0", error=True)
    assert search.suggest("x") == Searcher.FINISHED
    assert losses.reasons == {0: "it was silent"}


def test_tpe_draws_what_a_condition_asks_for_and_nothing_else() -> None:
    space = {
        "optimizer": {"choice": ["sgd", "adam"]},
        "momentum": {"uniform": [0.5, 0.99], "when": {"optimizer": "sgd"}},
        "hidden_sizes": {"each": {"log_integer": [4, 9]}, "depth": {"integer": [1, 3]}},
    }
    search = StudySearch(study(20, "tpe", space=space))
    drawn = [search.suggest(str(n)) for n in range(20)]
    trials = [d["trial"] for d in drawn if isinstance(d, dict)]
    with_momentum = {
        (t["training"]["optimizer"], t["training"]["momentum"] is not None) for t in trials
    }
    assert with_momentum == {("sgd", True), ("adam", False)}
    assert {len(t["net"]["hidden_sizes"]) for t in trials} == {1, 2, 3}


def test_tpe_learns_where_the_metric_is_high() -> None:
    space = {"learning_rate": {"uniform": [0.01, 1.0]}, "hidden_sizes": {"choice": [[8], [4, 4]]}}
    rows: dict[int, Row] = {}
    search = StudySearch(study(60, "tpe", space=space), rows=rows)
    rates = []
    for n in range(60):
        suggested = search.suggest(str(n))
        assert isinstance(suggested, dict)
        rate = suggested["trial"]["training"]["learning_rate"]
        rates.append(rate)
        rows[n] = {"status": "done", "best_val_accuracy": 1 - abs(rate - 0.8), "epochs": 8.0}
        search.on_trial_complete(str(n), {})
    distance = np.abs(np.array(rates) - 0.8)
    assert np.median(distance[40:]) < 0.5 * np.median(distance[:20])
