"""Search spaces: conditions, lists, what is drawn and changed, what a study refuses."""

import collections
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from ffnet.errors import InputError
from ffnet.spec.base import Values
from ffnet.spec.net import MUTABLE
from ffnet.spec.space import Domain, SearchSpace
from ffnet.spec.study import Study
from ffnet.spec.validation import validated

RATE = {"learning_rate": {"log_uniform": [1e-3, 1e-1]}}
MOMENTUM = {"momentum": {"uniform": [0.5, 0.99], "when": {"optimizer": "sgd"}}}
OPTIMIZER = {"optimizer": {"choice": ["sgd", "adam", "rmsprop"]}}

CHANGING: Values = {
    "learning_rate": {"log_uniform": [1e-3, 1e-1]},
    "weight_decay": {"choice": [0.0, 1e-3, 1e-2]},
    "momentum": {"uniform": [0.5, 0.99], "when": {"optimizer": "sgd"}},
    "dropout": {"each": {"uniform": [0.1, 0.5]}},
    "hidden_sizes": {"each": {"choice": [4, 8]}, "depth": {"integer": [1, 3]}},
    "optimizer": {"choice": ["sgd", "adam"]},
}


def study(space: Values, **sections: Any) -> Study:
    return validated(Study, {"space": space, **sections}, "test")


def refusal(space: Values, **sections: Any) -> str:
    with pytest.raises(InputError) as caught:
        study(space, **sections)
    message = str(caught.value)
    assert message.startswith("test: ")
    assert "\n" not in message
    return message


def samples(space: Values, count: int = 60, **sections: Any) -> list[Values]:
    of = study(space, **sections)
    return [of.sample(number) for number in range(count)]


# --- conditions and alternatives ---------------------------------------------------------------


def test_a_value_is_drawn_only_where_its_condition_holds() -> None:
    drawn = samples(OPTIMIZER | MOMENTUM)
    assert {(d["optimizer"], "momentum" in d) for d in drawn} == {
        ("sgd", True), ("adam", False), ("rmsprop", False),
    }  # fmt: skip


def test_a_condition_may_list_values() -> None:
    momentum = {"momentum": {"uniform": [0.5, 0.99], "when": {"optimizer": ["sgd", "rmsprop"]}}}
    drawn = samples(OPTIMIZER | momentum)
    assert {(d["optimizer"], "momentum" in d) for d in drawn} == {
        ("sgd", True), ("adam", False), ("rmsprop", True),
    }  # fmt: skip


def test_every_field_of_a_condition_must_hold() -> None:
    both = {"optimizer": "sgd", "batch_size": [8, 16]}
    space = OPTIMIZER | {
        "batch_size": {"choice": [8, 16, 32]},
        "momentum": {"uniform": [0.5, 0.99], "when": both},
    }
    for d in samples(space):
        assert ("momentum" in d) == (d["optimizer"] == "sgd" and d["batch_size"] < 32)


def test_a_condition_may_ask_for_a_fixed_field() -> None:
    assert all("momentum" in d for d in samples(MOMENTUM, 5))  # sgd is the default


def test_of_alternatives_the_first_that_holds_is_drawn() -> None:
    space = OPTIMIZER | {
        "learning_rate": [
            {"uniform": [1.0, 2.0], "when": {"optimizer": "sgd"}},
            {"uniform": [2.0, 3.0], "when": {"optimizer": ["sgd", "adam"]}},
            {"uniform": [3.0, 4.0]},
        ]
    }
    drawn = {(d["optimizer"], int(d["learning_rate"])) for d in samples(space)}
    assert drawn == {("sgd", 1), ("adam", 2), ("rmsprop", 3)}


def test_where_no_alternative_holds_the_field_keeps_its_default() -> None:
    space = OPTIMIZER | {"learning_rate": [{"uniform": [1.0, 2.0], "when": {"optimizer": "sgd"}}]}
    of = study(space)
    for d in samples(space, 20):
        rate = of.trial_config(0, d, 0).training.learning_rate
        assert rate >= 1 if d["optimizer"] == "sgd" else rate == 0.01


