"""Reports become tables: a Ray Tune callback that keeps a row for each trial started."""

import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from ray import tune

from ffnet.errors import RunError
from ffnet.run import ranking, rescue, storage, tables
from ffnet.run.checkpoints import KEPT_REPORTS
from ffnet.run.folder import RunFolder
from ffnet.run.hold import Hold
from ffnet.run.past import Past
from ffnet.run.tables import Row
from ffnet.spec.study import Study
from ffnet.spec.trial import TrialConfig
from ffnet.tuning.losses import Losses

SHARE = 0.05  # of the driver's time that writing tables may take
MOST_UNWRITTEN = KEPT_REPORTS // 2  # reports of a trial: after a kill they come from a checkpoint
FAILING_SECONDS = 60.0  # for which tables that cannot be written do not end a study
KEPT_CHECKPOINTS = 5  # of ended trials: the best
PLACE = ("node", "worker", "worker_memory")  # columns of both tables, or of trials.parquet


class Recorder(tune.Callback):  # type: ignore[misc]
    """Keeps the tables of a run, in memory and on disk.

    Attributes:
        rows: trial number → its row of trials.parquet.
        stopping: why the study ends early, once it does.
        interrupted: whether a signal is why.
        unwritable: what keeps the run's folder from being written, when that ends the study.
        waiting: trials with a row that have still to go on.
        ended_before: how many trials had ended before.
    """

    def __init__(
        self, study: Study, folder: RunFolder, losses: Losses, past: Past, hold: Hold
    ) -> None:
        """Begin with the tables as they were, on disk as well.

        Args:
            study: what is run.
            folder: where the tables go.
            losses: knows which lost trials are not begun again.
            past: the study before it was stopped.
            hold: this process's hold on the folder; nothing is written without it.
        """
        self._hold = hold
        self.rows: dict[int, Row] = {row["trial"]: row for row in past.trials}
        self.stopping: str | None = None
        self.interrupted = False
        self.unwritable: str | None = None
        self.waiting = {row["trial"] for row in past.trials if past.goes_on(row, study)}
        self.ended_before = len(past.trials) - len(self.waiting)
        self._failing_since: float | None = None
        self._study, self._folder, self._losses = study, folder, losses
        self._reports = {(report["trial"], report["step"]): report for report in past.reports}
        # They stay in the table until they come again, with the trial's checkpoint.
        self._undecided = {(report["trial"], report["step"]): report for report in past.undecided}
        self._kept = [
            row["trial"]
            for row in past.trials
            if not past.goes_on(row, study) and folder.checkpoint(row["trial"]).exists()
        ]
        self._notes: dict[int, str] = {}
        self._ended: list[int] = []  # trials whose checkpoint before the last may go
        self._changed, self._write_again_at = True, 0.0
        self._unwritten: Counter[int] = Counter()  # reports by trial
        try:
            with folder.study.open() as file:
                self._document = file.read()
            self.flush()
        except OSError as error:
            raise folder.cannot_be_written(error) from None

    def counts(self) -> Counter[str]:
        """Trials by status."""
        return Counter(row["status"] for row in self.rows.values())

    def best(self, most: int) -> list[Row]:
        """The best trials by the study's metric at its best epoch, with every column."""
        empty = dict.fromkeys(tables.TRIALS.names)
        return [empty | row for row in self._ranked(self.rows.values())[:most]]

    def epochs_run(self) -> float:
        """Epochs trained by all trials so far."""
        return float(sum(row["epochs"] for row in self.rows.values()))

    def on_trial_start(self, trial: Any, **_: Any) -> None:
        """A worker has the trial, for the first time or again."""
        config = TrialConfig.model_validate(trial.config["trial"])
        self.waiting.discard(config.number)
        row = self.rows.get(config.number) or self._begin(config, trial.config["sampled_at"])
        row |= config.hyperparameters()  # PBT may have changed them
        row["parent"] = trial.config.get("parent", row.get("parent"))
        row |= {"status": "running", "reason": None}
        row.pop("ended_at", None)
        self._changed = True

    def _begin(self, config: TrialConfig, sampled_at: float) -> Row:
        """The row of a trial that begins."""
        row = self.rows[config.number] = {
            "trial": config.number,
            "status": "running",
            **config.hyperparameters(),
            "seed": config.seed,
            "epochs": 0.0,
            "queue_seconds": time.time() - sampled_at,
            "started_at": datetime.now(UTC),
        }
        return row

    def on_trial_result(self, trial: Any, result: Row, **_: Any) -> None:
        """A report, or the end of a trial that failed."""
        row = self._row(trial)
        if note := result.get("note"):
            print(f"trial {row['trial']}: {note}; it went on from before")
            self._notes[row["trial"]] = note
        for earlier in result.get("earlier", ()):
            self._note(row, earlier, again=True)
        for name in ("setup_seconds", "report_seconds"):
            row[name] = row.get(name, 0.0) + result.get(name, 0.0)
        row |= {name: result[name] for name in PLACE}
        if "step" in result:
            self._note(row, result, again=result.get("again", False))
        if result["status"] != "running":
            row |= {"status": result["status"], "reason": result["reason"]}
        if "unwritable" in result:
            self.end_unwritable(result["unwritable"])
        if "traceback" in result:
            self._keep_traceback(row["trial"], result["traceback"])
        self._changed = True

    def _keep_traceback(self, trial: int, text: str) -> None:
        print(text)
        try:
            with self._folder.traceback(trial).replacing() as file:
                file.write(text.encode(errors="backslashreplace"))
        except OSError as error:
            self._failed(error)

    def end_unwritable(self, reason: str) -> None:
        """End the study: what its trials do cannot be kept."""
        self.unwritable = self.unwritable or reason
        self.stopping = self.stopping or f"the run could not be read or written: {reason}"

    def _failed(self, error: OSError) -> None:
        """Try again later; after so long, end the study."""
        now = time.monotonic()
        print(f"could not be written, and will be again: {error}")  # into ray.log
        self._failing_since = self._failing_since or now
        self._write_again_at = now + 1
        if now - self._failing_since > FAILING_SECONDS:
            self.end_unwritable(f"{error.filename or self._folder}: {storage.reason(error)}")

    def _note(self, row: Row, result: Row, again: bool) -> None:
        """Put a report into both tables, unless it stands there.

        Under PBT a trial reports a step anew when it has gone on from another trial's weights.

        Args:
            row: the trial's.
            result: the report.
            again: whether it comes from a checkpoint, as the tables may lack it.
        """
        known = (row["trial"], result["step"]) in self._reports
        if known and (again or self._study.tuning.scheduler != "pbt"):
            return
        row |= {name: result[name] for name in PLACE} | {"epochs": result["epoch"]}
        for name in ("train_seconds", "evaluate_seconds"):
            row[name] = row.get(name, 0.0) + result[name]
        report = {name: result.get(name, row.get(name)) for name in tables.EPOCHS.names}
        for name in ("started_at", "reported_at"):
            report[name] = datetime.fromisoformat(result[name])
        self._reports[row["trial"], result["step"]] = report
        self._undecided.pop((row["trial"], result["step"]), None)
        self._unwritten[row["trial"]] += 1
        tables.note_score(row, result)

    def on_trial_complete(self, trial: Any, **_: Any) -> None:
        """A trial has ended by itself or by the scheduler."""
        row = self._row(trial)
        if row["status"] == "running":
            if row["epochs"] >= self._study.budget.epochs:
                self._end(row, "done", None)
            else:
                scheduler = self._study.tuning.scheduler
                self._end(row, "pruned", f"{scheduler} stopped it after {row['epochs']:g} epochs")
        else:
            self._end(row, row["status"], row["reason"])

    def on_trial_error(self, trial: Any, **_: Any) -> None:
        """A worker was lost. The search was told before: it begins the trial again or gives up."""
        config = TrialConfig.model_validate(trial.config["trial"])
        reason = self._losses.reasons.get(config.number)
        if reason:
            row = self.rows.get(config.number) or self._begin(config, trial.config["sampled_at"])
            self._end(row, "failed", reason)

    def on_step_end(self, **_: Any) -> None:
        """Write what changed, as often as the share of time for it allows."""
        if self._changed and self._is_time():
            try:
                self.flush()
                self._failing_since = None
            except OSError as error:  # the rows are kept: the next time writes them all
                self._failed(error)
            except RunError as error:  # another driver has the run
                self.stopping = self.stopping or str(error)

    def _is_time(self) -> bool:
        if time.monotonic() >= self._write_again_at:
            return True
        many = max(self._unwritten.values(), default=0) >= MOST_UNWRITTEN
        return many and not self._failing_since

    def finish(self) -> None:
        """End what still runs, and write the tables for the last time.

        Raises:
            RunError: they could not be written into the run's folder; it says where they are.
        """
        for row in [*self.rows.values()]:
            if row["status"] == "running":
                self._end(row, "stopped", self.stopping or "the study ended with an error")
        try:
            self.flush()
        except OSError as error:
            raise rescue.save(self._folder, self._write_all, error) from None
        except RunError as error:
            raise rescue.save(self._folder, self._write_all, str(error)) from None

    def _write_all(self, folder: RunFolder) -> None:
        with folder.study.replacing() as file:
            file.write(self._document)
        self._write(folder)

    def flush(self) -> None:
        """Write both tables now. Raises InputError when another driver has taken the run over."""
        self._hold.check()
        begun = time.monotonic()
        self._write(self._folder)
        self._unwritten.clear()
        try:
            self._drop_checkpoints()
        except OSError as error:  # the next time
            print(f"a checkpoint could not be removed: {error}")
        took = time.monotonic() - begun
        self._changed, self._write_again_at = False, begun + max(1.0, took / SHARE)

    def _write(self, folder: RunFolder) -> None:
        # Reports first: a kill between the two must not leave a trial that ended without them.
        reports = self._reports | self._undecided
        tables.write(folder.epochs, reports.values(), tables.EPOCHS)
        tables.write(folder.trials, [*self.rows.values()], tables.TRIALS)

    def _row(self, trial: Any) -> Row:
        return self.rows[trial.config["trial"]["number"]]

    def _end(self, row: Row, status: str, reason: str | None) -> None:
        reason = "; ".join(filter(None, (reason, self._notes.pop(row["trial"], None)))) or None
        row |= {"status": status, "reason": reason, "ended_at": datetime.now(UTC)}
        self._changed = True
        if status != "stopped":  # one that is stopped may go on later
            self._kept.append(row["trial"])
            self._ended.append(row["trial"])

    def _drop_checkpoints(self) -> None:
        """Keep those of the best ended trials only.

        The tables are written before: a trial whose row says that it runs can go on after a kill.
        """
        while self._ended:
            self._folder.checkpoint_before(self._ended[-1]).delete()
            self._ended.pop()
        best = self._ranked(self.rows[number] for number in self._kept)[:KEPT_CHECKPOINTS]
        keep = {row["trial"] for row in best}
        for number in set(self._kept) - keep:
            self._folder.checkpoint(number).delete()
        self._kept = list(keep)

    def _ranked(self, rows: Iterable[Row]) -> list[Row]:
        column = f"best_{self._study.tuning.metric}"
        return ranking.best_first((row for row in rows if column in row), self._study.tuning)
