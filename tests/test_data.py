"""Data sets: every format, the splits, the statistics, the cache, and damaged files."""

import gzip
import io
import json
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ffnet.data import split
from ffnet.data.dataset import DataSet, Part
from ffnet.data.load import load
from ffnet.data.scaling import statistics
from ffnet.errors import InputError
from ffnet.spec.sections import Data

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (60, 4, 5), dtype=np.uint8)
LABELS = np.arange(60) % 3


def loaded(dataset: object, **fields: Any) -> DataSet:
    return load(Data(dataset=str(dataset), **fields))


def everything(data: DataSet) -> np.ndarray[Any, Any]:
    assert data.test
    return np.concatenate([p.x for p in (data.train, data.validation, data.test)])


def assert_holds(data: DataSet, images: np.ndarray[Any, Any] = IMAGES) -> None:
    """Check that the parts hold every example exactly once."""
    rows = everything(data).reshape(len(images), -1)
    assert sorted(map(tuple, rows)) == sorted(map(tuple, images.reshape(len(images), -1)))


def refusal(dataset: object, **fields: Any) -> str:
    with pytest.raises(InputError) as caught:
        loaded(dataset, **fields)
    return str(caught.value)


def png(image: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


def idx(array: np.ndarray[Any, Any]) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_encoded(path: Path, images: Any, labels: Any) -> None:
    column = [{"bytes": png(image), "path": None} for image in images]
    pq.write_table(pa.table({"img": column, "label": pa.array(labels)}), path)


# --- real sets ---------------------------------------------------------------------------------


def test_embedded_digits() -> None:
    data = loaded("digits")
    assert data.describe() == "digits: 1,257/270/270 train/validation/test, 8×8, 10 classes"
    assert data.train.x.dtype == np.uint8
    counts = np.bincount(data.validation.y)
    assert counts.min() >= 26  # stratified: 27 of each class, up to rounding
    assert counts.max() <= 28


@pytest.mark.slow
def test_cifar10_is_split_as_in_the_lesson(real_data: Path) -> None:
    data = loaded("cifar10", data_dir=str(real_data))
    assert data.test
    assert [len(p) for p in (data.train, data.validation, data.test)] == [49000, 1000, 10000]
    assert data.train.x.shape[1:] == (32, 32, 3)
    assert data.train.x.dtype == np.uint8
    normal = (data.train.x.reshape(-1, 3).astype(np.float64) - data.mean) / data.std
    assert np.abs(normal.mean(axis=0)).max() < 1e-4
    assert np.abs(normal.std(axis=0) - 1).max() < 1e-4
    table = pq.read_table(real_data / "cifar10" / "train.parquet")
    assert (table["label"].to_numpy()[-1000:] == data.validation.y).all()
    last = Image.open(io.BytesIO(table["img"][-1]["bytes"].as_py()))
    assert (np.asarray(last) == data.validation.x[-1]).all()


def test_mnist_is_exact_and_read_alike_by_name_and_by_path(real_data: Path) -> None:
    by_name = loaded("mnist", data_dir=str(real_data))
    by_path = loaded(real_data / "mnist" / "mnist.npz")
    assert by_name.digest == by_path.digest
    assert (by_name.train.x == by_path.train.x).all()
    assert [len(by_name.train), len(by_name.validation)] == [54000, 6000]
    whole = np.concatenate([by_name.train.x, by_name.validation.x])
    assert whole.mean() == pytest.approx(33.318, abs=1e-3)
    assert whole.std() == pytest.approx(78.567, abs=1e-3)


def test_fashion_mnist_in_gzipped_idx_files(fashion_mnist: Path) -> None:
    data = loaded("fashion-mnist", data_dir=str(fashion_mnist))
    assert data.describe().startswith("fashion-mnist: 54,000/6,000/10,000")
    assert data.classes[9] == "ankle boot"
    assert np.bincount(data.train.y).tolist() == [5400] * 10


def test_data_dir_comes_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("flag", 1), ("environment", 2)):
        (tmp_path / name).mkdir()
        x = np.full((40, 2, 2), value, np.uint8)
        np.savez(tmp_path / name / "mnist.npz", x_train=x, y_train=np.arange(40) % 10)
    monkeypatch.setenv("FFNET_DATA", str(tmp_path / "environment"))
    assert loaded("mnist").train.x.max() == 2
    assert loaded("mnist", data_dir=str(tmp_path / "flag")).train.x.max() == 1


# --- Keras' cache and download -----------------------------------------------------------------


