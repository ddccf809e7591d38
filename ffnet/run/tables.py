"""The two tables of a run.

trials.parquet has a row for each trial that has begun, epochs.parquet has a row for each report. A
missing value is null, never 0. Times are in seconds. Columns `*_at` are UTC timestamps by the clock
of the machine where the event happened. Each hyper-parameter has a typed column with its name in
the study.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ffnet.errors import InputError, one_line
from ffnet.run import checks
from ffnet.run.sessions import Session, as_metadata
from ffnet.run.storage import File
from ffnet.spec.net import MUTABLE, NEWEST, TUNABLE
from ffnet.spec.sections import LOWER_IS_BETTER, METRICS, on_test
from ffnet.spec.validation import did_you_mean

Row = dict[str, Any]


class Status(StrEnum):
    """The status of a trial."""

    RUNNING = "running"  # it has not ended yet
    DONE = "done"  # it has trained all its epochs, or ended as it became no better
    PRUNED = "pruned"  # the scheduler ended it early
    DIVERGED = "diverged"  # a loss was NaN or infinite
    FAILED = "failed"  # it raised an error, or its worker was lost too often
    STOPPED = "stopped"  # the study ended before it (wall time, a signal); it can be resumed

    @property
    def has_ended(self) -> bool:
        """Whether the trial has ended for good. A running or stopped trial may be resumed."""
        return self not in (Status.RUNNING, Status.STOPPED)


TIME = pa.timestamp("us", "UTC")
HYPERPARAMETERS = {
    "api": pa.string(),
    "hidden_sizes": pa.list_(pa.int64()),
    "activation": pa.string(),
    "batch_norm": pa.bool_(),
    "layer_norm": pa.bool_(),
    "residual": pa.bool_(),
    "bottleneck": pa.int64(),  # 0 means none
    "bias": pa.bool_(),
    "initializer": pa.string(),
    "embedding_sizes": pa.list_(pa.int64()),  # one number, or one for each column of categories
    "number_embedding": pa.string(),
    "number_embedding_size": pa.int64(),
    "number_frequencies": pa.int64(),
    "frequency_scale": pa.float64(),
    "scaling_layer": pa.bool_(),
    "optimizer": pa.string(),
    "nesterov": pa.bool_(),
    "weight_decay_schedule": pa.string(),
    "dropout_schedule": pa.string(),
    "schedule": pa.string(),
    "warmup_epochs": pa.float64(),
    "step_epochs": pa.float64(),
    "step_factor": pa.float64(),
    "batch_size": pa.int64(),
    "class_weight": pa.string(),
    "label_smoothing": pa.float64(),
    "average_decay": pa.float64(),
    "clip_norm": pa.float64(),
    "mixup": pa.float64(),
    "input_noise": pa.float64(),
    "augment_shift": pa.int64(),
    "augment_flip": pa.bool_(),
    "augment_crop": pa.float64(),
    "augment_erase": pa.float64(),
    "augment_rotate": pa.float64(),
    "learning_rate": pa.float64(),
    "momentum": pa.float64(),
    "weight_decay": pa.float64(),
    "dropout": pa.list_(pa.float64()),  # a rate for each hidden layer
}
OF_OLDER = {"class_weight": "none", "steps_per_block": 0, "tiles": False} | {
    name: TUNABLE[name].model_fields[name].default for name in NEWEST
}
"""Column that tables of earlier versions lack → its value there. 0 stands for the rule by which
these versions trained nets in blocks: see `ffnet.spec.earlier.path`."""

BEST = {
    column: pa.float64()
    for metric in METRICS
    for column in (f"best_{metric}", f"best_{metric}_epoch")
}
"""The columns of a trial's best figures. Each metric has its own best epoch."""

TEST = {on_test(metric): pa.float64() for metric in METRICS}
"""The columns of the figures on the test part."""

