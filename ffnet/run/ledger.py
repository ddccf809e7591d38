"""Says where the core-seconds of a study or of one net went. It needs only the tables.

The study's total is wall time × cores, added over its sessions: the wall time is from the writing
of study.json, before Ray starts, to the last write of the tables; the cores are the number of
trials that can run at the same time × the CPUs of a trial. Every core-second is in one part:

- start-up: until a worker began the first trial: Ray, workers, and what they import.
- queue: a core was free while a trial waited for it, for example for a new worker.
- set-up, train, evaluate, report: as in the columns of trials.parquet × the CPUs of a trial, for
  the trials that did not fail. `report` contains the wait for the scheduler's decision.
- lost: all the time of failed trials, and work after a trial's last report when its worker was
  lost or the study was stopped or killed.
- in progress: work of running trials after their last report.
- idle: the rest. Between two trials of a worker, and at the end when no trial is left.

While trials are paused (hyperband, pbt), the tables do not say which of them wait. Then cores that
are free while any trial has not begun count as queue.
"""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ffnet.run import tables
from ffnet.run.folder import RunFolder
from ffnet.run.sessions import Session, of_metadata
from ffnet.run.tables import Status

Floats = npt.NDArray[np.float64]

MEASURED = {
    "set-up": "setup_seconds",
    "train": "train_seconds",
    "evaluate": "evaluate_seconds",
    "report": "report_seconds",
}
"""Part → the column of trials.parquet from which it comes."""

PARTS = ("start-up", "queue", *MEASURED, "lost", "in progress", "idle")
COLUMNS = ["trial", "status", *MEASURED.values(), "queue_seconds", "started_at", "ended_at"]
REPORT_COLUMNS = ["trial", "reported_at"]


@dataclass(frozen=True)
class Ledger:
    """Where the core-seconds of a study went: see this module's docstring.

    Attributes:
        parts: PARTS → core-seconds, which add up to the total. None if they are not known.
        total: the study's core-seconds; None if they are not known.
        wall_seconds: seconds of all sessions together; None if they are not known.
        cores: the number of cores; if sessions differ, the mean over the wall time. None if it is
            not known.
        note: why nothing is known, or why the total is not wall time × cores; else None.
    """

    parts: Mapping[str, float | None]
    total: float | None
    wall_seconds: float | None
    cores: float | None
    note: str | None = None

    def share(self, part: str) -> float | None:
        """A part as a share of the total, from 0 to 1; None if either is not known."""
        value = self.parts[part]
        return value / self.total if value is not None and self.total else None

    def line(self) -> str:
        """The ledger in one line, the largest parts after training first.

        Example: `91 % of core time was training; 5 % start-up, 3 % idle (22.0 s × 2 cores)`
        """
        if not self.total:
            return f"core time: not known ({self.note or 'nothing has run'})"
        others = {name: self.share(name) or 0.0 for name in PARTS if name != "train"}
        shown = sorted((n for n in others if others[n] >= 0.005), key=lambda n: -others[n])
        rest = ", ".join(f"{100 * others[name]:.0f} % {name}" for name in shown)
        size = f"{self.wall_seconds:.1f} s × {self.cores:g} core{'s' * (self.cores != 1)}"
        size += f"; {self.note}" if self.note else ""
        training = f"{100 * (self.share('train') or 0.0):.0f} % of core time was training"
        return f"{training}{'; ' * bool(rest)}{rest} ({size})"


def read(folder: RunFolder, trials: pa.Table | None = None) -> Ledger:
    """The ledger of a run.

    Args:
        folder: the run's folder.
        trials: its trials.parquet with at least COLUMNS. With None, the file is read.

    Raises:
        InputError: a table cannot be read, or has a value that is not possible.
    """
    if trials is None:
        trials = tables.read_table(folder.trials, COLUMNS)
    sessions = of_metadata(trials.schema.metadata, str(folder.trials))
    running = Status.RUNNING in trials.column("status").unique().to_pylist()
    reports = tables.read_table(folder.epochs, REPORT_COLUMNS) if running else None
    return account(trials, sessions, reports)


