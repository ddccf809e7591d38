"""The schedulers that stop weak trials early, made from a study for Ray Tune.

Each scheduler accepts every way in which a trial can end. The last result of a trial that diverged
or failed has no metric. A trial that lost its worker comes again with the same number.
"""

import math
from bisect import bisect_right
from typing import Any

import numpy as np
from ray.tune.schedulers import (
    FIFOScheduler,
    PopulationBasedTraining,
    TrialScheduler,
)

from ffnet.ray_cluster.ray_internals import ExploresItself
from ffnet.run.past import Past
from ffnet.spec.base import Values
from ffnet.spec.study import Study
from ffnet.spec.trial import TrialConfig
from ffnet.tuning.hyperband import CLOSE, PAUSED, PENDING, HyperBand
from ffnet.tuning.losses import Losses


def make_scheduler(study: Study, losses: Losses | None = None) -> TrialScheduler:
    """The scheduler that the study names. It counts time in epochs.

    Args:
        study: the study.
        losses: knows which trials are given up. With None, no trial ever is.
    """
    match study.tuning.scheduler:
        case "asha":
            return Asha(study)
        case "hyperband":
            return HyperBand(study, losses)
        case "median":
            return Median(study)
        case "pbt":
            return StudyPbt(study)
        case _:
            return FIFOScheduler()


def replay(scheduler: TrialScheduler, past: Past) -> None:
    """Tell a scheduler the reports of an earlier process of the study. No decision is repeated."""
    if isinstance(scheduler, HyperBand | StudyPbt):
        scheduler.replay(past)
    if isinstance(scheduler, Judge):
        for report in sorted(past.reports, key=lambda report: (report["trial"], report["epoch"])):
            scheduler.note(report["trial"], report)


class Judge(FIFOScheduler):  # type: ignore[misc]
    """The common part of asha and the median rule: at each new report a trial continues or stops.

    A trial is known by its number. So a trial that comes again, after its worker was lost or its
    study was stopped, does not count twice and does not compete with its own earlier reports.
    """

    def __init__(self, study: Study) -> None:
        super().__init__()
        self._column = study.tuning.metric
        self._sign = 1.0 if study.tuning.mode == "max" else -1.0
        self._grace = study.tuning.grace_epochs

    def note(self, number: int, report: Values) -> bool:
        """Remember a trial's report. Returns whether the trial is to be judged at it."""
        raise NotImplementedError

    def stops(self, number: int, report: Values) -> bool:
        """Whether the trial is weak at its latest report, which `note` has remembered."""
        raise NotImplementedError

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Values) -> str:
        """STOP or CONTINUE. `earlier` has reports that may not have arrived: see `TrialWorker`."""
        number = trial.config["trial"]["number"]
        for earlier in result.get("earlier", ()):
            self.note(number, earlier)
        weak = self.note(number, result) and self.stops(number, result)
        return str(TrialScheduler.STOP if weak else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Values) -> None:
        """Remember a trial's last report. Tune asks for no decision about it."""
        for report in (*result.get("earlier", ()), result):
            self.note(trial.config["trial"]["number"], report)

    def _score(self, report: Values) -> float:
        """The metric with a sign such that higher is better; NaN if the report has no metric."""
        return self._sign * float(report.get(self._column, math.nan))


class Asha(Judge):
    """Asynchronous successive halving, one bracket (Li et al., "A System for Massively Parallel
    Hyperparameter Tuning", 2018).

    Rungs lie at grace_epochs, grace_epochs · reduction_factor, grace_epochs · reduction_factor² and
    so on. A trial is judged at its first report at or after a rung's epoch. It stops unless its
    score is among the best 1 / reduction_factor of the trials that reached the rung earlier.

    Attributes:
        rungs: (epoch of the rung, {trial number: score}), ascending.
    """

    def __init__(self, study: Study) -> None:
        super().__init__(study)
        self._factor = study.tuning.reduction_factor
        self.rungs: list[tuple[float, dict[int, float]]] = []
        while (at := self._grace * self._factor ** len(self.rungs)) <= study.budget.epochs:
            self.rungs.append((at, {}))

    def note(self, number: int, report: Values) -> bool:
        """Put a trial on the highest rung that it has reached. Returns whether it is new there."""
        rung, score = self._rung(report), self._score(report)
        if rung is None or number in rung or math.isnan(score):
            return False
        rung[number] = score
        return True

    def stops(self, number: int, report: Values) -> bool:
        """Whether the trial is below the cutoff of the other trials on its rung."""
        rung = self._rung(report) or {}
        others = [score for other, score in rung.items() if other != number]
        cutoff = np.percentile(others, (1 - 1 / self._factor) * 100) if others else -math.inf
        return bool(rung[number] < cutoff)

    def _rung(self, report: Values) -> dict[int, float] | None:
        reached = [rung for at, rung in self.rungs if report.get("epoch", 0) >= at - CLOSE]
        return reached[-1] if reached else None


