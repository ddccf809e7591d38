"""A data set on the device. Pixels stay bytes there; each batch is normalised when it is used."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ffnet.data import aligned
from ffnet.data.dataset import DataSet, Part
from ffnet.nets.normalization import normalized, per_feature
from ffnet.nets.preparation import Preparation
from ffnet.spec.net import NetSpec


class DeviceData:
    """The parts of a data set as tensors. All trials of a process use the same object.

    Attributes:
        train, validation: (examples [N, D] uint8 or float32, labels [N] int32).
        test: the same pair for the test part, or None if the data set came without one.
        features, classes: numbers in an example (D), and number of classes.
        name, encoding, max_categories, pixels: those of the data set.
    """

    def __init__(self, data: DataSet) -> None:
        self.features, self.classes = data.features, len(data.classes)
        self.encoding, self.max_categories = data.encoding, data.max_categories
        self.name, self.pixels = data.name, data.pixels
        self.train = _tensors(data.train)
        self.validation = _tensors(data.validation)
        self.test = _tensors(data.test) if data.test else None
        if data.train.x.dtype == np.uint8:
            each = per_feature(data.mean, data.std, data.features)
            self._mean, self._scale = map(tf.constant, each)

    def balanced_weights(self) -> tf.Tensor:
        """Return a weight for each class, float32 [C]: examples / (classes · examples of it).

        Classes without a training example do not count as classes, and have the weight 0. So the
        mean weight of the training examples is 1.
        """
        counts = np.bincount(self.train[1].numpy(), minlength=self.classes)
        present = np.maximum(counts, 1) * np.count_nonzero(counts)
        return tf.constant(np.where(counts, counts.sum() / present, 0).astype(np.float32))

    def normalize(self, x: tf.Tensor) -> tf.Tensor:
        """Return examples [N, D] as float32, scaled so that the training part has mean 0 and std 1.

        float32 examples are returned unchanged: they were standardised when they were loaded. Those
        of a data set with an encoding also need `preparation`.
        """
        if x.dtype == tf.float32:
            return x
        return normalized(x, self._mean, self._scale)

    def preparation(self, net: NetSpec) -> Callable[[tf.Tensor], tf.Tensor]:
        """Return a function: examples [N, D] → what a net gets.

        Raises:
            InputError: the net's `embedding_sizes` do not fit the data.
        """
        if self.encoding is None:
            return self.normalize
        return Preparation(self.encoding, self.max_categories, net.embedding_sizes)


def _tensors(part: Part) -> tuple[tf.Tensor, tf.Tensor]:
    return _tensor(part.x.reshape(len(part), -1)), tf.constant(part.y)


def _tensor(x: npt.NDArray[Any]) -> tf.Tensor:
    """Copy the array to the GPU, or on the CPU make a tensor that shares the array's memory.

    So a node holds data of Ray's object store once, however many workers it has. tf.constant
    would add two copies in every worker, one of them only for a moment.
    """
    if tf.config.list_logical_devices("GPU"):
        return tf.constant(x)
    if x.ctypes.data % aligned.ALIGNMENT or not x.flags.c_contiguous:
        copy = aligned.empty(x.shape, x.dtype)
        copy[...] = x
        x = copy
    return tf.experimental.dlpack.from_dlpack(np.asarray(_Writable(x)).__dlpack__())


class _Writable:
    """Presents a read-only array as a writable one. DLPack refuses the object store's arrays.

    The NumPy array made from this object keeps the original alive as long as the tensor.
    """

    def __init__(self, x: npt.NDArray[Any]) -> None:
        self._x = x
        self.__array_interface__ = x.__array_interface__ | {"data": (x.ctypes.data, False)}