def account(
    trials: pa.Table, sessions: Sequence[Session], reports: pa.Table | None = None
) -> Ledger:
    """The ledger of a study.

    Args:
        trials: trials.parquet with at least COLUMNS.
        sessions: the sessions of the study, the first one first; empty if not known.
        reports: epochs.parquet with at least REPORT_COLUMNS; needed only while trials run.
    """
    if note := _why_unknown(trials, sessions):
        return Ledger(dict.fromkeys(PARTS), None, None, None, note)
    walls = np.array([_seconds(s.begun_at, s.written_at) for s in sessions])
    cores = np.array([(s.slots or 0) * s.cpus for s in sessions])
    starts = [_seconds(s.begun_at, s.trials_at or s.written_at) for s in sessions]
    capacity = float(walls @ cores)
    parts = _measured(trials, sessions) | {"start-up": float(starts @ cores)}
    free = capacity - sum(parts.values())
    for name, wanted in (
        ("in progress", in_progress(trials, sessions[-1], reports) * sessions[-1].cpus),
        ("queue", _waited(trials, sessions)),
    ):
        parts[name] = min(wanted, max(free, 0.0))
        free -= parts[name]
    parts["idle"] = max(free, 0.0)
    more = "more than that was measured: nodes joined, or clocks differ"
    return Ledger(
        parts={name: parts[name] for name in PARTS},
        total=sum(parts.values()),
        wall_seconds=float(walls.sum()),
        cores=capacity / float(walls.sum()) if walls.any() else 0.0,
        note=more if free < -0.01 * capacity else None,
    )


def in_progress(trials: pa.Table, session: Session, reports: pa.Table | None) -> float:
    """Seconds that a session's running trials have trained since their last reports.

    Args:
        trials: trials.parquet with `trial`, `status` and `started_at`.
        session: the session in which they run.
        reports: epochs.parquet with REPORT_COLUMNS; None if no trial runs.
    """
    if not session.trials_at or reports is None:
        return 0.0
    numbers, times = reports.column("trial").to_pylist(), _times(reports, "reported_at")
    last: dict[int, float] = {}
    for number, at in zip(numbers, times, strict=True):
        last[number] = max(at, last.get(number, 0.0))
    status, begun = trials.column("status").to_pylist(), _times(trials, "started_at")
    since = [
        max(last.get(number, 0.0), begun[i], session.trials_at.timestamp())
        for i, number in enumerate(trials.column("trial").to_pylist())
        if status[i] == Status.RUNNING
    ]
    # Only so many trials can run at the same time: the others are paused (hyperband, pbt).
    active = heapq.nlargest(session.slots or len(since), since)
    return float(sum(max(session.written_at.timestamp() - at, 0.0) for at in active))


def _why_unknown(trials: pa.Table, sessions: Sequence[Session]) -> str | None:
    """Why the total is not known; None if it is."""
    times = _times(trials, "started_at")
    first = min(times[times > 0], default=math.inf)
    if not sessions or first < sessions[0].begun_at.timestamp():
        return "an earlier version of ffnet did not record it"
    if any(session.slots is None for session in sessions):
        return "the cluster grows, so the number of its cores changes"
    return None


def _measured(trials: pa.Table, sessions: Sequence[Session]) -> dict[str, float]:
    """The parts that the workers have measured, in core-seconds."""
    ended, begun = _times(trials, "ended_at"), _times(trials, "started_at")
    cpus = _cpus(np.where(ended > 0, ended, begun), sessions)
    failed = np.array(trials.column("status").to_pylist()) == Status.FAILED
    seconds = {name: _numbers(trials, column) * cpus for name, column in MEASURED.items()}
    lost = sum(float(values[failed].sum()) for values in seconds.values())
    return {name: float(values[~failed].sum()) for name, values in seconds.items()} | {
        "lost": lost + sum(session.lost_seconds * session.cpus for session in sessions)
    }


def _waited(trials: pa.Table, sessions: Sequence[Session]) -> float:
    """Core-seconds that trials waited for their first workers, after the start-ups."""
    begun = _times(trials, "started_at")
    opened = [s.trials_at.timestamp() if s.trials_at else math.inf for s in sessions]
    since = begun - np.array(opened)[_session(begun, sessions)]
    waited = np.minimum(_numbers(trials, "queue_seconds"), np.maximum(since, 0.0))
    return float((waited * _cpus(begun, sessions)).sum())


def _session(times: Floats, sessions: Sequence[Session]) -> npt.NDArray[np.intp]:
    """The index of the session that ran at each time."""
    begun = [session.begun_at.timestamp() for session in sessions]
    return np.maximum(np.searchsorted(begun, times, side="right") - 1, 0)


def _cpus(times: Floats, sessions: Sequence[Session]) -> Floats:
    """CPUs of a trial at each time."""
    return np.array([session.cpus for session in sessions])[_session(times, sessions)]


def _numbers(table: pa.Table, column: str) -> Floats:
    """A column's numbers; 0 for null."""
    return np.array([value or 0.0 for value in table.column(column).to_pylist()], np.float64)


def _times(table: pa.Table, column: str) -> Floats:
    """A column's times in seconds since 1970; 0 for null."""
    times = table.column(column).cast(
        pa.int64()
    )  # microseconds: with times, PyArrow imports pandas
    return np.array([(value or 0) / 1e6 for value in times.to_pylist()], np.float64)


def _seconds(start: datetime, end: datetime) -> float:
    return max((end - start).total_seconds(), 0.0)
