"""The one writer of a run: its rows in memory, and its tables on disk.

A trial's life is three calls: `begin`, then `report` for each report, then `end`. `ffnet train`
makes these calls itself; for a study `tuning.recorder` makes them from the events of Ray Tune.
"""

import os
import platform
import resource
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import IO, Any

from ffnet.errors import RunError
from ffnet.run import ranking, rescue, storage, tables
from ffnet.run.checkpoints import KEPT_REPORTS
from ffnet.run.folder import RunFolder
from ffnet.run.hold import Hold
from ffnet.run.past import Past
from ffnet.run.tables import Row, Status
from ffnet.spec.study import Tuning
from ffnet.spec.trial import TrialConfig

SHARE = 0.05
"""Share of the process's time that writing the tables may take."""

MOST_UNWRITTEN = KEPT_REPORTS // 2
"""Reports of a trial that may wait to be written; after a kill they come from its checkpoint."""

FAILING_SECONDS = 60.0
"""Time after which a run that cannot be written is given up."""

KEPT_CHECKPOINTS = 5
"""Number of ended trials that keep their checkpoints: the best ones."""

PLACE = ("node", "worker", "worker_memory")
"""Columns that say where a trial runs; trials.parquet has all of them, epochs.parquet some."""

WriteCheckpoint = Callable[[IO[bytes]], None]


