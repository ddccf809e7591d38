"""CSV files: ways to write them, types of whole columns, parts, and damage that is refused."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data_files import LABELS, N, loaded, refusal, write
from ffnet.data import csv_head, csv_table, formats
from ffnet.data.csv_table import CsvTable
from ffnet.data.load import load
from ffnet.errors import InputError
from ffnet.spec.sections import Data

A, B = np.arange(N) * 0.25, np.arange(N)[::-1] * 3
NAMES = np.array(["cat", "dog", "eel"])[LABELS]


def text(separator: str = ",", decimal: str = ".", end: str = "\n", quote: str = "") -> str:
    rows = [["a", "b", "label"]]
    rows += [[f"{a}".replace(".", decimal), f"{b}", n] for a, b, n in zip(A, B, NAMES, strict=True)]
    return "".join(separator.join(f"{quote}{c}{quote}" for c in row) + end for row in rows)


def table(tmp_path: Path, content: str | bytes, name: str = "own.csv", **fields: Any) -> CsvTable:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return CsvTable(path, Data(**fields))


def types(tmp_path: Path, *cells: str, **fields: Any) -> str:
    """Return the type that a column of these cells gets."""
    rows = "".join(f"{cell};x\n" for cell in cells)
    return str(table(tmp_path, f"a;b\n{rows}", separator=";", **fields).schema.field("a").type)


def zst(content: bytes) -> bytes:
    with pa.BufferOutputStream() as sink:
        with pa.CompressedOutputStream(sink, "zstd") as packed:
            packed.write(content)
        return bytes(sink.getvalue())


WAYS = {
    "plain.csv": (text().encode(), {}),
    "tabs.tsv": (text("\t").encode(), {}),
    "semicolons.csv": (text(";").encode(), {}),
    "bars.csv": (text("|").encode(), {}),
    "named.csv": (text("^").encode(), {"separator": "^"}),
    "named tabs.csv": (text("\t").encode(), {"separator": "tab"}),
    "escaped tabs.csv": (text("\t").encode(), {"separator": r"\t"}),
    "quotes.csv": (text(quote='"').encode(), {}),
    "windows.csv": (b"\xef\xbb\xbf" + text(end="\r\n").encode(), {}),
    "mac.csv": (text(end="\r").encode(), {}),
    "no end.csv": (text().encode()[:-1], {}),
    "blank lines.csv": (text(end="\n\n").encode(), {}),
    "blanks.csv": (text(" , ").replace("cat", "cat ").encode(), {"target": "label"}),
    "comma.csv": (text(";", ",").encode(), {"decimal": ","}),
    "comma in quotes.csv": (text(",", ",", quote='"').encode(), {"decimal": ","}),
    "packed.csv.gz": (gzip.compress(text().encode()), {}),
    "packed.TSV.zst": (zst(text("\t").encode()), {}),
    "packed.csv": (gzip.compress(text().encode()), {}),
}


@pytest.mark.parametrize("name", WAYS)
def test_one_table_written_in_many_ways_is_read_as_the_same(tmp_path: Path, name: str) -> None:
    content, fields = WAYS[name]
    (tmp_path / name).write_bytes(content)
    raw = formats.read(tmp_path / name, Data(**fields))
    assert raw
    x, y = raw.parts["train"]
    assert raw.columns == ("a", "b")
    assert x.rows().tolist() == np.stack([A, B], axis=1).tolist()
    assert y.tolist() == NAMES.tolist()
    assert loaded(tmp_path / name, **fields).classes[0] == "cat"


@pytest.mark.parametrize(
    ("cells", "fields", "expected"),
    [
        (["1", "-2", "", " 3 ", "NA"], {}, "int64"),
        (["1", "2.5", "1e5", "-.5", "inf"], {}, "double"),
        (["+1", "2"], {}, "double"),
        (["1", "2.5", "many"], {}, "string"),
        (["1", "?", "2"], {}, "string"),
        (["1", "?", " ?"], {"missing": ["?"]}, "int64"),
        (["-9", "x", "-99"], {"missing": ["x"]}, "int64"),
        (["1,5", "2"], {"decimal": ","}, "double"),
        (["1,5", "2.5"], {"decimal": ","}, "string"),
        (["007", "123"], {}, "string"),
        (["007.5", "1"], {}, "string"),
        (["0", "0.5", "-0.1"], {}, "double"),
        (["12345678901234567890"], {}, "string"),
        (["2024-01-31", "2024-02-01"], {}, "timestamp[us]"),
        (["2024-01-31 12:00", "2024-02-01T01:02:03.5"], {}, "timestamp[us]"),
        (["2024-01-31T12:00:00Z", "2024-01-31T12:00:00+01:00"], {}, "timestamp[us, tz=UTC]"),
        (["2024-01-31", "2024-01-31T12:00:00Z"], {}, "string"),
        (["2024-01-31", "7"], {}, "string"),
        (["7", "2024-01-31"], {}, "string"),
        (["true", "FALSE"], {}, "string"),
        (["", "NaN", "null", "<NA>", " "], {}, "null"),
    ],
)
def test_a_column_has_the_type_of_all_its_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: list[str], fields: Any, expected: str
) -> None:
    assert types(tmp_path, *cells, **fields) == expected
    monkeypatch.setattr(csv_head, "BLOCK", 40)  # a few cells at a time
    assert types(tmp_path, *cells, **fields) == expected
    assert types(tmp_path, *reversed(cells), **fields) == expected


def test_a_column_has_one_type_in_all_files(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,label\n" + "1,7\n2,8\n" * N)
    (tmp_path / "test.tsv").write_text("label\ta\n7.0\t1\n8.0\t2.5\n")
    data = loaded(tmp_path)
    assert data.test
    assert (data.classes, data.test.y.tolist()) == (("7", "8"), [0, 1])
    files = [CsvTable(tmp_path / name, Data()) for name in ("train.csv", "test.tsv")]
    assert [str(f.schema.field("a").type) for f in files] == ["int64", "double"]
    csv_table.one_type(files)
    assert [str(f.schema.field("a").type) for f in files] == ["double", "double"]


def test_a_large_file_lies_on_disk_and_is_read_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = text() * 1 + "".join(f"{i / 7},{i},cat\n" for i in range(9000))
    small = table(tmp_path, content)
    monkeypatch.setattr(csv_table, "IN_MEMORY", 30_000)
    monkeypatch.setattr(csv_head, "BLOCK", 20_000)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    large = table(tmp_path, content)
    assert large._values._file
    assert large.schema == small.schema
    for columns in (["label"], ["b", "a"], ["a", "b", "label"]):
        assert large.read(columns).equals(small.read(columns))
    assert [path.name for path in tmp_path.iterdir()] == ["own.csv"]


def test_a_column_that_becomes_text_late_keeps_the_texts_of_its_first_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = {"word": "x", "code": "007", "hex": "0x1F", "long": "123456789012345678901", "gap": ""}
    rows = [[f"{i}.50"] * 3 + [f" {i}", ""] for i in range(3000)] + [[*late.values()]]
    content = "\n".join(",".join([*row, "cat"]) for row in [[*late], *rows]) + "\n"
    monkeypatch.setattr(csv_head, "BLOCK", 20_000)
    read = table(tmp_path, content.replace("gap,cat", "gap,label", 1))
    for at, name in enumerate(late):
        assert read.read([name])[name].to_pylist() == [row[at].strip() or None for row in rows]
    assert [str(kind) for kind in read.schema.types] == ["string"] * 4 + ["null", "string"]


def test_numbers_of_one_file_are_texts_where_another_file_has_texts(tmp_path: Path) -> None:
    files = [
        table(tmp_path, "a,b,label\n1.50,2,x\n,3,y\n", name="one.csv"),
        table(tmp_path, "a,b,label\nword,2.5,x\n2,3,y\n", name="two.csv"),
    ]
    csv_table.one_type(files)
    assert [f.read(["a"])["a"].to_pylist() for f in files] == [["1.50", None], ["word", "2"]]
    assert [f.read(["b"])["b"].to_pylist() for f in files] == [[2.0, 3.0], [2.5, 3.0]]


# --- damage --------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[str | bytes, dict[str, Any], str]] = {
    "empty": ("", {}, "Given: an empty file"),
    "blank": ("\n \n", {}, "Given: an empty file"),
    "packed nothing": (gzip.compress(b""), {}, "Given: an empty file"),
    "only names": ("a,b,label\n", {}, "rows of data. Given: a single row"),
    "only names, no end": ("a,b,label", {}, "rows of data. Given: a single row"),
    "one column": ("label\n1\n2\n", {}, "must name two columns or more, separated by commas,"),
    "another separator": (text("^"), {}, "name another separator with separator"),
    "a wrong separator": (text(), {"separator": ";"}, "separated by ';'"),
    "a cell too many": (text() + "1,2,cat,9\n", {}, "Given: 4 cells in row 62 (row 1"),
    "a cell too few": (text().replace("5.0,117", "5.0"), {}, "2 cells in row 22 (row 1"),
    "an open quote": (text() + '1,2,"cat\n3,4,dog\n', {}, "last cell of row 62 (row 1"),
    "an open quote inside": (text().replace("5.0,117", '"5.0,117'), {}, "cells in row 22"),
    "Latin-1": (text().replace("eel", "Bär").encode("latin1"), {}, "the byte 0xe4 in line 4"),
    "Latin-1 later": (
        (text() + "1,2,cat\n" * 200_000 + "1,2,Bär").encode("latin1"), {}, "bytes in row 200062",
    ),
    "UTF-16": (text().encode("utf-16"), {}, "Given: text in UTF-16; save it as CSV in UTF-8"),
    "UTF-16 without BOM": (text().encode("utf-16-le"), {}, "NUL at byte 1, as in UTF-16"),
    "Excel": (b"PK\x03\x04" + b"x" * 99, {}, "Given: zip or Excel; save it as CSV"),
    "cut gzip": (gzip.compress(text().encode())[:-9], {}, "is the file complete?"),
    "damaged gzip": (gzip.compress(text().encode())[:-8] + bytes(8), {}, "is the file complete?"),
    "cut zst": (zst(text().encode())[:-9], {}, "is the file complete?"),
    "no names": ("5.1,3.5,7,cat\n4.9,3.0,1,dog\n", {}, "the columns. Given: 5.1, 3.5, 7, cat;"),
    "no names of pixels": ("5,0,0,7\n4,0,1,0\n", {}, "must name the columns. Given: 5, 0, 0, 7"),
    "names twice": ("a,b,a,label\n1,2,3,x\n", {}, "Given twice: a; write a row of names above"),
    "a decimal comma": (text(";", ","), {}, 'Given: numbers with "," in column a, the first'),
    "a decimal point": (text(), {"decimal": ","}, 'Given: numbers with "." in column a, the first'),
    "infinity": (text().replace("5.0,117", "inf,117"), {}, "Given: inf in column a, row 22"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_rightly_is_refused_in_a_line(tmp_path: Path, name: str) -> None:
    content, fields, words = REFUSED[name]
    path = tmp_path / "own.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    message = refusal(path, **fields)
    assert message.startswith(f"{path}")
    assert words in message


@pytest.mark.parametrize("separator", ["", '"', "\n", ", ", "ä", "tabs"])
def test_a_separator_is_one_character(separator: str) -> None:
    with pytest.raises(InputError, match="separator: must be one ASCII character other than"):
        Data(separator=separator)


@pytest.mark.parametrize("names", ["0,1,label", "400.5,401,label", "3,2.5,label", "12,7,30,label"])
def test_numbers_may_be_names(tmp_path: Path, names: str) -> None:
    row, other = (",".join(digit for _ in names.split(",")[1:]) for digit in "12")
    assert loaded(table(tmp_path, f"{names}\n" + f"{row},x\n{other},y\n" * N).path).columns


def test_an_empty_last_column_without_name_is_none(tmp_path: Path) -> None:
    rows = text(end=",\n")
    assert table(tmp_path, rows).schema.names == ["a", "b", "label"]
    assert table(tmp_path, rows.replace("cat,", "cat,7")).schema.names[3] == "Unnamed: 3"


@pytest.mark.parametrize(
    ("field", "value"), [("separator", ";"), ("decimal", ","), ("missing", ["?"])]
)
def test_fields_of_csv_files_are_refused_for_other_files(
    tmp_path: Path, field: str, value: Any
) -> None:
    path = write(tmp_path / "own.parquet")
    assert f"{field} has an effect only on CSV files" in refusal(path, **{field: value})


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        ("1.5", "never", "must hold numbers, as in"),
        ("2024-01-31", "never", "must hold dates without a time zone, as in"),
        ("2024-01-31T10:00:00Z", "2024-01-31T10:00:00", "must hold dates in UTC, as in"),
    ],
)
def test_a_text_of_the_test_file_does_not_change_what_is_learnt(
    tmp_path: Path, train: str, test: str, words: str
) -> None:
    for part, cell in (("train", train), ("test", test)):
        rows = [f"{cell if i == 3 else train},{i % 3}.5,{'ab'[i % 2]}" for i in range(40)]
        (tmp_path / f"{part}.csv").write_text("\n".join(["a,b,y", *rows]))
    with pytest.raises(InputError, match=f"test.csv: column a {words} .*train.csv. Given: "):
        load(Data(dataset=str(tmp_path)))
    kept = load(Data(dataset=str(tmp_path), categorical=("a",))).encoding
    assert kept
    assert kept[0].kind == "category"


@pytest.mark.parametrize("code", [" 00{}", "0x{}", "+0{}"])
def test_codes_are_text_also_with_a_blank_or_a_sign(tmp_path: Path, code: str) -> None:
    rows = [f"{code.format(i % 5)},{i % 3}.5,{'ab'[i % 2]}" for i in range(40)]
    (tmp_path / "own.csv").write_text("\n".join(["a,b,y", *rows]))
    found = load(Data(dataset=str(tmp_path / "own.csv"))).encoding
    assert found
    assert found[0].kind == "category"


def test_a_gap_may_have_a_blank_before_or_after_it(tmp_path: Path) -> None:
    cells = ["? ", " ?", "?", "NA ", *(f"{i}.5" for i in range(36))]
    rows = [f"{cell},u{i % 3},{'ab'[i % 2]}" for i, cell in enumerate(cells)]
    (tmp_path / "own.csv").write_text("\n".join(["a,b,y", *rows]))
    found = load(Data(dataset=str(tmp_path / "own.csv"), missing=("?",))).encoding
    assert found
    assert (found[0].kind, found[0].gaps) == ("number", True)
