"""A data set on the device: bytes stay bytes, and are normalised as they are gathered."""

import numpy as np
import tensorflow as tf

from ffnet.data import DataSet, Part


class DeviceData:
    """The parts of a data set as tensors, copied once a process.

    Attributes:
        train, validation: (examples [N, D] uint8 or float32, labels [N] int32).
        test: likewise, or None where the data set came without.
        features, classes: D and C.
    """

    def __init__(self, data: DataSet) -> None:
        self.features, self.classes = data.features, len(data.classes)
        self.train = _tensors(data.train)
        self.validation = _tensors(data.validation)
        self.test = _tensors(data.test) if data.test else None
        copies = data.features // len(data.mean)  # channels repeat along a flattened image
        self._mean = tf.constant(np.tile(data.mean, copies))
        self._scale = tf.constant(np.tile(1 / data.std, copies))

    def normalize(self, x: tf.Tensor) -> tf.Tensor:
        """Examples [N, D] as float32 with the training part's mean 0 and deviation 1."""
        return (tf.cast(x, tf.float32) - self._mean) * self._scale


def _tensors(part: Part) -> tuple[tf.Tensor, tf.Tensor]:
    # On the CPU tf.constant copies once; GPUs get them through the first gather.
    return tf.constant(part.x.reshape(len(part), -1)), tf.constant(part.y)