def place(node: str = "") -> Row:
    """The columns PLACE of a trial that runs in this process.

    Args:
        node: what tells this node from others on the same machine, if it is one of several.
    """
    return {
        "node": ":".join(filter(None, (platform.node(), node))),
        "worker": os.getpid(),
        "worker_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


class Writer:
    """Keeps the tables of a run, in memory and on disk.

    Attributes:
        rows: trial number → its row of trials.parquet.
        reports: (trial number, step) → the row of epochs.parquet.
        unwritable: why the run's folder is given up; None as long as it can be written.
    """

    def __init__(
        self, hold: Hold, tuning: Tuning, past: Past | None = None, waiting: Collection[int] = ()
    ) -> None:
        """Begin with the tables of the past, and write them.

        Args:
            hold: this process's hold on the run's folder, which has its study.json. Nothing is
                written without the hold.
            tuning: says which trial is better, and whether a trial may report a step again.
            past: what the study did before it was stopped.
            waiting: the numbers of those of its trials that still go on.

        Raises:
            InputError: the folder cannot be written.
        """
        past = past or Past()
        self.rows: dict[int, Row] = {row["trial"]: row for row in past.trials}
        self.reports = {(report["trial"], report["step"]): report for report in past.reports}
        self.unwritable: str | None = None
        self._hold, self._folder, self._tuning = hold, hold.folder, tuning
        # These stay in the table until they come again with the trial's checkpoint.
        self._undecided = {(report["trial"], report["step"]): report for report in past.undecided}
        self._with_checkpoint = [
            number
            for number in self.rows
            if number not in waiting and self._folder.checkpoint(number).exists()
        ]
        self._just_ended: list[int] = []  # these still have two checkpoints
        self._unsaved: dict[int, WriteCheckpoint] = {}
        self._notes: dict[int, str] = {}
        self._failing_since: float | None = None
        self._changed, self._write_again_at = True, 0.0
        self._unwritten: Counter[int] = Counter()  # reports by trial
        try:
            with self._folder.study.open() as file:
                self._document = file.read()
            self.flush()
        except OSError as error:
            raise self._folder.cannot_be_written(error) from None

    # --- what happens to a trial -----------------------------------------------------------------

    def begin(
        self, config: TrialConfig, sampled_at: float | None = None, parent: int | None = None
    ) -> None:
        """A trial begins, or goes on: its row says `running`.

        Args:
            config: the trial. Population-based training may have changed it since its last time.
            sampled_at: when the trial was sampled, in seconds since 1970; it was queued since then.
            parent: the trial whose weights it goes on from.
        """
        if config.number not in self.rows:
            self.rows[config.number] = {
                "trial": config.number,
                "seed": config.seed,
                "epochs": 0.0,
                "queue_seconds": time.time() - sampled_at if sampled_at else None,
                "started_at": datetime.now(UTC),
            }
        row = self.rows[config.number]
        row |= config.hyperparameters()
        row |= {"status": Status.RUNNING, "reason": None}
        if parent is not None:
            row["parent"] = parent
        row.pop("ended_at", None)
        self._changed = True

    def report(self, number: int, report: Mapping[str, Any], again: bool = False) -> None:
        """Put a report into both tables, unless it stands there already.

        Under population-based training a trial reports a step once more when it has gone on from
        another trial's weights: then the later report replaces the earlier one.

        Args:
            number: of the trial.
            report: `Report.measured()` with the columns PLACE.
            again: whether it comes from a checkpoint, because the tables may lack it.
        """
        row, key = self.rows[number], (number, report["step"])
        if key in self.reports and (again or self._tuning.scheduler != "pbt"):
            return
        row |= {name: report[name] for name in PLACE} | {"epochs": report["epoch"]}
        self.spend(number, report, ("train_seconds", "evaluate_seconds"))
        self.reports[key] = {n: report.get(n, row.get(n)) for n in tables.EPOCHS.names} | {
            name: datetime.fromisoformat(report[name]) for name in ("started_at", "reported_at")
        }
        self._undecided.pop(key, None)
        self._unwritten[number] += 1
        tables.note_score(row, report)
        self._changed = True

    def spend(self, number: int, seconds: Mapping[str, Any], names: Iterable[str]) -> None:
        """Add the seconds of these names, where there are any, to those of the trial."""
        row = self.rows[number]
        for name in names:
            row[name] = row.get(name, 0.0) + seconds.get(name, 0.0)
        self._changed = True

    def note(self, number: int, text: str) -> None:
        """Keep a text that the trial's reason says too when the trial ends."""
        self._notes[number] = text

    def put(self, number: int, columns: Mapping[str, Any]) -> None:
        """Put columns into the trial's row."""
        self.rows[number] |= columns
        self._changed = True

    def checkpoint(self, number: int, write: WriteCheckpoint) -> None:
        """Save the trial's checkpoint, now or, where that fails, with the next tables.

        Args:
            number: of the trial.
            write: writes the checkpoint to the file that it is given.
        """
        self._unsaved[number] = write
        try:
            self._save_checkpoints()
        except OSError as error:
            self._failed(error)

    def traceback(self, number: int, text: str) -> None:
        """Keep the traceback of a trial that failed."""
        try:
            with self._folder.traceback(number).replacing() as file:
                file.write(text.encode(errors="backslashreplace"))
        except OSError as error:
            self._failed(error)

    def end(self, number: int, status: Status, reason: str | None = None) -> None:
        """A trial ends."""
        reason = "; ".join(filter(None, (reason, self._notes.pop(number, None)))) or None
        self.rows[number] |= {"status": status, "reason": reason, "ended_at": datetime.now(UTC)}
        self._changed = True
        if status != Status.STOPPED:  # a stopped trial may go on later
            self._with_checkpoint.append(number)
            self._just_ended.append(number)

    # --- how the trials stand --------------------------------------------------------------------

    def counts(self) -> Counter[Status]:
        """Trials by status."""
        return Counter(row["status"] for row in self.rows.values())

    def best(self, most: int) -> list[Row]:
        """The best trials by the metric at its best epoch, with every column."""
        empty = dict.fromkeys(tables.TRIALS.names)
        return [empty | row for row in self._ranked(self.rows.values())[:most]]

    def epochs_run(self) -> float:
        """Epochs trained by all trials so far."""
        return float(sum(row["epochs"] for row in self.rows.values()))

    # --- the tables on disk ----------------------------------------------------------------------

    def write_when_due(self) -> None:
        """Write what has changed, as often as the share of time for it allows.

        What cannot be written is written the next time. After `FAILING_SECONDS` of failures
        `unwritable` says why the run is given up.

        Raises:
            RunError: another driver has the run.
        """
        if not (self._changed and self._is_due()):
            return
        try:
            self.flush()
            self._failing_since = None
        except OSError as error:
            self._failed(error)

    def flush(self) -> None:
        """Write both tables now.

        Raises:
            RunError: another driver has the run.
            OSError: they cannot be written.
        """
        self._hold.check()
        begun = time.monotonic()
        self._save_checkpoints()
        self._write(self._folder)
        self._unwritten.clear()
        try:
            self._drop_checkpoints()
        except OSError as error:  # the next time
            print(f"a checkpoint could not be removed: {error}")
        took = time.monotonic() - begun
        self._changed, self._write_again_at = False, begun + max(1.0, took / SHARE)

    def finish(self, reason: str, then: str = rescue.RESUME) -> None:
        """End the trials that still run as stopped, and write the tables for the last time.

        Args:
            reason: why they are stopped.
            then: what a person does next when the tables are saved in another place.

        Raises:
            RunError: the tables could not be written into the run's folder; it says where they are.
        """
        for number, row in self.rows.items():
            if row["status"] == Status.RUNNING:
                self.end(number, Status.STOPPED, reason)
        try:
            self.flush()
        except OSError as error:
            raise rescue.save(self._folder, self._write_all, error, then) from None
        except RunError as error:
            raise rescue.save(self._folder, self._write_all, str(error), then) from None

    def give_up(self, reason: str) -> None:
        """Note that what the trials do cannot be kept. The first reason stays."""
        self.unwritable = self.unwritable or reason

    def _is_due(self) -> bool:
        if time.monotonic() >= self._write_again_at:
            return True
        many = max(self._unwritten.values(), default=0) >= MOST_UNWRITTEN
        return many and not self._failing_since

    def _failed(self, error: OSError) -> None:
        now = time.monotonic()
        print(f"could not be written, and will be again: {error}")  # into the log
        self._failing_since = self._failing_since or now
        self._write_again_at = now + 1
        if now - self._failing_since > FAILING_SECONDS:
            self.give_up(f"{error.filename or self._folder}: {storage.reason(error)}")

    def _save_checkpoints(self) -> None:
        for number, write in list(self._unsaved.items()):
            before = self._folder.checkpoint_before(number)
            with self._folder.checkpoint(number).replacing(keep=before) as file:
                write(file)
            del self._unsaved[number]

    def _write(self, folder: RunFolder) -> None:
        # Reports first: a kill between the two must not leave a trial that ended without them.
        reports = self.reports | self._undecided
        tables.write(folder.epochs, reports.values(), tables.EPOCHS)
        tables.write(folder.trials, [*self.rows.values()], tables.TRIALS)

    def _write_all(self, folder: RunFolder) -> None:
        with folder.study.replacing() as file:
            file.write(self._document)
        for number, write in self._unsaved.items():
            with folder.checkpoint(number).replacing() as file:
                write(file)
        self._write(folder)

    def _drop_checkpoints(self) -> None:
        """Keep the checkpoints of the best ended trials only.

        The tables are written before: a trial whose row says that it runs can go on after a kill.
        """
        while self._just_ended:
            self._folder.checkpoint_before(self._just_ended[-1]).delete()
            self._just_ended.pop()
        best = self._ranked(self.rows[n] for n in self._with_checkpoint)[:KEPT_CHECKPOINTS]
        keep = {row["trial"] for row in best}
        for number in set(self._with_checkpoint) - keep:
            self._folder.checkpoint(number).delete()
        self._with_checkpoint = list(keep)

    def _ranked(self, rows: Iterable[Row]) -> list[Row]:
        column = f"best_{self._tuning.metric}"
        return ranking.best_first((row for row in rows if column in row), self._tuning)
