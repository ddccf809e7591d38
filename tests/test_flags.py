"""Flags: what they override, and what their errors say."""

from typing import Any

import pytest

from ffnet.cli import command
from ffnet.cli.flags import add_flags, override
from ffnet.spec.study import Study
from ffnet.spec.validation import validated

SPACE: dict[str, Any] = {
    "optimizer": {"choice": ["sgd", "adam"]},
    "momentum": {"uniform": [0.5, 0.9], "when": {"optimizer": "sgd"}},
    "learning_rate": [
        {"uniform": [0.1, 0.2], "when": {"optimizer": ["sgd"]}},
        {"uniform": [0.3, 0.4], "when": {"optimizer": "adam"}},
    ],
}


def overridden(*argv: str, **sections: Any) -> Study:
    parser = command.parser("tune", None)
    add_flags(parser, Study)
    flags = parser.parse_args([*argv])
    return validated(Study, override({"space": SPACE, **sections}, flags, Study), "test")


def test_a_number_takes_what_its_value_rules_out_from_the_space() -> None:
    of = overridden("--optimizer", "adam")
    assert {name: len(domains) for name, domains in of.space.root.items()} == {"learning_rate": 1}
    assert 0.3 <= of.sample(0)["learning_rate"] <= 0.4
    of = overridden("--optimizer", "sgd")
    assert list(of.space.root) == ["momentum", "learning_rate"]
    assert of.sample(3).keys() == {"momentum", "learning_rate"}


def test_a_domain_or_a_list_of_alternatives_enters_the_space() -> None:
    of = overridden("--batch-size", "{choice = [8, 16]}", training={"batch_size": 4})
    assert of.sample(0)["batch_size"] in (8, 16)
    alternatives = '[{choice = [8], when = {optimizer = "sgd"}}, {choice = [16]}]'
    of = overridden("--batch-size", alternatives)
    drawn = {(d["optimizer"], d["batch_size"]) for d in map(of.sample, range(20))}
    assert drawn == {("sgd", 8), ("adam", 16)}


@pytest.mark.parametrize("space", [[], 3, "x"])
def test_a_space_that_is_no_table_is_left_to_validation(space: Any) -> None:
    with pytest.raises(ValueError, match=r"space: .*dictionary"):
        overridden("--optimizer", "adam", space=space)


POINTS = [
    {"optimizer": "sgd", "momentum": 0.6, "learning_rate": 0.15},
    {"learning_rate": 0.35, "optimizer": "adam"},
    {"optimizer": "adam"},
]
DEEP = {
    "hidden_sizes": {"each": {"choice": [8, 16]}, "depth": {"choice": [1, 2]}},
    "dropout": {"each": {"uniform": [0.0, 0.5]}},
    "batch_size": {"choice": [8, 16]},
}


@pytest.mark.parametrize(
    ("argv", "left"),
    [
        (["--epochs", "3"], POINTS),
        (["--learning-rate", "0.1"], [{"optimizer": "sgd", "momentum": 0.6}, *[POINTS[2]] * 2]),
        (
            ["--momentum", '{uniform = [0.1, 0.2], when = {optimizer = "sgd"}}'],
            [{"optimizer": "sgd", "learning_rate": 0.15}, *POINTS[1:]],
        ),
        (["--optimizer", "adam"], []),
        (["--optimizer", '{choice = ["adam", "sgd"]}'], []),
        (["--points", "[{optimizer = 'adam'}]", "--learning-rate", "0.1"], POINTS[2:]),
        (["--search", "grid"], []),
    ],
)
def test_points_of_the_file_lose_what_flags_change(argv: list[str], left: list[Any]) -> None:
    space = SPACE
    if "grid" in argv:
        space = {"optimizer": {"choice": ["sgd", "adam"]}}
    of = overridden(*argv, tuning={"points": POINTS if space is SPACE else POINTS[2:]}, space=space)
    assert [*of.tuning.points] == left


def test_points_lose_a_value_of_an_alternative_that_left_the_space() -> None:
    space = {**SPACE, "learning_rate": [SPACE["learning_rate"][0], {"uniform": [0.3, 0.4]}]}
    tuning = {"points": POINTS[:1]}
    assert overridden("--optimizer", "adam", tuning=tuning, space=space).tuning.points == ()


def test_points_lose_values_for_each_layer_with_the_hidden_sizes() -> None:
    points = [{"hidden_sizes": [8, 16], "dropout": [0.1, 0.2], "batch_size": 8}]
    of = overridden("--hidden-sizes", "[4, 4, 4]", tuning={"points": points}, space=DEEP)
    assert [*of.tuning.points] == [{"batch_size": 8}]
    assert of.sample(0)["batch_size"] == 8


def test_points_lose_what_depends_on_a_changed_field_through_another() -> None:
    space = SPACE | {"dropout": {"choice": [0.0, 0.5], "when": {"momentum": 0.5}}}
    space["momentum"] = {"choice": [0.5, 0.9], "when": {"optimizer": "sgd"}}
    points = [{"optimizer": "sgd", "momentum": 0.5, "dropout": 0.5, "batch_size": 8}]
    space["batch_size"] = {"choice": [8, 16]}
    of = overridden(
        "--optimizer", '{choice = ["adam", "sgd"]}', tuning={"points": points}, space=space
    )
    assert [*of.tuning.points] == [{"batch_size": 8}]


@pytest.mark.parametrize("points", [3, [3], [{}], [{"momentun": 0.6}]])
def test_wrong_points_of_the_file_are_refused_with_flags_too(points: Any) -> None:
    with pytest.raises(ValueError, match="point"):
        overridden("--learning-rate", "0.1", tuning={"points": points})
