"""Reads IDX files, the format of MNIST and Fashion-MNIST."""

import gzip
import struct
from pathlib import Path

import numpy as np

from ffnet.data.raw import Array, Raw, reading
from ffnet.errors import InputError

NAMES = {
    part: (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    for part, prefix in (("train", "train"), ("test", "t10k"))
}


def find(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Part → (images, labels), for the parts whose two files are there, gzipped or not."""
    found = {}
    for part, names in NAMES.items():
        paths = [
            next((p for p in (folder / n, folder / f"{n}.gz") if p.exists()), None) for n in names
        ]
        if paths[0] and paths[1]:
            found[part] = (paths[0], paths[1])
        elif any(paths):
            missing = names[0] if paths[1] else names[1]
            raise InputError(f"{folder}: {missing}[.gz] is missing beside its pair")
    return found


def read(files: dict[str, tuple[Path, Path]]) -> Raw:
    """IDX pairs of images and labels, as MNIST and Fashion-MNIST are published."""
    if "train" not in files:
        folder = next(iter(files.values()))[0].parent
        raise InputError(f"{folder}: {NAMES['train'][0]}[.gz] is missing")
    parts = {part: (read_file(x), read_file(y)) for part, (x, y) in files.items()}
    return Raw(parts, tuple(path for pair in files.values() for path in pair))


def read_file(path: Path) -> Array:
    """One IDX file of unsigned bytes: magic 0 0 8 rank, the sizes big-endian, the values."""
    with reading(path, "IDX"):
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        zeros, kind, rank = struct.unpack_from(">HBB", content)
        if zeros or kind != 8:
            raise ValueError("does not begin with the IDX magic of unsigned bytes")
        shape = struct.unpack_from(f">{rank}I", content, 4)
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * rank)
        return values.reshape(shape)
