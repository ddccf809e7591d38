"""Checks of a study that need its data. They run before Ray starts."""

import math
from collections.abc import Iterator
from random import Random

from ffnet.data.dataset import DataSet
from ffnet.errors import InputError
from ffnet.spec.study import Study
from ffnet.spec.trial import TrialConfig, steps_per_epoch
from ffnet.training import memory
from ffnet.training.examples import refuse_unfit
from ffnet.tuning.search import sample

LOOKED_AT = 64  # a check of all trials draws at most this many configurations


def check_reports(study: Study, examples: int) -> None:
    """Refuse a scheduler that could not stop or change any trial.

    A scheduler acts when a trial reports: after the trial's grace epochs and before its end.

    Args:
        study: its scheduler, budget and report_steps are checked.
        examples: number of training examples.

    Raises:
        InputError: no trial reports between these two points.
    """
    tuning = study.tuning
    name, least = {
        "asha": ("grace_epochs", tuning.grace_epochs),
        "median": ("grace_epochs", tuning.grace_epochs),
        "hyperband": ("its start", 0.0),
        "pbt": ("perturbation_epochs", tuning.perturbation_epochs),
        "none": ("", 0.0),
    }[tuning.scheduler]
    configs = list(looked_at(study))
    if tuning.scheduler == "none" or any(_is_judged(c, examples, least) for c in configs):
        return
    per_epoch = steps_per_epoch(configs[0], examples)
    raise InputError(
        f"{tuning.scheduler} judges trials by their reports, but no trial would report between "
        f"{name} and its end. Given: {name} {least:g}, report_steps "
        f"{study.training.report_steps}, {study.budget.epochs} epochs of {per_epoch} steps; lower "
        f'report_steps or {name}, or say scheduler = "none"'
    )


def check_images(study: Study, data: DataSet) -> None:
    """Refuse changes of training images that no trial's examples can have.

    Raises:
        InputError: names the field, the rule and the value.
    """
    for config in looked_at(study):
        refuse_unfit(config.training, data)


def check_memory(study: Study, data: DataSet) -> None:
    """Refuse a study if even its smallest trial does not fit into this machine's memory.

    Raises:
        InputError: says how much memory the smallest trial needs.
    """
    smallest = min(looked_at(study), key=lambda config: memory.worker_bytes(config, data))
    memory.check(smallest, data)


def looked_at(study: Study) -> Iterator[TrialConfig]:
    """At most LOOKED_AT configurations, spread over the study; the same ones at each call.

    What a search that learns will suggest is not known beforehand, so random values stand in.
    """
    numbers = range(study.trials)
    some = Random(0).sample(numbers, min(LOOKED_AT, len(numbers)))
    return (sample(study, number) for number in sorted(some))


def _is_judged(config: TrialConfig, examples: int, least: float) -> bool:
    """Whether a trial reports at or after `least` epochs and before its last step."""
    per_epoch = steps_per_epoch(config, examples)
    interval = config.training.report_steps or per_epoch
    first = max(1, math.ceil(least * per_epoch / interval - 1e-9)) * interval
    return first < config.epochs * per_epoch
