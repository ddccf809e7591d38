"""Where core time went: the parts add up to wall time × cores, and each of them is known here."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import Job
from ffnet.errors import InputError
from ffnet.run import ledger, past, storage, tables
from ffnet.run.folder import RunFolder
from ffnet.run.hold import Hold, held
from ffnet.run.past import Past
from ffnet.run.sessions import Session, of_metadata
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.study import Study
from ffnet.spec.trial import TrialConfig
from ffnet.tuning.losses import Losses
from ffnet.tuning.recorder import Recorder

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
STUDY = Study(space={"learning_rate": {"log_uniform": [1e-3, 1e-1]}})
PLACE = {"node": "here", "worker": 1, "worker_memory": 1}


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def session(begun: float, trials: float | None, written: float, **more: Any) -> Session:
    trials_at = None if trials is None else at(trials)
    known: dict[str, Any] = {"slots": 2, "cpus": 1.0} | more
    return Session(begun_at=at(begun), trials_at=trials_at, written_at=at(written), **known)


def trial(
    number: int, begun: float, ended: float | None, queue: float, setup: float, train: float,
    evaluate: float = 0.0, report: float = 0.0, status: str = "done",
) -> tables.Row:  # fmt: skip
    return {
        "trial": number, "status": status, "started_at": at(begun), "queue_seconds": queue,
        "ended_at": None if ended is None else at(ended), "setup_seconds": setup,
        "train_seconds": train, "evaluate_seconds": evaluate, "report_seconds": report,
    }  # fmt: skip


def parts(
    rows: list[tables.Row], sessions: list[Session], reports: list[tables.Row] | None = None
) -> dict[str, Any]:
    """Return the parts that are not 0, after checking that they add up to the total."""
    table = pa.Table.from_pylist(rows, schema=tables.TRIALS)
    second = pa.Table.from_pylist(reports or [], schema=tables.EPOCHS)
    found = ledger.account(table, sessions, second)
    assert found.total is not None
    assert sum(v or 0.0 for v in found.parts.values()) == pytest.approx(found.total, abs=1e-9)
    if found.note is None:
        assert found.total == pytest.approx((found.wall_seconds or 0) * (found.cores or 0))
    return {name: pytest.approx(v) for name, v in found.parts.items() if v}


def test_every_core_second_is_in_one_part() -> None:
    rows = [
        trial(0, 4, 20, queue=3, setup=2, train=10, evaluate=3, report=1),
        trial(1, 5, 19, queue=4, setup=1, train=9, evaluate=2, report=1),
    ]
    assert parts(rows, [session(0, 4, 21)]) == {
        "start-up": 8, "queue": 1, "set-up": 3, "train": 19, "evaluate": 5, "report": 2, "idle": 4,
    }  # fmt: skip
    found = ledger.account(pa.Table.from_pylist(rows, schema=tables.TRIALS), [session(0, 4, 21)])
    assert found.share("train") == pytest.approx(19 / 42)
    assert found.line() == (
        "45 % of core time was training; 19 % start-up, 12 % evaluate, 10 % idle, 7 % set-up, "
        "5 % report, 2 % queue (21.0 s × 2 cores)"
    )


def test_a_failed_trial_is_lost_with_all_its_time_and_so_is_the_work_of_lost_workers() -> None:
    rows = [trial(0, 1, 9, queue=0, setup=1, train=5, status="failed"), trial(1, 1, 9, 0, 1, 6)]
    assert parts(rows, [session(0, 1, 10, lost_seconds=2.5)]) == {
        "start-up": 2, "set-up": 1, "train": 6, "lost": 8.5, "idle": 2.5,
    }  # fmt: skip


def test_a_running_study_counts_work_after_the_last_report_as_in_progress() -> None:
    rows = [
        trial(0, 1, None, 0, 1, 4, status="running"),
        trial(1, 2, None, 1, 0, 0, status="running"),
    ]
    reports = [{"trial": 0, "step": n, "reported_at": at(2 + 2 * n)} for n in (1, 2)]
    assert parts(rows, [session(0, 1, 8)], reports) == {
        "start-up": 2, "queue": 1, "set-up": 1, "train": 4, "in progress": 8,
    }  # fmt: skip


def test_paused_trials_are_not_in_progress_because_only_the_slots_are() -> None:
    rows = [trial(n, n, None, 0, 0, 1, status="running") for n in range(4)]
    reports = [{"trial": n, "step": 1, "reported_at": at(n + 1)} for n in range(4)]
    found = parts(rows, [session(0, 0, 10, slots=1)], reports)
    assert found == {"train": 4, "in progress": 6}


def test_sessions_add_up_each_with_its_own_cores() -> None:
    rows = [trial(0, 1, 9, 0, 0, 8), trial(1, 101, 109, 0.5, 0, 8)]
    sessions = [session(0, 1, 10), session(100, 101, 110, slots=3, cpus=2)]
    assert parts(rows, sessions) == {"start-up": 2 + 6, "train": 8 + 16, "idle": 10 + 38}
    found = ledger.account(pa.Table.from_pylist(rows, schema=tables.TRIALS), sessions)
    assert (found.wall_seconds, found.cores, found.total) == (20, 4, 80)


@pytest.mark.parametrize("rows", [[], [trial(0, 9, None, 0, 0, 0, status="running")]])
def test_a_session_without_a_trial_is_start_up_alone(rows: list[tables.Row]) -> None:
    assert parts(rows, [session(0, None, 10)]) == {"start-up": 20}


def test_a_study_of_no_time_says_so() -> None:
    found = ledger.account(tables.TRIALS.empty_table(), [session(0, None, 0)])
    assert found.line() == "core time: not known (nothing has run)"


@pytest.mark.parametrize(
    ("sessions", "words"),
    [
        ([], "an earlier version of ffnet did not record it"),
        ([session(50, 51, 60)], "an earlier version of ffnet did not record it"),
        ([session(0, 1, 60, slots=None)], "the cluster grows, so the number of its cores changes"),
    ],
)
def test_what_was_not_recorded_is_not_known(sessions: list[Session], words: str) -> None:
    table = pa.Table.from_pylist([trial(0, 2, 9, 0, 1, 5)], schema=tables.TRIALS)
    found = ledger.account(table, sessions)
    assert (found.total, found.share("train"), set(found.parts.values())) == (None, None, {None})
    assert found.line() == f"core time: not known ({words})"


def test_more_measured_time_than_wall_time_is_said() -> None:
    table = pa.Table.from_pylist([trial(0, 0, 9, 0, 0, 50)], schema=tables.TRIALS)
    found = ledger.account(table, [session(0, 0, 10)])
    assert (found.total, found.parts["idle"]) == (50, 0)
    assert "(10.0 s × 2 cores; more than that was measured" in found.line()


# --- what a study records -----------------------------------------------------------------------


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Hold]:
    with held(RunFolder.at(tmp_path / "run")) as hold:
        storage.write_json(hold.folder.study, {"study": STUDY.resolved()})
        yield hold


def sessions_of(folder: RunFolder) -> list[Session]:
    return of_metadata(tables.read_table(folder.trials).schema.metadata, "")


class Clock:
    """Replaces the recorder's clock, so that tests know how long everything takes."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        patch.setattr("ffnet.tuning.recorder.time.monotonic", lambda: self.now)


