"""Initial weights."""

import math
from collections.abc import Sequence

import tensorflow as tf


def kaiming_normal(shape: Sequence[int], seed: Sequence[int]) -> tf.Tensor:
    """Normal numbers × sqrt(2 / fan_in), float32, the same for the same seed.

    He et al., "Delving Deep into Rectifiers", 2015, equation 10.

    Args:
        shape: of the weights: (inputs, outputs), or (height, width, channels in, channels out);
            fan_in is the product of all but the last.
        seed: two integers.

    Raises:
        ValueError: a shape of another rank.
    """
    if len(shape) not in (2, 4):
        raise ValueError(f"kaiming_normal needs a shape of rank 2 or 4. Given: {tuple(shape)}")
    deviation = math.sqrt(2 / math.prod(shape[:-1]))
    # Shapes as tensors: one trace for all.
    return _normal(tf.constant(shape), tf.constant(seed), tf.constant(deviation))


@tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
def _normal(shape: tf.Tensor, seed: tf.Tensor, deviation: tf.Tensor) -> tf.Tensor:
    """Compiled, it scales in place; TensorFlow's own eager form holds four copies for a moment."""
    return deviation * tf.random.stateless_normal(shape, seed=seed)
