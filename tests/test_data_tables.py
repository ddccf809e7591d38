"""Tables: columns by name, the label column, missing values."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_files import LABELS, RANDOM, N, loaded, original, refusal, savez, write
from ffnet.run import provenance

# --- columns by name -----------------------------------------------------------------------------


def test_columns_in_another_order_are_aligned_in_every_part_and_file(tmp_path: Path) -> None:
    a = np.arange(N) * 1.0
    for name, order in {
        "train-0": "a b label", "train-1": "label b a", "test": "b label a", "val": "b a label",
    }.items():  # fmt: skip
        columns: dict[str, Any] = {"a": a, "b": a + 1000, "label": LABELS}
        columns = {column: columns[column] for column in order.split()} | {"extra": range(N)}
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
        a = a + 0.25
    data = loaded(tmp_path)
    assert data.columns == ("a", "b", "extra")
    x = original(data)
    np.testing.assert_allclose(x[:, 1] - x[:, 0], 1000, atol=1e-3)
    assert "; features a, b, extra; target label" in data.describe()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"b": None}, "without b"),
        ({"c": LABELS}, "with c"),
        ({"b": None, "B": LABELS}, "without b and with B"),
        ({"label": None, "y": LABELS}, "without label and with y"),
        ({"b": np.array(["1"] * N)}, "column b must hold numbers. Given: string, but double in"),
    ],
)
def test_other_columns_in_a_part_or_a_file_are_refused_by_name(
    tmp_path: Path, other: Any, words: str
) -> None:
    write(tmp_path / "train-0.parquet")
    write(tmp_path / "train-1.parquet", **other)
    assert words in refusal(tmp_path)
    (tmp_path / "train-1.parquet").rename(tmp_path / "test.parquet")
    assert words in refusal(tmp_path)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(range(N))] * 2 + [pa.array(LABELS)], ["a", "a", "label"])
    pq.write_table(table, tmp_path / "own.parquet")
    assert "different names. Given twice: a" in refusal(tmp_path / "own.parquet")


def frames() -> dict[str, pd.DataFrame]:
    frame = pd.DataFrame({"a": np.arange(N) * 1.0, "b": RANDOM.normal(size=N), "label": LABELS})
    shuffled = frame.sample(frac=1, random_state=0)
    return {
        "range": frame,
        "shuffled": shuffled,
        "named": shuffled.rename_axis("row"),
        "two": shuffled.set_index([shuffled.index, pd.Index(range(N), name="second")]),
        "dates": frame.set_index(pd.date_range("2020", periods=N, name="when")),
    }


@pytest.mark.parametrize("name", frames())
def test_an_index_of_pandas_is_no_feature(tmp_path: Path, name: str) -> None:
    frames()[name].to_parquet(tmp_path / "own.parquet")
    assert loaded(tmp_path / "own.parquet").columns == ("a", "b")


def test_an_index_without_its_metadata_is_no_feature(tmp_path: Path) -> None:
    frames()["shuffled"].to_parquet(tmp_path / "own.parquet")
    table = pq.read_table(tmp_path / "own.parquet").replace_schema_metadata(None)
    pq.write_table(table, tmp_path / "own.parquet")
    assert "__index_level_0__" in table.column_names
    assert loaded(tmp_path / "own.parquet").columns == ("a", "b")


def test_row_numbers_that_a_csv_file_kept_are_left_out(tmp_path: Path) -> None:
    frames()["shuffled"].to_csv(tmp_path / "own.csv")
    pd.read_csv(tmp_path / "own.csv").to_parquet(tmp_path / "own.parquet")
    data = loaded(tmp_path / "own.parquet")
    assert (data.columns, data.unused) == (("a", "b"), ("Unnamed: 0",))
    assert data.notes[0].startswith("left out: column 'Unnamed: 0', as it has no name")
    twice = pd.read_csv(tmp_path / "own.csv").rename(columns={"Unnamed: 0": "Unnamed: 0.1"})
    twice.to_parquet(tmp_path / "own.parquet")
    assert loaded(tmp_path / "own.parquet").unused == ("Unnamed: 0.1",)


@pytest.mark.parametrize("name", ["two", "shuffled"])
def test_an_index_that_became_a_column_is_left_out(tmp_path: Path, name: str) -> None:
    frame = frames()[name].rename_axis([None, None] if name == "two" else None).reset_index()
    columns = ("level_0", "level_1") if name == "two" else ("index",)
    path = tmp_path / "own.parquet"
    frame.to_parquet(path)
    data = loaded(path)
    assert (data.columns, data.unused) == (("a", "b"), columns)
    for column, note in zip(columns, data.notes, strict=True):
        assert note.startswith(f"left out: column {column}, as it counts the rows as an index")
    frame.rename(columns={"index": "age", "level_0": "age", "level_1": "size"}).to_parquet(path)
    assert "age" in (loaded(path).columns or ())


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.float32(), pa.decimal128(21, 1)])
@pytest.mark.parametrize("start", [0, 1])
def test_row_numbers_over_parts_and_files_are_left_out(
    tmp_path: Path, kind: Any, start: int
) -> None:
    def numbers(order: Any) -> pa.Array:
        return pa.array((order + start).tolist()).cast(kind)

    order, half = RANDOM.permutation(N), N // 2
    for second in (
        "test",
        "train-2",
    ):  # the rows of all tables are numbered, then those of each table
        for of_files in ((order[:half], order[half:]), (np.arange(half), np.arange(half)[::-1])):
            for name, of_file in zip(("train-1", second), of_files, strict=True):
                columns: dict[str, Any] = {"a": RANDOM.normal(size=half), "b": None}
                columns |= {"label": LABELS[:half], "index": numbers(of_file)}
                write(tmp_path / f"{name}.parquet", **columns)
            assert loaded(tmp_path).unused == ("index",)
        (tmp_path / f"{second}.parquet").unlink()


def test_row_numbers_count_the_rows_that_have_no_label_too(tmp_path: Path) -> None:
    labels = pa.array([None if i == 7 else i % 3 for i in range(N)])
    path = write(tmp_path / "own.parquet", index=np.arange(N), label=labels)
    assert loaded(path, drop_unlabelled=True).unused == ("index",)


def test_an_index_of_something_else_is_a_feature(tmp_path: Path) -> None:
    for values in (LABELS * 10, np.arange(N) + 0.5, np.where(np.arange(N) == 7, 8, np.arange(N))):
        path = write(tmp_path / "own.parquet", index=values)
        assert loaded(path).columns == ("a", "b", "index")
    path = write(tmp_path / "own.parquet", index=with_gap("nan"))
    assert loaded(path).columns == ("a", "b", "index")


def test_a_folders_name_adds_no_column(tmp_path: Path) -> None:
    path = write(tmp_path / "label=7" / "c=1" / "train.parquet")
    assert loaded(path.parent).columns == ("a", "b")
    assert loaded(path.parent).classes == ("0", "1", "2")


# --- the label column ----------------------------------------------------------------------------


def test_of_two_possible_label_columns_none_is_guessed(tmp_path: Path) -> None:
    path = write(tmp_path / "own.parquet", Target=LABELS[::-1].copy())
    assert "labels: label, Target; name it with target" in refusal(path)
    data = loaded(path, target="Target")
    assert data.columns == ("a", "b", "label")
    assert data.target == "Target"
    about = provenance.new_study_json({}, data, 1)["data"]
    assert (about["target"], about["columns"]) == ("Target", ("a", "b", "label"))


def test_a_target_of_any_name_is_used_and_an_absent_one_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "own.parquet", label=None, Outcome=LABELS)
    assert "or the column that target names. Given: a, b, Outcome" in refusal(path)
    assert loaded(path, target="Outcome").columns == ("a", "b")
    assert "one of its columns: a, b, Outcome. Given: outcome" in refusal(path, target="outcome")


def test_a_target_that_can_be_no_label_is_refused(tmp_path: Path) -> None:
    lists = pa.array([[1.0, 2.0]] * N)
    images = pa.array([{"bytes": b"", "path": ""}] * N)
    days = pa.array(list(range(N)), pa.date32())
    path = write(tmp_path / "own.parquet", lists=lists, images=images, days=days)
    assert "one-hot rows with a single 1. Given: labels of (60, 2)" in refusal(path, target="lists")
    assert "Given: struct<bytes: binary, path: string>" in refusal(path, target="images")
    message = refusal(path, target="days")
    assert "or true and false. Given: 1970-01-01 in row 0 (counted from 0), of type date" in message
    assert "the number " in refusal(path, target="b")


def test_an_identifier_is_no_target(tmp_path: Path) -> None:
    path = write(tmp_path / "own.parquet", id=np.arange(N) + 1000)
    message = refusal(path, target="id")
    assert "Given: 60 different labels of 60 examples; name the column with target" in message


def test_a_target_where_nothing_has_a_name_is_refused(fashion_mnist: Path) -> None:
    message = refusal("fashion-mnist", data_dir=str(fashion_mnist), target="label")
    assert "target names a column of a table or an array of npz" in message


def test_few_features_are_named_in_the_first_line_and_many_counted(tmp_path: Path) -> None:
    columns = {f"c{i}": RANDOM.normal(size=N) for i in range(20)}
    line = loaded(write(tmp_path / "own.parquet", **columns)).describe()
    assert line.endswith("c7, c8, c9 and 10 more; target label")
    hostile = {"\x1b[31mred\n" + "x" * 500: LABELS}
    line = loaded(write(tmp_path / "own.parquet", **hostile)).describe()
    assert line.isprintable()
    assert len(line) < 200


def test_columns_beside_a_list_column_are_named_as_not_used(tmp_path: Path) -> None:
    lists = pa.array(list(RANDOM.normal(size=(N, 4))))
    data = loaded(write(tmp_path / "own.parquet", values=lists))
    assert data.example_shape == (4,)
    assert data.describe().endswith("3 classes; not used: a, b")


# --- missing values ------------------------------------------------------------------------------


def with_gap(kind: str) -> pa.Array:
    """Return feature values with a missing value in row 7."""
    values: list[Any] = [i % 50 for i in range(N)]
    values[7] = None
    if kind == "nan":
        return pa.array([float("nan") if v is None else float(v) for v in values])
    if kind == "infinity":
        return pa.array([float("-inf") if v is None else float(v) for v in values])
    if kind == "dictionary":
        return pa.array(values).dictionary_encode()
    if kind == "pandas Int64":
        return pa.array(pd.array(values, dtype="Int64"))
    if kind == "decimal":
        return pa.array([v if v is None else Decimal(v) for v in values], pa.decimal128(10, 2))
    if kind == "bool":
        return pa.array([v if v is None else v > 25 for v in values])
    return pa.array(values, kind)


@pytest.mark.parametrize(
    "kind",
    ["nan", "dictionary", "pandas Int64", "decimal", "bool",
     "uint8", "int8", "int64", "uint64", "float16", "float32", "float64"],
)  # fmt: skip
def test_a_missing_feature_is_a_gap(tmp_path: Path, kind: str) -> None:
    data = loaded(write(tmp_path / "own.parquet", gappy=with_gap(kind)))
    assert data.encoding is not None
    column = data.encoding[2]
    is_gap = [part.x[:, 2] == len(column.categories) for part in (data.train, data.validation)]
    if column.kind == "number":
        is_gap = [np.isnan(part.x[:, 2]) for part in (data.train, data.validation)]
    assert column.gaps == is_gap[0].any()
    assert data.test is not None
    assert np.isnan(data.train.x[:, :2]).sum() == 0
    assert column.kind == ("category" if kind == "bool" else "number")


def test_an_infinite_feature_is_refused_by_column_and_row(tmp_path: Path) -> None:
    for gap in (None, pa.array([None, *range(N - 1)])):
        message = refusal(write(tmp_path / "own.parquet", big=with_gap("infinity"), gappy=gap))
        assert "finite numbers. Given: -inf in column big, row 7 (counted from 0)" in message


def test_a_column_of_gaps_alone_is_left_out(tmp_path: Path) -> None:
    data = loaded(write(tmp_path / "own.parquet", gappy=pa.nulls(N)))
    assert (data.columns, data.unused, data.encoding) == (("a", "b"), ("gappy",), None)
    assert data.notes[0] == "left out: column gappy, as it has no value"


@pytest.mark.parametrize("inner", [pa.uint8(), pa.int64(), pa.float32()])
@pytest.mark.parametrize("kind", [pa.list_, pa.large_list, lambda t: pa.list_(t, 4)])
def test_gaps_in_lists_are_refused_by_column_and_row(tmp_path: Path, inner: Any, kind: Any) -> None:
    values: list[Any] = [[1, 2, 3, 4] for _ in range(N)]
    values[7] = [1, None, 3, 4]
    message = refusal(write(tmp_path / "own.parquet", values=pa.array(values, kind(inner))))
    assert "column values" in message
    assert "row 7 (counted from 0)" in message
    values[7] = None
    message = refusal(write(tmp_path / "own.parquet", values=pa.array(values, kind(inner))))
    assert "column values" in message
    assert "row 7 (counted from 0)" in message


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list])
def test_lists_of_lists_are_read_and_a_fault_in_them_is_told_by_its_row(
    tmp_path: Path, kind: Any
) -> None:
    pixels = RANDOM.integers(0, 256, (N, 2, 3), dtype=np.uint8)
    nested = pa.array(pixels.tolist(), kind(kind(pa.uint8())))
    data = loaded(write(tmp_path / "own.parquet", values=nested))
    parts = [part.x for part in (data.train, data.validation, data.test) if part]
    assert sorted(np.concatenate(parts).tolist()) == sorted(pixels.tolist())
    for wrong, words in (
        ([[1, 2, 3], None], "the first in row 7 (counted from 0)"),
        ([[1, 2, 3], [4, None, 6]], "the first in row 7 (counted from 0)"),
        (
            [[1, 2, 3], [4, 5]],
            "must have one length. Given: 3 values in row 0 (counted from 0) and 2 in row 7",
        ),
        (
            [[1, 2, 3]],
            "must have one length. Given: 2 values in row 0 (counted from 0) and 1 in row 7",
        ),
    ):
        values = pixels.tolist()
        values[7] = wrong
        array = pa.array(values, kind(kind(pa.uint8())))
        assert words in refusal(write(tmp_path / "own.parquet", values=array))


@pytest.mark.parametrize("kind", [pa.list_view, pa.large_list_view])
def test_views_of_lists_are_refused(tmp_path: Path, kind: Any) -> None:
    """PyArrow 26 would cast them to lists without the last offset."""
    views = pa.array([[1, 0], [0, 1]] * (N // 2), kind(pa.int64()))
    assert "Given: values (" in refusal(write(tmp_path / "own.parquet", values=views))
    assert "list_view<" in refusal(tmp_path / "own.parquet")
    assert "list_view<" in refusal(write(tmp_path / "own.parquet", label=views))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_gaps_in_arrays_and_lists_of_floats_are_refused(tmp_path: Path, value: float) -> None:
    x = RANDOM.normal(size=(N, 2, 3))
    x[9, 1, 2] = value
    savez(tmp_path / "own.npz", x=x, y=LABELS)
    assert "feature 5, row 9 (counted from 0)" in refusal(tmp_path / "own.npz")
    lists = pa.array(list(x.reshape(N, 6)))
    message = refusal(write(tmp_path / "own.parquet", values=lists))
    assert "feature 5, row 9 (counted from 0)" in message
