"""Reads IDX files, the format of MNIST and Fashion-MNIST, gzipped or not.

A file begins with four bytes: 0, 0, a code for the type of the values, and the number of axes. Then
come the size of each axis in four bytes and the values. All numbers are big-endian.
Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits".
"""

import gzip
import io
import math
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from ffnet.data.raw import (
    PARTS,
    Array,
    Origin,
    Place,
    Raw,
    matching,
    reading,
    refuse_beyond_memory,
)
from ffnet.errors import InputError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST_AXES = 4
GZIP_RATIO = 1032
"""A gzip stream unpacks to at most this many times its size."""

_WORDS = PARTS | {"t10k": "test"}
_NAME = re.compile(
    rf"(.*[-_.])?(?P<part>{'|'.join(_WORDS)})[-_.](?P<what>images|labels)[-.]idx\d(-\w+)?(\.gz)?",
    re.I,
)


def find(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Find the IDX files of a folder by their usual names.

    Returns:
        {part: (file of images, file of labels)}; empty if no file has such a name.

    Raises:
        InputError: two files could be the same file of a part, or one of a pair is missing.
    """
    found: dict[tuple[str, str], Path] = {}
    for path in matching(folder, "*"):
        match = _NAME.fullmatch(path.name)
        if not match or path.is_dir():  # Kaggle's copy has folders of these names too
            continue
        key = _WORDS[match["part"].lower()], match["what"].lower()
        if key in found:
            raise InputError(
                f"{folder}: must have only one file of {key[0]} {key[1]}. Given: {found[key].name} "
                f"and {path.name}; keep one of them"
            )
        found[key] = path
    parts = [part for part in ("train", "validation", "test") if any(part == of for of, _ in found)]
    for part in parts:
        for what in ("images", "labels"):
            if (part, what) not in found:
                raise InputError(
                    f"{folder}: {_name(part, what)}[.gz] is missing; the other {part} file is there"
                )
    return {part: (found[part, "images"], found[part, "labels"]) for part in parts}


def _name(part: str, what: str) -> str:
    return f"{'t10k' if part == 'test' else part}-{what}-idx{3 if what == 'images' else 1}-ubyte"


def read(files: dict[str, tuple[Path, Path]]) -> Raw:
    """Read the pairs of files that `find` has found.

    Raises:
        InputError: there is no train part, or a file is damaged.
    """
    if "train" not in files:
        folder = next(iter(files.values()))[0].parent
        raise InputError(f"{folder}: {_name('train', 'images')}[.gz] is missing")
    parts = {part: (read_file(x), _labels(y)) for part, (x, y) in files.items()}
    return Raw(
        parts,
        tuple(path for pair in files.values() for path in pair),
        origins={
            part: (Origin(Place(str(x)), Place(str(y)), len(parts[part][0])),)
            for part, (x, y) in files.items()
        },
    )


def _labels(path: Path) -> Array:
    labels = read_file(path)
    if labels.ndim != 1:
        raise InputError(f"{path}: labels must have one axis. Given: {labels.ndim} axes")
    return labels


def read_file(path: Path) -> Array:
    """Return the array of an IDX file, in the machine's byte order.

    Raises:
        InputError: the file is not an IDX file, or has fewer or more bytes than its header says.
    """
    with reading(path, "IDX"), path.open("rb") as packed:
        size = path.stat().st_size
        if packed.peek(2)[:2] == b"\x1f\x8b":  # gzip; the name may be wrong about it
            with gzip.open(packed) as file:
                return _array(file, size * GZIP_RATIO, path)
        return _array(packed, size, path)


def _array(file: io.BufferedReader | gzip.GzipFile, most: int, path: Path) -> Array:
    """Read the array of an open file, which cannot hold more than `most` bytes."""
    dtype, shape = _header(file)
    size = math.prod(shape) * dtype.itemsize
    if size > most:
        raise ValueError(f"its header says {'×'.join(map(str, shape))} values; it is too small")
    refuse_beyond_memory(path, size)
    values = np.empty(size, np.uint8)  # uses memory only as it is filled
    done = 0
    while count := file.readinto(values[done:].data):
        done += count
    if done < size:
        raise ValueError(f"its header says {size} bytes of values. Given: {done}")
    if file.read(1):  # gzip compares its checksum at the end of the file
        raise ValueError(f"it has more than the {size} bytes of values that its header says")
    return values.view(dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _header(file: io.BufferedReader | gzip.GzipFile) -> tuple[np.dtype[Any], tuple[int, ...]]:
    zeros, kind, axes = struct.unpack(">HBB", file.read(4))
    if zeros or kind not in TYPES:
        raise ValueError("it does not begin with two zeros and the code of an IDX type")
    if not 1 <= axes <= MOST_AXES:
        raise ValueError(f"it must have 1 to {MOST_AXES} axes. Given: {axes}")
    shape = struct.unpack(f">{axes}I", file.read(4 * axes))
    if not all(shape):
        raise ValueError("it holds no values")
    return np.dtype(TYPES[kind]), shape
