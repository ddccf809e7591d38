"""Ray Tune's trial schedulers, set up from a study."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)

from ffnet.netspec import TrialConfig
from ffnet.space import Values
from ffnet.study import Study
from ffnet.tuning.past import Past


def make_scheduler(study: Study) -> TrialScheduler:
    """The scheduler that the study names; time is counted in epochs."""
    tuning, epochs = study.tuning, study.budget.epochs
    judged = {"time_attr": "epoch", "metric": tuning.metric, "mode": tuning.mode}
    match tuning.scheduler:
        case "asha":  # Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2018
            return StudyAsha(
                **judged,
                max_t=epochs,
                grace_period=tuning.grace_epochs,
                reduction_factor=tuning.reduction_factor,
            )
        case "hyperband":  # Li et al., "Hyperband", 2016
            return HyperBandScheduler(
                **judged, max_t=epochs, reduction_factor=tuning.reduction_factor
            )
        case "median":  # Golovin et al., "Google Vizier", 2017
            return MedianStoppingRule(**judged, grace_period=tuning.grace_epochs)
        case "pbt":
            return StudyPbt(study, judged)
        case _:
            return FIFOScheduler()


@dataclass(frozen=True)
class Known:
    """What ASHA and the median rule need to know of a trial."""

    trial_id: str


class StudyAsha(ASHAScheduler):  # type: ignore[misc]
    """ASHA that knows trials by their numbers: one begun again, after it was lost with its worker
    or its study was stopped, does not count twice on a rung."""

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, _known(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Values) -> str:
        return str(super().on_trial_result(tune_controller, _known(trial), result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Values) -> None:
        super().on_trial_complete(tune_controller, _known(trial), result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_remove(tune_controller, _known(trial))


def _known(trial: Any) -> Known:
    return trial if isinstance(trial, Known) else Known(str(trial.config["trial"]["number"]))


def replay(scheduler: TrialScheduler, study: Study, past: Past) -> None:
    """Show a scheduler the reports that trials made before the study was stopped.

    HyperBand and PBT begin anew: they judge trials that wait for each other.
    """
    if not isinstance(scheduler, StudyAsha | MedianStoppingRule):
        return
    nobody = SimpleNamespace(get_live_trials=list)
    for row in past.trials:
        scheduler.on_trial_add(nobody, Known(str(row["trial"])))
    for report in sorted(past.reports, key=lambda report: report["reported_at"]):
        if study.tuning.metric in report:
            scheduler.on_trial_result(nobody, Known(str(report["trial"])), report)


class StudyPbt(PopulationBasedTraining):  # type: ignore[misc]
    """Population-based training (Jaderberg et al., 2017) of a study's trials.

    From time to time a trial of the worst quarter goes on from the weights of one of the best,
    with that one's hyper-parameters, of which those that may change have changed a little.
    """

    def __init__(self, study: Study, judged: Values) -> None:
        """Set Tune's scheduler up.

        Args:
            study: whose space is explored.
            judged: the metric, its mode and what counts as time.
        """
        super().__init__(
            **judged,
            perturbation_interval=study.tuning.perturbation_epochs,
            custom_explore_fn=lambda config: config,  # `_get_new_config` explores
            log_config=False,
        )
        self._study = study
        self._random = np.random.default_rng(study.seed)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Tune refuses PBT beside a searcher, as some would learn from configurations that have
        changed since; StudySearch does not look at them."""
        super().on_trial_add(SimpleNamespace(search_alg=None), trial)

    def _get_new_config(self, trial: Any, trial_to_clone: Any) -> tuple[Values, Values]:
        own, better = (
            TrialConfig.model_validate(t.config["trial"]) for t in (trial, trial_to_clone)
        )
        explored = self._study.explored(better, self._random)
        config = explored.model_copy(update={"number": own.number, "seed": own.seed})
        return trial.config | {"trial": config.model_dump(), "parent": better.number}, {}
