"""Initial weights: scaled random numbers, the same for the same seed."""

import math
from collections.abc import Sequence

import tensorflow as tf

SCHEMES = {  # variance of a weight = scale / fan; distribution
    "kaiming_normal": (2, "in", "normal"),  # He et al., 2015, equation 10
    "kaiming_uniform": (2, "in", "uniform"),
    "variance_scaling": (2, "in", "truncated"),  # the lesson's for Keras; its he_normal
    "glorot_normal": (1, "mean", "truncated"),  # Glorot and Bengio, 2010
    "glorot_uniform": (1, "mean", "uniform"),
    "lecun_normal": (1, "in", "truncated"),  # LeCun et al., "Efficient BackProp", 1998
}
TRUNCATED_DEVIATION = 0.87962566103423978  # of a standard normal cut at ±2


def initial(name: str, shape: Sequence[int], seed: Sequence[int]) -> tf.Tensor:
    """Random weights of a scheme, float32.

    Args:
        name: one of SCHEMES.
        shape: (inputs, outputs), or (height, width, channels in, channels out): fan in is the
            product of all but the last, fan out of all but the last but one.
        seed: two integers.

    Raises:
        ValueError: a shape of another rank.
    """
    if len(shape) not in (2, 4):
        raise ValueError(f"{name} needs a shape of rank 2 or 4. Given: {tuple(shape)}")
    scale, fan, distribution = SCHEMES[name]
    fan_in = math.prod(shape[:-1])
    fan_out = math.prod(shape[:-2]) * shape[-1]
    deviation = math.sqrt(scale / (fan_in if fan == "in" else (fan_in + fan_out) / 2))
    # Shapes as tensors: one trace for all.
    arguments = tf.constant(shape), tf.constant(seed), tf.constant(deviation)
    return {"normal": _normal, "uniform": _uniform, "truncated": _truncated}[distribution](
        *arguments
    )


# Compiled, they scale in place; TensorFlow's eager forms hold four copies for a moment.
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
