"""`ffnet best` prints a trial as a file for `ffnet train`, which trains the same net again."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from conftest import Job
from ffnet.data.load import load
from ffnet.run import provenance, storage, tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row
from ffnet.spec.sections import Data, Tuning
from ffnet.spec.study import OneNet, Study
from ffnet.spec.trial import TrialConfig
from ffnet.spec.validation import validated

STUDY = validated(
    Study,
    {
        "net": {"bias": False},
        "training": {"batch_size": 64},
        "space": {
            "hidden_sizes": {"each": {"choice": [8, 16]}, "depth": 2},
            "optimizer": {"choice": ["sgd", "adam"]},
            "momentum": {"uniform": [0.5, 0.9], "when": {"optimizer": "sgd"}},
            "dropout": {"each": {"uniform": [0.1, 0.3]}},
        },
        "tuning": {"metric": "val_loss", "patience_epochs": 1, "min_delta": 5},
        "budget": {"trials": 4, "epochs": 3},
    },
    "test",
)


def config(number: int) -> TrialConfig:
    return STUDY.trial_config(number, STUDY.sample(number), 7 + number)


def row(number: int, **columns: Any) -> Row:
    of = config(number)
    return {
        "trial": number, "status": "done", "epochs": 3.0, "seed": of.seed, **of.hyperparameters(),
        "best_val_accuracy": 0.5, "best_val_accuracy_epoch": 3.0, "best_val_loss": 1.0,
        "best_val_loss_epoch": 2.0,
    } | columns  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Write a run: trial 2 is the best and was pruned; trial 3 continued from trial 1's weights."""
    folder = RunFolder.at(tmp_path / "run")
    folder.begin()
    storage.write_json(folder.study, provenance.new_study_json(STUDY.resolved(), load(Data()), 1))
    rows = [
        row(0), row(1), row(2, status="pruned", epochs=2.0, best_val_loss=0.25),
        row(3, parent=1, best_val_loss=0.5),
    ]  # fmt: skip
    tables.write(folder.trials, rows, tables.TRIALS)
    tables.write(folder.epochs, [], tables.EPOCHS)
    return folder


@pytest.mark.parametrize(("words", "number"), [([], 2), (["--trial", "0"], 0), (["--trial=1"], 1)])
def test_the_file_is_the_trial_with_all_epochs_of_the_study(
    words: list[str], number: int, run: RunFolder, call: Job
) -> None:
    done = call("best", run, *words)
    assert (done.returncode, done.stderr) == (0, "")
    one = validated(OneNet, tomllib.loads(done.stdout), "best")
    of = config(number)
    assert one.trial_config() == of.model_copy(update={"number": 0, "net": one.net})
    assert one.net == of.net.model_copy(update={"dropout": of.net.dropout_rates})
    assert one.data == STUDY.data
    assert one.tuning == Tuning(metric="val_loss", patience_epochs=1, min_delta=5)
    first = done.stdout.splitlines()[0]
    assert first.startswith(f"# Trial {number} of run: ")
    if number == 2:
        assert first.endswith("pruned after 2 epochs, best_val_loss 0.2500 at epoch 2.")


def test_the_file_names_every_field_that_has_a_value(run: RunFolder, call: Job) -> None:
    values = tomllib.loads(call("best", run).stdout)
    of = config(2)
    for section, spec in (("net", of.net), ("training", of.training)):
        named = {name for name, value in spec.model_dump().items() if value is not None}
        without_effect = {"nesterov", "weight_decay_schedule"}  # adam, weight_decay 0
        assert values[section].keys() >= named - without_effect
    assert values["net"]["bias"] is False


def test_the_net_of_one_net_s_run_is_that_net(run: RunFolder, call: Job) -> None:
    values = {"seed": 5, "epochs": 2, "patience_epochs": 1, "net": {"hidden_sizes": [9]}}
    one = validated(OneNet, values, "test")
    storage.write_json(
        run.study, provenance.new_study_json(one.model_dump(mode="json"), load(Data()), 1)
    )
    of = one.trial_config()
    only = row(0, seed=5, **of.hyperparameters())
    tables.write(run.trials, [only], tables.TRIALS)
    again = validated(OneNet, tomllib.loads(call("best", run).stdout), "best")
    assert again == one.model_copy(update={"net": again.net})
    assert again.net.hidden_sizes == (9,)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--trial", "3"], "trial 3 took over weights of trial 1 (pbt), and cannot be trained"),
        (["--trial", "9"], "the trial must be one of the run's 4 trials. Given: 9"),
        (["--tiral", "1"], "did you mean --trial?"),
    ],
)
def test_what_cannot_be_trained_alone_is_refused(
    words: list[str], answer: str, run: RunFolder, call: Job
) -> None:
    done = call("best", run, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert answer in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_run_without_a_figure_has_no_best(run: RunFolder, call: Job) -> None:
    tables.write(run.trials, [{"trial": 0, "status": "running"}], tables.TRIALS)
    done = call("best", run)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no trial of this run has reported a val_loss" in done.stderr


@pytest.mark.parametrize(
    ("text", "words", "answer"),
    [
        ("", [], "a file of one net must have fields. Given: none"),
        ("[space]\nlearning_rate = {choice = [1, 2]}", [], "`ffnet tune` runs a study"),
        ("[net]\nhiden_sizes = 3", [], "did you mean hidden_sizes?"),
        ("epochs = 1", ["--preset", "mnist-dense"], "by a file or by --preset, not by both"),
        ("epochs = 1", ["--from", "r", "--trial", "1"], "FILE has no effect with --from"),
    ],
)
def test_train_refuses_a_file_that_is_no_net(
    text: str, words: list[str], answer: str, call: Job, tmp_path: Path
) -> None:
    file = tmp_path / "net.toml"
    file.write_text(text)
    done = call("train", file, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert answer in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("mnist-dens", "did you mean mnist-dense?"),
        ("nowhere.toml", "nowhere.toml: not a readable TOML file (No such file or directory)"),
    ],
)
def test_train_answers_a_file_that_is_not_there(word: str, answer: str, call: Job) -> None:
    done = call("train", word)
    assert (done.returncode, done.stdout) == (2, "")
    assert answer in done.stderr


@pytest.mark.slow
def test_the_file_trains_to_the_reports_of_the_trial_and_ends_where_its_patience_ends(
    run: RunFolder, call: Job, job: Job, tmp_path: Path
) -> None:
    from ffnet.training.device_data import DeviceData
    from ffnet.training.loop import train
    from ffnet.training.trainer import Trainer

    file = tmp_path / "best.toml"
    file.write_text(call("best", run).stdout)
    done = job("train", file)
    assert done.returncode == 0, done.stderr
    of = config(2)
    trainer = Trainer(DeviceData(load(Data())), of)
    trainer.initialize(of)
    expected = [
        f"Iteration {r.step - 1}, loss = {r.batch_loss:.4f}\nGot {r.validation.correct} / "
        for r in train(trainer, of)
    ]
    assert len(expected) == 3  # a report for each epoch, none after the first step
    assert done.stdout.count("Iteration") == 2
    assert all(report in done.stdout for report in expected[:2])
    assert "the training ended: no better for 1 epoch" in done.stdout
