"""A run as Optuna studies, each for a kind of plot.

Optuna draws most plots from finished trials only. Here, a trial that was pruned or stopped counts
with its best figure so far, because a scheduler prunes most trials.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from ffnet.report.page.facts import Facts
from ffnet.run.tables import Status

COLORS = {  # Okabe and Ito's palette
    Status.DONE: "#0072B2", Status.PRUNED: "#E69F00", Status.RUNNING: "#009E73",
    Status.STOPPED: "#56B4E9", Status.DIVERGED: "#D55E00", Status.FAILED: "#CC79A7",
}  # fmt: skip
SYMBOLS = {
    Status.DONE: "circle", Status.PRUNED: "diamond", Status.RUNNING: "triangle-right",
    Status.STOPPED: "square", Status.DIVERGED: "x", Status.FAILED: "cross",
}  # fmt: skip
MOST_PARAMS = 12  # plots of each parameter show so many, the most important first
MOST_LINES = 300  # maximum number of lines in the plot of parallel coordinates
MOST_POINTS = 1000  # maximum number of trials in plots of two parameters
MOST_CURVES = 1000  # maximum number of learning curves
MOST_REPORTS = 40_000  # maximum number of points of the learning curves
MOST_CELLS = 100  # maximum number of trials in the contour plot: its grid has that squared


class NothingError(Exception):
    """A plot cannot be drawn; the text says why."""


class ReadStudy(optuna.Study):  # type: ignore[misc]
    """A study whose trials are only read: Optuna's storages copy each trial several times."""

    @classmethod
    def of(cls, trials: Sequence[FrozenTrial], like: optuna.Study) -> "ReadStudy":
        """A study of trials, which get the numbers 0, 1, …, with another study's name."""
        storage, name = optuna.storages.InMemoryStorage(), like.study_name
        with quiet():
            optuna.create_study(storage=storage, study_name=name, direction=like.direction)
            made = cls(study_name=name, storage=storage)
        for number, trial in enumerate(trials):
            trial.number = trial._trial_id = number  # PED-ANOVA tells trials apart by the second
        made.read = list(trials)
        return made

    def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        """The trials themselves, not copies of them."""
        return [trial for trial in self.read if states is None or trial.state in states]


class Views:
    """A run as Optuna studies, each for a kind of plot."""

    def __init__(self, facts: Facts, study: optuna.Study) -> None:
        """Prepare the studies.

        Args:
            facts: the run.
            study: the run as an Optuna study: see `optuna_study`.
        """
        self.facts, self.study = facts, study
        self.trials = study.get_trials(deepcopy=False)
        self.status = {row["trial"]: Status(row["status"]) for row in facts.rows}
        self.counted = [row["trial"] for row in facts.sound]
        self.values = {row["trial"]: facts.value(row) or 0.0 for row in facts.sound}
        self.complete = self.best(len(self.counted))
        with quiet():
            # The page names it. It needs only Optuna: fANOVA would need scikit-learn.
            self.evaluator = PedAnovaImportanceEvaluator()
            self.importances = self._importances()

    def best(self, most: int) -> optuna.Study:
        """A study in which the best trials are complete, and all others have no figures."""
        kept = set(self.counted[:most])
        return ReadStudy.of([self._as_complete(trial, kept) for trial in self.trials], self.study)

    def params(self, most: int = MOST_PARAMS) -> list[str]:
        """The names of the parameters that vary, the most important first."""
        return list(self.importances)[:most]

    def curves(self) -> tuple[optuna.Study, int]:
        """A study with the learning curves of the best trials, and how many curves it leaves out.

        Raises:
            NothingError: no trial has reported a figure.
        """
        drawn: set[int] = set()
        points = left_out = 0
        others = (trial.number for trial in self.trials if trial.number not in self.values)
        for number in [*self.counted, *others]:
            reports = len(self.trials[number].intermediate_values)
            points += reports
            if reports and points <= MOST_REPORTS and len(drawn) < MOST_CURVES:
                drawn.add(number)
            elif reports:
                left_out += 1
        if not drawn:
            raise NothingError("No trial has reported a figure.")
        curves = [_curve(t) if t.number in drawn else placeholder() for t in self.trials]
        return ReadStudy.of(curves, self.study), left_out

    def _as_complete(self, trial: FrozenTrial, kept: set[int]) -> FrozenTrial:
        if trial.number not in kept:
            return placeholder()
        return optuna.create_trial(
            value=self.values[trial.number], params=trial.params, distributions=trial.distributions
        )

    def _importances(self) -> dict[str, float]:
        """Parameter → its importance. Parameters with a single value have none."""
        if len(self.counted) < 2:
            return dict.fromkeys(sorted({n for t in self.trials for n in t.params}), 0.0)
        found: dict[str, float] = get_param_importances(
            self.complete, evaluator=self.evaluator, normalize=False
        )
        return found


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna's notes about plots with too few trials are not printed; the page says it itself."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def need(views: Views, least: int) -> None:
    """Raise NothingError if fewer trials than `least` have a figure that counts."""
    if len(views.counted) < least:
        have = len(views.counted)
        raise NothingError(
            f"Needs at least {least} trials with a figure that counts; there are {have}."
        )


def params(views: Views) -> list[str]:
    """The parameters of the plots of each parameter. Raises NothingError if there is none."""
    names = views.params()
    if not names:
        raise NothingError("Needs a setting that is searched.")
    return names


def pair(views: Views) -> list[str]:
    """The two most important parameters that occur together in a trial, numbers before choices."""
    kinds = {n: type(d) for t in views.trials for n, d in t.distributions.items()}
    names = sorted(views.params(), key=lambda name: kinds[name] is CategoricalDistribution)
    sets = [set(trial.params) for trial in views.trials if trial.number in views.values]
    for i, second in enumerate(names):
        for first in names[:i]:
            if sum({first, second} <= own for own in sets) >= 2:
                return [first, second]
    raise NothingError("Needs two settings that are searched together.")


def placeholder() -> FrozenTrial:
    """A trial that keeps a number and is not drawn."""
    return optuna.create_trial(state=TrialState.WAITING)


def _curve(trial: FrozenTrial) -> FrozenTrial:
    """A trial with its curve only, as pruned: Optuna draws no curve of a failed trial."""
    return optuna.create_trial(
        state=TrialState.PRUNED, intermediate_values=trial.intermediate_values
    )
