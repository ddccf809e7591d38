"""A trial's checkpoint: npy arrays in one file.

First the steps that it has trained; then its latest reports as JSON, for a table that missed some
when the trial was lost or its study killed; then its variables.
"""

import json
from collections.abc import Iterable, Sequence
from typing import IO, Any

import numpy as np
import tensorflow as tf

Reports = list[dict[str, Any]]

KEPT_REPORTS = 100  # more than a table misses: it is written every second or so


def write(
    file: IO[bytes], step: int, reports: Sequence[dict[str, Any]], variables: Iterable[tf.Variable]
) -> None:
    """Write a checkpoint.

    Args:
        file: to write to.
        step: steps trained.
        reports: of the trial so far, as JSON has them.
        variables: in the order of `Trainer.variables`.
    """
    np.save(file, step)
    np.save(file, json.dumps(reports[-KEPT_REPORTS:]))
    for variable in variables:  # as memory views: `.numpy()` would copy
        np.save(file, np.asarray(memoryview(variable.read_value())))


def read(file: IO[bytes], variables: Iterable[tf.Variable]) -> tuple[int, Reports]:
    """Assign what was written, or as many of it as there are variables.

    Returns:
        The step, and the latest reports.
    """
    step, reports = int(np.load(file)), json.loads(str(np.load(file)))
    for variable in variables:
        variable.assign(np.load(file))
    return step, reports
