"""Parts: parts in files are used as they are, and odd metadata are read or refused."""

import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data_files import LABELS, RANDOM, N, loaded, refusal, savez, write
from ffnet.data.find import KNOWN
from ffnet.errors import InputError

# --- parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["val", "valid", "validation"])
def test_a_given_validation_part_is_used(tmp_path: Path, word: str) -> None:
    x, far = RANDOM.normal(size=(N, 2)), np.full((9, 2), 1e6)
    for names in (("x_{}", "y_{}"), ("X_{}", "Y_{}"), ("{}_images", "{}_labels")):
        arrays = {}
        for part, values in {"train": x, word: far, "test": x}.items():
            arrays[names[0].format(part)] = values
            arrays[names[1].format(part)] = LABELS[: len(values)]
        savez(tmp_path / "own.npz", **arrays)
        data = loaded(tmp_path / "own.npz")
        assert (len(data.train), len(data.validation)) == (N, 9)
        assert data.validation.x.min() > 1e5
        assert "validation must be left out" in refusal(tmp_path / "own.npz", validation=0.1)
        assert "split must be left out" in refusal(tmp_path / "own.npz", split="last")
        assert "split_seed must be left out" in refusal(tmp_path / "own.npz", split_seed=1)
    write(tmp_path / "set" / "train.parquet")
    write(tmp_path / "set" / f"{word}-00000-of-00001.parquet", a=np.arange(N) + 1e6)
    data = loaded(tmp_path / "set", test=10)
    assert data.test
    assert [len(p) for p in (data.train, data.validation, data.test)] == [N - 10, N, 10]
    assert data.validation.x[:, 0].min() > 1e4


def test_the_hubs_folder_and_folders_of_parts_are_read(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / "hub" / "data" / f"train-0000{i}-of-00003-0c8f1d54.parquet")
    write(tmp_path / "hub" / "data" / "test-00000-of-00001.parquet", a=np.zeros(N))
    (tmp_path / "hub" / "README.md").write_text("about")
    data = loaded(tmp_path / "hub")
    assert data.test
    assert (len(data.train) + len(data.validation), len(data.test)) == (3 * N, N)
    for part in ("train", "validation", "test"):
        write(tmp_path / "converted" / part / "0000.parquet", a=RANDOM.normal(size=N))
    data = loaded(tmp_path / "converted")
    assert data.test
    assert [len(p) for p in (data.train, data.validation, data.test)] == [N] * 3


def test_a_missing_shard_is_refused(tmp_path: Path) -> None:
    for i in (0, 2):
        write(tmp_path / f"train-0000{i}-of-00003.parquet")
    assert "files 0 to 2 of train" in (message := refusal(tmp_path))
    assert message.endswith("Given: 0, 2")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["train", "extra"], "Given: extra.parquet"),
        (["train", "trainset", "testimonials"], "Given: testimonials.parquet, trainset.parquet"),
        (["test", "validation"], "Given: test.parquet, validation.parquet"),
        (["test"], "Given: test.parquet"),
        (["a", "b"], "Given: a.parquet, b.parquet"),
        (["train", "train-test"], "Given: train-test.parquet"),
        (["train/0", "train/test-0"], "Given: test-0.parquet"),
    ],
)
def test_files_that_belong_to_no_part_are_refused(
    tmp_path: Path, names: list[str], words: str
) -> None:
    for name in names:
        write(tmp_path / f"{name}.parquet", a=RANDOM.normal(size=N))
    message = refusal(tmp_path)
    assert "must be named train*.parquet, validation*.parquet or test*.parquet" in message
    assert message.endswith(words)


@pytest.mark.parametrize("name", ["test.csv", "validation-0.jsonl", "test_2.csv.gz", "Test.npy"])
def test_a_part_of_a_kind_that_is_not_read_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path / "train.parquet")
    (tmp_path / "about.csv").touch()
    assert loaded(tmp_path).describe()
    (tmp_path / name).touch()
    assert f"{name}: all parts must be Parquet files if one part is" in refusal(tmp_path)


@pytest.mark.parametrize(
    "name", ["training", "train2", "my_train", "Train", "train.v2", "TRAIN.PARQUET"]
)
def test_files_named_after_their_part_in_other_ways_are_read(tmp_path: Path, name: str) -> None:
    write(tmp_path / (name if name.isupper() else f"{name}.parquet"))
    write(tmp_path / "testing-1.parquet", a=np.zeros(N))
    data = loaded(tmp_path)
    assert data.test
    assert len(data.test) == N