def test_what_a_condition_asks_for_is_drawn_first_whatever_the_order() -> None:
    chain = {
        "nesterov": {"choice": [True, False], "when": {"momentum": 0.9}},
        "momentum": {"choice": [0.5, 0.9], "when": {"optimizer": "sgd"}},
        "optimizer": {"choice": ["sgd", "adam"]},
    }
    forwards = study(chain)
    backwards = study(dict(reversed(chain.items())))
    for number in range(40):
        drawn = forwards.sample(number)
        assert list(drawn) == ["optimizer", "momentum", "nesterov"][: len(drawn)]
        assert ("nesterov" in drawn) == (drawn.get("momentum") == 0.9)
        assert backwards.sample(number) == drawn


@pytest.mark.parametrize(
    ("conditions", "circle"),
    [
        ({"momentum": "nesterov", "nesterov": "momentum"}, "momentum → nesterov → momentum"),
        (
            {"momentum": "nesterov", "bias": "momentum", "nesterov": "bias"},
            "momentum → bias → nesterov → momentum",
        ),
        ({"momentum": "momentum"}, "momentum → momentum"),
    ],
)
def test_conditions_in_a_circle_are_refused(conditions: dict[str, str], circle: str) -> None:
    choices = {"momentum": [0.5, 0.9]}
    space = {
        name: {"choice": choices.get(name, [True, False]), "when": {other: True}}
        for name, other in conditions.items()
    }
    assert f"conditions must not depend on each other in a circle. Given: {circle}" in refusal(
        space
    )


def test_a_list_of_each_layer_that_hidden_sizes_wait_for_is_a_circle() -> None:
    space = {
        "dropout": {"each": {"uniform": [0.0, 0.5]}},
        "hidden_sizes": {"choice": [4, 8], "when": {"dropout": 0.0}},
    }
    assert "circle. Given: dropout → hidden_sizes → dropout" in refusal(space)


# --- a value for each layer --------------------------------------------------------------------


def test_depth_is_drawn_and_then_a_width_for_each_layer() -> None:
    sizes = {"each": {"log_integer": [4, 64]}, "depth": {"integer": [1, 3]}}
    drawn = [d["hidden_sizes"] for d in samples({"hidden_sizes": sizes})]
    assert {len(d) for d in drawn} == {1, 2, 3}
    assert all(4 <= width <= 64 for d in drawn for width in d)
    assert all(len(set(d)) > 1 for d in drawn if len(d) == 3)  # layers have different widths


def test_dropout_of_each_layer_follows_the_depth_drawn() -> None:
    space = {
        "dropout": {"each": {"uniform": [0.1, 0.5]}},
        "hidden_sizes": {"each": {"choice": [4, 8]}, "depth": {"integer": [0, 3]}},
    }
    of = study(space)
    drawn = samples(space)
    for d in drawn:
        rates = of.trial_config(0, d, 0).net.dropout_rates
        assert len(rates) == len(d["hidden_sizes"]) == len(set(rates))
        assert all(0.1 <= rate <= 0.5 for rate in rates)
    assert {len(d["hidden_sizes"]) for d in drawn} == {0, 1, 2, 3}


@pytest.mark.parametrize(("sizes", "count"), [(7, 1), ([4, 8], 2), ([], 0)])
def test_dropout_of_each_layer_follows_the_depth_given(sizes: Any, count: int) -> None:
    space = {"dropout": {"each": {"uniform": [0.1, 0.5]}}}
    assert len(samples(space, 1, net={"hidden_sizes": sizes})[0]["dropout"]) == count