def test_keras_downloads_what_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras' code runs, but downloads a local file."""
    from keras.src.datasets import mnist

    (tmp_path / "served").mkdir()
    (tmp_path / "keras").mkdir()
    served = tmp_path / "served" / "mnist.npz"
    np.savez(served, x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS)
    fetch = mnist.get_file

    def from_file(fname: str, origin: str, file_hash: str) -> str:
        return str(fetch(fname, origin=served.as_uri(), cache_dir=str(tmp_path / "keras")))

    monkeypatch.setattr(mnist, "get_file", from_file)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("FFNET_DATA", raising=False)
    data = loaded("mnist")
    assert str(tmp_path / "keras" / "datasets") in data.source


def test_without_data_or_network_the_error_lists_the_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keras.src.datasets import cifar10

    def unreachable(*_: Any, **__: Any) -> str:  # what get_file raises without a network
        raise Exception("URL fetch failure on host: None -- Name or service not known")

    monkeypatch.setattr(cifar10, "get_file", unreachable)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("FFNET_DATA", raising=False)
    message = refusal("cifar10")
    assert "could not be downloaded (URL fetch failure" in message
    for place in ("cifar10", "cifar-10-batches-py", "cifar-10-python.tar.gz"):
        assert str(tmp_path / "keras/datasets" / place) in message
    assert "--data-dir or FFNET_DATA" in message


@pytest.mark.parametrize("named_by", ["--data-dir", "FFNET_DATA"])
def test_a_named_folder_without_the_set_yields_to_no_other_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named_by: str
) -> None:
    for place in (tmp_path / "keras" / "datasets", tmp_path / "other"):
        place.mkdir(parents=True)
        np.savez(place / "mnist.npz", x_train=IMAGES, y_train=LABELS)
        np.savez(place / "own.npz", x=IMAGES, y=LABELS)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.chdir(tmp_path / "other")
    (tmp_path / "named").mkdir()
    monkeypatch.setattr("ffnet.data.find._download", None)
    if named_by == "FFNET_DATA":
        monkeypatch.setenv("FFNET_DATA", str(tmp_path / "named"))
        message = refusal("mnist")
        # A relative path may also start here.
        assert loaded("own.npz").source == "own.npz"
    else:
        monkeypatch.setenv("FFNET_DATA", str(tmp_path / "other"))
        message = refusal("mnist", data_dir=str(tmp_path / "named"))
        own = refusal("own.npz", data_dir=str(tmp_path / "named"))
        assert own.endswith(f"searched: {tmp_path}/named/own.npz")
    assert "must lie in the data folder that --data-dir or FFNET_DATA names" in message
    assert str(tmp_path / "named" / "mnist.npz") in message
    assert "keras" not in message


def test_a_path_that_means_two_places_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "own.npz", x=IMAGES, y=LABELS)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("FFNET_DATA", str(tmp_path / "there"))
    message = refusal("own.npz")
    assert f"{tmp_path}/here/own.npz and {tmp_path}/there/own.npz" in message
    monkeypatch.setenv("FFNET_DATA", str(tmp_path / "here"))  # two names of the same file
    assert loaded("own.npz").describe()


# --- formats -----------------------------------------------------------------------------------


def test_npz_with_x_and_y(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x=IMAGES, y=LABELS)
    data = loaded(tmp_path / "own.npz")
    assert data.name == "own"
    assert data.classes == ("0", "1", "2")
    assert_holds(data)


def test_features_become_float32_standardised_per_column(tmp_path: Path) -> None:
    x = np.stack([np.arange(60), np.arange(60) * 1000.0, np.full(60, 7.0)], axis=1)
    np.savez(tmp_path / "own.npz", x=x, y=LABELS)
    data = loaded(tmp_path / "own.npz", split="last")
    assert data.train.x.dtype == np.float32
    train = x[: len(data.train)]
    assert data.mean == pytest.approx(train.mean(axis=0), rel=1e-12)
    assert data.std[:2] == pytest.approx(train.std(axis=0)[:2], rel=1e-12)
    assert data.std[2] == 1  # a constant column
    assert data.train.x == pytest.approx((train - data.mean) / data.std, rel=1e-6)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx(tmp_path: Path, suffix: str) -> None:
    pack = gzip.compress if suffix else bytes
    (tmp_path / f"train-images-idx3-ubyte{suffix}").write_bytes(pack(idx(IMAGES)))
    labels = pack(idx(LABELS.astype(np.uint8)))
    (tmp_path / f"train-labels-idx1-ubyte{suffix}").write_bytes(labels)
    assert_holds(loaded(tmp_path))