def test_a_folder_of_several_kinds_or_of_copies_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet")
    savez(tmp_path / "own.npz", x=np.zeros((N, 2)), y=LABELS)
    assert "one kind. Given: Parquet and npz files" in refusal(tmp_path)
    (tmp_path / "own.npz").unlink()
    (tmp_path / "test.parquet").write_bytes((tmp_path / "train.parquet").read_bytes())
    assert "a copy of test.parquet" in refusal(tmp_path)
    (tmp_path / "test.parquet").unlink()
    write(tmp_path / "data" / "train.parquet")
    assert "in one place. Given: " in refusal(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["own.npz", "own.parquet", "own.tar.gz", "a/own.npz", "a/train-0.parquet",
     "a/train-images-idx3-ubyte", "a/train-labels-idx1-ubyte.gz", "a/data_batch_1"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["pipe", "socket", "link to a device"])
def test_what_is_no_regular_file_is_refused_and_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    if "idx" in name:
        labels = struct.pack(">HBBI", 0, 8, 1, 3) + b"abc"  # read as images too
        for other in ("images-idx3-ubyte", "labels-idx1-ubyte.gz"):
            Path(f"a/train-{other}").write_bytes(labels)
        Path(name).unlink()
    elif "/train" in name:  # files of the same size are compared first
        Path("a/train-1.parquet").touch()
    if kind == "pipe":
        os.mkfifo(name)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(name)
    else:
        Path(name).symlink_to("/dev/zero")
    assert "must be a regular file" in refusal(name.split("/")[0])


# --- metadata ------------------------------------------------------------------------------------

HUB = {"info": {"features": {"label": {"names": ["cat", "dog", "eel"], "_type": "ClassLabel"}}}}


def test_class_names_of_the_hub_must_agree(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", {b"huggingface": json.dumps(HUB).encode()})
    write(tmp_path / "test.parquet")
    assert loaded(tmp_path).classes == ("cat", "dog", "eel")
    other = json.dumps(HUB).replace("cat", "emu")
    write(tmp_path / "test.parquet", {b"huggingface": other.encode()})
    assert "names in the metadata must be the same in all tables" in refusal(tmp_path)


@pytest.mark.parametrize("change", [reversed, lambda names: [*names, "more"]])
def test_class_names_in_the_files_of_a_known_set_are_believed(tmp_path: Path, change: Any) -> None:
    names = list(change(KNOWN["cifar10"].classes))
    hub = json.dumps({"info": {"features": {"label": {"names": names}}}})
    path = tmp_path / "cifar10" / "train.parquet"
    write(path, {b"huggingface": hub.encode()}, label=np.arange(N) % 10)
    data = loaded("cifar10", data_dir=str(tmp_path), validation=10, split="stratified")
    assert data.classes == tuple(names)
    write(path, label=np.arange(N) % 10)
    data = loaded("cifar10", data_dir=str(tmp_path), validation=10, split="stratified")
    assert data.classes == KNOWN["cifar10"].classes


def test_the_hubs_mark_of_a_missing_label_is_one(tmp_path: Path) -> None:
    y = LABELS.copy()
    y[[4, 9]] = -1
    path = write(tmp_path / "own.parquet", {b"huggingface": json.dumps(HUB).encode()}, label=y)
    assert "2 of 60 rows have none, the first is row 4" in refusal(path)
    data = loaded(path, drop_unlabelled=True)
    assert data.classes == ("cat", "dog", "eel")
    assert data.describe().endswith("left out without a label: 2 of train")
    y[5] = 3
    write(path, {b"huggingface": json.dumps(HUB).encode()}, label=y)
    assert "labels must be 0 to 2. Given: 3 in 1 rows" in refusal(path, drop_unlabelled=True)


@pytest.mark.parametrize("key", ["huggingface", "pandas", "shape"])
@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "{}", "3", '"x"', '{"info": 3}', '{"index_columns": {"a": 1}}',
     '{"index_columns": [["a"], 3, null]}', '{"info": {"features": {"label": {"names": 3}}}}',
     '{"info": {"features": {"label": {"names": [1, 2, 3]}}}}',
     '{"info": {"features": {"label": {"names": ["a", "a", "b"]}}}}',
     "[1, -4]", "[2.0, 2]", "[true, 4]", "[1e400]", "[" * 100_000, "9" * 5000, "\ud800"],
)  # fmt: skip
def test_metadata_of_any_shape_are_read_or_refused(tmp_path: Path, key: str, text: str) -> None:
    lists = pa.array(list(RANDOM.integers(0, 256, (N, 4), dtype=np.uint8)), pa.list_(pa.uint8()))
    metadata = {key.encode(): text.encode(errors="surrogatepass")}
    path = write(tmp_path / "own.parquet", metadata, values=lists)
    try:
        data = loaded(path)
    except InputError:
        assert "metadata" in refusal(path)
    else:
        assert data.example_shape == (2, 2)
