"""CIFAR-10's batches: pickles of every protocol, hostile ones, and archives."""

import gzip
import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffnet.data import cifar_batches, formats, pickled
from ffnet.errors import InputError

RANDOM = np.random.default_rng(0)
DATA = RANDOM.integers(0, 256, (4, 3072), dtype=np.uint8)
LABELS = [3, 0, 9, 1]
IMAGES = DATA.reshape(4, 3, 32, 32).transpose(0, 2, 3, 1)


def write(folder: Path, content: bytes, name: str = "data_batch_2") -> Path:
    """Write a folder of batches, one of them with this content."""
    folder.mkdir(parents=True, exist_ok=True)
    fine = pickle.dumps({b"data": DATA, b"labels": LABELS}, protocol=2)
    for each in cifar_batches.FILES:
        (folder / each).write_bytes(content if each == name else fine)
    return folder


def second(folder: Path) -> tuple[Any, Any]:
    """Return images and labels of the second batch."""
    raw = formats.read(folder)
    assert raw
    x, y = raw.parts["train"]
    return x[4:8], y[4:8].tolist()


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        formats.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: cannot be read as CIFAR-10 batches (")
    assert len(message) < 500
    return message


def archive(path: Path, *members: tuple[tarfile.TarInfo | str, bytes]) -> Path:
    """Write a tar.gz of these members."""
    with tarfile.open(path, "w:gz") as file:
        for name, content in members:
            member = tarfile.TarInfo(name) if isinstance(name, str) else name
            if content:
                member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def files(folder: Path) -> list[tuple[tarfile.TarInfo | str, bytes]]:
    """Return the batches of a folder as members of an archive."""
    return [(f"in/{path.name}", path.read_bytes()) for path in sorted(folder.iterdir())]


# --- pickles that are right --------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "batch",
    [
        {b"batch_label": b"training batch 2 of 5", b"labels": LABELS, b"data": DATA,
         b"filenames": [b"camion_s_000148.png", "größer.png", b"", None]},
        {"data": DATA, "labels": np.array(LABELS)},
        {b"data": np.asfortranarray(DATA), b"labels": np.array(LABELS, ">i2")},
        {b"data": DATA[::-1][::-1], b"labels": list(np.array(LABELS, np.uint8)), b"more": (1, {})},
        {b"data": DATA, b"labels": LABELS, b"sizes": [2**31, -(2**40), -1, 70000, True, (), [[]]]},
    ],
)  # fmt: skip
def test_every_protocol_of_python_3_is_read(tmp_path: Path, batch: Any, protocol: int) -> None:
    x, y = second(write(tmp_path, pickle.dumps(batch, protocol)))
    assert (x == IMAGES).all()
    assert x.dtype == np.uint8
    assert y == LABELS


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.binary() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.binary() | st.text() | st.integers(-(2**40), 2**40), inner)
        | st.lists(inner, max_size=4).map(tuple)
    ),
    max_leaves=30,
)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(VALUES, st.integers(0, 5))
@pytest.mark.no_cover  # loops that take twice as long under coverage
def test_plain_values_are_what_pickle_itself_reads(value: Any, protocol: int) -> None:
    read = pickled.load(pickle.dumps(value, protocol))
    assert read == value
    assert repr(read) == repr(value)  # True is not 1


def python_2(protocol: int) -> bytes:
    """Write a batch as Python 2's pickle does, opcode by opcode; its strings are bytes."""
    raw = DATA.tobytes()
    if protocol == 0:
        quoted = repr(raw)[1:].encode()
        state = b"(I1\n(I4\nI3072\ntcnumpy\ndtype\np7\n(S'u1'\np8\nI0\nI1\ntRp9\n(I3\nS'|'\np10\n"
        state += b"NNNI-1\nI-1\nI0\ntbI00\nS" + quoted + b"\np11\ntb"
        array = (
            b"cnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntS'b'\ntRp6\n"
        )
        labels = b"(lp15\nI3\naI0\naI9\naL1L\na"
        return b"(dp1\nS'data'\np2\n" + array + state + b"p4\nsS'labels'\np14\n" + labels + b"s."
    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x06cnumpy\nndarray\nq\x07K\x00\x85U\x01b\x87"
    array += b"Rq\x08(K\x01K\x04M\x00\x0c\x86cnumpy\ndtype\nq\x09U\x02u1K\x00K\x01\x87Rq\x0a(K\x03"
    array += b"U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
    array += len(raw).to_bytes(4, "little") + raw + b"tb"
    labels = b"U\x06labelsq\x04]q\x05(K\x03K\x00K\x09\x8a\x01\x01e"
    return b"\x80\x02}q\x01(" + labels + b"U\x04dataq\x0d" + array + b"u."


@pytest.mark.parametrize("protocol", [0, 2])
def test_pickles_of_python_2_are_read(tmp_path: Path, protocol: int) -> None:
    content = python_2(protocol)
    assert (pickle.loads(content, encoding="bytes")[b"data"] == DATA).all()  # so it is a pickle
    x, y = second(write(tmp_path, content))
    assert (x == IMAGES).all()
    assert y == LABELS


