"""Optimisers as fused updates of TensorFlow, over the weights of any net.

Their slots are variables as open in shape as the weights, and rates come as tensors, so that no
value of a hyper-parameter is traced. Constants and formulas are those of Keras.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import tensorflow as tf

from ffnet.spec.net import Training

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7  # of Adam
RHO = 0.9  # of RMSprop


class Rates(NamedTuple):
    """The rates of one step, tensors of the weights' type."""

    learning_rate: tf.Tensor
    momentum: tf.Tensor
    weight_decay: tf.Tensor


Update = Callable[[tf.Tensor, Sequence[tf.Tensor], tf.Tensor, Rates, tf.Tensor], None]
"""(handle of a weight, handles of its slots, gradient, rates, steps before this one)."""


class Optimizer:
    """Changes weights by their gradients.

    Attributes:
        slots: what it remembers of earlier steps: none, one or two variables for each weight.
    """

    def __init__(self, training: Training, weights: Sequence[tf.Variable]) -> None:
        """Make the slots, empty until `reset`.

        Args:
            training: which optimizer, and whether it has momentum and weight decay.
            weights: what will be updated.
        """
        self._weights = list(weights)
        self._decay = training.weight_decay > 0
        self._apart = training.optimizer == "adamw"
        count, self._update = _kind(training)
        self._slots = [[_slot(weight) for _ in range(count)] for weight in weights]
        self.slots = [slot for own in self._slots for slot in own]

    def reset(self) -> None:
        """Zero slots of the weights' present shapes."""
        for weight, slots in zip(self._weights, self._slots, strict=True):
            for slot in slots:
                slot.assign(tf.zeros(tf.shape(weight), weight.dtype))

    def apply(self, gradients: Sequence[tf.Tensor], rates: Rates, step: tf.Tensor) -> None:
        """Update every weight.

        Args:
            gradients: one for each weight, of the loss alone.
            rates: of this step.
            step: steps since `reset`.
        """
        for weight, slots, gradient in zip(self._weights, self._slots, gradients, strict=True):
            if self._decay and len(weight.shape) > 1:  # kernels only
                gradient = self._decayed(weight, gradient, rates)
            self._update(weight.handle, [slot.handle for slot in slots], gradient, rates, step)

    def _decayed(self, weight: tf.Variable, gradient: tf.Tensor, rates: Rates) -> tf.Tensor:
        """With the gradient of λ/2·‖w‖²; of AdamW (Loshchilov and Hutter, 2019) apart from it."""
        if not self._apart:
            return gradient + rates.weight_decay * weight
        weight.assign_sub(rates.learning_rate * rates.weight_decay * weight)
        return gradient


def descend(weight: tf.Tensor, gradient: tf.Tensor, learning_rate: tf.Tensor | float) -> None:
    """w ← w − learning rate · gradient, in place: assign_sub makes the product first."""
    tf.raw_ops.ResourceApplyGradientDescent(var=weight, alpha=learning_rate, delta=gradient)


def _kind(training: Training) -> tuple[int, Update]:
    """Slots for each weight, and the update."""
    match training.optimizer:
        case "adam" | "adamw":
            return 2, _adam
        case "rmsprop":
            return 2, _rmsprop
        case _ if training.momentum:
            return 1, partial(_momentum, nesterov=training.nesterov)
        case _:
            return 0, _sgd


def _sgd(
    weight: tf.Tensor, _: Sequence[tf.Tensor], gradient: tf.Tensor, rates: Rates, __: tf.Tensor
) -> None:
    descend(weight, gradient, rates.learning_rate)


def _momentum(
    weight: tf.Tensor, slots: Sequence[tf.Tensor], gradient: tf.Tensor, rates: Rates, _: tf.Tensor,
    *, nesterov: bool,
) -> None:  # fmt: skip
    """Polyak, 1964; Nesterov's as in Sutskever et al., 2013."""
    tf.raw_ops.ResourceApplyKerasMomentum(
        var=weight,
        accum=slots[0],
        lr=rates.learning_rate,
        grad=gradient,
        momentum=rates.momentum,
        use_nesterov=nesterov,
    )


def _adam(
    weight: tf.Tensor, slots: Sequence[tf.Tensor], gradient: tf.Tensor, rates: Rates,
    step: tf.Tensor,
) -> None:  # fmt: skip
    """Kingma and Ba, 2015."""
    beta_1, beta_2 = (tf.constant(beta, gradient.dtype) for beta in (BETA_1, BETA_2))
    steps = tf.cast(step + 1, gradient.dtype)
    tf.raw_ops.ResourceApplyAdam(
        var=weight,
        m=slots[0],
        v=slots[1],
        beta1_power=beta_1**steps,
        beta2_power=beta_2**steps,
        lr=rates.learning_rate,
        beta1=beta_1,
        beta2=beta_2,
        epsilon=tf.constant(EPSILON, gradient.dtype),
        grad=gradient,
    )


def _rmsprop(
    weight: tf.Tensor, slots: Sequence[tf.Tensor], gradient: tf.Tensor, rates: Rates, _: tf.Tensor
) -> None:
    """Tieleman and Hinton, 2012; with momentum where it is given."""
    tf.raw_ops.ResourceApplyRMSProp(
        var=weight,
        ms=slots[0],
        mom=slots[1],
        lr=rates.learning_rate,
        rho=tf.constant(RHO, gradient.dtype),
        momentum=rates.momentum,
        epsilon=tf.constant(EPSILON, gradient.dtype),
        grad=gradient,
    )


def _slot(weight: tf.Variable) -> tf.Variable:
    first = tf.zeros([n or 1 for n in weight.shape], weight.dtype)
    return tf.Variable(first, shape=weight.shape, trainable=False)
