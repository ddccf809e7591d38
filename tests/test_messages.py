"""Answers to what a person types: files as editors write them, names, flags; errors are short."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import made_runs
from conftest import Job
from ffnet.data.load import load
from ffnet.errors import InputError
from ffnet.run import provenance
from ffnet.run.study_files import name_of, read_study
from ffnet.spec.sections import Data
from ffnet.spec.study import Study
from ffnet.spec.validation import validated

SPACE = {"learning_rate": {"log_uniform": [1e-3, 1e-1]}}
TOML = "[space]\nlearning_rate = { log_uniform = [1e-3, 1e-1] }\n"


def refused(place: Path) -> str:
    """Return the message that refuses a study's file; it is a short printable line."""
    with pytest.raises(InputError) as caught:
        validated(Study, read_study(str(place)), place.name)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 500
    return message


# --- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        TOML.encode("utf-8-sig"),
        TOML.replace("\n", "\r\n").encode(),
        TOML.replace("\n", "\r\n").encode("utf-8-sig"),
        TOML.rstrip().encode(),
    ],
)
def test_toml_as_editors_write_it_is_read(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(text)
    assert validated(Study, read_study(str(path)), "x").space.root.keys() == {"learning_rate"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TOML.encode("utf-16"), "not a readable TOML file ('utf-8' codec can't decode"),
        (b"a = " + b"[" * 5000, "nested too deep"),
        (b"seed = " + b"9" * 5000, "not a readable TOML file (Exceeds the limit"),
        (b"seed = 0x" + b"f" * 5000, "an integer must fit in 64 bits. Given: 20000 bits"),
        (b"a." * 900 + b"b = 1", "nested at most 20 deep"),
        (b'name = "a\\u001b[2Jb"', "no control characters. Given: 'a\\x1b[2Jb'"),
        (b'name = "a\\u0000b"', "no control characters"),
        (b"net = 3", "net: input should be"),
        (b"space = []", "space: input should be a valid dictionary"),
        (b"[[space]]", "space: input should be a valid dictionary"),
        (b'[net]\n"' + b"k" * 3000 + b'" = 1', "unknown key 'kkk"),
        (b'"\\u202E" = 1', "unknown key '\\u202e' in [the study]"),
        (b'[data]\ndataset = "' + b"d" * 3000 + b'"\nsplit = "' + b"s" * 3000 + b'"', "data.split"),
        (b"x" * (2**24 + 1), "larger than"),
        (TOML.encode() + b"[[tuning]]", "tuning: input should be"),
        (b"seed = 2024-01-01", "seed: input should be"),
    ],
)
def test_toml_of_any_shape_is_one_short_line(tmp_path: Path, text: bytes, words: str) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(text)
    assert words in refused(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"[]", "needs a JSON object. Given: []"),
        (b"null", "needs a JSON object. Given: None"),
        (b'{"study": []}', "needs an object `study`. Given: []"),
        (b'{"study": {"seed": 1, "seed": 2}}', "the key 'seed' comes twice in one object"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"study": {"seed": ' + b"9" * 5000 + b"}}", "Exceeds the limit"),
        (b'{"study": {"seed": 1' + b"0" * 300 + b"}}", "an integer must fit in 64 bits"),
        (b'{"study": {"name": "\\ud800"}}', "no control characters. Given: '\\ud800'"),
        (b'{"study": {"seed": NaN}}', "seed: "),
        (b'{"study": {"space": {"batch_size": {"choice": null}}}}', "exactly one kind of domain"),
        (b"\xff\xfe{}", "not a study.json of a run"),
        (b"{", "not a study.json of a run"),
    ],
)
def test_a_study_json_of_any_shape_is_one_short_line(
    tmp_path: Path, text: bytes, words: str
) -> None:
    path = tmp_path / "study.json"
    path.write_bytes(text)
    assert words in refused(path)


def test_what_cannot_be_opened_is_said_once(tmp_path: Path, call: Job) -> None:
    done = call("tune", "s3://bucket")
    assert done.returncode == 2
    assert "not a study.json" not in done.stderr  # the place is wrong, not a file
    assert "a URI must name a bucket" in done.stderr
    for place, words in ((tmp_path, "Is a directory"), (tmp_path / "absent.json", "No such file")):
        assert words in call("tune", place).stderr


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("digits.toml", "digits"),
        ("my study (1).toml", "my-study-1"),
        (".toml", "study"),
        ("日本.toml", "日本"),
        ("a" * 300 + ".toml", "a" * 100),
        ("日" * 80 + ".toml", "日" * 33),
        ("a.b.toml", "a.b"),
        ("-x.toml", "x"),
        ("runs/a/study.json", "study"),
        ("$(rm).toml", "rm"),
    ],
)
def test_a_name_is_made_of_any_file_name(file: str, name: str) -> None:
    assert name_of(file) == name
    assert validated(Study, {"name": name, "space": SPACE}, "x").name == name