# --- pickles that are not ----------------------------------------------------------------------


class Call:
    """An object whose pickle calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def test_what_a_pickle_calls_is_not_run(tmp_path: Path) -> None:
    there = tmp_path / "was-here"
    for protocol in range(6):
        content = pickle.dumps(Call(os.mkdir, str(there)), protocol)
        message = refusal(write(tmp_path / "in", content))
        assert "a pickle that names posix.mkdir, which is not allowed" in message
        pickle.loads(content)  # Python's unpickler does call it
        there.rmdir()


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
TYPE = b"cnumpy\ndtype\n(S'u1'\nI0\nI1\ntR"


@pytest.mark.no_cover  # loops that take twice as long under coverage
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "a pickle that is cut"),
        (b"}", "a pickle that is cut"),
        (b"no pickle", "opcode b'n'"),
        (b"N.N.", "more than one object"),
        (b"NN.", "more than one object"),
        (b"N.", "must hold a dict. Given: NoneType"),
        (b"tR.", "returns to a mark which it did not set"),
        (b"0.", "opcode b'0'"),
        (b"h\x05.", "reads a memo which it did not write"),
        (b"I" + b"9" * 5000 + b"\n.", "not written as a whole number"),
        (b"\x8a\xff" + bytes(255) + b".", "more than 64 bits"),
        (b"\x8e" + b"\xff" * 8 + b"x.", "a pickle that is cut"),
        (b"T\xff\xff\xff\xffx.", "a pickle that is cut"),
        (b"S'\\q'\n.", "invalid escape"),
        (b"S'x\n.", "without quotes"),
        (b"(" * 100_000 + b".", "from an empty stack"),
        (b"]" * 100_000 + b"a" * 99_999 + b".", "must hold a dict. Given: list"),
        (b")" + b"\x85" * 100_000 + b".", "must hold a dict. Given: tuple"),
        (b"}](NN\x85I1\nu.", "in the wrong place"),
        (b"})" + b"\x85" * 100_000 + b"Ns.", "whose keys are not texts or numbers"),
        (b"N" * (1 << 20), "more than 1048576 opcodes"),
        (ARRAY + b"(I1\n(I01\nt" + TYPE + b"I00\nS'x'\ntb.", "up to four sizes"),
        (ARRAY + b"(I1\n(I-1\nt" + TYPE + b"I00\nS''\ntb.", "up to four sizes"),
        (ARRAY + b"(I1\n(I9\nt" + TYPE + b"I00\nS''\ntb.", "must hold a dict. Given: Array"),
        (ARRAY + b"(I1\n(I0\ntcnumpy\ndtype\n(S'O8'\ntRI00\nS''\ntb.", "of whole numbers"),
        (ARRAY + b"(I1\n(I0\ntNI00\nS''\ntb.", "does not belong to an array of numbers"),
        (ARRAY + b"(Nt" + b"b.", "does not belong to an array of numbers"),
        (ARRAY + b"Nb.", "a NoneType in the wrong place"),
        (b"cnumpy\nndarray\n(I9\ntR.", "calls ndarray with other arguments"),
        (b"c_codecs\nencode\n(VAA\nVrot13\ntR.", "calls encode with other arguments"),
        (b"V" + b"A" * 99 + b"\np0\n0" + b"", "opcode b'0'"),
        (b"(V" + b"A" * 99 + b"\np0\n" + b"c_codecs\nencode\n(g0\nVlatin1\ntR" * 99 + b"l.",
         "multiplies its bytes"),
        (b"c_codecs\nencode\n(V\\u20ac\nVlatin1\ntR.", "can't encode"),
        (b"X\x02\x00\x00\x00\xff\xff.", "can't decode"),
        (b"c\x1b[31m\n" + b"x" * 9999 + b"\n.", "\\x1b[31m.xxx"),
    ],
)  # fmt: skip
def test_a_pickle_that_no_batch_has_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    message = refusal(write(tmp_path, content))
    assert words in message
    assert message.isprintable()


def test_a_list_that_holds_itself_is_refused(tmp_path: Path) -> None:
    content = b"}(S'data'\n]q\x00h\x00aS'labels'\nh\x00u."
    assert "data of data_batch_2 must be an array" in refusal(write(tmp_path, content))


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ({b"data": DATA, b"fine_labels": LABELS, b"coarse_labels": LABELS}, "CIFAR-100"),
        ({b"data": DATA}, "data_batch_2 must have data and labels. Missing: labels"),
        ({}, "Missing: data and labels"),
        ({b"data": DATA.tolist(), b"labels": LABELS}, "must be an array of uint8 [N, 3072]"),
        ({b"data": DATA.astype(np.int8), b"labels": LABELS}, "Given: int8 (4, 3072)"),
        ({b"data": DATA[:, :5], b"labels": LABELS}, "Given: uint8 (4, 5)"),
        ({b"data": DATA[0], b"labels": LABELS}, "Given: uint8 (3072,)"),
        ({b"data": DATA.astype(float), b"labels": LABELS}, "must be of whole numbers"),
        ({b"data": DATA, b"labels": LABELS[:3]}, "data_batch_2 has 4 images and 3 labels"),
        ({b"data": DATA, b"labels": [1, 2, None, 3]}, "whole numbers from 0 to 255"),
        ({b"data": DATA, b"labels": [1, 2, True, 3]}, "whole numbers from 0 to 255"),
        ({b"data": DATA, b"labels": [1, 2, 300, 3]}, "whole numbers from 0 to 255"),
        ({b"data": DATA, b"labels": np.array([LABELS])}, "whole numbers from 0 to 255"),
        ({b"data": DATA, b"labels": np.int64(3)}, "whole numbers from 0 to 255"),
    ],
)
def test_a_batch_of_other_fields_is_refused(tmp_path: Path, batch: Any, words: str) -> None:
    assert words in refusal(write(tmp_path, pickle.dumps(batch, protocol=2)))


def test_a_file_larger_than_any_batch_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, b"")
    with (tmp_path / "data_batch_2").open("wb") as file:
        file.truncate(1 << 40)  # sparse
    assert "must have at most 134217728 bytes" in refusal(tmp_path)


def test_a_device_is_no_batch(tmp_path: Path) -> None:
    write(tmp_path, b"")
    (tmp_path / "data_batch_2").unlink()
    (tmp_path / "data_batch_2").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="data_batch_2: must be a regular file"):
        formats.read(tmp_path)


def test_arrays_of_a_pickle_share_its_bytes() -> None:
    array = pickled.load(pickle.dumps(np.arange(6, dtype=">i4").reshape(2, 3), 5)).to_numpy()
    assert (array == [[0, 1, 2], [3, 4, 5]]).all()
    assert not array.flags.owndata


# --- archives ----------------------------------------------------------------------------------


def test_an_archive_is_read_like_its_folder_and_nothing_is_written(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", python_2(2))
    link = tarfile.TarInfo("outside")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    device = tarfile.TarInfo("dev")
    device.type = tarfile.CHRTYPE
    members = [(f"../../{Path(str(name)).name}", content) for name, content in files(folder)]
    path = archive(tmp_path / "a.tar.gz", (link, b""), (device, b""), *members, ("x/meta", b"1"))
    before = sorted(p.name for p in tmp_path.iterdir())
    x, y = second(path)
    assert (x == IMAGES).all()
    assert y == LABELS
    assert sorted(p.name for p in tmp_path.iterdir()) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, b"3", b"6"])
def test_a_batch_that_is_no_regular_member_is_missing(tmp_path: Path, kind: bytes) -> None:
    folder = write(tmp_path / "in", b"N.")
    member = tarfile.TarInfo("in/data_batch_2")
    member.type, member.linkname = kind, str(folder / "data_batch_1")
    others = [m for m in files(folder) if m[0] != "in/data_batch_2"]
    path = archive(tmp_path / "a.tar.gz", *others, (member, b""))
    assert "missing: data_batch_2" in refusal(path)


def test_an_archive_of_cifar_100_is_told_from_one_of_cifar_10(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", ("cifar-100-python/train", b"N."))
    assert "it has none of data_batch_1 to 5; ffnet reads CIFAR-10, not CIFAR-100" in refusal(path)


def test_a_batch_that_stands_twice_is_refused(tmp_path: Path) -> None:
    members = files(write(tmp_path / "in", python_2(2)))
    path = archive(tmp_path / "a.tar.gz", *members, members[2])
    assert "the archive has data_batch_3 twice" in refusal(path)


def test_a_batch_cut_at_any_place_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", *files(write(tmp_path / "in", python_2(2))))
    whole = path.read_bytes()
    for length in (0, 5, 20, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:length])
        refusal(path)
    unpacked = gzip.decompress(whole)
    for length in (300, 512, 700, len(unpacked) // 2):
        path.write_bytes(gzip.compress(unpacked[:length]))
        refusal(path)


def test_a_changed_byte_of_an_archive_is_found_by_its_checksum(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", *files(write(tmp_path / "in", python_2(2))))
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert "CRC" in refusal(path)


def test_bombs_are_refused_by_what_their_heads_say(tmp_path: Path) -> None:
    big = tarfile.TarInfo("data_batch_1")
    big.size = 1 << 29
    other = tarfile.TarInfo("other")
    other.size = 1 << 31
    path = tmp_path / "a.tar.gz"
    for member, words in ((big, "must have at most 134217728"), (other, "1073741824 bytes")):
        path.write_bytes(gzip.compress(member.tobuf() + bytes(9999)))
        assert words in refusal(path)
    many = b"".join(tarfile.TarInfo(str(i)).tobuf(tarfile.USTAR_FORMAT) for i in range(1001))
    path.write_bytes(gzip.compress(many))
    assert "more than 1000 members" in refusal(path)
