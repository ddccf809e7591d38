"""The only writer of a run: it writes the rows of `rows.Rows` into the tables on disk."""

import time
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from ffnet.errors import RunError
from ffnet.run import rescue, storage, tables
from ffnet.run.checkpoints import KEPT_REPORTS
from ffnet.run.folder import RunFolder
from ffnet.run.hold import Hold
from ffnet.run.past import Past
from ffnet.run.rows import Rows
from ffnet.run.sessions import Session
from ffnet.run.storage import File
from ffnet.run.tables import Status
from ffnet.spec.sections import Budget, Tuning

SHARE = 0.05
"""Share of the process's time that writing the tables may take."""

MOST_UNWRITTEN = KEPT_REPORTS // 2
"""How many reports of a trial may wait for a write. After a kill, the checkpoint has them."""

FAILING_SECONDS = 60.0
"""A run that cannot be written for so long is given up."""

Buffer = bytes | memoryview


class Writer(Rows):
    """The rows of a run, in memory and on disk.

    Attributes:
        unwritable: why the writer has given the run up; None while the folder can be written.
    """

    def __init__(
        self,
        hold: Hold,
        tuning: Tuning,
        past: Past | None = None,
        waiting: Collection[int] = (),
        session: Session | None = None,
        keep: int = Budget().keep_checkpoints,
    ) -> None:
        """Begin with the tables of the past, and write them.

        Args:
            hold: gives this process the right to write into the run's folder, which must have a
                study.json. When the hold is lost, the writer writes nothing more.
            tuning: says which trial is better, and whether a trial may report a step again.
            past: what earlier processes of the study did. With None, the run is new.
            waiting: the numbers of the past trials that are trained further.
            session: what this process does for the run. With None, nothing is recorded of it.
            keep: how many ended trials, the best ones, keep their checkpoints.

        Raises:
            InputError: the folder cannot be written.
        """
        super().__init__(tuning)
        past = past or Past()
        self.rows |= {row["trial"]: row for row in past.trials}
        self.reports |= {(report["trial"], report["step"]): report for report in past.reports}
        self.unwritable: str | None = None
        self._hold, self._folder = hold, hold.folder
        self._session, self._sessions = session, [*past.sessions, *filter(None, [session])]
        # These reports stay in the table until the trial's checkpoint brings them again.
        self._undecided = {(report["trial"], report["step"]): report for report in past.undecided}
        self._with_checkpoint = [
            number
            for number in self.rows
            if number not in waiting and self._folder.checkpoint(number).exists()
        ]
        self._keep = keep
        self._just_ended: list[int] = []  # trials that still have their spare checkpoint
        # (trial, whether these are its best weights) → the content of its latest checkpoint
        self._contents: dict[tuple[int, bool], Buffer] = {}
        self._unsaved: set[tuple[int, bool]] = set()
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
        """A trial ends. Only the best ended trials keep their checkpoints: see `keep`."""
        super().end(number, status, reason)
        if status != Status.STOPPED:  # a stopped trial may go on later
            self._with_checkpoint.append(number)
            self._just_ended.append(number)

    def checkpoint(self, number: int, content: Buffer, best: bool = False) -> None:
        """Save a trial's checkpoint now. If that fails, the next write of the tables tries again.

        Args:
            number: the trial's number.
            content: the whole file.
            best: whether the trial's report is its best so far.
        """
        for key in ((number, True), (number, False)) if best else ((number, False),):
            self._contents[key] = content
            self._unsaved.add(key)
        try:
            self._save_checkpoints()
        except OSError as error:
            self._failed(error)

    def traceback(self, number: int, text: str) -> None:
        """Write the traceback of a failed trial into the run's folder."""
        try:
            with self._folder.traceback(number).replacing() as file:
                file.write(text.encode(errors="backslashreplace"))
        except OSError as error:
            self._failed(error)

    def write_when_due(self) -> None:
        """Write the tables if they have changed and the last write is long enough ago: see SHARE.

        A write that fails is tried again later. After FAILING_SECONDS of failures, `unwritable`
        says why the run is given up.

        Raises:
            RunError: another driver has taken over the run.
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
            RunError: another driver has taken over the run.
            OSError: the tables cannot be written.
        """
        self._hold.check()
        begun = time.monotonic()
        self._save_checkpoints()
        self._write(self._folder)
        self._unwritten.clear()
        try:
            self._drop_checkpoints()
        except OSError as error:  # the next write tries again
            print(f"a checkpoint could not be removed: {error}")
        took = time.monotonic() - begun
        self.changed, self._write_again_at = False, begun + max(1.0, took / SHARE)

    def finish(self, reason: str, then: str = rescue.RESUME) -> None:
        """End all running trials with the status `stopped`, and write the tables a last time.

        Args:
            reason: why the trials are stopped.
            then: what the user should do next if the tables had to be saved in another place.

        Raises:
            RunError: the tables could not be written into the run's folder. It says where they are.
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
        """Set `unwritable`, because the trials' results cannot be saved. The first reason stays."""
        self.unwritable = self.unwritable or reason

    def refuse_given_up(self, resume: str) -> None:
        """Raise an error if the run was given up.

        Args:
            resume: what the user writes to continue the study.

        Raises:
            RunError: it says why the run was given up.
        """
        if self.unwritable:
            raise RunError(
                f"the run could not be read or written: {self.unwritable}; its tables are whole; "
                f"repair the folder, and continue with {resume}"
            )

    def _is_due(self) -> bool:
        if time.monotonic() >= self._write_again_at:
            return True
        many = max(self._unwritten.values(), default=0) >= MOST_UNWRITTEN
        return many and not self._failing_since

    def _failed(self, error: OSError) -> None:
        now = time.monotonic()
        print(f"a write failed and will be tried again: {error}")  # goes to the log
        self._failing_since = self._failing_since or now
        self._write_again_at = now + 1
        if now - self._failing_since > FAILING_SECONDS:
            self.give_up(f"{error.filename or self._folder}: {storage.reason(error)}")

    def _save_checkpoints(self) -> None:
        for number, best in sorted(self._unsaved):
            before = None if best else self._folder.checkpoint_before(number)
            with _checkpoint(self._folder, number, best).replacing(keep=before) as file:
                file.write(self._contents[number, best])
            self._unsaved.remove((number, best))

    def _write(self, folder: RunFolder) -> None:
        # Reports come first: after a kill between the two writes, no ended trial lacks a report.
        reports = self.reports | self._undecided
        tables.write(folder.epochs, reports.values(), tables.EPOCHS)
        if self._session:
            self._session.written_at = datetime.now(UTC)
        tables.write(folder.trials, [*self.rows.values()], tables.TRIALS, self._sessions)

    def _write_all(self, folder: RunFolder) -> None:
        with folder.study.replacing() as file:
            file.write(self._document)
        for (number, best), content in self._contents.items():
            with _checkpoint(folder, number, best).replacing() as file:
                file.write(content)
        self._write(folder)

    def _drop_checkpoints(self) -> None:
        """Keep the checkpoints of the best ended trials only.

        The tables must be written before: after a kill, a trial whose row says `running` needs its
        checkpoint.
        """
        while self._just_ended:
            self._folder.checkpoint_before(self._just_ended[-1]).delete()
            self._just_ended.pop()
        best = self.ranked(self.rows[n] for n in self._with_checkpoint)[: self._keep]
        keep = {row["trial"] for row in best}
        for number in set(self._with_checkpoint) - keep:
            # In this order: after a kill between the two, the next process finds the second file.
            self._folder.checkpoint_best(number).delete()
            self._folder.checkpoint(number).delete()
        self._with_checkpoint = list(keep)


def _checkpoint(folder: RunFolder, number: int, best: bool) -> File:
    return folder.checkpoint_best(number) if best else folder.checkpoint(number)
