"""Nets of a run trained again under a real Ray: `ffnet confirm` and `ffnet audit`."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ffnet
from conftest import (
    Job,
    RunningRay,
    command_line,
    reports_of,
    rows_of,
    unpruned_study,
)
from ffnet.run import audit, confirm, tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row, Status
from s3_server import s3_server

RESULTS = ("trial", "seed", "fold", "best_epoch", "val_accuracy", "val_loss", "status", "chosen")


@pytest.fixture(scope="module")
def again(running_ray: RunningRay, job: Job) -> Job:
    """Runs `ffnet confirm` or `ffnet audit` on the shared Ray: again("confirm", run, …)."""

    def run(name: str, *words: object) -> subprocess.CompletedProcess[str]:
        environment = os.environ | running_ray.environment
        return job(name, *words, "--address", running_ray.address, env=environment)

    return run


def parts(path: Path, poisoned: bool) -> Path:
    """Write noisy data with all three parts. In poisoned data, the test labels are wrong."""
    random = np.random.default_rng(0)
    y = np.arange(900) % 3
    x = random.normal(size=(900, 6)) + np.eye(3)[y] @ random.normal(size=(3, 6))
    labels = (y[700:] + poisoned) % 3
    np.savez(
        path, x_train=x[:500], y_train=y[:500], x_val=x[500:700], y_val=y[500:700],
        x_test=x[700:], y_test=labels,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tune: Job) -> dict[bool, Path]:
    """Run a study twice: with right and with wrong test labels. {wrong: its run}."""
    folder, found = tmp_path_factory.mktemp("again"), {}
    for poisoned in (False, True):
        data = parts(folder / f"data-{poisoned}.npz", poisoned)
        study = unpruned_study(folder / "study.toml", data, trials=3, epochs=3)
        found[poisoned] = folder / f"run-{poisoned}"
        done = tune(study, "--out", found[poisoned])
        assert done.returncode == 0, done.stderr
    return found


@pytest.fixture(scope="module")
def confirmed(runs: dict[bool, Path], again: Job) -> dict[bool, Any]:
    """Confirm copies of both runs. {wrong: (the copy, what the command has printed)}."""
    found = {}
    for poisoned, run in runs.items():
        copy = shutil.copytree(run, run.with_name(f"{run.name}-confirmed"))
        done = again("confirm", copy, "--top", 2, "--seeds", 2)
        assert done.returncode == 0, done.stderr
        found[poisoned] = copy, done.stdout
    return found


def results(rows: list[Row], names: tuple[str, ...]) -> list[tuple[Any, ...]]:
    return sorted(tuple(row[name] for name in names) for row in rows)


def nets(run: Path) -> list[Row]:
    return confirm.read(RunFolder.at(run))


def looks(run: Path) -> list[Any]:
    return list(json.loads((run / "study.json").read_text()).get("test_looks", []))


# --- the test part -------------------------------------------------------------------------------


def test_wrong_test_labels_change_nothing_but_the_test_figures(
    runs: dict[bool, Path], confirmed: dict[bool, Any]
) -> None:
    trials = ("trial", "status", "best_val_accuracy", "best_val_loss", "last_val_loss", "epochs")
    reports = ("trial", "step", "train_loss", "val_loss", "val_accuracy")
    assert results(rows_of(runs[True]), trials) == results(rows_of(runs[False]), trials)
    assert results(reports_of(runs[True]), reports) == results(reports_of(runs[False]), reports)
    assert all(row["test_accuracy"] is None for run in runs.values() for row in rows_of(run))
    right, wrong = nets(confirmed[False][0]), nets(confirmed[True][0])
    assert [[row[n] for n in RESULTS] for row in right] == [[r[n] for n in RESULTS] for r in wrong]
    for one, other in zip(right, wrong, strict=True):
        assert (one["test_accuracy"] is None) == (not one["chosen"])
        if one["chosen"]:
            assert one["test_accuracy"] > 0.5 > other["test_accuracy"]


def test_the_chosen_nets_are_tested_with_the_weights_of_their_best_epochs(
    confirmed: dict[bool, Any], runs: dict[bool, Path]
) -> None:
    run = confirmed[False][0]
    row = next(row for row in nets(run) if row["chosen"])
    study = json.loads((run / "study.json").read_text())["study"]
    trial = next(r for r in rows_of(run) if r["trial"] == row["trial"])
    fit = ffnet.train(
        dataset=study["data"]["dataset"], epochs=int(row["best_epoch"]), seed=row["seed"],
        hidden_sizes=[64], batch_size=8, learning_rate=trial["learning_rate"],
        evaluate_test=True, out=run.with_name("fit"),
    )  # fmt: skip
    expected = fit.trials().to_pylist()[0]
    assert row["val_accuracy"] == pytest.approx(expected["last_val_accuracy"], abs=0.011)
    assert row["test_accuracy"] == pytest.approx(expected["test_accuracy"], abs=0.011)


def test_a_look_is_recorded_and_a_second_is_refused_unless_asked_for(
    confirmed: dict[bool, Any], again: Job, call: Job, tmp_path: Path
) -> None:
    run = shutil.copytree(confirmed[False][0], tmp_path / "run")
    first = nets(run)
    assert [look["trial"] for look in looks(run)] == [r["trial"] for r in first if r["chosen"]][:1]
    refused = call("confirm", run, "--top", 1)
    assert refused.returncode == 2
    assert "--again" in refused.stderr
    assert refused.stderr.count("\n") == 1
    done = again("confirm", run, "--top", 1, "--seeds", 2, "--again")
    assert done.returncode == 0, done.stderr
    assert "look 2 at the test part" in done.stdout
    assert len(looks(run)) == 2
    assert nets(run)[: len(first)] == first
    second = nets(run)[len(first) :]
    assert {row["look"] for row in second} == {2}
    same = [row for row in first if row["chosen"]]
    assert results(second, (*RESULTS, "test_accuracy")) == results(
        same, (*RESULTS, "test_accuracy")
    )


def test_the_nets_have_fresh_seeds_which_configurations_share(confirmed: dict[bool, Any]) -> None:
    run, printed = confirmed[False]
    rows = nets(run)
    best = sorted(rows_of(run), key=lambda row: (-row["best_val_accuracy"], row["trial"]))
    assert {row["trial"] for row in rows} == {row["trial"] for row in best[:2]}
    seeds = {t: {r["seed"] for r in rows if r["trial"] == t} for t in {r["trial"] for r in rows}}
    assert all(len(of_trial) == 2 for of_trial in seeds.values())
    assert len(set.union(*seeds.values())) == 2
    assert not set.union(*seeds.values()) & {row["seed"] for row in rows_of(run)}
    assert "chosen by validation: trial" in printed
    assert "95 % interval" in printed


def test_an_interrupted_confirmation_leaves_the_run_as_it_was(
    runs: dict[bool, Path], running_ray: RunningRay, tmp_path: Path
) -> None:
    run = shutil.copytree(runs[False], tmp_path / "run")
    before = {p.name: p.read_bytes() for p in run.iterdir() if p.is_file() and p.suffix != ".log"}
    words = command_line("confirm", run, "--seeds", 200, "--address", running_ray.address)
    with subprocess.Popen(
        words, env=os.environ | running_ray.environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as driver:  # fmt: skip
        assert driver.stdout
        while "nets trained" not in (line := driver.stdout.readline()):
            assert line, "the command ended"
        driver.send_signal(signal.SIGINT)
        output, errors = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "Traceback" not in errors
    after = {p.name: p.read_bytes() for p in run.iterdir() if p.is_file() and p.suffix != ".log"}
    assert after == before
    assert "not looked at" in output


def test_folds_hold_each_example_once_for_each_seed(
    runs: dict[bool, Path], again: Job, tmp_path: Path
) -> None:
    run = shutil.copytree(runs[False], tmp_path / "run")
    done = again("confirm", run, "--top", 2, "--seeds", 2, "--folds", 3)
    assert done.returncode == 0, done.stderr
    rows = nets(run)
    assert len(rows) == 2 * 2 * 3
    assert {(row["fold"], row["folds"]) for row in rows} == {(0, 3), (1, 3), (2, 3)}
    assert all(row["status"] == Status.DONE for row in rows)
    assert all(0.5 < row["test_accuracy"] <= 1 for row in rows if row["chosen"])
    assert "2 seeds × 3 folds" in done.stdout
    assert "corrected for folds" in done.stdout


def test_tune_confirms_at_its_end(tmp_path: Path, blobs: Path, tune: Job, call: Job) -> None:
    study = unpruned_study(tmp_path / "study.toml", blobs, trials=2, epochs=2)
    done = tune(study, "--out", tmp_path / "run", "--confirm")
    assert done.returncode == 0, done.stderr
    assert "test accuracy of trial" in done.stdout
    assert len(looks(tmp_path / "run")) == 1
    refused = call("tune", study, "--out", tmp_path / "run", "--confirm", "--resume")
    assert refused.returncode == 2
    assert "--again" in refused.stderr


@pytest.mark.slow
def test_tune_says_that_it_does_not_confirm_a_study_that_failed(
    tmp_path: Path, blobs: Path, tune: Job
) -> None:
    study = unpruned_study(
        tmp_path / "study.toml", blobs, trials=1, epochs=2,
        net="hidden_sizes = 64\nbatch_norm = true",
        training="batch_size = 839",
    )  # fmt: skip
    done = tune(study, "--out", tmp_path / "run", "--confirm")
    assert done.returncode == 1
    assert "not confirmed, because the study ended with exit status 1" in done.stdout
    assert looks(tmp_path / "run") == []


# --- the audit -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory, tune: Job) -> Path:
    """Run a study whose trials are pruned after an epoch or two, but for the best."""
    folder = tmp_path_factory.mktemp("pruned")
    data = parts(folder / "data.npz", poisoned=False)
    study = folder / "study.toml"
    study.write_text(
        f"""
