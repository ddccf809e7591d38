"""A trial's checkpoint: one file, which says when it is damaged.

It begins with a line: the format's name and version, the CRC-32 of what follows, its bytes. Then
come npy arrays: the steps that the trial has trained; its latest reports as JSON, for a table that
missed some when the trial was lost or its study killed; its variables. Files of version 1 have no
such line. They are read too, after every check that is possible without it.

The checkpoint before it is kept beside it until the trial ends.
"""

import io
import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ffnet.errors import InputError
from ffnet.run.storage import File

Reports = list[dict[str, Any]]
Array = npt.NDArray[Any]

KEPT_REPORTS = 200  # more than a table ever lacks
FIRST_LINE = re.compile(rb"ffnet checkpoint 2, CRC-32 ([0-9a-f]{8}), ([0-9]{20}) bytes\n")
LINE_BYTES = len(b"ffnet checkpoint 2, CRC-32 01234567, 01234567890123456789 bytes\n")
NPY = b"\x93NUMPY"
HEAD = re.compile(
    rb"\x93NUMPY\x01\x00(..)\{'descr': '(<f[248]|<i8|<U[0-9]{1,8})', 'fortran_order': False, "
    rb"'shape': \(((?:[0-9]{1,12},? ?){0,4})\), \} *\n",
    re.DOTALL,
)
"""How each array begins, as NumPy writes it."""
MOST_HEAD = 512
NEEDED = {
    "step", "epoch", "train_seconds", "evaluate_seconds", "node", "worker", "worker_memory",
    "started_at", "reported_at",
}  # fmt: skip
"""What each report has; one that diverged has neither losses nor accuracy."""
MOST_STEPS = 2**40


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds.

    Attributes:
        step: steps trained.
        reports: the latest ones of the trial.
        arrays: the values of its variables.
        checked: whether the checksum of all of it was right; None for a file that has none.
    """

    step: int
    reports: Reports
    arrays: list[Array]
    checked: bool

    def assign(self, variables: Iterable[Any]) -> None:
        """Give the variables their values, or as many values as there are variables.

        Raises:
            InputError: a value has another shape or type than its variable.
        """
        variables = list(variables)
        if len(self.arrays) < len(variables):
            raise InputError(f"it holds {len(self.arrays)} variables. Needed: {len(variables)}")
        for variable, array in zip(variables, self.arrays, strict=False):
            now = variable.read_value()
            if tuple(now.shape) != array.shape or now.dtype.as_numpy_dtype != array.dtype:
                raise InputError(
                    f"a variable must be {tuple(now.shape)}, {now.dtype.name}. "
                    f"Given: {array.shape}, {array.dtype}"
                )
            if not (self.checked or np.isfinite(array).all()):
                raise InputError("a variable holds NaN or infinity")
        for variable, array in zip(variables, self.arrays, strict=False):
            variable.assign(array)


def load(checkpoint: File) -> Saved:
    """Read a run's checkpoint.

    Raises:
        InputError: it is damaged; the message has its name.
        OSError: the storage fails.
    """
    with checkpoint.open() as file:
        content = file.read()
    try:
        return parse(content)
    except InputError as error:
        raise damaged(checkpoint, error) from None


def damaged(checkpoint: File, why: InputError) -> InputError:
    """The error of a checkpoint that cannot be used."""
    return InputError(f"{checkpoint}: the checkpoint is damaged ({why})")


# --- the format ----------------------------------------------------------------------------------


def write(
    file: IO[bytes], step: int, reports: Sequence[dict[str, Any]], variables: Iterable[Any]
) -> None:
    """Write a checkpoint.

    Args:
        file: to write to, empty; one that can seek.
        step: steps trained.
        reports: of the trial so far, as JSON has them.
        variables: in the order of `Trainer.variables`.
    """
    checksum, size = 0, 0
    file.write(b" " * LINE_BYTES)
    for array in _arrays(step, reports, variables):
        for part in (_head(array), np.ascontiguousarray(array).reshape(-1).view(np.uint8).data):
            file.write(part)
            checksum, size = zlib.crc32(part, checksum), size + len(part)
    file.seek(0)
    file.write(b"ffnet checkpoint 2, CRC-32 %08x, %020d bytes\n" % (checksum, size))


def _arrays(
    step: int, reports: Sequence[dict[str, Any]], variables: Iterable[Any]
) -> Iterator[Array]:
    yield np.asarray(step)
    yield np.asarray(json.dumps(reports[-KEPT_REPORTS:]))
    for variable in variables:  # as memory views: `.numpy()` would copy
        yield np.asarray(memoryview(variable.read_value()))


def _head(array: Array) -> bytes:
    file = io.BytesIO()
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def parse(content: bytes) -> Saved:
    """Read a checkpoint's bytes; nothing in them is ever called. Raises InputError: damaged."""
    rest, checked = memoryview(content), False
    if not content.startswith(NPY):
        rest, checked = _payload(rest), True
    arrays = []
    while rest:
        array, rest = _array(rest)
        arrays.append(array)
    if len(arrays) < 2:
        raise InputError("it ends too early")
    step, reports, *variables = arrays
    if step.shape or step.dtype.kind != "i" or not 0 < int(step) < MOST_STEPS:
        raise InputError("it does not begin with the steps trained")
    if reports.shape or reports.dtype.kind != "U":
        raise InputError("it has no reports")
    if not all(array.dtype.kind == "f" for array in variables):
        raise InputError("a variable holds other things than numbers")
    return Saved(int(step), _reports(str(reports)), variables, checked)


def _payload(content: memoryview) -> memoryview:
    """What follows the first line, when its length and checksum are as the line says."""
    line = FIRST_LINE.fullmatch(content[:LINE_BYTES])
    if not line:
        raise InputError("it does not begin as a checkpoint")
    rest = content[LINE_BYTES:]
    if len(rest) != int(line[2]):
        raise InputError(f"it has {len(rest)} bytes after its first line. Written: {int(line[2])}")
    if zlib.crc32(rest) != int(line[1], 16):
        raise InputError("its content does not match its checksum")
    return rest


def _array(content: memoryview) -> tuple[Array, memoryview]:
    """The array at the beginning of npy data, which shares its memory, and what follows it."""
    head = HEAD.match(content[:MOST_HEAD])
    if not head or head.end() != 10 + int.from_bytes(head[1], "little"):
        raise InputError("it holds something else than arrays of numbers and text")
    dtype = np.dtype(head[2].decode())
    shape = tuple(int(size) for size in head[3].replace(b",", b" ").split())
    size = math.prod(shape) * dtype.itemsize
    rest = content[head.end() :]
    if size > len(rest):
        raise InputError("it ends too early")
    return np.frombuffer(rest[:size], dtype).reshape(shape), rest[size:]


def _reports(text: str) -> Reports:
    try:
        reports = json.loads(text)
        for report in reports:
            _check(report)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InputError("its reports are no reports") from None
    return list(reports)


def _check(report: dict[str, Any]) -> None:
    """Raise an error for a report that cannot be put into the tables."""
    if not report.keys() >= NEEDED:
        raise KeyError(*NEEDED - report.keys())
    for name, value in report.items():
        if name in ("started_at", "reported_at"):
            datetime.fromisoformat(value)
        elif not isinstance(value, str if name == "node" else int | float) or value != value:
            raise ValueError(name)
    if isinstance(report["step"], float) or not 0 < report["step"] < MOST_STEPS:
        raise ValueError("step")
