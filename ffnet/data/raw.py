"""What every reader of data files gives, and how a damaged file is told."""

import hashlib
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pyarrow as pa

from ffnet.data import cache
from ffnet.errors import InputError, one_line

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Raw:
    """What the files hold: part name ("train", perhaps "test") → (examples, labels)."""

    parts: dict[str, tuple[Array, Array]]
    files: tuple[Path, ...]
    classes: tuple[str, ...] | None = None

    def digest(self) -> str:
        """SHA-256 over the contents of the files, in order."""
        return hashlib.sha256("".join(map(cache.file_digest, self.files)).encode()).hexdigest()


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turns whatever a damaged file raises into one InputError."""
    try:
        yield
    except InputError:
        raise
    except (
        OSError, EOFError, ValueError, KeyError, IndexError, MemoryError, struct.error,
        zlib.error, zipfile.BadZipFile, pa.ArrowException,
    ) as error:  # fmt: skip
        reason = one_line(str(error).strip() or type(error).__name__, 200)
        raise InputError(
            f"{path}: cannot be read as {kind} ({reason}); is the file complete?"
        ) from None


def matching(folder: Path, pattern: str) -> list[Path]:
    """The folder's files that match, sorted; hidden ones are left out.

    macOS writes `._NAME` beside NAME on foreign disks and in archives; it holds no data.
    """
    return sorted(p for p in folder.glob(pattern) if not p.name.startswith("."))
