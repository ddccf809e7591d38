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
import made_runs
from conftest import (
    Job,
    RunningRay,
    command_line,
    reports_of,
    rows_of,
    unpruned_study,
)
from ffnet.data.load import load
from ffnet.run import audit, confirm, ensembles, tables
from ffnet.run.folder import RunFolder
from ffnet.run.provenance import about
from ffnet.run.tables import Row, Status
from ffnet.spec.sections import Data
from s3_server import s3_server

pytestmark = pytest.mark.slow

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
def runs(tmp_path_factory: pytest.TempPathFactory, tune: Job) -> dict[bool, Any]:
    """Run a study twice: with right and with wrong test labels, which is confirmed at its end.

    Returns {wrong: (its run, what the command has printed)}. One worker trains all trials.
    """
    folder, found = tmp_path_factory.mktemp("again"), {}
    for poisoned in (False, True):
        data = parts(folder / f"data-{poisoned}.npz", poisoned)
        study = unpruned_study(folder / "study.toml", data, trials=4, epochs=3)
        run = folder / f"run-{poisoned}"
        flags = ["--concurrency", 1, *(["--confirm", "--ensemble", 6] if poisoned else [])]
        done = tune(study, "--out", run, *flags)
        assert done.returncode == 0, done.stderr
        found[poisoned] = run, done.stdout
    return found


@pytest.fixture(scope="module")
def run(runs: dict[bool, Any]) -> Path:
    """The run with right labels, which is not confirmed."""
    return Path(runs[False][0])


@pytest.fixture(scope="module")
def confirmed(runs: dict[bool, Any], run: Path, again: Job) -> dict[bool, Any]:
    """Confirm a copy of the run with right labels. {wrong: (the run, what was printed)}."""
    copy = shutil.copytree(run, run.with_name("confirmed"))
    done = again("confirm", copy, "--ensemble", 6)
    assert done.returncode == 0, done.stderr
    return {False: (copy, done.stdout), True: runs[True]}


def results(rows: list[Row], names: tuple[str, ...]) -> list[tuple[Any, ...]]:
    return sorted(tuple(row[name] for name in names) for row in rows)


def nets(run: Path) -> list[Row]:
    return confirm.read(RunFolder.at(run))


def looks(run: Path) -> list[Any]:
    return list(json.loads((run / "study.json").read_text()).get("test_looks", []))


# --- the test part -------------------------------------------------------------------------------


def test_wrong_test_labels_change_nothing_but_the_test_figures(
    run: Path, confirmed: dict[bool, Any]
) -> None:
    trials = ("trial", "status", "best_val_accuracy", "best_val_loss", "last_val_loss", "epochs")
    reports = ("trial", "step", "train_loss", "val_loss", "val_accuracy")
    other = confirmed[True][0]
    assert results(rows_of(other), trials) == results(rows_of(run), trials)
    assert results(reports_of(other), reports) == results(reports_of(run), reports)
    assert all(row["test_accuracy"] is None for one in (run, other) for row in rows_of(one))
    right, wrong = nets(confirmed[False][0]), nets(other)
    assert [[row[n] for n in RESULTS] for row in right] == [[r[n] for n in RESULTS] for r in wrong]
    for one, poisoned in zip(right, wrong, strict=True):
        assert (one["test_accuracy"] is None) == (not one["chosen"])
        if one["chosen"]:
            assert one["test_accuracy"] > 0.5 > poisoned["test_accuracy"]
    (ours,), (theirs,) = (ensembles.read(RunFolder.at(r)) for r in (confirmed[False][0], other))
    assert {n: v for n, v in ours.items() if n not in tables.TEST} == {
        n: v for n, v in theirs.items() if n not in tables.TEST
    }
    assert ours["test_accuracy"] > 0.5 > theirs["test_accuracy"]


