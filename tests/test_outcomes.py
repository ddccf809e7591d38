"""The size of grids, alternatives that can never be drawn, and domains for each layer."""

import collections
import json
import time
from typing import Any

import numpy as np
import pytest

from ffnet.errors import InputError
from ffnet.spec.base import Values
from ffnet.spec.space import Domain, recorded_value
from ffnet.spec.study import Study
from ffnet.spec.validation import validated
from ffnet.tuning.search import StudySearch, sample

GRID = {"tuning": {"search": "grid"}}
OPTIMIZER = {"optimizer": {"choice": ["sgd", "adam", "rmsprop"]}}
RATE = {"learning_rate": {"log_uniform": [1e-3, 1e-1]}}


def study(space: Values, **sections: Any) -> Study:
    return validated(Study, {"space": space, **sections}, "test")


def refusal(space: Values, **sections: Any) -> str:
    with pytest.raises(InputError) as caught:
        study(space, **sections)
    return str(caught.value)


def every_draw(of: Study) -> list[Values]:
    """List every configuration by trying all suggestions: slow but surely right."""
    points: list[Values] = []
    path: list[int] = []
    while True:
        sizes: list[int] = []

        def suggest(_: str, domain: Domain, sizes: list[int] = sizes) -> Any:
            at = len(sizes)
            sizes.append(len(domain.value))
            if at == len(path):
                path.append(0)
            return domain.value[path[at]]

        points.append(of.space.draw(suggest, of.base))
        while path and path[-1] + 1 == sizes[len(path) - 1]:
            path.pop()
        if not path:
            return points
        path[-1] += 1


# --- grids -------------------------------------------------------------------------------------

CONDITIONS = {
    "nesterov": {"choice": [True, False], "when": {"momentum": [0.5, 0.9]}},
    "momentum": [
        {"choice": [0.5, 0.9], "when": {"optimizer": "sgd"}},
        {"choice": [0.3, 0.4], "when": {"optimizer": "rmsprop"}},
    ],
    **OPTIMIZER,
}
WIDTHS = {"hidden_sizes": {"each": {"choice": [4, 8, 16]}, "depth": {"choice": [2, 0, 3, 1]}}}


@pytest.mark.parametrize(
    "space",
    [
        CONDITIONS | {"hidden_sizes": {"each": {"choice": [4, 8]}, "depth": {"choice": [1, 2]}}},
        WIDTHS | {"batch_norm": {"choice": [True, False], "when": {
            "hidden_sizes": [8, [4, 16], [16, 16, 4]]}}, "activation": "tanh"},
        {"hidden_sizes": {"layers": [{"choice": [4, 8]}, 16, {"choice": [1, 2, 3]}]},
         "batch_size": [{"choice": [8, 16, 32], "when": {"hidden_sizes": [[8, 16, 2]]}}, 64]},
        {"hidden_sizes": {"choice": [4, [8, 4], [4, 4, 4]]},
         "dropout": {"each": {"choice": [0.1, 0.2]}},
         "batch_size": [{"choice": [8, 16], "when": {"hidden_sizes": [4, [8, 4]]}},
                        {"choice": [1, 2, 3], "when": {"dropout": [[0.1, 0.1, 0.2]]}}, 64]},
    ],
)  # fmt: skip
def test_point_n_of_a_grid_is_the_nth_that_can_be_drawn(space: Any) -> None:
    single = [{"fixed": 64} if isinstance(d, int) else d for d in space.get("batch_size", [])]
    of = study(space | ({"batch_size": single} if single else {}), **GRID)
    expected = every_draw(of)
    assert list(of.grid()) == expected
    assert [list(p) for p in of.grid()] == [list(p) for p in expected]  # the order of names too
    assert of.trials == len(of.grid()) == len(expected)
    counts = collections.Counter(json.dumps(point, sort_keys=True) for point in expected)
    assert set(counts.values()) == {1}


def test_a_range_of_depths_is_a_choice_of_them_in_a_grid() -> None:
    of_range, of_choice = (
        study({"hidden_sizes": {"each": {"choice": [4, 8]}, "depth": depth}}, **GRID)
        for depth in ({"integer": [1, 3]}, {"choice": [1, 2, 3]})
    )
    assert list(of_range.grid()) == list(of_choice.grid())
    assert of_range.trials == 2 + 4 + 8


