"""A stand-in for Ray Tune's controller, without workers. It calls the search, the scheduler and the
recorder in the same order as ray.tune.execution.tune_controller.

A trial's number decides its curve. A driver can be killed between any two events; then the tables
stay as they were last written, and the checkpoints as they are.
"""

import random
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from ffnet.run import past as pasts
from ffnet.run import storage
from ffnet.run.folder import RunFolder
from ffnet.run.improvement import Improvement
from ffnet.run.past import Past
from ffnet.run.tables import Row
from ffnet.spec.study import Study
from ffnet.spec.trial import TrialConfig
from ffnet.tuning.losses import Losses
from ffnet.tuning.recorder import Recorder
from ffnet.tuning.schedulers import make_scheduler, replay
from ffnet.tuning.search import StudySearch

PENDING, RUNNING, PAUSED, TERMINATED, ERROR = "PENDING", "RUNNING", "PAUSED", "TERMINATED", "ERROR"
PLACE = {"node": "here", "worker": 1, "worker_memory": 1}

Checkpoints = dict[int, list[Row]]
"""{number of a trial: its reports so far, as a checkpoint keeps them}."""


class FakeTrial:
    """Has the attributes of Ray Tune's trials that schedulers and callbacks read."""

    def __init__(self, trial_id: str, config: Row) -> None:
        self.trial_id, self.config, self.status = trial_id, config, PENDING
        self.last_result: Row = {}
        self.is_saving, self.experiment_tag, self.local_experiment_path = False, "", ""
        self.checkpoint = None
        self.temporary_state = SimpleNamespace(saving_to=None)
        manager = SimpleNamespace(
            checkpoint_config=SimpleNamespace(num_to_keep=None), _latest_checkpoint_result=None
        )
        self.run_metadata = SimpleNamespace(checkpoint_manager=manager)
        self.own: list[Row] | None = None  # the trial's reports, once a worker has the trial
        self.new: list[float] = []  # epochs to come

    @property
    def number(self) -> int:
        return int(self.config["trial"]["number"])

    def is_finished(self) -> bool:
        return self.status in (TERMINATED, ERROR)

    def set_config(self, config: Row) -> None:
        self.config = config

    def set_experiment_tag(self, tag: str) -> None:
        self.experiment_tag = tag