@pytest.mark.parametrize(
    ("toml", "name"),
    [("2024", "2024"), ("2024-01-01", "2024-01-01"), ("1.5", "1.5"), ('"x"', "x")],
)
def test_numbers_and_dates_are_text_where_text_is_meant(
    tmp_path: Path, toml: str, name: str, call: Job
) -> None:
    path = tmp_path / "study.toml"
    path.write_text(f"name = {toml}\n[data]\ndataset = {toml}\n{TOML}")
    of = validated(Study, read_study(str(path)), "x")
    assert (of.name, of.data.dataset) == (name, name)
    done = call("tune", path, "--dataset", "007", "--name", "1_0")
    assert "dataset '007' is neither a path nor" in done.stderr
    done = call("tune", path, "--dataset", "1e3")
    assert "dataset '1e3' is neither" in done.stderr


# --- flags -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "flag", "hint"),
    [
        ("tune", "--lr", "--learning-rate"),
        ("tune", "--n-trials", "--trials"),
        ("tune", "--n_trials=3", "--trials"),
        ("tune", "--batch", "--batch-size"),
        ("tune", "--learning_rate", "--learning-rate"),
        ("tune", "--lerning-rate", "--learning-rate"),
        ("tune", "--resum", "--resume"),
        ("train", "--layers", "--hidden-sizes"),
        ("train", "--presets", "--preset"),
        ("table", "--limit", "--top"),
        ("table", "--colums", "--columns"),
        ("export", "--output", "--out"),
        ("board", "--prot", "--port"),
        ("serve", "--replica", "--replicas"),
        ("submit", "--adress", "--address"),
    ],
)
def test_an_unknown_flag_is_answered_with_the_one_meant(
    call: Job, job: str, flag: str, hint: str
) -> None:
    words = ["list"] if job == "submit" else [] if job == "train" else ["x"]
    done = call(job, *words, *([flag] if "=" in flag else [flag, "1"]))
    name = flag.partition("=")[0]
    assert done.returncode == 2
    assert done.stderr == f"error: unknown flag {name} (did you mean {hint}?); see --help\n"


def test_an_unknown_flag_without_a_likeness_gets_no_hint(call: Job) -> None:
    assert call("table", "x", "--zzz").stderr == "error: unknown flag --zzz; see --help\n"
    assert call("best", "x", "y").stderr == "error: unexpected argument y; see --help\n"


def test_an_error_names_the_flag_or_the_file_that_has_the_value(tmp_path: Path, call: Job) -> None:
    path = tmp_path / "study.toml"
    path.write_text(TOML)

    def error(*flags: str) -> str:
        return call("tune", path, *flags).stderr.removeprefix("error: ").rstrip()

    assert error("--batch-size", "0").startswith("--batch-size: input should be greater")
    assert error("--learning-rate", "{uniform = [2, 1]}").startswith("--learning-rate: uniform")
    assert error("--grace-epochs", "9").startswith(f"{path} with --grace-epochs: asha can prune")
    path.write_text(TOML + "[budget]\nepochs = 0\n")
    assert error("--seed", "1").startswith(f"{path}: budget.epochs: ")


@pytest.mark.parametrize("value", ["[" * 3000, "9" * 5000, "0.1\nepochs = 3", "\x1b[31m"])
def test_a_flags_value_of_any_shape_is_one_line(call: Job, value: str) -> None:
    done = call("train", "--learning-rate", value)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.rstrip("\n").isprintable()
    assert len(done.stderr) < 500


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--hidden-sizes", "64,32"],
         "--hidden-sizes: needs a number or a list, e.g. [256, 128]. Given: '64,32'"),
        (["train", "--learning-rate", "{uniform = [0.1, 0.2]}"],
         "--learning-rate: input should be a valid number. Given: {'uniform': [0.1, 0.2]}"),
        (["tune", "x.toml", "--name", "a b"],
         "--name: may have only letters, digits, '_', '.' and '-'. Given: 'a b'"),
        (["train", "--epochs", "1e3"], "--epochs: input should be a valid integer. Given: 1000.0"),
        (["train", "--seed", "9" * 23], "--seed: an integer must fit in 64 bits. Given: 77 bits"),
        (["tune", "x.toml", "--hidden-sizes", "{choice = [%s]}" % ("9" * 23)],
         "--hidden-sizes: an integer must fit in 64 bits. Given: 77 bits"),
        (["train", "--dataset", "a\x1bb"],
         "--dataset: a text must have no control characters. Given: 'a\\x1bb'"),
        (["tune", "x.toml", "--name", "a\nb"],
         "--name: a text must have no control characters. Given: 'a\\nb'"),
        (["train", "--dataset", "~nobody-has-this-name/x.npz"],
         "~ must stand for an existing user's folder. Given: ~nobody-has-this-name/x.npz"),
    ],
)  # fmt: skip
def test_what_is_often_mistyped_is_answered_plainly(
    call: Job, tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "x.toml").write_text(TOML)
    assert call(*words, cwd=tmp_path).stderr == f"error: {message}\n"


