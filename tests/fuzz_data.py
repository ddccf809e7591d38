"""Fuzzed parsers of data files: see tests/fuzzing.py."""

import struct
from pathlib import Path

from fuzzing import fuzzed

from ffnet.data import idx


def _idx_seeds() -> list[bytes]:
    images = struct.pack(">HBB3I", 0, 8, 3, 6, 2, 2) + bytes(range(24))
    labels = struct.pack(">HBBI", 0, 8, 1, 6) + bytes([0, 1, 2] * 2)
    return [images, labels]


@fuzzed("idx", _idx_seeds, words=[struct.pack(">I", n) for n in (0, 1, 6, 2**31, 2**32 - 1)])
def idx_file(data: bytes, folder: Path) -> object:
    """One IDX file."""
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(data)
    return idx.read_file(path)
