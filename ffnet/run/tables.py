"""The tables of a run: trials.parquet, a row a trial started, and epochs.parquet, a row a report.

Missing is null, never 0. Times are seconds; `*_at` are UTC timestamps of the clock where they
happened. Hyper-parameters have a typed column each, named as in the study.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ffnet.errors import InputError, one_line
from ffnet.run import checks
from ffnet.run.storage import File
from ffnet.spec.net import MUTABLE
from ffnet.spec.validation import did_you_mean

Row = dict[str, Any]


class Status(StrEnum):
    """How a trial stands."""

    RUNNING = "running"  # not ended yet
    DONE = "done"  # trained all its epochs
    PRUNED = "pruned"  # ended early by the scheduler
    DIVERGED = "diverged"  # a loss was NaN or infinite
    FAILED = "failed"  # raised, or lost with its worker too often
    STOPPED = "stopped"  # ended with the study (wall time, a signal); may go on later

    @property
    def has_ended(self) -> bool:
        """Whether the trial is not trained any further, also when its study goes on."""
        return self not in (Status.RUNNING, Status.STOPPED)


TIME = pa.timestamp("us", "UTC")
HYPERPARAMETERS = {
    "api": pa.string(),
    "hidden_sizes": pa.list_(pa.int64()),
    "activation": pa.string(),
    "batch_norm": pa.bool_(),
    "bias": pa.bool_(),
    "initializer": pa.string(),
    "optimizer": pa.string(),
    "nesterov": pa.bool_(),
    "schedule": pa.string(),
    "warmup_epochs": pa.float64(),
    "step_epochs": pa.float64(),
    "step_factor": pa.float64(),
    "batch_size": pa.int64(),
    "learning_rate": pa.float64(),
    "momentum": pa.float64(),
    "weight_decay": pa.float64(),
    "dropout": pa.list_(pa.float64()),  # one rate for each hidden layer
}
KEYS = (["trial", "status"], ["trial", "step"])
"""Columns of trials.parquet, and of epochs.parquet, that are never null."""
TRIALS = pa.schema(
    {
        "trial": pa.int32(),
        "status": pa.string(),
        "reason": pa.string(),
        **HYPERPARAMETERS,
        "seed": pa.int64(),
        "parent": pa.int32(),  # the trial whose weights it went on from (PBT)
        "best_val_accuracy": pa.float64(),
        "best_val_accuracy_epoch": pa.float64(),
        "best_val_loss": pa.float64(),
        "best_val_loss_epoch": pa.float64(),
        "last_val_accuracy": pa.float64(),
        "last_val_loss": pa.float64(),
        "test_accuracy": pa.float64(),  # where it was asked for; no study looks at it
        "test_loss": pa.float64(),
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
        **{name: HYPERPARAMETERS[name] for name in MUTABLE},
        "parent": pa.int32(),
        "train_seconds": pa.float64(),
        "evaluate_seconds": pa.float64(),
        "worker": pa.int32(),
        "started_at": TIME,  # of the interval's first step, on the worker's clock
        "reported_at": TIME,
    }
)


def write(file: File, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
    """The rows as a Parquet file, put in place in one piece; absent keys become null."""
    table = pa.Table.from_pylist(list(rows), schema=schema)
    with file.replacing(sync=True) as opened:
        pq.write_table(table, opened)


def read(file: File, columns: list[str] | None = None) -> list[Row]:
    """The rows of a table as dicts: see `read_table`."""
    rows: list[Row] = read_table(file, columns).to_pylist()
    return rows


def read_table(file: File, columns: list[str] | None = None) -> pa.Table:
    """A table, with each of its values checked; see `checks`.

    Args:
        file: trials.parquet or epochs.parquet.
        columns: those wanted; None for all. Columns that the version that wrote the table did not
            have are null.

    Raises:
        InputError: no such table; a column that there is not; a value that cannot be.
    """
    schema = EPOCHS if file.name == "epochs.parquet" else TRIALS
    keys = KEYS[file.name == "epochs.parquet"]
    try:
        with file.open() as opened:  # once: a running study may put another in its place
            table = pq.ParquetFile(opened)
            have = table.schema_arrow.names
            known = list(dict.fromkeys([*schema.names, *have]))
            unknown = [name for name in columns or () if name not in known]
            if unknown:
                hint = did_you_mean(unknown[0], known)
                raise InputError(
                    f"no column {unknown[0]!r}{hint}; the columns are: {', '.join(known)}"
                )
            checks.check_file(str(file), table, schema)
            wanted = columns or known
            found = table.read([name for name in have if name in {*wanted, *keys}])
            found.validate(full=True)  # that text is UTF-8, among others
        found = checks.checked(str(file), found, schema, keys)
        if schema is TRIALS:
            checks.check_values(str(file), "status", found.column("status"), tuple(Status))
        for name in wanted:
            if name not in have:
                found = found.append_column(
                    schema.field(name), pa.nulls(len(found), schema.field(name).type)
                )
        return found.select(wanted)
    except InputError:
        raise
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
        reason = one_line(str(error), 300)
        raise InputError(f"{file}: not a readable table ({reason})") from None


def note_score(row: Row, report: Mapping[str, Any]) -> None:
    """Bring a trial's best and last figures up to a report; one that diverged has none."""
    for metric, better in (("val_accuracy", max), ("val_loss", min)):
        if metric not in report:
            continue
        value, best = report[metric], row.get(f"best_{metric}")
        row[f"last_{metric}"] = value
        if best is None or better(value, best) != best:
            row[f"best_{metric}"], row[f"best_{metric}_epoch"] = value, report["epoch"]
