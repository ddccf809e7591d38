"""Exported nets: TensorFlow alone loads them, and they answer as their cards say."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import Job
from ffnet.data.dataset import Part
from ffnet.data.load import load
from ffnet.data.scaling import standardized, statistics
from ffnet.errors import InputError
from ffnet.export.card import choose
from ffnet.run import checkpoints, ranking, recorded, storage, tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row
from ffnet.spec.sections import Data, Tuning
from test_tables import assert_imports_neither

Array = npt.NDArray[Any]

APIS = ("barebones", "functional", "model", "sequential")
STUDY = Path(__file__).parent.parent / "jobs" / "studies" / "digits.toml"
CLIENT = """
import sys
sys.modules["ffnet"] = sys.modules["keras"] = None  # importing either is an error
import pathlib, numpy as np, tensorflow as tf
for folder in map(pathlib.Path, sys.argv[1:]):
    net = tf.saved_model.load(str(folder))
    assert list(net.signatures) == ["serving_default"]
    images = tf.constant(np.load(folder.parent / "images.npy"))
    outputs = net.signatures["serving_default"](images=images)
    np.savez(folder.parent / "answers.npz", **{n: y.numpy() for n, y in outputs.items()})
"""


@pytest.fixture(scope="module")
def nets(call_tensorflow: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a run for each api, with nets that use every feature of a net."""
    folder = tmp_path_factory.mktemp("nets")
    for api in APIS:
        done = call_tensorflow(
            "train", "--api", api, "--out", folder / api, "--hidden-sizes", "[24, 12]",
            "--batch-norm", "true", "--bias", "true", "--dropout", "[0.2, 0.1]",
            "--activation", "silu", "--learning-rate", 0.2, "--batch-size", 32,
            "--epochs", 4, "--evaluate-test", "true",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def study(tune: Job, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Run a study of six trials; the default is that five keep their checkpoints."""
    path = tmp_path_factory.mktemp("study") / "run"
    done = tune(STUDY, "--trials", 6, "--epochs", 4, "--concurrency", 1, "--out", path)
    assert done.returncode == 0, done.stderr
    return RunFolder.existing(path)


def kept(run: RunFolder) -> list[Row]:
    """Return the trials that have a checkpoint."""
    return [row for row in tables.read(run.trials) if run.checkpoint(row["trial"]).exists()]


def export(run: RunFolder, out: Path, trial: str | None = None) -> dict[str, Any]:
    """Export in this process, because another process would import TensorFlow for seconds."""
    from ffnet.export.export import export

    return export(choose(run, trial), out)


def answers(models: Iterable[Path], images: Array) -> dict[Path, dict[str, Array]]:
    """Return the answers of models' first versions to images, in a process without ffnet."""
    models = list(models)
    for out in models:
        np.save(out / "images.npy", images)
    command = [sys.executable, "-I", "-c", CLIENT, *(str(out / "1") for out in models)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {out: dict(np.load(out / "answers.npz", allow_pickle=True)) for out in models}


def answer(out: Path, **inputs: Array) -> dict[str, Array]:
    """Return the answer of a model's first version, in this process."""
    import tensorflow as tf

    model = tf.saved_model.load(str(out / "1"))
    tensors = {name: tf.constant(x) for name, x in inputs.items()}
    return {name: y.numpy() for name, y in model.signatures["serving_default"](**tensors).items()}


def assert_as_measured(
    given: dict[str, Array], part: Part, card: dict[str, Any], figures: str = "val"
) -> None:
    classes = np.array(card["data"]["classes"])
    probabilities, names = given["probabilities"], given["class"].astype(str)
    assert probabilities.shape == (len(part), len(classes))
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(names, classes[probabilities.argmax(axis=1)])
    assert (names == classes[part.y]).mean() == card[f"{figures}_accuracy"]
    losses = -np.log(probabilities[np.arange(len(part)), part.y])
    assert losses.mean() == pytest.approx(card[f"{figures}_loss"], rel=1e-4)  # float32 sums


@pytest.mark.slow
def test_nets_of_every_api_answer_as_measured(nets: Path, tmp_path: Path) -> None:
    digits = load(Data(dataset="digits"))
    assert digits.test
    cards = {tmp_path / api: export(RunFolder.existing(nets / api), tmp_path / api) for api in APIS}
    images = np.concatenate([digits.validation.x, digits.test.x])
    for out, given in answers(cards, images).items():
        card = cards[out]
        assert card["hyperparameters"]["api"] == out.name
        assert card["data"]["classes"] == [str(i) for i in range(10)]
        count = len(digits.validation)
        assert_as_measured({n: y[:count] for n, y in given.items()}, digits.validation, card)
        if card["epochs"] == 4:  # the test part is evaluated with the last weights
            test = {n: y[count:] for n, y in given.items()}
            assert_as_measured(test, digits.test, card, "test")
        else:
            assert card["test_accuracy"] is card["test_loss"] is None


@pytest.mark.slow
def test_a_run_of_one_net_is_exported_with_a_card(call_tensorflow: Job, nets: Path) -> None:
    run = RunFolder.existing(nets / "model")
    done = call_tensorflow("export", run.place)
    assert (done.returncode, done.stderr) == (0, "")
    out = run.export("digits")
    assert f"digits, version 1: {out / '1'}" in done.stdout
    card = json.loads((out / "card.json").read_text())
    assert card == json.loads((out / "1" / "card.json").read_text())
    assert (card["name"], card["version"], card["run"], card["trial"]) == ("digits", 1, "model", 0)
    assert card["signature"]["inputs"] == {"images": {"dtype": "uint8", "shape": [None, 8, 8]}}
    assert card["data"]["sizes"] == {"train": 1257, "validation": 270, "test": 270}
    assert card["hyperparameters"]["dropout"] == [0.2, 0.1]
    assert card["epochs"] == tables.read(run.trials)[0]["best_val_accuracy_epoch"]
    document = recorded.read_study_json(run)
    assert all(card[name] == document[name] for name in ("commit", "versions"))
    assert document["data"]["source"] not in json.dumps(card)
    assert b"ffnet" not in (out / "1" / "saved_model.pb").read_bytes()


def test_features_are_an_input_of_floats(call_tensorflow: Job, blobs: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "model"
    arguments = ("--dataset", blobs, "--hidden-sizes", "[]", "--learning-rate", 0.1)
    assert call_tensorflow("train", *arguments, "--out", run).returncode == 0
    card = export(RunFolder.existing(run), out)
    assert card["signature"]["inputs"] == {"features": {"dtype": "float64", "shape": [None, 20]}}
    assert card["test_accuracy"] is None
    data, x = load(Data(dataset=str(blobs))), np.load(blobs)["x"]
    row = {tuple(z): i for i, z in enumerate(standardized(x, data.mean, data.std).tolist())}
    features = x[[row[tuple(z)] for z in data.validation.x.tolist()]]
    assert_as_measured(answer(out, features=features), data.validation, card)


def test_numbers_that_float32_would_merge_stay_apart_to_the_end(
    call_tensorflow: Job, tmp_path: Path
) -> None:
    y = np.arange(600) % 2
    seconds = 1_700_000_000 + 40 * y  # since 1970: float32 has steps of 128 there
    words = np.array(["early", "late"])[y]
    pq.write_table(pa.table({"seconds": seconds, "when": words}), tmp_path / "own.parquet")
    done = call_tensorflow(
        "train", "--dataset", tmp_path / "own.parquet", "--target", "when", "--hidden-sizes", "[]",
        "--learning-rate", 0.5, "--batch-size", 8, "--epochs", 3, "--evaluate-test", "true",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert "validation accuracy 1.0000" in done.stdout, done.stderr
    assert "test accuracy 1.0000" in done.stdout
    run = RunFolder.existing(tmp_path / "run")
    about = recorded.read_study_json(run)["data"]
    assert (about["target"], about["columns"]) == ("when", ["seconds"])
    card = export(run, tmp_path / "model")
    assert card["signature"]["inputs"] == {"features": {"dtype": "float64", "shape": [None, 1]}}
    x = seconds[:, None].astype(np.float64)
    given = answer(tmp_path / "model", features=x)
    assert (given["class"].astype(str) == words).all()

    from ffnet.serving.model import Model

    model = Model(tmp_path / "model" / "1")
    request = model.inputs[0].array(json.loads("[[1700000000], [1700000040.0], [1.70000004e9]]"))
    assert model({"features": request})["class"].tolist() == ["early", "late", "late"]


def test_a_net_gets_the_same_bits_in_training_and_when_exported() -> None:
    import tensorflow as tf

    from ffnet.nets.normalization import normalized

    random = np.random.default_rng(0)
    size = 10.0 ** random.uniform(-30, 30, 50)
    x = size * (random.normal(size=(1000, 50)) + 10.0 ** random.uniform(-3, 9, 50))
    mean, std = statistics(x)
    served = tf.function(lambda x: normalized(x, mean, 1 / std), autograph=False)
    assert (served(tf.constant(x)).numpy() == standardized(x, mean, std)).all()


@pytest.mark.slow
def test_a_run_of_an_older_version_is_exported_as_it_was_trained(
    nets: Path, tmp_path: Path
) -> None:
    run = RunFolder.at(shutil.copytree(nets / "model", tmp_path / "run"))
    new = export(run, tmp_path / "new")
    document = recorded.read_study_json(run)
    for name in ("columns", "target", "unused", "unlabelled", "normalized_in"):
        del document["data"][name]
    storage.write_json(run.study, document)
    old = export(run, tmp_path / "old")
    assert old["signature"] == new["signature"]
    images = load(Data(dataset="digits")).validation.x
    given = [answer(tmp_path / name, images=images)["probabilities"] for name in ("new", "old")]
    assert (given[0] == given[1]).all()


def test_of_a_study_the_best_epoch_of_the_tables_first_trial_goes(
    study: RunFolder, tmp_path: Path
) -> None:
    first = ranking.best_first(tables.read(study.trials), Tuning())[0]
    card = export(study, tmp_path / "best")
    assert (card["trial"], card["epochs"]) == (first["trial"], first["best_val_accuracy_epoch"])
    assert card["val_accuracy"] == first["best_val_accuracy"]
    assert card["chosen"] == "highest best_val_accuracy of 6 trials"
    assert card["measured_again"] == {
        "val_accuracy": card["val_accuracy"],
        "val_loss": pytest.approx(card["val_loss"], rel=1e-5),
    }
    part = load(Data(dataset="digits")).validation
    assert_as_measured(answer(tmp_path / "best", images=part.x), part, card)
    assert choose(study, None).out(None) == study.export("digits")


def test_a_study_that_judges_by_loss_hands_on_the_lowest(study: RunFolder, tmp_path: Path) -> None:
    run = RunFolder.at(shutil.copytree(study.place, tmp_path / "run"))
    document = recorded.read_study_json(run)
    document["study"]["tuning"]["metric"] = "val_loss"
    storage.write_json(run.study, document)
    chosen = choose(run, None)  # the best weights by accuracy, and the last weights, are kept
    assert chosen.report["val_loss"] <= min(row["last_val_loss"] for row in kept(run))


@pytest.mark.slow
def test_each_export_is_a_further_version(nets: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    first = export(RunFolder.existing(nets / "model"), out)
    before = {path: path.read_bytes() for path in (out / "1").rglob("*") if path.is_file()}
    (out / "notes").mkdir()  # not a version
    second = export(RunFolder.existing(nets / "functional"), out, trial="0")
    assert (first["version"], second["version"]) == (1, 2)
    assert second["chosen"] == "named with --trial"
    assert {path: path.read_bytes() for path in before} == before
    assert json.loads((out / "card.json").read_text())["run"] == "functional"
    assert {path.name for path in out.iterdir()} == {"1", "2", "card.json", "notes"}
    assert (out / "2").stat().st_mode & 0o777 == (out / "notes").stat().st_mode & 0o777


def test_of_two_exports_at_once_neither_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ffnet.export import export as exporting

    rename = Path.rename
    others: list[Path] = []

    def other_first(made: Path, to: Path) -> Path:
        if not others:
            others.append(to)
            to.mkdir()
            (to / "saved_model.pb").write_text("the other's")
        return rename(made, to)

    monkeypatch.setattr(Path, "rename", other_first)
    net: Any = SimpleNamespace(save=lambda path: path.mkdir())
    made = exporting._publish(net, {"trial": 3}, tmp_path / "model")
    assert made["version"] == 2
    assert (tmp_path / "model" / "1" / "saved_model.pb").read_text() == "the other's"
    assert json.loads((tmp_path / "model" / "card.json").read_text()) == made


def test_what_cannot_be_exported_is_one_line(call: Job, study: RunFolder, tmp_path: Path) -> None:
    (without,) = set(range(6)) - {row["trial"] for row in kept(study)}
    refusals = {
        (tmp_path,): f"{tmp_path} is not a run: it has no study.json",
        (study.place, "--trial", "6"): "the trial must be one of the run's 6 trials. Given: 6",
        (study.place, "--trial", without): "--trial must have a checkpoint with the weights",
        (study.place, "--out", tmp_path / "a model"): "--out names the model: only letters, digits",
    }
    for arguments, words in refusals.items():
        done = call("export", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"error: {words}")
        assert len(done.stderr.splitlines()) == 1


def test_a_trial_without_a_checkpoint_is_answered_with_those_that_have_one(
    study: RunFolder,
) -> None:
    having = {row["trial"] for row in kept(study)}
    (without,) = set(range(6)) - having
    with pytest.raises(InputError) as refused:
        choose(study, str(without))
    (listed,) = re.findall(r"these trials do: (.*)\. Given: ", str(refused.value))
    assert list(map(int, listed.split(", "))) == sorted(having)


@pytest.mark.slow
def test_a_file_in_the_way_is_refused(nets: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(
        InputError, match=r"file must be a folder that can be written \(File exists\)"
    ):
        export(RunFolder.existing(nets / "model"), file)


def test_figures_that_the_net_does_not_have_are_refused(study: RunFolder, tmp_path: Path) -> None:
    """Each weight is a little larger than when it was measured; the checksum is right."""
    import tensorflow as tf

    run = RunFolder.at(shutil.copytree(study.place, tmp_path / "run"))
    file = choose(run, None).weights.file
    saved = checkpoints.load(file)
    with file.replacing() as opened:
        larger = [tf.Variable(array * 1.1) for array in saved.arrays]
        checkpoints.write(opened, saved.step, saved.reports, larger)
    with pytest.raises(InputError) as refused:
        export(run, tmp_path / "model")
    assert str(refused.value).startswith("the exported net must have the figures of its report")
    assert f"measured again with {file}; name another trial" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert not (tmp_path / "model").exists()


def test_without_its_data_a_net_is_exported_and_the_card_says_what_was_not_measured(
    study: RunFolder, tmp_path: Path
) -> None:
    run = RunFolder.at(shutil.copytree(study.place, tmp_path / "run"))
    document = recorded.read_study_json(run)
    document["study"]["data"]["dataset"] = str(tmp_path / "gone.npz")
    storage.write_json(run.study, document)
    again = export(run, tmp_path / "model")["measured_again"]
    assert (again["val_accuracy"], again["val_loss"]) == (None, None)
    assert "gone.npz' is neither a path nor one of" in again["reason"]


def test_weights_that_trained_on_after_they_were_chosen_are_exported_as_they_were(
    study: RunFolder, tmp_path: Path
) -> None:
    run = RunFolder.at(shutil.copytree(study.place, tmp_path / "run"))
    chosen = choose(run, None)
    with chosen.weights.file.replacing() as file:
        file.write(b"other weights")
    from ffnet.export.export import export

    card = export(chosen, tmp_path / "model")
    assert card["val_accuracy"] == card["measured_again"]["val_accuracy"]


@pytest.mark.slow
def test_weights_that_are_newer_than_the_tables_are_not_exported(
    nets: Path, tmp_path: Path
) -> None:
    run = RunFolder.at(shutil.copytree(nets / "model", tmp_path / "run"))
    reports = tables.read(run.epochs)
    (row,) = tables.read(run.trials)
    run.checkpoint_best(0).delete()
    run.checkpoint_before(0).delete()
    tables.write(run.epochs, reports[:-1], tables.EPOCHS)
    tables.write(run.trials, [row | {"best_val_accuracy": 0.01}], tables.TRIALS)
    for trial, words in ((None, "a run without any"), ("0", "these trials do: none. Given: 0")):
        with pytest.raises(InputError, match=words):
            choose(run, trial)


@pytest.mark.slow
def test_damaged_checkpoints_are_refused_by_name(nets: Path, tmp_path: Path, call: Job) -> None:
    run = RunFolder.at(shutil.copytree(nets / "model", tmp_path / "run"))
    paths = sorted(Path(run.place, "checkpoints").iterdir())
    for path in paths:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    for flags in ([], ["--trial", 0]):
        done = call("export", run.place, *flags)
        assert done.returncode == 2
        assert f"{paths[0]}: the checkpoint is damaged (its content does not match" in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_study_json_of_an_older_run_is_refused(nets: Path, tmp_path: Path) -> None:
    run = RunFolder.at(shutil.copytree(nets / "model", tmp_path / "run"))
    document = recorded.read_study_json(run)
    del document["data"]["mean"], document["data"]["std"]
    storage.write_json(run.study, document)
    with pytest.raises(InputError, match="must have mean, std"):
        choose(run, None)
    storage.write_json(run.study, [])
    with pytest.raises(InputError, match=r"not a study\.json of a run"):
        choose(run, None)


def test_help_imports_neither_ray_nor_tensorflow() -> None:
    assert_imports_neither(["export.py", "--help"])
