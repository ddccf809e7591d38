"""Takes the values of Arrow's arrays to NumPy, and back, through the memory that both describe.

PyArrow's own `to_numpy` and `pa.array` import pandas, which takes half a second and 60 MB.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]


def values(column: pa.ChunkedArray) -> Array:
    """Return a column of whole numbers, floats or booleans as an array [N].

    It shares the memory of a column of one chunk, and then cannot be written. What stands in the
    place of a null is not defined.

    Example:
        >>> values(pa.chunked_array([[1, 2], [3]]))
        array([1, 2, 3])
    """
    return _joined([_values(chunk) for chunk in column.chunks], _dtype(column.type))


def valid(column: pa.ChunkedArray) -> Bools:
    """Return whether each value of a column is there, bool [N]: it is no null."""
    return _joined([_valid(chunk) for chunk in column.chunks], np.dtype(bool))


def bools(there: Bools) -> pa.BooleanArray:
    """Return booleans [N] as an array of Arrow."""
    bits = pa.py_buffer(np.packbits(there, bitorder="little"))
    return pa.Array.from_buffers(pa.bool_(), len(there), [None, bits])


def texts(each: Iterable[str]) -> pa.LargeStringArray:
    """Return texts as an array of Arrow."""
    encoded = [text.encode() for text in each]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.large_string(), len(encoded), buffers)


def _joined(arrays: list[Array], dtype: np.dtype[Any]) -> Array:
    return arrays[0] if len(arrays) == 1 else np.concatenate([np.empty(0, dtype), *arrays])


def _dtype(kind: pa.DataType) -> np.dtype[Any]:
    return np.dtype(bool if pa.types.is_boolean(kind) else kind.to_pandas_dtype())


def _values(chunk: pa.Array) -> Array:
    dtype, (_, content) = _dtype(chunk.type), chunk.buffers()
    if not len(chunk):
        return np.empty(0, dtype)
    if pa.types.is_boolean(chunk.type):
        return _bits(content, chunk)
    return np.frombuffer(content, dtype, len(chunk), chunk.offset * dtype.itemsize)


def _valid(chunk: pa.Array) -> Bools:
    if pa.types.is_null(chunk.type):
        return np.zeros(len(chunk), bool)
    bits = chunk.buffers()[0]
    return np.ones(len(chunk), bool) if bits is None or not len(chunk) else _bits(bits, chunk)


def _bits(bits: pa.Buffer, chunk: pa.Array) -> Bools:
    packed, last = np.frombuffer(bits, np.uint8), chunk.offset + len(chunk)
    return np.unpackbits(packed, count=last, bitorder="little")[chunk.offset :].view(bool)