def test_a_grid_of_a_million_points_starts_at_once_and_the_last_point_is_as_near_as_the_first() -> (
    None
):
    space = {
        "learning_rate": {"choice": [(n + 1) / 1000 for n in range(100)]},
        "batch_size": {"choice": list(range(1, 101))},
        "hidden_sizes": {"choice": list(range(1, 101))},
    }
    begun = time.process_time()
    of = study(space, **GRID)
    search = StudySearch(of)
    first, last = search.suggest("0"), sample(of, 999_999)
    assert time.process_time() - begun < 20  # to enumerate takes minutes
    assert of.trials == 1_000_000
    assert isinstance(first, dict)
    assert first["trial"]["training"]["learning_rate"] == 0.001
    assert (last.training.learning_rate, last.net.hidden_sizes) == (0.1, (100,))


def test_a_grid_too_large_for_the_tables_is_refused_in_few_words() -> None:
    space = {"hidden_sizes": {"each": {"choice": list(range(1, 100))}, "depth": 1000}}
    message = refusal(space, **GRID)
    assert "a grid may have 2147483647 points" in message
    assert len(message) < 500


def test_a_contradiction_in_a_large_grid_is_found_where_it_is_common() -> None:
    space = OPTIMIZER | {
        "momentum": {"choice": [0.1, 0.5]},
        "batch_size": {"choice": list(range(1, 1001))},
    }
    assert "contradicts itself: momentum is" in refusal(space, **GRID)


def test_a_contradiction_in_a_large_grid_is_found_whatever_its_step() -> None:
    space = {
        "batch_size": {"choice": list(range(1, 101))},
        "learning_rate": {"choice": [(n + 1) / 1000 for n in range(50)]},
        "momentum": {"choice": [0.1, 0.5, 0.6, 0.7, 0.8]},
        "optimizer": {"choice": ["sgd", "adam"]},  # a check of every 50th would find sgd only
    }
    assert "contradicts itself: momentum is" in refusal(space, **GRID)


# --- alternatives that cannot be drawn ---------------------------------------------------------

SGD, ADAM = {"optimizer": "sgd"}, {"optimizer": "adam"}


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"learning_rate": [{"uniform": [1, 2]}, {"uniform": [2, 3]}]}, "alternative 2 of"),
        (OPTIMIZER | {"learning_rate": [{"uniform": [1, 2]}, {"uniform": [2, 3], "when": SGD}]},
         "alternative 2 of learning_rate is never drawn"),
        (OPTIMIZER | {"learning_rate": [{"uniform": [1, 2], "when": SGD},
                                        {"uniform": [2, 3], "when": SGD}]}, "alternative 2 of"),
        (OPTIMIZER | {"learning_rate": [{"uniform": [1, 2], "when": {"optimizer": ["sgd", "adam"]}},
                                        {"uniform": [2, 3], "when": ADAM}]}, "alternative 2 of"),
        (OPTIMIZER | {"learning_rate": [{"uniform": [1, 2], "when": SGD},
                                        {"uniform": [2, 3], "when": SGD | {"bias": True}}],
                      "bias": {"choice": [True, False]}}, "alternative 2 of"),
        # Only together do the first three cover the fourth.
        (OPTIMIZER | {"learning_rate": [{"uniform": [1, 2], "when": {"optimizer": name}}
                                        for name in ("sgd", "adam", "rmsprop")]
                                       + [{"uniform": [2, 3]}]}, "alternative 4 of"),
        # The field in the condition never has this value.
        (OPTIMIZER | {"weight_decay": {"uniform": [0, 1], "when": {"optimizer": "adamw"}}},
         "weight_decay is never drawn: its condition never holds. Given: when optimizer = 'adamw'"),
        (RATE | {"momentum": {"uniform": [0.1, 0.9], "when": ADAM}}, "when optimizer = 'adam' ("),
        (RATE | {"momentum": {"uniform": [0.1, 0.9], "when": {"learning_rate": 0.05}}},
         "when learning_rate = 0.05 ("),
        ({"batch_size": {"integer": [1, 9]},
          "momentum": {"uniform": [0.1, 0.9], "when": {"batch_size": [10, 11]}}}, "[10, 11]"),
        # A list of lists in `when` names nets: of a layer of 8 or of 4, not the net 8-4.
        ({"hidden_sizes": {"choice": [[8, 4], 16]},
          "momentum": {"uniform": [0.1, 0.9], "when": {"hidden_sizes": [[8], [4]]}}},
         "must have one of its values"),
        ({"hidden_sizes": {"choice": [[64, 32], [64]]},
          "learning_rate": [{"fixed": 0.5, "when": {"hidden_sizes": [64, 32]}}, {"fixed": 0.001}]},
         "or any of these values: write [[64, 32]] for the net, or [[64], [32]]"),
        ({"dropout": {"choice": [0.1, 0.2]},
          "learning_rate": [{"fixed": 0.5, "when": {"dropout": [0.1, 0.2]}}, {"fixed": 0.001}]},
         "could mean one net with a value for each layer, or any of these values"),
        ({"hidden_sizes": {"each": {"choice": [4, 8]}, "depth": {"choice": [1, 2]}},
          "momentum": {"uniform": [0.1, 0.9], "when": {"hidden_sizes": [[4, 8, 4]]}}}, "never"),
        # The field in the condition has a condition of its own that excludes it.
        (OPTIMIZER | {"momentum": {"choice": [0.5, 0.9], "when": SGD},
                      "nesterov": {"choice": [True, False], "when": ADAM | {"momentum": 0.9}}},
         "nesterov is never drawn"),
        ({"hidden_sizes": [{"log_integer": [64, 512]}, {"choice": [32, 64]}]},
         "To give each layer a domain, write hidden_sizes = {layers = [{"),
        (RATE | {"dropout": [{"uniform": [0.0, 0.5]}, {"uniform": [0.0, 0.1]}]},
         "To give each layer a domain, write dropout = {layers = [{"),
        ({"hidden_sizes": [64, {"choice": [32, 64]}]}, "write {layers = [64, {"),
    ],
)  # fmt: skip
def test_an_alternative_that_is_never_drawn_is_refused(space: Values, words: str) -> None:
    message = refusal(space)
    assert words in message
    assert len(message) < 500


