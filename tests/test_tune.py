"""Whole studies on a real local Ray: the command line and the run's folder."""

import contextlib
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import zipfile
from collections import Counter
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest

import ffnet
from conftest import (
    ROOT,
    Job,
    command_line,
    processes_with,
    reports_of,
    rows_of,
    token_of,
    unpruned_study,
    wait_for,
)
from ffnet.run import checkpoints, ledger, ranking, tables
from ffnet.run.folder import RunFolder
from ffnet.run.ledger import Ledger
from ffnet.run.study_files import read_study
from ffnet.spec.study import Study
from ffnet.spec.validation import validated
from ffnet.tuning.search import sample

TOO_WIDE = "[2000000000, 2000000000]"  # no machine has the memory for their weights
ONE_WORKER = ("--concurrency", 1)
"""For studies where trials need not run in parallel: only one process imports TensorFlow."""

DIGITS = ROOT / "jobs" / "studies" / "digits.toml"


def read(out: Path) -> Study:
    return validated(Study, read_study(str(out / "study.json")), "study.json")


def accounted(out: Path, cores: int) -> Ledger:
    """Check that every core-second of a study is in one part of its ledger, and return it."""
    found, rows = ffnet.Run(out).ledger(), rows_of(out)
    assert (found.note, found.cores) == (None, cores)
    assert sum(v or 0 for v in found.parts.values()) == pytest.approx(found.total)
    assert found.total == pytest.approx((found.wall_seconds or 0) * cores)
    trained = max(row["ended_at"] for row in rows) - min(row["started_at"] for row in rows)
    assert (found.wall_seconds or 0) > trained.total_seconds()
    for name, column in ledger.MEASURED.items():
        assert found.parts[name] == pytest.approx(sum(row[column] for row in rows))
    assert (found.parts["lost"], found.parts["in progress"]) == (0, 0)
    assert (found.parts["start-up"] or 0) > 0
    return found


def statuses(out: Path) -> Counter[str]:
    return Counter(row["status"] for row in rows_of(out))


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command_line("tune", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that a signal reaches the driver alone
    )


@pytest.fixture
def long_study(tmp_path: Path, blobs: Path) -> Path:
    """Write a study that reports often and does not end during a test."""
    path = tmp_path / "long.toml"
    return unpruned_study(path, blobs, trials=2, epochs=100_000, net="hidden_sizes = 256")


