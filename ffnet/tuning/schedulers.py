"""What stops weak trials early, set up from a study, as Ray Tune's trial schedulers.

Each of them lives with every end of a trial: one that diverges or fails has no metric in its last
result, one that is lost with its worker comes again under its own number.
"""

import math
from bisect import bisect_right
from typing import Any

import numpy as np
from ray.tune.schedulers import (
    FIFOScheduler,
    HyperBandScheduler,
    PopulationBasedTraining,
    TrialScheduler,
)

from ffnet.ray_cluster.ray_internals import ExploresItself, FairBrackets
from ffnet.run.past import Past
from ffnet.spec.base import Values
from ffnet.spec.study import Study
from ffnet.spec.trial import TrialConfig

CLOSE = 1e-9  # epochs: 0.1 · 3 is not 0.3


def make_scheduler(study: Study) -> TrialScheduler:
    """The scheduler that the study names; time is counted in epochs."""
    match study.tuning.scheduler:
        case "asha":
            return Asha(study)
        case "hyperband":
            return StudyHyperBand(study)
        case "median":
            return Median(study)
        case "pbt":
            return StudyPbt(study)
        case _:
            return FIFOScheduler()


def replay(scheduler: TrialScheduler, past: Past) -> None:
    """Tell asha or the median rule the reports that trials made before the study was stopped.

    Nothing is decided again. HyperBand and PBT begin anew: they judge trials that wait for each
    other.
    """
    if isinstance(scheduler, Judge):
        for report in sorted(past.reports, key=lambda report: (report["trial"], report["epoch"])):
            scheduler.note(report["trial"], report)


class Judge(FIFOScheduler):  # type: ignore[misc]
    """What asha and the median rule share: each new report of a trial decides whether it goes on.

    Trials are known by their numbers: one that is begun again, after it was lost with its worker or
    its study was stopped, neither counts twice nor competes with its own past.
    """

    def __init__(self, study: Study) -> None:
        super().__init__()
        self._column = study.tuning.metric
        self._sign = 1.0 if study.tuning.mode == "max" else -1.0
        self._grace = study.tuning.grace_epochs

    def note(self, number: int, report: Values) -> bool:
        """Take in a report of a trial; whether it is one to judge the trial by."""
        raise NotImplementedError

    def stops(self, number: int, report: Values) -> bool:
        """Whether the trial is weak at this report, its latest, which was taken in before."""
        raise NotImplementedError

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Values) -> str:
        """Stop or continue; `earlier` reports came before the trial's worker or driver died."""
        number = trial.config["trial"]["number"]
        for earlier in result.get("earlier", ()):
            self.note(number, earlier)
        weak = self.note(number, result) and self.stops(number, result)
        return str(TrialScheduler.STOP if weak else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Values) -> None:
        """A trial's last report, of which Tune asks no decision, and those that come with it."""
        for report in (*result.get("earlier", ()), result):
            self.note(trial.config["trial"]["number"], report)

    def _score(self, report: Values) -> float:
        """The metric, higher is better; NaN where a report has none."""
        return self._sign * float(report.get(self._column, math.nan))


class Asha(Judge):
    """Asynchronous successive halving, one bracket (Li et al., "A System for Massively Parallel
    Hyperparameter Tuning", 2018).

    The first report at or after a rung's epoch is compared with those of the trials that were there
    before: below the best 1 / reduction_factor of them a trial stops. Rungs lie at grace_epochs,
    grace_epochs · reduction_factor, and so on.

    Attributes:
        rungs: (epochs, {trial number: score}), ascending.
    """

    def __init__(self, study: Study) -> None:
        super().__init__(study)
        self._factor = study.tuning.reduction_factor
        self.rungs: list[tuple[float, dict[int, float]]] = []
        while (at := self._grace * self._factor ** len(self.rungs)) <= study.budget.epochs:
            self.rungs.append((at, {}))

    def note(self, number: int, report: Values) -> bool:
        """Put a trial on the highest rung that it has reached; whether it is new there."""
        rung, score = self._rung(report), self._score(report)
        if rung is None or number in rung or math.isnan(score):
            return False
        rung[number] = score
        return True

    def stops(self, number: int, report: Values) -> bool:
        """Whether the trial is below the cutoff of those that were on its rung before it."""
        rung = self._rung(report) or {}
        others = [score for other, score in rung.items() if other != number]
        cutoff = np.percentile(others, (1 - 1 / self._factor) * 100) if others else -math.inf
        return bool(rung[number] < cutoff)

    def _rung(self, report: Values) -> dict[int, float] | None:
        reached = [rung for at, rung in self.rungs if report.get("epoch", 0) >= at - CLOSE]
        return reached[-1] if reached else None