def test_parquet_with_encoded_images_and_the_hubs_class_names(tmp_path: Path) -> None:
    write_encoded(tmp_path / "train.parquet", IMAGES, LABELS)
    assert_holds(loaded(tmp_path))
    features = {"label": {"names": ["cat", "dog", "eel"], "_type": "ClassLabel"}}
    table = pq.read_table(tmp_path / "train.parquet").replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    pq.write_table(table, tmp_path / "train.parquet")
    assert loaded(tmp_path).classes == ("cat", "dog", "eel")


def test_parquet_in_several_files_a_part(tmp_path: Path) -> None:
    for i in range(3):
        rows = slice(20 * i, 20 * i + 20)
        name = f"train-0000{i}-of-00003.parquet"
        write_encoded(tmp_path / name, IMAGES[rows], LABELS[rows])
    assert_holds(loaded(tmp_path))


def test_parquet_with_flat_pixels_and_with_columns(tmp_path: Path) -> None:
    square = IMAGES[:, :, :4]
    pixels = pa.array(list(square.reshape(60, 16)), pa.list_(pa.uint8()))
    pq.write_table(pa.table({"pixels": pixels, "label": LABELS}), tmp_path / "flat.parquet")
    data = loaded(tmp_path / "flat.parquet")
    assert data.example_shape == (4, 4)
    assert_holds(data, square)
    columns = {f"c{i}": RANDOM.normal(size=60) for i in range(3)}
    names = np.array(["x", "y", "z"])[LABELS]
    pq.write_table(pa.table({**columns, "label": names}), tmp_path / "columns.parquet")
    data = loaded(tmp_path / "columns.parquet")
    assert data.example_shape == (3,)
    assert data.classes == ("x", "y", "z")


def batches(folder: Path) -> np.ndarray[Any, Any]:
    """Write CIFAR-10's batches in the layout of Python 2. Returns the images."""
    images = RANDOM.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    folder.mkdir(parents=True)
    for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        rows = slice(10 * i, 10 * i + 10)
        flat = images[rows].transpose(0, 3, 1, 2).reshape(10, 3072)
        batch = {b"data": flat, b"labels": list(range(10))}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return images


def test_cifar10_batches_in_a_folder_and_in_an_archive(tmp_path: Path) -> None:
    images = batches(tmp_path / "one" / "cifar-10-batches-py")
    data = loaded("cifar10", data_dir=str(tmp_path / "one"), validation=5)
    assert_holds(data, images)
    (tmp_path / "two").mkdir()
    with tarfile.open(tmp_path / "two" / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "one" / "cifar-10-batches-py", "cifar-10-batches-py")
    packed = loaded("cifar10", data_dir=str(tmp_path / "two"), validation=5)
    assert (everything(packed) == everything(data)).all()


# --- damaged and wrong -------------------------------------------------------------------------


def damaged(folder: Path) -> list[Path]:
    """Write a cut file of each format."""
    np.savez_compressed(folder / "a.npz", x=IMAGES, y=LABELS)
    write_encoded(folder / "b.parquet", IMAGES, LABELS)
    with tarfile.open(folder / "c.tar.gz", "w:gz") as archive:
        batches(folder / "batches")
        archive.add(folder / "batches", "batches")
    (folder / "d").mkdir()
    (folder / "d" / "train-images-idx3-ubyte").write_bytes(idx(IMAGES))
    (folder / "d" / "train-labels-idx1-ubyte").write_bytes(idx(LABELS.astype(np.uint8)))
    (folder / "e").mkdir()
    (folder / "e" / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(IMAGES)))
    (folder / "e" / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS[:1])))
    cut = [folder / "a.npz", folder / "b.parquet", folder / "c.tar.gz"]
    cut += [folder / "d" / "train-images-idx3-ubyte", folder / "e" / "train-images-idx3-ubyte.gz"]
    for path in cut:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return cut


