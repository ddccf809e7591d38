"""CIFAR-10's original Python batches, from a folder or from cifar-10-python.tar.gz.

The batches are pickles, and an archive may come from anywhere: the unpickler admits the three
names that a NumPy array needs and nothing else, and the archive is read in memory, never unpacked.
Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
FILES = (*TRAIN, "test_batch")
ERRORS = (pickle.UnpicklingError, tarfile.TarError)
MOST_BYTES = 64 << 20  # a batch has 31 MB

Batch = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def read(path: Path) -> dict[str, Batch]:
    """Part → (images [N, 32, 32, 3] uint8, labels [N]).

    Args:
        path: the folder cifar-10-batches-py, or the tar.gz of it.

    Raises:
        ValueError, KeyError, OSError, pickle.UnpicklingError, tarfile.TarError: not such batches.
    """
    contents = _from_tar(path) if path.is_file() else _from_folder(path)
    missing = [name for name in FILES if name not in contents]
    if missing:
        raise ValueError(f"missing: {', '.join(missing)}")
    train = [_batch(contents[name]) for name in TRAIN]
    joined = (np.concatenate([x for x, _ in train]), np.concatenate([y for _, y in train]))
    return {"train": joined, "test": _batch(contents["test_batch"])}


def _from_folder(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}


def _from_tar(path: Path) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            if name not in FILES or not member.isreg():
                continue
            if name in contents or member.size > MOST_BYTES:
                raise ValueError(f"{name} stands twice in the archive or is too large")
            file = archive.extractfile(member)
            assert file is not None  # regular, as asked above
            contents[name] = file.read(MOST_BYTES)
    return contents


def _batch(content: bytes) -> Batch:
    batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    pixels, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != 3072:
        raise ValueError(f"data must be uint8 [N, 3072]. Given: {pixels.dtype} {pixels.shape}")
    # Stored channel by channel; the rest of ffnet has channels last.
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy(), labels


def _latin1(text: str, encoding: str) -> bytes:
    """What `_codecs.encode` does in pickles that Python 3 wrote for Python 2, and no more."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r} is not admitted")
    return text.encode("latin1")


_RECONSTRUCT: Any = np.empty(0).__reduce__()[0]
_ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not admitted") from None
