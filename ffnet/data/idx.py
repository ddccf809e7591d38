"""Reads IDX files, the format of MNIST and Fashion-MNIST, gzipped or not.

A file begins with 0, 0, the type of its values, its number of axes, and the size of each axis as
four big-endian bytes; then come the values, big-endian.
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

from ffnet.data.raw import PARTS, Array, Raw, matching, reading, refuse_beyond_memory
from ffnet.errors import InputError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST_AXES = 4
GZIP_RATIO = 1032
"""No gzip stream unpacks to more than this many times its size."""

_WORDS = PARTS | {"t10k": "test"}
_NAME = re.compile(
    rf"(.*[-_.])?(?P<part>{'|'.join(_WORDS)})[-_.](?P<what>images|labels)[-.]idx\d(-\w+)?(\.gz)?",
    re.I,
)


def find(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Part → (images, labels) for the IDX files of a folder, under any of their usual names.

    Returns:
        Nothing when the folder holds no file with such a name.

    Raises:
        InputError: two files for the same purpose, or one without its pair.
    """
    found: dict[tuple[str, str], Path] = {}
    for path in matching(folder, "*"):
        match = _NAME.fullmatch(path.name)
        if not match or path.is_dir():  # Kaggle's copy has folders of these names too
            continue
        key = _WORDS[match["part"].lower()], match["what"].lower()
        if key in found:
            raise InputError(
                f"{folder}: needs one file of {key[0]} {key[1]}. Given: {found[key].name} and "
                f"{path.name}; keep one of them"
            )
        found[key] = path
    parts = [part for part in ("train", "validation", "test") if any(part == of for of, _ in found)]
    for part in parts:
        for what in ("images", "labels"):
            if (part, what) not in found:
                raise InputError(
                    f"{folder}: {_name(part, what)}[.gz] is missing beside the other file of {part}"
                )
    return {part: (found[part, "images"], found[part, "labels"]) for part in parts}


def _name(part: str, what: str) -> str:
    return f"{'t10k' if part == 'test' else part}-{what}-idx{3 if what == 'images' else 1}-ubyte"


def read(files: dict[str, tuple[Path, Path]]) -> Raw:
    """IDX pairs of images and labels, as MNIST and Fashion-MNIST are published.

    Raises:
        InputError: there is no train part, or a file is damaged.
    """
    if "train" not in files:
        folder = next(iter(files.values()))[0].parent
        raise InputError(f"{folder}: {_name('train', 'images')}[.gz] is missing")
    parts = {part: (read_file(x), _labels(y)) for part, (x, y) in files.items()}
    return Raw(parts, tuple(path for pair in files.values() for path in pair))


def _labels(path: Path) -> Array:
    labels = read_file(path)
    if labels.ndim != 1:
        raise InputError(f"{path}: labels must have one axis. Given: {labels.ndim} axes")
    return labels


def read_file(path: Path) -> Array:
    """The array of one IDX file, in the machine's byte order.

    Raises:
        InputError: the file is no IDX file, is cut, or has bytes after its values.
    """
    with reading(path, "IDX"), path.open("rb") as packed:
        size = path.stat().st_size
        if packed.peek(2)[:2] == b"\x1f\x8b":  # also under a name without .gz, or the reverse
            with gzip.open(packed) as file:
                return _array(file, size * GZIP_RATIO, path)
        return _array(packed, size, path)


def _array(file: io.BufferedReader | gzip.GzipFile, most: int, path: Path) -> Array:
    """The array of an open file that cannot hold more than `most` bytes."""
    dtype, shape = _header(file)
    size = math.prod(shape) * dtype.itemsize
    if size > most:
        raise ValueError(f"its head says {'×'.join(map(str, shape))} values, which it cannot hold")
    refuse_beyond_memory(path, size)
    values = np.empty(size, np.uint8)  # takes memory as it is filled
    done = 0
    while count := file.readinto(values[done:].data):
        done += count
    if done < size:
        raise ValueError(f"its head says {size} bytes of values. Given: {done}")
    if file.read(1):  # at the end, gzip compares its checksum too
        raise ValueError(f"it goes on after the {size} bytes of values that its head says")
    return values.view(dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _header(file: io.BufferedReader | gzip.GzipFile) -> tuple[np.dtype[Any], tuple[int, ...]]:
    zeros, kind, axes = struct.unpack(">HBB", file.read(4))
    if zeros or kind not in TYPES:
        raise ValueError("it does not begin with two zeros and one of IDX's types")
    if not 1 <= axes <= MOST_AXES:
        raise ValueError(f"it must have 1 to {MOST_AXES} axes. Given: {axes}")
    shape = struct.unpack(f">{axes}I", file.read(4 * axes))
    if not all(shape):
        raise ValueError("it holds no values")
    return np.dtype(TYPES[kind]), shape
