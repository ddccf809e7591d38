"""Data given from Python give the same data set as a file with the same content, bit by bit."""

import dataclasses
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_files import LABELS, RANDOM, N, loaded, savez
from ffnet.data import given
from ffnet.data.dataset import DataSet
from ffnet.data.load import load
from ffnet.errors import InputError
from ffnet.run import provenance
from ffnet.spec.sections import Data
from test_data_labels import WITH_GAPS

X = RANDOM.normal(size=(N, 4))
WORDS = np.array(["ant", "bee", "cow"])[LABELS]
PIXELS = RANDOM.integers(0, 256, (N, 5, 5), dtype=np.uint8)


def refusal(value: Any, **fields: Any) -> str:
    """Return the message with which the data are refused: a single line without a path."""
    with pytest.raises(InputError) as caught:
        load(Data(**fields), value)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 500
    assert "/" not in message
    return message


def assert_same(one: DataSet, other: DataSet) -> None:
    """Check that two data sets are equal to the bit, except for their source."""
    for field in dataclasses.fields(DataSet):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name in ("train", "validation", "test"):
            assert a.x.dtype == b.x.dtype
            assert a.x.shape == b.x.shape
            assert a.x.tobytes() == b.x.tobytes()
            assert a.y.tobytes() == b.y.tobytes()
        elif field.name in ("mean", "std"):
            assert a.dtype == b.dtype
            assert a.tobytes() == b.tobytes()
        elif field.name not in ("name", "source", "digest"):
            assert a == b, field.name


# --- arrays as in npz ----------------------------------------------------------------------------

EXAMPLES = {
    "pixels": PIXELS,
    "colour": RANDOM.integers(0, 256, (N, 4, 4, 3), dtype=np.uint8),
    "float64": X,
    "float32": X.astype(np.float32),
    "float32 in float64": np.round(X * 8) / 8,
    "close times": 1_700_000_000 + 40 * LABELS[:, None] + np.arange(N)[:, None] % 3,
    "whole": np.arange(N * 2).reshape(N, 2),
    "bool": X > 0,
    "a constant": np.stack([np.full(N, 0.1), X[:, 0]], axis=1),
    "big-endian": X.astype(">f8"),
    "images of floats": RANDOM.normal(size=(N, 3, 3, 2)),
}
TARGETS = {
    "int64": LABELS,
    "uint8": LABELS.astype(np.uint8),
    "float": LABELS.astype(float),
    "text": WORDS,
    "bytes": WORDS.astype("S"),
    "bool": LABELS == 1,
    "column": LABELS[:, None],
    "one-hot": np.eye(3)[LABELS],
}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_examples_are_read_as_from_npz(tmp_path: Path, kind: str) -> None:
    x = EXAMPLES[kind]
    assert_same(load(Data(), (x, LABELS)), loaded(savez(tmp_path / "own.npz", x=x, y=LABELS)))


@pytest.mark.parametrize("kind", TARGETS)
def test_labels_are_read_as_from_npz(tmp_path: Path, kind: str) -> None:
    y = TARGETS[kind]
    assert_same(load(Data(), (X, y)), loaded(savez(tmp_path / "own.npz", x=X, y=y)))


@pytest.mark.parametrize(
    "fields",
    [
        {"validation": 7, "test": 0.3},
        {"split_seed": 5},
        {"split": "last"},
        {"validation": 0.25, "split_seed": 9},
    ],
)
def test_the_split_is_that_of_a_file(tmp_path: Path, fields: Any) -> None:
    path = savez(tmp_path / "own.npz", x=X, y=WORDS)
    assert_same(load(Data(**fields), (X, WORDS)), loaded(path, **fields))
    table = pa.table({"a": X[:, 0], "b": X[:, 1], "label": WORDS})
    pq.write_table(table, tmp_path / "own.parquet")
    assert_same(load(Data(**fields), table), loaded(tmp_path / "own.parquet", **fields))