@pytest.mark.parametrize(
    "space",
    [
        OPTIMIZER | {"learning_rate": [
            {"uniform": [1, 2], "when": {"optimizer": ["sgd", "adam"]}},
            {"uniform": [2, 3], "when": {"optimizer": ["adam", "rmsprop"]}}]},
        {"batch_size": {"integer": [1, 9]},
         "momentum": {"uniform": [0.1, 0.9], "when": {"batch_size": [9, 10]}}},
        {"hidden_sizes": {"each": {"integer": [4, 8]}, "depth": {"integer": [1, 2]}},
         "momentum": {"uniform": [0.1, 0.9], "when": {"hidden_sizes": [[5, 7]]}}},
        {"hidden_sizes": {"layers": [8, {"integer": [4, 8]}]},
         "momentum": {"uniform": [0.1, 0.9], "when": {"hidden_sizes": [[8, 7]]}}},
        {"hidden_sizes": {"choice": [[8, 4], 16]},
         "momentum": {"uniform": [0.1, 0.9], "when": {"hidden_sizes": [[8, 4]]}}},
        {"hidden_sizes": {"each": {"choice": [4]}, "depth": {"choice": [1, 2]}}, "dropout": [
            {"each": {"uniform": [0.1, 0.2]}, "when": {"hidden_sizes": 4}}, {"fixed": 0.0}]},
    ],
)  # fmt: skip
def test_an_alternative_that_is_seldom_drawn_is_accepted(space: Values) -> None:
    assert study(space)


def test_conditions_on_more_values_than_can_be_looked_at_are_accepted() -> None:
    asked: dict[str, list[Any]] = {
        "api": ["barebones", "functional", "model", "sequential"],
        "activation": ["relu", "tanh", "elu", "selu", "gelu", "silu", "mish"],
        "initializer": ["kaiming_normal", "kaiming_uniform", "glorot_normal", "lecun_normal"],
        "batch_size": list(range(2, 40)), "bias": [True, False],
        "learning_rate": [n / 100 for n in range(1, 40)],
    }  # fmt: skip
    space = {name: {"choice": values} for name, values in asked.items()}
    momentum = [
        {"choice": [0.1], "when": {name: value}} for name, values in asked.items()
        for value in values[:-1]
    ]  # fmt: skip
    assert study(space | {"momentum": momentum})


