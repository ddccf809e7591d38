"""Reads data sets from Parquet files."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ffnet.data import cache, images, tables
from ffnet.data.raw import Array, Place, Raw, reading, refuse_beyond_memory
from ffnet.spec.sections import Data


class ParquetTable(tables.Table):
    """A Parquet file.

    Raises:
        InputError: the file is damaged, or memory cannot hold it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.where, self.name = path, Place(str(path)), path.name
        with self.reading(), pq.ParquetFile(path) as file:
            self.schema, metadata = file.schema_arrow, file.metadata
            groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
            refuse_beyond_memory(path, sum(group.total_byte_size for group in groups))
            refuse_beyond_memory(path, metadata.num_rows * len(self.schema.names))

    def read(self, columns: list[str]) -> pa.Table:
        """Read the named columns."""
        with pq.ParquetFile(self.path) as file:
            return file.read(columns=columns)

    def images(self, column: str) -> Array:
        """Return the decoded images of a column, from the cache if they are there."""

        def decode() -> Array:
            with pq.ParquetFile(self.path) as file:
                batches = file.iter_batches(tables.IMAGES_AT_ONCE, columns=[column])
                where = self.where.of(column)
                return images.decode(tables.encoded(batches), file.metadata.num_rows, where)

        return cache.decoded(self.path, column, decode)

    def reading(self) -> AbstractContextManager[None]:
        """Turn errors that a damaged file raises into an InputError."""
        return reading(self.path, "Parquet")


def read(files: Mapping[str, list[Path]], data: Data) -> Raw:
    """Read the parts of a data set.

    Args:
        files: {part: its files, in order}; the part "train" must be among them.
        data: `target` names the label column; `drop_unlabelled` decides whether rows without a
            label are left out or refused.

    Raises:
        InputError: a file is damaged, or the files do not match.
    """
    opened = {part: [ParquetTable(path) for path in paths] for part, paths in files.items()}
    raw = tables.read(opened, data)
    return replace(raw, files=tuple(path for paths in files.values() for path in paths))
