"""A finished or stopped study takes more trials or epochs and keeps what it has."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mini_tune import Checkpoints, MiniTune

from conftest import Job, reports_of, rows_of, unpruned_study
from ffnet.data.dataset import DataSet
from ffnet.data.load import load
from ffnet.errors import InputError
from ffnet.run import past, provenance, recorded, storage
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row, Status
from ffnet.spec.sections import Data, Tuning
from ffnet.spec.study import Study
from ffnet.spec.validation import validated
from ffnet.tuning import driver
from ffnet.tuning.losses import Losses
from ffnet.tuning.progress import describe
from ffnet.tuning.recorder import Recorder
from ffnet.tuning.search import StudySearch

SPACE = {"learning_rate": {"uniform": [0.01, 1.0]}}
DROPPED = SPACE | {
    "dropout": {"fixed": 0.1},
    "dropout_schedule": {"choice": ["constant", "cosine"]},
}


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(Data())


def study(trials: int = 5, epochs: int = 4, scheduler: str = "none", **sections: Any) -> Study:
    values = {
        "space": SPACE,
        "tuning": {"scheduler": scheduler},
        "budget": {"trials": trials, "epochs": epochs},
    }
    return validated(Study, values | sections, "test")


def begun(of: Study, data: DataSet, place: Path, **options: Any) -> tuple[MiniTune, Checkpoints]:
    """Run a study to its end. Returns its folder and its checkpoints."""
    folder = RunFolder.at(place)
    storage.write_json(folder.study, provenance.new_study_json(of.resolved(), data, 1))
    checkpoints: Checkpoints = {}
    tune = MiniTune(of, folder, checkpoints, **options)
    tune.run()
    tune.recorder.finish()
    return tune, checkpoints


def figures(rows: dict[int, Row]) -> dict[int, tuple[Any, ...]]:
    names = ("status", "epochs", "best_val_accuracy", "best_val_accuracy_epoch", "last_val_loss")
    return {n: tuple(rows[n].get(name) for name in names) for n in sorted(rows)}


@pytest.mark.parametrize("search", ["random", "tpe"])
@pytest.mark.parametrize("scheduler", ["asha", "median", "none"])
def test_more_trials_are_those_that_the_larger_study_would_have_run(
    scheduler: str, search: str, digits: DataSet, tmp_path: Path
) -> None:
    tuning = {"scheduler": scheduler, "search": search}
    small, large = study(8, 9, tuning=tuning), study(20, 9, tuning=tuning)
    whole = MiniTune(large, RunFolder.at(tmp_path / "whole"), {}).run()
    _, checkpoints = begun(small, digits, tmp_path / "run")
    before = past.read(RunFolder.at(tmp_path / "run"), large, digits)
    assert before.left(large) == 12
    again = MiniTune(large, RunFolder.at(tmp_path / "run"), checkpoints, before)
    assert figures(again.run()) == figures(whole)
    assert {n for n, _ in again.steps} == set(range(8, 20))


@pytest.mark.parametrize("scheduler", ["asha", "median", "none"])
def test_more_epochs_train_the_survivors_on_to_where_the_longer_study_would_have(
    scheduler: str, digits: DataSet, tmp_path: Path
) -> None:
    short, long = study(12, 9, scheduler), study(12, 14, scheduler)
    first, checkpoints = begun(short, digits, tmp_path / "run")
    done = {n for n, row in first.recorder.writer.rows.items() if row["status"] == "done"}
    before = past.read(RunFolder.at(tmp_path / "run"), long, digits)
    assert {config.number for config in before.unfinished(long)} == done
    kept = set(checkpoints)
    again = MiniTune(long, RunFolder.at(tmp_path / "run"), checkpoints, before)
    rows = again.run()
    assert {n for n, row in rows.items() if row["epochs"] > 9} <= done
    assert all(rows[n]["status"] in ("done", "pruned") for n in done)
    assert {n: rows[n] for n in rows.keys() - done} == {
        n: row for n, row in again.recorder.writer.rows.items() if n not in done
    }
    assert all(
        epoch > 9 for n, epoch in again.steps if n in kept
    )  # they continued from their checkpoints
    assert {n for n, epoch in again.steps if epoch == 1} == done - kept  # the others began again
    if scheduler == "none":
        whole = MiniTune(long, RunFolder.at(tmp_path / "whole"), {}).run()
        assert figures(rows) == figures(whole)
        assert rows[0]["train_seconds"] == 14  # no second is counted twice


def test_trials_that_were_no_better_stay_done_when_the_study_gets_more_epochs(
    digits: DataSet, tmp_path: Path
) -> None:
    tuning = {"scheduler": "none", "patience_epochs": 2}
    short, long = study(12, 9, tuning=tuning), study(12, 14, tuning=tuning)
    first, checkpoints = begun(short, digits, tmp_path / "run")
    early = {n for n, row in first.recorder.writer.rows.items() if row["reason"]}
    assert 0 < len(early) < 12
    before = past.read(RunFolder.at(tmp_path / "run"), long, digits)
    assert not early & {config.number for config in before.unfinished(long)}
    rows = MiniTune(long, RunFolder.at(tmp_path / "run"), checkpoints, before).run()
    whole = MiniTune(long, RunFolder.at(tmp_path / "whole"), {}).run()
    assert figures(rows) == figures(whole)


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (study(5), study(4), "as many trials as before or more. Given: trials 4, before 5"),
        (study(5, 4), study(9, 3), "as many epochs as before or more. Given: epochs 3, before 4"),
        (study(9, 9, "hyperband"), study(12, 9, "hyperband"), "hyperband compares a set of trials"),
        (study(9, 9, "hyperband"), study(9, 12, "hyperband"), "cannot get more epochs"),
        (study(9, 9, "pbt"), study(9, 12, "pbt"), "pbt compares a set of trials"),
        (
            study(training={"schedule": "cosine"}),
            study(epochs=9, training={"schedule": "cosine"}),
            "schedule cosine ends at the last epoch",
        ),
        (
            study(space=SPACE | {"schedule": {"choice": ["constant", "cosine"]}}),
            study(epochs=9, space=SPACE | {"schedule": {"choice": ["constant", "cosine"]}}),
            "schedule cosine ends at the last epoch",
        ),
        *(
            (study(training=fields), study(epochs=9, training=fields), f"{name} {value} ends at")
            for name, value, fields in (
                ("schedule", "one_cycle", {"schedule": "one_cycle"}),
                ("schedule", "coslog4", {"schedule": "coslog4"}),
                (
                    "weight_decay_schedule",
                    "flat_cosine",
                    {"weight_decay_schedule": "flat_cosine", "weight_decay": 0.1},
                ),
            )
        ),
        (
            study(space=DROPPED),
            study(epochs=9, space=DROPPED),
            "dropout_schedule cosine ends at the last epoch",
        ),
    ],
)
def test_what_cannot_be_extended_is_refused_with_the_reason(
    before: Study, now: Study, words: str
) -> None:
    with pytest.raises(InputError, match=words) as refused:
        past.check_extension(before, now)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("schedule", [{}, {"schedule": "step", "step_epochs": 2.0}])
def test_more_epochs_under_a_schedule_that_does_not_know_the_end(schedule: Any) -> None:
    past.check_extension(study(training=schedule), study(epochs=9, training=schedule))
    cosine = {"schedule": "cosine"}
    past.check_extension(study(training=cosine), study(trials=9, training=cosine))


def test_study_json_changes_when_the_study_goes_on_and_not_before(
    digits: DataSet, tmp_path: Path
) -> None:
    begun(study(), digits, tmp_path)
    folder = RunFolder.at(tmp_path)
    before = recorded.read_study_json(folder)
    taken = past.read(folder, study(7, 6), digits)
    assert recorded.read_study_json(folder) == before
    taken.accept(folder)
    after = recorded.read_study_json(folder)
    assert after["study"]["budget"]["trials"] == 7
    assert after["study"]["budget"]["epochs"] == 6
    changed = {"budget.epochs": [4, 6], "budget.trials": [5, 7]}
    assert [entry["changed"] for entry in after["resumed"]] == [changed]
    assert {k: v for k, v in after.items() if k not in ("study", "resumed")} == {
        k: v for k, v in before.items() if k != "study"
    }
    with pytest.raises(InputError, match="Given: trials 5, before 7"):
        past.read(folder, study(5, 6), digits)


def test_failed_trials_are_tried_again_when_asked(digits: DataSet, tmp_path: Path) -> None:
    of = study()
    ends = {1: ("fail", 1.0), 3: ("lose", 2.0, 4)}
    first, checkpoints = begun(of, digits, tmp_path, ends=ends)
    assert first.recorder.writer.counts()[Status.FAILED] == 2
    folder = RunFolder.at(tmp_path)
    assert past.read(folder, of, digits).left(of) == 0
    before = past.read(folder, of, digits, retry_failed=True)
    assert before.left(of) == 2
    again = MiniTune(of, folder, checkpoints, before)
    whole = MiniTune(of, RunFolder.at(tmp_path / "whole"), {}).run()
    assert figures(again.run()) == figures(whole)


def test_a_study_json_without_the_fields_that_are_newer_is_the_same_study(
    digits: DataSet, tmp_path: Path
) -> None:
    of = study()
    begun(of, digits, tmp_path)
    folder = RunFolder.at(tmp_path)
    document = recorded.read_study_json(folder)
    document["study"] = {
        "name": "study", "seed": 0,
        "data": {"dataset": "digits", "data_dir": None, "validation": None, "test": None,
                 "split": None, "split_seed": 0, "scaling": "standard"},
        "net": {"api": "barebones", "hidden_sizes": [512], "activation": "relu", "dropout": 0.0,
                "batch_norm": False, "bias": False, "initializer": "kaiming_normal"},
        "training": {"optimizer": "sgd", "momentum": None, "nesterov": False, "weight_decay": 0.0,
                     "schedule": "constant", "warmup_epochs": 0.0, "step_epochs": None,
                     "step_factor": None, "batch_size": 64, "precision": "float32",
                     "report_steps": None},
        "tuning": {"search": "random", "scheduler": "none", "metric": "val_accuracy",
                   "grace_epochs": 3.0, "reduction_factor": 3.0, "perturbation_epochs": 1.0},
        "budget": {"trials": 5, "epochs": 4, "wall_seconds": None, "concurrency": None,
                   "max_failed": 0},
        "resources": {"cpus": 1.0, "gpus": 0.0},
        "space": {"learning_rate": [{"uniform": [0.01, 1.0]}]},
    }  # fmt: skip  # what commit 11ded73 wrote: a grace without a scheduler, among others
    storage.write_json(folder.study, document)
    of = study(net={"bias": False})  # the default at that time
    assert past.read(folder, of, digits).left(of) == 0
    with pytest.raises(InputError, match=r"another study: tuning.metric is 'val_accuracy' there"):
        past.read(
            folder,
            of.model_copy(update={"tuning": Tuning(scheduler="none", metric="val_loss")}),
            digits,
        )


def test_a_study_file_that_is_older_than_a_rule_goes_on_but_does_not_begin(
    digits: DataSet, tmp_path: Path, call: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "study.toml"
    file.write_text(
        '[data]\ndataset = "digits"\n[tuning]\nscheduler = "none"\ngrace_epochs = 3.0\n'
        "[budget]\ntrials = 5\nepochs = 4\n[space]\nlearning_rate = {uniform = [0.01, 1.0]}\n"
    )
    begun(study(), digits, tmp_path / "run")
    seen: list[Study] = []

    def take(*given: Any, **_: Any) -> None:
        seen.append(given[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(driver, "run_study", take)
    done = call("tune", file, "--out", tmp_path / "new", "--resume")
    assert "grace_epochs has an effect only with" in done.stderr
    done = call("tune", file, "--out", tmp_path / "run", "--resume", "--trials", "6")
    assert done.stderr == ""
    assert [of.trials for of in seen] == [6]


def test_a_resume_with_nothing_left_to_train_clears_what_a_killed_driver_left(
    digits: DataSet, tmp_path: Path, call: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(study(), digits, tmp_path / "run")
    left = [tmp_path / place / "ffnet-run-abcdefgh" for place in ("rays", "temporary")]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "lock").touch()
        (folder / "ray.log").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "rays"))
    done = call("tune", tmp_path / "run" / "study.json", "--out", tmp_path / "run", "--resume")
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing is left to train" in done.stdout
    assert not any(folder.exists() for folder in left)


def test_reports_of_which_the_rows_do_not_know_are_judged_again(tmp_path: Path) -> None:
    of = study(scheduler="asha")
    rows = [
        {"trial": 0, "status": "running", "epochs": 1.0, "seed": 0, "learning_rate": 0.1},
        {"trial": 1, "status": "pruned", "epochs": 1.0, "seed": 0, "learning_rate": 0.1},
    ]
    reports = [{"trial": n, "epoch": e} for n, e in ((0, 1.0), (0, 2.0), (1, 1.0), (2, 1.0))]
    known = past._judged(past.Past(rows), of, reports)
    assert [(r["trial"], r["epoch"]) for r in known] == [(0, 1.0), (1, 1.0)]
    assert StudySearch(of, past.Past(rows, known)).suggest("x")


@pytest.mark.parametrize(("status", "retry"), [("done", False), ("failed", True)])
def test_so_are_those_of_an_extension_that_was_killed_between_the_two_tables(
    status: str, retry: bool
) -> None:
    of = study(epochs=4)
    row = {"trial": 0, "status": status, "epochs": 3.0, "seed": 0, "learning_rate": 0.1}
    reports = [{"trial": 0, "epoch": e} for e in (1.0, 2.0, 3.0, 4.0)]
    known = past._judged(past.Past([row], retry_failed=retry), of, reports)
    assert [report["epoch"] for report in known] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(("report_steps", "allowed"), [(7, False), (10, True), (None, True)])
def test_more_epochs_need_a_last_report_that_a_longer_training_makes_too(
    report_steps: int | None, allowed: bool, digits: DataSet, tmp_path: Path
) -> None:
    training = {"batch_size": 64, "report_steps": report_steps}  # 20 steps an epoch
    begun(study(epochs=2, training=training), digits, tmp_path)
    longer = study(epochs=3, training=training)
    folder = RunFolder.at(tmp_path)
    if allowed:
        assert past.read(folder, longer, digits).left(longer) == 5
    else:
        with pytest.raises(InputError, match=r"trial 0 ended at step 40, report_steps 7; start a"):
            past.read(folder, longer, digits)


def test_trials_that_go_on_are_not_shown_as_ended(digits: DataSet, tmp_path: Path) -> None:
    begun(study(epochs=2), digits, tmp_path)
    longer, folder = study(epochs=4, trials=6), RunFolder.at(tmp_path)
    hold: Any = SimpleNamespace(check=lambda: None, folder=folder)
    before = past.read(folder, longer, digits)
    line = describe(longer, Recorder(longer, hold, Losses(), before), 10.0)
    assert line.startswith("0/6 trials")
    assert "left" not in line


@pytest.mark.slow
def test_a_study_that_was_finished_takes_more_trials_and_epochs(
    tune: Job, blobs: Path, tmp_path: Path
) -> None:
    of = unpruned_study(tmp_path / "of.toml", blobs, trials=8, epochs=3)
    one_worker = ["--concurrency", 1]
    run = [of, "--out", tmp_path / "run", "--resume", *one_worker]
    first = tune(*run, "--trials", 6, "--epochs", 2)
    assert first.returncode == 0, first.stderr
    again = tune(*run)
    assert again.returncode == 0, again.stderr
    assert "going on after 0 trials that have ended" in again.stdout
    assert "6 finished trials train on to 3 epochs; 1 of them begin again" in again.stdout
    whole = tune(of, "--out", tmp_path / "whole", *one_worker)
    assert whole.returncode == 0, whole.stderr

    def curves(place: Path) -> list[tuple[Any, ...]]:
        names = ("trial", "step", "train_loss", "val_loss", "val_accuracy")
        return sorted(tuple(r[name] for name in names) for r in reports_of(place))

    assert curves(tmp_path / "run") == curves(tmp_path / "whole")
    assert [(r["status"], r["epochs"]) for r in rows_of(tmp_path / "run")] == [("done", 3.0)] * 8
    written = json.loads((tmp_path / "run" / "study.json").read_text())
    assert written["study"]["budget"]["epochs"] == 3


def test_retry_failed_needs_a_run(call: Job, small_study: Path) -> None:
    done = call("tune", small_study, "--retry-failed")
    assert done.returncode == 2
    assert "--retry-failed needs --resume" in done.stderr
