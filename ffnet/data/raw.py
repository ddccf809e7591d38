"""What every reader of data files gives, and how a damaged file is told."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    """What the files hold.

    Attributes:
        parts: "train", perhaps "validation" and "test" → (examples, labels).
        files: the files that were read, in order.
        classes: the class names, where the files have them.
        columns: the names of the features of one example, where they have names.
        target: the column or array that the labels are from, where it has a name.
        unused: columns or arrays that stand in the files and are not used.
        unlabelled: part → rows left out because they have no label.
    """

    parts: dict[str, tuple[Array, Array]]
    files: tuple[Path, ...]
    classes: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    target: str | None = None
    unused: tuple[str, ...] = ()
    unlabelled: dict[str, int] = field(default_factory=dict)

    def digest(self) -> str:
        """SHA-256 over the contents of the files, in order."""
        return hashlib.sha256("".join(map(cache.file_digest, self.files)).encode()).hexdigest()


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
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # whatever the bytes of a damaged file lead a library to
        reason = one_line(str(error).strip() or type(error).__name__, 200)
        raise InputError(
            f"{path}: cannot be read as {kind} ({reason}); is the file complete?"
        ) from error


def refuse_beyond_memory(path: Path, size: int) -> None:
    """Raise InputError if a file's content, so many bytes, cannot be in this machine's memory."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise InputError(
            f"{path}: must fit into memory when unpacked. Given: {size / 1e9:,.1f} GB, as the file "
            f"says; this machine has {memory / 1e9:,.1f} GB"
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
