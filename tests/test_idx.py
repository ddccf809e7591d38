"""IDX files: their names, types and sizes, and what is refused."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ffnet.data import formats, idx
from ffnet.errors import InputError

IMAGES = np.arange(60 * 4 * 5, dtype=np.uint32).reshape(60, 4, 5).astype(np.uint8)
LABELS = (np.arange(60) % 3).astype(np.uint8)
KINDS = {"u1": 8, "i1": 9, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def packed(array: np.ndarray[Any, Any]) -> bytes:
    """Return an array as an IDX file."""
    big = array.astype(array.dtype.newbyteorder(">"))
    head = struct.pack(f">HBB{array.ndim}I", 0, KINDS[big.dtype.str[1:]], array.ndim, *array.shape)
    return head + big.tobytes()


def head(kind: int, *sizes: int) -> bytes:
    return struct.pack(f">HBB{len(sizes)}I", 0, kind, len(sizes), *sizes)


def write(folder: Path, images: str, labels: str) -> None:
    folder.mkdir(exist_ok=True)
    for name, array in ((images, IMAGES), (labels, LABELS)):
        pack = gzip.compress if name.endswith(".gz") else bytes
        (folder / name).write_bytes(pack(packed(array)))


def refusal(read: Any, path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz"),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
        ("emnist-letters-train-images-idx3-ubyte.gz", "emnist-letters-train-labels-idx1-ubyte.gz"),
    ],
)
def test_files_are_found_under_their_usual_names(tmp_path: Path, images: str, labels: str) -> None:
    write(tmp_path, images, labels)
    write(tmp_path, images.replace("train", "t10k"), labels.replace("train", "t10k"))
    raw = formats.read(tmp_path)
    assert raw
    assert raw.parts.keys() == {"train", "test"}
    for x, y in raw.parts.values():
        assert x.dtype == y.dtype == np.uint8
        assert (x == IMAGES).all()
        assert (y == LABELS).all()


def test_a_validation_part_has_files_of_its_own(tmp_path: Path) -> None:
    for part in ("train", "validation"):
        write(tmp_path, f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte")
    raw = formats.read(tmp_path)
    assert raw
    assert list(raw.parts) == ["train", "validation"]


def test_hidden_files_and_folders_of_these_names_are_no_data(tmp_path: Path) -> None:
    write(tmp_path, "train-images.idx3-ubyte", "train-labels.idx1-ubyte")
    for path in list(tmp_path.iterdir()):
        (tmp_path / f"._{path.name}").write_bytes(b"\x00\x05\x16\x07 of macOS")
    (tmp_path / "._emnist-train-images-idx3-ubyte").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / ".DS_Store").write_bytes(b"Bud1")
    (tmp_path / "train-images-idx3-ubyte").mkdir()  # as in Kaggle's copy
    raw = formats.read(tmp_path)
    assert raw
    assert raw.parts.keys() == {"train"}
    assert [path.name for path in raw.files] == [
        "train-images.idx3-ubyte",
        "train-labels.idx1-ubyte",
    ]


def test_two_files_for_one_purpose_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    write(tmp_path, "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
    message = refusal(formats.read, tmp_path)
    assert "must have only one file of train images. Given: train-images-idx3-ubyte and" in message


def test_a_file_without_its_pair_and_a_test_part_alone_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    assert "train-images-idx3-ubyte[.gz] is missing" in refusal(formats.read, tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    assert "t10k-labels-idx1-ubyte[.gz] is missing" in refusal(formats.read, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["file", "file.gz"])
def test_every_type_of_values_is_read_exactly(tmp_path: Path, kind: str, name: str) -> None:
    values = np.array([[0, 1, 127], [5, 100, 2]]).astype(kind)
    if kind != "u1":
        values = -values
    if kind[0] == "f":
        values = values * values.dtype.type(np.pi)
    pack = gzip.compress if name.endswith(".gz") else bytes
    (tmp_path / name).write_bytes(pack(packed(values)))
    read = idx.read_file(tmp_path / name)
    assert read.dtype == values.dtype
    assert read.dtype.isnative
    assert (read == values).all()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is the file complete?"),
        (b"\0\0\x08", "is the file complete?"),
        (packed(IMAGES)[:-1], "its header says 1200 bytes of values. Given: 1199"),
        (packed(IMAGES) + b"\0", "more than the 1200 bytes"),
        (b"\0\1" + packed(IMAGES)[2:], "two zeros and the code of an IDX type"),
        (head(0x0A, 2) + b"ab", "two zeros and the code of an IDX type"),
        (head(8) + b"a", "1 to 4 axes. Given: 0"),
        (head(8, *[1] * 255) + b"a", "1 to 4 axes. Given: 255"),
        (head(8, 0, 2**32 - 1), "holds no values"),
        (head(8, 2**32 - 1, 2**32 - 1) + b"ab", "it is too small"),
        (head(0x0E, 20) + bytes(15), "it is too small"),
    ],
)
def test_a_damaged_file_is_refused_packed_or_not(
    tmp_path: Path, content: bytes, words: str
) -> None:
    for name, given in (("file", content), ("file.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(given)
        message = refusal(idx.read_file, tmp_path / name)
        assert message.startswith(f"{tmp_path / name}: cannot be read as IDX (")
        assert words in message or (name == "file.gz" and "Given: 15" in message)


def test_a_gzipped_file_with_another_checksum_is_refused(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(packed(IMAGES)))
    content[-6] ^= 1
    (tmp_path / "file.gz").write_bytes(content)
    assert "CRC" in refusal(idx.read_file, tmp_path / "file.gz")


def test_a_gzip_bomb_is_unpacked_no_further_than_its_head_says(tmp_path: Path) -> None:
    bomb = bytearray(gzip.compress(head(8, 10) + bytes(20 << 20)))
    bomb[-6] ^= 1  # unpacking it to its end would find a wrong checksum
    (tmp_path / "file.gz").write_bytes(bomb)
    assert "more than the 10 bytes" in refusal(idx.read_file, tmp_path / "file.gz")


def test_a_gzipped_file_of_more_than_the_memory_is_refused_by_its_head(tmp_path: Path) -> None:
    with (tmp_path / "file.gz").open("wb") as file:
        file.write(gzip.compress(head(8, 1 << 31, 1 << 15)))
        file.truncate(1 << 36)  # sparse: a stream of this size could unpack to so much
    assert "must fit into memory when unpacked" in refusal(idx.read_file, tmp_path / "file.gz")


def test_labels_with_two_axes_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "train-images-idx3-ubyte", "train-labels-idx2-int")
    (tmp_path / "train-labels-idx2-int").write_bytes(packed(np.zeros((60, 8), np.int32)))
    assert "labels must have one axis. Given: 2 axes" in refusal(formats.read, tmp_path)