# --- choices and numbers -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"batch_size": {"choice": [8, 8]}}, "choice has a value twice. Given: 8 and 8"),
        ({"bias": {"choice": [True, 1]}}, "value twice. Given: True and 1"),
        ({"learning_rate": {"choice": [1, 1.0]}}, "value twice. Given: 1 and 1.0"),
        ({"weight_decay": {"choice": [0.0, -0.0]}}, "value twice"),
        ({"hidden_sizes": {"choice": [64, [64]]}}, "value twice. Given: 64 and [64]"),
        ({"hidden_sizes": {"each": {"choice": [4, 4]}, "depth": 1}}, "value twice"),
        ({"learning_rate": {"choice": ["0.1", 0.2]}}, "must be written as 0.1. Given: '0.1'"),
        ({"learning_rate": {"choice": [True, 0.2]}}, "must be written as 1.0. Given: True"),
        ({"bias": {"choice": ["yes", "no"]}}, "must be written as True. Given: 'yes'"),
        ({"batch_size": {"integer": [1.5, 3]}}, "integer"),
        ({"batch_size": {"integer": [True, 3]}}, "needs two numbers"),
        ({"batch_size": {"uniform": [1, 3]}}, "batch_size: input should be a valid integer"),
        ({"batch_size": {"log_integer": [1, 10**400]}}, "must fit in 64 bits"),
        ({"hidden_sizes": {"each": 64, "depth": 10**9}}, "depth needs counts of layers"),
        ({"hidden_sizes": {"each": [64, 32], "depth": 2}}, "needs a number or one domain"),
        ({"hidden_sizes": {"layers": [64], "depth": 2}}, "depth needs each"),
        ({"hidden_sizes": {"layers": []}}, "layers"),
        ({"hidden_sizes": {"layers": [{"each": 64, "depth": 1}]}}, "layers and depth may have"),
        ({"learning_rate": {"layers": [0.1, 0.2]}}, "each and layers are for hidden_sizes"),
        ({"hidden_sizes": {"choice": [[64, 64]]}, "dropout": {"layers": [
            {"uniform": [0.1, 0.2]}]}}, "dropout needs one rate for each of 2 hidden layers"),
    ],
)  # fmt: skip
def test_values_that_are_not_what_they_seem_are_refused(space: Values, words: str) -> None:
    message = refusal(space)
    assert words in message
    assert len(message) < 500


def test_whole_floats_are_integers_and_a_number_is_a_fixed_depth_or_width() -> None:
    of = study({"batch_size": {"log_integer": [8.0, 64.0]},
                "hidden_sizes": {"each": 64, "depth": {"choice": [1, 2]}},
                "dropout": {"each": 0.1}})  # fmt: skip
    drawn = [of.sample(n) for n in range(20)]
    assert {tuple(d["hidden_sizes"]) for d in drawn} == {(64,), (64, 64)}
    assert all(type(d["batch_size"]) is int for d in drawn)
    assert all(d["dropout"] == [0.1] * len(d["hidden_sizes"]) for d in drawn)
    of = study({"hidden_sizes": {"each": {"choice": [4, 8]}, "depth": 2}})
    assert {len(of.sample(n)["hidden_sizes"]) for n in range(9)} == {2}


# --- a domain for each layer -------------------------------------------------------------------

LAYERS: Values = {
    "hidden_sizes": {"layers": [{"log_integer": [64, 512]}, {"choice": [32, 48]}, 10]},
    "dropout": {"layers": [0.0, {"uniform": [0.1, 0.2]}, {"uniform": [0.3, 0.4]}]},
}


def is_of_layers(config: Values) -> bool:
    first, second, third = config["hidden_sizes"]
    a, b, c = config["dropout"]
    return (
        64 <= first <= 512 and second in (32, 48) and third == 10
        and a == 0 and 0.1 <= b <= 0.2 and 0.3 <= c <= 0.4
    )  # fmt: skip


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_each_layer_is_drawn_from_its_own_domain(search: str) -> None:
    of = study(LAYERS, tuning={"search": search}, budget={"trials": 20})
    suggested = [StudySearch(of).suggest("0")]
    again = StudySearch(of)
    suggested += [again.suggest(str(n)) for n in range(20)]
    configs = [s["trial"]["net"] for s in suggested if isinstance(s, dict)]
    assert len(configs) == 21
    assert all(map(is_of_layers, configs))
    assert {c["hidden_sizes"][1] for c in configs} == {32, 48}


def test_layers_read_back_are_recorded_by_label_and_change_in_their_own_domain() -> None:
    of = study(LAYERS, tuning={"scheduler": "pbt"})
    assert validated(Study, json.loads(json.dumps(of.resolved())), "resolved") == of
    labels: Values = {}

    def suggest(label: str, domain: Domain) -> Any:
        labels[label] = domain.value[0]
        return domain.value[0]

    drawn = of.space.draw(suggest, of.base)
    assert sorted(labels) == ["dropout.2", "dropout.3", "hidden_sizes.1", "hidden_sizes.2"]
    for label, value in labels.items():
        assert recorded_value(label, drawn) == value
    config, random = of.trial_config(0, of.sample(0), 0), np.random.default_rng(0)
    changed = [config := of.explored(config, random) for _ in range(20)]
    assert all(is_of_layers(c.hyperparameters()) for c in changed)
    assert len({c.net.dropout for c in changed}) > 5