@pytest.mark.parametrize("scaling", ["standard", "unit"])
def test_pixels_are_scaled_as_those_of_a_file(tmp_path: Path, scaling: str) -> None:
    path = savez(tmp_path / "own.npz", x=PIXELS, y=LABELS)
    data = load(Data(scaling=scaling), (PIXELS, LABELS))
    assert_same(data, loaded(path, scaling=scaling))
    assert data.dtype == "uint8"


def test_parts_are_those_of_a_file(tmp_path: Path) -> None:
    cut = {"train": slice(0, 40), "val": slice(40, 50), "test": slice(50, N)}
    arrays = {f"{name}_{p}": v[s] for p, s in cut.items() for name, v in (("x", X), ("y", WORDS))}
    of_file = loaded(savez(tmp_path / "own.npz", **arrays))
    data = load(Data(), {p: (X[s], WORDS[s]) for p, s in cut.items()})
    assert_same(data, dataclasses.replace(of_file, target="y"))
    del arrays["x_val"], arrays["y_val"]
    of_file = loaded(savez(tmp_path / "own.npz", **arrays))
    data = load(Data(), {p: (X[s], WORDS[s]) for p, s in cut.items() if p != "val"})
    assert_same(data, dataclasses.replace(of_file, target="y"))


def test_lists_and_tensors_are_arrays() -> None:
    class Tensor:
        """A value that NumPy can turn into an array, like the tensors of TensorFlow and PyTorch."""

        def __init__(self, values: Any) -> None:
            self.values = values

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return self.values

    expected = load(Data(), (X, WORDS))
    for pair in (
        (X.tolist(), WORDS.tolist()),
        [X, list(WORDS)],
        (Tensor(X), Tensor(WORDS)),
        (X, WORDS.astype(object)),
        (X, pa.array(WORDS)),
        (X, pa.chunked_array([pa.array(WORDS[:9]), pa.array(WORDS[9:])]).dictionary_encode()),
        (X, pd.Series(WORDS, index=range(N, 0, -1))),
        (X, pd.Series(WORDS, dtype="category")),
        (X, pd.DataFrame({"y": WORDS})),
    ):
        data = load(Data(), pair)
        assert_same(data, expected)
        assert data.digest == expected.digest


# --- tables as in Parquet ------------------------------------------------------------------------


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "age": np.arange(N, dtype=np.int16),
            "height": X[:, 0],
            "member": LABELS > 0,
            "size": pd.array([i % 7 for i in range(N)], dtype="Int64"),
            "small": X[:, 1].astype(np.float32),
            "level": pd.Categorical([i % 4 for i in range(N)]),
            "kind": pd.Categorical(WORDS),
        }
    )


