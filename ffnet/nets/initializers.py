"""Initial weights: scaled random numbers. The same seed gives the same weights."""

import math
from collections.abc import Sequence

import tensorflow as tf

SCHEMES = {  # variance of a weight = scale / fan; distribution
    "kaiming_normal": (2, "in", "normal"),  # He et al., 2015, equation 10
    "kaiming_uniform": (2, "in", "uniform"),
    "variance_scaling": (2, "in", "truncated"),  # he_normal in Keras; the source lesson uses it
    "glorot_normal": (1, "mean", "truncated"),  # Glorot and Bengio, 2010
    "glorot_uniform": (1, "mean", "uniform"),
    "lecun_normal": (1, "in", "truncated"),  # LeCun et al., "Efficient BackProp", 1998
}
TRUNCATED_DEVIATION = 0.87962566103423978  # of a standard normal distribution cut at ±2


def initial(name: str, shape: Sequence[int], seed: Sequence[int]) -> tf.Tensor:
    """Return random weights, float32.

    Args:
        name: a key of SCHEMES.
        shape: (inputs, outputs), or (height, width, channels in, channels out). Then fan in is
            height·width·channels in, and fan out is height·width·channels out.
        seed: two integers.

    Raises:
        ValueError: the shape has another rank.
    """
    if len(shape) not in (2, 4):
        raise ValueError(f"{name} needs a shape of rank 2 or 4. Given: {tuple(shape)}")
    scale, fan, distribution = SCHEMES[name]
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
