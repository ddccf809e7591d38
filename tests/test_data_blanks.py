"""Blanks around texts never make another category, class or group; 1.1 and 1.10 may differ."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from data_files import N, loaded
from ffnet.data import formats
from ffnet.data.dataset import DataSet
from ffnet.data.encoding import Column
from ffnet.data.load import load
from ffnet.export.columns import RawColumns
from ffnet.spec.sections import Data

TEXTS = ["red", " red", "blue  ", "\u00a0blue", "green\t"]
LABELS = [["no", "yes", "yes ", " no"][i % 4] for i in range(N)]
TABLE = pa.table({"a": np.arange(N) % 7 * 0.5, "c": [TEXTS[i % 5] for i in range(N)], "y": LABELS})


def in_form(form: str, folder: Path, table: pa.Table) -> DataSet:
    path = folder / f"own.{form}"
    if form == "csv":
        pa.csv.write_csv(table, path)
    elif form == "parquet":
        pq.write_table(table, path)
    elif form == "arrow":
        pa.feather.write_feather(table, str(path))
    else:
        at = table.schema.get_field_index("c")
        given = table.set_column(at, "c", table["c"].dictionary_encode())
        return load(Data(target="y"), table.to_pandas() if form == "pandas" else given)
    return loaded(path, target="y")


@pytest.mark.parametrize("form", ["csv", "parquet", "arrow", "pandas", "dictionary"])
def test_blanks_around_categories_and_labels_do_not_count(tmp_path: Path, form: str) -> None:
    data = in_form(form, tmp_path, TABLE)
    assert data.classes == ("no", "yes")
    assert data.encoding
    assert set(data.encoding[1].categories) == {"red", "blue", "green"}


def test_blanks_around_labels_of_arrays_do_not_count() -> None:
    for y in (np.array(LABELS), LABELS, np.array(LABELS, object), np.array(LABELS).astype("S")):
        assert load(Data(), (np.random.default_rng(0).normal(size=(N, 2)), y)).classes == (
            "no",
            "yes",
        )


def csv(path: Path, cells: list[str], **fields: Any) -> Any:
    rows = [f"{i % 7 * 0.5};{cells[i % len(cells)]};{'pq'[i // 5 % 2]}" for i in range(N)]
    path.write_text("\n".join(["a;c;y", *rows]))
    raw = formats.read(path, Data(target="y", **fields))
    assert raw
    return raw


@pytest.mark.parametrize("gap", ["", "   ", "  NA  ", " ?  "])
def test_gaps_with_blanks_around_them_are_gaps(tmp_path: Path, gap: str) -> None:
    raw = csv(tmp_path / "own.csv", ["1.5", " 2", gap], missing=("?",))
    assert raw.categories == {}
    np.testing.assert_array_equal(raw.parts["train"][0].column(1)[:3], [1.5, 2, np.nan])
    raw = csv(tmp_path / "own.csv", ["x", " y", gap], missing=("?",))
    assert raw.categories == {1: ("x", "y")}
    np.testing.assert_array_equal(raw.parts["train"][0].column(1)[:3], [0, 1, np.nan])


def test_blanks_around_groups_do_not_count() -> None:
    names = pa.array([f"g{i // 6}" + " " * (i % 2) for i in range(N)])
    data = load(Data(target="y", group="g"), TABLE.append_column("g", names))
    parts = (data.train, data.validation, data.test)
    groups = [part.group for part in parts if part and part.group is not None]
    assert len(np.unique(np.concatenate(groups))) == N // 6


def test_categories_written_as_numbers_with_zeros_at_the_end_stay_apart(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    raw = csv(path, ["1.10", "1.1", "2.5"], categorical=("c",))
    assert raw.categories == {1: ("1.1", "1.10", "2.5")}
    assert raw.notes[-1] == "column c keeps numbers as they are written, so 1.1 and 1.10 differ"
    raw = csv(path, ["1.0", "1", "2.50"], categorical=("c",))
    assert raw.categories == {1: ("1", "2.5")}
    assert raw.notes == ()


def codes(categories: tuple[str, ...], texts: list[str]) -> list[float]:
    raw = RawColumns((Column("a", "category", categories, gaps=True),), [0.0], [1.0])
    return [*raw({"a": tf.constant(texts)}).numpy()[:, 0]]


def test_an_exported_net_reads_texts_as_the_reader_of_tables_does() -> None:
    blanks = ["red ", "\u00a0red", "\x85blue\x0b", "\x1f", "  ", " NA ", "x"]
    assert codes(("red", "blue"), blanks) == [0, 0, 1, 2, 2, 2, 3]
    assert codes(("1.5", "2"), ["1.50", "2.0", " 2 ", "2.", "3.0"]) == [0, 1, 1, 1, 3]
    assert codes(("1.10", "1.1"), ["1.1", "1.10", "1.100"]) == [1, 0, 3]
    assert codes(("1.50", "2.25"), ["1.5", "1.50"]) == [0, 0]
    assert codes(("etc", "1"), ["etc.", "1.0"]) == [3, 3]


def test_a_net_of_an_earlier_version_still_tells_blanks_apart() -> None:
    assert codes(("yes ", "yes"), ["yes ", "yes", " yes"]) == [0, 1, 3]


def test_all_that_python_strips_is_a_blank_for_the_exported_net() -> None:
    blanks = [chr(i) for i in range(0x110000) if chr(i).isspace()]
    assert codes(("red",), [f"{blank}red{blank}" for blank in blanks]) == [0] * len(blanks)
