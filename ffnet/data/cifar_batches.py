"""Reads CIFAR-10's original Python batches, from a folder or from cifar-10-python.tar.gz.

The batches are pickles, and nobody knows who made an archive. So the pickles are not executed, and
the archive is read in memory and never unpacked to the disk.
Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

import gzip
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from ffnet.data import pickled
from ffnet.data.raw import refuse_irregular

TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
FILES = (*TRAIN, "test_batch")
MOST_BYTES = 128 << 20
"""Limit for a batch. The originals have 31 MB; in Python 2's protocol 0 they would have 90 MB."""
MOST_ARCHIVE_BYTES = 1 << 30
"""Limit for the unpacked archive. The original has 186 MB."""
MOST_MEMBERS = 1000
"""Limit for the members of the archive. The original has 9."""
BLOCK = 512
"""Bytes of a member's header in a tar; the member's content is padded to a multiple of this."""

Batch = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def read(path: Path) -> dict[str, Batch]:
    """Return {part: (images [N, 32, 32, 3] uint8, labels [N] int64)} for "train" and "test".

    Args:
        path: the folder cifar-10-batches-py, or its archive (tar.gz).

    Raises:
        ValueError, OSError, EOFError, zlib.error: the files are damaged or are not these batches.
        InputError: a batch is a pipe, a socket or a device.
    """
    batches: dict[str, Batch] = {}
    for name, content in _from_tar(path) if path.is_file() else _from_folder(path):
        if name in batches:
            raise ValueError(f"the archive has {name} twice")
        batches[name] = _batch(name, content)
    if batches.keys().isdisjoint(TRAIN):
        raise ValueError("it has none of data_batch_1 to 5; ffnet reads CIFAR-10, not CIFAR-100")
    missing = [name for name in FILES if name not in batches]
    if missing:
        raise ValueError(f"missing: {', '.join(missing)}")
    train = [batches[name] for name in TRAIN]
    joined = (np.concatenate([x for x, _ in train]), np.concatenate([y for _, y in train]))
    return {"train": joined, "test": batches["test_batch"]}


def _from_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    for name in FILES:
        path = folder / name
        if path.exists():
            refuse_irregular(path)
            _check_size(name, path.stat().st_size)
            yield name, path.read_bytes()


def _check_size(name: str, size: int) -> None:
    if size > MOST_BYTES:
        raise ValueError(f"{name} must have at most {MOST_BYTES} bytes. Given: {size}")


def _from_tar(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the batches in an archive.

    Python's tarfile is not used: it keeps all members in memory and believes every size in a
    header, so a small hostile archive could fill the memory.
    """
    with gzip.open(path) as archive:
        members = 0
        while (head := archive.read(BLOCK)).strip(b"\0"):
            name, size = _member(head)
            members += 1
            if members > MOST_MEMBERS or archive.tell() + size > MOST_ARCHIVE_BYTES:
                raise ValueError(f"more than {MOST_MEMBERS} members or {MOST_ARCHIVE_BYTES} bytes")
            if name in FILES and head[156:157] in b"0\0":
                _check_size(name, size)
                yield name, _exactly(archive, size)
            else:
                archive.seek(size, 1)
            archive.seek(-size % BLOCK, 1)
        while archive.read(1 << 20):  # gzip compares its checksum at the end of the file
            if archive.tell() > MOST_ARCHIVE_BYTES:
                raise ValueError(f"more than {MOST_ARCHIVE_BYTES} bytes")


def _member(head: bytes) -> tuple[str, int]:
    """Return a member's name without its folders, and the number of bytes of its content."""
    if len(head) < BLOCK:
        raise ValueError("the archive is cut")
    kind = head[156:157]
    checked = sum(head) - sum(head[148:156]) + 8 * ord(" ")
    if _octal(head[148:156]) != checked:
        raise ValueError("a member's head has another checksum")
    name = PurePosixPath(head[:100].split(b"\0")[0].decode("latin1")).name
    return name, 0 if kind in b"123456" else _octal(head[124:136])


def _octal(field: bytes) -> int:
    text = field.split(b"\0")[0].strip()
    if not text or text.strip(b"01234567"):
        raise ValueError("a member's head has a number that is not octal")
    return int(text, 8)


def _exactly(file: gzip.GzipFile, size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise ValueError("the archive is cut")
    return content


def _batch(name: str, content: bytes) -> Batch:
    batch = pickled.load(content)
    if not isinstance(batch, dict):
        raise ValueError(f"{name} must hold a dict. Given: {type(batch).__name__}")
    fields = {key.encode() if isinstance(key, str) else key: v for key, v in batch.items()}
    if b"fine_labels" in fields:
        raise ValueError("it has fine_labels; ffnet reads CIFAR-10, not CIFAR-100")
    missing = [key.decode() for key in (b"data", b"labels") if key not in fields]
    if missing:
        raise ValueError(f"{name} must have data and labels. Missing: {' and '.join(missing)}")
    pixels, labels = _pixels(name, fields[b"data"]), _labels(name, fields[b"labels"])
    if len(pixels) != len(labels):
        raise ValueError(f"{name} has {len(pixels)} images and {len(labels)} labels")
    # The file has the channels first, ffnet has them last.
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy(), labels


def _pixels(name: str, data: object) -> npt.NDArray[np.uint8]:
    rule = f"data of {name} must be an array of uint8 [N, 3072]"
    if not isinstance(data, pickled.Array):
        raise ValueError(rule)
    pixels = data.to_numpy()
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != 3072:
        raise ValueError(f"{rule}. Given: {pixels.dtype} {pixels.shape}")
    return pixels


def _labels(name: str, given: object) -> npt.NDArray[np.int64]:
    values = given.to_numpy().tolist() if isinstance(given, pickled.Array) else given
    if not isinstance(values, list) or not all(type(v) is int and 0 <= v < 256 for v in values):
        raise ValueError(f"labels of {name} must be whole numbers from 0 to 255")
    return np.array(values, np.int64)
