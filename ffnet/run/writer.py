"""The one writer of a run: it keeps the rows of `rows.Rows` in the tables on disk."""

import time
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from ffnet.errors import RunError
from ffnet.run import rescue, storage, tables
from ffnet.run.checkpoints import KEPT_REPORTS
from ffnet.run.folder import RunFolder
from ffnet.run.hold import Hold
from ffnet.run.past import Past
from ffnet.run.rows import Rows
from ffnet.run.tables import Status
from ffnet.spec.sections import Tuning

SHARE = 0.05
"""Share of the process's time that writing the tables may take."""

MOST_UNWRITTEN = KEPT_REPORTS // 2
"""Reports of a trial that may wait to be written; after a kill they come from its checkpoint."""

FAILING_SECONDS = 60.0
"""Time after which a run that cannot be written is given up."""

KEPT_CHECKPOINTS = 5
"""Number of ended trials that keep their checkpoints: the best ones."""

Buffer = bytes | memoryview


class Writer(Rows):
    """The rows of a run, in memory and on disk.

    Attributes:
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
        super().__init__(tuning)
        past = past or Past()
        self.rows |= {row["trial"]: row for row in past.trials}
        self.reports |= {(report["trial"], report["step"]): report for report in past.reports}
        self.unwritable: str | None = None
        self._hold, self._folder = hold, hold.folder
        # These stay in the table until they come again with the trial's checkpoint.
        self._undecided = {(report["trial"], report["step"]): report for report in past.undecided}
        self._with_checkpoint = [
            number
            for number in self.rows
            if number not in waiting and self._folder.checkpoint(number).exists()
        ]
        self._just_ended: list[int] = []  # these still have two checkpoints
        self._unsaved: dict[int, Buffer] = {}
        self._failing_since: float | None = None
        self._write_again_at = 0.0
        self._unwritten: Counter[int] = Counter()  # reports by trial
        try:
            with self._folder.study.open() as file:
                self._document = file.read()
            self.flush()
        except OSError as error:
            raise self._folder.cannot_be_written(error) from None

    def report(self, number: int, report: Mapping[str, Any], again: bool = False) -> bool:
        """Put a report into both tables: see `Rows.report`."""
        new = super().report(number, report, again)
        if new:
            self._undecided.pop((number, report["step"]), None)
            self._unwritten[number] += 1
        return new

    def end(self, number: int, status: Status, reason: str | None = None) -> None:
        """A trial ends. Of the ended trials only the best keep their checkpoints."""
        super().end(number, status, reason)
        if status != Status.STOPPED:  # a stopped trial may go on later
            self._with_checkpoint.append(number)
            self._just_ended.append(number)

    def checkpoint(self, number: int, content: Buffer) -> None:
        """Save a trial's checkpoint, now or, where that fails, with the next tables.

        Args:
            number: of the trial.
            content: the whole file.
        """
        self._unsaved[number] = content
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

    def write_when_due(self) -> None:
        """Write what has changed, as often as the share of time for it allows.

        What cannot be written is written the next time. After `FAILING_SECONDS` of failures
        `unwritable` says why the run is given up.

        Raises:
            RunError: another driver has the run.
        """
        if not (self.changed and self._is_due()):
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
        self.changed, self._write_again_at = False, begun + max(1.0, took / SHARE)

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

    def refuse_given_up(self, resume: str) -> None:
        """Do nothing, unless the run was given up.

        Args:
            resume: what a person writes to go on with the study.

        Raises:
            RunError: it says why the run was given up.
        """
        if self.unwritable:
            raise RunError(
                f"the run could not be read or written: {self.unwritable}; its tables are whole; "
                f"mend that, and go on with {resume}"
            )

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
        for number, content in list(self._unsaved.items()):
            before = self._folder.checkpoint_before(number)
            with self._folder.checkpoint(number).replacing(keep=before) as file:
                file.write(content)
            del self._unsaved[number]

    def _write(self, folder: RunFolder) -> None:
        # Reports first: a kill between the two must not leave a trial that ended without them.
        reports = self.reports | self._undecided
        tables.write(folder.epochs, reports.values(), tables.EPOCHS)
        tables.write(folder.trials, [*self.rows.values()], tables.TRIALS)

    def _write_all(self, folder: RunFolder) -> None:
        with folder.study.replacing() as file:
            file.write(self._document)
        for number, content in self._unsaved.items():
            with folder.checkpoint(number).replacing() as file:
                file.write(content)
        self._write(folder)

    def _drop_checkpoints(self) -> None:
        """Keep the checkpoints of the best ended trials only.

        The tables are written before: a trial whose row says that it runs can go on after a kill.
        """
        while self._just_ended:
            self._folder.checkpoint_before(self._just_ended[-1]).delete()
            self._just_ended.pop()
        best = self.ranked(self.rows[n] for n in self._with_checkpoint)[:KEPT_CHECKPOINTS]
        keep = {row["trial"] for row in best}
        for number in set(self._with_checkpoint) - keep:
            self._folder.checkpoint(number).delete()
        self._with_checkpoint = list(keep)
