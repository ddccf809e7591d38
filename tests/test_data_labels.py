"""Labels: missing labels, what can be a class, and splits with rare classes."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_files import LABELS, N, loaded, refusal, savez
from ffnet.data import split
from ffnet.data.dataset import DataSet, Part
from ffnet.data.load import load
from ffnet.errors import InputError
from ffnet.run import provenance
from ffnet.spec.sections import Data

X = np.stack([np.arange(N), np.arange(N) ** 2 % 37], axis=1).astype(np.float32)


def table(folder: Path, labels: Any, name: str = "own") -> Path:
    path = folder / f"{name}.parquet"
    pq.write_table(pa.table({"a": X[:, 0], "b": X[:, 1], "label": labels}), path)
    return path


def archive(folder: Path, y: Any, **arrays: Any) -> Path:
    return savez(folder / "own.npz", x=X, y=y, **arrays)


def of_example(data: DataSet) -> dict[tuple[float, ...], str]:
    """Return {features of an example: its class name}."""
    parts = [part for part in (data.train, data.validation, data.test) if part]
    return {
        tuple(np.round(x * data.std + data.mean, 2)): data.classes[y]
        for part in parts
        for x, y in zip(part.x, part.y, strict=True)
    }


def assert_classes(data: DataSet, names: Any) -> None:
    """Check that each example has the class of its row in the file."""
    rows = zip(X.astype(float), names, strict=True)
    assert of_example(data) == {tuple(np.round(x, 2)): str(name) for x, name in rows}


# --- missing -------------------------------------------------------------------------------------

GAPS = [7, 8, 31]


def gappy(values: Any, gap: Any = None) -> list[Any]:
    return [gap if i in GAPS else value for i, value in enumerate(values)]


def one_hot(dtype: Any, width: int = 3) -> Any:
    return np.eye(width, dtype=dtype)[LABELS]


WORDS = [["ant", "bee", "cow"][i] for i in LABELS]
WITH_GAPS = {
    "text": lambda: pa.array(gappy(WORDS)),
    "large text": lambda: pa.array(gappy(WORDS), pa.large_string()),
    "empty text": lambda: pa.array(gappy(WORDS, "")),
    "None as text": lambda: pa.array(gappy(WORDS, "None")),
    "NA as text": lambda: pa.array(gappy(WORDS, "<NA>")),
    "NaT as bytes": lambda: pa.array(gappy([w.encode() for w in WORDS], b"NaT")),
    "category of None": lambda: pa.array(gappy(WORDS, "None")).dictionary_encode(),
    "text views": lambda: pa.array(gappy(WORDS), pa.string_view()),
    "nan as text": lambda: pa.array(gappy(WORDS, "nan")),
    "bytes": lambda: pa.array(gappy([w.encode() for w in WORDS]), pa.binary()),
    "dictionary": lambda: pa.array(gappy(WORDS)).dictionary_encode(),
    "int64": lambda: pa.array(gappy(LABELS.tolist())),
    "int8": lambda: pa.array(gappy(LABELS.tolist()), pa.int8()),
    "uint8": lambda: pa.array(gappy(LABELS.tolist()), pa.uint8()),
    "bool": lambda: pa.array(gappy((LABELS == 1).tolist())),
    "float null": lambda: pa.array(gappy(LABELS.tolist()), pa.float64()),
    "float NaN": lambda: pa.array(gappy(LABELS.tolist(), np.nan), pa.float64(), from_pandas=False),
    "float32 NaN": lambda: pa.array(np.array(gappy(LABELS.tolist(), np.nan), np.float32)),
    "decimal": lambda: pa.array(gappy(LABELS.tolist())).cast(pa.decimal128(20, 0)),
    "one-hot": lambda: pa.array(gappy(one_hot(int).tolist())),
    "one-hot of nulls": lambda: pa.array(gappy(one_hot(int).tolist(), [None] * 3)),
    "one-hot of NaN": lambda: pa.array(gappy(one_hot(float).tolist(), [np.nan] * 3)),
    "one-hot large": lambda: pa.array(gappy(one_hot(int).tolist()), pa.large_list(pa.int8())),
    "one-hot fixed": lambda: pa.array(gappy(one_hot(bool).tolist()), pa.list_(pa.bool_(), 3)),
    "lists of one": lambda: pa.array(gappy([[w] for w in WORDS], [None])),
    "pandas Int64": lambda: pa.array(pd.array(gappy(LABELS.tolist()), dtype="Int64")),
    "pandas boolean": lambda: pa.array(pd.array(gappy((LABELS == 1).tolist()), dtype="boolean")),
    "pandas string": lambda: pa.array(pd.array(gappy(WORDS), dtype="string")),
    "pandas category": lambda: pa.array(pd.Categorical(gappy(WORDS))),
    "pandas object": lambda: pa.array(pd.Series(gappy(WORDS, np.nan), dtype=object)),
}  # fmt: skip


@pytest.mark.parametrize("kind", WITH_GAPS)
def test_missing_labels_are_refused_or_left_out(tmp_path: Path, kind: str) -> None:
    path = table(tmp_path, WITH_GAPS[kind]())
    message = refusal(path)
    assert "Given: 3 of 60 rows have none, the first is row 7 (counted from 0)" in message
    assert "with drop_unlabelled = true" in message
    data = loaded(path, drop_unlabelled=True)
    assert data.unlabelled == {"train": 3}
    assert len(data.classes) == (2 if "bool" in kind else 3)
    kept = {tuple(np.round(x, 2)) for i, x in enumerate(X.astype(float)) if i not in GAPS}
    assert of_example(data).keys() == kept
    assert provenance.new_study_json({}, data, 1)["data"]["unlabelled"] == {"train": 3}


@pytest.mark.parametrize(
    "y",
    [
        np.array(gappy(LABELS.tolist(), np.nan)),
        np.array(gappy(LABELS.tolist(), np.nan), np.float16),
        np.array(gappy(WORDS, "")),
        np.array(gappy(WORDS, np.nan)),  # NumPy writes the text nan
        np.array(gappy([w.encode() for w in WORDS], b"")),
        np.array(gappy(WORDS)).astype(str),  # NumPy writes the text None
        np.array(gappy(one_hot(float).tolist(), [np.nan] * 3)),
    ],
)
def test_missing_labels_in_arrays_are_refused_or_left_out(tmp_path: Path, y: Any) -> None:
    path = archive(tmp_path, y)
    assert "Given: 3 of 60 rows have none, the first is row 7" in refusal(path)
    data = loaded(path, drop_unlabelled=True)
    assert len(of_example(data)) == N - 3
    assert len(data.classes) == 3


def test_a_row_left_out_may_lack_features_too(tmp_path: Path) -> None:
    x = X.astype(np.float64)
    x[GAPS] = np.nan
    pq.write_table(
        pa.table({"a": x[:, 0], "b": x[:, 1], "label": gappy(WORDS)}), tmp_path / "own.parquet"
    )
    assert len(of_example(loaded(tmp_path / "own.parquet", drop_unlabelled=True))) == N - 3


def test_missing_labels_of_a_second_file_are_named_with_it(tmp_path: Path) -> None:
    table(tmp_path, pa.array(WORDS), "train-0")
    table(tmp_path, pa.array(gappy(WORDS)), "train-1")
    assert "train-1.parquet, column label: each row needs a label" in refusal(tmp_path)
    data = loaded(tmp_path, drop_unlabelled=True)
    assert data.unlabelled == {"train": 3}


def test_missing_labels_of_a_format_without_gaps_are_refused_too(tmp_path: Path) -> None:
    images = struct.pack(">HBB3I", 0, 8, 3, N, 2, 2) + bytes(range(4 * N))
    labels = struct.pack(">HBBI", 0, 0x0D, 1, N) + np.array(gappy(LABELS, np.nan), ">f4").tobytes()
    (tmp_path / "train-images-idx3-ubyte").write_bytes(images)
    (tmp_path / "train-labels-idx1-float").write_bytes(labels)
    message = refusal(tmp_path, drop_unlabelled=True)
    assert "Given: 3 of 60 rows have none, the first is row 7" in message


def test_a_file_without_any_label_is_refused(tmp_path: Path) -> None:
    table(tmp_path, pa.array(WORDS), "train")
    table(tmp_path, pa.nulls(N), "test")
    assert "60 of 60 rows have none, the first is row 0" in refusal(tmp_path)
    assert "test.parquet: no example has a label" in refusal(tmp_path, drop_unlabelled=True)


# --- what is a class -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array(["a", "b", "c"])[LABELS], ["a", "b", "c"]),
        (np.array([b"a", b"b", b"c"])[LABELS], ["a", "b", "c"]),
        (LABELS, ["0", "1", "2"]),
        (LABELS.astype(np.uint8), ["0", "1", "2"]),
        (LABELS + 1, ["1", "2", "3"]),
        (LABELS - 1, ["-1", "0", "1"]),
        (LABELS * 50, ["0", "50", "100"]),
        (LABELS + 2**62, [str(2**62), str(2**62 + 1), str(2**62 + 2)]),
        (LABELS * 1.0, ["0", "1", "2"]),
        (LABELS.astype(np.float16), ["0", "1", "2"]),
        (LABELS == 1, ["False", "True"]),
    ],
)
def test_a_label_whose_meaning_is_certain_is_a_class(
    tmp_path: Path, labels: Any, names: list[str]
) -> None:
    expected = [str(v.decode() if isinstance(v, bytes) else v) for v in labels.tolist()]
    expected = [v.removesuffix(".0") for v in expected]
    for path in (archive(tmp_path, labels), table(tmp_path, pa.array(labels))):
        data = loaded(path)
        assert data.classes == tuple(names)
        assert_classes(data, expected)
    assert loaded(archive(tmp_path, labels[:, None])).classes == tuple(names)


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        (["ant", "bee", "cow"], ["ant", "bee", "cow"]),
        (["1", "2", "3"], ["1", "2", "3"]),
        (["-1", "0", "10"], ["-1", "0", "10"]),
        (["1.0", "2.0", "3.0"], ["1", "2", "3"]),
        (["true", "false", "true"], ["false", "true"]),
        (["01", "02", "10"], ["01", "02", "10"]),
        (["9" * 20, "8" * 20, "7" * 20], ["7" * 20, "8" * 20, "9" * 20]),
        (["1", "a", "3"], ["1", "3", "a"]),
        (["[25.000-30.000)", "75.000-", "-10.000)"], ["-10.000)", "75.000-", "[25.000-30.000)"]),
    ],
)
def test_the_labels_of_a_csv_file_are_classes(
    tmp_path: Path, cells: list[str], names: list[str]
) -> None:
    rows = [f"{x[0]},{x[1]},{cells[i]}" for x, i in zip(X + 0.25, LABELS, strict=True)]
    path = tmp_path / "own.csv"
    path.write_text("\n".join(["a,b,label", *rows]))
    data = loaded(path)
    assert data.classes == tuple(names)
    assert len(data.train) + len(data.validation) + len(data.test or []) == N


def test_whole_numbers_and_floats_of_python_are_labels_of_one_kind() -> None:
    y = np.array([1 if i else 2.0 for i in LABELS], object)
    assert load(Data(), (X, y)).classes == ("1", "2")
    y[0] = True
    with pytest.raises(
        InputError,
        match=r"Given: bool in row 0 .* and float in row 3 .* and int in row 1 ",
    ):
        load(Data(), (X, y))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, bool])
def test_one_hot_labels_are_classes(tmp_path: Path, dtype: Any) -> None:
    y = one_hot(dtype)
    assert_classes(loaded(archive(tmp_path, y)), LABELS)
    assert_classes(loaded(table(tmp_path, pa.array(y.tolist()))), LABELS)
    for wrong in (1, 0):
        y[7] = wrong
        for path in (archive(tmp_path, y), table(tmp_path, pa.array(y.tolist()))):
            message = refusal(path, drop_unlabelled=True)
            assert "or one-hot rows with a single 1. Given: labels of (60, 3), row 7" in message


def test_a_one_hot_row_that_is_half_missing_is_refused_by_its_row(tmp_path: Path) -> None:
    y = gappy(one_hot(int).tolist())  # whole nulls stand before it
    y[9] = [1, 0, None]
    message = refusal(table(tmp_path, pa.array(y)), drop_unlabelled=True)
    assert "row 9 (counted from 0) has 1.0, 0.0, nan" in message


def test_lists_of_labels_of_different_lengths_are_refused_by_their_row(tmp_path: Path) -> None:
    y = gappy(one_hot(int).tolist())
    y[9] = [1, 0]
    message = refusal(table(tmp_path, pa.array(y)))
    assert "Given: 3 values in row 0 (counted from 0) and 2 in row 9" in message
    assert "complete" not in message


@pytest.mark.parametrize(
    ("train", "other", "words"),
    [
        (one_hot(int), one_hot(int, 4), ("one-hot rows of width 3", "one-hot rows of width 4")),
        (one_hot(int), LABELS, ("one-hot rows of width 3", "whole numbers")),
        (LABELS[:, None], one_hot(float), ("whole numbers", "one-hot rows of width 3")),
        (np.array(WORDS), one_hot(bool), ("text", "one-hot rows of width 3")),
    ],
)
def test_one_hot_labels_of_two_widths_or_beside_others_are_refused(
    tmp_path: Path, train: Any, other: Any, words: tuple[str, str]
) -> None:
    message = refusal(archive(tmp_path, train, x_val=X, y_val=other))
    assert f"Given: {words[0]} in " in message
    assert f"array y, {words[1]} in " in message
    assert "array y_val; write all in the same way" in message
    (tmp_path / "own.npz").unlink()
    for second in ("train-1", "test"):
        table(tmp_path, pa.array(train.tolist()), "train-0")
        path = table(tmp_path, pa.array(other.tolist()), second)
        message = refusal(tmp_path)
        assert all(f"{form} in " in message for form in words)
        assert f"{second}.parquet" in message
        path.unlink()


@pytest.mark.parametrize("label", ["a\0", "\0a", "a\n", "a\x1b[31m", "a\x85"])
def test_labels_with_control_characters_are_refused(tmp_path: Path, label: str) -> None:
    y = [label if i == 7 else word for i, word in enumerate(["a", "b"] * (N // 2))]
    for values in (pa.array(y), pa.array([v.encode() for v in y]), pa.array(y).dictionary_encode()):
        message = refusal(table(tmp_path, values))
        assert "labels must have no control characters" in message
        assert f"Given: {label!r}" in message
    if not label.endswith("\0"):  # NumPy does not keep that
        assert f"Given: {label!r}" in refusal(archive(tmp_path, np.array(y)))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (LABELS + 0.5, "Given: the number 0.5"),
        (np.where(LABELS == 1, np.inf, 0), "Given: the number inf"),
        (LABELS + 2.0**60, "Given: the number 1.15"),
        (LABELS.astype(complex), "Given: complex128"),
        (LABELS.astype("datetime64[s]"), "Given: datetime64[s]"),
        (np.full((N, 2, 2), 1), "Given: labels of (60, 2, 2)"),
        (np.array([b"\xff", b"a"])[LABELS % 2], "must be text in UTF-8"),
        (np.array(["a" * 300, "b"])[LABELS % 2], "up to 200 characters. Given: a label of 300"),
        (np.uint64(2**63) + LABELS.astype(np.uint64), "must be below 2^63"),
    ],
)
def test_labels_that_can_be_no_classes_are_refused(tmp_path: Path, labels: Any, words: str) -> None:
    message = refusal(archive(tmp_path, labels))
    assert words in message
    assert "label" in message


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        (LABELS, np.array(WORDS), "Given: whole numbers in"),
        (LABELS, LABELS == 1, "true or false in"),
        (np.array(WORDS), LABELS.astype(bool), "Given: text in"),
    ],
)
def test_labels_of_different_kinds_are_refused(
    tmp_path: Path, train: Any, test: Any, words: str
) -> None:
    message = refusal(archive(tmp_path, train, x_test=X, y_test=test))
    assert "labels must be of one kind everywhere" in message
    assert words in message
    table(tmp_path, pa.array(train), "train-0")
    table(tmp_path, pa.array(test), "train-1")
    (tmp_path / "own.npz").unlink()
    assert "labels must be of one kind everywhere" in refusal(tmp_path)


@pytest.mark.parametrize("part", ["test", "val"])
@pytest.mark.parametrize("labels", [LABELS, np.array(["a", "b", "c"])[LABELS]])
def test_a_class_that_training_lacks_is_refused(tmp_path: Path, part: str, labels: Any) -> None:
    other = labels.copy()
    other[[5, 9]] = 9
    message = refusal(archive(tmp_path, labels, **{f"x_{part}": X, f"y_{part}": other}))
    assert "a class of the training part" in message
    assert "Given: 9 in 2 rows" in message


def test_a_file_sorted_by_class_is_not_split_at_its_end(tmp_path: Path) -> None:
    path = archive(tmp_path, np.sort(LABELS))
    message = refusal(path, split="last", test=20)
    assert "each class needs an example in the training part. Given: 2 in test only" in message
    assert loaded(path, test=20).describe()


# --- rare classes --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_class_of_one_or_two_examples_stays_in_training(tmp_path: Path, seed: int) -> None:
    y = np.where(np.arange(N) == 17, 2, np.where(np.isin(np.arange(N), [3, 44]), 3, LABELS % 2))
    data = loaded(archive(tmp_path, y), split_seed=seed, test=0.3, validation=0.4)
    assert set(data.train.y) == {0, 1, 2, 3}
    assert data.test
    assert [len(p) for p in (data.train, data.validation, data.test)] == [18, 24, 18]
    assert_classes(data, y)


def test_a_split_that_leaves_no_example_of_a_class_is_refused() -> None:
    part = Part(np.zeros((6, 1)), np.arange(6, dtype=np.int32) // 2)
    rest, drawn = split.stratified(3, part, 0)
    assert (sorted(rest.y), sorted(drawn.y)) == ([0, 1, 2], [0, 1, 2])
    with pytest.raises(InputError, match="Given: 4 of 6 examples drawn, 3 classes; draw fewer"):
        split.stratified(4, part, 0)
