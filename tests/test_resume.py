"""A stopped or killed study continues: no trial is lost or doubled, and curves are the same."""

import json
import os
import shlex
import signal
import subprocess
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from conftest import Job, command_line, reports_of, rows_of, unpruned_study, wait_for
from ffnet.run import storage, tables
from ffnet.run.folder import RunFolder
from ffnet.run.past import Past
from ffnet.run.tables import Row
from ffnet.spec.study import Study
from ffnet.spec.validation import validated
from ffnet.tuning.losses import Losses
from ffnet.tuning.recorder import Recorder
from ffnet.tuning.search import StudySearch, sample
from test_same_net import assert_the_same_net

EPOCHS, TRIALS = 60, 5

ONE_WORKER = ("--concurrency", 1)
"""Studies that only give the figures to compare with: one process imports TensorFlow."""


@pytest.fixture(scope="module")
def study_file(tmp_path_factory: pytest.TempPathFactory, blobs: Path) -> Path:
    """Write a study of some seconds without pruning, so that every trial's curve is known."""
    path = tmp_path_factory.mktemp("study") / "five.toml"
    net, training = "hidden_sizes = 64\ndropout = 0.1", 'batch_size = 8\noptimizer = "adam"'
    return unpruned_study(path, blobs, TRIALS, EPOCHS, net, training)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, study_file: Path, tune: Job) -> Path:
    """Run the study without a break."""
    out = tmp_path_factory.mktemp("whole") / "run"
    done = tune(study_file, "--out", out, *ONE_WORKER)
    assert done.returncode == 0, done.stderr
    return out


def curves(out: Path) -> dict[tuple[int, float], tuple[float, float, float]]:
    return {
        (r["trial"], r["epoch"]): (r["train_loss"], r["val_loss"], r["val_accuracy"])
        for r in reports_of(out)
    }


