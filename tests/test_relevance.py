"""No flag is ignored: each flag has an effect, or is refused because another one disables it."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from conftest import Job
from ffnet.cli import command
from ffnet.cli.flags import add_flags, given, override
from ffnet.errors import InputError
from ffnet.run import recorded, storage, tables
from ffnet.run.folder import RunFolder
from ffnet.run.study_files import read_study
from ffnet.spec.relevance import relevant
from ffnet.spec.study import OneNet, Study
from ffnet.spec.validation import validated

SPACE = {"learning_rate": {"log_uniform": [1e-3, 1e-1]}}


def study(values: dict[str, Any], *argv: str) -> Study:
    parser = command.parser("tune", None)
    add_flags(parser, Study)
    flags = parser.parse_args([*argv])
    merged = override({"space": SPACE} | values, flags, Study)
    return validated(Study, merged, "x.toml", given(flags, Study))


def refusal(values: dict[str, Any], *argv: str) -> str:
    with pytest.raises(InputError) as caught:
        study(values, *argv)
    return str(caught.value)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder.create(tmp_path / "run")
    storage.write_json(run.study, {"study": {}})
    return run


WITHOUT_EFFECT = [
    ("tuning", "grace_epochs", 2, "scheduler", ["none", "hyperband", "pbt"]),
    ("tuning", "reduction_factor", 2, "scheduler", ["none", "median", "pbt"]),
    ("tuning", "perturbation_epochs", 2, "scheduler", ["none", "asha", "median", "hyperband"]),
    ("data", "split_seed", 1, "split", ["last"]),
]


@pytest.mark.parametrize(("section", "name", "value", "other", "values"), WITHOUT_EFFECT)
def test_a_field_without_effect_is_refused_in_file_and_flags(
    section: str, name: str, value: int, other: str, values: list[str]
) -> None:
    flag, other_flag = (f"--{each.replace('_', '-')}" for each in (name, other))
    for beside in values:
        words = f"{name} has an effect only with {other}"
        assert words in refusal({section: {name: value, other: beside}})
        message = refusal({}, flag, str(value), other_flag, beside)
        assert words in message
        assert f"Given: {name} {value}, {other} {beside}" in message
        assert flag in message
        # In a file: a flag that takes its effect away takes it out.
        of = study({section: {name: value}}, other_flag, beside)
        part = getattr(of, section)
        assert getattr(part, name) == type(part).model_fields[name].default
        # A default value, as in every study.json, contradicts nothing.
        default = type(part).model_fields[name].default
        assert study({section: {name: default, other: beside}})


@pytest.mark.parametrize(
    ("values", "flags", "against"),
    [
        ({"training": {"schedule": "step", "step_epochs": 2}}, ("--schedule", "cosine"), "cosine"),
        ({"training": {"momentum": 0.9, "nesterov": True}}, ("--optimizer", "adam"), "adam"),
        (
            {"training": {"weight_decay": 0.1, "weight_decay_schedule": "cosine"}},
            ("--weight-decay", "0"),
            0.0,
        ),
    ],
)
def test_a_flag_takes_out_of_the_file_what_it_rules_out(
    values: dict[str, Any], flags: tuple[str, str], against: Any
) -> None:
    assert study(values, *flags)
    section = values["training"] | {flags[0].strip("-").replace("-", "_"): against}
    with pytest.raises(InputError, match=r"leave it out|need (sgd|schedule)|needs sgd"):
        study({"training": section})


@pytest.mark.parametrize("dropout", ["0", "[0, 0]"])
def test_a_net_without_dropout_has_no_schedule_of_dropout(dropout: str) -> None:
    values = {
        "net": {"hidden_sizes": [8, 8], "dropout": 0.2},
        "training": {"dropout_schedule": "cosine"},
    }
    assert study(values).training.dropout_schedule == "cosine"
    assert study(values, "--dropout", dropout).training.dropout_schedule == "constant"
    assert study(values, "--dropout", "[0, 0.1]").training.dropout_schedule == "cosine"
    asked = ("--dropout", dropout, "--dropout-schedule", "cosine")
    assert "dropout_schedule needs dropout above 0" in refusal(values, *asked)


def test_a_field_stays_if_the_other_one_is_searched(tmp_path: Path) -> None:
    """study.json also has the other field's default, if each alternative has a condition."""
    rules = ("adamw", "sgd")
    searched = {
        "optimizer": {"choice": [*rules]},
        "weight_decay": [{"uniform": [0.1, 0.2], "when": {"optimizer": rule}} for rule in rules],
    }
    of = study({"space": SPACE | searched, "training": {"weight_decay_schedule": "cosine"}})
    path = tmp_path / "study.json"
    path.write_text(json.dumps({"study": of.resolved()}))
    assert json.loads(path.read_text())["study"]["training"]["weight_decay"] == 0
    again = validated(Study, read_study(str(path)), "x", recorded=True)
    assert again.training.weight_decay_schedule == "cosine"


