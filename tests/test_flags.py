"""Flags: what they override, and what their errors say."""

from typing import Any

import pytest

from ffnet.cli import command
from ffnet.cli.flags import add_flags, override
from ffnet.spec.study import Study
from ffnet.spec.validation import validated

SPACE = {
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