def test_a_cut_file_of_any_format_is_named(tmp_path: Path) -> None:
    for path in damaged(tmp_path):
        message = refusal(path.parent if "idx" in path.name else path)
        assert str(path) in message
        assert "is the file complete?" in message
        assert "\n" not in message


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (IMAGES, LABELS[:-1], ["as many labels as examples", "60 examples, 59 labels"]),
        (IMAGES, LABELS * 0, ["two classes or more", "Given: only 0; add rows"]),
        (IMAGES, LABELS + 0.5, ["labels must be classes", "Given: the number 0.5"]),
        (IMAGES[:0], LABELS[:0], ["Given: 0"]),
        (np.full((60, 3), np.nan), LABELS, ["features must be finite", "feature 0, row 0"]),
        (LABELS, LABELS, ["2 to 4 dimensions", "(60,)"]),
    ],
)
def test_examples_and_labels_that_break_a_rule(
    tmp_path: Path, x: Any, y: Any, words: list[str]
) -> None:
    np.savez(tmp_path / "own.npz", x=x, y=y)
    message = refusal(tmp_path / "own.npz")
    for word in words:
        assert word in message


def test_labels_beyond_the_classes_of_a_known_set(tmp_path: Path) -> None:
    y = np.where(np.arange(60) == 7, 10, LABELS)
    np.savez(tmp_path / "mnist.npz", x_train=IMAGES, y_train=y)
    assert "labels must be 0 to 9. Given: 10" in refusal("mnist", data_dir=str(tmp_path))


def test_images_of_two_sizes_and_bytes_that_are_no_image(tmp_path: Path) -> None:
    write_encoded(tmp_path / "a.parquet", [*IMAGES[:5], IMAGES[5][:3]], LABELS[:6])
    message = refusal(tmp_path / "a.parquet")
    assert "(4, 5) like the first" in message
    assert "(3, 5) at row 5" in message
    column = [{"bytes": b"no image", "path": None}] * 6
    pq.write_table(pa.table({"img": column, "label": LABELS[:6]}), tmp_path / "b.parquet")
    assert "row 0 (counted from 0) is not an image" in refusal(tmp_path / "b.parquet")


def test_unknown_names_and_kinds_are_told_what_is_possible(tmp_path: Path) -> None:
    assert "nor one of: digits, mnist, fashion-mnist, cifar10" in refusal("cifar100")
    (tmp_path / "x.txt").write_text("1,2")
    assert "must be .csv or .tsv (also .gz or .zst), .parquet" in refusal(tmp_path / "x.txt")
    (tmp_path / "empty").mkdir()
    assert "holds no CSV, Parquet, Arrow" in refusal(tmp_path / "empty")
    assert "data_dir must be a folder" in refusal("mnist", data_dir=str(tmp_path / "no"))


# --- splits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["last", "stratified"])
def test_no_example_stands_in_two_parts(tmp_path: Path, way: Any) -> None:
    x = np.arange(60.0).reshape(60, 1)
    np.savez(tmp_path / "own.npz", x=x, y=LABELS)
    data = loaded(tmp_path / "own.npz", validation=7, test=0.2, split=way)
    assert data.test
    assert [len(data.train), len(data.validation), len(data.test)] == [41, 7, 12]
    given = everything(data).astype(np.float64) * data.std + data.mean
    assert np.sort(given.ravel()) == pytest.approx(x.ravel(), abs=1e-4)


def test_stratified_split_keeps_proportions_and_follows_its_seed() -> None:
    y = np.repeat(np.arange(3), [100, 200, 700]).astype(np.int32)
    part = Part(np.arange(1000.0).reshape(-1, 1), y)
    _, drawn = split.stratified(50, part, seed=0)
    assert np.bincount(drawn.y).tolist() == [5, 10, 35]
    assert (split.stratified(50, part, seed=0)[1].x == drawn.x).all()
    assert (split.stratified(50, part, seed=1)[1].x != drawn.x).any()


@pytest.mark.parametrize("validation", [60, 1.5, 0.001])
def test_a_split_must_leave_examples_on_both_sides(tmp_path: Path, validation: float) -> None:
    np.savez(tmp_path / "own.npz", x=IMAGES, y=LABELS, x_test=IMAGES, y_test=LABELS)
    assert "validation must" in refusal(tmp_path / "own.npz", validation=validation)


def test_features_are_not_divided_by_255(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x=np.zeros((60, 3)), y=np.arange(60) % 3)
    words = "scaling unit divides pixels (uint8) by 255. Given: features"
    assert words in refusal(tmp_path / "own.npz", scaling="unit")


def test_statistics_of_bytes_and_floats_agree() -> None:
    images = RANDOM.integers(0, 256, (50, 4, 4, 3), dtype=np.uint8)
    by_bytes = statistics(images)
    by_floats = statistics(images.astype(np.float32))
    for one, other in zip(by_bytes, by_floats, strict=True):
        assert one == pytest.approx(other, rel=1e-6)
