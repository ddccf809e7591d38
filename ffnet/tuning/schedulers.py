"""Ray Tune's trial schedulers, set up from a study."""

from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    TrialScheduler,
)

from ffnet.study import Study


def make_scheduler(study: Study) -> TrialScheduler:
    """The scheduler that the study names; time is counted in epochs."""
    tuning, epochs = study.tuning, study.budget.epochs
    judged = {"time_attr": "epoch", "metric": tuning.metric, "mode": tuning.mode}
    match tuning.scheduler:
        case "asha":  # Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2018
            return ASHAScheduler(
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
        case _:
            return FIFOScheduler()
