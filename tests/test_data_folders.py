"""Folders: images in a folder for each class, pairs of npy files, and parts of every format."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_files import LABELS, N, loaded, refusal, savez, write
from ffnet.data import formats
from ffnet.data.raw import Raw
from ffnet.spec.sections import Data

PIXELS = np.random.default_rng(0).integers(0, 256, (N, 4, 6), dtype=np.uint8)
CLASSES = ("cat", "dog", "eel")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FFNET_CACHE", str(tmp_path_factory.mktemp("cache")))


def draw(folder: Path, pixels: Any = PIXELS, names: Any = CLASSES, kind: str = "png") -> Path:
    """Write an image for each example, numbered in their order: FOLDER/CLASS/0.png."""
    for i, image in enumerate(pixels):
        place = folder / str(names[LABELS[i]])
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i}.{kind}")
    return folder


def read(folder: Path, **fields: Any) -> Raw:
    raw = formats.read(folder, Data(**fields))
    assert raw
    return raw


# --- images --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("names", "y"), [(CLASSES, CLASSES), (("10", "9", "2"), (10, 9, 2))])
def test_images_in_folders_of_classes_are_the_arrays_that_were_written(
    tmp_path: Path, names: Any, y: Any
) -> None:
    raw = read(draw(tmp_path / "own", names=names))
    x, labels = raw.parts["train"]
    assert (x == PIXELS).all()
    assert labels.tolist() == [y[i] for i in LABELS]
    data = loaded(tmp_path / "own")
    assert data.classes == tuple(sorted(names, key=lambda name: y[names.index(name)]))
    assert data.example_shape == (4, 6)
    assert str(tmp_path / "own") == data.source


def test_parts_of_images_are_read_and_one_in_colour_gives_all_colours(tmp_path: Path) -> None:
    colour = np.repeat(PIXELS[..., None], 3, axis=-1)
    colour[5, 0, 0] = (1, 2, 3)
    draw(tmp_path / "train")
    draw(tmp_path / "val", PIXELS[:6])
    draw(tmp_path / "Test", colour[:9])
    parts = read(tmp_path).parts
    assert {part: x.shape for part, (x, _) in parts.items()} == {
        "train": (N, 4, 6, 3), "validation": (6, 4, 6, 3), "test": (9, 4, 6, 3),
    }  # fmt: skip
    assert (parts["test"][0] == colour[:9]).all()
    assert len(loaded(tmp_path).validation) == 6


def test_the_digest_knows_images_and_classes(tmp_path: Path) -> None:
    first = read(draw(tmp_path / "one")).digest()
    assert read(draw(tmp_path / "two")).digest() == first
    (tmp_path / "two" / "cat" / "0.png").rename(tmp_path / "two" / "dog" / "0.png")
    assert read(tmp_path / "two").digest() != first
    other = PIXELS.copy()
    other[7, 1, 1] ^= 1
    assert read(draw(tmp_path / "three", other)).digest() != first


def test_images_of_several_sizes_need_image_size(tmp_path: Path) -> None:
    draw(tmp_path, kind="jpg")
    Image.fromarray(PIXELS[3].repeat(2, axis=0)).save(tmp_path / "cat" / "3.jpg")
    assert "one size, (4, 6) like the first. Given: (8, 6) at " in (message := refusal(tmp_path))
    assert "cat/3.jpg; " in message
    assert loaded(tmp_path, image_size=5).example_shape == (5, 5)
    x, _ = read(tmp_path, image_size=[3, 8]).parts["train"]
    same = Image.open(tmp_path / "dog" / "4.jpg").resize((8, 3), Image.Resampling.BILINEAR)
    assert (x[4] == np.asarray(same)).all()
    assert "image_size has an effect only on folders of images" in refusal("digits", image_size=8)
    assert "image_size" in refusal(tmp_path, image_size=0)


def test_files_that_are_no_images_are_noted_and_hidden_ones_are_not(tmp_path: Path) -> None:
    draw(tmp_path)
    for name in (".DS_Store", "cat/.hidden.png", "cat/Thumbs.db", "dog/notes.txt"):
        (tmp_path / name).touch()
    assert read(tmp_path).notes == (
        "2 files below folders of classes are no images: cat/Thumbs.db, dog/notes.txt.",
    )


def test_renamed_texts_are_no_images(tmp_path: Path) -> None:
    (draw(tmp_path) / "cat" / "3.png").write_text("text")
    assert "cat/3.png is not an image that can be decoded (it is none of PNG" in refusal(tmp_path)


SHAPES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no class": (lambda p: shutil.move(p / "cat" / "0.png", p), "images must lie in a folder for"),
    "only images": (lambda p: _images_alone(p / "x" / "train"), "in no such folder"),
    "an empty class": (lambda p: (p / "fox").mkdir(), "fox: the folder of a class must hold an"),
    "a folder inside": (lambda p: shutil.copytree(p / "cat", p / "dog" / "x"), "dog/x: images"),
    "a part beside classes": (
        lambda p: shutil.copytree(p / "cat", p / "train" / "cat"), "train/CLASS/, and perhaps",
    ),
    "only a test part": (lambda p: _into(p, "test"), "must lie in train/CLASS/"),
    "a part twice": (lambda p: [_into(p, part) for part in ("val", "valid")], "part must have one"),
    "a pipe": (lambda p: os.mkfifo(p / "cat" / "x.png"), "x.png: must be a regular file"),
    "no file": (lambda p: (p / "cat" / "x.png").symlink_to(p / "none"), "x.png: cannot be read"),
    "one class": (lambda p: [shutil.move(p / n, p.parent) for n in ("cat", "dog")], "two classes"),
    "a table beside parts": (
        lambda p: (p / "own.csv").write_text(f"a,label{_into(p, 'train')}"), "CSV and image",
    ),
}  # fmt: skip


def _images_alone(folder: Path) -> None:
    folder.mkdir(parents=True)
    Image.fromarray(PIXELS[0]).save(folder / "0.png")


def _into(folder: Path, part: str) -> str:
    (folder / part).mkdir()
    for name in CLASSES:
        if (folder / name).exists():
            (folder / name).rename(folder / part / name)
    return "\n1,x\n"


@pytest.mark.parametrize("name", SHAPES)
def test_images_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    change, words = SHAPES[name]
    folder = draw(tmp_path / "own")
    change(folder)
    assert words in refusal(folder / "x" if name == "only images" else folder)


def test_a_table_beside_pictures_is_read(tmp_path: Path) -> None:
    write(tmp_path / "x" / "own.parquet")
    pyarrow.csv.write_csv(pq.read_table(tmp_path / "x" / "own.parquet"), tmp_path / "own.csv")
    draw(tmp_path / "figures" / "a")
    assert loaded(tmp_path).columns == ("b",)  # a counts the rows


@pytest.mark.slow
def test_digits_of_mnist_written_as_png_are_those_of_the_npz_file(
    tmp_path: Path, real_data: Path
) -> None:
    counts = {"train": 4000, "test": 1000}
    with np.load(real_data / "mnist" / "mnist.npz") as whole:
        arrays = {
            f"{a}_{part}": whole[f"{a}_{part}"][:n] for part, n in counts.items() for a in "xy"
        }
    savez(tmp_path / "own.npz", **arrays)
    for part, count in counts.items():
        for i in range(count):
            place = tmp_path / "own" / part / str(arrays[f"y_{part}"][i])
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(arrays[f"x_{part}"][i]).save(place / f"{i}.png")
    data, same = loaded(tmp_path / "own"), loaded(tmp_path / "own.npz")
    assert data.test
    assert same.test
    for one, other in zip(
        (data.train, data.validation, data.test), (same.train, same.validation, same.test),
        strict=True,
    ):  # fmt: skip
        assert one.x.tobytes() == other.x.tobytes()
        assert one.y.tobytes() == other.y.tobytes()
    assert (data.classes, data.mean.tobytes()) == (same.classes, same.mean.tobytes())


# --- npy and npz ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ("x", "y"), ("X_train", "y_train", "X_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("train/x", "train/y", "test/x", "test/y"), ("train/data", "train/y_train"),
    ],
)  # fmt: skip
def test_pairs_of_npy_files_are_what_an_npz_file_of_them_is(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    folder, arrays = tmp_path / "own", {}
    for i, name in enumerate(names):
        values = LABELS if i % 2 else PIXELS + i
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{name}.npy", values)
        part, _, stem = name.rpartition("/")
        arrays[stem if not part or part in stem else f"{stem}_{part}"] = values
    np.save(folder / "extra.npy", LABELS)
    data, same = loaded(folder), loaded(savez(tmp_path / "own.npz", **arrays))
    assert (data.train.x == same.train.x).all()
    assert (data.train.y == same.train.y).all()
    assert data.test
    assert same.test
    assert len(data.test) == len(same.test)
    assert data.unused == ("extra",)


def test_a_file_for_each_part_is_read(tmp_path: Path) -> None:
    table = pq.read_table(write(tmp_path / "x" / "own.parquet", a=np.arange(N) + 0.5))
    test = table.set_column(0, "a", pa.array(np.arange(N) + 1000.5))
    writers: dict[str, Any] = {
        "parquet": pq.write_table,
        "csv": pyarrow.csv.write_csv,
        "feather": pa.feather.write_feather,
        "arrow": lambda t, path: pa.feather.write_feather(t, path, compression="uncompressed"),
        "npz": lambda t, path: savez(path, x=np.stack([t["a"], t["b"]], 1), y=np.array(t["label"])),
    }
    found = {}
    for kind, writer in writers.items():
        (tmp_path / kind).mkdir()
        writer(table, tmp_path / kind / f"train.{kind}")
        writer(test, tmp_path / kind / f"test.{kind}")
        data = loaded(tmp_path / kind)
        assert data.test
        found[kind] = (data.train.x.tolist(), data.test.x.tolist(), data.train.y.tolist())
    assert all(each == found["parquet"] for each in found.values())


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (PIXELS, LABELS[:-1], "needs as many labels as examples"),
        (PIXELS, np.array([{}] * N), "array y must hold numbers or text. Given: Python objects"),
        (PIXELS, None, "needs arrays x and y"),
        (b"\x93NUMPY", LABELS, "x.npy: cannot be read as npy"),
        (b"text", LABELS, "x.npy: cannot be read as npy"),
    ],
)
def test_npy_files_that_are_no_pair_are_refused(tmp_path: Path, x: Any, y: Any, words: str) -> None:
    for name, values in (("x.npy", x), ("y.npy", y)):
        if isinstance(values, bytes):
            (tmp_path / name).write_bytes(values)
        elif values is not None:
            np.save(tmp_path / name, values)
    assert words in refusal(tmp_path)
    assert "give the folder of x.npy and y.npy" in refusal(tmp_path / "x.npy")


def test_npz_files_of_parts_must_match(tmp_path: Path) -> None:
    savez(tmp_path / "train.npz", x=PIXELS, y=LABELS)
    savez(tmp_path / "test.npz", x=PIXELS / 255, y=LABELS)
    assert "must have the same dtype" in refusal(tmp_path)
    savez(tmp_path / "test.npz", x_train=PIXELS, y_train=LABELS, x_test=PIXELS, y_test=LABELS)
    assert "must have x and y only. Given: parts train, test" in refusal(tmp_path)
    (tmp_path / "test.npz").rename(tmp_path / "other.npz")
    assert "or name them train.npz, validation.npz and test.npz" in refusal(tmp_path)


# --- Arrow ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["file", "stream", "lz4", "zstd"])
def test_arrow_files_are_what_a_parquet_file_of_them_is(tmp_path: Path, how: str) -> None:
    table = pq.read_table(write(tmp_path / "own.parquet"))
    path = tmp_path / "own.arrow"
    if how == "stream":
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table)
    else:
        kind = "uncompressed" if how == "file" else how
        pa.feather.write_feather(table, path, compression=kind)
    data, same = loaded(path), loaded(tmp_path / "own.parquet")
    assert (data.train.x == same.train.x).all()
    assert data.columns == same.columns
    for cut in (0, 5, 100, -100):
        (tmp_path / "cut.arrow").write_bytes(path.read_bytes()[:cut])
        assert "cannot be read as Arrow" in refusal(tmp_path / "cut.arrow")


def test_encoded_images_in_arrow_files_are_read(tmp_path: Path) -> None:
    draw(tmp_path / "own")
    files = [tmp_path / "own" / CLASSES[y] / f"{i}.png" for i, y in enumerate(LABELS)]
    table = pa.table({"image": [path.read_bytes() for path in files], "label": LABELS})
    pa.feather.write_feather(table, tmp_path / "own.feather")
    x, _ = read(tmp_path / "own.feather").parts["train"]
    assert (x == PIXELS).all()
