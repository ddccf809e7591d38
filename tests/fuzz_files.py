"""Fuzzed parsers of CSV files, Arrow files, npy files and folders of images: see fuzzing.py."""

import gzip
import io
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from ffnet.data.load import load
from ffnet.spec.sections import Data
from fuzzing import fuzzed

N = 24
Y = [i % 3 for i in range(N)]
NAMES = ["cat", "dog", "eel"]


def _load(path: Path) -> object:
    return load(Data(dataset=str(path), drop_unlabelled=True, validation=4, test=4)).describe()


def _csv_seeds() -> list[bytes]:
    rows = [f'{i / 7},{i},"{NAMES[y]}",2024-01-{i + 1:02},{NAMES[y]}' for i, y in enumerate(Y)]
    plain = "\n".join(["a,b,c,d,label", *rows]).encode()
    return [
        plain,
        plain.replace(b",", b"\t").replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + plain.replace(b",", b";"),
        "\n".join(["a,label", *(f"{i},{y}" for i, y in enumerate(Y))]).encode(),
    ]


CSV_WORDS = [
    b",", b";", b"\t", b"|", b'"', b'""', b"\n", b"\r", b"\r\n", b"NA", b"nan", b"inf", b"1e400",
    b"007", b"1,5", b"0x1F", b"\0", b"\xff", b"\xff\xfe", b"\x1f\x8b", b"\x28\xb5\x2f\xfd",
    b"2024-01-31T12:00:00Z", b"label", b"Unnamed: 0", b"\x1b[31m", "é".encode("latin1"), b"?" * 300,
]  # fmt: skip


@fuzzed("csv", _csv_seeds, words=CSV_WORDS)
def csv(data: bytes, folder: Path) -> object:
    """Load a CSV file. One in four is packed here: otherwise its checksum would be wrong."""
    path = folder / "own.csv"
    path.write_bytes(gzip.compress(data, 1) if zlib.crc32(data) % 4 == 0 else data)
    return _load(path)


def _arrow_seeds() -> list[bytes]:
    table = pa.table({"a": [i / 7 for i in range(N)], "b": range(N), "label": Y})
    texts = pa.table(
        {
            "c": pa.array([NAMES[y] for y in Y]).dictionary_encode(),
            "d": [f"{y}" for y in Y],
            "pixels": pa.array([[i, 0, 255, 9] for i in range(N)], pa.list_(pa.uint8())),
            "label": [NAMES[y] for y in Y],
        }
    )
    seeds = []
    for each in (table, texts):
        for compression in (None, "lz4", "zstd"):
            options = pa.ipc.IpcWriteOptions(compression=compression)
            for new in (pa.ipc.new_file, pa.ipc.new_stream):
                sink = io.BytesIO()
                with new(sink, each.schema, options=options) as writer:
                    writer.write_table(each)
                seeds.append(sink.getvalue())
    return seeds


@fuzzed("arrow", _arrow_seeds, words=[b"ARROW1", b"FEA1", b"\xff\xff\xff\xff", bytes(8), b"label"])
def arrow(data: bytes, folder: Path) -> object:
    """Load an Arrow file."""
    path = folder / "own.arrow"
    path.write_bytes(data)
    return _load(path)


def _npy_seeds() -> list[bytes]:
    seeds = []
    for values in (
        np.arange(N * 4.0).reshape(N, 4),
        np.array(Y),
        np.array(Y)[:, None] == [0, 1, 2],
    ):
        np.save(file := io.BytesIO(), values)
        seeds.append(file.getvalue())
    return seeds


@fuzzed("npy", _npy_seeds, words=[b"(24, 4)", b"'<f8'", b"|O", b"<U3", b"True", b"\x93NUMPY\1\0"])
def npy(data: bytes, folder: Path) -> object:
    """Load a pair of npy files, one of which is damaged."""
    right = _npy_seeds()
    damaged = zlib.crc32(data) % 2
    for i, name in enumerate(("x", "y")):
        (folder / f"{name}.npy").write_bytes(data if i == damaged else right[i])
    return _load(folder)


def _picture() -> bytes:
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(file := io.BytesIO(), "png")
    return file.getvalue()


@fuzzed("image-folder", lambda: [_picture()], words=[b"IHDR", b"tRNS", b"IEND"])
def image_folder(data: bytes, folder: Path) -> object:
    """Load a folder of images, one of which is damaged."""
    for i, y in enumerate(Y):
        (folder / NAMES[y]).mkdir(exist_ok=True)
        (folder / NAMES[y] / f"{i}.png").write_bytes(data if i == 7 else _picture())
    return _load(folder)
