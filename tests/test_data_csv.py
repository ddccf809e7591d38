"""CSV files: ways to write them, types of whole columns, parts, and damage that is refused."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data_files import LABELS, N, loaded, original, refusal
from ffnet.data import csv_table
from ffnet.data.csv_table import CsvTable
from ffnet.spec.sections import Data

A, B = np.arange(N) * 0.25, np.arange(N)[::-1]
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
    data = loaded(tmp_path / name, split="last", **fields)
    assert data.columns == ("a", "b")
    assert [each.strip() for each in data.classes] == ["cat", "dog", "eel"]
    assert original(data).tolist() == np.stack([A, B], axis=1).tolist()
    assert np.concatenate([p.y for p in (data.train, data.validation)]).tolist() == [
        *LABELS[: N - 9]
    ]


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
    monkeypatch.setattr(csv_table.csv_head, "BLOCK", 40)  # a few cells at a time
    assert types(tmp_path, *cells, **fields) == expected
    assert types(tmp_path, *reversed(cells), **fields) == expected
