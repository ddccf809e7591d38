"""Where a study's configurations come from: random, grid or Optuna's TPE, as a Ray Tune searcher.

Trial n of a random or grid study has the same hyper-parameters and seed whatever ran before or
beside it: they follow from the study's seed and n alone.
"""

import time
from collections import Counter, deque
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import optuna
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from ffnet.netspec import TrialConfig
from ffnet.results import recorded
from ffnet.results.tables import Row
from ffnet.space import Domain, Values, recorded_value, same
from ffnet.study import Study
from ffnet.tuning.past import UNFINISHED, Past

MOST_ORDERED = 1000  # trials that are put in order before a study starts
LOST_RETRIES = 3
"""How often a trial is begun again after its worker died."""


def trial_seed(study_seed: int, number: int) -> int:
    """The seed of trial `number`, below 2³¹."""
    return int(np.random.SeedSequence([study_seed, number]).generate_state(1)[0] >> 1)


def sample(study: Study, number: int) -> TrialConfig:
    """Trial `number` of a random or grid study."""
    grid = study.tuning.search == "grid"
    drawn = study.grid()[number] if grid else study.sample(number)
    return study.trial_config(number, drawn, trial_seed(study.seed, number))


class StudySearch(Searcher):  # type: ignore[misc]
    """Hands out a study's trials, and hands out again those lost with their worker.

    Ray Tune itself re-runs a trial whose worker dies while it trains; one whose worker dies as it
    changes to that trial ends in ERROR whatever `max_failures` says, and is begun again from here
    under its own number.
    """

    def __init__(self, study: Study, past: Past | None = None) -> None:
        """Search from the beginning, or from where a study was stopped.

        Args:
            study: whose trials.
            past: those begun before: unfinished ones are handed out first, ended ones not at all.
        """
        super().__init__(metric=study.tuning.metric, mode=study.tuning.mode)
        past = past or Past()
        begun = {row["trial"] for row in past.trials}
        self._study = study
        self._tpe = TpeSearch(study, past) if study.tuning.search == "tpe" else None
        self._numbers = deque(number for number in _order(study) if number not in begun)
        self._live: dict[str, TrialConfig] = {}
        self._again = deque(past.unfinished(study))
        self._lost: Counter[int] = Counter()

    def has_trials(self) -> bool:
        """Whether there is a trial to hand out."""
        return bool(self._again or self._numbers)

    def suggest(self, trial_id: str) -> Values | str | None:
        """The next trial; None while the running ones may still be lost; FINISHED at the end."""
        if self._again:
            config = self._again.popleft()
        elif self._numbers:
            config = self._make(self._numbers.popleft())
        else:
            return None if self._live else Searcher.FINISHED
        self._live[trial_id] = config
        return {"trial": config.model_dump(), "sampled_at": time.time()}

    def on_trial_complete(
        self, trial_id: str, result: Values | None = None, error: bool = False
    ) -> None:
        """Tell TPE, or queue a lost trial again. Errors are lost workers: see `Trial`."""
        config = self._live.pop(trial_id)
        if error and not self.gave_up(config.number):
            self._lost[config.number] += 1
            self._again.append(config)
        elif self._tpe:
            self._tpe.on_trial_complete(str(config.number), result, error)

    def on_trial_result(self, trial_id: str, result: Values) -> None:
        """Tell TPE how a trial stands."""
        if self._tpe and self._study.tuning.metric in result:
            self._tpe.on_trial_result(str(self._live[trial_id].number), result)

    def gave_up(self, number: int) -> bool:
        """Whether a trial was lost too often to be begun again."""
        return self._lost[number] >= LOST_RETRIES

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a study's state is its tables and checkpoints."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, likewise."""

    def _make(self, number: int) -> TrialConfig:
        if not self._tpe:
            return sample(self._study, number)
        drawn = self._tpe.suggest(str(number))["drawn"]
        return self._study.trial_config(number, drawn, trial_seed(self._study.seed, number))


class TpeSearch(OptunaSearch):  # type: ignore[misc]
    """Optuna's TPE over a study's space, which knows the trials of its past."""

    def __init__(self, study: Study, past: Past) -> None:
        """Set Ray Tune's adapter up, and tell it the past.

        Args:
            study: whose space is searched.
            past: its trials are suggested once more, and those that ended answered.
        """
        rows = sorted(past.trials, key=lambda row: row["trial"])
        super().__init__(
            lambda trial: {"drawn": study.space.draw(partial(_optuna_value, trial), study.base)},
            metric=study.tuning.metric,
            mode=study.tuning.mode,
            seed=study.seed,
            points_to_evaluate=[_optuna_point(study, row) for row in rows],
        )
        for row in rows:
            self.suggest(str(row["trial"]))
            best = row.get(f"best_{study.tuning.metric}")
            if row["status"] not in UNFINISHED:
                result = {study.tuning.metric: best, "training_iteration": 1}
                self.on_trial_complete(str(row["trial"]), result, error=best is None)


def _optuna_point(study: Study, row: Row) -> Values:
    """What Optuna must have suggested for a trial of the tables."""
    config = recorded.config(study.resolved(), row)
    values = config.net.model_dump() | config.training.model_dump()
    point: Values = {}

    def suggest(label: str, domain: Domain) -> Any:
        value = recorded_value(label, values)
        forms = (value, value[0]) if isinstance(value, tuple) and value else (value,)
        if domain.kind == "choice":
            is_it = [any(same(choice, form) for form in forms) for choice in domain.value]
            point[label] = is_it.index(True)
        else:
            point[label] = forms[-1]  # of a dropout for each layer, drawn for all
        return value

    study.space.draw(suggest, study.base)
    return point


def _order(study: Study) -> Sequence[int]:
    """The order in which trials are handed out: by number, or where it is free the longest first.

    With the small nets last, all workers end at about the same time. A scheduler compares trials
    with those before them, a wall time may cut the order short, and TPE learns as it goes. Among
    thousands of trials the last ones do not matter, and to look at all would take long.
    """
    numbers = range(study.trials)
    free = study.tuning.scheduler == "none" and not study.budget.wall_seconds
    if free and study.tuning.search != "tpe" and study.trials <= MOST_ORDERED:
        return sorted(numbers, key=lambda number: -sum(sample(study, number).net.hidden_sizes))
    return numbers


def _optuna_value(trial: optuna.Trial, label: str, domain: Domain) -> Any:
    """Optuna's suggestion; of a choice by its position, so that it may be any value."""
    if domain.kind == "choice":
        return domain.value[trial.suggest_categorical(label, list(range(len(domain.value))))]
    suggest = trial.suggest_int if "integer" in domain.kind else trial.suggest_float
    return suggest(label, *domain.value, log=domain.kind.startswith("log_"))
