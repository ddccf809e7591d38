"""--help: what it says and how it looks; switches; misspelled names."""

import os
import re
from typing import Any

import pytest

from conftest import Job
from ffnet.cli import command
from ffnet.cli.flags import add_flags, fields, override
from ffnet.cli.main import COMMANDS, HELP
from ffnet.spec.base import Values
from ffnet.spec.net import TUNABLE
from ffnet.spec.study import OneNet, Study
from ffnet.spec.validation import validated

SPACE = {"learning_rate": {"choice": [0.1, 0.2]}}


def help_of(call: Job, name: str) -> str:
    done = call(name, "--help", env={**os.environ, "COLUMNS": "80"})
    assert (done.returncode, done.stderr) == (0, "")
    return str(done.stdout)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_80_columns_with_a_usage_of_one_line_and_help_itself_last(
    name: str, call: Job
) -> None:
    lines = help_of(call, name).splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert lines[0].startswith(f"usage: ffnet {name}")
    assert lines[1] == ""
    assert [line.split()[0] for line in lines[-3:]] == ["help:", "--debug", "-h,"]


def test_the_list_of_commands_fits_80_columns() -> None:
    longest = max(len(name) for name in COMMANDS)
    assert all(2 + longest + 2 + len(about) <= 80 for about in COMMANDS.values())
    assert all(len(line) <= 80 for line in HELP.splitlines())


def entries(text: str) -> dict[str, tuple[str, str]]:
    """Return {flag: (its group, its entry in one line)}."""
    found, group, flag = dict[str, tuple[str, str]](), "", ""
    for line in text.splitlines():
        if re.fullmatch(r"\S.*:", line):
            group, flag = line.rstrip(":"), ""
        elif line.startswith("  --"):
            flag = line.split()[0]
            found[flag] = group, line.strip()
        elif line.strip() and flag:
            found[flag] = group, f"{found[flag][1]} {line.strip()}"
    return {flag: (group, " ".join(entry.split())) for flag, (group, entry) in found.items()}


@pytest.mark.parametrize(("name", "model"), [("tune", Study), ("train", OneNet)])
def test_every_field_is_a_flag_in_the_group_of_its_section(
    name: str, model: Any, call: Job
) -> None:
    known = entries(help_of(call, name))
    for section, field, _ in fields(model):
        group, entry = known["--" + field.replace("_", "-")]
        if section:
            assert group == f"section [{section}]"
        alone = "takes no domain" in entry
        assert alone == (name == "tune" and section in ("net", "training") and field not in TUNABLE)


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--hidden-sizes", "[512]"),
        ("--dropout", "[0]"),
        ("--batch-norm", "[true|false] normalise each hidden layer over the minibatch [false]"),
        ("--bias", "[true|false] add a bias in every layer, including the output layer [true]"),
        ("--activation", "relu, sigmoid, tanh, elu,"),
        ("--activation", "softsign, hard_sigmoid, linear [relu]"),
        ("--optimizer", "sgd|adam|adamw|rmsprop"),
        ("--learning-rate", "step size, above 0 [0.01]"),
        ("--momentum", "[none]"),
        ("--name", "[the file's name]"),
        ("--precision", "takes no domain [float32]"),
        ("--data-dir", "[$FFNET_DATA, else Keras' cache]"),
        ("--trials", "[16; all of a grid]"),
        ("--wall-seconds", "seconds after which the study stops, above 0 [no limit]"),
    ],
)
def test_a_flag_says_its_unit_its_range_and_its_default_as_one_types_it(
    flag: str, words: str, call: Job
) -> None:
    assert words in entries(help_of(call, "tune"))[flag][1]


def test_the_default_that_help_shows_is_the_default_when_one_types_it(call: Job) -> None:
    """Give every default as a flag: the study must be the same as without flags."""
    shown = {
        flag.strip("-").replace("-", "_"): match[1]
        for flag, (_, entry) in entries(help_of(call, "tune")).items()
        if (match := re.search(r" \[([\w.]+)\]$", entry))
    }
    typed = {
        name: default
        for _, name, field in fields(Study)
        if (default := shown.get(name)) and field.get_default() is not None and name != "name"
    }
    assert {"hidden_sizes", "bias", "learning_rate", "optimizer", "epochs", "cpus"} <= typed.keys()
    words = [f"--{name.replace('_', '-')}={text}" for name, text in typed.items()]
    keep = {"momentum": {"choice": [0.5, 0.9]}}
    assert overridden(*words, keep=keep) == overridden(keep=keep)


def test_only_the_commands_that_search_speak_of_domains(call: Job) -> None:
    assert "--learning-rate '{log_uniform = [1e-3, 1e-1]}'" in help_of(call, "tune")
    assert "domain" not in help_of(call, "train")


# --- switches ----------------------------------------------------------------------------------