@pytest.mark.parametrize(
    ("values", "flags"),
    [
        ({"net": {"hidden_sizes": [64, 64], "residual": True}}, ("--hidden-sizes", "64")),
        ({"net": {"number_embedding": "pbld"}}, ("--number-embedding-size", "1")),
        ({"training": {"mixup": 0.1}}, ("--embedding-sizes", "4")),
    ],
)
def test_fixed_fields_that_contradict_each_other_are_not_blamed_on_the_space(
    values: dict[str, Any], flags: tuple[str, str]
) -> None:
    message = refusal(values, *flags)
    assert "[space]" not in message
    assert "when = " not in message


def test_a_value_of_the_space_that_is_a_default_is_blamed_on_the_space() -> None:
    searched = SPACE | {"dropout": {"choice": [0.0, 0.2]}}
    message = refusal({"space": searched, "training": {"dropout_schedule": "cosine"}})
    assert "a configuration of [space] contradicts itself: dropout_schedule needs" in message


def test_the_advice_for_a_space_that_contradicts_itself_can_be_followed() -> None:
    searched = SPACE | {"schedule": {"choice": ["cosine", "one_cycle"]}}
    message = refusal({"space": searched, "training": {"warmup_epochs": 1}})
    advice = message.rpartition("e.g. ")[2]
    study({"space": searched | tomllib.loads(advice)})


