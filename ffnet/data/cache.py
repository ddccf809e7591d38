"""Keeps decoded images in a file, so that the next run can map them instead of decoding again.

The cache file's name holds the SHA-256 of the source file, so changed images get a new cache file.
A cache file is written under a temporary name and renamed when it is complete. So a reader never
sees half a file, and several processes may write at the same time. A cache file is used only if it
belongs to this user and its checksum is right.
Layout of the file: SHA-256 of the rest (32 bytes); the shape as JSON, padded with blanks to 96
bytes; the pixels.
"""

import contextlib
import hashlib
import json
import math
import mmap
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import platformdirs

from ffnet.system.atomic import MARK, atomic_write

Pixels = npt.NDArray[np.uint8]

VERSION = "2"  # part of the file's name; change it with the decoder or the layout
DIGEST, HEAD = 32, 128  # bytes
STALE_SECONDS = 3600
"""An unfinished file older than this was left by a process that was killed."""


def folder() -> Path:
    """Return the folder for cache files: $FFNET_CACHE, or the user's cache folder."""
    return Path(os.environ.get("FFNET_CACHE") or platformdirs.user_cache_dir("ffnet"))


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def decoded(source: Path, column: str, decode: Callable[[], npt.NDArray[Any]]) -> Pixels:
    """Return the images of a file, uint8 [N, ...]; see `kept`.

    Args:
        source: the file that `decode` reads.
        column: the column that `decode` reads.
        decode: returns the decoded images, uint8 [N, ...].
    """
    return kept(file_digest(source), column, decode)


def kept(name: str, what: str, decode: Callable[[], npt.NDArray[Any]]) -> Pixels:
    """Return decoded images, uint8 [N, ...].

    Images in the cache are memory-mapped. Others are decoded and written to the cache.

    Args:
        name: SHA-256 of all content that `decode` reads, in hexadecimal.
        what: what `decode` takes of this content, and how.
        decode: returns the decoded images, uint8 [N, ...].
    """
    of_column = hashlib.sha256(what.encode(errors="replace"))
    path = folder() / f"{name}-{of_column.hexdigest()[:8]}-v{VERSION}.pixels"
    with contextlib.suppress(OSError, ValueError):  # absent, damaged or another user's
        return _read(path)
    pixels = decode()
    with contextlib.suppress(OSError, ValueError):  # no room or no permission: do not cache
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _remove_leftovers(path, name)
        _write(path, pixels)
        return _read(path)
    return pixels


def _read(path: Path) -> Pixels:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb"):
        about = os.fstat(descriptor)
        if about.st_uid != os.getuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ValueError("someone else could have written it")
        content = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    with memoryview(content) as view:
        if hashlib.sha256(view[DIGEST:]).digest() != view[:DIGEST]:
            raise ValueError("it is damaged")
    shape = json.loads(content[DIGEST:HEAD])
    if not isinstance(shape, list) or not all(type(n) is int and n > 0 for n in shape):
        raise ValueError("it has no shape")
    if len(content) != HEAD + math.prod(shape):
        raise ValueError("it has another shape")
    return np.frombuffer(content, np.uint8, offset=HEAD).reshape(shape)


def _write(path: Path, pixels: npt.NDArray[Any]) -> None:
    if pixels.dtype != np.uint8:
        raise ValueError("only uint8 is cached")
    about = json.dumps(pixels.shape).encode().ljust(HEAD - DIGEST)
    rows = np.ascontiguousarray(pixels)
    digest = hashlib.sha256(about)
    digest.update(rows.data)
    with atomic_write(path, sync=True, mode=0o600) as file:
        file.write(digest.digest() + about)
        file.write(rows.data)


def _remove_leftovers(path: Path, name: str) -> None:
    """Remove cache files of earlier versions, and unfinished files of killed processes."""
    for other in path.parent.glob(f"{name}-*"):
        if f"-v{VERSION}." not in other.name:
            other.unlink(missing_ok=True)
    for part in (*path.parent.glob(f"{MARK}*.pixels-*"), *path.parent.glob("*.part")):
        with contextlib.suppress(FileNotFoundError):  # another process has just renamed it
            if time.time() - part.stat().st_mtime > STALE_SECONDS:
                part.unlink()
