"""Writes a file in one piece: a reader sees the old file or the new file, never a part of one."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

MARK = "."
"""How the name of an unfinished file begins. A killed process leaves its unfinished file there."""


@contextmanager
def atomic_write(
    path: Path, sync: bool = False, keep: Path | None = None, mode: int = 0o666
) -> Iterator[IO[bytes]]:
    """A new file to write. It takes the place of `path` when the block ends without an error.

    Args:
        path: the file. Its folder must exist.
        sync: wait until the disk has the content, so that it also outlives a loss of power.
        keep: the name under which the file that was there before stays.
        mode: permissions of the file, from which the umask takes away.

    Raises:
        OSError: the file could not be written; the file that was there before is unchanged.
    """
    temporary = path.with_name(f"{MARK}{path.name}-{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        if keep:
            _keep(path, keep)
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _keep(path: Path, keep: Path) -> None:
    """Give a file a second name. Where that cannot be, it has only the second one for a moment."""
    if not path.exists():
        return
    keep.unlink(missing_ok=True)
    try:
        keep.hardlink_to(path)
    except OSError:  # a file system without hard links
        path.replace(keep)