def test_a_study_json_of_before_reads_without_what_had_no_effect(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    tuning = {"scheduler": "none", "grace_epochs": 9.0, "perturbation_epochs": 5}
    path.write_text(json.dumps({"study": {"space": SPACE, "tuning": tuning}}))
    assert validated(Study, read_study(str(path)), "x").tuning.grace_epochs == 1


def test_a_run_of_before_is_read_although_its_study_would_be_refused_now(
    run: RunFolder, call: Job
) -> None:
    old = {
        "seed": 0, "tuning": {"scheduler": "none", "grace_epochs": 2}, "training": {
            "optimizer": "adam"}, "budget": {"trials": 4, "epochs": 8},
        "data": {"split": "last", "split_seed": 3},
        "space": {
            "learning_rate": [{"uniform": [0.1, 0.2]}, {"uniform": [0.3, 0.4]}],
            "momentum": {"uniform": [0.1, 0.9], "when": {"optimizer": "sgd"}},
            "batch_size": {"choice": [8, 8, 16]},
        },
    }  # fmt: skip
    document = {"study": old, "data": {"sha256": "0"}, "versions": {}}
    storage.write_json(run.study, document)
    read = recorded.read_study_json(run)["study"]
    assert read["space"] == {
        "learning_rate": [{"uniform": [0.1, 0.2]}], "batch_size": [{"choice": [8, 8, 16]}],
    }  # fmt: skip
    assert (read["tuning"]["grace_epochs"], read["data"]["split_seed"]) == (1, 0)
    # `jobs/tune.py RUN/study.json` too, and both are the same study.
    of = validated(Study, read_study(str(run.study)), "x", recorded=True)
    assert of.resolved() == validated(Study, read, "x", recorded=True).resolved() == read
    with pytest.raises(InputError):
        validated(Study, read_study(str(run.study)), "x")


@pytest.mark.parametrize("dataset", [None, "digits", "/data/x.npz", "~/x.npz"])
def test_a_data_folder_without_effect_is_refused(dataset: str | None) -> None:
    named = {} if dataset is None else {"dataset": dataset}
    words = "data_dir has an effect only with dataset that is a relative path, or a name"
    assert words in refusal({"data": named | {"data_dir": "/data"}})
    message = refusal({"data": named}, "--data-dir", "/data")
    assert words in message
    assert f"--data-dir: {words}" in message
    assert message.endswith(f"Given: data_dir /data, dataset {dataset or 'digits'}")
    with pytest.raises(InputError, match="data_dir has an effect only with"):
        validated(OneNet, {"data": named | {"data_dir": "/data"}}, "x")
    # In a file: a flag that takes its effect away takes it out.
    file = {"data": {"dataset": "mnist", "data_dir": "/data"}}
    assert study(file).data.data_dir == "/data"
    if dataset:
        assert study(file, "--dataset", dataset).data.data_dir is None
        path_of_before = {"data": {"dataset": dataset, "data_dir": "/data"}}
        assert relevant(path_of_before) == {"data": {"dataset": dataset}}


def test_a_data_folder_of_names_and_relative_paths_is_accepted() -> None:
    for dataset in ("mnist", "sub/x.npz", "digits.npz"):
        of = study({"data": {"dataset": dataset, "data_dir": "/data"}})
        assert of.data.data_dir == "/data"


def test_a_trial_of_a_named_set_refuses_a_data_folder_beside_a_whole_path(
    run: RunFolder, call: Job
) -> None:
    values = {"seed": 0, "epochs": 1, "data": {"dataset": "digits"}, "net": {}, "training": {}}
    document = {"study": values, "data": {"sha256": "0"}, "versions": {}}
    storage.write_json(run.study, document)
    tables.write(run.trials, [{"trial": 0, "status": "done", "seed": 0}], tables.TRIALS)
    report = {"trial": 0, "step": 1, "epoch": 1.0, "val_loss": 1.0}
    tables.write(run.epochs, [report], tables.EPOCHS)
    done = call("train", "--from", run.place, "--trial", 0, "--data-dir", "/data")
    assert (done.returncode, done.stdout) == (2, "")
    assert "study.json with --data-dir: data_dir has an effect only with dataset" in done.stderr
    # The run's data_dir does not matter for an absolute path.
    values["data"] = {"dataset": "mnist", "data_dir": "/nowhere"}
    storage.write_json(run.study, document)
    done = call("train", "--from", run.place, "--trial", 0, "--dataset", "/nowhere/mnist.npz")
    assert "dataset '/nowhere/mnist.npz' is neither a path" in done.stderr


def test_one_net_refuses_a_seed_of_no_split() -> None:
    with pytest.raises(InputError, match="split_seed has an effect only with split stratified"):
        validated(OneNet, {"data": {"split": "last", "split_seed": 1}}, "x")


def test_tune_refuses_late_reports_before_anything_starts(
    call: Job, small_study: Path, tmp_path: Path
) -> None:
    done = call("tune", small_study, "--report-steps", 10**6, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "no trial would report between grace_epochs and its end" in done.stderr
    assert not (tmp_path / "run").exists()


# --- jobs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "words", "message"),
    [
        ("train", ["--from", "RUN", "--trial", "0", "--epochs", "3"], "--epochs has no effect"),
        ("train", ["--from", "RUN", "--trial", "0", "--seed", "3"], "--seed has no effect"),
        ("train", ["--from", "RUN", "--trial", "0", "--preset", "mnist-dense"], "--preset has no"),
        ("train", ["--from", "RUN", "--trial", "0", "--out", "x"], "--out has no effect"),
        ("train", ["--from", "RUN", "--trial", "0", "--save-figures", "x"], "--save-figures has"),
        ("train", ["--from", "RUN", "--trial", "0", "--tensorboard", "x"], "--tensorboard has no"),
        ("train", ["--trial", "0"], "--from RUN and --trial ID need each other"),
        ("train", ["--save-figures", "/proc/x"], "/proc/x must be a folder that can be written"),
        ("train", ["--tensorboard", "/proc/x"], "/proc/x must be a folder that can be written"),
        ("board", ["RUN", "--convert-only", "--port", "1"], "no effect with --convert-only"),
        ("board", ["RUN", "--convert-only", "--host", "::1"], "no effect with --convert-only"),
        ("submit", ["list", "--retries", "2"], "--retries has an effect only with a job after --"),
        ("submit", ["logs", "--driver-cpus", "1"], "--driver-cpus has an effect only with a job"),
        ("submit", ["list", "a-job"], "list shows all jobs: leave a-job out"),
        ("submit", ["--driver-cpus", "nan", "--", "tune"], "--driver-cpus must be 0 or more"),
        ("bench", ["steps", "--seed", "1"], "--seed has no effect on steps"),
        ("bench", ["dense", "--trials", "1"], "--trials has no effect on dense"),
        ("bench", ["ways", "--dataset", "digits"], "--dataset has no effect on ways"),
        ("tune", ["x.toml", "--resume"], ""),
    ],
)
def test_a_flag_without_effect_is_refused(
    call: Job, run: RunFolder, tmp_path: Path, job: str, words: list[str], message: str
) -> None:
    given = [run.place if word == "RUN" else word for word in words]
    done = call(job, *given, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