FRAMES: dict[str, Callable[[], pd.DataFrame]] = {
    "plain": frame,
    "shuffled": lambda: frame().sample(frac=1, random_state=0),
    "named index": lambda: frame().sample(frac=1, random_state=0).rename_axis("row"),
    "two indices": lambda: frame().set_index([frame().index, pd.Index(range(N), name="second")]),
    "dates": lambda: frame().set_index(pd.date_range("2020", periods=N, name="when")),
    "bytes": lambda: pd.DataFrame({"a": np.arange(N, dtype=np.uint8), "kind": WORDS}),
    "lists": lambda: pd.DataFrame({"values": list(X), "kind": WORDS}),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_is_read_as_its_parquet_file(tmp_path: Path, name: str) -> None:
    table = FRAMES[name]()
    table.to_parquet(tmp_path / "own.parquet")
    of_file = loaded(tmp_path / "own.parquet", target="kind")
    before = table.copy(deep=True)
    data = load(Data(target="kind"), table)
    assert_same(data, of_file)
    pd.testing.assert_frame_equal(table, before)
    assert_same(load(Data(target="kind"), pa.Table.from_pandas(table)), of_file)
    assert_same(load(Data(target="kind"), pa.RecordBatch.from_pandas(table)), of_file)
    assert_same(load(Data(), (table.drop(columns="kind"), table["kind"])), of_file)
    assert_same(
        load(Data(target="kind"), (table.drop(columns="kind"), table["kind"].to_numpy())), of_file
    )


class Foreign:
    """A table of another library, which has only Arrow's C interface."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


def test_a_table_of_any_library_of_arrow_is_read() -> None:
    table = pa.table({"a": X[:, 0], "b": X[:, 1], "kind": WORDS})
    expected = load(Data(target="kind"), table)
    for same in (Foreign(table), table.to_reader(), table.to_batches()[0]):
        data = load(Data(target="kind"), same)
        assert_same(data, expected)
        assert data.digest == expected.digest
    pair = (Foreign(table.select(["a", "b"])), Foreign(table["kind"]))
    assert_same(load(Data(target="kind"), pair), expected)


def test_parts_of_tables_are_those_of_files(tmp_path: Path) -> None:
    parts = {"train": frame()[:40], "validation": frame()[40:50], "test": frame()[50:]}
    for name, part in parts.items():
        part.to_parquet(tmp_path / f"{name}.parquet")
    of_files = loaded(tmp_path, target="kind")
    assert_same(load(Data(target="kind"), parts), of_files)
    pairs = {name: (part.drop(columns="kind"), part["kind"]) for name, part in parts.items()}
    assert_same(load(Data(), pairs), of_files)


def test_a_column_of_encoded_images_is_decoded(tmp_path: Path) -> None:
    encoded = []
    for pixels in PIXELS:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        encoded.append({"bytes": file.getvalue(), "path": None})
    table = pa.table({"image": encoded, "label": LABELS})
    pq.write_table(table, tmp_path / "own.parquet")
    data = load(Data(), table)
    assert data.example_shape == (5, 5)
    assert_same(data, loaded(tmp_path / "own.parquet"))


@pytest.mark.parametrize("kind", WITH_GAPS)
def test_missing_labels_are_those_of_a_file(tmp_path: Path, kind: str) -> None:
    column = WITH_GAPS[kind]()
    table = pa.table({"a": X[:, 0], "b": X[:, 1], "label": column})
    pq.write_table(table, tmp_path / "own.parquet")
    words = "Given: 3 of 60 rows have none, the first is row 7 (counted from 0)"
    assert words in refusal(table)
    of_file = loaded(tmp_path / "own.parquet", drop_unlabelled=True)
    assert_same(load(Data(drop_unlabelled=True), table), of_file)
    as_lists = (
        [column.to_pylist()] if "one-hot" not in kind else []
    )  # NumPy refuses None among them
    for y in (column, table["label"], column.to_pandas(), *as_lists):
        assert words in refusal((X[:, :2], y))
        data = load(Data(drop_unlabelled=True), (table.select(["a", "b"]), y))
        assert_same(data, dataclasses.replace(of_file, target=data.target))
        data = load(Data(drop_unlabelled=True), (X[:, :2], y))
        assert data.unlabelled == {"train": 3}
        assert data.train.x.tobytes() == of_file.train.x.tobytes()
        assert data.train.y.tobytes() == of_file.train.y.tobytes()
        assert data.classes == of_file.classes


# --- what is told of the data --------------------------------------------------------------------


def test_the_study_says_that_the_data_were_given() -> None:
    data = load(Data(), (X, WORDS))
    assert data.describe() == "given: 42/9/9 train/validation/test, 4, 3 classes"
    assert data.source == "given from Python: arrays"
    data = load(Data(target="kind"), frame())
    assert data.source == "given from Python: a table"
    assert "features age, height, member, size, small, level; target kind" in data.describe()


def test_the_callers_arrays_are_neither_changed_nor_copied() -> None:
    x = PIXELS.copy()
    x.flags.writeable = False
    assert np.shares_memory(load(Data(split="last"), (x, LABELS)).train.x, x)
    for dtype in (np.float32, np.float64):
        x = X.astype(dtype)
        before = x.copy()
        x.flags.writeable = False
        load(Data(), (x, LABELS))
        assert (x == before).all()


def digest(value: Any, **fields: Any) -> str:
    return load(Data(**fields), value).digest


def test_the_digest_is_of_the_content_alone() -> None:
    expected = digest((X, WORDS))
    wide = np.zeros((N, 8))
    wide[:, ::2] = X
    for x in (np.asfortranarray(X), wide[:, ::2], X[::-1].copy()[::-1], X.astype(">f8")):
        assert digest((x, WORDS)) == expected
    for y in (WORDS.astype("U30"), WORDS.astype(object), WORDS.tolist(), pd.Series(WORDS)):
        assert digest((X, y)) == expected
    table = frame()
    expected = digest(table, target="kind")
    assert digest(table.assign(kind=WORDS), target="kind") == expected
    assert digest(table.iloc[::-1].copy()[::-1], target="kind") == expected
    chunks = pa.concat_tables([pa.Table.from_pandas(table[:9]), pa.Table.from_pandas(table[9:])])
    assert digest(chunks, target="kind") == expected


def test_the_digest_tells_one_content_from_another() -> None:
    other = X.copy()
    other[7, 2] = np.nextafter(other[7, 2], 1)
    small = X.astype(np.float32)
    table = frame()
    digests = [
        digest((X, WORDS)), digest((other, WORDS)), digest((small, WORDS)), digest((X, LABELS)),
        digest((X.reshape(N, 2, 2), WORDS)), digest((X[::-1], WORDS)), digest((X, WORDS[::-1])),
        digest({"train": (X[:40], WORDS[:40]), "test": (X[40:], WORDS[40:])}),
        digest({"train": (X[:40], WORDS[:40]), "validation": (X[40:], WORDS[40:])}),
        digest(table, target="kind"), digest(table.rename(columns={"age": "Age"}), target="kind"),
        digest(table[table.columns[::-1]], target="kind"),
        digest((X, [None, *WORDS[1:]]), drop_unlabelled=True), digest((X[1:], WORDS[1:])),
    ]  # fmt: skip
    assert len(set(digests)) == len(digests)


def test_another_process_finds_the_same_digest() -> None:
    program = (
        "import numpy as np; from ffnet.data.load import load;"
        "from ffnet.spec.sections import Data;"
        "y = np.array(['ant', 'bee'] * 10, object); x = np.arange(40.0).reshape(20, 2);"
        "print(load(Data(), (x, y)).digest)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    x, y = np.arange(40.0).reshape(20, 2), np.array(["ant", "bee"] * 10)
    assert done.stdout.decode().strip() == digest((x, y))


def test_a_run_goes_on_with_the_same_data_only() -> None:
    before = json.loads(json.dumps(provenance.about(load(Data(), (X, WORDS)))))
    provenance.check_data(before, load(Data(), (np.asfortranarray(X), list(WORDS))), "the run")
    with pytest.raises(InputError, match=r"the data must be those of the run.*given from Python"):
        provenance.check_data(before, load(Data(), (X + 1, WORDS)), "the run")


# --- names ---------------------------------------------------------------------------------------


def test_a_frame_whose_index_is_that_of_its_labels_may_be_in_any_order() -> None:
    shuffled = frame().sample(frac=1, random_state=0)
    data = load(Data(), (shuffled.drop(columns="kind"), shuffled["kind"]))
    assert data.target == "kind"
    assert_same(data, load(Data(target="kind"), shuffled))


def test_labels_of_arrays_may_be_given_a_name() -> None:
    assert load(Data(target="kind"), (X, WORDS)).target == "kind"
    numbered = pd.DataFrame(X).assign(y=WORDS)
    assert load(Data(), numbered).columns == ("0", "1", "2", "3")


# --- a study beside the data ---------------------------------------------------------------------


def test_the_study_then_says_given() -> None:
    assert given.as_given(Data()).dataset == "given"
    assert given.as_given(Data(dataset="digits", validation=7)) == Data(
        dataset="given", validation=7
    )
    assert given.as_given(Data(dataset="given")) == Data(dataset="given")
