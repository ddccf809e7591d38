"""Gives Ray Tune the configurations of a study's trials.

In a random, grid or qmc study, the hyper-parameters and the seed of trial n depend only on n and on
the study's seed, not on other trials. A suggestion of a search that learns depends also on the rows
of the trials that began earlier. So a resumed study continues as if it had not been stopped.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from ray.tune.search import Searcher

from ffnet.errors import InputError
from ffnet.run import learnt, recorded
from ffnet.run.past import Past
from ffnet.run.tables import Row
from ffnet.spec.base import Values
from ffnet.spec.study import Study
from ffnet.spec.trial import TrialConfig
from ffnet.tuning.learner import Learner, learner
from ffnet.tuning.losses import Losses

MOST_ORDERED = 1000  # a study of more trials is not sorted by size: see `_order`


def trial_seed(study_seed: int, number: int) -> int:
    """The seed of trial `number`, from 0 to 2³¹ - 1."""
    return int(np.random.SeedSequence([study_seed, number]).generate_state(1)[0] >> 1)


def sample(study: Study, number: int) -> TrialConfig:
    """The configuration of trial `number` of a random, grid or qmc study, or of a point."""
    grid = study.tuning.search == "grid"
    drawn = study.grid()[number] if grid else study.sample(number)
    return study.trial_config(number, drawn, trial_seed(study.seed, number))


class StudySearch(Searcher):  # type: ignore[misc]
    """Hands out a study's trials, and hands out a trial again when its worker was lost."""

    def __init__(
        self,
        study: Study,
        past: Past | None = None,
        rows: Mapping[int, Row] | None = None,
        losses: Losses | None = None,
        slots: int | None = None,
    ) -> None:
        """Begin a study's search, or continue it after a stop.

        Args:
            study: the study whose trials are handed out.
            past: what an earlier process of this study did. Its unfinished trials are handed out
                first; trials that have ended are not handed out again.
            rows: trial number → the current row of trials.parquet; a search may learn from
                these. With None, the rows of `past`.
            losses: counts the lost workers. With None, a new counter.
            slots: how many trials can train at the same time. A search that learns suggests no more
                trials than can begin soon. With None, there is no limit.
        """
        super().__init__(metric=study.tuning.metric, mode=study.tuning.mode)
        past = past or Past()
        begun = {row["trial"]: row for row in past.trials}
        self._study = study
        self._rows = begun if rows is None else rows
        self._losses = losses or Losses()
        self._slots = slots or study.trials
        self._numbers = deque(number for number in _order(study) if number not in begun)
        self._live: dict[str, TrialConfig] = {}
        self._again = deque(past.unfinished(study))
        self._learner = learner(study, [*learnt.trials(study, past.learnt)])
        if self._learner:
            for row in past.trials:
                self._know(row)

    def suggest(self, trial_id: str) -> Values | str | None:
        """The next trial; FINISHED when all have ended.

        None means: ask again later. A running trial may still lose its worker and come again. And
        under HyperBand, Tune asks for all trials at once; those of a search that learns wait.
        """
        if self._again:
            config = self._again.popleft()
        elif self._numbers:
            if self._learner and self._waiting() >= self._slots:
                return None
            config = self._make(self._numbers.popleft())
        else:
            return None if self._live else Searcher.FINISHED
        self._live[trial_id] = config
        return {"trial": config.model_dump(), "sampled_at": time.time()}

    def on_trial_result(self, trial_id: str, result: Values) -> None:
        """Do nothing: a search learns from the trials' rows."""

    def on_trial_complete(
        self, trial_id: str, result: Values | None = None, error: bool = False
    ) -> None:
        """Queue a trial again if `error`, which only means a lost worker: see `TrialWorker`."""
        config = self._live.pop(trial_id)
        if not error:
            return
        self._losses.count(config.number)
        if not self._losses.gave_up(config.number):
            self._again.append(self._latest(config))

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the tables and checkpoints are the state of a study."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: see `save`."""

    def _waiting(self) -> int:
        """How many trials were suggested but have not begun."""
        return sum(config.number not in self._rows for config in self._live.values())

    def _know(self, row: Row) -> None:
        """Tell the learner of a trial of the past."""
        config = recorded.config(self._study.resolved(), row)
        try:
            cast(Learner, self._learner).know(config)
        except InputError as error:
            raise InputError(f"trials.parquet, trial {config.number}: {error}") from None

    def _latest(self, config: TrialConfig) -> TrialConfig:
        """The configuration in the trial's row: population-based training may have changed it."""
        row = self._rows.get(config.number)
        return recorded.config(self._study.resolved(), row) if row else config

    def _make(self, number: int) -> TrialConfig:
        if not self._learner:
            return sample(self._study, number)
        if number < len(self._study.tuning.points):
            config = sample(self._study, number)
        else:
            values = self._learner.suggest(number, self._rows)
            config = self._study.trial_config(number, values, trial_seed(self._study.seed, number))
        self._learner.know(config)
        return config


def _order(study: Study) -> Sequence[int]:
    """The order in which trials are handed out: by number, or the widest nets first.

    When small nets come last, all workers end at about the same time. The order is by number where
    it changes the results: a scheduler compares a trial with earlier trials, a wall time may leave
    out the last trials, and a search may learn from earlier trials. It is by number also for a
    study of more than MOST_ORDERED trials, where sorting takes long and gains little. Points come
    first in any case.
    """
    numbers = range(study.trials)
    free = study.tuning.scheduler == "none" and not study.budget.wall_seconds
    if not free or study.tuning.learns or study.trials > MOST_ORDERED:
        return numbers
    given = len(study.tuning.points)

    def place(number: int) -> tuple[bool, int]:
        return number >= given, -sum(sample(study, number).net.hidden_sizes)

    return sorted(numbers, key=place)
