"""Decoded images in an Arrow file, so that the next run maps them instead of decoding again.

The file's name is the SHA-256 of the file it was decoded from: another content is another name.
It is written beside its place and renamed when complete, so no half file is ever read.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import platformdirs
import pyarrow as pa

Arrays = tuple[npt.NDArray[Any], npt.NDArray[Any]]
VERSION = "1"  # part of the name: a change of decoder or layout starts anew


def folder() -> Path:
    """Where decoded sets are kept: $FFNET_CACHE, or the user's cache folder."""
    return Path(os.environ.get("FFNET_CACHE") or platformdirs.user_cache_dir("ffnet"))


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def decoded(source: Path, decode: Callable[[], Arrays]) -> Arrays:
    """(images, labels) of `source`: memory-mapped when cached, else decoded and cached.

    Args:
        source: the file that `decode` reads.
        decode: gives images (uint8 [N, ...]) and labels [N].
    """
    path = folder() / f"{file_digest(source)}-v{VERSION}.arrow"
    try:
        return _read(path)
    except (OSError, pa.ArrowException, KeyError):
        arrays = decode()
    try:
        _write(path, *arrays)
        return _read(path)
    except OSError:  # no room or no permission: a cache may be absent
        return arrays


def _read(path: Path) -> Arrays:
    batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
    shape = json.loads(batch.schema.metadata[b"shape"])
    pixels = np.frombuffer(batch.column("x").buffers()[1], np.uint8)
    return pixels.reshape(len(batch), *shape), batch.column("y").to_numpy()


def _write(path: Path, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> None:
    kind = pa.binary(int(np.prod(x.shape[1:])))
    pixels = pa.Array.from_buffers(kind, len(x), [None, pa.py_buffer(np.ascontiguousarray(x))])
    batch = pa.record_batch({"x": pixels, "y": pa.array(y)}).replace_schema_metadata(
        {"shape": json.dumps(x.shape[1:])}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            with pa.ipc.new_file(file, batch.schema) as writer:
                writer.write_batch(batch)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
