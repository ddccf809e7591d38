"""Points: configurations that a study tries first."""

from typing import Any

import pytest

from ffnet.errors import InputError
from ffnet.spec.study import Study
from ffnet.spec.validation import validated
from ffnet.tuning.search import StudySearch, sample

SPACE = {
    "optimizer": {"choice": ["sgd", "adam"]},
    "momentum": {"uniform": [0.5, 0.95], "when": {"optimizer": "sgd"}},
    "hidden_sizes": {"each": {"log_integer": [8, 64]}, "depth": {"integer": [1, 3]}},
    "dropout": {"each": {"uniform": [0.0, 0.4]}},
    "learning_rate": [
        {"log_uniform": [1e-2, 3e-1], "when": {"optimizer": "sgd"}},
        {"log_uniform": [2e-4, 5e-3], "when": {"optimizer": "adam"}},
    ],
    "activation": "tanh",
}
WHOLE = {
    "optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.1, "hidden_sizes": [32, 16],
    "dropout": [0.1, 0.2], "activation": "tanh",
}  # fmt: skip


def study(*points: Any, search: str = "random", space: Any = SPACE, **tuning: Any) -> Study:
    values = {"space": space, "tuning": {"search": search, "points": list(points), **tuning}}
    return validated(Study, values, "test")


@pytest.mark.parametrize("search", ["random", "qmc", "tpe", "cmaes"])
def test_the_first_trials_are_the_points_and_the_others_as_without_them(search: str) -> None:
    of, without = study(WHOLE, {"hidden_sizes": 64}, search=search), study(search=search)
    suggested = [StudySearch(each) for each in (of, without)]
    with_points, plain = (
        [found["trial"] for n in range(8) if isinstance(found := each.suggest(str(n)), dict)]
        for each in suggested
    )
    first, second = with_points[:2]
    assert first["net"]["hidden_sizes"] == (32, 16)
    assert first["net"]["dropout"] == (0.1, 0.2)
    assert (first["training"]["momentum"], first["training"]["learning_rate"]) == (0.9, 0.1)
    assert second["net"]["hidden_sizes"] == (64,)
    if search in ("random", "qmc"):
        assert second["training"] == plain[1]["training"]  # what the point leaves out is drawn
        assert with_points[2:] == plain[2:]


def test_points_come_first_where_trials_are_ordered_by_size() -> None:
    of = study({"hidden_sizes": 8}, {"hidden_sizes": [8, 8]}, scheduler="none")
    search = StudySearch(of)
    numbers = [
        s["trial"]["number"] for n in range(16) if isinstance(s := search.suggest(str(n)), dict)
    ]
    assert numbers[:2] == [1, 0]
    assert numbers[2:] != sorted(numbers[2:])


def test_a_study_with_points_is_the_same_after_study_json() -> None:
    of = study(WHOLE, {"hidden_sizes": 64})
    again = validated(Study, of.resolved(), "study.json", recorded=True)
    assert [sample(again, n) for n in range(4)] == [sample(of, n) for n in range(4)]


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ({}, "it gives no field"),
        ({"lr": 0.1}, "unknown key 'lr'"),
        ({"learning_rte": 0.1}, "did you mean learning_rate?"),
        ({"batch_size": 32}, "batch_size is not in [space]"),
        ({"momentum": 0.9}, "momentum depends on optimizer: give both"),
        ({"dropout": [0.1]}, "dropout depends on hidden_sizes: give both"),
        ({"optimizer": "adam", "momentum": 0.9}, "momentum has no domain whose condition holds"),
        ({"optimizer": "sgd", "momentum": 0.99}, "momentum = 0.99; values from 0.5 to 0.95"),
        ({"optimizer": "adam", "learning_rate": 0.1}, "learning_rate = 0.1; values from 0.0002"),
        ({"optimizer": "rmsprop"}, "optimizer = 'rmsprop'; choices: 'sgd', 'adam'"),
        ({"optimizer": True}, "optimizer: input should be 'sgd'"),
        ({"hidden_sizes": [8, 8, 8, 8]}, "hidden_sizes.depth = 4; values from 1 to 3"),
        ({"hidden_sizes": [8, 128]}, "hidden_sizes.2 = 128; values from 8 to 64"),
        ({"hidden_sizes": 64.0}, "hidden_sizes: "),
        ({"hidden_sizes": 8, "dropout": 0.1}, "dropout needs a list"),
        ({"hidden_sizes": [8, 9], "dropout": [0.1]}, "dropout needs a list"),
        ({"hidden_sizes": 8, "dropout": [0.1, 0.2]}, "dropout must be [0.1] there"),
        ({"activation": "relu"}, "activation must be 'tanh' there"),
        ("x", "valid dictionary"),
    ],
)
def test_a_point_that_the_space_does_not_offer_is_refused(point: Any, words: str) -> None:
    with pytest.raises(InputError) as refused:
        study({"hidden_sizes": 8}, point)
    assert words in str(refused.value)
    if isinstance(point, dict):
        assert "tuning.points, point 2: " in str(refused.value)


def test_one_value_for_all_layers_is_not_given_as_a_list_of_several() -> None:
    space = {"hidden_sizes": 8, "dropout": {"uniform": [0.0, 0.4]}}
    assert sample(study({"dropout": 0.1}, space=space), 0).net.dropout == 0.1
    space = {"hidden_sizes": [8, 8], "dropout": {"uniform": [0.0, 0.4]}}
    with pytest.raises(InputError, match="dropout"):
        study({"dropout": [0.1, 0.2]}, space=space)


def test_a_point_that_contradicts_itself_is_refused() -> None:
    space = {"optimizer": {"choice": ["sgd", "adamw"]}, "weight_decay": {"choice": [0, 0.1]}}
    with pytest.raises(InputError, match="point 1: adamw needs weight_decay > 0"):
        study({"optimizer": "adamw", "weight_decay": 0}, space=space)


def test_more_points_than_trials_and_points_of_a_grid_are_refused() -> None:
    with pytest.raises(InputError, match="Given: 17 points, 16 trials"):
        study(*[{"hidden_sizes": n} for n in range(8, 25)])
    with pytest.raises(InputError, match="points has an effect only with search random"):
        study({"batch_size": 8}, search="grid", space={"batch_size": {"choice": [8, 16]}})
