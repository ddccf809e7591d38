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
    """Load the data set at a path."""
    return load(Data(dataset=str(dataset), **fields))


def refusal(dataset: object, **fields: Any) -> str:
    """Return the message with which a data set is refused: a single line."""
    with pytest.raises(InputError) as caught:
        loaded(dataset, **fields)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 500
    return message


def write(path: Path, metadata: dict[bytes, bytes] | None = None, /, **columns: Any) -> Path:
    """Write a Parquet file with columns a, b and label. `None` leaves a column out."""
    columns = {"a": np.arange(N) * 1.0, "b": RANDOM.normal(size=N), "label": LABELS} | columns
    table = pa.table({name: column for name, column in columns.items() if column is not None})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(metadata) if metadata else table, path)
    return path


def savez(path: Path, **arrays: Any) -> Path:
    """Write an npz file."""
    np.savez(path, allow_pickle=True, **arrays)
    return path


def original(data: DataSet) -> Any:
    """Return the features of all parts before they were standardised."""
    parts = [data.train, data.validation, *([data.test] if data.test else [])]
    return np.concatenate([part.x for part in parts]).astype(np.float64) * data.std + data.mean
