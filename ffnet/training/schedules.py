"""The numbers with which each step trains, such as its learning rate by schedule and warm-up."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ffnet.spec.net import Training
from ffnet.spec.trial import TrialConfig
from ffnet.training.optimizers import Rates

Floats = npt.NDArray[np.float64]

STEP_FACTOR = 0.1
RISE, FIRST = 0.3, 1 / 25
"""Of one_cycle: the share of the training in which the rate rises, and the first rate's share."""


class Settings(NamedTuple):
    """Numbers of [training] that compiled functions get, so that new values need no new trace.

    Attributes:
        learning_rates, weight_decays, averaging: the rates of each step, [steps].
        dropout_rates: the dropout rate of each hidden layer at each step, [steps, depth].
        momentum, clip_norm, label_smoothing: scalars; 0 without them.
    """

    learning_rates: Any
    weight_decays: Any
    averaging: Any
    dropout_rates: Any
    momentum: Any
    clip_norm: Any
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
        done = np.arange(steps.start, steps.stop) / per_epoch / config.epochs
        dropout = falling(training.dropout_schedule, done)
        numbers = cls(
            learning_rates=learning_rates(training, steps, per_epoch, config.epochs),
            weight_decays=training.weight_decay * falling(training.weight_decay_schedule, done),
            averaging=averaging(training.average_decay or 0.0, steps),
            dropout_rates=np.outer(dropout, config.net.dropout_rates),
            momentum=training.momentum or 0.0,
            clip_norm=training.clip_norm or 0.0,
            label_smoothing=training.label_smoothing,
        )
        return cls(*(tf.constant(number, tf.float32) for number in numbers))

    def rates(self, at: tf.Tensor, count: int | None = None) -> Rates:
        """The rates of step number `at` of the steps; with a count, of so many steps from there."""

        def of_steps(numbers: tf.Tensor) -> tf.Tensor:
            if count is None:
                return numbers[at]
            return tf.ensure_shape(numbers[at : at + count], [count])

        return Rates(
            of_steps(self.learning_rates),
            self.momentum,
            of_steps(self.weight_decays),
            of_steps(self.averaging),
            self.clip_norm,
        )


def learning_rates(
    training: Training, steps: range, per_epoch: int, epochs: int
) -> npt.NDArray[np.float32]:
    """Return the learning rate of each step: the schedule's rate times the warm-up's factor.

    Args:
        training: learning rate, schedule, warm-up.
        steps: the steps, counted from the start of the training.
        per_epoch: number of steps in an epoch.
        epochs: number of epochs of the whole training, where cosine, one_cycle and coslog4 end.

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
    elif training.schedule == "one_cycle":
        rates *= one_cycle(epoch / epochs)
    elif training.schedule == "coslog4":
        rates *= coslog4(epoch / epochs)
    if training.warmup_epochs:  # 1 is added so that the first step has a rate above 0
        rates *= np.minimum(1, (epoch + 1 / per_epoch) / training.warmup_epochs)
    return rates.astype(np.float32)


def one_cycle(done: Floats) -> Floats:
    """Factors of the learning rate: from FIRST to 1 in the share RISE of the training, then to 0.

    Both parts are half a cosine, as in PyTorch, whose rate ends at a 250,000th instead of 0. The
    momentum does not change. Smith, "A disciplined approach to neural network hyper-parameters",
    2018.

    Args:
        done: shares of the training that are done, 0 to 1.
    """
    rise = FIRST + (1 - FIRST) * (1 - np.cos(np.pi * done / RISE)) / 2
    fall = (1 + np.cos(np.pi * (done - RISE) / (1 - RISE))) / 2
    return np.where(done < RISE, rise, fall)


def coslog4(done: Floats) -> Floats:
    """Factors of the learning rate that rise from 0 to 1 and fall to 0 four times.

    Each time takes about twice as long as the one before. Holzmüller et al., "Better by default:
    strong pre-tuned MLPs and boosted trees on tabular data", 2024.

    Args:
        done: shares of the training that are done, 0 to 1.
    """
    return (1 - np.cos(2 * np.pi * np.log2(1 + 15 * done))) / 2


def falling(schedule: str, done: Floats) -> Floats:
    """Factors by which weight decay or dropout falls.

    Args:
        schedule: constant; cosine; or flat_cosine, which is 1 in the first half of the training and
            a cosine to 0 in the second one (Holzmüller et al., 2024).
        done: shares of the training that are done, 0 to 1.
    """
    if schedule == "constant":
        return np.ones_like(done)
    if schedule == "flat_cosine":
        done = np.maximum(1, 2 * done) - 1
    return (1 + np.cos(np.pi * done)) / 2


def averaging(decay: float, steps: range) -> Floats:
    """Shares of the new weights in their moving average: 1 − decay.

    The first averages would be made of the initial weights. So at step t, counted from 0, the decay
    is at most (1 + t) / (10 + t), as in TensorFlow's ExponentialMovingAverage.

    Args:
        decay: the decay, 0 to below 1.
        steps: the steps, counted from the start of the training.
    """
    return np.maximum(1 - decay, 9 / (10 + np.arange(steps.start, steps.stop)))
