"""What every reader of data files gives, and how a damaged file is told."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ffnet.data import cache
from ffnet.errors import InputError, one_line

Array = npt.NDArray[Any]

PARTS = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Word in the name of a file, a folder or an array → the part that it names."""


@dataclass(frozen=True)
class Raw:
    """What the files hold, or what was given from Python.

    Attributes:
        parts: "train", perhaps "validation" and "test" → (examples, labels).
        files: the files that were read, in order; none for data given from Python.
        classes: the class names, where the files have them.
        columns: the names of the features of one example, where they have names.
        target: the column or array that the labels are from, where it has a name.
        unused: columns or arrays that stand in the files and are not used.
        unlabelled: part → rows left out because they have no label.
        given: what was given from Python instead of files, in words; empty for files.
    """

    parts: dict[str, tuple[Array, Array]]
    files: tuple[Path, ...]
    classes: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    target: str | None = None
    unused: tuple[str, ...] = ()
    unlabelled: dict[str, int] = field(default_factory=dict)
    given: str = ""

    @property
    def where(self) -> str:
        """What a message calls these data: the first file, or `data`, the argument."""
        return str(self.files[0]) if self.files else "data"

    @property
    def source(self) -> str:
        """Where the data come from, for study.json."""
        return f"given from Python: {self.given}" if self.given else ", ".join(map(str, self.files))

    def digest(self) -> str:
        """SHA-256 over the contents of the files, in order; or over the data given from Python."""
        if self.given:
            return self._content_digest()
        return hashlib.sha256("".join(map(cache.file_digest, self.files)).encode()).hexdigest()

    def _content_digest(self) -> str:
        """SHA-256 over what ffnet has made of the data given.

        It covers the names (features, target, classes), the count of rows left out, and each
        part's dtype, shape, numbers in C order, and labels. How the caller's memory holds them
        (strides, byte order, chunks, dictionaries, text as objects or as characters) has no effect.
        """
        names = [self.columns, self.target, self.classes, sorted(self.unlabelled.items())]
        digest = hashlib.sha256(json.dumps(names).encode())
        for part in sorted(self.parts):
            x, y = self.parts[part]
            text = y.dtype.kind == "U"
            head = [part, x.dtype.name, x.shape, "text" if text else y.dtype.name, len(y)]
            digest.update(json.dumps(head).encode())
            for rows in blocks(x):
                digest.update(np.ascontiguousarray(x[rows]).data)
            digest.update(json.dumps(y.tolist()).encode() if text else y.tobytes())
        return digest.hexdigest()


VALUES_AT_ONCE = 1 << 22
"""Values that are looked at together; bounds the memory that this takes."""


def blocks(x: Array) -> Iterator[slice]:
    """Slices over the rows of `x`, of about VALUES_AT_ONCE values each."""
    size = max(1, VALUES_AT_ONCE * len(x) // max(1, x.size))
    for start in range(0, len(x), size):
        yield slice(start, min(start + size, len(x)))


def refuse_irregular(path: Path) -> None:
    """Raise InputError for a pipe, a socket or a device: to open it may wait, or have no end."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(
            f"{path}: must be a regular file. Given: a pipe, a socket or a device; copy its "
            f"content to a file"
        )


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turns whatever a damaged file raises into one InputError."""
    refuse_irregular(path)
    with refused(str(path), f"cannot be read as {kind}", "; is the file complete?"):
        yield


@contextmanager
def refused(where: str, rule: str, remedy: str = "") -> Iterator[None]:
    """Turns whatever a library raises for a user's data into one InputError."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # whatever the bytes of damaged data lead a library to
        reason = one_line(str(error).strip() or type(error).__name__, 200)
        raise InputError(f"{where}: {rule} ({reason}){remedy}") from error


def refuse_beyond_memory(where: Path | str, size: int) -> None:
    """Raise InputError if data of so many bytes cannot be in this machine's memory."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise InputError(
            f"{where}: must fit into memory when unpacked. Given: {size / 1e9:,.1f} GB, as the "
            f"file says; this machine has {memory / 1e9:,.1f} GB"
        )


def refuse_uneven(examples: int, labels: int, where: str) -> None:
    """Raise InputError unless there are as many labels as examples."""
    if examples != labels:
        raise InputError(
            f"{where}: needs as many labels as examples. Given: {examples:,} examples, {labels:,} "
            f"labels; they do not belong together, or one of the two was cut"
        )


def matching(folder: Path, pattern: str) -> list[Path]:
    """The folder's files that match, sorted; hidden ones are left out.

    macOS writes `._NAME` beside NAME on foreign disks and in archives; it holds no data.
    """
    return sorted(p for p in folder.glob(pattern) if not p.name.startswith("."))


def listed(values: Iterable[object], most: int = 6) -> str:
    """Values that a file gave, for a message: a few of them, none of them long."""
    values = list(values)
    shown = [one_line(str(value), 40) for value in values[:most]]
    return ", ".join(shown) + (f" and {len(values) - most:,} more" if len(values) > most else "")