class MiniTune:
    """Runs a study with `slots` workers.

    Attributes:
        ends: {trial number: ("diverge" | "fail", epoch) or ("lose", epoch, times)}.
        steps: how many reports workers have trained, repeated reports included.
    """

    def __init__(
        self, study: Study, folder: RunFolder, checkpoints: Checkpoints, past: Past | None = None,
        slots: int = 1, ends: dict[int, tuple[Any, ...]] | None = None, seed: int = 0,
        every: float = 1.0,
    ) -> None:  # fmt: skip
        past = past or Past()
        self.study, self.checkpoints, self.slots, self.every = study, checkpoints, slots, every
        self.ends = dict(ends or {})
        losses = Losses()
        if not folder.study.exists():
            storage.write_json(folder.study, {"study": study.resolved()})
        hold: Any = SimpleNamespace(folder=folder, check=lambda: None)
        self.recorder = Recorder(study, hold, losses, past)
        self.search = StudySearch(study, past, self.recorder.writer.rows, losses, slots)
        self.scheduler = make_scheduler(study, losses)
        replay(self.scheduler, past)
        self.trials: list[FakeTrial] = []
        self.random = random.Random(seed)
        random.seed(seed)  # Ray's population-based training draws from this generator
        self.finished = False
        self.steps: list[tuple[int, float]] = []
        self.search_alg = None

    # --- what schedulers call ---

    def get_trials(self) -> list[FakeTrial]:
        return self.trials

    def get_live_trials(self) -> list[FakeTrial]:
        return [trial for trial in self.trials if not trial.is_finished()]

    def pause_trial(self, trial: FakeTrial, should_checkpoint: bool = True) -> None:
        trial.status, trial.own = PAUSED, None

    def _schedule_trial_save(self, trial: FakeTrial, result: Row) -> Any:
        return SimpleNamespace(reports=list(self.checkpoints[trial.number]))

    def stop_trial(self, trial: FakeTrial) -> None:
        if trial.is_finished():
            return
        if trial.status == RUNNING:
            self.scheduler.on_trial_complete(self, trial, trial.last_result)
            self.search.on_trial_complete(trial.trial_id, trial.last_result)
        else:
            self.scheduler.on_trial_remove(self, trial)
            self.search.on_trial_complete(trial.trial_id)
        self.recorder.on_trial_complete(trial)
        trial.status = TERMINATED

    # --- the loop ---

    def run(self) -> dict[int, Row]:
        """Run to the end. Returns {trial number: row}."""
        while self.step():
            pass
        return {n: self.recorder.writer.rows[n] for n in sorted(self.recorder.writer.rows)}

    def step(self) -> bool:
        """Do the next event. Returns False at the end of the study."""
        self._fill()
        running = [trial for trial in self.trials if trial.status == RUNNING]
        if running:
            self._event(self.random.choice(running))
        else:
            waiting = [(t.number, t.status) for t in self.get_live_trials()]
            assert not waiting, f"the study waits for ever: {waiting}"
        before = set(self.recorder.writer._with_checkpoint)
        self.recorder.writer._drop_checkpoints()
        for number in before - set(self.recorder.writer._with_checkpoint):
            self.checkpoints.pop(number, None)
        return bool(running) or not self.finished

    def _fill(self) -> None:
        while sum(trial.status == RUNNING for trial in self.trials) < self.slots:
            if not self.finished and not any(t.status == PENDING for t in self.trials):
                trial_id = str(len(self.trials))
                config = self.search.suggest(trial_id)
                self.finished = config == Searcher.FINISHED
                if isinstance(config, dict):
                    self.trials.append(FakeTrial(trial_id, config))
                    self.scheduler.on_trial_add(self, self.trials[-1])
            chosen = self.scheduler.choose_trial_to_run(self)
            chosen = chosen or next((t for t in self.trials if t.status == PENDING), None)
            if chosen is None:
                return
            clone = chosen.run_metadata.checkpoint_manager._latest_checkpoint_result
            if clone:
                self.checkpoints[chosen.number] = list(clone.checkpoint.reports)
                chosen.run_metadata.checkpoint_manager._latest_checkpoint_result = None
            self.recorder.on_trial_start(chosen)
            chosen.status = RUNNING

    def _event(self, trial: FakeTrial) -> None:
        end = self.ends.get(trial.number, ("done", float("inf")))
        epoch = self._reports(trial)[-1]["epoch"] if self._reports(trial) else 0.0
        first, trial.own = trial.own is None, self._reports(trial)
        own = [r for r in trial.own if r["trial"] == trial.number]
        if first and own and own[-1] is trial.own[-1]:
            *earlier, last = own
            again = last | {"earlier": earlier, "again": True}
            self._result(trial, again | self._outlook(trial))
        elif end[0] == "lose" and epoch + self.every >= end[1] and end[2]:
            self.ends[trial.number] = (*end[:2], end[2] - 1)
            if self.random.random() < 0.5:  # the report was saved before the worker was lost
                self._train(trial, min(epoch + self.every, self.study.budget.epochs))
            self._lose(trial)
        elif end[0] == "fail" and epoch + self.every >= end[1]:
            failed = {**PLACE, "status": "failed", "reason": "it raised"}
            self._result(trial, failed, done=True)
        elif end[0] == "diverge" and epoch + self.every >= end[1]:
            diverged = self._report(trial, epoch + self.every) | {"reason": "nan"}
            for name in ("val_accuracy", "val_loss"):
                del diverged[name]
            self._result(trial, diverged | {"status": "diverged"}, done=True)
        elif epoch >= self.study.budget.epochs:  # pbt copied weights trained to the end
            self._result(trial, trial.own[-1] | {"trial": trial.number, "status": "running"})
        else:
            report = self._train(trial, min(epoch + self.every, self.study.budget.epochs))
            self._result(trial, report | self._outlook(trial))

    def _outlook(self, trial: FakeTrial) -> Row:
        """The status after the trial's last report: see `TrialWorker._outlook`."""
        own = [report for report in self._reports(trial) if report["trial"] == trial.number]
        reason = Improvement(self.study.tuning, own).ended
        if reason is None or own[-1]["epoch"] >= self.study.budget.epochs:
            return {"status": "running"}
        return {"status": "done", "reason": reason}

    def _reports(self, trial: FakeTrial) -> list[Row]:
        return self.checkpoints.get(trial.number, [])

    def _train(self, trial: FakeTrial, epoch: float) -> Row:
        report = self._report(trial, epoch)
        self.steps.append((trial.number, epoch))
        self.checkpoints.setdefault(trial.number, []).append(report)
        return report

    def _report(self, trial: FakeTrial, epoch: float) -> Row:
        config = TrialConfig.model_validate(trial.config["trial"])
        noise = random.Random(f"{trial.number} {epoch:.6f}").gauss(0, 0.02)
        top = 0.9 - 0.1 * abs(config.training.learning_rate - 0.3)
        accuracy = top * (1 - 0.6 ** (epoch * (1 + trial.number % 3))) + noise
        now = datetime.now(UTC).isoformat()
        return PLACE | {
            "trial": trial.number, "step": round(epoch * 100), "epoch": epoch,
            "train_loss": 1 - accuracy, "val_loss": 1 - accuracy, "val_accuracy": accuracy,
            "train_seconds": 1.0, "evaluate_seconds": 0.1, "started_at": now, "reported_at": now,
        }  # fmt: skip

    def _result(self, trial: FakeTrial, result: Row, done: bool = False) -> None:
        done = done or result["status"] == "done" or result["epoch"] >= self.study.budget.epochs
        decision = (
            TrialScheduler.STOP if done else self.scheduler.on_trial_result(self, trial, result)
        )
        if decision != TrialScheduler.STOP:
            self.search.on_trial_result(trial.trial_id, result)
        self.recorder.on_trial_result(trial, result)
        trial.last_result = result
        if decision == TrialScheduler.STOP:
            self.stop_trial(trial)
        elif decision == TrialScheduler.PAUSE:
            self.pause_trial(trial)

    def _lose(self, trial: FakeTrial) -> None:
        self.scheduler.on_trial_error(self, trial)
        self.search.on_trial_complete(trial.trial_id, error=True)
        trial.status = ERROR
        self.recorder.on_trial_error(trial)


def judged(study: Study, rows: list[Row], reports: list[Row]) -> Past:
    """Return the past in the form of `past.read`."""
    rows, reports = (
        [{k: v for k, v in row.items() if v is not None} for row in table]
        for table in (rows, reports)
    )
    return Past(rows, pasts._judged(Past(rows), study, reports))
