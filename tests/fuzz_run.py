"""Fuzzed parsers of a run's files: checkpoints and tables; see tests/fuzzing.py."""

import io
import json
from pathlib import Path

import numpy as np
from fuzzing import fuzzed

from ffnet.training import checkpoints


class Value:
    """What a checkpoint needs of a variable of TensorFlow."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def read_value(self) -> np.ndarray:
        return self.array


def _checkpoints() -> list[bytes]:
    """Two of today's version, one of version 1."""
    weights = [np.arange(12, dtype=np.float32).reshape(3, 4), np.zeros(4, np.float32)]
    reports = [{"step": 3, "epoch": 1.0, "val_loss": 0.1, "reported_at": "2026-01-01T00:00:00"}]
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
    """A checkpoint, of either version."""
    return checkpoints.parse(data)
