"""Where a study's configurations come from: random, grid or Optuna's TPE, as a Ray Tune searcher.

Trial n of a random or grid study has the same hyper-parameters and seed whatever ran before or
beside it: they follow from the study's seed and n alone.
"""

import time
from collections import Counter, deque
from typing import Any

import numpy as np
from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from ffnet.study import Domain, Study, TrialConfig, Values

LOST_RETRIES = 3
"""How often a trial is begun again after its worker died."""


def trial_seed(study_seed: int, number: int) -> int:
    """The seed of trial `number`, below 2³¹."""
    return int(np.random.SeedSequence([study_seed, number]).generate_state(1)[0] >> 1)


def tune_domain(domain: Domain) -> Any:
    """Ray Tune's form of a domain; a choice is sampled by its position, so it may be any value."""
    if domain.kind == "choice":
        return tune.choice(list(range(len(domain.value))))
    low, high = domain.value
    match domain.kind:
        case "uniform":
            return tune.uniform(low, high)
        case "log_uniform":
            return tune.loguniform(low, high)
        case "integer":
            return tune.randint(low, high + 1)
        case _:
            return tune.lograndint(low, high + 1)


def tune_domains(study: Study) -> Values:
    """Ray Tune's form of the study's space, without what is fixed."""
    return {n: tune_domain(d) for n, d in study.space.items() if d.kind != "fixed"}


def sample(study: Study, number: int) -> TrialConfig:
    """Trial `number` of a random or grid study."""
    if study.tuning.search == "grid":
        seed = trial_seed(study.seed, number)
        return study.trial_config(number, study.space.grid()[number], seed)
    random = np.random.default_rng([study.seed, number])
    drawn = {n: d.sample(random_state=random) for n, d in tune_domains(study).items()}
    return _joined(study, number, drawn)


class StudySearch(Searcher):  # type: ignore[misc]
    """Hands out a study's trials, and hands out again those lost with their worker.

    Ray Tune itself re-runs a trial whose worker dies while it trains; one whose worker dies as it
    changes to that trial ends in ERROR whatever `max_failures` says, and is begun again from here
    under its own number.
    """

    def __init__(self, study: Study) -> None:
        super().__init__(metric=study.tuning.metric, mode=study.tuning.mode)
        self._study = study
        self._tpe = self._make_tpe() if study.tuning.search == "tpe" else None
        self._numbers = deque(_order(study))
        self._live: dict[str, TrialConfig] = {}
        self._again: deque[TrialConfig] = deque()
        self._lost: Counter[int] = Counter()

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
        return _joined(self._study, number, self._tpe.suggest(str(number)))

    def _make_tpe(self) -> OptunaSearch:
        return OptunaSearch(
            OptunaSearch.convert_search_space(tune_domains(self._study)),
            metric=self._study.tuning.metric,
            mode=self._study.tuning.mode,
            seed=self._study.seed,
        )


def _order(study: Study) -> list[int]:
    """The order in which trials are handed out: by number, or where it is free the longest first.

    With the small nets last, all workers end at about the same time. A scheduler compares trials
    with those before them, a wall time may cut the order short, and TPE learns as it goes.
    """
    numbers = list(range(study.trials))
    free = study.tuning.scheduler == "none" and not study.budget.wall_seconds
    if free and study.tuning.search != "tpe":
        numbers.sort(key=lambda number: -sum(sample(study, number).net.hidden_sizes))
    return numbers


def _joined(study: Study, number: int, drawn: Values) -> TrialConfig:
    values = {name: _value(domain, drawn.get(name)) for name, domain in study.space.items()}
    return study.trial_config(number, values, trial_seed(study.seed, number))


def _value(domain: Domain, drawn: Any) -> Any:
    if domain.kind == "fixed":
        return domain.value
    if domain.kind == "choice":
        return domain.value[int(drawn)]
    return drawn.item() if isinstance(drawn, np.generic) else drawn
