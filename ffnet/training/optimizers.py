"""Optimisers for any net, built on TensorFlow's fused update operations.

The slots are variables whose shape may change like that of the weights, and rates are tensors. So
new values of hyper-parameters need no new trace. Constants and formulas are those of Keras.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import tensorflow as tf

from ffnet.spec.net import Training

BETA_1, BETA_2 = 0.9, 0.999  # decay rates of Adam's two moments
EPSILON = 1e-7  # added to the divisor of Adam and RMSprop
RHO = 0.9  # decay rate of RMSprop's mean square


class Rates(NamedTuple):
    """The rates of one step: scalar tensors with the weights' dtype.

    Attributes:
        averaging: share of the new weights in their average; needed only if there are averages.
        clip_norm: needed only if gradients are clipped.
    """

    learning_rate: tf.Tensor
    momentum: tf.Tensor
    weight_decay: tf.Tensor
    averaging: tf.Tensor = None
    clip_norm: tf.Tensor = None


Update = Callable[[tf.Tensor, Sequence[tf.Tensor], tf.Tensor, Rates, tf.Tensor], None]
"""Updates one weight. Arguments: handle of the weight, handles of its slots, gradient, rates, and
the number of earlier steps."""


class Optimizer:
    """Updates weights by their gradients.

    Attributes:
        weights: the variables that are updated.
        decays: whether there is weight decay.
        nesterov: whether SGD's momentum is Nesterov's.
        averages: the moving average of each weight; or empty.
        slots: variables that summarise earlier steps, such as the moments of Adam: none, one
            or two for each weight. The averages are not among them.
        of_weight: a list for each weight: its slots, and its average if there is one.
    """

    def __init__(
        self,
        training: Training,
        weights: Sequence[tf.Variable],
        factors: Sequence[float] | None = None,
        averages: Sequence[tf.Variable] = (),
    ) -> None:
        """Make the slots. Call `reset` before the first `apply`.

        Args:
            training: names the optimizer, and says whether it has momentum and weight decay.
            weights: the variables to update.
            factors: a factor of the learning rate for each of them. With None, all are 1.
            averages: a variable for the moving average of each weight. If empty, none is kept.
        """
        self.weights = list(weights)
        self._factors = factors or [1.0] * len(self.weights)
        self.decays, self.nesterov = training.weight_decay > 0, training.nesterov
        self._apart = training.optimizer == "adamw"
        self._clips = training.clip_norm is not None
        self.averages = list(averages)
        self._count, self._update = _kind(training)
        slots = [[_slot(weight) for _ in range(self._count)] for weight in weights]
        self.slots = [slot for own in slots for slot in own]
        lists = [[average] for average in averages] or [[] for _ in weights]
        self.of_weight = [[*own, *average] for own, average in zip(slots, lists, strict=True)]

    def reset(self) -> None:
        """Set all slots to zeros, and all averages to the weights, in the shapes of now."""
        for weight, own in zip(self.weights, self.of_weight, strict=True):
            for slot in own[: self._count]:
                slot.assign(tf.zeros(tf.shape(weight), weight.dtype))
            for average in own[self._count :]:
                average.assign(weight)

    def apply(self, gradients: Sequence[tf.Tensor | None], rates: Rates, step: tf.Tensor) -> None:
        """Update every weight that has a gradient.

        Args:
            gradients: the gradient of the loss by each weight, without weight decay; None for a
                weight that stays as it is. With clip_norm, none is None.
            rates: the rates of this step.
            step: number of steps since `reset`.
        """
        if self._clips:
            gradients = _clipped(gradients, rates.clip_norm)
        for weight, slots, gradient, factor in zip(
            self.weights, self.of_weight, gradients, self._factors, strict=True
        ):
            own = rates
            if factor != 1:
                own = rates._replace(learning_rate=factor * rates.learning_rate)
            if gradient is not None:
                self.update(weight, slots, gradient, own, step)

    def update(
        self,
        weight: tf.Variable,
        slots: Sequence[tf.Variable],
        gradient: tf.Tensor,
        rates: Rates,
        step: tf.Tensor,
    ) -> None:
        """Update one weight, its slots and its average, or equal parts of them: see `apply`.

        Args:
            weight: the weight.
            slots: its slots and, if there is one, its average, as in `of_weight`.
            gradient, rates, step: as for `apply`.
        """
        if self.decays and len(weight.shape) > 1:  # kernels only
            gradient = self._decayed(weight, gradient, rates)
        handles = [slot.handle for slot in slots[: self._count]]
        self._update(weight.handle, handles, gradient, rates, step)
        for average in slots[self._count :]:
            follow(average, weight, rates.averaging)

    def _decayed(self, weight: tf.Variable, gradient: tf.Tensor, rates: Rates) -> tf.Tensor:
        """Add the gradient of λ/2·‖w‖². adamw shrinks the weight instead.

        Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019.
        """
        if not self._apart:
            return gradient + rates.weight_decay * weight
        weight.assign_sub(rates.learning_rate * rates.weight_decay * weight)
        return gradient


def _clipped(gradients: Sequence[tf.Tensor], norm: tf.Tensor) -> list[tf.Tensor]:
    """Scale all gradients down if the norm of all of them together is above `norm`.

    This is Keras' global_clipnorm: before weight decay is added. Pascanu, Mikolov and Bengio, "On
    the difficulty of training recurrent neural networks", 2013.
    """
    # A gradient of learned vectors may name a row several times; only the sum has the right norm.
    whole = [tf.convert_to_tensor(gradient) for gradient in gradients]
    clipped: list[tf.Tensor] = tf.clip_by_global_norm(whole, norm)[0]
    return clipped


def descend(weight: tf.Tensor, gradient: tf.Tensor, learning_rate: tf.Tensor | float) -> None:
    """w ← w − learning rate · gradient, in place. assign_sub would first allocate the product."""
    tf.raw_ops.ResourceApplyGradientDescent(var=weight, alpha=learning_rate, delta=gradient)


def follow(average: tf.Variable, value: tf.Tensor, share: tf.Tensor) -> None:
    """Update the moving average of a value: average + share · (value − average), in place."""
    descend(average.handle, average - value, share)


def _kind(training: Training) -> tuple[int, Update]:
    """Return the number of slots for each weight, and the update function."""
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
    """Momentum: Polyak, 1964. Nesterov's momentum: Sutskever et al., 2013."""
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
    """Tieleman and Hinton, 2012. `rates.momentum` is 0 if the trial has no momentum."""
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