@pytest.mark.parametrize(
    ("domain", "words"),
    [
        ({"each": {"choice": [4]}}, "each needs depth in hidden_sizes"),
        ({"depth": {"choice": [1]}, "choice": [4]}, "depth needs each or repeat"),
        ({"repeat": {"choice": [4]}}, "repeat needs depth in hidden_sizes"),
        ({"repeat": {"choice": [4]}, "each": {"choice": [4]}, "depth": 2}, "exactly one kind"),
        ({"repeat": {"choice": [4, 0]}, "depth": {"fixed": 1}}, "Given: 0"),
        ({"each": {"choice": [4], "when": {"api": "model"}}, "depth": {"fixed": 1}},
         "put when next to them"),
        ({"each": {"choice": [4, 0]}, "depth": {"fixed": 1}}, "Given: 0"),
        ({"each": {"choice": [4]}, "depth": {"uniform": [1.0, 3.0]}}, "depth"),
        ({"each": {"choice": [4]}, "depth": {"choice": ["two"]}}, "depth"),
        ({"each": {"choice": [4]}, "depth": {"integer": [-2, 2]}}, "depth"),
    ],
)  # fmt: skip
def test_layers_that_cannot_be_drawn_are_refused(domain: Values, words: str) -> None:
    assert words in refusal({"hidden_sizes": domain})


def test_repeat_draws_one_width_for_all_layers() -> None:
    sizes = {"repeat": {"log_integer": [4, 64]}, "depth": {"integer": [0, 3]}}
    drawn = [s["hidden_sizes"] for s in samples({"hidden_sizes": sizes}, 200)]
    assert {len(each) for each in drawn} == {0, 1, 2, 3}
    assert {len(set(each)) for each in drawn} == {0, 1}
    widths = {each[0] for each in drawn if each}
    assert len(widths) > 20
    assert widths <= set(range(4, 65))


def test_residual_layers_of_a_depth_that_is_drawn_need_no_condition_with_repeat() -> None:
    sizes = {"repeat": {"log_integer": [64, 512]}, "depth": {"integer": [2, 4]}}
    study({"hidden_sizes": sizes, "residual": {"choice": [True, False]}})  # as the refusal says
    each = {"hidden_sizes": sizes | {"each": sizes["repeat"]}}
    del each["hidden_sizes"]["repeat"]
    assert "{repeat = {log_integer = [64, 512]}, depth = {integer = [2, 4]}}" in refusal(
        each, net={"residual": True}
    )
    alone = {"repeat": {"log_integer": [64, 512]}, "depth": {"integer": [1, 4]}}
    study({
        "residual": {"choice": [True, False]},
        "hidden_sizes": [sizes | {"when": {"residual": True}}, alone],
    })  # fmt: skip


def test_a_grid_repeats_each_width_for_each_depth() -> None:
    sizes = {"repeat": {"choice": [4, 8]}, "depth": {"integer": [0, 2]}}
    rates = {"choice": [0.1, 0.2], "when": {"hidden_sizes": [[8, 8], [4]]}}
    points = study({"hidden_sizes": sizes, "dropout": rates}, tuning={"search": "grid"}).grid()
    found = [(p["hidden_sizes"], p.get("dropout")) for p in points]
    assert found == [
        ([], None), ([4], 0.1), ([4], 0.2), ([8], None), ([4, 4], None), ([8, 8], 0.1),
        ([8, 8], 0.2),
    ]  # fmt: skip


def test_a_condition_that_repeat_never_gives_is_refused() -> None:
    sizes = {"repeat": {"choice": [4, 8]}, "depth": {"choice": [2]}}
    rates = {"choice": [0.1, 0.2], "when": {"hidden_sizes": [[4, 8]]}}
    assert "its condition never holds" in refusal({"hidden_sizes": sizes, "dropout": rates})


def test_depth_belongs_to_hidden_sizes_alone() -> None:
    assert "repeat is for hidden_sizes" in refusal({"dropout": {"repeat": {"choice": [0.1]}}})
    space = {"dropout": {"each": {"uniform": [0.1, 0.5]}, "depth": {"fixed": 1}}}
    assert "each needs depth in hidden_sizes, and only there" in refusal(space)