TRIALS = pa.schema(
    {
        "trial": pa.int32(),
        "status": pa.string(),
        "reason": pa.string(),
        **HYPERPARAMETERS,
        "seed": pa.int64(),
        "steps_per_block": pa.int32(),  # how the steps were computed; null before the first report
        "tiles": pa.bool_(),
        "parent": pa.int32(),  # the trial whose weights it took over (PBT)
        **BEST,
        **{f"last_{metric}": pa.float64() for metric in METRICS},
        **TEST,  # a study never computes them; `ffnet train` may
        "epochs": pa.float64(),  # epochs trained; also the epoch of the last_ columns
        "node": pa.string(),
        "worker": pa.int32(),  # process id
        "queue_seconds": pa.float64(),  # from sampling until a worker began the trial
        "setup_seconds": pa.float64(),  # new weights, data, compiling; imports on a new worker
        "train_seconds": pa.float64(),
        "evaluate_seconds": pa.float64(),
        "report_seconds": pa.float64(),  # checkpoints, and waiting for the scheduler
        "worker_memory": pa.int64(),  # peak memory of the worker's process so far, in bytes
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
        **dict.fromkeys(("val_loss", *METRICS), pa.float64()),
        **{name: HYPERPARAMETERS[name] for name in MUTABLE},
        "parent": pa.int32(),
        "train_seconds": pa.float64(),
        "evaluate_seconds": pa.float64(),
        "worker": pa.int32(),
        "started_at": TIME,  # when the report's first step began, by the worker's clock
        "reported_at": TIME,
    }
)


class Kind(NamedTuple):
    """What a table holds.

    Attributes:
        schema: its columns.
        keys: columns that are never null. Without `status`, they together identify a row.
    """

    schema: pa.Schema
    keys: list[str]


OF_TRIALS, OF_EPOCHS = Kind(TRIALS, ["trial", "status"]), Kind(EPOCHS, ["trial", "step"])


def write(
    file: File,
    rows: Iterable[Mapping[str, Any]],
    schema: pa.Schema,
    sessions: Iterable[Session] = (),
) -> None:
    """Write rows to a Parquet file. Missing keys become null; the file is replaced in one piece.

    Args:
        file: the Parquet file.
        rows: the rows.
        schema: the table's columns, for example TRIALS.
        sessions: the study's sessions, which go into the file's metadata.
    """
    table = pa.Table.from_pylist(list(rows), schema=schema.with_metadata(as_metadata(sessions)))
    with file.replacing(sync=True) as opened:
        pq.write_table(table, opened)


def read(file: File, columns: list[str] | None = None, kind: Kind | None = None) -> list[Row]:
    """The rows of a table as dicts: see `read_table`."""
    rows: list[Row] = read_table(file, columns, kind).to_pylist()
    return rows


def read_table(file: File, columns: list[str] | None = None, kind: Kind | None = None) -> pa.Table:
    """Read a table and check all values: see `checks`.

    Args:
        file: trials.parquet, epochs.parquet, or a table of the kind `kind`.
        columns: the names of the wanted columns. With None, all. Columns that are newer than the
            table are null, but hyper-parameters have the value that older trials had: OF_OLDER.
        kind: what the table must hold. With None, the file's name says it.

    Raises:
        InputError: the table cannot be read, a column does not exist, or a value is not possible.
    """
    schema, keys = kind or (OF_EPOCHS if file.name == "epochs.parquet" else OF_TRIALS)
    try:
        with file.open() as opened:  # only once, because a running study may replace the file
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
            found.validate(full=True)  # for example, text must be UTF-8
        found = checks.checked(str(file), found, schema, keys)
        if "status" in keys:
            checks.check_values(str(file), "status", found.column("status"), tuple(Status))
        for name in wanted:
            if name not in have:
                value = pa.scalar(OF_OLDER.get(name), schema.field(name).type)
                found = found.append_column(schema.field(name), pa.repeat(value, len(found)))
        return found.select(wanted)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{file}: not there: its run has not written it yet") from None
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
        reason = one_line(str(error), 300)
        raise InputError(f"{file}: not a readable table ({reason})") from None


def note_score(row: Row, report: Mapping[str, Any]) -> None:
    """Update a trial's best and last figures with a report. A diverged report has no figures."""
    for metric in METRICS:
        if report.get(metric) is None:
            continue
        better = min if metric in LOWER_IS_BETTER else max
        value, best = report[metric], row.get(f"best_{metric}")
        row[f"last_{metric}"] = value
        if best is None or better(value, best) != best:
            row[f"best_{metric}"], row[f"best_{metric}_epoch"] = value, report["epoch"]