def overridden(*words: str, keep: Values = SPACE, **sections: Any) -> Study:
    parser = command.parser("tune", None)
    parser.add_argument("study", nargs="?")
    add_flags(parser, Study)
    flags = parser.parse_args([*words])
    return validated(Study, override({"space": keep, **sections}, flags, Study), "test")


@pytest.mark.parametrize(
    ("words", "batch_norm", "bias"),
    [
        ([], False, True),
        (["--batch-norm"], True, True),
        (["--batch-norm", "digits"], True, True),
        (["digits", "--batch-norm", "--epochs", "3"], True, True),
        (["--batch-norm", "true"], True, True),
        (["--batch-norm", "True"], True, True),
        (["--batch-norm=false", "--bias=false"], False, False),
        (["--bias", "no"], False, False),
        (["--no-bias", "--batch-norm"], True, False),
        (["--no-batch-norm", "digits"], False, True),
        (["--batch-norm", "--no-batch-norm"], False, True),
    ],
)
def test_a_switch_needs_no_value(words: list[str], batch_norm: bool, bias: bool) -> None:
    net = overridden(*words).net
    assert (net.batch_norm, net.bias) == (batch_norm, bias)


def test_a_field_that_may_be_left_open_is_a_switch_too() -> None:
    assert overridden().training.tiles is None
    assert overridden("--tiles").training.tiles is True
    assert overridden("--no-tiles").training.tiles is False


def test_a_switch_takes_a_domain(call: Job) -> None:
    for words in (
        ["--bias", "{choice = [true, false]}"],
        ["--bias={choice = [true, false]}"],
        ["--bias", '[{choice = [true, false], when = {optimizer = "sgd"}}]'],
    ):
        drawn = {overridden(*words).sample(n)["bias"] for n in range(20)}
        assert drawn == {True, False}


@pytest.mark.parametrize(
    ("words", "means"),
    [
        (["--batch-norm", "digits", "--no-bias"], ["--batch-norm=true", "digits", "--bias=false"]),
        (["--no-epochs", "--epochs"], ["--no-epochs", "--epochs"]),
        (["--bias"], ["--bias=true"]),
        (["--bias", "off", "--bias", "{x}"], ["--bias", "off", "--bias", "{x}"]),
        (["--", "--bias", "x"], ["--", "--bias", "x"]),
    ],
)
def test_words_with_values_leave_all_but_switches_alone(words: list[str], means: list[str]) -> None:
    assert command.with_values(words, {"batch_norm", "bias"}) == means


# --- names that are nearly right ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--optimizer", "adma"], "did you mean adam?"),
        (["--activation", "rleu"], "did you mean relu?"),
        (["--scheduler", "ahsa"], "did you mean asha?"),
        (["--metric", "accuracy"], "did you mean val_accuracy?"),
        (["--api", "keras"], "Given: 'keras'"),
        (["--dataset", "minst"], "did you mean mnist?"),
        (["--dataset", "fashionmnist"], "did you mean fashion-mnist?"),
        (["--learning-rate", "{log_unifrom = [0.1, 1]}"], "did you mean log_uniform?"),
        (["--momentum", '{choice = [0.5], when = {optimiser = "sgd"}}'], "did you mean optimizer?"),
        (["--momentum", '{choice = [0.5], when = {optimizer = "sdg"}}'], "did you mean sgd?"),
        (["--optimizer", '{choice = ["sgd", "adma"]}'], "did you mean adam?"),
        (["--no-batchnorm"], "did you mean --no-batch-norm?"),
        (["--batchnorm"], "did you mean --batch-norm?"),
        (["--max-failled", "1"], "did you mean --max-failed?"),
    ],
)
def test_a_value_that_is_nearly_right_is_answered_with_the_nearest(
    words: list[str], answer: str, call: Job
) -> None:
    done = call("tune", "digits", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert answer in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["train", "--preset", "mnist"], "did you mean mnist-dense?"),
        (["train", "--device", "gpus"], "did you mean gpu?"),
        (["table", "--format", "jsn"], "did you mean json?"),
        (["submit", "stauts"], "did you mean status?"),
        (["bench", "swep"], "did you mean sweep?"),
    ],
)
def test_a_choice_of_a_command_is_answered_with_the_nearest(
    words: list[str], answer: str, call: Job
) -> None:
    done = call(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert answer in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("toml", "answer"),
    [
        ("[trainig]\nepochs = 3", "did you mean training?"),
        ("[budget]\nepoch = 3", "did you mean epochs?"),
        ("[space]\nlearningrate = {choice = [1, 2]}", "did you mean learning_rate?"),
        ("[space]\nlearning_rate = {chioce = [1, 2]}", "did you mean choice?"),
        ('[net]\nactivation = "rleu"', "did you mean relu?"),
    ],
)
def test_a_key_or_value_of_a_file_is_answered_with_the_nearest(
    toml: str, answer: str, call: Job, tmp_path: Any
) -> None:
    file = tmp_path / "study.toml"
    file.write_text(toml)
    done = call("tune", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert answer in done.stderr
    assert len(done.stderr.splitlines()) == 1
