"""The chaos command: it finds the faults in falsified tables; and a short run of it."""

import json
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import chaos_runs
from chaos import FREEZES, is_right, plan
from chaos_ledger import Ledger, changed_decisions
from chaos_runs import Case, Event, Result, Run
from chaos_world import Watch, World
from conftest import ROOT, wait_for
from ffnet.run import tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
Tables = tuple[list[Row], list[Row]]


def trial(number: int, status: str, epochs: int) -> Row:
    empty = dict.fromkeys(tables.TRIALS.names)
    figures = {"learning_rate": 0.1 + number, "seed": number, "epochs": float(epochs)}
    return {**empty, "trial": number, "status": status, **figures}


def report(number: int, epoch: int) -> Row:
    empty = dict.fromkeys(tables.EPOCHS.names)
    at = BEGIN + timedelta(seconds=100 * number + epoch)
    figures = {"epoch": float(epoch), "train_loss": 1 / epoch, "reported_at": at}
    return {**empty, "trial": number, "step": 10 * epoch, **figures}


def half() -> Tables:
    """Return a trial that is done, a trial that was pruned, and a trial that runs."""
    trials = [trial(0, "done", 3), trial(1, "pruned", 1), trial(2, "running", 2)]
    return trials, [report(*key) for key in ((0, 1), (0, 2), (0, 3), (1, 1), (2, 1), (2, 2))]


def whole() -> Tables:
    """Return the same study at its end."""
    trials, reports = half()
    return [*trials[:2], trial(2, "done", 3)], [*reports, report(2, 3)]


def findings(*readings: Tables, shares: bool = False) -> dict[str, int]:
    """Return what a ledger finds in these readings; the last reading is the study's end."""
    ledger = Ledger(shares)
    for reading in readings[:-1]:
        ledger.take(*reading)
    ledger.close(*readings[-1], expected=3)
    return {name: len(cases) for name, cases in ledger.findings.items()}


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert findings(half(), half(), whole()) == {}
    assert changed_decisions(whole(), whole()) == set()


def lose_a_trial(trials: list[Row], reports: list[Row]) -> None:
    del trials[2]


def lose_a_report(trials: list[Row], reports: list[Row]) -> None:
    del reports[1]


def double_a_trial(trials: list[Row], reports: list[Row]) -> None:
    trials.append(deepcopy(trials[1]))


def draw_a_trial_twice(trials: list[Row], reports: list[Row]) -> None:
    trials[2]["learning_rate"] = trials[1]["learning_rate"]


def double_a_report(trials: list[Row], reports: list[Row]) -> None:
    reports.append(deepcopy(reports[2]))


def train_beyond_the_end(trials: list[Row], reports: list[Row]) -> None:
    reports.append(report(1, 2))


def change_an_ended_row(trials: list[Row], reports: list[Row]) -> None:
    trials[0]["train_seconds"] = 7.0


def fail_a_trial(trials: list[Row], reports: list[Row]) -> None:
    trials[2]["status"] = "failed"


def leave_a_trial_running(trials: list[Row], reports: list[Row]) -> None:
    trials[2]["status"] = "running"


@pytest.mark.parametrize(
    ("doctor", "found"),
    [
        (lose_a_trial, {"rows lost": 2}),  # the trial was there, and the study must have it
        (lose_a_report, {"rows lost": 1, "reports missing": 1}),
        (double_a_trial, {"trials twice": 1}),
        (draw_a_trial_twice, {"trials twice": 1}),
        (double_a_report, {"reports twice": 1}),
        (train_beyond_the_end, {"reports twice": 1}),
        (change_an_ended_row, {"ended rows changed": 1}),
        (fail_a_trial, {"failed, or not ended": 1}),
        (leave_a_trial_running, {"failed, or not ended": 1}),
    ],
)
def test_a_doctored_end_is_found(
    doctor: Callable[[list[Row], list[Row]], None], found: dict[str, int]
) -> None:
    end = whole()
    doctor(*end)
    assert findings(half(), end) == found


def test_a_fault_that_passes_is_found_too() -> None:
    passing = half()
    del passing[1][4]
    assert findings(half(), passing, whole()) == {"rows lost": 1}


def test_a_trial_that_has_ended_without_its_reports_is_found_at_that_moment() -> None:
    early = half()
    early[0][2] = trial(2, "done", 3)
    assert findings(half(), early, whole())["reports missing"] == 1


def test_a_trial_that_the_study_does_not_have_is_found() -> None:
    end = whole()
    end[0].append(trial(3, "done", 1))
    end[1].append(report(3, 1))
    assert findings(end) == {"trials twice": 1}


def test_an_epoch_that_was_trained_again_is_counted() -> None:
    ledger = Ledger(shares=False)
    ledger.take(*half())
    checkpoint = report(2, 3) | {"reported_at": (BEGIN + timedelta(hours=1)).isoformat()}
    ledger.note(2, checkpoint)  # the driver was killed before the table had this report
    assert (ledger.reports, ledger.repeated) == (7, 0)
    ledger.close(*whole(), expected=3)
    assert (ledger.reports, ledger.repeated) == (7, 1)


