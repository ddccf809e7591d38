"""Writes a file in one piece: a reader sees the old file or the new file, never a part of one."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

MARK = "."
"""First character of an unfinished file's name. A killed process leaves such a file behind."""


@contextmanager
def atomic_write(
    path: Path, sync: bool = False, keep: Path | None = None, mode: int = 0o666
) -> Iterator[IO[bytes]]:
    """A new file to write. It takes the place of `path` when the block ends without an error.

    Args:
        path: the file. Its folder must exist.
        sync: whether to wait until the disk has the content, so that a loss of power is harmless.
        keep: the path under which the old file stays. With None, the old file is removed.
        mode: permissions of the new file, before the umask is applied.

    Raises:
        OSError: the file could not be written. The old file is unchanged.
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
    """Give a file a second name. Without hard links, it loses its first name for a moment."""
    if not path.exists():
        return
    keep.unlink(missing_ok=True)
    try:
        keep.hardlink_to(path)
    except OSError:  # a file system without hard links
        path.replace(keep)
