"""The cube of a space, the search by Sobol points, and CMA-ES."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from ffnet.errors import InputError
from ffnet.run.tables import Row
from ffnet.spec.cube import dimensions, share_of, sobol, value_at
from ffnet.spec.space import Domain
from ffnet.spec.study import Study
from ffnet.spec.validation import validated
from ffnet.tuning import learner
from ffnet.tuning.search import StudySearch, sample

SPACE = {
    "optimizer": {"choice": ["sgd", "adam"]},
    "momentum": {"uniform": [0.5, 0.99], "when": {"optimizer": "sgd"}},
    "hidden_sizes": {"each": {"log_integer": [4, 9]}, "depth": {"integer": [1, 3]}},
    "dropout": {"each": {"uniform": [0.0, 0.5]}},
    "learning_rate": [
        {"log_uniform": [1e-2, 1.0], "when": {"optimizer": "sgd"}},
        {"log_uniform": [1e-4, 1e-2], "when": {"optimizer": "adam"}},
    ],
    "weight_decay": {"uniform": [0.0, 0.1]},
    "activation": "tanh",
}
RANGES = [
    {"uniform": (1.0, 3.0)},
    {"log_uniform": (1e-3, 1.0)},
    {"integer": (2, 6)},
    {"log_integer": (1, 8)},
]


def study(search: str, space: Any = SPACE, trials: int = 64, **tuning: Any) -> Study:
    tuning = {"search": search, **tuning}
    return validated(
        Study, {"space": space, "budget": {"trials": trials}, "tuning": tuning}, "test"
    )


@pytest.mark.parametrize("kind", RANGES)
def test_a_coordinate_and_its_value_are_each_others_inverse(kind: dict[str, Any]) -> None:
    domain = Domain(**kind)
    low, high = domain.value
    assert (value_at(domain, 0.0), value_at(domain, 1.0)) == pytest.approx((low, high))
    shares = np.linspace(0, 1, 101)
    values = [value_at(domain, float(share)) for share in shares]
    assert values == sorted(values)
    back = [value_at(domain, share_of(domain, value)) for value in values]
    assert back == pytest.approx(values)
    if isinstance(low, int):
        assert {type(value) for value in values} == {int}
        assert set(values) == set(range(low, high + 1))


def test_equal_lengths_of_a_coordinate_are_as_probable_as_in_a_random_search() -> None:
    domain = Domain(log_integer=(1, 8))
    of = study("random", {"batch_size": {"log_integer": [1, 8]}, "learning_rate": 0.1}, 1)
    drawn = Counter(sample(of, n).training.batch_size for n in range(4000))
    shares = Counter(value_at(domain, (n + 0.5) / 4000) for n in range(4000))
    for value in range(1, 9):
        assert abs(drawn[value] - shares[value]) < 5 * np.sqrt(shares[value])


def test_the_cube_has_a_dimension_for_each_value_that_may_be_drawn() -> None:
    of = study("qmc")
    found = {dimension.label: dimension.always for dimension in dimensions(of.space, of.base)}
    assert found == {
        "dropout.1": True, "dropout.2": False, "dropout.3": False,
        "hidden_sizes.1": True, "hidden_sizes.2": False, "hidden_sizes.3": False,
        "hidden_sizes.depth": True, "learning_rate/0": False, "learning_rate/1": False,
        "momentum": False, "optimizer": True, "weight_decay": True,
    }  # fmt: skip
    space = {
        "hidden_sizes": [
            {"choice": [[], [8, 8]], "when": {"optimizer": "sgd"}},
            {"layers": [4, {"integer": [4, 8]}, 4, 4], "when": {"optimizer": "adam"}},
        ],
        "optimizer": {"choice": ["sgd", "adam", "rmsprop"]},
        "dropout": {"each": {"uniform": [0.0, 0.5]}},
    }
    of = study("qmc", space)
    labels = {dimension.label: dimension.always for dimension in dimensions(of.space, of.base)}
    assert labels == {
        "dropout.1": False, "dropout.2": False, "dropout.3": False, "dropout.4": False,
        "hidden_sizes/0": False, "hidden_sizes/1.2": False, "optimizer": True,
    }  # fmt: skip
    assert {len(sample(of, n).net.hidden_sizes) for n in range(64)} == {0, 1, 2, 4}


def test_a_width_for_all_layers_is_one_dimension() -> None:
    of = study(
        "qmc", {"hidden_sizes": {"repeat": {"integer": [4, 8]}, "depth": {"choice": [0, 3]}}}
    )
    found = {dimension.label: dimension.always for dimension in dimensions(of.space, of.base)}
    assert found == {"hidden_sizes.1": False, "hidden_sizes.depth": True}
    sizes = {sample(of, n).net.hidden_sizes for n in range(64)}
    assert sizes == {(), *((n, n, n) for n in range(4, 9))}


def test_each_sixteenth_of_a_range_has_one_of_the_first_sixteen_sobol_points() -> None:
    space = {
        "learning_rate": {"uniform": [0.0, 16.0]},
        "weight_decay": {"uniform": [0.0, 16.0]},
        "activation": {"choice": ["relu", "tanh", "elu", "selu"]},
    }
    values = {
        "space": space | {"learning_rate": {"uniform": [1e-9, 16.0]}},
        "tuning": {"search": "qmc"},
    }
    of = validated(Study, values, "test")
    for first in (0, 16, 1024 - 16, 1024):
        trials = [sample(of, n) for n in range(first, first + 16)]
        for name in ("learning_rate", "weight_decay"):
            assert sorted(int(getattr(t.training, name)) for t in trials) == list(range(16))
        assert set(Counter(t.net.activation for t in trials).values()) == {4}


def test_a_sobol_trial_follows_from_the_studys_seed_and_its_number_alone() -> None:
    of = study("qmc")
    assert sample(of, 3) == sample(study("qmc", trials=9), 3)
    assert sample(of, 3) == sample(study("qmc", dict(reversed(SPACE.items()))), 3)
    others = validated(Study, of.resolved() | {"seed": 1}, "test", recorded=True)
    assert sample(of, 3) != sample(others, 3)
    points = np.array([sobol(0, n, 5) for n in (0, 1, 1023, 1024, 10**6)])
    assert len(np.unique(points)) == points.size
    assert ((points >= 0) & (points < 1)).all()


def test_the_conditions_of_a_space_hold_for_sobol_points_and_cmaes() -> None:
    for search in ("qmc", "cmaes"):
        suggests = StudySearch(study(search))
        for n in range(64):
            suggested = suggests.suggest(str(n))
            assert isinstance(suggested, dict)
            training, net = suggested["trial"]["training"], suggested["trial"]["net"]
            assert (training["optimizer"] == "sgd") == (training["momentum"] is not None)
            assert (training["learning_rate"] >= 1e-2) == (training["optimizer"] == "sgd")
            assert len(net["dropout"]) == len(net["hidden_sizes"]) in (1, 2, 3)


def best_rates(search: str, mode: str, trials: int = 80) -> list[float]:
    """Return the rates of a study's trials, the best near 0.8, of which four run at a time."""
    space = {
        "learning_rate": {"uniform": [0.01, 1.0]},
        "hidden_sizes": {"choice": [[8], [4, 4]]},
        "weight_decay": {"uniform": [0.0, 1.0]},
    }
    rows: dict[int, Row] = {}
    suggests = StudySearch(study(search, space, trials, metric=mode), rows=rows)
    rates: list[float] = []
    for n in range(trials):
        suggested = suggests.suggest(str(n))
        assert isinstance(suggested, dict)
        rates.append(suggested["trial"]["training"]["learning_rate"])
        if n >= 3:
            loss = abs(rates[n - 3] - 0.8)
            figure = loss if mode == "val_loss" else 1 - loss
            rows[n - 3] = {"status": "done", f"best_{mode}": figure, "epochs": 8.0}
            if loss > 0.6:
                rows[n - 3] = {"status": "diverged", "epochs": 1.0}
            elif loss > 0.3:
                rows[n - 3] |= {"status": "pruned", "epochs": 1.0}
    return rates


