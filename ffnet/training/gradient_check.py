"""Backpropagation against finite differences, for any net, however it is written.

In Python:

    from ffnet.spec.net import NetSpec
    from ffnet.training.gradient_check import gradient_check

    gradient_check(NetSpec(hidden_sizes=(7, 5), bias=True))  # {"w1": 4e-10, "b1": 6e-10, …}
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ffnet.nets.net import Net, initialize, make_net
from ffnet.spec.net import NetSpec

Array = npt.NDArray[np.float64]
Objective = Callable[[], tf.Tensor]

STEP = 1e-6
"""Added to a weight and taken from it.

Central differences of a smooth loss of size 1 are best near the cube root of float64's 2e-16, 6e-6.
A little less, as a difference that reaches over a kink of relu is wrong, and half the step meets
half as many; rounding then errs by 2e-16 / 1e-6 = 2e-10 in each derivative, 1e-9 in 40 of them.
"""

FLOOR = 1e-2
"""Sum of the two norms below which the error is absolute: 1e-9 of rounding then counts as 1e-7.

Some gradients are 0, such as that of a bias before batch normalisation, whose mean takes it away.
"""


def gradient_check(
    spec: NetSpec,
    features: int = 12,
    classes: int = 3,
    examples: int = 8,
    seed: int = 0,
    most: int = 40,
) -> dict[str, float]:
    """How far automatic gradients are from numerical ones, in float64, as the net trains.

    The gradients are those of the mean softmax cross-entropy on random examples, with batch
    normalisation over these examples and the same outputs dropped each time.

    Args:
        spec: the net.
        features, classes, examples: sizes of the random batch; two examples or more for batch_norm.
        seed: decides examples, weights, dropout and coordinates.
        most: coordinates to compare in each variable, at random where it has more.

    Returns:
        Variable → relative error ‖a − n‖ / (‖a‖ + ‖n‖) over those coordinates: w1, b1, gamma1 and
        beta1 of the first layer as far as it has them, w2, … A right gradient gives less than
        1e-6; a kink of the activation within STEP of an example, seldom met, gives more.
    """
    random = np.random.default_rng(seed)
    net = _net(spec, features, classes, seed, random)
    x = tf.constant(random.normal(size=(examples, features)))
    y = tf.constant(random.integers(classes, size=examples))

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def objective() -> tf.Tensor:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, net.scores(x, training=True))
        return tf.reduce_mean(losses)

    with tf.GradientTape() as tape:
        loss = objective()
    automatic = tape.gradient(loss, net.weights)
    errors = {}
    for name, weight, gradient in zip(_names(spec), net.weights, automatic, strict=True):
        size = int(tf.size(weight))
        chosen = random.choice(size, min(most, size), replace=False)
        numerical = _numerical(objective, weight, chosen)
        errors[name] = _relative(gradient.numpy().ravel()[chosen], numerical)
    return errors


def _net(spec: NetSpec, features: int, classes: int, seed: int, random: np.random.Generator) -> Net:
    """A net as it trains; biases and gammas leave 0 and 1, where a wrong formula may look right."""
    net = make_net(features, classes, spec, tf.float64)
    initialize(net, features, classes, spec, seed)
    for weight in net.weights:
        weight.assign_add(0.1 * random.normal(size=weight.numpy().shape))
    net.dropout.rates.assign(spec.dropout_rates)
    net.dropout.begin_step(seed, 0)
    return net


def _names(spec: NetSpec) -> Iterator[str]:
    """The names of a net's weights, in their order."""
    depth = len(spec.hidden_sizes)
    for layer in range(1, depth + 2):
        yield f"w{layer}"
        if spec.bias:
            yield f"b{layer}"
        if spec.batch_norm and layer <= depth:
            yield f"gamma{layer}"
            yield f"beta{layer}"


def _numerical(objective: Objective, weight: tf.Variable, chosen: npt.NDArray[np.int64]) -> Array:
    """Central differences (L(w + h) − L(w − h)) / 2h by the chosen coordinates of a weight."""
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
