"""Arrays that TensorFlow can use without copying them."""

from typing import Any

import numpy as np
import numpy.typing as npt

ALIGNMENT = 64  # bytes; TensorFlow aborts if shared memory starts at another multiple


def empty(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an array without values whose address is a multiple of ALIGNMENT."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.empty(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size].view(dtype).reshape(shape)