@pytest.mark.parametrize(
    "sign", [pytest.param(signal.SIGUSR1, marks=pytest.mark.slow), signal.SIGKILL]
)
def test_a_study_goes_on_to_the_tables_of_one_without_a_break(
    sign: signal.Signals, study_file: Path, whole: Path, tune: Job, call: Job, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    driver = subprocess.Popen(
        command_line("tune", study_file, "--out", out, "--resume"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        wait_for(lambda: _half_way(rows_of(out)))
        live = call("table", out)  # while the study runs
        if sign == signal.SIGKILL:
            os.killpg(driver.pid, sign)
        else:
            os.kill(driver.pid, sign)
        driver.communicate(timeout=60)
    finally:
        driver.kill()
    before = rows_of(out)
    ended = {r["trial"] for r in before if r["status"] == "done"}
    assert 2 <= len(ended) < TRIALS
    assert "running" in live.stdout
    assert call("table", out).returncode == 0
    rest = "running" if sign == signal.SIGKILL else "stopped"
    assert {r["status"] for r in before} == {"done", rest}
    assert max(r["epoch"] for r in reports_of(out)) >= 2
    done = tune(study_file, "--out", out, "--resume", *ONE_WORKER)
    assert done.returncode == 0, done.stderr
    assert f"going on after {len(ended)} trials that have ended" in done.stdout
    after = {r["trial"]: r for r in rows_of(out)}
    assert sorted(after) == list(range(TRIALS))
    assert {r["status"] for r in after.values()} == {"done"}
    assert all(after[r["trial"]] == r for r in before if r["trial"] in ended)
    assert curves(out) == curves(whole)  # every epoch of every trial, once, to the same bits
    reports = reports_of(out)
    assert len(reports) == TRIALS * EPOCHS
    if sign == signal.SIGUSR1:  # what was under way went on, and did not begin again
        begun = next(r for r in before if r["status"] == "stopped" and r["epochs"] > 5)
        own = [r for r in reports if r["trial"] == begun["trial"]]
        assert len({r["worker"] for r in own}) == 2
        first = min(r["epoch"] for r in own if r["worker"] != begun["worker"])
        assert first > begun["epochs"]
    assert len(json.loads((out / "study.json").read_text())["resumed"]) == 1
    assert_the_same_net(out, call, tmp_path / "model")


def _half_way(begun: list[Row]) -> bool:
    """Whether some trials have ended and another trial is half trained."""
    done = Counter(row["status"] for row in begun)["done"] >= 2
    return done and any(r["status"] == "running" and r["epochs"] >= 10 for r in begun)


def test_a_study_that_has_ended_is_shown_once_more(
    study_file: Path, whole: Path, call: Job
) -> None:
    before = (whole / "trials.parquet").stat().st_mtime_ns, rows_of(whole)
    done = call("tune", study_file, "--out", whole, "--resume")
    assert done.returncode == 0, done.stderr
    assert f"nothing is left to train: all {TRIALS} trials have ended" in done.stdout
    assert f"{TRIALS} trials: {TRIALS} done" in done.stdout
    assert not (whole / "ray").exists()
    assert rows_of(whole) == before[1]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--epochs", "7"], "as many epochs as before or more. Given: epochs 7, before 60"),
        (["--trials", "3"], "as many trials as before or more. Given: trials 3, before 5"),
        (["--seed", "3"], "holds another study: seed is 0 there. Given: 3"),
        (["--learning-rate", "{uniform = [1e-3, 1e-2]}"], "another study: space.learning_rate is"),
        (["--validation", "100"], "holds another study: data.validation is None there"),
    ],
)
def test_another_study_is_not_mixed_in(
    flags: list[str], words: str, study_file: Path, whole: Path, call: Job
) -> None:
    before = rows_of(whole)
    done = call("tune", study_file, "--out", whole, "--resume", *flags)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert rows_of(whole) == before


def test_the_advice_for_another_study_continues_the_old_one(
    study_file: Path, whole: Path, call: Job
) -> None:
    refused = call("tune", study_file, "--out", whole, "--resume", "--seed", "3")
    advice = refused.stderr.rpartition("or continue that study: ffnet ")[2]
    done = call(*shlex.split(advice))
    assert done.returncode == 0, done.stderr
    assert "nothing is left to train" in done.stdout


def test_resume_needs_to_know_where(call: Job, study_file: Path) -> None:
    done = call("tune", study_file, "--resume")
    assert (done.returncode, done.stderr) == (
        2,
        "error: --resume needs --out with the folder of the run\n",
    )


# --- what a search and a scheduler are told ----------------------------------------------------

SPACE = {
    "optimizer": {"choice": ["sgd", "adam"]},
    "momentum": {"uniform": [0.5, 0.99], "when": {"optimizer": "sgd"}},
    "hidden_sizes": {"each": {"log_integer": [4, 9]}, "depth": {"integer": [1, 3]}},
    "dropout": {"uniform": [0.0, 0.5]},
    "learning_rate": [
        {"log_uniform": [1e-2, 1.0], "when": {"optimizer": "sgd"}},
        {"log_uniform": [1e-4, 1e-2], "when": {"optimizer": "adam"}},
    ],
}


def study(search: str = "random", trials: int = 12) -> Study:
    sections = {"space": SPACE, "tuning": {"search": search}, "budget": {"trials": trials}}
    return validated(Study, sections, "test")


def row(of: Study, number: int, status: str, **figures: Any) -> Row:
    config = sample(of, number)
    values = {k: v for k, v in config.hyperparameters().items() if v is not None}
    known = {"trial": number, "status": status, "seed": config.seed, "epochs": 8.0}
    return known | values | figures


def test_unfinished_trials_come_first_and_ended_ones_not_at_all() -> None:
    of = study()
    past = Past([row(of, 0, "done"), row(of, 1, "stopped"), row(of, 2, "failed")])
    search = StudySearch(of, past)
    drawn = [search.suggest(str(n)) for n in range(10)]
    trials = [d["trial"] for d in drawn if isinstance(d, dict)]
    assert [t["number"] for t in trials] == [1, *range(3, 12)]
    expected = sample(of, 1)
    assert trials[0]["seed"] == expected.seed
    assert trials[0]["training"] == expected.training.model_dump()
    assert trials[0]["net"]["hidden_sizes"] == expected.net.hidden_sizes


def test_a_report_of_which_no_row_knows_stays_in_the_table_until_it_comes_again(
    tmp_path: Path,
) -> None:
    """The driver is killed between writing epochs.parquet and writing trials.parquet."""
    of, folder = study(), RunFolder.at(tmp_path)
    storage.write_json(folder.study, {})
    at = datetime(2026, 1, 1, tzinfo=UTC)
    place = {"node": "n", "worker": 7, "worker_memory": 1}
    measured = {"train_seconds": 1.0, "evaluate_seconds": 1.0, "val_accuracy": 0.5}
    begun = {"trial": 0, "epoch": 1.0, "step": 10, "started_at": at, "reported_at": at}
    last = begun | measured | {"epoch": 2.0, "step": 20}
    known = row(of, 0, "running", epochs=1.0, val_accuracy=0.4)
    hold = SimpleNamespace(check=lambda: None, folder=folder)
    past = Past([known], [begun], undecided=[last])
    recorder = Recorder(of, cast(Any, hold), Losses(), past)
    assert [report["epoch"] for report in reports_at(folder)] == [1.0, 2.0]
    assert recorder.writer.rows[0]["epochs"] == 1.0
    times = {"started_at": at.isoformat(), "reported_at": at.isoformat()}
    again = last | place | times | {"status": "running", "again": True}
    trial = SimpleNamespace(config={"trial": {"number": 0}})
    recorder.on_trial_result(trial, again)
    recorder.writer.flush()
    assert [report["epoch"] for report in reports_at(folder)] == [1.0, 2.0]
    assert (recorder.writer.rows[0]["epochs"], recorder.writer.rows[0]["best_val_accuracy"]) == (
        2.0,
        0.5,
    )


def reports_at(folder: RunFolder) -> list[Row]:
    return tables.read(folder.epochs)


def test_a_folder_with_the_same_study_is_answered_with_resume(
    study_file: Path, whole: Path, call: Job
) -> None:
    before = rows_of(whole)
    for flags in ([], ["--max-failed", "3"], ["--cpus", "1"]):
        done = call("tune", study_file, "--out", whole, *flags)
        assert done.returncode == 2
        assert f"{whole} holds this study already: add --resume to continue it" in done.stderr
    done = call("tune", study_file, "--out", whole, "--seed", "9")
    assert "holds another study" in done.stderr
    assert rows_of(whole) == before
