"""The learning rate of each step: schedule and warm-up."""

import numpy as np
import numpy.typing as npt

from ffnet.spec.net import Training

STEP_FACTOR = 0.1


def learning_rates(
    training: Training, steps: range, per_epoch: int, epochs: int
) -> npt.NDArray[np.float32]:
    """Return the learning rate of each step: the schedule's rate times the warm-up's factor.

    Args:
        training: learning rate, schedule, warm-up.
        steps: the steps, counted from the start of the training.
        per_epoch: number of steps in an epoch.
        epochs: number of epochs of the whole training; the cosine schedule ends at 0 there.

    Returns:
        Learning rates [len(steps)].
    """
    step = np.arange(steps.start, steps.stop)
    epoch = step / per_epoch
    rates = np.full(len(steps), training.learning_rate)
    if training.schedule == "cosine":  # Loshchilov and Hutter, "SGDR", 2017, without restarts
        rates *= (1 + np.cos(np.pi * epoch / epochs)) / 2
    elif training.schedule == "step":
        assert training.step_epochs is not None
        falls = np.floor(step / (per_epoch * training.step_epochs) + 1e-9)  # 3 / 0.3 is 9.99…
        rates *= (training.step_factor or STEP_FACTOR) ** falls
    if training.warmup_epochs:  # 1 is added so that the first step has a rate above 0
        rates *= np.minimum(1, (epoch + 1 / per_epoch) / training.warmup_epochs)
    return rates.astype(np.float32)
