"""The steps of a trial at which it reports. Without TensorFlow, so that a study can be checked."""

import math

from ffnet.spec.net import TrialConfig


def steps_per_epoch(config: TrialConfig, examples: int) -> int:
    """Steps in which every training example is seen once; the last batch may be short."""
    return math.ceil(examples / config.training.batch_size)


def report_points(config: TrialConfig, examples: int) -> list[int]:
    """The steps after which a trial reports: each `report_steps` or epoch, and the end."""
    per_epoch = steps_per_epoch(config, examples)
    end = config.epochs * per_epoch
    interval = config.training.report_steps or per_epoch
    return [*range(interval, end, interval), end]
