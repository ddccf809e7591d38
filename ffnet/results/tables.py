"""The tables of a run: trials.parquet, a row a trial started, and epochs.parquet, a row a report.

Missing is null, never 0. Times are seconds; `*_at` are UTC timestamps of the clock where they
happened. Hyper-parameters have a typed column each, named as in the study.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ffnet.errors import InputError
from ffnet.results.layout import replacing

Row = dict[str, Any]

STATUSES = ("running", "done", "pruned", "diverged", "failed", "stopped")
"""running: not ended yet; done: trained all its epochs; pruned: ended early by the scheduler;
diverged: a loss was NaN or infinite; failed: raised, or lost with its worker too often;
stopped: ended with the study (wall time, a signal)."""

TIME = pa.timestamp("us", "UTC")
HYPERPARAMETERS = {
    "hidden_sizes": pa.list_(pa.int64()),
    "activation": pa.string(),
    "initializer": pa.string(),
    "learning_rate": pa.float64(),
    "batch_size": pa.int64(),
}
TRIALS = pa.schema(
    {
        "trial": pa.int32(),
        "status": pa.string(),
        "reason": pa.string(),
        **HYPERPARAMETERS,
        "seed": pa.int64(),
        "best_val_accuracy": pa.float64(),
        "best_val_accuracy_epoch": pa.float64(),
        "best_val_loss": pa.float64(),
        "best_val_loss_epoch": pa.float64(),
        "last_val_accuracy": pa.float64(),
        "last_val_loss": pa.float64(),
        "epochs": pa.float64(),  # trained; also the epoch of the last_ columns
        "node": pa.string(),
        "worker": pa.int32(),  # process id
        "queue_seconds": pa.float64(),  # sampled → a worker had it
        "setup_seconds": pa.float64(),  # fresh weights, data, compiling; imports on a new worker
        "train_seconds": pa.float64(),
        "evaluate_seconds": pa.float64(),
        "report_seconds": pa.float64(),  # checkpoints, and waiting for the scheduler's answers
        "worker_memory": pa.int64(),  # peak resident bytes of the worker's process so far
        "started_at": TIME,
        "ended_at": TIME,
    }
)
EPOCHS = pa.schema(
    {
        "trial": pa.int32(),
        "epoch": pa.float64(),
        "step": pa.int32(),
        "train_loss": pa.float64(),
        "val_loss": pa.float64(),
        "val_accuracy": pa.float64(),
        "train_seconds": pa.float64(),
        "evaluate_seconds": pa.float64(),
        "worker": pa.int32(),
        "started_at": TIME,  # of the interval's first step, on the worker's clock
        "reported_at": TIME,
    }
)


def write(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
    """The rows as a Parquet file, put in place in one piece; absent keys become null."""
    table = pa.Table.from_pylist(list(rows), schema=schema)
    with replacing(path) as file:
        pq.write_table(table, file)


def read(path: Path, columns: list[str] | None = None) -> list[Row]:
    """The rows of a table.

    Args:
        path: trials.parquet or epochs.parquet.
        columns: those wanted; None for all.

    Raises:
        InputError: no such table, or a column that it does not have.
    """
    try:
        have = pq.read_schema(path).names
        unknown = [name for name in columns or () if name not in have]
        if unknown:
            raise InputError(f"no column {unknown[0]!r}; the columns are: {', '.join(have)}")
        rows: list[Row] = pq.read_table(path, columns=columns).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a readable table ({error})") from None
    return rows


def ranked(rows: Iterable[Row], column: str, descending: bool) -> list[Row]:
    """Rows by a column, rows without a value last."""
    rows = list(rows)
    with_value = [row for row in rows if row[column] is not None]
    with_value.sort(key=lambda row: row[column], reverse=descending)
    return with_value + [row for row in rows if row[column] is None]