data.dataset = "{data}"
net.hidden_sizes = 16
space.learning_rate = {{ log_uniform = [1e-3, 1e-1] }}
budget = {{ trials = 9, epochs = 4 }}
tuning = {{ grace_epochs = 1, reduction_factor = 2 }}
"""
    )
    done = tune(study, "--out", folder / "run")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_pruned_trials_are_trained_to_the_end_with_the_same_bits(pruned: Path, again: Job) -> None:
    before = {row["trial"]: row for row in rows_of(pruned) if row["status"] == Status.PRUNED}
    assert len(before) >= 2
    done = again("audit", pruned, "--trials", 2)
    assert done.returncode == 0, done.stderr
    rows = audit.read(RunFolder.at(pruned))
    assert len(rows) == 2
    best = max(row["best_val_accuracy"] for row in rows_of(pruned))
    for row in rows:
        assert row["matches"] is True
        assert (row["status"], row["epochs"]) == (Status.DONE, 4)
        assert row["pruned_epoch"] == before[row["trial"]]["epochs"] < 4
        assert row["best_val_accuracy"] >= before[row["trial"]]["best_val_accuracy"]
        assert row["gain"] == pytest.approx(row["best_val_accuracy"] - best)
    assert "until they were pruned, 2 of 2 trained to the same bits" in done.stdout
    assert looks(pruned) == []


def test_an_audit_notices_reports_that_differ(pruned: Path, again: Job, tmp_path: Path) -> None:
    run = shutil.copytree(pruned, tmp_path / "run")
    folder = RunFolder.at(run)
    changed = [row | {"train_loss": row["train_loss"] * 1.5} for row in reports_of(run)]
    tables.write(folder.epochs, changed, tables.EPOCHS)
    done = again("audit", run, "--trials", 1)
    assert done.returncode == 0, done.stderr
    assert "0 of 1 trained to the same bits" in done.stdout
    assert [row["matches"] for row in audit.read(folder)] == [False]


@pytest.mark.slow
def test_a_run_in_a_bucket_is_confirmed_there(runs: dict[bool, Path], again: Job) -> None:
    with s3_server() as server:
        folder = RunFolder.at(server.uri("run"))
        for file in (folder.study, folder.trials, folder.epochs):
            with file.replacing() as opened:
                opened.write((runs[False] / file.name).read_bytes())
        done = again("confirm", folder.place, "--top", 2, "--seeds", 2)
        assert done.returncode == 0, done.stderr
        rows = confirm.read(folder)
        assert len(rows) == 4
        assert len([row for row in rows if row["test_accuracy"] is not None]) == 2
        refused = again("confirm", folder.place)
        assert refused.returncode == 2
        assert "with 1 look" in refused.stderr


def test_a_net_that_hangs_fails_and_the_others_are_trained(
    running_ray: RunningRay, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"""
