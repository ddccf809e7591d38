"""Gives examples mean 0 and deviation 1 on their way into a net, in training and when served."""

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

Array = npt.NDArray[Any]


def per_feature(mean: Array, std: Array, features: int) -> tuple[Array, Array]:
    """Mean and 1 / deviation of each feature of a flattened example, [features] each.

    Args:
        mean, std: one number per channel or per feature, of one dtype. Channels repeat along a
            flattened image.
        features: numbers in an example.
    """
    copies = features // len(mean)
    return np.tile(mean, copies), np.tile(1 / std, copies)


def normalized(x: tf.Tensor, mean: Array | tf.Tensor, scale: Array | tf.Tensor) -> tf.Tensor:
    """(x - mean) · scale in the dtype of `mean`, as float32: the bits of `ffnet.data.scaling`.

    Args:
        x: examples [N, D] of any dtype.
        mean, scale: of `per_feature`, [D].
    """
    return tf.cast((tf.cast(x, mean.dtype) - mean) * scale, tf.float32)
