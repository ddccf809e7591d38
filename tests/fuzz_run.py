"""Fuzzed parsers of a run's files: checkpoints and tables; see tests/fuzzing.py."""

import io
import json
import random
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ffnet.report import tensorboard
from ffnet.report.text import default_columns, render
from ffnet.run import checkpoints, ranking, recorded, tables
from ffnet.run.folder import RunFolder
from ffnet.run.storage import File
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.sections import Tuning
from ffnet.spec.study import OneNet, Study
from fuzzing import fuzzed


class Value:
    """Has the attributes of a TensorFlow variable that a checkpoint needs."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def read_value(self) -> np.ndarray:
        return self.array


def _checkpoints() -> list[bytes]:
    """Return two checkpoints of today's version and one of version 1."""
    weights = [np.arange(12, dtype=np.float32).reshape(3, 4), np.zeros(4, np.float32)]
    report = dict.fromkeys(checkpoints.NEEDED, 1) | {"node": "here", "val_loss": 0.1}
    reports = [report | dict.fromkeys(("started_at", "reported_at"), "2026-01-01T00:00:00")]
    made = []
    for latest in (reports, []):
        file = io.BytesIO()
        checkpoints.write(file, 3, latest, [Value(w) for w in weights])
        made.append(file.getvalue())
    file = io.BytesIO()
    np.save(file, 3)
    np.save(file, json.dumps(reports))
    for array in weights:
        np.save(file, array)
    return [*made, file.getvalue()]


@fuzzed("checkpoint", _checkpoints, words=[b"\x93NUMPY\x01\x00", b"'|O'", b"'<f4'", b"(9, 9)"])
def checkpoint(data: bytes, folder: Path) -> object:
    """Read a checkpoint of either version."""
    return checkpoints.parse(data)


# --- tables --------------------------------------------------------------------------------------

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BASE = NetSpec().model_dump() | Training().model_dump()


def _trials() -> list[bytes]:
    """Return tables of 0, 3 and 40 trials."""
    figures: tables.Row = {
        "best_val_accuracy": 0.5,
        "last_val_loss": 1.5,
        "epochs": 3.0,
        "train_seconds": 0.1,
    }
    known: tables.Row = {
        n: v for n, v in BASE.items() if n in tables.TRIALS.names and n != "dropout"
    }
    rows: list[tables.Row] = [
        {"trial": n, "status": status, "seed": n, "started_at": NOW, "reason": "why", **figures}
        | known
        | {"hidden_sizes": [8, 4], "dropout": [0.1, 0.0]}
        for n, status in enumerate((*tables.Status, *("done",) * 34))
    ]
    return [_written("trials.parquet", rows[:n], tables.TRIALS) for n in (0, 3, 40)]


def _epochs() -> list[bytes]:
    rows: list[tables.Row] = [
        {"trial": n % 4, "step": 5 + n // 4, "epoch": 1.0 + n // 4, "val_loss": 0.5, "worker": 9}
        | {"val_accuracy": 0.25, "reported_at": NOW, "dropout": [0.5], "train_loss": None}
        for n in range(40)
    ]
    return [_written("epochs.parquet", rows[:n], tables.EPOCHS) for n in (0, 4, 40)]


def _written(name: str, rows: list[tables.Row], schema: object) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        tables.write(File(str(path)), rows, schema)
        return path.read_bytes()


def _table(data: bytes, path: Path) -> list[tables.Row]:
    path.write_bytes(data)
    return tables.read(File(str(path)))


@fuzzed("trials", _trials, words=[b"PAR1", *(status.encode() for status in tables.Status)])
def trials(data: bytes, folder: Path) -> None:
    """Read trials.parquet and use its rows."""
    rows = _table(data, folder / "trials.parquet")
    study = Study.model_validate({"space": {"learning_rate": {"uniform": [0.1, 0.2]}}}).resolved()
    for style in ("table", "json"):
        render(ranking.ranked(rows, "best_val_accuracy", True), tables.TRIALS.names, style)
    for row in rows:
        recorded.config(study, row)
    tensorboard.write_run(folder / "board", rows[:3], [], Tuning())


@fuzzed("epochs", _epochs, words=[b"PAR1", b"val_loss", b"epoch"])
def epochs(data: bytes, folder: Path) -> None:
    """Read epochs.parquet and draw curves from it."""
    reports = _table(data, folder / "epochs.parquet")
    rows = [{"trial": n, "status": "done"} for n in range(2)]
    tensorboard.write_run(folder / "board", rows, reports, Tuning())


# --- study.json ----------------------------------------------------------------------------------


def _documents() -> list[bytes]:
    data = {
        "name": "digits", "sha256": "0" * 64, "sizes": {"train": 9, "test": None}, "mean": [0.5],
        "std": [0.25], "classes": ["0", "1"], "example_shape": [8, 8], "dtype": "uint8",
    }  # fmt: skip
    rest = {"versions": {"ffnet": None, "ray": "2"}, "threads": 1, "commit": None, "resumed": []}
    study = Study.model_validate({"space": {"learning_rate": {"uniform": [0.1, 0.2]}}}).resolved()
    kinds = (study, OneNet().model_dump(mode="json"))
    return [json.dumps({"study": kind, "data": data, **rest}).encode() for kind in kinds]


@fuzzed("document", _documents, words=[b"null", b"{}", b"[]", b"1e999", b"NaN", b"-1", b'"a"'])
def document(data: bytes, folder: Path) -> None:
    """Read the study.json of a run and use it."""
    (folder / "study.json").write_bytes(data)
    content = recorded.read_study_json(RunFolder.at(folder))
    default_columns(content["study"])
    row = {"trial": 0, "seed": random.Random(data).randrange(99), "learning_rate": 0.1}
    recorded.config(content["study"], row)