# --- a study from end to end -------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, job: Job) -> tuple[Path, str]:
    """Run the study of the digits once. Returns its folder and what it printed."""
    out = tmp_path_factory.mktemp("digits") / "run"
    done = job("tune", DIGITS, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return out, done.stdout


def test_the_embedded_study_finds_good_nets_and_prunes_weak_ones(
    digits: tuple[Path, str],
) -> None:
    rows = rows_of(digits[0])
    assert [row["trial"] for row in sorted(rows, key=lambda r: r["trial"])] == list(range(32))
    assert max(row["best_val_accuracy"] for row in rows) >= 0.97
    count = statuses(digits[0])
    assert count["pruned"] >= 32 / 3
    assert count["done"] >= 1
    assert count["done"] + count["pruned"] == 32


def test_rows_agree_with_their_reports(digits: tuple[Path, str]) -> None:
    reports = reports_of(digits[0])
    for row in rows_of(digits[0]):
        own = sorted((r for r in reports if r["trial"] == row["trial"]), key=lambda r: r["step"])
        assert row["epochs"] == own[-1]["epoch"]
        assert row["last_val_accuracy"] == own[-1]["val_accuracy"]
        assert row["best_val_accuracy"] == max(r["val_accuracy"] for r in own)
        assert row["best_val_loss"] == min(r["val_loss"] for r in own)
        best = next(r for r in own if r["val_accuracy"] == row["best_val_accuracy"])
        assert row["best_val_accuracy_epoch"] == best["epoch"]
        assert row["train_seconds"] == pytest.approx(sum(r["train_seconds"] for r in own))
        assert (row["epochs"] == 30) == (row["status"] == "done")
        assert (row["reason"] is None) == (row["status"] == "done")
        for name in ("queue_seconds", "setup_seconds", "evaluate_seconds", "report_seconds"):
            assert row[name] >= 0
        assert row["ended_at"] >= row["started_at"]
        assert row["seed"] >= 0
        assert row["node"]
        assert row["worker_memory"] > 1e8


def test_every_core_second_of_the_study_is_accounted_for(digits: tuple[Path, str]) -> None:
    out, printed = digits
    found = accounted(out, cores=len(os.sched_getaffinity(0)))
    assert (found.parts["idle"] or 0) > 0
    assert found.line() in " ".join(printed.split())  # pytest-xdist may set a width


def test_workers_are_reused(digits: tuple[Path, str]) -> None:
    rows = rows_of(digits[0])
    assert len({row["worker"] for row in rows}) <= len(os.sched_getaffinity(0))


def test_the_end_of_a_study_says_what_happened_and_what_to_type(digits: tuple[Path, str]) -> None:
    out, printed = digits
    assert printed.startswith("digits: 1,257/270/270 train/validation/test")
    assert re.search(r"32 trials: .*\d+ pruned", printed)
    assert f"results: {out}" in printed
    best = max(row["best_val_accuracy"] for row in rows_of(out))
    assert f"{best:.4f}" in printed
    command = next(line for line in printed.splitlines() if line.startswith("next:"))
    table = subprocess.run(
        shlex.split(command.removeprefix("next:")), capture_output=True, text=True, check=True
    )
    assert f"{best:.4f}" in table.stdout
    assert "\x1b" not in printed  # not a terminal: no control codes


def test_study_json_tells_what_was_run_and_the_folder_holds_nothing_else(
    digits: tuple[Path, str],
) -> None:
    out = digits[0]
    document = json.loads((out / "study.json").read_text())
    assert document["study"]["tuning"]["reduction_factor"] == 3  # the default is written out
    assert document["study"]["seed"] == 0
    assert document["versions"]["ray"] == "2.60.0"
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", document["commit"])
    assert document["data"]["sha256"]
    begun = datetime.fromisoformat(document["started_at"])
    assert all(row["started_at"] > begun for row in rows_of(out))
    names = {path.name for path in out.iterdir()}
    assert names == {"study.json", "trials.parquet", "epochs.parquet", "ray.log", "checkpoints"}


def test_checkpoints_of_the_best_five_remain(digits: tuple[Path, str]) -> None:
    kept = {int(path.stem[:5]) for path in (digits[0] / "checkpoints").iterdir()}
    ordered = ranking.ranked(rows_of(digits[0]), "best_val_accuracy", descending=True)
    fifth = ordered[4]["best_val_accuracy"]
    assert len(kept) == 5
    assert all(r["best_val_accuracy"] >= fifth for r in ordered if r["trial"] in kept)
    saved = checkpoints.load(RunFolder.existing(digits[0]).checkpoint(kept.pop()))
    assert saved.reports[-1]["step"] == saved.step > 0
    assert saved.arrays[0].shape[0] == 64


# --- searches and schedulers -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["hyperband", "median"])
def test_other_schedulers_prune_and_account_for_every_trial(
    scheduler: str, tune: Job, small_study: Path, tmp_path: Path
) -> None:
    done = tune(
        small_study, "--out", tmp_path / "run", "--scheduler", scheduler,
        "--trials", 12, "--epochs", 9, "--learning-rate", "{log_uniform = [1e-5, 1e-1]}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    count = statuses(tmp_path / "run")
    assert count.total() == 12
    assert count["pruned"] >= 1
    assert count["pruned"] + count["done"] == 12
    for row in rows_of(tmp_path / "run"):  # each epoch once, even if a trial was paused
        own = [r["epoch"] for r in reports_of(tmp_path / "run") if r["trial"] == row["trial"]]
        assert sorted(own) == list(range(1, int(row["epochs"]) + 1))
    accounted(tmp_path / "run", cores=2)


@pytest.mark.slow
def test_population_based_training_hands_on_weights_and_changes_rates(
    tune: Job, call: Job, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    done = tune(
        DIGITS, "--out", out, "--scheduler", "pbt", "--perturbation-epochs", 2,
        "--trials", 6, "--epochs", 9, "--hidden-sizes", 32, "--report-steps", 40,
        "--learning-rate", "{log_uniform = [1e-5, 1.0]}", "--dropout", "{uniform = [0.0, 0.5]}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows, reports = {r["trial"]: r for r in rows_of(out)}, reports_of(out)
    assert statuses(out) == {"done": 6}
    followers = [row for row in rows.values() if row["parent"] is not None]
    assert followers
    for row in rows.values():
        own = sorted((r for r in reports if r["trial"] == row["trial"]), key=lambda r: r["step"])
        assert own[-1]["epoch"] == 9
        assert own[-1]["learning_rate"] == row["learning_rate"]
        assert own[-1]["dropout"] == row["dropout"]
        rates = {r["learning_rate"] for r in own}
        assert len(rates) >= 2 or row not in followers
        assert all(1e-5 <= rate <= 1.0 for rate in rates)
    spread = [sample(read(out), n).training.learning_rate for n in rows]
    weakest = min(rows, key=lambda n: spread[n])  # a rate of about 1e-5 learns nothing by itself
    assert rows[weakest]["parent"] is not None
    assert rows[weakest]["last_val_accuracy"] > 0.5
    accounted(out, cores=2)
    again = call("train", "--from", out, "--trial", followers[0]["trial"])
    assert again.returncode == 2
    assert f"took over weights of trial {followers[0]['parent']} (pbt)" in again.stderr


@pytest.mark.slow
def test_tpe_search_on_the_loss(tune: Job, small_study: Path, tmp_path: Path) -> None:
    flags = ["--search", "tpe", "--metric", "val_loss", *ONE_WORKER]
    done = tune(small_study, "--out", tmp_path / "run", *flags)
    assert done.returncode == 0, done.stderr
    assert statuses(tmp_path / "run").total() == 6
    printed = [
        float(line.split()[-5])  # best_val_loss
        for line in done.stdout.splitlines()
        if "pruned  " in line or "done  " in line
    ]
    assert len(printed) == 5
    assert printed == sorted(printed)  # the best by loss come first


# --- trials that go wrong ----------------------------------------------------------------------


@pytest.mark.slow
def test_a_grid_runs_every_point_though_trials_diverge_and_fail(
    tune: Job, call: Job, small_study: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    small_study.write_text(small_study.read_text().replace("trials = 6\n", ""))
    grid = [
        "--search", "grid", "--hidden-sizes", f"{{choice = [8, {TOO_WIDE}]}}",
        "--learning-rate", "{choice = [1e-2, 1e30]}", "--batch-size", "4", *ONE_WORKER,
    ]  # fmt: skip
    done = tune(small_study, "--out", out, *grid)
    assert done.returncode == 1  # more failed than allowed
    rows = {(r["hidden_sizes"] == [8], r["learning_rate"]): r for r in rows_of(out)}
    assert rows.keys() == {(narrow, rate) for narrow in (True, False) for rate in (1e-2, 1e30)}
    assert len(rows_of(out)) == 4
    assert rows[True, 1e-2]["status"] == "done"
    diverged = rows[True, 1e30]
    assert diverged["status"] == "diverged"
    assert re.search("loss (nan|inf) after step", diverged["reason"])
    assert diverged["best_val_accuracy"] is None
    for rate in (1e-2, 1e30):
        failed = rows[False, rate]
        assert failed["status"] == "failed"
        assert failed["reason"]
        path = out / "errors" / f"{failed['trial']:05d}.txt"
        assert failed["reason"].partition(":")[0] in path.read_text()
        assert "Traceback" in path.read_text()
    assert "tracebacks of failed trials" in done.stdout
    allowed = call("tune", small_study, "--out", out, *grid, "--max-failed", 2, "--resume")
    assert allowed.returncode == 0


# --- ends before the end -----------------------------------------------------------------------


@pytest.mark.slow
def test_a_trial_whose_worker_is_killed_goes_on_and_ctrl_c_stops_the_study(
    long_study: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    driver = start(long_study, "--out", out)
    try:
        victim = wait_for(lambda: next((r for r in rows_of(out) if r["epochs"] >= 3), None))
        os.kill(victim["worker"], signal.SIGKILL)

        def went_on() -> bool:
            running = {r["trial"]: r["epochs"] for r in rows_of(out)}
            own = [r for r in reports_of(out) if r["trial"] == victim["trial"]]
            both = len(running) == 2 and min(running.values()) >= 2
            return both and any(r["worker"] != victim["worker"] for r in own)

        wait_for(went_on)
        os.kill(driver.pid, signal.SIGINT)
        printed, _ = driver.communicate(timeout=60)
    finally:
        driver.kill()
    assert driver.returncode == os.EX_TEMPFAIL
    assert "stopping: trials save their state; again to quit now" in printed
    assert "ended early: stopped by SIGINT" in printed
    (resume,) = (line for line in printed.splitlines() if line.startswith("go on:"))
    assert shlex.split(resume)[-3:] == ["--out", str(out), "--resume"]
    rows = {row["trial"]: row for row in rows_of(out)}
    assert {(r["status"], r["reason"]) for r in rows.values()} == {("stopped", "stopped by SIGINT")}
    assert len(rows) == 2
    # Whoever is killed while it writes a file leaves a hidden part of it.
    names = {path.stem[:5] for path in (out / "checkpoints").glob("[0-9]*")}
    assert names == {f"{number:05d}" for number in rows}
    own = [r for r in reports_of(out) if r["trial"] == victim["trial"]]
    last = int(rows[victim["trial"]]["epochs"])
    assert [r["epoch"] for r in sorted(own, key=lambda r: r["step"])] == list(range(1, last + 1))
    workers = {r["worker"] for r in own}
    assert victim["worker"] in workers
    assert len(workers) == 2
    again = [r["epoch"] for r in own if r["worker"] != victim["worker"]]
    assert min(again) > 3  # not from the start


@pytest.mark.slow
def test_wall_time_stops_the_study(tune: Job, long_study: Path, tmp_path: Path) -> None:
    """This depends on timing: trials must begin within the wall time, which starts after Ray."""
    done = tune(long_study, "--out", tmp_path / "run", "--wall-seconds", 15, *ONE_WORKER)
    assert done.returncode == 1
    assert "ended early: wall_seconds (15) were over" in done.stdout
    assert "go on:   " in done.stdout
    assert set(statuses(tmp_path / "run")) == {"stopped"}


# --- where it runs -----------------------------------------------------------------------------


@pytest.mark.slow
def test_two_studies_at_once_one_of_them_in_a_terminal(small_study: Path, tmp_path: Path) -> None:
    """Their folders have spaces and letters. Neither study leaves a token or a process."""
    default = Path.home() / ".ray" / "auth_token"  # Ray's own place for a token
    had_token = default.exists()
    outs = [tmp_path / name for name in ("erster Lauf – größer", "第二 'run'")]
    terminal, inside = pty.openpty()
    shown, piped = (
        subprocess.Popen(
            command_line("tune", small_study, "--out", out, *ONE_WORKER),
            stdout=stream, stderr=stream,
        )
        for out, stream in zip(outs, (inside, subprocess.PIPE), strict=True)
    )  # fmt: skip
    os.close(inside)
    tokens = [wait_for(partial(token_of, driver.pid)) for driver in (shown, piped)]
    for token in tokens:
        assert token.stat().st_mode & 0o777 == 0o600
        wait_for(partial(processes_with, str(token)))
    screen = b""
    with contextlib.suppress(OSError):  # how a terminal ends
        while chunk := os.read(terminal, 4096):
            screen += chunk
    os.close(terminal)
    printed, errors = piped.communicate(timeout=200)
    assert (shown.wait(timeout=60), piped.returncode, errors) == (0, 0, b"")
    for out, text in zip(outs, (screen.decode(), printed.decode()), strict=True):
        assert statuses(out).total() == 6
        assert "6 trials:" in text
        assert f"results: {out}" in text
        for word in ("Configuration for experiment", "Trial pid", "oneDNN", "WARNING"):
            assert word not in text
    assert b"\x1b[2K" in screen  # the line is drawn over
    assert b"0/6 trials (" in screen
    assert not any(token.exists() for token in tokens)
    wait_for(lambda: not any(processes_with(str(token)) for token in tokens), seconds=20)
    assert default.exists() == had_token


@pytest.mark.slow
def test_a_gpu_that_tensorflow_does_not_see_fails_each_trial(
    tune: Job, small_study: Path, tmp_path: Path
) -> None:
    """A trial with a share of a GPU runs on the node that has a GPU for Ray, and says so there."""
    out = tmp_path / "run"
    done = tune(small_study, "--out", out, "--trials", 2, "--gpus", 0.5, *ONE_WORKER)
    assert done.returncode == 1
    rows = rows_of(out)
    assert {row["status"] for row in rows} == {"failed"}
    assert len(rows) == 2
    assert all("gpus = 0.5 needs a TensorFlow that sees a GPU" in row["reason"] for row in rows)


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--learning-rate", "-1"], "--learning-rate: input should be greater than 0. Given: -1"),
        (
            ["--learning-rate", "nan"],
            "--learning-rate: input should be a finite number. Given: nan",
        ),
        (["--hidden-sizes", "0"], "greater than or equal to 1. Given: 0"),
        (["--hidden-sizes", "8", "--learning-rate", "0.1"], "the search space is empty"),
        (["--grace-epochs", "4"], "asha can prune nothing unless grace_epochs < epochs"),
        (["--dataset", "nowhere.npz"], "dataset 'nowhere.npz' is neither a path nor"),
        (["--cpus", "4096"], "a trial must fit on one node. Given: 4096 CPUs"),
        (["--metric", "test_accuracy"], "'val_accuracy', 'val_loss', 'val_bal"),
        (["--out", "/proc/run"], "results folder must be writable"),
        (["--address", "127.0.0.1:1"], "address must be a running Ray cluster"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    call: Job, small_study: Path, tmp_path: Path, flags: list[str], words: str
) -> None:
    out = tmp_path / "run"
    done = call("tune", small_study, *(["--out", out] if "--out" not in flags else []), *flags)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize("flags", [["--address", "local"], []])
def test_rays_word_for_a_ray_of_ones_own_is_understood(
    call: Job, small_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    addresses = []

    def run_study(*given: Any, **_: Any) -> NoReturn:
        addresses.append(given[2])
        raise KeyboardInterrupt

    monkeypatch.setattr("ffnet.tuning.driver.run_study", run_study)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    call("tune", small_study, "--out", tmp_path / "run", *flags)
    assert addresses == [None]


@pytest.mark.parametrize("begins", [True, False])
def test_a_second_signal_leaves_the_command_that_goes_on_where_a_trial_had_begun(
    call: Job, small_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begins: bool
) -> None:
    def run_study(*given: Any, **_: Any) -> NoReturn:
        rows = [{"trial": 0, "status": "stopped"}] if begins else []
        tables.write(given[4].folder.trials, rows, tables.TRIALS)
        raise KeyboardInterrupt

    monkeypatch.setattr("ffnet.tuning.driver.run_study", run_study)
    out = tmp_path / "a run"
    last = call("tune", small_study, "--out", out).stdout.splitlines()[-1]
    if begins:
        assert last.startswith("go on:")
        assert shlex.split(last)[-5:] == ["tune", str(small_study), "--out", str(out), "--resume"]
    else:
        assert last == "stopped before the first trial: nothing is kept"
    assert out.exists() == begins


@pytest.mark.slow
def test_gpus_that_no_node_has_are_one_line(tune: Job, small_study: Path, tmp_path: Path) -> None:
    done = tune(small_study, "--out", tmp_path / "run", "--gpus", 2)
    assert done.returncode == 2
    assert "a trial must fit on one node. Given: 1 CPUs, 2 GPUs" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_unknown_key_in_the_file_lists_the_valid_ones(
    call: Job, small_study: Path, tmp_path: Path
) -> None:
    small_study.write_text(small_study.read_text().replace("trials = 6", "trails = 6"))
    done = call("tune", small_study, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "small.toml: unknown key 'trails' in [budget] (did you mean trials?)" in done.stderr


def test_damaged_data_is_one_line(call: Job, small_study: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(tmp_path / "cut.npz")
    out = tmp_path / "run"
    done = call("tune", small_study, "--out", out, "--dataset", tmp_path / "cut.npz")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "cut.npz: cannot be read as npz" in done.stderr
    assert not out.exists()


def test_a_folder_of_another_study_is_not_written_over(
    digits: tuple[Path, str], call: Job, small_study: Path
) -> None:
    before = {p: p.read_bytes() for p in digits[0].rglob("*") if p.is_file()}
    done = call("tune", small_study, "--out", digits[0])
    assert done.returncode == 2
    assert "holds another study" in done.stderr
    assert {p: p.read_bytes() for p in digits[0].rglob("*") if p.is_file()} == before
