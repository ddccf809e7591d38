"""Turns the events of Ray Tune into rows of the tables, and knows why a study ends."""

import heapq
import time
from datetime import UTC, datetime
from typing import Any

from ray import tune

from ffnet.errors import RunError
from ffnet.run.hold import Hold
from ffnet.run.past import Past
from ffnet.run.rows import PLACE
from ffnet.run.sessions import Session
from ffnet.run.tables import Row, Status
from ffnet.run.writer import Writer
from ffnet.spec.net import PATH
from ffnet.spec.study import Study
from ffnet.spec.trial import TrialConfig
from ffnet.tuning.losses import Losses


class Recorder(tune.Callback):  # type: ignore[misc]
    """Calls the writer of the run for each event of Ray Tune.

    Attributes:
        writer: writes the tables.
        stopping: why the study ends early; None while it does not.
        interrupted: whether a signal ends the study.
        waiting: numbers of the unfinished trials of the past that no worker has yet.
        ended_before: how many trials had ended when this process began.
    """

    def __init__(
        self,
        study: Study,
        hold: Hold,
        losses: Losses,
        past: Past,
        session: Session | None = None,
    ) -> None:
        """Begin with the rows of the past.

        Args:
            study: the study that runs.
            hold: gives this process the right to write into the run's folder.
            losses: knows which trials are given up.
            past: what an earlier process of this study did; empty for a new study.
            session: gets what this process does. With None, nothing is recorded of it.

        Raises:
            InputError: the folder cannot be written.
        """
        self.stopping: str | None = None
        self.interrupted = False
        self.waiting = {row["trial"] for row in past.trials if past.goes_on(row, study)}
        self.ended_before = len(past.trials) - len(self.waiting)
        self._session = session or Session.beginning({}, None, study.resources.cpus)
        self._since: dict[int, float] = {}  # trial → when it began or reported, by `monotonic`
        keep = study.budget.keep_checkpoints
        self.writer = Writer(hold, study.tuning, past, self.waiting, session, keep)
        self._study, self._losses = study, losses

    def on_trial_start(self, trial: Any, **_: Any) -> None:
        """A worker begins the trial or continues it."""
        config = self._begin(trial)
        self.waiting.discard(config.number)
        self._since[config.number] = time.monotonic()
        self._session.trials_at = self._session.trials_at or datetime.now(UTC)

    def on_trial_result(self, trial: Any, result: Row, **_: Any) -> None:
        """A trial reported, or it failed: see `TrialWorker.step`."""
        number = _number(trial)
        if note := result.get("note"):
            print(f"trial {number}: {note}; it continued from an earlier state")
            self.writer.note(number, note)
        for earlier in result.get("earlier", ()):
            self.writer.report(number, earlier, again=True)
        self.writer.spend(number, result, ("setup_seconds", "report_seconds"))
        self.writer.put(number, {n: result[n] for n in (*PLACE, *PATH) if n in result})
        if "step" in result:
            self.writer.report(number, result, again=result.get("again", False))
            self._since[number] = time.monotonic()
        else:
            self._lose(number)
        if result["status"] != Status.RUNNING:
            self.writer.put(number, {name: result[name] for name in ("status", "reason")})
        if "unwritable" in result:
            self.end_unwritable(result["unwritable"])
        if "traceback" in result:
            print(result["traceback"])
            self.writer.traceback(number, result["traceback"])

    def on_trial_complete(self, trial: Any, **_: Any) -> None:
        """A trial has ended, or the scheduler has stopped it."""
        row = self.writer.rows[_number(trial)]
        self._since.pop(row["trial"], None)
        status, reason = Status(row["status"]), row["reason"]
        if status == Status.RUNNING:
            status = Status.DONE
            if row["epochs"] < self._study.budget.epochs:
                status = Status.PRUNED
                scheduler = self._study.tuning.scheduler
                reason = f"{scheduler} stopped it after {row['epochs']:g} epochs"
        self.writer.end(row["trial"], status, reason)

    def on_trial_error(self, trial: Any, **_: Any) -> None:
        """A worker was lost. The search knows it already: it repeats the trial or gives it up."""
        number = _number(trial)
        self._lose(number)
        if reason := self._losses.reasons.get(number):
            if number not in self.writer.rows:
                self._begin(trial)
            self.writer.end(number, Status.FAILED, reason)

    def on_step_end(self, **_: Any) -> None:
        """Write the changed tables."""
        try:
            self.writer.write_when_due()
        except RunError as error:  # another process has taken over the run
            self.stopping = self.stopping or str(error)
        if self.writer.unwritable:
            self.end_unwritable(self.writer.unwritable)

    def end_unwritable(self, reason: str) -> None:
        """End the study, because its results cannot be saved any more."""
        self.writer.give_up(reason)
        self.stopping = self.stopping or f"the run could not be read or written: {reason}"

    def finish(self) -> None:
        """End the rows of running trials and write the tables a last time: see `Writer.finish`."""
        # Only so many trials run at the same time: the others are paused (hyperband, pbt).
        active = self._session.slots or len(self._since)
        for number in heapq.nlargest(active, self._since, key=self._since.__getitem__):
            self._lose(number)
        self.writer.finish(self.stopping or "the study ended with an error")

    def _lose(self, number: int) -> None:
        """Add what a trial did since it began or reported to the session's lost seconds."""
        now = time.monotonic()
        self._session.lost_seconds += now - self._since.pop(number, now)

    def _begin(self, trial: Any) -> TrialConfig:
        config = TrialConfig.model_validate(trial.config["trial"])
        self.writer.begin(config, trial.config["sampled_at"], trial.config.get("parent"))
        return config


def _number(trial: Any) -> int:
    return int(trial.config["trial"]["number"])
