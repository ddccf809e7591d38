"""What is refused of a study once its data are known, before Ray starts."""

import math
from collections.abc import Iterator
from random import Random

from ffnet.data.dataset import DataSet
from ffnet.errors import InputError
from ffnet.spec.study import Study
from ffnet.spec.trial import TrialConfig, steps_per_epoch
from ffnet.training import memory
from ffnet.tuning.search import sample

LOOKED_AT = 64  # configurations that are drawn to find what holds for all


def check_reports(study: Study, examples: int) -> None:
    """Refuse a scheduler that could stop or change no trial, as none reports in time.

    Raises:
        InputError: no trial reports between its grace and its end.
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
        f"{tuning.scheduler} judges trials by their reports, but none would report between "
        f"{name} and its end. Given: {name} {least:g}, report_steps "
        f"{study.training.report_steps}, {study.budget.epochs} epochs of {per_epoch} steps; lower "
        f'report_steps or {name}, or say scheduler = "none"'
    )


def check_memory(study: Study, data: DataSet) -> None:
    """Refuse a study of which no trial fits into this machine's memory.

    Raises:
        InputError: with the estimate for the smallest trial that was looked at.
    """
    smallest = min(looked_at(study), key=lambda config: memory.worker_bytes(config, data))
    memory.check(smallest, data)


def looked_at(study: Study) -> Iterator[TrialConfig]:
    """Some configurations from all over a study, for TPE of a random search: always the same."""
    numbers = range(study.trials)
    some = Random(0).sample(numbers, min(LOOKED_AT, len(numbers)))
    return (sample(study, number) for number in sorted(some))


def _is_judged(config: TrialConfig, examples: int, least: float) -> bool:
    """Whether a trial reports between `least` epochs and its end, which nothing follows."""
    per_epoch = steps_per_epoch(config, examples)
    interval = config.training.report_steps or per_epoch
    first = max(1, math.ceil(least * per_epoch / interval - 1e-9)) * interval
    return first < config.epochs * per_epoch