@pytest.mark.parametrize("mode", ["val_accuracy", "val_loss"])
def test_cmaes_moves_to_where_trials_rank_high_with_four_workers(mode: str) -> None:
    distance = np.abs(np.array(best_rates("cmaes", mode)) - 0.8)
    assert np.median(distance[60:]) < 0.3 * np.median(distance[:20])


@pytest.mark.slow
def test_a_gaussian_process_finds_the_best_rate_with_four_workers() -> None:
    pytest.importorskip("torch", reason="search gp needs torch")
    distance = np.abs(np.array(best_rates("gp", "val_accuracy", 24)) - 0.8)
    assert np.median(distance[16:]) < 0.3 * np.median(distance[:10])


def test_cmaes_without_a_range_in_every_configuration_is_refused() -> None:
    space = {
        "optimizer": {"choice": ["sgd", "adam"]},
        "momentum": {"uniform": [0.5, 0.99], "when": {"optimizer": "sgd"}},
    }
    with pytest.raises(InputError, match="cmaes needs a range"):
        study("cmaes", space)


@pytest.mark.parametrize(("search", "package"), learner.NEEDED.items())
def test_a_search_without_its_package_names_the_extra(
    search: str, package: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "find_spec", lambda name: None if name == package[0] else name)
    with pytest.raises(
        InputError, match=rf"needs the package {package[0]} .*pip install 'ffnet\[{search}\]'"
    ):
        learner.refuse_missing(study(search))
    learner.refuse_missing(study("tpe"))