def fake(number: int) -> Any:
    config = TrialConfig(number=number, net=NetSpec(), training=Training(), epochs=8, seed=1)
    return SimpleNamespace(config={"trial": config.model_dump(), "sampled_at": 0.0})


def reported(step: int) -> dict[str, Any]:
    times = {"started_at": NOON.isoformat(), "reported_at": NOON.isoformat()}
    return {"status": "running", "step": step, "epoch": float(step)} | times | PLACE


def test_a_recorder_counts_what_led_to_no_report(
    hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    now = Session.beginning({"started_at": NOON.isoformat()}, slots=2, cpus=1)
    recorder, trials = Recorder(STUDY, hold, Losses(), Past(), now), [fake(n) for n in range(4)]
    for one in trials:
        recorder.on_trial_start(one)
    clock.now = 10
    recorder.on_trial_result(trials[0], reported(1))
    clock.now = 13
    recorder.on_trial_error(trials[0])  # lost: 3 s after its report
    recorder.on_trial_result(trials[1], PLACE | {"status": "failed", "reason": "E", "done": True})
    recorder.on_trial_complete(trials[1])  # failed: 13 s
    recorder.on_trial_start(trials[0])
    clock.now = 20
    recorder.on_trial_result(trials[2], reported(1))
    clock.now = 21
    recorder.on_trial_result(trials[0], reported(2))
    clock.now = 24
    recorder.finish()  # two slots: trial 0 loses 3 s, trial 2 loses 4 s, trial 3 was paused
    (saved,) = sessions_of(hold.folder)
    assert saved.lost_seconds == 3 + 13 + 3 + 4
    assert (saved.begun_at, saved.slots) == (NOON, 2)
    assert saved.begun_at < (saved.trials_at or NOON) < saved.written_at


def test_a_resumed_study_keeps_its_sessions_and_what_a_kill_lost(hold: Hold) -> None:
    rows = [trial(0, 1, None, 0, 1, 4, status="running"), trial(1, 1, 8, 0, 1, 6)]
    reports = [{"trial": 0, "step": 1, "epoch": 1.0, "reported_at": at(6)}]
    tables.write(hold.folder.trials, rows, tables.TRIALS, [session(0, 1, 9)])
    tables.write(hold.folder.epochs, reports, tables.EPOCHS)
    (before,) = past._sessions(hold.folder)
    assert before.lost_seconds == 3
    document = {"started_at": NOON.isoformat(), "resumed": [{"at": at(100).isoformat()}]}
    again = Session.beginning(document, slots=1, cpus=2)
    Recorder(STUDY, hold, Losses(), Past(sessions=[before]), again)
    assert [s.begun_at for s in sessions_of(hold.folder)] == [at(0), at(100)]
    assert sessions_of(hold.folder)[0] == before
    Recorder(STUDY, hold, Losses(), Past(sessions=[before]))  # nothing is left to train
    assert sessions_of(hold.folder) == [before]


def test_malformed_sessions_are_an_error_in_one_line_and_the_table_is_still_printed(
    hold: Hold, call: Job
) -> None:
    folder = hold.folder
    rows = [trial(0, 1, 8, 0, 1, 6)]
    whole = session(0, 1, 9).model_dump(mode="json")
    wrong = [{}, [[]], [{"begun_at": "x"}], [whole | {"slots": 10**400}], [whole | {"cpus": 0}]]
    for bad in ("[", "NaN", *map(json.dumps, wrong)):
        table = pa.Table.from_pylist(rows, schema=tables.TRIALS)
        pq.write_table(table.replace_schema_metadata({"ffnet.sessions": bad}), folder.trials.place)
        with pytest.raises(InputError, match=r"metadata ffnet\.sessions: "):
            ledger.read(folder)
        done = call("table", folder.place)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1].startswith("core time: not known (")
        assert len(done.stdout.splitlines()) == 4


def test_a_table_ends_with_where_the_core_time_went(hold: Hold, call: Job) -> None:
    tables.write(hold.folder.trials, [trial(0, 1, 9, 0, 1, 7)], tables.TRIALS, [session(0, 1, 9)])
    tables.write(hold.folder.epochs, [], tables.EPOCHS)
    last = call("table", hold.folder.place).stdout.splitlines()[-1]
    assert (
        last
        == "39 % of core time was training; 44 % idle, 11 % start-up, 6 % set-up (9.0 s × 2 cores)"
    )
    assert "core time" not in call("table", hold.folder.place, "--format", "csv").stdout
