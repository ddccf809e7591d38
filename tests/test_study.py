"""Studies: which values they accept, which they refuse, and the words of refusals."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from ffnet.errors import InputError
from ffnet.run.study_files import read_toml
from ffnet.spec.net import TUNABLE, NetSpec, Training
from ffnet.spec.study import OneNet, Study
from ffnet.spec.validation import validated

SPACE = {"learning_rate": {"log_uniform": [1e-3, 1e-1]}}


def study(**sections: Any) -> Study:
    return validated(Study, {"space": SPACE, **sections}, "test")


def refusal(**sections: Any) -> str:
    with pytest.raises(InputError) as caught:
        study(**sections)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("path", sorted((ROOT / "jobs" / "studies").glob("*.toml")), ids=str)
def test_shipped_studies_are_valid_and_read_back_as_resolved(path: Path) -> None:
    first = validated(Study, read_toml(path), path.name)
    assert validated(Study, first.resolved(), "resolved") == first


@pytest.mark.parametrize("path", sorted((ROOT / "jobs" / "presets").glob("*.toml")), ids=str)
def test_shipped_presets_are_valid(path: Path) -> None:
    validated(OneNet, read_toml(path), path.name)


def test_field_names_are_unique_so_that_each_is_one_flag() -> None:
    sections = [getattr(f.annotation, "model_fields", {}) for f in Study.model_fields.values()]
    names = [name for section in sections for name in section]
    assert len(names) == len(set(names))
    assert not set(names) & set(Study.model_fields)


def test_unknown_key_is_refused_with_the_valid_ones_and_the_nearest() -> None:
    assert "'trails' in [budget] (did you mean trials?)" in refusal(budget={"trails": 3})
    message = refusal(budget={"xyz": 3})
    for name in ("trials", "epochs", "wall_seconds", "concurrency", "max_failed"):
        assert name in message
    assert "'spaces' in [the study] (did you mean space?)" in refusal(spaces={})
    assert "'lerning_rate' in [space]" in refusal(space={"lerning_rate": {"uniform": [1, 2]}})
    assert "uniform" in refusal(space={"learning_rate": {"log": [1, 2]}})


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"training": {"learning_rate": -1}, "space": {"hidden_sizes": {"choice": [1, 2]}}},
         ["training.learning_rate", "greater than 0", "Given: -1"]),
        ({"training": {"learning_rate": float("nan")}, "space": {}}, ["finite", "Given: nan"]),
        ({"net": {"hidden_sizes": 0}}, ["net.hidden_sizes", "greater than or equal to 1", "0"]),
        ({"net": {"hidden_sizes": [64, 1.5]}}, ["net.hidden_sizes.1", "integer", "1.5"]),
        ({"space": {"hidden_sizes": {"integer": [0, 9]}}}, ["space.hidden_sizes", "Given: 0"]),
        ({"space": {"learning_rate": {"uniform": [-1.0, 1.0]}}}, ["learning_rate", "Given: -1.0"]),
        ({"space": {"learning_rate": {"uniform": [0.1, float("nan")]}}}, ["finite"]),
        ({"space": {"learning_rate": {"choice": [0.1, float("nan")]}}}, ["finite"]),
        ({"space": {"learning_rate": {"uniform": [1.0, 0.1]}}}, ["low < high"]),
        ({"space": {"learning_rate": {"log_uniform": [0.0, 0.1]}}}, ["low > 0"]),
        ({"space": {"learning_rate": {"choice": []}}}, ["at least 1 item"]),
        ({"space": {"learning_rate": {"choice": [1], "uniform": [1, 2]}}}, ["exactly one kind"]),
        ({"space": {}}, ["search space is empty", "`ffnet train`"]),
        ({"space": {"learning_rate": 0.1}}, ["search space is empty"]),
        ({"training": {"learning_rate": 0.1}}, ["learning_rate is in [space]"]),
        ({"tuning": {"grace_epochs": 8}}, ["grace_epochs < epochs", "grace_epochs 8, epochs 8"]),
        ({"tuning": {"scheduler": "hyperband"}, "budget": {"epochs": 2}}, ["hyperband needs"]),
        ({"tuning": {"scheduler": "hyperband"}, "budget": {"concurrency": 2}},
         ["leave concurrency out. Given: 2"]),
        ({"tuning": {"metric": "test_accuracy"}}, ["'val_accuracy', 'val_loss'", "'val_auc'"]),
        ({"tuning": {"search": "grid"}}, ["grid search needs learning_rate as a choice"]),
        ({"tuning": {"search": "grid"}, "space": {"learning_rate": {"choice": [0.1, 1.0]}},
          "budget": {"trials": 3}}, ["grid has 2 points but budget.trials is 3"]),
        ({"resources": {"gpus": 1.5}}, ["whole"]),
        ({"resources": {"cpus": 0}}, ["greater than 0"]),
        ({"name": "a/b"}, ["name: may have only letters, digits", "Given: 'a/b'"]),
    ],
)  # fmt: skip
def test_bad_values_are_refused_with_rule_and_value(
    sections: dict[str, Any], words: list[str]
) -> None:
    message = refusal(**sections)
    for word in words:
        assert word in message


def test_one_number_is_one_hidden_layer() -> None:
    assert NetSpec.model_validate({"hidden_sizes": 7}).hidden_sizes == (7,)
    assert NetSpec.model_validate({"hidden_sizes": []}).hidden_sizes == ()


def test_trial_config_joins_sample_and_base() -> None:
    config = study(net={"activation": "tanh"}).trial_config(3, {"learning_rate": 0.5}, seed=9)
    assert config.net == NetSpec(activation="tanh")
    assert config.training == Training(learning_rate=0.5)
    assert (config.number, config.seed, config.epochs) == (3, 9, 8)


def test_grid_has_every_combination() -> None:
    made = study(
        tuning={"search": "grid"},
        space={"learning_rate": {"choice": [1.0, 2.0]}, "batch_size": {"choice": [8, 16]},
               "activation": "tanh"},
    )  # fmt: skip
    pairs = [(p["learning_rate"], p["batch_size"]) for p in made.grid()]
    assert pairs == list(itertools.product([1.0, 2.0], [8, 16]))
    assert made.trials == 4


def test_malformed_toml_names_file_and_place(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("[data\n")
    with pytest.raises(InputError, match=r"bad\.toml: not a readable TOML file .*line 1"):
        read_toml(path)
    with pytest.raises(InputError, match="No such file"):
        read_toml(tmp_path / "absent.toml")


def test_every_hyperparameter_has_a_typed_column() -> None:
    from ffnet.run.tables import HYPERPARAMETERS

    assert set(HYPERPARAMETERS) == set(TUNABLE)


# --- numbers that float32 cannot hold ----------------------------------------------------------

NUMBERS = [
    ("learning_rate", 1e300), ("learning_rate", 1e-320), ("learning_rate", 1e39),
    ("weight_decay", 1e39), ("weight_decay", 1e-39), ("momentum", 1e-39),
    ("momentum", 0.99999999), ("dropout", 0.99999999), ("dropout", [0.99999999]),
    ("warmup_epochs", 1e-320), ("step_epochs", 1e-320), ("step_epochs", 1e39),
    ("step_factor", 1e-320), ("step_factor", 0.99999999),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), NUMBERS)
def test_a_number_that_float32_cannot_hold_is_refused_in_section_and_space(
    name: str, value: Any
) -> None:
    section = "net" if name == "dropout" else "training"
    known = {"step_epochs": 1.0} if name == "step_factor" else {}
    schedule = {"schedule": "step", **known} if name.startswith("step") else {}
    of = {"training": schedule}
    of = {**of, section: {**of.get(section, {}), name: value}}
    assert "float32" in refusal(**of)
    space = {name: {"choice": [value, [0.5] if isinstance(value, list) else 0.5]}}
    assert "float32" in refusal(space=space, training=schedule)
    with pytest.raises(InputError, match="float32"):
        validated(OneNet, of, "test")


def test_a_bound_that_float32_cannot_hold_is_refused_unless_a_run_has_it() -> None:
    space = {"learning_rate": {"log_uniform": [1e-320, 1e300]}}
    assert "space.learning_rate: must be a number that float32 holds" in refusal(space=space)
    run = validated(Study, {"space": space, "training": {"momentum": 1e-320}}, "x", recorded=True)
    drawn = run.sample(0)
    assert run.trial_config(0, drawn, 0).training.learning_rate == drawn["learning_rate"]


def test_numbers_at_the_ends_of_float32_are_accepted() -> None:
    study(space={"learning_rate": {"log_uniform": [1.2e-38, 3.4e38]}}, net={"dropout": 0.0})
    study(training={"momentum": 0.9999999, "weight_decay": 0})
