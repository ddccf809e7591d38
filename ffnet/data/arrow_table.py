"""Reads tables from Arrow's own files: the file format (also called Feather) and the stream."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.feather

from ffnet.data import cache, images, tables
from ffnet.data.raw import Array, Place, Raw, reading, refuse_beyond_memory
from ffnet.spec.sections import Data

_FILE, _FEATHER_1 = b"ARROW1", b"FEA1"


class ArrowTable(tables.Table):
    """An Arrow file.

    Raises:
        InputError: the file is damaged, or memory cannot hold it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.where, self.name = path, Place(str(path)), path.name
        with self.reading():
            self._table = _read(path)
            self._table.validate(full=True)  # before all else: PyArrow believes a file's offsets
            refuse_beyond_memory(path, self._table.nbytes)
            self.schema = self._table.schema

    def read(self, columns: list[str]) -> pa.Table:
        """Return the named columns, from the mapped file if it is not compressed."""
        return self._table.select(columns)

    def images(self, column: str) -> Array:
        """Return the decoded images of a column, from the cache if they are there."""

        def decode() -> Array:
            batches = self._table.select([column]).to_batches(tables.IMAGES_AT_ONCE)
            return images.decode(tables.encoded(batches), len(self._table), self.where.of(column))

        return cache.decoded(self.path, column, decode)

    def reading(self) -> AbstractContextManager[None]:
        """Turn errors that a damaged file raises into an InputError."""
        return reading(self.path, "Arrow")


def read(files: Mapping[str, list[Path]], data: Data) -> Raw:
    """Read the parts of a data set; see `parquet.read`."""
    opened = {part: [ArrowTable(path) for path in paths] for part, paths in files.items()}
    raw = tables.read(opened, data)
    return replace(raw, files=tuple(path for paths in files.values() for path in paths))


def _read(path: Path) -> pa.Table:
    with path.open("rb") as file:
        first = file.read(8)
    if first.startswith(_FEATHER_1):
        return pa.feather.read_table(path)
    file = pa.memory_map(str(path))
    if first.startswith(_FILE):
        return pa.ipc.open_file(file).read_all()
    return pa.ipc.open_stream(file).read_all()
