"""`ffnet train`: the source lesson's nets, and trials of studies that are trained again."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from conftest import ROOT, Job
from ffnet.api.run import Run
from ffnet.cli import train
from ffnet.data.load import load
from ffnet.run import tables
from ffnet.run.folder import RunFolder
from ffnet.spec.sections import Data
from ffnet.training.loop import Report

DIGITS = ROOT / "jobs" / "studies" / "digits.toml"


def lesson_lines(printed: str) -> list[tuple[str, ...]]:
    """Return (iteration, loss, correct, per cent) of each report."""
    return re.findall(
        r"^Iteration (\d+), loss = (\d+\.\d+)\nGot (\d+) / 1000 correct \((.*)%\)$",
        printed,
        re.MULTILINE,
    )


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["cifar10-barebones", "cifar10-keras"])
def test_the_lessons_runs_on_cifar10(call_tensorflow: Job, real_data: Path, preset: str) -> None:
    """The limit is two deviations below the mean of three seeds of `ffnet bench presets`."""
    done = call_tensorflow("train", "--preset", preset, "--data-dir", real_data)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = lesson_lines(done.stdout)
    assert [int(line[0]) for line in lines] == [*range(0, 701, 100), 765]
    assert all(float(line[3]) == int(line[2]) / 10 for line in lines)
    assert int(lines[-1][2]) >= 425


@pytest.mark.slow
def test_the_lessons_first_model_on_mnist(job: Job, real_data: Path) -> None:
    done = job("train", "--preset", "mnist-dense", "--data-dir", real_data)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("mnist: 59,000/1,000/10,000 train/validation/test")
    assert len(lesson_lines(done.stdout)) == 6
    match = re.search(r"^test accuracy (0\.\d{4}), loss 0\.\d+$", done.stdout, re.MULTILINE)
    assert match
    assert float(match[1]) >= 0.977


def test_flags_override_the_preset(call_tensorflow: Job, blobs: Path) -> None:
    done = call_tensorflow(
        "train", "--preset", "cifar10-barebones", "--dataset", blobs, "--hidden-sizes", "[16, 8]",
        "--report-steps", 10, "--epochs", 3, "--learning-rate", 0.1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("blobs: 840/180/180")
    match = re.search(r"validation accuracy (0\.\d+|1\.0+) after 3 epochs", done.stdout)
    assert match
    assert float(match[1]) > 0.8


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ["--learning-rate", "nan"],
            "error: --learning-rate: input should be a finite number. Given: nan",
        ),
        (
            ["--hidden-sizes", "[4, 0]"],
            "error: --hidden-sizes: input should be greater than or equal to 1. Given: 0",
        ),
        (["--epochs", "many"], "error: --epochs: input should be a valid integer. Given: 'many'"),
        (["--validation", "5000"], "validation must leave examples"),
        (
            ["--learning-rate", "1e300"],
            "error: --learning-rate: must be a number that float32 holds, from 1.18e-38 to 3.4e+38",
        ),
        (
            ["--hidden-sizes", "[9000000000000]"],
            "must fit into the memory of a node. Given: hidden_sizes [9000000000000]",
        ),
        (["--hidden-sizes", "9223372036854775807"], "must fit into the memory of a node"),
    ],
)
def test_bad_flags_are_one_line(call: Job, flags: list[str], words: str) -> None:
    done = call("train", *flags)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_loss_that_diverges_says_so_and_leaves_its_curves(
    call_tensorflow: Job, blobs: Path, tmp_path: Path
) -> None:
    flags = ["--learning-rate", "1e30", "--save-figures", tmp_path]
    done = call_tensorflow("train", "--dataset", blobs, *flags)
    assert done.returncode == 1
    assert "the loss is no longer finite: lower the learning rate" in done.stdout
    assert "so its confusion matrix and weights are not drawn" in done.stdout
    assert {path.stem for path in tmp_path.iterdir()} == {"curves"}
    assert ">diverged<" in (tmp_path / "curves.svg").read_text()


def test_contradictions_are_refused_by_the_flags(call: Job) -> None:
    done = call("train", "--optimizer", "adam", "--momentum", "0.9")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: one net with --optimizer, --momentum: momentum is only for sgd and rmsprop; leave "
        "it out. Given: momentum 0.9, optimizer adam\n"
    )


def test_a_gpu_that_is_not_there_is_refused_with_what_is(call_tensorflow: Job) -> None:
    done = call_tensorflow("train", "--device", "gpu")
    assert done.returncode == 2
    assert "needs a TensorFlow that sees a GPU. Given: ['/physical_device:CPU:0']" in done.stderr
    assert len(done.stderr.splitlines()) == 1


# --- what is left behind -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_run(tmp_path_factory: pytest.TempPathFactory, call_tensorflow: Job) -> tuple[Path, str]:
    """Train a small net and write everything. Returns the folder and what was printed."""
    out = tmp_path_factory.mktemp("one net")
    done = call_tensorflow(
        "train", "--hidden-sizes", "[24, 12]", "--dropout", 0.1, "--batch-norm", "true",
        "--optimizer", "adam", "--epochs", 4, "--seed", 7, "--evaluate-test", "true", "--out",
        out / "run", "--save-figures", out / "figures", "--tensorboard", out / "events",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_one_net_leaves_the_tables_of_a_study_of_one_trial(one_run: tuple[Path, str]) -> None:
    folder = RunFolder.existing(one_run[0] / "run")
    (row,) = tables.read(folder.trials)
    reports = tables.read(folder.epochs)
    assert row["status"] == "done"
    assert (row["hidden_sizes"], row["dropout"], row["seed"]) == ([24, 12], [0.1, 0.1], 7)
    assert (row["batch_norm"], row["optimizer"], row["momentum"]) == (True, "adam", None)
    assert [r["epoch"] for r in reports][1:] == [1, 2, 3, 4]
    assert row["best_val_accuracy"] == max(r["val_accuracy"] for r in reports)
    assert f"test accuracy {row['test_accuracy']:.4f}" in one_run[1]


def test_the_core_time_of_one_net_adds_up(one_run: tuple[Path, str]) -> None:
    run, cores = Run(one_run[0] / "run"), len(os.sched_getaffinity(0))
    (row,), found = run.trials().to_pylist(), run.ledger()
    assert found.note is None
    assert found.cores == pytest.approx(cores)
    assert found.total == pytest.approx((found.wall_seconds or 0) * cores)
    assert found.parts["train"] == pytest.approx(row["train_seconds"] * cores)
    assert (found.parts["report"] or 0) > 0
    assert found.line() in " ".join(one_run[1].split())  # pytest-xdist may set a width


def test_one_net_leaves_figures_and_event_files(one_run: tuple[Path, str]) -> None:
    names = {path.name for path in (one_run[0] / "figures").iterdir()}
    stems, suffixes = ("curves", "weights", "confusion"), ("png", "pdf", "svg")
    assert names == {f"{stem}.{suffix}" for stem in stems for suffix in suffixes}
    svg = (one_run[0] / "figures" / "confusion.svg").read_text()
    assert "confusion matrix, test part: 270 examples" in svg  # --evaluate-test
    assert list((one_run[0] / "events").rglob("*tfevents*"))


# --- a trial once more -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study_run(tmp_path_factory: pytest.TempPathFactory, tune: Job) -> Path:
    """Run a study with several apis, dropout, and optimisers that have slots."""
    out = tmp_path_factory.mktemp("study") / "run"
    done = tune(
        DIGITS, "--out", out, "--trials", 4, "--epochs", 3, "--grace-epochs", 1,
        "--api", '{choice = ["barebones", "sequential"]}', "--dropout", 0.2, "--momentum", 0.5,
        "--batch-norm", "true", "--schedule", "cosine", "--learning-rate",
        "{log_uniform = [1e-3, 1e-1]}", "--concurrency", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out


AGAIN = """
import sys
from ffnet.cli import train
print(sum(train.main(["--from", sys.argv[1], "--trial", trial]) for trial in sys.argv[2:]))
"""
"""A program: trains trials of a run again, and prints how many do not match."""


@pytest.mark.slow
def test_any_trial_of_a_study_trains_again_to_the_same_bits(study_run: Path) -> None:
    trials = [str(row["trial"]) for row in tables.read(RunFolder.existing(study_run).trials)]
    done = subprocess.run(
        [sys.executable, "-c", AGAIN, study_run, *trials], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    matches = re.findall(r"^match: all \d+ reports of trial (\d+), bit", done.stdout, re.MULTILINE)
    assert len(trials) == 4
    assert (matches, done.stdout.splitlines()[-1]) == (trials, "0")


def test_one_net_trains_again_to_the_same_bits(
    call_tensorflow: Job, one_run: tuple[Path, str]
) -> None:
    done = call_tensorflow("train", "--from", one_run[0] / "run", "--trial", 0)
    assert "match: all 5 reports of trial 0, bit for bit" in done.stdout


def test_a_trial_that_does_not_match_says_where(
    call_tensorflow: Job, one_run: tuple[Path, str], tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("study.json", "trials.parquet", "epochs.parquet"):
        (copy / name).write_bytes((one_run[0] / "run" / name).read_bytes())
    rows: list[dict[str, Any]] = pq.read_table(copy / "epochs.parquet").to_pylist()
    rows[3]["val_loss"] += 1e-7
    tables.write(RunFolder.at(copy).epochs, rows, tables.EPOCHS)
    done = call_tensorflow("train", "--from", copy, "--trial", 0)
    assert done.returncode == 1
    assert f"no match: val_loss at epoch 3 is {rows[3]['val_loss'] - 1e-7}" in done.stdout
    assert "the versions are equal" in done.stdout


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "the trial must be one of the run's 1 trials. Given: 5"),
        ({"data": {"sha256": "0" * 64}}, "the data must be those of the run, SHA-256 0000"),
    ],
)
def test_a_trial_that_cannot_be_trained_again_is_refused(
    call: Job, one_run: tuple[Path, str], tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("trials.parquet", "epochs.parquet"):
        (copy / name).write_bytes((one_run[0] / "run" / name).read_bytes())
    document = json.loads((one_run[0] / "run" / "study.json").read_text())
    document["data"] |= change.get("data", {})
    (copy / "study.json").write_text(json.dumps(document))
    done = call("train", "--from", copy, "--trial", 0 if change else 5)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_run_whose_data_moved_is_trained_again_where_they_lie_now(
    call_tensorflow: Job, call: Job, blobs: Path, tmp_path: Path
) -> None:
    before, after = tmp_path / "before.npz", tmp_path / "elsewhere" / "after.npz"
    before.write_bytes(blobs.read_bytes())
    out = tmp_path / "run"
    done = call_tensorflow("train", "--dataset", before, "--hidden-sizes", 8, "--out", out)
    assert done.returncode == 0, done.stderr
    after.parent.mkdir()
    before.rename(after)
    again = ("train", "--from", out, "--trial", 0)
    assert f"dataset '{before}'" in call(*again).stderr
    other = tmp_path / "other.npz"
    np.savez(other, x=np.load(after)["x"] + 1, y=np.load(after)["y"])
    refused = call(*again, "--dataset", other)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "the data must be those of the run" in refused.stderr
    done = call_tensorflow(*again, "--dataset", after)
    assert done.returncode == 0, done.stderr
    assert "match: all 2 reports of trial 0, bit for bit" in done.stdout


def test_a_net_that_is_stopped_keeps_its_reports_and_its_last_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []

    def show(report: Report) -> None:
        shown.append(report.epoch)
        if len(shown) == 3:
            raise KeyboardInterrupt  # as Ctrl-C does

    monkeypatch.setattr(train, "_print_report", show)
    # Another test of this process may have used TensorFlow, whose threads are then settled.
    monkeypatch.setattr("ffnet.training.devices.configure", lambda *_, **__: None)
    with pytest.raises(KeyboardInterrupt):
        train.main(["--hidden-sizes", "8", "--epochs", "9", "--out", str(tmp_path / "run")])
    assert "stopped: the reports and the last weights are kept in" in capsys.readouterr().out
    run = Run(tmp_path / "run")
    assert [row["status"] for row in run.trials().to_pylist()] == ["stopped"]
    assert run.epochs().column("epoch").to_pylist() == shown
    accuracy = run.epochs().column("val_accuracy").to_pylist()[-1]
    validation = load(Data()).validation
    predicted = run.load().predict(validation.x)
    assert (predicted == validation.y).mean() == pytest.approx(accuracy)
