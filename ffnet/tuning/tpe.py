"""Optuna's TPE over a study's space (Bergstra et al., "Algorithms for Hyper-Parameter
Optimization", 2011).

A suggestion depends only on the study's seed, the trial's number and the rows of the trials that
began earlier. So TPE has no state to save: after a kill, a resumed study gets the same suggestions
as without the kill.
"""

from collections.abc import Mapping
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
from optuna.trial import FrozenTrial, TrialState, create_trial

from ffnet.run.tables import Row, Status
from ffnet.spec.base import Values
from ffnet.spec.drawn import drawn
from ffnet.spec.space import Domain
from ffnet.spec.study import Study
from ffnet.spec.trial import TrialConfig

STREAM = 1  # makes the seeds of suggestions differ from the seeds of trials
STEPS = 1000  # Optuna needs whole steps: a step is a thousandth of an epoch

Point = tuple[Values, dict[str, BaseDistribution]]
"""(parameters of a trial for Optuna, the distribution of each parameter)."""


class Tpe:
    """Suggests values near those of trials with good figures."""

    def __init__(self, study: Study) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = study
        self._points: dict[int, Point] = {}

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
        seed = np.random.SeedSequence([self._study.seed, number, STREAM]).generate_state(1)[0]
        optuna_study = optuna.create_study(
            direction="maximize" if self._study.tuning.mode == "max" else "minimize",
            sampler=optuna.samplers.TPESampler(seed=int(seed)),
            pruner=optuna.pruners.NopPruner(),
        )
        optuna_study.add_trials(
            [self._told(self._points[n], rows.get(n, {})) for n in sorted(self._points)]
        )
        suggest = partial(_suggest, optuna_study.ask())
        return self._study.space.draw(suggest, self._study.base)

    def _told(self, point: Point, row: Row) -> FrozenTrial:
        """The trial for Optuna, with its best figure by the study's metric.

        A diverged trial has no value: Optuna ranks it below every pruned trial. Optuna ignores a
        failed trial.
        """
        params, distributions = point
        best = row.get(f"best_{self._study.tuning.metric}")
        status = row.get("status", Status.RUNNING)
        told = partial(create_trial, params=params, distributions=distributions)
        if not Status(status).has_ended:
            return told(state=TrialState.RUNNING)
        if status == Status.FAILED:
            return told(state=TrialState.FAIL)
        if status == Status.DIVERGED or best is None:
            return told(state=TrialState.PRUNED)
        if status == Status.DONE:
            return told(state=TrialState.COMPLETE, value=best)
        step = round(row["epochs"] * STEPS)
        return told(state=TrialState.PRUNED, value=best, intermediate_values={step: best})


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
