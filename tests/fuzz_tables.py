"""Fuzzed parsers of npz and Parquet: see tests/fuzzing.py."""

import contextlib
import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ffnet.data.load import load
from ffnet.errors import InputError
from ffnet.spec.sections import Data
from fuzzing import fuzzed

N = 24
Y = np.arange(N) % 3
X = np.arange(2.0 * N).reshape(N, 2)
WORDS = np.array(["ant", "bee", "cow"])[Y]
HUB = {"info": {"features": {"label": {"names": ["a", "b", "c"], "_type": "ClassLabel"}}}}
PANDAS = {"index_columns": ["i", {"kind": "range", "name": None, "start": 0}], "columns": []}


def _load(path: Path, **fields: Any) -> object:
    return load(Data(dataset=str(path), **fields)).describe()


# --- npz -----------------------------------------------------------------------------------------


def _npz(compress: bool = False, /, **arrays: Any) -> bytes:
    file = io.BytesIO()
    if compress:
        np.savez_compressed(file, **arrays)
    else:
        np.savez(file, **arrays)
    return file.getvalue()


def _npz_seeds() -> list[bytes]:
    pixels = np.arange(4 * N, dtype=np.uint8).reshape(N, 2, 2)
    parts: dict[str, Any] = {"x_train": X, "y_train": Y, "x_val": X, "y_val": Y}
    return [
        _npz(x=X, y=Y),
        _npz(True, x=X, y=Y),
        _npz(data=X.astype(np.float32, order="F"), target=WORDS, feature_names=WORDS[:2]),
        _npz(True, images=pixels, labels=np.eye(3)[Y]),
        _npz(False, **parts),
        _npz(x=X.astype(">f8"), y=(Y == 1)),
    ]


NPZ_WORDS = [
    b"'<f8'", b"'|O'", b"'<U9'", b"'|V8'", b"'<c16'", b"[('a', '<f8')]", b"True", b"(24,)", b"()",
    b"(-1, 2)", b"(24, 99999999999999)", b"x.npy", b"y.npy", b"\x93NUMPY\x03\x00", b"PK\x01\x02",
    b"PK\x05\x06", b"\0\0\xc0\x7f", struct.pack("<d", float("nan")),
]  # fmt: skip


@fuzzed("npz", _npz_seeds, words=NPZ_WORDS)
def npz(data: bytes, folder: Path) -> object:
    """Load a data set from an npz file."""
    path = folder / "own.npz"
    path.write_bytes(data)
    return _load(path, drop_unlabelled=data[-1:] > b"\x7f")


def _npy_seeds() -> list[bytes]:
    seeds = []
    for array in (X, X.astype(np.float32, order="F"), Y, WORDS, Y == 1, np.eye(3)[Y]):
        file = io.BytesIO()
        np.save(file, array)
        seeds.append(file.getvalue())
    return seeds


@fuzzed("npz-member", _npy_seeds, words=NPZ_WORDS)
def npz_member(data: bytes, folder: Path) -> object:
    """Load an undamaged archive with a damaged array, as examples and as labels."""
    x, y, *_ = _npy_seeds()
    for name, members in {"x": {"x": data, "y": y}, "y": {"x": x, "y": data}}.items():
        with zipfile.ZipFile(folder / f"{name}.npz", "w") as archive:
            for member, content in members.items():
                archive.writestr(f"{member}.npy", content)
    with contextlib.suppress(InputError):  # few arrays can be both examples and labels
        _load(folder / "x.npz")
    return _load(folder / "y.npz", drop_unlabelled=True)


# --- Parquet -------------------------------------------------------------------------------------


def _parquet(metadata: dict[str, Any] | None = None, **columns: Any) -> bytes:
    table = pa.table(columns)
    if metadata:
        table = table.replace_schema_metadata({k: json.dumps(v) for k, v in metadata.items()})
    file = io.BytesIO()
    pq.write_table(table, file, compression="none" if len(columns) % 2 else "snappy")
    return file.getvalue()


def _png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (2, 2), value).save(file, "png")
    return file.getvalue()


def _parquet_seeds() -> list[bytes]:
    gaps = [None if i == 5 else word for i, word in enumerate(WORDS)]
    pixels = pa.array([[i, 0, 255, 9] for i in range(N)], pa.list_(pa.uint8(), 4))
    one_hot = np.eye(3, dtype=int)[Y].tolist()
    encoded = [{"bytes": _png(i), "path": None} for i in range(N)]
    return [
        _parquet({"pandas": PANDAS}, a=X[:, 0], b=X[:, 1], i=np.arange(N), label=Y),
        _parquet(a=np.arange(N), b=Y > 1, label=pa.array(WORDS).dictionary_encode()),
        _parquet(a=pa.array(X[:, 0], pa.float32()), label=pa.array(gaps)),
        _parquet({"shape": [2, 2], "huggingface": HUB}, pixels=pixels, label=Y),
        _parquet(values=[[i, 1.5] for i in range(N)], label=Y.astype(float)),
        _parquet({"huggingface": HUB}, img=encoded, label=Y),
        _parquet(nested=[[[i, 2], [3, 4]] for i in range(N)], label=one_hot),
    ]


PARQUET_WORDS = [
    b"label", b"pandas", b"huggingface", b"shape", b"PAR1", b"__index_level_0__", b"null", b"[]",
    b"{}", b'"names": 3', b'"names": ["a", "a"]', b"[-1, 2]", b"\xff\xfe", b"\x1b[31m", b"\0",
]  # fmt: skip


@fuzzed("parquet", _parquet_seeds, words=PARQUET_WORDS)
def parquet(data: bytes, folder: Path) -> object:
    """Load a data set from a Parquet file, with its images."""
    path = folder / "own.parquet"
    path.write_bytes(data)
    return _load(path, drop_unlabelled=len(data) % 2 == 1)


KEYS = {b"h": b"huggingface", b"p": b"pandas", b"s": b"shape"}


def _metadata_seeds() -> list[bytes]:
    values = ((b"h", HUB), (b"p", PANDAS), (b"s", [2, 2]), (b"s", [4]))
    return [key + json.dumps(value).encode() for key, value in values]


@fuzzed(
    "parquet-metadata",
    _metadata_seeds,
    words=[b"null", b"{}", b"[]", b'""', b"1e400", b"-1", b'"names":', b"\\ud800", b"[" * 2000],
)
def parquet_metadata(data: bytes, folder: Path) -> object:
    """Load a table with odd metadata. The first byte chooses the key."""
    pixels = pa.array([[i, 0, 255, 9] for i in range(N)], pa.list_(pa.uint8(), 4))
    table = pa.table({"pixels": pixels, "label": Y, "i": Y})
    path = folder / "own.parquet"
    key = KEYS.get(data[:1], b"shape")
    pq.write_table(table.replace_schema_metadata({key: data[1:]}), path)
    return _load(path)
