"""A trial's checkpoint: one file with a checksum, so that damage is noticed.

The first line has the format's name and version, and the CRC-32 and the size of the rest. The rest
is a row of npy arrays: the number of trained steps, the trial's latest reports as JSON, and the
trial's variables. The reports are there because the tables may lack some after a kill. Files of
version 1 have no first line. They are read, too, with every check that needs no checksum.

Each report's checkpoint replaces the one before. The replaced file gets another name: it stays as
the trial's best weights if its report was the best so far and the new report is worse; else it
stays as a spare copy until the trial ends. So the best weights cost no further write.
"""

import io
import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ffnet.errors import InputError
from ffnet.run.storage import File

Reports = list[dict[str, Any]]
Array = npt.NDArray[Any]

KEPT_REPORTS = 200  # a table never lacks so many reports
FIRST_LINE = re.compile(rb"ffnet checkpoint 2, CRC-32 ([0-9a-f]{8}), ([0-9]{20}) bytes\n")
LINE_BYTES = len(b"ffnet checkpoint 2, CRC-32 01234567, 01234567890123456789 bytes\n")
NPY = b"\x93NUMPY"
HEAD = re.compile(
    rb"\x93NUMPY\x01\x00(..)\{'descr': '(<f[248]|<i8|<U[0-9]{1,8})', 'fortran_order': False, "
    rb"'shape': \(((?:[0-9]{1,12},? ?){0,4})\), \} *\n",
    re.DOTALL,
)
"""The header of an array, as NumPy writes it."""
MOST_HEAD = 512
NEEDED = {
    "step", "epoch", "train_seconds", "evaluate_seconds", "node", "worker", "worker_memory",
    "started_at", "reported_at",
}  # fmt: skip
"""Fields of every report. Losses and metrics are missing when the trial diverged."""
MOST_STEPS = 2**40
MOST_FRONT = 2**20  # bytes; the reports take less


@dataclass(frozen=True)
class Saved:
    """The content of a checkpoint.

    Attributes:
        step: number of trained steps.
        reports: the trial's latest reports.
        arrays: the values of the trial's variables.
        checked: whether a checksum was there and right; False for a file of version 1.
    """

    step: int
    reports: Reports
    arrays: list[Array]
    checked: bool

    def assign(self, variables: Iterable[Any]) -> None:
        """Assign the first arrays to the variables; further arrays are not used.

        Raises:
            InputError: there are too few arrays, an array has another shape or type than its
                variable, or an array without a checksum holds NaN or infinity.
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
    """Read a checkpoint.

    Raises:
        InputError: the checkpoint is damaged; the message names the file.
        OSError: the file cannot be read.
    """
    with checkpoint.open() as file:
        content = file.read()
    try:
        return parse(content)
    except InputError as error:
        raise damaged(checkpoint, error) from None


def damaged(checkpoint: File, why: InputError) -> InputError:
    """The error for a checkpoint that cannot be used."""
    return InputError(f"{checkpoint}: the checkpoint is damaged ({why})")


# --- the format ----------------------------------------------------------------------------------


def write(file: IO[bytes], step: int, reports: Reports, variables: Iterable[Any]) -> None:
    """Write a checkpoint.

    Args:
        file: an empty file that is open for writing and can seek.
        step: number of trained steps.
        reports: the reports to keep, with values that JSON can hold: see `to_keep`.
        variables: TensorFlow variables in the order of `Trainer.variables`.
    """
    checksum, size = 0, 0
    file.write(b" " * LINE_BYTES)
    for array in _arrays(step, reports, variables):
        for part in (_head(array), np.ascontiguousarray(array).reshape(-1).view(np.uint8).data):
            file.write(part)
            checksum, size = zlib.crc32(part, checksum), size + len(part)
    file.seek(0)
    file.write(b"ffnet checkpoint 2, CRC-32 %08x, %020d bytes\n" % (checksum, size))


def to_keep(reports: Reports, needed: Reports) -> Reports:
    """The latest KEPT_REPORTS reports of a trial, and before them the older ones in `needed`."""
    latest = reports[-KEPT_REPORTS:]
    return [*(one for one in needed if not any(one is other for other in latest)), *latest]


def _arrays(step: int, reports: Reports, variables: Iterable[Any]) -> Iterator[Array]:
    yield np.asarray(step)
    yield np.asarray(json.dumps(reports))
    for variable in variables:  # a memory view does not copy, but `.numpy()` does
        yield np.asarray(memoryview(variable.read_value()))


def _head(array: Array) -> bytes:
    file = io.BytesIO()
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def parse(content: bytes) -> Saved:
    """Read a checkpoint's bytes. It is safe: no code in them is executed.

    Raises:
        InputError: the bytes are damaged.
    """
    rest, checked = memoryview(content), False
    if not content.startswith(NPY):
        rest, checked = _payload(rest), True
    step, reports, rest = _front(rest)
    variables = []
    while rest:
        array, rest = _array(rest)
        variables.append(array)
    if not all(array.dtype.kind == "f" for array in variables):
        raise InputError("a variable holds something other than numbers")
    return Saved(step, reports, variables, checked)


def peek(checkpoint: File) -> Reports:
    """The reports in a checkpoint. Only its front is read, so the checksum is not compared.

    Raises:
        InputError: the front is damaged.
        OSError: the file cannot be read.
    """
    with checkpoint.open() as file:
        content = file.read(MOST_FRONT)
    first = 0 if content.startswith(NPY) else LINE_BYTES
    return _front(memoryview(content)[first:])[1]


def _front(content: memoryview) -> tuple[int, Reports, memoryview]:
    """The number of trained steps, the reports, and the bytes after them."""
    step, rest = _array(content)
    if step.shape or step.dtype.kind != "i" or not 0 < int(step) < MOST_STEPS:
        raise InputError("it does not begin with the number of trained steps")
    reports, rest = _array(rest)
    if reports.shape or reports.dtype.kind != "U":
        raise InputError("it has no reports")
    return int(step), _reports(str(reports)), rest


def _payload(content: memoryview) -> memoryview:
    """The bytes after the first line. Raises InputError if their size or checksum is wrong."""
    line = FIRST_LINE.fullmatch(content[:LINE_BYTES])
    if not line:
        raise InputError("its first line is not that of a checkpoint")
    rest = content[LINE_BYTES:]
    if len(rest) != int(line[2]):
        raise InputError(f"it has {len(rest)} bytes after its first line. Needed: {int(line[2])}")
    if zlib.crc32(rest) != int(line[1], 16):
        raise InputError("its content does not match its checksum")
    return rest


def _array(content: memoryview) -> tuple[Array, memoryview]:
    """The first array of npy data, as a view without a copy, and the bytes after the array."""
    head = HEAD.match(content[:MOST_HEAD])
    if not head or head.end() != 10 + int.from_bytes(head[1], "little"):
        raise InputError("it holds something other than arrays of numbers and text")
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
        raise InputError("its reports are not valid") from None
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
