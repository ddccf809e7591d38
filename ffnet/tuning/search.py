"""Where a study's configurations come from: random, grid or TPE, as a Ray Tune searcher.

Trial n of a random or grid study has the same hyper-parameters and seed whatever ran before or
beside it: they follow from the study's seed and n alone. What TPE suggests follows from these and
from the rows of the trials begun before, so that a resumed study goes on as it would have.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
from ray.tune.search import Searcher

from ffnet.run import recorded
from ffnet.run.past import Past
from ffnet.run.tables import Row
from ffnet.spec.base import Values
from ffnet.spec.study import Study
from ffnet.spec.trial import TrialConfig
from ffnet.tuning.losses import Losses
from ffnet.tuning.tpe import Tpe

MOST_ORDERED = 1000  # trials that are put in order before a study starts


def trial_seed(study_seed: int, number: int) -> int:
    """The seed of trial `number`, below 2³¹."""
    return int(np.random.SeedSequence([study_seed, number]).generate_state(1)[0] >> 1)


def sample(study: Study, number: int) -> TrialConfig:
    """Trial `number` of a random or grid study."""
    grid = study.tuning.search == "grid"
    drawn = study.grid()[number] if grid else study.sample(number)
    return study.trial_config(number, drawn, trial_seed(study.seed, number))


class StudySearch(Searcher):  # type: ignore[misc]
    """Hands out a study's trials, and hands out again those that were lost with their worker."""

    def __init__(
        self,
        study: Study,
        past: Past | None = None,
        rows: Mapping[int, Row] | None = None,
        losses: Losses | None = None,
    ) -> None:
        """Search from the beginning, or from where a study was stopped.

        Args:
            study: whose trials.
            past: the study before it was stopped: unfinished trials are handed out first, those
                that ended not at all.
            rows: trial number → its row of trials.parquet as it stands: what TPE learns from.
                With None, the rows of `past`.
            losses: counts the lost workers; with None, a new counter.
        """
        super().__init__(metric=study.tuning.metric, mode=study.tuning.mode)
        past = past or Past()
        begun = {row["trial"]: row for row in past.trials}
        self._study = study
        self._rows = begun if rows is None else rows
        self._losses = losses or Losses()
        self._numbers = deque(number for number in _order(study) if number not in begun)
        self._live: dict[str, TrialConfig] = {}
        self._again = deque(past.unfinished(study))
        self._tpe = Tpe(study) if study.tuning.search == "tpe" else None
        if self._tpe:
            for row in past.trials:
                self._tpe.know(recorded.config(study.resolved(), row))

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

    def on_trial_result(self, trial_id: str, result: Values) -> None:
        """Nothing: TPE learns from the trials' rows."""

    def on_trial_complete(
        self, trial_id: str, result: Values | None = None, error: bool = False
    ) -> None:
        """Queue a lost trial again. Errors are lost workers: see `TrialWorker`."""
        config = self._live.pop(trial_id)
        if not error:
            return
        self._losses.count(config.number)
        if not self._losses.gave_up(config.number):
            self._again.append(self._latest(config))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a study's state is its tables and checkpoints."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, for the same reason."""

    def _latest(self, config: TrialConfig) -> TrialConfig:
        """The configuration as its row has it: population-based training changes it."""
        row = self._rows.get(config.number)
        return recorded.config(self._study.resolved(), row) if row else config

    def _make(self, number: int) -> TrialConfig:
        if not self._tpe:
            return sample(self._study, number)
        drawn = self._tpe.suggest(number, self._rows)
        config = self._study.trial_config(number, drawn, trial_seed(self._study.seed, number))
        self._tpe.know(config)
        return config


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
