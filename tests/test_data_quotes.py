"""Stray quotes in CSV files join rows; a note says where. Texts of several lines do not."""

from pathlib import Path

from data_files import loaded

ROWS = [f"{i / 4},{'red' if i % 3 else 'blue'},n{i % 4},{'pq'[i // 5 % 2]}" for i in range(60)]
JOINED = "stray quotes seem to join rows, cells that look so: 1; the first is in row"


def notes(path: Path, rows: list[str]) -> list[str]:
    path.write_text("\n".join(["a,c,d,y", *rows]))
    return [note for note in loaded(path).notes if "stray quotes" in note]


def test_rows_that_stray_quotes_have_joined_are_told_with_file_and_row(tmp_path: Path) -> None:
    rows = [*ROWS]
    rows[20] = rows[20].replace(",red", ',"red')
    rows[24] = rows[24].replace(",blue", ',blue"')
    path = tmp_path / "own.csv"
    (note,) = notes(path, rows)
    assert note.startswith(f"{path}: {JOINED} 22 (row 1 has the names, empty lines do not count)")
    assert ", column c: 'red,n0,p\\n5.25,blue,n1," in note
    assert note.endswith("; correct the quotes if these are rows")
    assert len(loaded(path).train) + len(loaded(path).validation) < 60 * 0.85


def test_neighbouring_rows_that_are_joined_are_told(tmp_path: Path) -> None:
    rows = [*ROWS]
    rows[30] = rows[30].replace(",n2", ',"n2')
    rows[31] = rows[31].replace(",n3", ',n3"')
    assert len(notes(tmp_path / "own.csv", rows)) == 1


def test_texts_of_several_lines_are_not_told(tmp_path: Path) -> None:
    rows = [row.replace(",red", ',"red,\nand so on"') for row in ROWS]
    assert notes(tmp_path / "own.csv", rows) == []
    assert notes(tmp_path / "own.csv", ROWS) == []