def test_a_follower_may_train_an_epoch_again_with_other_hyper_parameters_only() -> None:
    ledger = Ledger(shares=True)
    ledger.take(*half())
    again = report(2, 2) | {"reported_at": BEGIN + timedelta(hours=1)}
    ledger.note(2, again | {"learning_rate": 0.7, "parent": 0})
    assert ledger.repeated == 0
    ledger.note(2, again | {"learning_rate": 0.7, "parent": 0, "reported_at": BEGIN})
    assert ledger.repeated == 1


def test_a_follower_may_skip_epochs_but_not_its_last() -> None:
    end = whole()
    del end[1][4:6]
    assert findings(end, shares=True) == {}
    del end[1][-1]
    assert findings(end, shares=True) == {"reports missing": 1}


@pytest.mark.parametrize("column", ["status", "learning_rate", "seed", "epochs", "best_val_loss"])
def test_a_changed_trial_is_a_changed_decision(column: str) -> None:
    end = whole()
    end[0][1][column] = "another"
    assert len(changed_decisions(whole(), end)) == 1


def test_a_changed_curve_is_a_changed_decision() -> None:
    end = whole()
    end[1][4]["train_loss"] *= 1 + 1e-16
    assert changed_decisions(whole(), end) == set()  # the same bits
    end[1][4]["train_loss"] *= 1 + 1e-15
    assert len(changed_decisions(whole(), end)) == 1
    assert len(changed_decisions(whole(), (whole()[0][:2], whole()[1][:4]))) == 1


# --- what acts, and what looks on ----------------------------------------------------------------


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def test_what_stays_behind_is_found_and_cleared(world: World) -> None:
    assert world.left_behind() == []
    process = subprocess.Popen(["sleep", "600"], env=world.environment("first-1"))
    try:
        (world.temporary / "ffnet-abc").mkdir()
        (world.temporary / "ray" / "session_1").mkdir(parents=True)
        assert world.processes("first-1/") == [process.pid]
        assert world.processes("first-2/") == []
        assert len(world.left_behind()) == 3
        threading.Thread(target=process.wait).start()  # reaps the process, so that no zombie stays
        world.clear()
        assert world.left_behind() == []
    finally:
        process.kill()


def test_a_table_that_cannot_be_read_is_found(world: World) -> None:
    ledger = Ledger(shares=False)
    run = world.folder / "run"
    tables.write(RunFolder.at(run).trials, half()[0], tables.TRIALS)
    tables.write(RunFolder.at(run).epochs, half()[1], tables.EPOCHS)
    watch = Watch(str(run), ledger, pause=0.001)
    wait_for(lambda: watch.readings)
    assert not ledger.findings
    (run / "trials.parquet").write_bytes(b"half a table")
    wait_for(lambda: ledger.findings["unreadable moments"])
    (run / "trials.parquet").unlink()
    assert watch.last() == ([], [])
    watch.close()


def test_a_driver_that_ends_with_an_error_is_found(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chaos_runs, "TRIES", 1)
    (tmp_path / "study.toml").write_text("[space]\n")
    case = Case("none:random", tmp_path / "study.toml", (), trials=2, shares=False, decided=False)
    run = Run(world, case, "a:seed")
    run.through([Event("driver", "middle")])
    found = {name: len(cases) for name, cases in run.result.findings.items() if cases}
    assert found == {"wrong exits": 1, "studies that never ended": 1, "rows lost": 2}
    assert not is_right(run.result)


def test_each_disturbance_comes_once() -> None:
    events = plan(11, 5, 4, random.Random(0))
    whats = Counter(event.what for event in events)
    assert whats == {"driver": 11, "worker": 5, **dict.fromkeys(FREEZES, 1)}
    assert {e.when for e in events} == {
        "middle",
        "ray",
        "first",
        "tables",
        "between",
        "end",
        "over",
    }
    assert all(callable(getattr(Run, f"_{what.replace(' ', '_')}")) for what in whats)
    assert events != plan(11, 5, 4, random.Random(1))


def test_more_epochs_repeated_than_kills_are_wrong() -> None:
    result = Result(Counter({"driver kills": 2, "epochs repeated": 2}))
    assert is_right(result)
    result.done["epochs repeated"] += 1
    assert not is_right(result)


@pytest.mark.slow
def test_a_short_run_of_the_command_finds_nothing(tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, ROOT / "tests" / "chaos.py", "--quick"]
    command += ["--json", tmp_path / "figures.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]["sum"]
    assert figures["driver kills"] == 1
    assert figures["survivals"] == figures["driver kills"] + figures["worker kills"]
    assert min(figures["readings"], figures["checkpoints read"]) > 20