import os, threading, time
from types import SimpleNamespace
import ray
from ffnet.spec.sections import Budget, Resources
from ffnet.tuning import again

class Worker:
    def __init__(self, *_): pass
    def ready(self): yield None
    def train(self, job):
        if job.config.number == 1:
            yield None
            threading.Event().wait()
        for _ in range(8):
            time.sleep(0.25)
            yield None
        yield "weights"
        yield "trained"

if __name__ == "__main__":
    ray.init(address={running_ray.address!r})
    again._Worker, again.LOOK_SECONDS = Worker, 0.1
    study = SimpleNamespace(resources=Resources(), budget=Budget(trial_timeout_seconds=1))
    pool = again.Pool(SimpleNamespace(without_test=lambda: None), study, threads=1, slots=2)
    jobs = [again.Job(SimpleNamespace(seed=5, number=number)) for number in range(3)]
    for at, net, weights in pool.train(jobs):
        print(at, net.row["reason"] if at == 1 else (net, ray.get(weights)))
    pool.close()
    ray.shutdown()
""")
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=os.environ | running_ray.environment,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [
        "0 ('trained', 'weights')",
        "1 it reported nothing for 1 s (trial_timeout_seconds)",
        "2 ('trained', 'weights')",
    ]


# --- from Python, and refusals -------------------------------------------------------------------


def test_python_gets_the_result_and_keeps_its_ray(
    pruned: Path, running_ray: RunningRay, tmp_path: Path
) -> None:
    run = shutil.copytree(pruned, tmp_path / "run")
    script = tmp_path / "script.py"
    script.write_text(f"""