class Median(Judge):
    """The median stopping rule (Golovin et al., "Google Vizier", 2017).

    A trial stops when its best score so far is below the median of the other trials' means. Such a
    mean is taken over a trial's scores from `grace_epochs` up to the same epoch. Only trials that
    reached this epoch count, and there must be AT_LEAST of them.
    """

    AT_LEAST = 3

    def __init__(self, study: Study) -> None:
        super().__init__(study)
        self._seen: dict[int, _Curve] = {}

    def note(self, number: int, report: Values) -> bool:
        """Remember a report. Returns whether it is new and its epoch is at least grace_epochs."""
        score, epoch = self._score(report), report.get("epoch", 0.0)
        if math.isnan(score) or not self._seen.setdefault(number, _Curve()).add(epoch, score):
            return False
        return bool(epoch >= self._grace - CLOSE)

    def stops(self, number: int, report: Values) -> bool:
        """Whether the trial's best score is below the median of the other trials' means."""
        epoch = report["epoch"]
        means = [
            mean
            for other, curve in self._seen.items()
            if other != number and (mean := curve.mean(self._grace, epoch)) is not None
        ]
        best = self._seen[number].best
        return len(means) >= self.AT_LEAST and bool(best < np.median(means))


class _Curve:
    """The epochs of a trial's reports, ascending, and the running sums of its scores."""

    def __init__(self) -> None:
        self.epochs: list[float] = []
        self.best = -math.inf
        self._sums = [0.0]

    def add(self, epoch: float, score: float) -> bool:
        """Append a report if it is later than all before. Returns whether it is."""
        if self.epochs and epoch <= self.epochs[-1]:
            return False
        self.epochs.append(epoch)
        self._sums.append(self._sums[-1] + score)
        self.best = max(self.best, score)
        return True

    def mean(self, since: float, until: float) -> float | None:
        """Mean score of the reports in [since, until], in epochs.

        None if there is no such report, or if the trial has not reached `until`.
        """
        first = bisect_right(self.epochs, since - CLOSE)
        end = bisect_right(self.epochs, until + CLOSE)
        if first == end or self.epochs[-1] < until - CLOSE:
            return None
        return (self._sums[end] - self._sums[first]) / (end - first)


class StudyPbt(ExploresItself, PopulationBasedTraining):  # type: ignore[misc]
    """Population-based training (Jaderberg et al., 2017) of a study's trials.

    Every `perturbation_epochs`, a trial of the worst quarter takes over the weights and the
    hyper-parameters of a trial of the best quarter. The hyper-parameters that may change during
    training are then changed a little.
    """

    def __init__(self, study: Study) -> None:
        super().__init__(
            time_attr="epoch",
            metric=study.tuning.metric,
            mode=study.tuning.mode,
            perturbation_interval=study.tuning.perturbation_epochs,
            custom_explore_fn=lambda config: config,  # Ray requires it, but `explored` is used
            log_config=False,
        )
        self._study = study
        self._known: dict[int, tuple[float, float]] = {}  # trial → (since, score): see `know`
        self._compared: dict[int, float] = {}  # trial → epoch of its last comparison
        self._heard: list[Any] = []  # Ray's trials, the one that reported last at the end

    def replay(self, past: Past) -> None:
        """Take over when each trial was last compared, and its figure then.

        If its last report was compared, it is compared again when the trial comes back with it: for
        a good trial must save its weights again, before others can take them over.
        """
        tuning = self._study.tuning
        sign = 1.0 if tuning.mode == "max" else -1.0
        for report in sorted(past.reports, key=lambda report: report["epoch"]):
            number, epoch = report["trial"], report["epoch"]
            since, score = self._known.get(number, (0.0, math.nan))
            if tuning.metric not in report:
                continue
            if self._compared.get(number, 0.0) > since:  # it has reported since it was compared
                since = self._compared[number]
            if epoch - since >= tuning.perturbation_epochs:
                self._compared[number], score = epoch, sign * report[tuning.metric]
            self._known[number] = since, score

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Add a trial, with what an earlier process of the study knew of it."""
        super().on_trial_add(tune_controller, trial)
        since, score = self._known.pop(trial.config["trial"]["number"], (0.0, math.nan))
        if not math.isnan(score):
            self.know(trial, since, score)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Values) -> str:
        """CONTINUE, PAUSE, or NOOP for a trial that takes over the weights of a better one."""
        self._heard = [*(other for other in self._heard if other is not trial), trial]
        return str(super().on_trial_result(tune_controller, trial, result))

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The waiting trial with the fewest epochs; of several, the one that has waited longest.

        Ray takes the first of several. A trial that has taken over a trial with fewer epochs would
        often run again before that one, be compared with the same trials as before, and go back
        again, for ever.
        """
        turns = {id(trial): turn for turn, trial in enumerate(self._heard)}
        waiting = [t for t in tune_controller.get_trials() if t.status in (PENDING, PAUSED)]
        return min(waiting, key=lambda t: (self.waits(t), turns.get(id(t), -1)), default=None)

    def explored(self, trial: Any, better: Any, epoch: float) -> Values:
        """The better trial's hyper-parameters, changed a little. Number and seed do not change."""
        own, source = (TrialConfig.model_validate(t.config["trial"]) for t in (trial, better))
        random = np.random.default_rng([self._study.seed, own.number, round(epoch * 1000)])
        explored = self._study.explored(source, random)
        config = explored.model_copy(update={"number": own.number, "seed": own.seed})
        return {**trial.config, "trial": config.model_dump(), "parent": source.number}
