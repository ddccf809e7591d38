"""Scales examples to mean 0 and standard deviation 1, in training and in exported models."""

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

Array = npt.NDArray[Any]


def per_feature(mean: Array, std: Array, features: int) -> tuple[Array, Array]:
    """Return mean and 1 / standard deviation of each feature of a flattened example, [features].

    Args:
        mean, std: numbers for each channel or each feature, with the same dtype. Numbers for
            channels are repeated for each pixel.
        features: numbers in an example.
    """
    copies = features // len(mean)
    return np.tile(mean, copies), np.tile(1 / std, copies)


def normalized(x: tf.Tensor, mean: Array | tf.Tensor, scale: Array | tf.Tensor) -> tf.Tensor:
    """Return (x - mean) · scale, [N, D] float32, computed in the dtype of `mean`.

    The result has the same bits as that of `ffnet.data.scaling`.

    Args:
        x: examples [N, D] of any dtype.
        mean, scale: results of `per_feature`, [D].
    """
    return tf.cast((tf.cast(x, mean.dtype) - mean) * scale, tf.float32)