# --- what is drawn -----------------------------------------------------------------------------


def test_what_is_drawn_for_a_name_does_not_depend_on_other_names() -> None:
    few = samples(RATE | MOMENTUM, 9)
    more = samples({"bias": {"choice": [True, False]}} | MOMENTUM | RATE, 9)
    for one, other in zip(few, more, strict=True):
        assert one == {name: other[name] for name in one}
        assert other["bias"] in (True, False)
    assert len({d["learning_rate"] for d in few}) == 9


def test_every_domain_and_layer_is_drawn_under_a_label_of_its_own() -> None:
    """TPE learns a distribution for each label."""
    rates = [{"uniform": [0.1, 1.0], "when": {"optimizer": "sgd"}}, {"uniform": [0.01, 0.1]}]
    space = SearchSpace.model_validate(CHANGING | {"learning_rate": rates})
    random, drawn = np.random.default_rng(0), set()

    def suggest(label: str, domain: Domain) -> Any:
        drawn.add((label, repr(domain)))
        return random.choice(domain.value)

    for _ in range(40):
        space.draw(suggest, study(RATE).base)
    labels = sorted(label for label, _ in drawn)
    layers = [f"{name}.{i}" for name in ("dropout", "hidden_sizes") for i in (1, 2, 3)]
    assert labels == sorted([
        "learning_rate/0", "learning_rate/1", "momentum", "optimizer", "weight_decay", *layers,
        "hidden_sizes.depth",
    ])  # fmt: skip


def test_a_grid_has_every_configuration_once_and_no_value_without_its_condition() -> None:
    space = {
        "nesterov": {"choice": [True, False], "when": {"momentum": [0.5, 0.9]}},
        "momentum": [
            {"choice": [0.5, 0.9], "when": {"optimizer": "sgd"}},
            {"choice": [0.3, 0.4], "when": {"optimizer": "rmsprop"}},
        ],
        "optimizer": {"choice": ["sgd", "adam", "rmsprop"]},
        "hidden_sizes": {"each": {"choice": [4, 8]}, "depth": {"choice": [1, 2]}},
    }
    points = study(space, tuning={"search": "grid"}).grid()
    found = collections.Counter(repr(sorted(p.items())) for p in points)
    assert set(found.values()) == {1}
    assert len(points) == (2 * 2 + 1 + 2) * (2 + 4)
    for p in points:
        assert ("momentum" in p) == (p["optimizer"] != "adam")
        assert ("nesterov" in p) == (p["optimizer"] == "sgd")


# --- what population-based training changes ----------------------------------------------------


def inside_changing(config: Values) -> bool:
    momentum = config["momentum"]
    return (
        1e-3 <= config["learning_rate"] <= 1e-1
        and config["weight_decay"] in (0.0, 1e-3, 1e-2)
        and (0.5 <= momentum <= 0.99 if config["optimizer"] == "sgd" else momentum is None)
        and all(0.1 <= rate <= 0.5 for rate in config["dropout"])
    )


def test_changed_values_stay_in_their_domain_and_only_some_names_change() -> None:
    of, random = study(CHANGING), np.random.default_rng(0)
    changed = set()
    for number in range(20):
        before = of.trial_config(number, of.sample(number), seed=number)
        config = before
        for _ in range(10):  # several changes, so that the ends are reached
            config = of.explored(config, random)
            assert inside_changing(config.hyperparameters())
        assert (config.number, config.seed) == (number, number)
        old, new = before.hyperparameters(), config.hyperparameters()
        changed |= {name for name in old if old[name] != new[name]}
        assert len(new["dropout"]) == len(old["dropout"])
    assert changed == set(MUTABLE)