def test_the_chosen_nets_are_tested_with_the_weights_of_their_best_epochs(
    confirmed: dict[bool, Any],
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


def test_an_ensemble_is_the_mean_of_nets_that_validation_has_chosen(
    confirmed: dict[bool, Any],
) -> None:
    run, printed = confirmed[False]
    (row,), rows = ensembles.read(RunFolder.at(run)), nets(run)
    study = json.loads((run / "study.json").read_text())["study"]
    data = np.load(study["data"]["dataset"])
    trials = {r["trial"]: r for r in rows_of(run)}
    test, validation = np.zeros((200, 3)), np.zeros((200, 3))
    for at, draws in zip(row["members"], row["draws"], strict=True):
        fit = ffnet.train(
            dataset=study["data"]["dataset"], epochs=int(rows[at]["best_epoch"]),
            seed=rows[at]["seed"], hidden_sizes=[64], batch_size=8,
            learning_rate=trials[rows[at]["trial"]]["learning_rate"],
            out=run.with_name(f"net-{at}"),
        )  # fmt: skip
        net = fit.load()
        test += draws * net.probabilities(data["x_test"]) / sum(row["draws"])
        validation += draws * net.probabilities(data["x_val"]) / sum(row["draws"])
    assert (row["look"], row["nets"], row["most"]) == (1, 15, 6)
    accuracy = (validation.argmax(axis=1) == data["y_val"]).mean()
    assert row["val_accuracy"] == pytest.approx(accuracy, abs=0.011)
    assert row["val_accuracy"] >= max(r["val_accuracy"] for r in rows)
    accuracy = (test.argmax(axis=1) == data["y_test"]).mean()
    assert row["test_accuracy"] == pytest.approx(accuracy, abs=0.011)
    loss = -np.log(test[np.arange(200), data["y_test"]]).mean()
    assert row["test_loss"] == pytest.approx(loss, rel=0.02)
    assert f"test accuracy of the ensemble: {row['test_accuracy']:.4f}, 95 % interval" in printed
    assert "(Wilson, 200 test examples)" in printed


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
    done = again("confirm", run, "--top", 1, "--again")
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
    assert {row["trial"] for row in rows} == {row["trial"] for row in best[:3]}
    seeds = {t: {r["seed"] for r in rows if r["trial"] == t} for t in {r["trial"] for r in rows}}
    assert all(len(of_trial) == 5 for of_trial in seeds.values())
    assert len(set.union(*seeds.values())) == 5
    assert not set.union(*seeds.values()) & {row["seed"] for row in rows_of(run)}
    assert "chosen by validation: trial" in printed
    assert "95 % interval" in printed


def test_an_interrupted_confirmation_leaves_the_run_as_it_was(
    run: Path, running_ray: RunningRay, tmp_path: Path
) -> None:
    run = shutil.copytree(run, tmp_path / "run")
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


def test_folds_hold_each_example_once_for_each_seed_also_in_a_bucket(
    run: Path, again: Job, call: Job
) -> None:
    with s3_server() as server:
        folder = RunFolder.at(server.uri("run"))
        for file in (folder.study, folder.trials, folder.epochs):
            with file.replacing() as opened:
                opened.write((run / file.name).read_bytes())
        done = again(
            "confirm", folder.place, "--top", 2, "--seeds", 2, "--folds", 3, "--ensemble", 4
        )
        assert done.returncode == 0, done.stderr
        rows, (ensemble,) = confirm.read(folder), ensembles.read(folder)
        refused = call("confirm", folder.place)
    assert len(rows) == 2 * 2 * 3
    assert {(row["fold"], row["folds"]) for row in rows} == {(0, 3), (1, 3), (2, 3)}
    assert all(row["status"] == Status.DONE for row in rows)
    assert len([row for row in rows if row["test_accuracy"] is not None]) == 2 * 3
    assert all(0.5 < row["test_accuracy"] <= 1 for row in rows if row["chosen"])
    assert "2 seeds × 3 folds" in done.stdout
    groups = {(rows[n]["trial"], rows[n]["seed"]) for n in ensemble["members"]}
    assert (ensemble["nets"], len(ensemble["members"])) == (12, 3 * len(groups))
    assert 0.5 < ensemble["test_accuracy"] <= 1
    assert f"ensemble of {3 * len(groups)} of the 12 nets" in done.stdout
    assert "corrected for folds" in done.stdout
    assert refused.returncode == 2
    assert "with 1 look" in refused.stderr


def test_tune_confirms_at_its_end(runs: dict[bool, Any], call: Job) -> None:
    run, printed = runs[True]
    assert "test accuracy of trial" in printed
    assert len(looks(run)) == 1
    study = run.with_name("study.toml")
    refused = call("tune", study, "--out", run, "--confirm", "--resume")
    assert refused.returncode == 2
    assert "--again" in refused.stderr


def test_tune_refuses_an_ensemble_without_a_confirmation(call: Job) -> None:
    for flags, words in (
        (["--ensemble", 5], "add --confirm"),
        (["--confirm", "--ensemble", 0], "from 2 to 1000 draws (--ensemble). Given: 0"),
    ):
        refused = call("tune", "digits", *flags)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert words in refused.stderr


def test_tune_says_that_it_does_not_confirm_a_study_that_failed(tmp_path: Path, call: Job) -> None:
    study = made_runs.study_of(budget={"trials": 1})
    rows, reports = made_runs.trials(study, ["failed"])
    run = made_runs.write(tmp_path / "run", study, rows, reports, **about(load(Data())))
    done = call("tune", run.study.place, "--out", run.place, "--resume", "--confirm")
    assert done.returncode == 1, done.stderr
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
    done = tune(study, "--out", folder / "run", "--concurrency", 1)
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


def test_python_gets_the_result_and_an_audit_notices_reports_that_differ(
    pruned: Path, running_ray: RunningRay, tmp_path: Path
) -> None:
    run = shutil.copytree(pruned, tmp_path / "run")
    folder = RunFolder.at(run)
    changed = [row | {"train_loss": row["train_loss"] * 1.5} for row in reports_of(run)]
    tables.write(folder.epochs, changed, tables.EPOCHS)
    script = tmp_path / "script.py"
    script.write_text(f"""
import ray
if __name__ == "__main__":
    ray.init(address={running_ray.address!r})
    import ffnet
    run = ffnet.Run({str(run)!r})
    found = run.confirm(top=2, seeds=2)
    print("chosen", found.chosen, found.test.count)
    audit = run.audit(trials=1)
    print("audited", audit.audited, *audit.lines())
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
    assert "audited 1 " in done.stdout
    assert "0 of 1 trained to the same bits" in done.stdout
    assert [row["matches"] for row in audit.read(folder)] == [False]
    assert "with 1 look" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--top", 9), r"--top must be from 1 to .* 4. Given: 9"),
        (("--seeds", 1), "--seeds must be from 2"),
        (("--folds", 1), "--folds must be from 2"),
        (("--ensemble", 1), "an ensemble has from 2 to 1000 draws"),
        (("--folds", 10**6), "--folds must be from 2"),
        (("--dataset", "mnist", "--data-dir", "/nowhere"), "must be a folder"),
        (("--dataset", "digits"), "the data must be those of the run"),
    ],
)
def test_what_cannot_be_confirmed_is_refused_in_one_line(
    run: Path, call: Job, words: tuple[Any, ...], message: str
) -> None:
    done = call("confirm", run, *words)
    assert done.returncode == 2
    assert re.search(message, done.stderr)
    assert done.stderr.count("\n") == 1
    assert not (run / "confirm.parquet").exists()


def test_a_run_without_pruned_trials_has_nothing_to_audit(run: Path, call: Job) -> None:
    done = call("audit", run)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "an audit needs pruned trials" in done.stderr


def test_a_single_net_is_not_confirmed(tmp_path: Path, blobs: Path, call: Job) -> None:
    ffnet.train(dataset=str(blobs), hidden_sizes=[4], out=tmp_path / "net")
    for name in ("confirm", "audit"):
        done = call(name, tmp_path / "net")
        assert done.returncode == 2
        assert "a run of `ffnet tune` is needed" in done.stderr