EMPTY = {
    "tune": ["STUDY.toml", "--out", "--address", "--name", "--data-dir", "--target", "--search"],
    "train": ["--preset", "--from", "--trial", "--out", "--save-figures", "--tensorboard",
              "--dataset", "--learning-rate", "--seed"],
    "table": ["run", "--sort", "--top", "--status", "--columns", "--format"],
    "export": ["run", "--trial", "--out"],
    "board": ["run", "--host", "--port"],
    "serve": ["model_dir", "--name", "--host", "--port"],
    "submit": ["--address"],
    "bench": ["--dataset", "--data-dir"],
}  # fmt: skip


@pytest.mark.parametrize("job", EMPTY)
def test_an_empty_value_is_refused_and_is_not_the_default(call: Job, job: str) -> None:
    for flag in EMPTY[job]:
        for text in ("", " "):
            place = ["sweep"] if job == "bench" else ["list"] if job == "submit" else ["x"]
            words = [*([] if job == "train" else place), f"{flag}={text}"]
            done = call(job, *(words if flag.startswith("--") else [text]))
            assert (done.returncode, done.stdout) == (2, "")
            assert f"Given: {text!r}" in done.stderr or flag in done.stderr
            assert "needs a value" in done.stderr or "invalid int value" in done.stderr
            assert len(done.stderr.splitlines()) == 1


def test_the_odd_text_of_a_file_is_said_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text('[data]\ndataset = "a\\u001bb"\n' + TOML)
    assert refused(path).startswith("study.toml: data.dataset: a text must have no control")


def test_debug_is_of_the_command_before_the_dashes_only(call: Job) -> None:
    words = ["--address", "http://127.0.0.1:1", "--", "nothing", "--debug"]
    assert "Traceback" not in call("submit", *words).stderr
    assert "Traceback" in call("submit", "--debug", *words).stderr


def test_a_study_that_reads_back_says_the_same(tmp_path: Path) -> None:
    of = validated(Study, {"name": "日本", "space": SPACE}, "x")
    path = tmp_path / "study.json"
    path.write_text(json.dumps({"study": of.resolved()}))
    assert validated(Study, read_study(str(path)), "x") == of


def test_a_pipe_or_device_without_end_is_not_read_for_ever(tmp_path: Path) -> None:
    link = tmp_path / "endless.toml"
    link.symlink_to("/dev/zero")
    assert "larger than" in refused(link)


def test_every_text_of_a_message_is_made_short() -> None:
    values: dict[str, Any] = {"space": {"batch_size": {"choice": list(range(1, 10**5))}}}
    values["net"] = {"activation": {"a": list(range(10**5))}}
    with pytest.raises(InputError) as caught:
        validated(Study, values, "x")
    assert len(str(caught.value)) < 500
    for domain in (
        {"each": 4, "depth": {"choice": ["x" * 1000]}},  # found by fuzzing
        {"choice": ["x" * 1000, "x" * 1000]},
        {"fixed": 1, "when": {"optimizer": "x" * 1000}},
        {"choice": [1, 2], "when": {"hidden_sizes": [[n] for n in range(500)]}},
    ):
        for name in ("hidden_sizes", "batch_size"):
            space = {name: domain, "learning_rate": {"uniform": [0.1, 0.2]}}
            with pytest.raises(InputError) as caught:
                validated(Study, {"space": space}, "x")
            assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["tune", "confirm", "audit"])
def test_advice_names_only_flags_that_the_command_has(name: str, tmp_path: Path, call: Job) -> None:
    study = made_runs.study_of(resources={"cpus": 4096})
    data = provenance.new_study_json(study.resolved(), load(Data()), 1)["data"]
    run = made_runs.write(
        tmp_path / "run", study, *made_runs.trials(study, ["done", "pruned"]), **data
    )
    words = ["digits", "--cpus", 4096, "--out", tmp_path / "new"] if name == "tune" else [run]
    done = call(name, *words)
    assert done.returncode == 2
    assert "a trial must fit on one node. Given: 4096 CPUs" in done.stderr
    named = re.findall(r"--[a-z-]+", done.stderr)
    assert named
    assert all(f"{flag} " in call(name, "--help").stdout for flag in named)
