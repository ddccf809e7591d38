"""Defaults that have changed: new studies get the new default, old runs keep the old one."""

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import Job
from ffnet.data.dataset import DataSet
from ffnet.data.load import load
from ffnet.errors import InputError
from ffnet.run import past, provenance, recorded, storage, study_files, tables
from ffnet.run.folder import RunFolder
from ffnet.run.study_files import read_toml
from ffnet.spec import presets
from ffnet.spec.base import Values
from ffnet.spec.earlier import as_meant
from ffnet.spec.net import NetSpec
from ffnet.spec.sections import Data
from ffnet.spec.study import OneNet, Study
from ffnet.spec.validation import validated
from ffnet.tuning import driver

RATE = {"learning_rate": {"choice": [0.1, 0.2]}}
FILE = """
[data]
dataset = "digits"
[space]
learning_rate = { choice = [0.1, 0.2] }
[tuning]
scheduler = "none"
[budget]
trials = 2
epochs = 2
"""


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(Data())


def older_run(place: Path, data: DataSet, net: Values, space: Values | None = None) -> RunFolder:
    """Write a run of two finished trials whose study.json has these fields of [net]."""
    study = Study(
        space=space or RATE, tuning={"scheduler": "none"}, budget={"trials": 2, "epochs": 2}
    )
    folder = RunFolder.at(place)
    folder.begin()
    document = provenance.new_study_json(study.resolved(), data, 1)
    document["study"]["net"] = net
    storage.write_json(folder.study, document)
    rows: list[tables.Row] = [
        {"trial": n, "status": "done", "learning_rate": 0.1 + n / 10, "seed": n, "epochs": 2.0}
        for n in range(2)
    ]
    tables.write(folder.trials, rows, tables.TRIALS)
    tables.write(folder.epochs, [], tables.EPOCHS)
    return folder


def test_a_new_net_has_biases_and_the_lesson_s_have_none() -> None:
    assert NetSpec().bias
    biases = {
        name: validated(OneNet, read_toml(path), name).net.bias
        for name, path in presets.nets().items()
    }
    assert biases == {"cifar10-barebones": False, "cifar10-keras": True, "mnist-dense": True}
    for name, path in presets.studies().items():
        study = validated(Study, {"name": name, **read_toml(path)}, name)
        assert study.net.bias == (name not in ("digits", "mnist", "cifar10"))


@pytest.mark.parametrize("net", [{}, {"hidden_sizes": [8]}, {"bias": False}])
def test_a_trial_of_a_run_that_is_older_than_biases_has_none(
    net: Values, digits: DataSet, tmp_path: Path
) -> None:
    folder = older_run(tmp_path / "run", digits, net)
    study = recorded.read_study_json(folder)["study"]
    for row in tables.read(folder.trials):
        assert not recorded.config(study, row).net.bias
    again = validated(Study, study_files.read_study(str(folder.study)), "study.json", recorded=True)
    assert not again.net.bias
    assert past.read(folder, again, digits).left(again) == 0


def test_one_net_of_a_run_that_is_older_than_biases_has_none(
    digits: DataSet, tmp_path: Path
) -> None:
    folder = RunFolder.at(tmp_path / "run")
    folder.begin()
    one = OneNet().model_dump(mode="json")
    del one["net"]["bias"]
    storage.write_json(folder.study, provenance.new_study_json(one, digits, 1))
    assert not recorded.config(
        recorded.read_study_json(folder)["study"], {"trial": 0, "seed": 0}
    ).net.bias


@pytest.mark.parametrize(
    ("space", "bias"),
    [
        ({}, False),
        ({"bias": {"choice": [True, False]}}, None),  # every trial draws it
        ({"bias": [True]}, None),
        ({"bias": [{"choice": [True, False], "when": {"optimizer": "sgd"}}]}, False),
        ({"bias": {"fixed": True, "when": {"optimizer": "sgd"}}}, False),
        ({"bias": [{"fixed": True, "when": {"optimizer": "sgd"}}, {"fixed": True}]}, None),
    ],
)
def test_a_field_that_a_run_does_not_name_means_what_it_did_before(
    space: Values, bias: bool | None
) -> None:
    assert as_meant({"net": {}, "space": space})["net"].get("bias") is bias
    assert as_meant({"space": space}).get("net", {}).get("bias") is bias
    assert as_meant({"net": {"bias": True}, "space": space})["net"]["bias"] is True


def test_where_no_condition_holds_the_section_s_value_is_meant_and_study_json_keeps_it(
    digits: DataSet, tmp_path: Path
) -> None:
    space = {
        "optimizer": {"choice": ["sgd", "adam"]},
        "bias": {"choice": [True], "when": {"optimizer": "sgd"}},
    }
    folder = older_run(tmp_path / "run", digits, {"hidden_sizes": [8]}, space)
    before = validated(Study, recorded.read_study_json(folder)["study"], "run", recorded=True)
    biases = {
        config.training.optimizer: config.net.bias
        for config in (before.trial_config(n, before.sample(n), 0) for n in range(20))
    }
    assert biases == {"sgd": True, "adam": False}
    assert validated(Study, before.resolved(), "again") == before
    new = Study(space=space)
    assert new.resolved()["net"]["bias"] is True


def test_a_field_stands_in_the_space_and_in_its_section_only_where_a_condition_may_fail() -> None:
    net: Values = {"bias": True}
    both = {"name": "s", "net": net, "space": {"bias": {"choice": [True, False]}}}
    with pytest.raises(InputError, match=r"bias is in \[space\] and in its own section"):
        validated(Study, both, "s")


def test_a_file_without_a_field_goes_on_with_the_run_s_value_and_says_so(
    digits: DataSet, tmp_path: Path, call: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, run = tmp_path / "study.toml", tmp_path / "run"
    file.write_text(FILE)
    older_run(run, digits, {"bias": False})
    document = json.loads((run / "study.json").read_text())
    document["study"]["name"] = "study"
    (run / "study.json").write_text(json.dumps(document))
    seen: list[Study] = []

    def take(*given: Any, **_: Any) -> None:
        seen.append(given[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(driver, "run_study", take)
    done = call("tune", file, "--out", run, "--resume")
    assert done.returncode == 130, done.stderr
    assert "bias is false, as in the run; the file leaves it out" in done.stdout
    assert not seen[0].net.bias
    refused = call("tune", file, "--out", run, "--resume", "--bias", "true")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "net.bias is False there. Given: True" in refused.stderr
    assert call("tune", file, "--out", tmp_path / "new").returncode == 130
    assert seen[-1].net.bias
