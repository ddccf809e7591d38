"""Large tables: read column by column, with the same result as a table that fits into memory."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from ffnet.data import arrow_numpy, coded, mixed
from ffnet.data.dataset import DataSet
from ffnet.data.labels import from_array, from_column, numbered
from ffnet.data.load import load_raw
from ffnet.data.raw import Place, Raw
from ffnet.data.scaling import statistics
from ffnet.spec.sections import Data

N, OWN = 900, Place("own")
RANDOM = np.random.default_rng(5)
NUMBERS = pa.table(
    {f"x{i}": RANDOM.normal(size=N).astype(kind) for i, kind in enumerate(("f8", "f4", "f8"))}
    | {"label": np.array(["b", "a", "c"])[RANDOM.integers(0, 3, N)]}
)
MIXED = NUMBERS.append_column("gap", pa.array([None if i % 9 == 0 else i / 7 for i in range(N)]))
MIXED = MIXED.append_column(
    "word", pa.array([None if i % 7 == 0 else f"w{i % 5}" for i in range(N)])
)
MIXED = MIXED.append_column("day", pa.array(np.arange(N, dtype="i4") // 3).cast(pa.date32()))

WRITERS = {
    "parquet": pq.write_table, "arrow": pyarrow.feather.write_feather, "csv": pa.csv.write_csv,
}  # fmt: skip


def same(one: DataSet, other: DataSet) -> bool:
    """Whether two data sets are the same, bit by bit."""
    for a, b in zip(
        (one.train, one.validation, one.test),
        (other.train, other.validation, other.test),
        strict=True,
    ):
        assert a
        assert b
        assert a.x.tobytes() == b.x.tobytes()
        assert a.y.tolist() == b.y.tolist()
    rest = {"train": None, "validation": None, "test": None, "mean": None, "std": None}
    assert (one.mean.tolist(), one.std.tolist()) == (other.mean.tolist(), other.std.tolist())
    return repr(replace(one, **rest)) == repr(replace(other, **rest))  # type: ignore[arg-type]


@pytest.mark.parametrize("table", [NUMBERS, MIXED], ids=["numbers", "mixed"])
@pytest.mark.parametrize("kind", WRITERS)
def test_columns_that_are_read_again_give_the_same_data_set_as_columns_that_are_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, table: pa.Table
) -> None:
    path = tmp_path / f"own.{kind}"
    WRITERS[kind](table, path)
    data = Data(dataset=str(path))
    held, of_held = load_raw(data)
    monkeypatch.setattr(mixed, "HELD", 0)
    again, of_again = load_raw(data)
    assert same(held, again)
    assert str(of_held.x.tolist()) == str(of_again.x.tolist())  # NaN is unequal to itself


@pytest.mark.parametrize("kind", ["f8", "f4"])
def test_a_column_alone_is_measured_to_the_bits_of_the_whole_table(kind: str) -> None:
    x = (RANDOM.normal(size=(30_000, 7)) * 1e3).astype(kind)
    mean, std = statistics(x)
    alone = [statistics(x[:, i : i + 1], width=7) for i in range(7)]
    assert [each[0][0] for each in alone] == mean.tolist()
    assert [each[1][0] for each in alone] == std.tolist()


@pytest.mark.parametrize(
    "column",
    [
        pa.chunked_array([[1, 2, None], [4]], pa.int16()),
        pa.chunked_array([[0.5, None], [], [2.5]], pa.float64()),
        pa.chunked_array([[True, None, False] * 7]),
        pa.chunked_array([[True, False] * 9]).slice(3, 11),
        pa.chunked_array([list(range(20))]).slice(5),
        pa.chunked_array([], pa.int64()),
    ],
    ids=str,
)
def test_values_and_gaps_of_arrow_are_those_of_its_lists(column: pa.ChunkedArray) -> None:
    values = column.to_pylist()
    there = arrow_numpy.valid(column)
    assert there.tolist() == [value is not None for value in values]
    assert arrow_numpy.values(column)[there].tolist() == [v for v in values if v is not None]
    assert arrow_numpy.bools(there).to_pylist() == there.tolist()


def test_texts_become_an_array_of_arrow() -> None:
    texts = ["", "é", "long text", "", "z"]
    assert arrow_numpy.texts(texts).to_pylist() == texts
    assert arrow_numpy.texts([]).to_pylist() == []


def test_labels_in_words_are_held_as_numbers_and_mean_what_an_array_of_words_means() -> None:
    words = ["dog", "cat", "NaN", "", "dog", "äpfel", "cat", "cat", "dog"]
    column = from_column(pa.chunked_array([[*words, None]]), OWN)
    array = from_array(np.array([*words, None], object), OWN)
    assert isinstance(column.values, coded.Coded)
    assert column.values.tolist() == array.values.tolist()
    assert column.there.tolist() == array.there.tolist()
    parts: list[dict[str, Any]] = [
        {"train": each.values, "test": each.values[2:4]} for each in (column, array)
    ]
    one, other = (numbered(each, None, Raw({}, ())) for each in parts)
    assert one[1] == other[1] == ("cat", "dog", "äpfel")
    assert [y.tolist() for y in one[0].values()] == [y.tolist() for y in other[0].values()]


def test_labels_of_two_files_are_joined() -> None:
    one = from_column(pa.chunked_array([["b", "c", "b"]]), OWN).values
    other = from_column(pa.chunked_array([["a", "c"]]), OWN).values
    assert coded.joined([one, other]).tolist() == ["b", "c", "b", "a", "c"]
    assert coded.joined([one, np.array(["x"])]).tolist() == ["b", "c", "b", "x"]
    assert coded.joined([np.array([1]), np.array([2])]).tolist() == [1, 2]


@pytest.mark.parametrize("kind", WRITERS)
def test_what_is_understood_of_a_table_is_told_without_pandas(tmp_path: Path, kind: str) -> None:
    for name, table in (("numbers", NUMBERS), ("mixed", MIXED)):
        path = tmp_path / f"{name}.{kind}"
        WRITERS[kind](table, path)
        code = (
            "import sys; from ffnet.cli.data import main\n"
            f"main([{str(path)!r}]); sys.exit('pandas' in sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