import ray
if __name__ == "__main__":
    ray.init(address={running_ray.address!r})
    import ffnet
    run = ffnet.Run({str(run)!r})
    found = run.confirm(top=2, seeds=2)
    print("chosen", found.chosen, found.test.count)
    print("audited", run.audit(trials=1).audited)
    try:
        run.confirm()
    except ffnet.InputError as error:
        print(error)
    assert ray.get(ray.put(7)) == 7
    ray.shutdown()
""")
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=os.environ | running_ray.environment,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    chosen = next(row["trial"] for row in nets(run) if row["chosen"])
    assert f"chosen {chosen} 2\n" in done.stdout
    assert "audited 1\n" in done.stdout
    assert "with 1 look" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--top", 9), r"--top must be from 1 to .* 3. Given: 9"),
        (("--seeds", 1), "--seeds must be from 2"),
        (("--folds", 1), "--folds must be from 2"),
        (("--folds", 10**6), "--folds must be from 2"),
        (("--dataset", "mnist", "--data-dir", "/nowhere"), "must be a folder"),
        (("--dataset", "digits"), "the data must be those of the run"),
    ],
)
def test_what_cannot_be_confirmed_is_refused_in_one_line(
    runs: dict[bool, Path], call: Job, words: tuple[Any, ...], message: str
) -> None:
    done = call("confirm", runs[False], *words)
    assert done.returncode == 2
    assert re.search(message, done.stderr)
    assert done.stderr.count("\n") == 1
    assert not (runs[False] / "confirm.parquet").exists()


def test_a_run_without_pruned_trials_has_nothing_to_audit(
    runs: dict[bool, Path], call: Job
) -> None:
    done = call("audit", runs[False])
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "an audit needs pruned trials" in done.stderr


def test_a_single_net_is_not_confirmed(tmp_path: Path, blobs: Path, call: Job) -> None:
    ffnet.train(dataset=str(blobs), hidden_sizes=[4], out=tmp_path / "net")
    for name in ("confirm", "audit"):
        done = call(name, tmp_path / "net")
        assert done.returncode == 2
        assert "a run of `ffnet tune` is needed" in done.stderr
