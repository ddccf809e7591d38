"""Keeps the batches of a table: in memory while they are small, else in a temporary file."""

import os
import weakref
from typing import IO

import pyarrow as pa

from ffnet.system import temporary


class Spool:
    """The batches of a table, from which some columns can be read without the others.

    The temporary file has no name, so it disappears with the process, even a killed one.

    Args:
        schema: the schema of all batches.
        most: how many bytes may stay in memory.
    """

    def __init__(self, schema: pa.Schema, most: int) -> None:
        self.schema, self._most, self._bytes = schema, most, 0
        self._batches: list[pa.RecordBatch] = []
        self._file: IO[bytes] | None = None
        self._writer: pa.RecordBatchFileWriter | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Add a batch.

        Raises:
            InputError: a temporary file cannot be created.
            OSError: the disk is full.
        """
        self._batches.append(batch)
        self._bytes += batch.nbytes
        if self._bytes <= self._most:
            return
        if self._writer is None:
            self._file = temporary.file()
            weakref.finalize(self, self._file.close)
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writer = pa.ipc.new_file(self._file, self.schema, options=options)
        for waiting in self._batches:
            self._writer.write_batch(waiting)
        self._batches.clear()

    def close(self) -> None:
        """End the temporary file: no batch follows."""
        if self._writer is not None and self._file is not None:
            self._writer.close()
            self._file.flush()

    def read(self, columns: list[str]) -> pa.Table:
        """Return columns of all batches."""
        if self._file is None:
            return pa.Table.from_batches(self._batches, self.schema).select(columns)
        at = [self.schema.get_field_index(name) for name in columns]
        options = pa.ipc.IpcReadOptions(included_fields=at)
        with os.fdopen(os.dup(self._file.fileno()), "rb") as file:
            return pa.ipc.open_file(file, options=options).read_all().select(columns)
