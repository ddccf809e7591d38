"""HyperBand (Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization",
2016) of a study's trials.

Trials are put into brackets by their numbers. At each milestone of a bracket its trials wait for
each other, and the best of them go on. All decisions follow from the trials' reports and from which
trials have ended: the order of the events does not matter. So a study that is resumed decides as it
would have without the break, however many trials run at a time.

Ray's scheduler is not used. It puts trials into brackets in the order in which they are added, lets
a bracket wait for ever when a trial ends by itself, and ends most brackets before the last epoch.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, NamedTuple

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from ffnet.run.past import Past
from ffnet.run.tables import Status
from ffnet.spec.base import Values
from ffnet.spec.study import Study
from ffnet.tuning.losses import Losses

CLOSE = 1e-9  # epochs; a tolerance, because 0.1 · 3 ≠ 0.3 in floating point
PAUSED = "PAUSED"  # Ray Tune's name of the status
PENDING = "PENDING"


class Bracket(NamedTuple):
    """Trials that are compared with each other.

    Attributes:
        members: their numbers.
        rungs: (milestone in epochs, how many trials go on from there), ascending.
    """

    members: range
    rungs: tuple[tuple[float, int], ...]


def sizes(epochs: int, factor: float) -> Iterator[tuple[int, tuple[tuple[float, int], ...]]]:
    """(number of trials, rungs) of each bracket of a band; the bands repeat.

    Args:
        epochs: epochs of a trial that is not stopped.
        factor: one in so many trials goes on.

    >>> list(sizes(9, 3))
    [(3, ()), (5, ((3.0, 2),)), (9, ((1.0, 3), (3.0, 1)))]
    """
    most = round(math.log(epochs) / math.log(factor)) + 1
    for halvings in range(most):
        at = int(epochs * factor**-halvings + CLOSE)
        left = math.ceil(most / (halvings + 1) * factor**halvings - CLOSE)
        if at == 0:
            continue
        size, rungs = left, []
        for _ in range(halvings):
            left = math.ceil(left / factor)
            rungs.append((float(at), left))
            at = int(min(at * factor, epochs))
        yield size, tuple(rungs)


class HyperBand(FIFOScheduler):  # type: ignore[misc]
    """Pauses trials at the milestones of their bracket and stops the weak ones there.

    A trial is compared by its first report at or after the milestone. A trial that ended before
    the milestone is not waited for.
    """

    def __init__(self, study: Study, losses: Losses | None = None) -> None:
        """Begin without a report.

        Args:
            study: the study.
            losses: knows which trials are given up. With None, no trial ever is.
        """
        super().__init__()
        self._study, self._losses = study, losses or Losses()
        self._sign = 1.0 if study.tuning.mode == "max" else -1.0
        self._band = list(sizes(study.budget.epochs, study.tuning.reduction_factor))
        self._curves: dict[int, list[tuple[float, float]]] = {}  # trial → (epoch, score), ascending
        self._ended: set[int] = set()
        self._live: dict[int, Any] = {}  # number → Ray's trial, from its start to its end
        self._milestones: dict[Bracket, float] = {}  # the next one, where it is known

    def replay(self, past: Past) -> None:
        """Take over the reports and the ends of trials from an earlier process of the study."""
        for report in sorted(past.reports, key=lambda report: report["epoch"]):
            self._note(report["trial"], report)
        for row in past.trials:
            if Status(row["status"]).has_ended and not past.goes_on(row, self._study):
                self._ended.add(row["trial"])

    def bracket(self, number: int) -> Bracket:
        """The bracket of a trial."""
        per_band = sum(size for size, _ in self._band)
        begin = number // per_band * per_band
        for size, rungs in self._band:
            members = range(begin, min(begin + size, self._study.trials))
            if number in members:
                return Bracket(members, rungs)
            begin += size
        raise IndexError(number)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A trial is added, perhaps again after its worker was lost."""
        self._live[_number(trial)] = trial

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Values) -> str:
        """CONTINUE, PAUSE or STOP. `earlier` has reports that may not have arrived."""
        number = _number(trial)
        for report in (*result.get("earlier", ()), result):
            self._note(number, report)
        bracket = self.bracket(number)
        if self._epoch(number) >= self._milestones.get(bracket, 0.0):
            self._settle(tune_controller, bracket, trial)
        alive, milestone = self._standing(bracket)
        if number not in alive:
            return str(TrialScheduler.STOP)
        waits = self._epoch(number) >= milestone
        return str(TrialScheduler.PAUSE if waits else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Values) -> None:
        """A trial has ended: trials that waited for it may go on."""
        for report in (*result.get("earlier", ()), result):
            self._note(_number(trial), report)
        self._end(tune_controller, _number(trial))

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """A trial that waited is stopped."""
        self._end(tune_controller, _number(trial))

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A trial lost its worker. It comes again, unless it is given up: see `Losses`."""
        self._live.pop(_number(trial), None)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """A paused trial that may go on, or else a trial that has not begun; None if none is."""
        for number in self._losses.reasons.keys() - self._ended:
            self._end(tune_controller, number)
        pending = None
        for number, trial in self._live.items():
            if trial.status == PAUSED and self._goes_on(number):
                return trial
            if trial.status == PENDING and pending is None:
                pending = trial
        return pending

    def _note(self, number: int, report: Values) -> None:
        """Remember a report, unless the trial was as far before."""
        score = report.get(self._study.tuning.metric, math.nan)
        if not math.isnan(score) and report["epoch"] > self._epoch(number):
            self._curves.setdefault(number, []).append((report["epoch"], self._sign * score))

    def _end(self, tune_controller: Any, number: int) -> None:
        self._live.pop(number, None)
        self._ended.add(number)
        self._settle(tune_controller, self.bracket(number))

    def _settle(self, tune_controller: Any, bracket: Bracket, reporting: Any = None) -> None:
        """Stop the waiting trials of a bracket that are out, except the one that is reporting."""
        alive, self._milestones[bracket] = self._standing(bracket)
        for number in bracket.members:
            trial = self._live.get(number)
            if trial is None or trial is reporting or number in alive:
                continue
            if trial.status == PAUSED or trial.is_saving:
                tune_controller.stop_trial(trial)

    def _goes_on(self, number: int) -> bool:
        return self._epoch(number) < self._milestones.get(self.bracket(number), 0.0)

    def _standing(self, bracket: Bracket) -> tuple[set[int], float]:
        """(trials that are not out, the milestone at which they wait for each other)."""
        alive = set(bracket.members)
        for milestone, left in bracket.rungs:
            scores = {n: score for n in alive if (score := self._score(n, milestone)) is not None}
            if alive - scores.keys() - self._ended:
                return alive, milestone - CLOSE
            best_first = sorted(scores, key=lambda n: (-scores[n], n))
            alive = set(best_first[:left])
        return alive, math.inf

    def _score(self, number: int, milestone: float) -> float | None:
        """The score of a trial's first report at or after a milestone; None before it."""
        curve = self._curves.get(number, [])
        place = bisect_left(curve, (milestone - CLOSE, -math.inf))
        return curve[place][1] if place < len(curve) else None

    def _epoch(self, number: int) -> float:
        curve = self._curves.get(number)
        return curve[-1][0] if curve else 0.0


def _number(trial: Any) -> int:
    return int(trial.config["trial"]["number"])
