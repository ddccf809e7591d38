"""The numbers with which each step trains, such as its learning rate by schedule and warm-up."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ffnet.spec.net import Training
from ffnet.spec.trial import TrialConfig
from ffnet.training.optimizers import Rates

STEP_FACTOR = 0.1


class Settings(NamedTuple):
    """Numbers of [training] that compiled functions get, so that new values need no new trace.

    Attributes:
        learning_rates: the learning rate of each step, [steps].
        momentum, weight_decay, label_smoothing: scalars; 0 without them.
    """

    learning_rates: Any
    momentum: Any
    weight_decay: Any
    label_smoothing: Any

    @classmethod
    def of(cls, config: TrialConfig, steps: range, per_epoch: int) -> "Settings":
        """The settings of some steps of a trial, as float32 tensors.

        Args:
            config: the trial.
            steps: the steps, counted from the start of the training.
            per_epoch: number of steps in an epoch.
        """
        training = config.training
        numbers = cls(
            learning_rates=learning_rates(training, steps, per_epoch, config.epochs),
            momentum=training.momentum or 0.0,
            weight_decay=training.weight_decay,
            label_smoothing=training.label_smoothing,
        )
        return cls(*(tf.constant(number, tf.float32) for number in numbers))

    def rates(self, at: tf.Tensor, count: int | None = None) -> Rates:
        """The rates of step number `at` of the steps; with a count, of so many steps from there."""

        def of_steps(numbers: tf.Tensor) -> tf.Tensor:
            if count is None:
                return numbers[at]
            return tf.ensure_shape(numbers[at : at + count], [count])

        return Rates(of_steps(self.learning_rates), self.momentum, self.weight_decay)


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