def test_a_range_changes_by_a_fifth_or_is_drawn_anew_and_a_choice_is_drawn_anew() -> None:
    space = SearchSpace.model_validate(
        {"learning_rate": {"uniform": [0.1, 9.0]}, "weight_decay": {"choice": [0.1, 0.2]}}
    )
    known, random = {"learning_rate": 1.0, "weight_decay": 0.1}, np.random.default_rng(0)
    new = [space.perturbed(known, ["learning_rate", "weight_decay"], random) for _ in range(400)]
    rates = np.array([n["learning_rate"] for n in new])
    assert np.mean(rates == 0.8) == pytest.approx(0.375, abs=0.08)
    assert np.mean(rates == 1.2) == pytest.approx(0.375, abs=0.08)
    assert rates.max() > 8  # drawn anew
    assert {n["weight_decay"] for n in new} == {0.1, 0.2}
    assert space.perturbed(known, ["learning_rate"], random).keys() == {"learning_rate"}
    assert space.perturbed(known, ["dropout"], random) == {}


def test_what_has_no_domain_under_the_present_conditions_does_not_change() -> None:
    domain = {"uniform": [0.1, 9.0], "when": {"optimizer": "sgd"}}
    space = SearchSpace.model_validate({"learning_rate": domain})
    random = np.random.default_rng(0)
    for optimizer, changed in (("sgd", 1), ("adam", 0)):
        known = {"learning_rate": 1.0, "optimizer": optimizer}
        assert len(space.perturbed(known, ["learning_rate"], random)) == changed


def test_one_dropout_for_all_layers_stays_one_for_all() -> None:
    of = study({"dropout": {"uniform": [0.1, 0.5]}}, net={"hidden_sizes": [4, 4]})
    before = of.trial_config(0, {"dropout": 0.2}, 0)
    rates = of.explored(before, np.random.default_rng(1)).net.dropout_rates
    assert rates[0] == rates[1] != 0.2


@pytest.mark.parametrize(
    ("asked", "value"), [("hidden_sizes", 8), ("hidden_sizes", [[8, 4]]), ("dropout", 0.1)]
)
def test_changes_follow_the_conditions_that_the_draw_followed(asked: str, value: Any) -> None:
    choice = {"choice": value if isinstance(value, list) else [value]}
    space = {asked: choice, "learning_rate": {"uniform": [1.0, 2.0], "when": {asked: value}}}
    of = study(space | {"bias": {"choice": [True, False]}})
    before = of.trial_config(0, of.sample(0), 0)
    assert before.training.learning_rate >= 1
    after = of.explored(before, np.random.default_rng(0))
    assert after.training.learning_rate != before.training.learning_rate


def test_a_net_without_hidden_layers_has_no_dropout_to_change() -> None:
    space = {
        "hidden_sizes": {"choice": [[], [4]]},
        "dropout": [
            {"fixed": 0.0, "when": {"hidden_sizes": [[]]}},
            {"uniform": [0.1, 0.5]},
        ],
    }
    of = study(space)
    flat = of.trial_config(0, {"hidden_sizes": [], "dropout": 0.0}, 0)
    assert not any(of.explored(flat, np.random.default_rng(0)).net.dropout_rates)


def test_a_change_that_contradicts_another_field_is_not_made() -> None:
    """A schedule of dropout needs dropout, which pbt could draw away."""
    falling = {"fixed": "cosine", "when": {"dropout": 0.2}}
    of = study({"dropout": {"choice": [0.0, 0.2]}, "dropout_schedule": falling})
    before = of.trial_config(0, {"dropout": 0.2, "dropout_schedule": "cosine"}, 0)
    after = [of.explored(before, np.random.default_rng(seed)).net.dropout for seed in range(20)]
    assert {*after} == {0.2}
    constant = of.trial_config(0, {"dropout": 0.2}, 0)
    after = [of.explored(constant, np.random.default_rng(seed)).net.dropout for seed in range(20)]
    assert {*after} == {0.0, 0.2}


