"""Initial weights: scaled random numbers. The same seed gives the same weights."""

import math
from collections.abc import Sequence

import tensorflow as tf

from ffnet.spec.field_types import Activation

SCHEMES: dict[str, tuple[float, str, str]] = {  # variance of a weight = scale / fan; distribution
    "kaiming_normal": (2, "in", "normal"),  # He et al., 2015, equation 10
    "kaiming_uniform": (2, "in", "uniform"),
    "variance_scaling": (2, "in", "truncated"),  # he_normal in Keras; the source lesson uses it
    "glorot_normal": (1, "mean", "truncated"),  # Glorot and Bengio, 2010
    "glorot_uniform": (1, "mean", "uniform"),
    "lecun_normal": (1, "in", "truncated"),  # LeCun et al., "Efficient BackProp", 1998
    "fitted": (1, "in", "normal"),  # the scale is the square of the activation's gain
}
GAINS: dict[str, float] = {
    "linear": 1.0,  # LeCun et al., 1998
    "selu": 1.0,  # Klambauer et al., "Self-Normalizing Neural Networks", 2017
    "tanh": 5 / 3,  # as in PyTorch's calculate_gain; the rule below gives 1.592
    "relu": math.sqrt(2),  # He et al., 2015, equation 10
    "leaky_relu": math.sqrt(2 / (1 + 0.2**2)),  # equation 15, with Keras' slope of 0.2
    "relu6": 1.4142, "elu": 1.2452, "gelu": 1.5335, "silu": 1.6765, "mish": 1.4868,
    "softplus": 1.0419, "softsign": 2.3375, "sigmoid": 1.8462, "hard_sigmoid": 1.8978,
}  # fmt: skip
"""Activation f → the gain that keeps the size of a layer's products from layer to layer: the rule
of He et al., gain² = 1 / E[f(z)²] for a standard normal z, also where no paper names a number."""
TRUNCATED_DEVIATION = 0.87962566103423978  # of a standard normal distribution cut at ±2


def initial(
    name: str, shape: Sequence[int], seed: Sequence[int], activation: Activation | None = "linear"
) -> tf.Tensor:
    """Return random weights, float32.

    Args:
        name: a key of SCHEMES.
        shape: (inputs, outputs), or (height, width, channels in, channels out). Then fan in is
            height·width·channels in, and fan out is height·width·channels out.
        seed: two integers.
        activation: what computed the inputs. With name "fitted", its gain decides the scale. None
            means a linear layer: then the scale is 1, whatever the name.

    Raises:
        ValueError: the shape has another rank.
    """
    if len(shape) not in (2, 4):
        raise ValueError(f"{name} needs a shape of rank 2 or 4. Given: {tuple(shape)}")
    scale, fan, distribution = SCHEMES[name]
    if activation is None:
        scale = 1
    elif name == "fitted":
        scale = GAINS[activation] ** 2
    fan_in = math.prod(shape[:-1])
    fan_out = math.prod(shape[:-2]) * shape[-1]
    deviation = math.sqrt(scale / (fan_in if fan == "in" else (fan_in + fan_out) / 2))
    # As tensors these arguments share one trace.
    arguments = tf.constant(shape), tf.constant(seed), tf.constant(deviation)
    return {"normal": _normal, "uniform": _uniform, "truncated": _truncated}[distribution](
        *arguments
    )


def vectors(rows: int, trained: int, size: int, seed: Sequence[int]) -> tf.Tensor:
    """Return random vectors [rows, size], float32, whose length is about 1, as of one-hot vectors.

    Only the first `trained` rows are random. The others are 0, and training does not change them.
    """
    arguments = [trained, size], seed, size**-0.5
    drawn = _normal(*(tf.constant(argument) for argument in arguments))
    return tf.pad(drawn, [[0, rows - trained], [0, 0]])


def normal(shape: Sequence[int], seed: Sequence[int], deviation: float) -> tf.Tensor:
    """Return random numbers of a normal distribution around 0, float32."""
    return _normal(*map(tf.constant, ([*shape], [*seed], deviation)))


def uniform(shape: Sequence[int], seed: Sequence[int], end: float) -> tf.Tensor:
    """Return random numbers of a uniform distribution from −end to end, float32."""
    return _uniform(*map(tf.constant, ([*shape], [*seed], end / math.sqrt(3))))


# Compiled functions scale in place. Eagerly TensorFlow would hold four copies for a moment.
@tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]
def _normal(shape: tf.Tensor, seed: tf.Tensor, deviation: tf.Tensor) -> tf.Tensor:
    return deviation * tf.random.stateless_normal(shape, seed=seed)


@tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]
def _truncated(shape: tf.Tensor, seed: tf.Tensor, deviation: tf.Tensor) -> tf.Tensor:
    return (deviation / TRUNCATED_DEVIATION) * tf.random.stateless_truncated_normal(
        shape, seed=seed
    )


@tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]
def _uniform(shape: tf.Tensor, seed: tf.Tensor, deviation: tf.Tensor) -> tf.Tensor:
    end = deviation * math.sqrt(3)
    return tf.random.stateless_uniform(shape, seed=seed, minval=-end, maxval=end)