class Median(Judge):
    """The median stopping rule (Golovin et al., "Google Vizier", 2017).

    A trial stops when its best score so far is below the median of the other trials' mean scores
    up to the same epoch, each from `grace_epochs` on, where at least three got as far.
    """

    AT_LEAST = 3

    def __init__(self, study: Study) -> None:
        super().__init__(study)
        self._seen: dict[int, _Curve] = {}

    def note(self, number: int, report: Values) -> bool:
        """Take in a report; whether the trial has had its grace and the report is new."""
        score, epoch = self._score(report), report.get("epoch", 0.0)
        if math.isnan(score) or not self._seen.setdefault(number, _Curve()).add(epoch, score):
            return False
        return bool(epoch >= self._grace - CLOSE)

    def stops(self, number: int, report: Values) -> bool:
        """Whether the trial's best is below the median of the others' means."""
        epoch = report["epoch"]
        means = [
            mean
            for other, curve in self._seen.items()
            if other != number and (mean := curve.mean(self._grace, epoch)) is not None
        ]
        best = self._seen[number].best
        return len(means) >= self.AT_LEAST and bool(best < np.median(means))


class _Curve:
    """A trial's scores by epoch, ascending, and their sums."""

    def __init__(self) -> None:
        self.epochs: list[float] = []
        self.best = -math.inf
        self._sums = [0.0]

    def add(self, epoch: float, score: float) -> bool:
        """Append a report; whether it is later than those before."""
        if self.epochs and epoch <= self.epochs[-1]:
            return False
        self.epochs.append(epoch)
        self._sums.append(self._sums[-1] + score)
        self.best = max(self.best, score)
        return True

    def mean(self, since: float, until: float) -> float | None:
        """Mean score of the reports in [since, until]; None without one, or if it ended before."""
        first = bisect_right(self.epochs, since - CLOSE)
        end = bisect_right(self.epochs, until + CLOSE)
        if first == end or self.epochs[-1] < until - CLOSE:
            return None
        return (self._sums[end] - self._sums[first]) / (end - first)


class StudyHyperBand(FairBrackets, HyperBandScheduler):  # type: ignore[misc]
    """HyperBand (Li et al., 2016), in which no trial waits for ever.

    Trials are compared at the same epoch: each at its first report at or after the milestone.
    """

    def __init__(self, study: Study) -> None:
        self._column = study.tuning.metric
        super().__init__(
            time_attr="epoch",
            metric=self._column,
            mode=study.tuning.mode,
            max_t=study.budget.epochs,
            reduction_factor=study.tuning.reduction_factor,
        )
        self._curves: dict[Any, list[Values]] = {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Values) -> str:
        """Continue, pause or stop."""
        reports = [*result.get("earlier", ()), result]
        self._curves.setdefault(trial, []).extend(reports)
        return str(super().on_trial_result(tune_controller, trial, result))

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """A trial ended by itself or was lost, so that those that waited for it may go on."""
        super().on_trial_remove(tune_controller, trial)
        self._curves.pop(trial, None)

    def score_at(self, trial: Any, milestone: float, result: Values) -> float:
        """The metric at a trial's first report at or after a milestone."""
        reports = [r for r in self._curves.get(trial, ()) if self._column in r]
        reached = [r for r in reports if r["epoch"] >= milestone - CLOSE]
        chosen = min(reached, key=lambda r: r["epoch"], default=result)
        return float(chosen[self._column])


class StudyPbt(ExploresItself, PopulationBasedTraining):  # type: ignore[misc]
    """Population-based training (Jaderberg et al., 2017) of a study's trials.

    From time to time, a trial of the worst quarter goes on from the weights of one of the best. It
    takes over that trial's hyper-parameters, too, and those that may change are changed a little.
    """

    def __init__(self, study: Study) -> None:
        super().__init__(
            time_attr="epoch",
            metric=study.tuning.metric,
            mode=study.tuning.mode,
            perturbation_interval=study.tuning.perturbation_epochs,
            custom_explore_fn=lambda config: config,  # `explored` does it
            log_config=False,
        )
        self._study = study
        self._random = np.random.default_rng(study.seed)

    def explored(self, trial: Any, better: Any) -> Values:
        """The better trial's hyper-parameters, changed a little; number and seed stay."""
        own, source = (TrialConfig.model_validate(t.config["trial"]) for t in (trial, better))
        explored = self._study.explored(source, self._random)
        config = explored.model_copy(update={"number": own.number, "seed": own.seed})
        return {**trial.config, "trial": config.model_dump(), "parent": source.number}
