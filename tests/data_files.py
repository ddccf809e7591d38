"""Small data files, and how tests read them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ffnet.data.dataset import DataSet
from ffnet.data.load import load
from ffnet.errors import InputError
from ffnet.spec.sections import Data

N = 60
LABELS = np.arange(N) % 3
RANDOM = np.random.default_rng(0)


def loaded(dataset: object, **fields: Any) -> DataSet:
    """The data set at a path."""
    return load(Data(dataset=str(dataset), **fields))


def refusal(dataset: object, **fields: Any) -> str:
    """The message by which a data set is refused: one line."""
    with pytest.raises(InputError) as caught:
        loaded(dataset, **fields)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 500
    return message


def write(path: Path, metadata: dict[bytes, bytes] | None = None, /, **columns: Any) -> Path:
    """A Parquet file with columns a, b and label, but for those given; None leaves one out."""
    columns = {"a": np.arange(N) * 1.0, "b": RANDOM.normal(size=N), "label": LABELS} | columns
    table = pa.table({name: column for name, column in columns.items() if column is not None})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(metadata) if metadata else table, path)
    return path


def savez(path: Path, **arrays: Any) -> Path:
    """An npz file."""
    np.savez(path, allow_pickle=True, **arrays)
    return path


def original(data: DataSet) -> Any:
    """The features of all parts as they stood in the file, by the statistics noted."""
    parts = [data.train, data.validation, *([data.test] if data.test else [])]
    return np.concatenate([part.x for part in parts]).astype(np.float64) * data.std + data.mean
