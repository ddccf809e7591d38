"""Fuzzed parsers of data files: see tests/fuzzing.py."""

import contextlib
import gzip
import io
import itertools
import pickle
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ffnet.data import cifar_batches, formats, idx, images, pickled
from ffnet.data.raw import Place
from ffnet.errors import InputError, one_line
from fuzzing import fuzzed


def _idx_seeds() -> list[bytes]:
    images = struct.pack(">HBB3I", 0, 8, 3, 6, 2, 2) + bytes(range(24))
    labels = struct.pack(">HBBI", 0, 8, 1, 6) + bytes([0, 1, 2] * 2)
    return [images, labels]


@fuzzed("idx", _idx_seeds, words=[struct.pack(">I", n) for n in (0, 1, 6, 2**31, 2**32 - 1)])
def idx_file(data: bytes, folder: Path) -> object:
    """Read an IDX file."""
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(data)
    return idx.read_file(path)


def _batch(protocol: int, rows: int = 2) -> bytes:
    """Write a batch as Python 3 does."""
    data = np.arange(rows * 3072, dtype=np.uint8).reshape(rows, 3072)
    names = [b"airplane_s_000004.png", b"automobile_s_000012.png"]
    batch = {b"batch_label": b"batch 1", b"labels": [6, 9], b"data": data, b"filenames": names}
    return pickle.dumps(batch, protocol)


def _pickle_seeds() -> list[bytes]:
    labels = {b"labels": np.array([1, 2]), b"data": np.zeros((2, 4), ">i4", order="F"), 5: [True]}
    small = [pickle.dumps(labels, protocol) for protocol in range(6)]
    return [*small, *(_batch(protocol) for protocol in range(6))]


@fuzzed("pickle", _pickle_seeds, words=[*pickled._OPCODES, *(f"I{n}\n".encode() for n in (0, 9))])
def pickle_(data: bytes, folder: Path) -> object:
    """Read a pickle of arrays, with the bytes of the arrays."""
    try:
        value = pickled.load(data)
        arrays = value.values() if isinstance(value, dict) else []
        return [a.to_numpy().sum() for a in arrays if isinstance(a, pickled.Array)]
    except ValueError as error:
        raise InputError(one_line(str(error), 200)) from None


def _cifar_seeds() -> list[bytes]:
    """Return an unpacked archive, and the joined files of a folder."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for i, name in enumerate(cifar_batches.FILES):
            content = _batch(i)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return [file.getvalue()]


@fuzzed("cifar", _cifar_seeds, words=[b"data_batch_1", b"fine_labels", b"0", b"2", bytes(512)])
def cifar(data: bytes, folder: Path) -> object:
    """Read an archive of batches. It is packed here: otherwise its checksum would be wrong."""
    path = folder / "cifar-10-python.tar.gz"
    packed = gzip.compress(data, 1)
    cut = zlib.crc32(data) % 8 == 0
    path.write_bytes(packed[: len(data) % len(packed)] if cut else packed)
    return formats.read(path)


def _image_seeds() -> list[bytes]:
    colour = np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    made = [
        Image.fromarray(colour),
        Image.fromarray(colour[..., 0]),
        Image.fromarray(np.dstack([colour, colour[..., :1] | 255])),
        Image.fromarray(colour[..., 0].astype(np.uint16)),
        Image.fromarray(colour).quantize(9),
    ]
    ways: list[tuple[str, dict[str, Any]]] = [
        ("png", {}), ("png", {"exif": exif}), ("jpeg", {}), ("jpeg", {"exif": exif}),
        ("jpeg", {"progressive": True}), ("webp", {}), ("webp", {"lossless": True}), ("gif", {}),
        ("bmp", {}), ("tiff", {}), ("tiff", {"compression": "tiff_lzw"}), ("tiff", {"exif": exif}),
        ("tiff", {"compression": "tiff_deflate"}),
    ]  # fmt: skip
    seeds = []
    for image, (kind, options) in itertools.product(made, ways):
        file = io.BytesIO()
        with contextlib.suppress(OSError):  # a mode that the format has not
            image.save(file, kind, **options)
            seeds.append(file.getvalue())
    Image.fromarray(colour).save(jpeg := io.BytesIO(), "tiff", compression="jpeg")
    return [*seeds, jpeg.getvalue()]


@fuzzed("images", _image_seeds, words=[b"IHDR", b"tRNS", b"acTL", b"Exif\0\0", b"\xff\xd9", b"NET"])
def images_(data: bytes, folder: Path) -> object:
    """Read an encoded image."""
    return images.decode([data], 1, Place(str(folder / "a.parquet")))