def test_changes_are_the_same_in_every_process() -> None:
    code = """
import numpy as np
from ffnet.spec.space import SearchSpace
known = dict.fromkeys(("learning_rate", "weight_decay", "momentum", "dropout"), 0.5)
space = SearchSpace.model_validate({name: {"uniform": [0.1, 0.9]} for name in known})
new = space.perturbed(known, list(known), np.random.default_rng(0))
print(sorted(new.items()))
"""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in range(4)
    }  # fmt: skip
    assert len(outputs) == 1


# --- what a study refuses and keeps ------------------------------------------------------------

CONTRADICTS = "a configuration of [space] contradicts itself: "
PBT = {"tuning": {"scheduler": "pbt"}}


@pytest.mark.parametrize(
    ("space", "sections", "words"),
    [
        (OPTIMIZER | {"momentum": {"fixed": 0.9}}, {},
         [CONTRADICTS, "momentum is only for sgd and rmsprop", "0.9, optimizer adam", "when ="]),
        (RATE, {"training": {"nesterov": True}},
         ["test: nesterov needs sgd with momentum", "momentum None"]),
        (RATE, {"net": {"dropout": 1.0}}, ["net.dropout", "less than 1", "Given: 1.0"]),
        ({"dropout": {"choice": [0.5, 1.0]}}, {}, ["space.dropout", "less than 1", "1.0"]),
        ({"dropout": {"each": {"uniform": [0.0, 1.0]}}}, {}, ["space.dropout", "less than 1"]),
        (RATE, {"net": {"dropout": [0.1, 0.2]}}, ["one rate for each of 1 hidden layers"]),
        (RATE, {"net": {"dropout": 0.1, "hidden_sizes": []}}, ["each of 0 hidden layers"]),
        (RATE, {"net": {"activation": "step"}},
         ["net.activation", "derivative is 0", "use sigmoid", "Given: step"]),
        ({"activation": {"choice": ["relu", "step"]}}, {},
         ["space.activation", "derivative is 0", "Given: step"]),
        (RATE, {"net": {"batch_norm": True}, "training": {"batch_size": 1}},
         ["batch_norm needs batches of two or more. Given: batch_size 1"]),
        ({"batch_norm": {"choice": [True, False]}}, {"net": {"hidden_sizes": []}},
         ["batch_norm needs a hidden layer"]),
        ({"layer_norm": {"choice": [True, False]}}, {"net": {"batch_norm": True}},
         [CONTRADICTS, "leave one of them out"]),
        (RATE, {"training": {"optimizer": "adamw"}}, ["adamw needs weight_decay > 0"]),
        (RATE, {"training": {"schedule": "step"}}, ["schedule step needs step_epochs"]),
        (RATE, {"training": {"step_epochs": 2}}, ["need schedule step. Given: constant"]),
        (RATE, {"training": {"warmup_epochs": 8}}, ["must be below epochs (8). Given: 8"]),
        *((RATE, {"training": {"warmup_epochs": 1, "schedule": schedule}},
           ["warmup_epochs", "Given: warmup_epochs 1, schedule " + schedule])
          for schedule in ("one_cycle", "coslog4")),
        ({"schedule": {"choice": ["cosine", "one_cycle"]}}, {"training": {"warmup_epochs": 1}},
         [CONTRADICTS, "warmup_epochs 1, schedule one_cycle"]),
        (RATE, {"training": {"weight_decay_schedule": "cosine"}},
         ["weight_decay_schedule needs weight_decay above 0", "leave it out"]),
        (RATE | {"dropout": {"choice": [0.0, 0.2]}},
         {"training": {"dropout_schedule": "flat_cosine"}},
         [CONTRADICTS, "dropout_schedule needs dropout above 0", "Given: flat_cosine, dropout 0"]),
        *((RATE, {"training": {"clip_norm": 1.0, **field}}, ["clip_norm needs plain steps", words])
          for field, words in (({"steps_per_block": 2}, "steps_per_block 2"),
                               ({"tiles": True}, "tiles True"),
                               ({"precision": "bfloat16"}, "precision bfloat16"))),
        (RATE, {"training": {"clip_norm": 1e38}}, ["clip_norm", "or equal to 1000000000", "1e+38"]),
        (RATE, {"training": {"precision": "bfloat16", "optimizer": "adam"}},
         ["precision bfloat16 needs api barebones, and sgd", "optimizer adam"]),
        ({"api": {"choice": ["barebones", "model"]}}, {"training": {"precision": "bfloat16"}},
         [CONTRADICTS, "bfloat16", "Given: api model"]),
        ({"lerning_rate": {"uniform": [1, 2]}}, {},
         ["'lerning_rate' in [space] (did you mean learning_rate?)"]),
        ({"xyz": {"uniform": [1, 2]}}, {}, ["unknown key 'xyz' in [space]; `ffnet tune --help`"]),
        ({"momentum": {"uniform": [0, 1], "when": {"optimiser": "sgd"}}}, {},
         ["'optimiser' in [space] (did you mean optimizer?)"]),
        (OPTIMIZER | {"momentum": {"choice": [0.9], "when": {"optimizer": "sdg"}}}, {},
         ["optimizer", "sdg"]),
        ({"momentum": {"choice": [0.9], "when": {}}} | RATE, {}, ["when", "at least 1"]),
        ({"learning_rate": {"uniform": [1, 2], "wenn": {"api": "model"}}}, {}, ["'wenn'", "when"]),
        ({"hidden_sizes": {"choice": [4, 8]}}, PBT,
         ["may change while a net trains", *MUTABLE, "Given: hidden_sizes"]),
        (RATE, {"tuning": {"scheduler": "pbt", "perturbation_epochs": 8}},
         ["perturbation_epochs < epochs", "perturbation_epochs 8, epochs 8"]),
        (RATE, PBT | {"budget": {"trials": 1}}, ["two trials or more. Given: 1"]),
        (RATE, PBT | {"budget": {"concurrency": 2}}, ["leave concurrency out. Given: 2"]),
        (RATE, {"tuning": {"scheduler": "pbt", "search": "tpe"}}, ["search random, qmc or grid"]),
    ],
)  # fmt: skip
def test_contradictions_are_refused_with_rule_and_value(
    space: Values, sections: Values, words: list[str]
) -> None:
    message = refusal(space, **sections)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("space", "sections"),
    [
        (OPTIMIZER | MOMENTUM, {}),
        (RATE, PBT),
        ({"optimizer": {"choice": ["sgd", "adamw"]},
          "weight_decay": [{"log_uniform": [1e-4, 1e-1], "when": {"optimizer": "adamw"}},
                           {"fixed": 0.0}]}, {}),
        ({"schedule": {"choice": ["constant", "step"]},
          "step_epochs": {"integer": [1, 4], "when": {"schedule": "step"}}}, {}),
        ({"hidden_sizes": {"choice": [[], [4], 8]},
          "batch_norm": {"choice": [True, False], "when": {"hidden_sizes": [[4], 8]}}}, {}),
        (CHANGING, {"tuning": {"search": "tpe"}}),
        ({"hidden_sizes": {"repeat": {"integer": [4, 64]}, "depth": 3}, "residual": True}, {}),
        ({"hidden_sizes": [64, 32], "activation": "tanh", "dropout": {"each": {"choice": [0.1]}},
          "batch_size": {"log_integer": [8, 64]}}, {}),
    ],
)  # fmt: skip
def test_what_is_coherent_is_accepted_and_reads_back_as_the_same_study(
    space: Values, sections: Values
) -> None:
    of = study(space, **sections)
    again = validated(Study, json.loads(json.dumps(of.resolved())), "resolved")
    assert again == of
    assert [again.sample(n) for n in range(5)] == [of.sample(n) for n in range(5)]
