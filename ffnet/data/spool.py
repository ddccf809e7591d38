"""Keeps the columns of a table: in memory while they are small, else in a temporary file."""

import os
import weakref
from typing import IO, Any, TypeAlias

import pyarrow as pa

from ffnet.system import temporary

Piece: TypeAlias = pa.Array | tuple[int, int]
"""Some rows of a column: their values, or the position and the length of what the file has."""


class Spool:
    """Columns that come piece by piece, and of which each can be read without the others.

    The pieces of a column may be of different types. The temporary file has no name, so it
    disappears with the process, even a killed one.

    Args:
        most: how many bytes may stay in memory.
    """

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._pieces: dict[str, list[Piece]] = {}
        self._file: IO[bytes] | None = None

    def add(self, name: str, values: pa.Array) -> None:
        """Add rows to a column.

        Raises:
            InputError: a temporary file cannot be created.
            OSError: the disk is full.
        """
        self._pieces.setdefault(name, []).append(values)
        self._bytes += values.nbytes
        if self._file is not None:
            self._pieces[name][-1] = _written(values, self._file)
        elif self._bytes > self._most:
            file = self._file = temporary.file()
            weakref.finalize(self, file.close)
            for column, pieces in self._pieces.items():
                self._pieces[column] = [_written(piece, file) for piece in pieces]

    def remove(self, name: str) -> None:
        """Forget a column."""
        self._pieces.pop(name, None)

    def read(self, name: str) -> list[pa.Array]:
        """Return the pieces of a column in their order."""
        if self._file is None:
            return self._pieces.get(name, [])
        self._file.flush()
        return [_read(piece, self._file) for piece in self._pieces.get(name, [])]


def _written(values: pa.Array, file: IO[bytes]) -> tuple[int, int]:
    """Write values to the end of a file. Return their position and length there."""
    batch, sink = pa.record_batch([values], [""]), pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return file.tell(), file.write(sink.getvalue())


def _read(piece: Any, file: IO[bytes]) -> pa.Array:
    start, length = piece
    content = os.pread(file.fileno(), length, start)
    return pa.ipc.open_stream(content).read_next_batch().column(0)
