"""Optuna's samplers over a study's space: TPE and Gaussian processes.

TPE: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", 2011, with one distribution of
all values together (multivariate), and with running trials taken for bad ones, so that workers do
not all try the same (constant liar). Gaussian processes: log expected improvement, Ament et al.,
"Unexpected Improvements to Expected Improvement for Bayesian Optimization", 2023.

A suggestion depends only on the study's seed, the trial's number and the rows of the trials that
began earlier. So a sampler has no state to save: after a kill, a resumed study gets the same
suggestions as without the kill.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from ffnet.run.tables import Row, Status
from ffnet.spec.base import Values
from ffnet.spec.drawn import drawn
from ffnet.spec.space import Domain
from ffnet.spec.study import Study
from ffnet.spec.trial import TrialConfig

STREAM = 1  # makes the seeds of suggestions differ from the seeds of trials
STEPS = 1000  # Optuna needs whole steps: a step is a thousandth of an epoch
FAR = 5.0  # see `Sampler._as_complete`

Point = tuple[Values, dict[str, BaseDistribution]]
"""(parameters of a trial for Optuna, the distribution of each parameter)."""

Learnt = Sequence[tuple[TrialConfig, Row]]
"""The trials of an earlier run: (configuration, row of trials.parquet)."""


def seed_of(study: Study, number: int) -> int:
    """The seed of the suggestion for a trial, from 0 to 2³² - 1."""
    return int(np.random.SeedSequence([study.seed, number, STREAM]).generate_state(1)[0])


class Told(FrozenTrial):  # type: ignore[misc]
    """A trial of the past for Optuna.

    Optuna copies each trial deeply when it is added to a study, which takes most of the time of a
    suggestion. Nothing changes the values of an ended trial, so the copy need not be deep.
    """

    def __init__(
        self, point: Point, state: TrialState, value: float | None = None, step: int | None = None
    ) -> None:
        """Describe a trial; with a step, the value is that of a pruned trial at this step."""
        now = datetime.now()
        super().__init__(
            number=0,
            trial_id=0,
            state=state,
            value=value,
            params=point[0],
            distributions=point[1],
            user_attrs={},
            system_attrs={},
            intermediate_values={} if step is None else {step: value},
            datetime_start=now,
            datetime_complete=now if state.is_finished() else None,
        )

    def __deepcopy__(self, _: dict[int, Any]) -> "Told":
        return copy(self)


class Sampler:
    """Suggests values near those of trials with good figures."""

    def __init__(self, study: Study, learnt: Learnt = ()) -> None:
        """Begin with the trials of an earlier run, perhaps none.

        Args:
            study: the study; its search is tpe or gp.
            learnt: trials whose values the study's space offers. They count as earlier trials.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = study
        self._points: dict[int, Point] = {}
        self._is_gp = study.tuning.search == "gp"
        self._learnt = [self._told(_point(study, config), row) for config, row in learnt]

    def know(self, config: TrialConfig) -> None:
        """Remember the configuration of a trial that was handed out, now or before a resume.

        Raises:
            InputError: one of its values is not in the study's space.
        """
        self._points[config.number] = _point(self._study, config)

    def suggest(self, number: int, rows: Mapping[int, Row]) -> Values:
        """The values that a trial gets for the fields of the space.

        Args:
            number: the trial's number.
            rows: trial number → its row of trials.parquet, for the trials that have begun.
        """
        optuna_study = optuna.create_study(
            direction="maximize" if self._study.tuning.mode == "max" else "minimize",
            sampler=self._sampler(seed_of(self._study, number)),
            pruner=optuna.pruners.NopPruner(),
        )
        earlier = [self._told(self._points[n], rows.get(n, {})) for n in sorted(self._points)]
        told = [*self._learnt, *earlier]
        optuna_study.add_trials(self._as_complete(told) if self._is_gp else told)
        suggest = partial(_suggest, optuna_study.ask())
        return self._study.space.draw(suggest, self._study.base)

    def _sampler(self, seed: int) -> BaseSampler:
        if self._is_gp:
            return GPSampler(seed=seed)
        return TPESampler(seed=seed, multivariate=True, constant_liar=True)

    def _as_complete(self, told: list[Told]) -> list[Told]:
        """The same trials for a Gaussian process, which learns from complete trials only.

        A pruned trial gets its best figure, which is what it reached before it was stopped. Far
        figures would hide the differences of the others. So no figure is told that is further
        below the median than FAR times the distance of the best, and diverged trials get this one.
        """
        sign = 1.0 if self._study.tuning.mode == "max" else -1.0
        reached = [sign * figure for trial in told for figure in _figures(trial)]
        if not reached:
            return told
        middle = float(np.median(reached))
        worst = middle - FAR * (max(reached) - middle)

        def complete(trial: Told) -> Told:
            if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
                return trial
            value = max([worst, *(sign * figure for figure in _figures(trial))])
            return Told((trial.params, trial.distributions), TrialState.COMPLETE, sign * value)

        return [complete(trial) for trial in told]

    def _told(self, point: Point, row: Row) -> Told:
        """The trial for Optuna, with its best figure by the study's metric.

        A diverged trial has no value: Optuna ranks it below every pruned trial. Optuna ignores a
        failed trial.
        """
        best = row.get(f"best_{self._study.tuning.metric}")
        status = row.get("status", Status.RUNNING)
        if not Status(status).has_ended:
            return Told(point, TrialState.RUNNING)
        if status == Status.FAILED:
            return Told(point, TrialState.FAIL)
        if status == Status.DIVERGED or best is None:
            return Told(point, TrialState.PRUNED)
        if status == Status.DONE:
            return Told(point, TrialState.COMPLETE, best)
        return Told(point, TrialState.PRUNED, best, round(row["epochs"] * STEPS))


def _figures(trial: Told) -> list[float]:
    """The figure of a trial; empty if it has none."""
    return list(trial.values or trial.intermediate_values.values())


def _suggest(trial: optuna.Trial, label: str, domain: Domain) -> Any:
    """Optuna's suggestion. Optuna gets the position of a choice, as a choice may be of any type."""
    if domain.kind == "choice":
        return domain.value[trial.suggest_categorical(label, list(range(len(domain.value))))]
    suggest = trial.suggest_int if "integer" in domain.kind else trial.suggest_float
    return suggest(label, *domain.value, log=domain.kind.startswith("log_"))


def _distribution(domain: Domain) -> BaseDistribution:
    if domain.kind == "choice":
        return CategoricalDistribution(list(range(len(domain.value))))
    kind = IntDistribution if "integer" in domain.kind else FloatDistribution
    return kind(*domain.value, log=domain.kind.startswith("log_"))


def _point(study: Study, config: TrialConfig) -> Point:
    """The parameters that lead to a trial's configuration, and their distributions."""
    found = drawn(study, config)
    return (
        {label: value for label, (_, value) in found.items()},
        {label: _distribution(domain) for label, (domain, _) in found.items()},
    )
