"""npz files: usual names, arrays of every kind, and archives with false headers."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_files import LABELS, RANDOM, N, loaded, refusal, savez

# --- npz -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("x", ["x", "X", "data", "features", "images"])
@pytest.mark.parametrize("y", ["y", "target", "labels"])
def test_npz_names_of_other_libraries_are_read(tmp_path: Path, x: str, y: str) -> None:
    values = RANDOM.normal(size=(N, 4))
    savez(tmp_path / "own.npz", **{x: values, y: LABELS, "feature_names": np.array(list("abcd"))})
    data = loaded(tmp_path / "own.npz")
    assert data.example_shape == (4,)
    assert data.target == y
    assert data.describe().endswith("; not used: feature_names")


def test_arrays_that_could_both_be_meant_are_refused(tmp_path: Path) -> None:
    x = RANDOM.normal(size=(N, 4))
    for arrays, words in (
        ({"data": x, "images": x, "target": LABELS}, "train part's x: data, images"),
        ({"x": x, "y": LABELS, "target": LABELS}, "train part's y: y, target"),
        ({"x": x, "x_train": x, "y": LABELS, "y_train": LABELS}, "train part's x: x, x_train"),
        ({"x": x, "y": LABELS, "x_test": x}, "Given: x_test without labels"),
        ({"x": x, "y": LABELS, "y_val": LABELS}, "Given: y_val without examples"),
        ({"x_test": x, "y_test": LABELS}, "Given: x_test, y_test"),
    ):
        savez(tmp_path / "own.npz", **arrays)
        assert words in refusal(tmp_path / "own.npz")


def test_a_target_names_the_arrays_of_labels(tmp_path: Path) -> None:
    x = RANDOM.normal(size=(N, 4))
    other = (LABELS == 1).astype(int)
    arrays = {"x_train": x, "fine_train": LABELS, "coarse_train": other}
    arrays |= {"x_test": x, "fine_test": LABELS, "coarse_test": other}
    savez(tmp_path / "own.npz", **arrays)
    assert "needs arrays" in refusal(tmp_path / "own.npz")
    assert len(loaded(tmp_path / "own.npz", target="fine").classes) == 3
    data = loaded(tmp_path / "own.npz", target="coarse")
    assert data.classes == ("0", "1")
    assert data.unused == ("fine_train", "fine_test")


def test_arrays_of_objects_are_refused_with_a_way_out(tmp_path: Path) -> None:
    savez(tmp_path / "own.npz", x=np.zeros((N, 2)), y=np.array(["a", "b"], object)[LABELS % 2])
    message = refusal(tmp_path / "own.npz")
    assert "array y must hold numbers or text. Given: Python objects" in message
    assert "np.array(values.tolist())" in message


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((N, 2), complex),
        np.zeros((N, 2), "datetime64[s]"),
        np.zeros((N, 2), [("a", "f4"), ("b", "f8")]),
        np.full((N, 2), "text"),
    ],
)
def test_examples_that_are_no_numbers_are_refused(tmp_path: Path, x: Any) -> None:
    savez(tmp_path / "own.npz", x=x, y=LABELS)
    assert "features must be numbers" in refusal(tmp_path / "own.npz")


def test_byte_order_and_memory_order_do_not_matter(tmp_path: Path) -> None:
    x = RANDOM.normal(size=(N, 3)).astype(np.float32)
    savez(tmp_path / "own.npz", x=x, y=LABELS)
    expected = loaded(tmp_path / "own.npz")
    savez(tmp_path / "own.npz", x=np.asfortranarray(x).astype(">f4"), y=LABELS.astype(">i2"))
    data = loaded(tmp_path / "own.npz")
    assert (data.train.x == expected.train.x).all()
    assert (data.train.y == expected.train.y).all()
    assert data.train.x.dtype.isnative


def test_a_scalar_and_examples_without_features_are_refused(tmp_path: Path) -> None:
    savez(tmp_path / "own.npz", x=np.zeros((N, 2)), y=np.array(3))
    assert "one label for each example. Given: labels of ()" in refusal(tmp_path / "own.npz")
    savez(tmp_path / "own.npz", x=np.array(3.0), y=LABELS)
    assert "Given: 0 examples" in refusal(tmp_path / "own.npz")
    savez(tmp_path / "own.npz", x=np.zeros((N, 0)), y=LABELS)
    assert "examples must have a feature" in refusal(tmp_path / "own.npz")


def npy(shape: tuple[int, ...], dtype: str = "<f8") -> bytes:
    """Return the header of an array, without its values."""
    file = io.BytesIO()
    about = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, about)
    return file.getvalue()


def test_an_array_that_says_more_than_it_has_is_refused_before_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
        archive.writestr("x.npy", npy((2**40, 2**20)))
        archive.writestr("y.npy", npy((60,), "<i8") + LABELS.tobytes())
    assert "x.npy says" in refusal(tmp_path / "own.npz")
    with zipfile.ZipFile(tmp_path / "own.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", npy((N, 10**6)) + bytes(8 * N * 10**6))
        archive.writestr("y.npy", npy((60,), "<i8") + LABELS.tobytes())
    assert (tmp_path / "own.npz").stat().st_size < 10**6
    monkeypatch.setattr("os.sysconf", lambda name: 1 << 14)  # a machine of 0.27 GB
    message = refusal(tmp_path / "own.npz")
    assert "must fit into memory when unpacked. Given: 0.5 GB" in message


def test_an_archive_with_one_array_twice_or_damaged_is_refused(tmp_path: Path) -> None:
    savez(tmp_path / "own.npz", x=RANDOM.normal(size=(N, 2)), y=LABELS)
    content = (tmp_path / "own.npz").read_bytes()
    (tmp_path / "own.npz").write_bytes(content[:400] + b"\0\xff" + content[402:])
    assert "Bad CRC-32" in refusal(tmp_path / "own.npz")
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
        for name in ("y", "y.npy"):
            archive.writestr(name, npy((60,), "<i8") + LABELS.tobytes())
    assert "different names. Given twice: y" in refusal(tmp_path / "own.npz")


@pytest.mark.parametrize("code", [0x110000, 0xD800])
def test_text_that_is_none_is_refused(tmp_path: Path, code: int) -> None:
    """Fuzzing found this: NumPy raised SystemError when it turned the bytes into text."""
    y = np.array(["a", "b"])[LABELS % 2]
    y.view(np.uint32)[7] = code
    message = refusal(savez(tmp_path / "own.npz", x=np.zeros((N, 2)), y=y))
    assert "labels must be text. Given: numbers that are no characters" in message


def test_bytes_beside_floats_are_refused(tmp_path: Path) -> None:
    x = np.arange(40, dtype=np.uint8).reshape(20, 2)
    y = np.arange(20) % 2
    path = tmp_path / "own.npz"
    np.savez(path, x_train=x / np.float32(255), y_train=y, x_val=x, y_val=y)
    message = refusal(path)
    assert f"array x_val with uint8 and {path}, array x_train with float32; save both" in message
    np.savez(path, x_train=x, y_train=y, x_val=x.astype(np.int64), y_val=y)
    assert loaded(path).features == 2
