"""Amounts, dates and times that ffnet does not read are refused, never left out as row names."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pytest

from data_files import N, loaded, refusal
from ffnet.data import kinds, looks, rows
from ffnet.data.encoding import Column
from ffnet.data.load import load
from ffnet.data.raw import Place
from ffnet.errors import InputError
from ffnet.export import columns
from ffnet.spec.sections import Data

DAYS = [date(2024, 1, 1) + timedelta(days=i) for i in range(N)]
UNREAD = {
    "1,234.50": ("amounts", [f"{i * 1234.5:,.2f}" for i in range(1, N + 1)]),
    "1.234,50": ("amounts", [f"{i}.234,50" for i in range(N)]),
    "1 234": ("amounts", [f"{i} 234" for i in range(N)]),
    "$1": ("amounts", [f"${i}" for i in range(N)]),
    "-$1": ("amounts", [f"-${i}" for i in range(N)]),
    "1 €": ("amounts", [f"{i} €" for i in range(N)]),
    "1 %": ("amounts", [f"{i} %" for i in range(N)]),
    "(1)": ("amounts", [f"({i})" for i in range(N)]),
    "−1": ("amounts", [f"−{i}" for i in range(N)]),
    "1.5kg": ("amounts", [f"{i}.5kg" for i in range(N)]),
    "31.01.2024": ("dates", [f"{day:%d.%m.%Y}" for day in DAYS]),
    "01/31/2024": ("dates", [f"{day:%m/%d/%Y}" for day in DAYS]),
    "2024/01/31": ("dates", [f"{day:%Y/%m/%d}" for day in DAYS]),
    "31 Jan 2024": ("dates", [f"{day:%d %b %Y}" for day in DAYS]),
    "01/31/2024 1:05 PM": ("dates", [f"{day:%m/%d/%Y} 1:05 PM" for day in DAYS]),
    "2024-01": ("dates", [f"{1960 + i}-01" for i in range(N)]),
    "12:05": ("times", [f"{i % 24}:{i:02d}" for i in range(N)]),
    "1:05:30 pm": ("times", [f"1:05:{i:02d} pm" for i in range(N)]),
}


def csv(folder: Path, cells: list[str]) -> Path:
    rows = [f"{i % 7 * 0.5};{cell};{'pq'[i % 2]}" for i, cell in enumerate(cells)]
    (folder / "own.csv").write_text("\n".join(["a;c;y", *rows]), encoding="utf-8")
    return folder / "own.csv"


@pytest.mark.parametrize("form", UNREAD)
def test_what_is_not_read_is_refused_with_what_it_looks_like(tmp_path: Path, form: str) -> None:
    what, cells = UNREAD[form]
    path = csv(tmp_path, cells)
    message = refusal(path)
    assert f"column c must hold numbers or dates as ffnet reads them. Given: {what} as" in message
    assert f"{cells[0]!r} in row 2 (row 1 has the names" in message
    assert message.endswith(f"{looks.REMEDIES[what]}, or name the column in categorical or drop")
    frame = pd.DataFrame({"a": np.arange(N), "c": cells, "y": ["p", "q"] * (N // 2)})
    with pytest.raises(InputError, match=f"Given: {what} as text"):
        load(Data(target="y"), frame)
    assert loaded(path, categorical=("c",)).columns == ("a", "c")
    assert loaded(path, drop=("c",)).columns == ("a",)


def test_a_text_among_dates_is_named_with_its_row(tmp_path: Path) -> None:
    cells: list[Any] = [*UNREAD["31.01.2024"][1]]
    cells[7] = "unknown"
    message = refusal(csv(tmp_path, cells))
    assert "dates as text, 'unknown' in row 9" in message
    assert ", beside '" in message
    iso = [day.isoformat() for day in DAYS]
    iso[5] = "unknown"
    path = csv(tmp_path, iso)
    assert "'unknown' in row 7" in refusal(path)
    data = loaded(path, missing=("unknown",))
    assert data.encoding
    assert [column.kind for column in data.encoding] == ["number", "date"]


def test_iso_dates_that_are_text_outside_csv_are_refused_and_dates_are_read() -> None:
    frame = pd.DataFrame({"c": [day.isoformat() for day in DAYS], "y": ["p", "q"] * (N // 2)})
    with pytest.raises(InputError, match="elsewhere as dates instead of text"):
        load(Data(target="y"), frame)
    data = load(Data(target="y"), frame.assign(c=pd.to_datetime(frame["c"])))
    assert data.encoding
    assert data.encoding[0].kind == "date"


def test_a_few_such_texts_are_categories_with_a_note(tmp_path: Path) -> None:
    data = loaded(csv(tmp_path, [f"{i % 4} %" for i in range(N)]))
    assert data.columns == ("a", "c")
    assert any(note.startswith("amounts, dates or times that are wr") for note in data.notes)


def test_the_note_about_numbers_as_text_that_differ_in_each_row_names_a_remedy() -> None:
    frame = pd.DataFrame({"a": np.arange(N) % 7, "c": [str(i / 4) for i in range(N)]})
    frame["y"] = ["p", "q"] * (N // 2)
    data = load(Data(target="y"), frame)
    assert any(note.endswith("; name it in numeric if they are numbers") for note in data.notes)
    assert load(Data(target="y", numeric=("c",)), frame).columns == ("a", "c")


@pytest.mark.parametrize(
    "texts",
    [
        ["007", "012"], ["12", "3.4"], ["a1", "b2"], ["25-34", "35-44"], ["192.168.1.1"],
        ["1st", "2nd", "3rd"], ["123-45-6789"], ["12 kg", "3 lb", "7 t"], ["0x1F", "0x2A"],
        ["12345-6789"], ["1/2", "3/4"], ["1.2.3", "1.10.2"], ["red", "12 kg"], [],
    ],
)  # fmt: skip
def test_codes_ranges_and_names_look_like_nothing(texts: list[str]) -> None:
    assert looks.like(texts) is None


@pytest.mark.parametrize("odd", ["0000-00-00", "12000-01-01", "2024-02-30"])
def test_a_date_that_does_not_exist_is_named_among_dates(tmp_path: Path, odd: str) -> None:
    cells = [day.isoformat() for day in DAYS]
    cells[5] = odd
    path = csv(tmp_path, cells)
    message = refusal(path)
    assert f"Given: dates as text, {odd!r} in row 7" in message
    assert "beside '2024-01-01'; make it null (CSV: missing) if it stands for a gap" in message
    assert [column.kind for column in loaded(path, missing=(odd,)).encoding or ()][1] == "date"


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("categorical", [(), ("c",)])
def test_dates_without_a_year_of_four_digits_are_refused(unit: Any, categorical: Any) -> None:
    days = np.full(N, np.datetime64("2024-01-01", unit)) + np.arange(N)
    fields = {"a": np.arange(N) % 7, "y": ["p", "q"] * (N // 2)}
    for wrong, given in (("10000-01-01", "2932897"), ("0000-12-31", "-719163")):
        days[3] = np.datetime64(wrong, unit)
        table = pa.table(fields | {"c": days})
        with pytest.raises(InputError, match=f"c must hold .* 1 to 9999. Given: {given} .*row 3 "):
            load(Data(target="y", categorical=categorical), table)
    days[3], days[4] = np.datetime64("9999-12-31", unit), np.datetime64("0001-01-01", unit)
    data = load(Data(target="y", categorical=categorical), pa.table(fields | {"c": days}))
    assert data.columns == ("a", "c")


def test_dates_long_ago_stand_as_raw_rows_as_in_the_file() -> None:
    days = np.array([f"{year:04d}-03-01" for year in range(1600, 1600 + N)], "datetime64[s]")
    piece = kinds.Piece("c", Place("x"), pa.timestamp("s"), pa.chunked_array([pa.array(days)]))
    raw = rows.of_user([Column("c", "date")], pa.table({"c": days}))
    assert raw["c"][0] == "1600-03-01T00:00:00.000000"
    assert columns.days(raw["c"].tolist()).numpy().tolist() == kinds.dates(piece).tolist()
    assert kinds.dates(piece)[0] == (date(1600, 3, 1) - date(1970, 1, 1)).days
