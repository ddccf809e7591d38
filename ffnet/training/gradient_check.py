"""Compares the gradients of backpropagation with finite differences, for any net.

In Python:

    from ffnet.spec.net import NetSpec
    from ffnet.training.gradient_check import gradient_check

    gradient_check(NetSpec(hidden_sizes=(7, 5), bias=True))  # {"w1": 4e-10, "b1": 6e-10, …}
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ffnet.nets import layout
from ffnet.nets.inputs import Inputs, as_inputs
from ffnet.nets.net import Net, initialize, make_net
from ffnet.spec.net import NetSpec

Array = npt.NDArray[np.float64]
Objective = Callable[[], tf.Tensor]

STEP = 1e-6
"""h in the central difference (L(w + h) − L(w − h)) / 2h.

For a smooth loss of size 1 the best h is near the cube root of float64's precision of 2e-16: 6e-6.
A smaller h meets fewer kinks of relu, where the difference is wrong. With 1e-6 the rounding error
is 2e-16 / 1e-6 = 2e-10 in each derivative, and 1e-9 in 40 of them.
"""

FLOOR = 1e-2
"""Smallest divisor of the relative error. A rounding error of 1e-9 then gives at most 1e-7.

Some gradients are 0: batch normalisation subtracts the mean, so a bias before it has no effect.
"""


def gradient_check(
    spec: NetSpec,
    features: int | Inputs = 12,
    classes: int = 3,
    examples: int = 8,
    seed: int = 0,
    most: int = 40,
) -> dict[str, float]:
    """Compare automatic gradients (a) with numerical ones (n), in float64, in training mode.

    The objective is the mean softmax cross-entropy of a random batch. Batch normalisation uses
    this batch, and dropout always drops the same outputs.

    Args:
        spec: the net.
        features: numbers in an example; or the inputs, some of which may be codes.
        classes, examples: sizes of the random batch. batch_norm needs two examples.
        seed: determines the batch, the weights, dropout, and the numbers that are compared.
        most: how many numbers of each variable are compared, at most; they are drawn at random.

    Returns:
        {name of the variable: relative error ‖a − n‖ / (‖a‖ + ‖n‖)}. The names are w1, w2, … and,
        if the net has them, b1, gamma1, beta1, … (see `layout`). A right gradient gives less than
        1e-6. The error is larger in the rare case that an example lies within STEP of a kink of the
        activation.
    """
    random = np.random.default_rng(seed)
    net = _net(spec, features, classes, seed, random)
    x = _examples(as_inputs(features, spec), examples, random)
    y = tf.constant(random.integers(classes, size=examples))

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def objective() -> tf.Tensor:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, net.scores(x, training=True))
        return tf.reduce_mean(losses)

    with tf.GradientTape() as tape:
        loss = objective()
    automatic = tape.gradient(loss, net.weights)
    errors = {}
    named = layout.weights(as_inputs(features, spec), classes, spec)
    for each, weight, gradient in zip(named, net.weights, automatic, strict=True):
        size = int(tf.size(weight))
        chosen = random.choice(size, min(most, size), replace=False)
        numerical = _numerical(objective, weight, chosen)
        errors[each.name] = _relative(
            tf.convert_to_tensor(gradient).numpy().ravel()[chosen], numerical
        )
    return errors


def _examples(inputs: Inputs, count: int, random: np.random.Generator) -> tf.Tensor:
    """Random numbers, and a random code for each table of learned vectors."""
    codes = [random.integers(each.rows, size=(count, 1)) for each in inputs.vectors]
    return tf.constant(np.concatenate([random.normal(size=(count, inputs.dense)), *codes], axis=1))


def _net(
    spec: NetSpec, features: int | Inputs, classes: int, seed: int, random: np.random.Generator
) -> Net:
    """Make the net in training mode, with random numbers added to all of its weights.

    Biases of 0 and gammas of 1 could hide a wrong formula.
    """
    net = make_net(features, classes, spec, tf.float64)
    initialize(net, features, classes, spec, seed)
    for weight in net.weights:
        weight.assign_add(0.1 * random.normal(size=weight.numpy().shape))
    net.dropout.rates.assign(spec.dropout_rates)
    net.dropout.begin_step(seed, 0)
    return net


def _numerical(objective: Objective, weight: tf.Variable, chosen: npt.NDArray[np.int64]) -> Array:
    """Central differences (L(w + h) − L(w − h)) / 2h for the chosen numbers of a weight."""
    before = weight.numpy()

    def moved(at: int, by: float) -> float:
        value = before.copy()
        value.flat[at] += by
        weight.assign(value)
        return float(objective())

    differences = [(moved(at, STEP) - moved(at, -STEP)) / (2 * STEP) for at in chosen]
    weight.assign(before)
    return np.array(differences)


def _relative(a: Array, n: Array) -> float:
    norms = float(np.linalg.norm(a) + np.linalg.norm(n))
    return float(np.linalg.norm(a - n)) / max(norms, FLOOR)
