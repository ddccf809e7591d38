"""A data set on the device: bytes stay bytes, and are normalised as they are gathered."""

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ffnet.data.dataset import DataSet, Part
from ffnet.nets.normalization import normalized, per_feature

ALIGNMENT = 64  # bytes; TensorFlow aborts on a borrowed tensor that begins elsewhere


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
        if data.train.x.dtype == np.uint8:
            each = per_feature(data.mean, data.std, data.features)
            self._mean, self._scale = map(tf.constant, each)

    def normalize(self, x: tf.Tensor) -> tf.Tensor:
        """Examples [N, D] as float32 with the training part's mean 0 and deviation 1.

        Features (float32) have been standardised when they were loaded, in float64.
        """
        if x.dtype == tf.float32:
            return x
        return normalized(x, self._mean, self._scale)


def _tensors(part: Part) -> tuple[tf.Tensor, tf.Tensor]:
    return _tensor(part.x.reshape(len(part), -1)), tf.constant(part.y)


def _tensor(x: npt.NDArray[Any]) -> tf.Tensor:
    """The array as a tensor: on a GPU a copy there; on the CPU the same memory, never written.

    Data in Ray's object store is thus held once a node, whatever the number of workers.
    tf.constant would take two further copies of it in each, one of them for a moment.
    """
    if tf.config.list_logical_devices("GPU"):
        return tf.constant(x)
    if x.ctypes.data % ALIGNMENT or not x.flags.c_contiguous:
        x = _aligned(x)
    return tf.experimental.dlpack.from_dlpack(np.asarray(_Writable(x)).__dlpack__())


class _Writable:
    """Presents a read-only array, as those of the object store are, as one that DLPack takes.

    What NumPy makes of it keeps it, and with it the array, for as long as a tensor needs them.
    """

    def __init__(self, x: npt.NDArray[Any]) -> None:
        self._x = x
        self.__array_interface__ = x.__array_interface__ | {"data": (x.ctypes.data, False)}


def _aligned(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy that begins where TensorFlow wants a tensor to."""
    room = np.empty(x.nbytes + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    copy = room[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    copy[...] = x
    return copy
