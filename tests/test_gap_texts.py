"""Texts that were gaps in the data are gaps in rows for a net, and no gap is silent."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data_files import N, loaded
from ffnet.data.encoding import Column
from ffnet.data.load import load
from ffnet.data.rows import of_user
from ffnet.data.text_columns import GAPS
from ffnet.errors import InputError
from ffnet.serving import rest
from ffnet.serving.tensors import Input, Refused
from ffnet.spec.sections import Data

COLUMNS = (
    Column("age", "number"),
    Column("job", "category", ("a", "b"), gaps=True),
    Column("seen", "date"),
)
DAY = "2024-01-31T00:00:00.000000"


def rows(given: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in of_user(COLUMNS, given, ("?", "unknown"))]


def test_texts_that_were_gaps_in_the_data_are_gaps_in_given_rows() -> None:
    for gap in ("", "NA", "?", " unknown ", "nan", "  "):
        given = [
            {"age": "39", "job": "a", "seen": "2024-01-31"},
            {"age": gap, "job": "b", "seen": gap},
        ]
        first, second = rows(given)
        assert first == (39, "a", DAY)
        assert np.isnan(second[0])
        assert second[1:] == ("b", "")
    with pytest.raises(InputError, match=r"column age must hold numbers.* Given: .*old"):
        rows([{"age": "old", "job": "a", "seen": None}])


def test_a_row_without_a_key_is_refused_and_null_is_a_gap() -> None:
    whole = {"age": 39, "job": "a", "seen": None}
    assert rows([whole]) == [(39, "a", "")]
    with pytest.raises(InputError, match=r"row 1 \(counted from 0\) without job, seen; a gap is n"):
        rows([whole, {"age": 40}])
    with pytest.raises(InputError, match="Given: rows without job; a gap is null or NaN"):
        rows({"age": [39], "seen": [None]})
    assert rows({"age": [39.0], "job": ["a"], "seen": [None]}) == [(39, "a", "")]


TOLD = "words that count as gaps in many rows: c ({}); where such a word is a value, write another"


@pytest.mark.parametrize("word", ["None", "NA"])
def test_a_note_names_words_that_are_gaps_in_many_rows_of_a_text_column(
    tmp_path: Path, word: str
) -> None:
    cells = [[word, "Shed", "Pool"][i % 3] for i in range(N)]
    csv = tmp_path / "own.csv"
    csv.write_text("a,c,y\n" + "".join(f"{i % 7},{c},{i % 2}\n" for i, c in enumerate(cells)))
    assert any(note.startswith(TOLD.format(word)) for note in loaded(csv).notes)
    csv.write_text(csv.read_text().replace(word, "no"))
    assert not any(note.startswith("words") for note in loaded(csv).notes)
    table = pa.table({"a": np.arange(N) % 7, "c": cells, "y": np.arange(N) % 2})
    told = any(note.startswith(TOLD.format(word)) for note in load(Data(), table).notes)
    assert told == (word == "None")  # only a CSV file is written by tools that write gaps as NA


def served(kind: str, value: Any) -> Any:
    """Send a value to a server whose model has one column."""
    dtype = np.dtype(float if kind == "number" else object)
    column = Input("c", dtype, (), kind, "c", frozenset({*GAPS, "?"}))
    body = json.dumps({"instances": [{"c": value}]}).encode()
    return rest.read(body, [column])[0]["c"][0]


@pytest.mark.parametrize("gap", [None, "", "NA", "nan", " ? ", "null"])
def test_the_server_takes_the_texts_that_were_gaps(gap: str | None) -> None:
    assert np.isnan(served("number", gap))
    assert served("date", gap) == ""
    assert served("category", gap) == (gap or "")  # the net's table has these texts


def test_the_server_refuses_texts_that_were_no_gaps() -> None:
    for kind in ("number", "date"):
        with pytest.raises(Refused, match="or null for a gap"):
            served(kind, "unknown")
    assert served("number", 39) == 39
    assert served("date", "2024-01-31") == "2024-01-31T00:00:00"
