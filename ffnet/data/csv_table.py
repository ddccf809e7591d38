"""Reads CSV and TSV files, plain or packed with gzip or Zstandard, as tables of typed columns.

PyArrow's reader takes the rows apart. Each column gets the type that all its cells have, in all
files (see `text_columns`), so it does not depend on the first rows: some rows at a time become
values of the type that all cells had so far. If a later cell, or another file, makes a column of
numbers one of texts, its texts are read once more.

A file may be larger than memory: of a large one, the values go to a temporary file, from which each
column is read on its own.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from ffnet.data import csv_head, gap_words, tables, text_columns
from ffnet.data.columns import UNNAMED
from ffnet.data.csv_quotes import JoinedRows
from ffnet.data.raw import Array, Place, Raw, listed, reading, refuse_beyond_memory
from ffnet.data.spool import Spool
from ffnet.data.text_columns import DATE, GAPS, NUMBER, TYPES, WHOLE, ZONED, Types
from ffnet.errors import InputError
from ffnet.spec.sections import Data

IN_MEMORY = 256 << 20
"""How many bytes of values stay in memory for each file."""
FIRST_ROW = 2
"""PyArrow's number of the first row of data: it counts from 1, and the row of names too."""
_WORDS = {
    WHOLE: "numbers", NUMBER: "numbers", DATE: "dates without a time zone", ZONED: "dates in UTC"
}  # fmt: skip
_ROW = re.compile(r"Row #(\d+)")


class CsvTable(tables.Table):
    """A CSV file.

    Args:
        path: the file.
        data: `separator`, `decimal` and `missing` say how it is written.

    Attributes:
        types: for each column, the types that hold all its texts; `one_type` makes them the same in
            all files of a data set.
        joined: finds rows that stray quotes have joined.
        misread: the columns whose texts are all numbers with the other character than `decimal`.

    Raises:
        InputError: the file is no CSV file in UTF-8, its rows have different numbers of cells, or
            memory cannot hold its numbers.
    """

    of_text = True

    def __init__(self, path: Path, data: Data) -> None:
        self.path, self.where, self.name = path, Place(str(path), first=FIRST_ROW), path.name
        self._decimal, self.gaps = data.decimal, [*GAPS, *data.missing]
        with self.reading():
            separator, names = csv_head.look(path, data.separator)
            self._names = _named(names, path)
            self.types: dict[str, Types] = dict.fromkeys(self._names, TYPES)
            self._values = Spool(IN_MEMORY)
            self._texts = partial(self._batches, separator)
            self._first_rows = partial(csv_head.first_rows, path, separator)
            self._in_file = dict(zip(self._names, names, strict=True))
            self._converted: set[str] = set()
            maybe = set(self._names)
            self.joined = JoinedRows(self.where, self._names, separator)
            self._rows, last = 0, ""
            for batch in self._texts(names):
                self._rows += len(batch)
                refuse_beyond_memory(path, self._rows * len(names) * 4)
                self.joined.add(batch)
                for name, column in zip(self._names, batch.columns, strict=True):
                    self.types[name], values = text_columns.typed(
                        column, self.types[name], self._decimal, self.gaps
                    )
                    if name not in data.drop:
                        self._values.add(name, values)
                    if values.type not in (pa.string(), pa.null()):
                        self._converted.add(name)
                    other = name in maybe and not self.types[name]
                    if other and not text_columns.has_other_decimals(column, self._decimal):
                        maybe.discard(name)
                last = (batch.column(-1)[-1].as_py() or "") if len(batch) else last
            self.misread = {name for name in maybe if not self.types[name]}
            if "\n" in last or "\r" in last:
                self._refuse_open_quote(self._rows - 1)

    @property
    def schema(self) -> pa.Schema:
        """The names and types of the columns, without empty columns that have no name."""
        kinds = {name: self._type(name) for name in self._names}
        return pa.schema(
            (name, kind)
            for name, kind in kinds.items()
            if not (kind == pa.null() and UNNAMED.fullmatch(name))
        )

    def read(self, columns: list[str]) -> pa.Table:
        """Read the named columns, with the types that the schema says."""
        return pa.table({name: self._column(name) for name in columns})

    def first_other(self, name: str, held: Types) -> str:
        """Return the first text of a column that has none of these types, and its row."""
        row = 0
        for batch in self._texts([self._in_file[name]]):
            texts = batch.column(0)
            kept, _ = text_columns.typed(texts, held, self._decimal, self.gaps)
            if not kept:
                break
            held, row = kept, row + len(batch)
        at = text_columns.first_other(texts, held, self._decimal, self.gaps)
        return f"{listed([texts[at]])!r} in {self.where.row(row + at)}"

    def gap_words(self, columns: Iterable[str]) -> list[str]:
        """Return a note if a word is a gap in many of the first rows of these columns."""
        with self.reading():
            first = self._first_rows()
            places = {name: self._names.index(name) for name in columns}
            return gap_words.notes(
                {name: gap_words.often(first.column(at)) for name, at in places.items()}
            )

    def images(self, column: str) -> Array:
        """No column of a CSV file is one of images, so this is never called."""
        raise NotImplementedError

    def reading(self) -> AbstractContextManager[None]:
        """Turn errors that a damaged file raises into an InputError."""
        return reading(self.path, "CSV")

    def _type(self, name: str) -> pa.DataType:
        types = self.types[name]
        if types == TYPES:  # as no text was there to rule a type out
            return pa.null()
        return types[0] if types else pa.string()

    def _column(self, name: str) -> pa.ChunkedArray:
        kind = self._type(name)
        if kind == pa.string() and name in self._converted:
            self._read_texts()
        pieces = self._values.read(name)
        column = pa.chunked_array([piece.cast(kind, safe=False) for piece in pieces], kind)
        return text_columns.stripped(column, self.gaps) if kind == pa.string() else column

    def texts(self, name: str) -> pa.ChunkedArray:
        """Return a column as it is written; a gap is null."""
        batches = self._texts([self._in_file[name]])
        written = pa.chunked_array([batch.column(0) for batch in batches], pa.string())
        return text_columns.stripped(written, self.gaps)

    def _read_texts(self) -> None:
        """Read the texts of all columns that became text late, or by another file, once more."""
        late = [name for name in self._names if name in self._converted and not self.types[name]]
        for name in late:
            self._values.remove(name)
        self._converted.difference_update(late)
        for batch in self._texts([self._in_file[name] for name in late]):
            for name, column in zip(late, batch.columns, strict=True):
                self._values.add(name, column)

    def _batches(self, separator: str, names: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield the named columns as texts. A gap is null, also with a blank beside it."""
        texts = pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=names,
            null_values=[each for gap in self.gaps for each in (gap, f" {gap}", f"{gap} ")],
            strings_can_be_null=True,
        )
        odd: list[pa.csv.InvalidRow] = []
        rows = csv_head.options(separator)
        rows.invalid_row_handler = csv_head.into(odd, "error")
        try:
            yield from self._parsed(rows, texts, threads=True)
        except pa.ArrowInvalid:
            odd.clear()
            try:  # once more: with one thread, PyArrow counts the rows
                for _ in self._parsed(rows, texts, threads=False):
                    pass
            except pa.ArrowInvalid as error:
                self._refuse(str(error), odd)
            raise

    def _parsed(
        self, rows: pa.csv.ParseOptions, texts: pa.csv.ConvertOptions, threads: bool
    ) -> Iterator[pa.RecordBatch]:
        read = pa.csv.ReadOptions(block_size=csv_head.BLOCK, use_threads=threads)
        with csv_head.opened(self.path) as file, pa.csv.open_csv(file, read, rows, texts) as reader:
            yield from reader

    def _refuse(self, reason: str, odd: list[pa.csv.InvalidRow]) -> None:
        """Raise InputError for rows that PyArrow cannot parse, if the reason is known."""
        if odd and odd[0].number == FIRST_ROW and odd[0].actual_columns - 1 == len(self._names):
            raise InputError(
                f"{self.where}: each cell must have a name in the first row. Given: one name fewer "
                f"than cells, as R's write.table writes; use write.csv, or write a name for the "
                f"first column"
            )
        if odd:
            raise InputError(
                f"{self.where}: each row must have as many cells as the first, "
                f"{odd[0].expected_columns}. Given: {odd[0].actual_columns} cells in "
                f"{self.where.row(odd[0].number - FIRST_ROW)}: {listed([odd[0].text])}; correct "
                f"this row, and put texts with separators into quotes"
            )
        if "UTF8" in reason and (row := _ROW.search(reason)):
            raise InputError(
                f"{self.where}: must be text in UTF-8. Given: other bytes in "
                f"{self.where.row(int(row[1]) - FIRST_ROW)}{csv_head.REMEDY}"
            )
        if "straddling" in reason:
            raise InputError(
                f"{self.where}: a row must be shorter than {csv_head.BLOCK >> 20} MiB. Given: a "
                f"longer one; is there a quote without an end?"
            )

    def _refuse_open_quote(self, row: int) -> None:
        """Raise InputError if the last cell, which has a line break, has a quote without an end."""
        end = b""
        with csv_head.opened(self.path) as file:
            while block := file.read(1 << 20):
                end = block.rstrip(b"\r\n") or end
        if not end.endswith(b'"'):
            raise InputError(
                f"{self.where}: a quote must have an end. Given: none for the last cell of "
                f"{self.where.row(row)}, which goes on to the end of the file"
            )


def read(files: Mapping[str, list[Path]], data: Data) -> Raw:
    """Read the parts of a data set; see `parquet.read`."""
    opened = {part: [CsvTable(path, data) for path in paths] for part, paths in files.items()}
    every = [table for of_part in opened.values() for table in of_part]
    for table in every:
        _refuse_other_type(table, every[0], data)
    one_type(every)
    for table in every:
        _refuse_misread(table, data)
    notes = [_keep_spellings(name, every, data.decimal) for name in (*data.categorical, data.group)]
    notes += [note for table in every for note in table.joined.notes()]
    raw = tables.read(opened, data)
    notes += every[0].gap_words((raw.columns or ())[i] for i in raw.categories)
    return replace(
        raw,
        files=tuple(path for paths in files.values() for path in paths),
        notes=(*raw.notes, *filter(None, notes)),
    )


def one_type(files: list[CsvTable]) -> None:
    """Give each column the type that holds its texts in all files."""
    for name in {name for file in files for name in file.types}:
        of_name = [file.types[name] for file in files if name in file.types]
        common = tuple(kind for kind in TYPES if all(kind in types for types in of_name))
        for file in files:
            if name in file.types:
                file.types[name] = common


def _keep_spellings(name: str | None, files: list[CsvTable], decimal: str) -> str:
    """Make categories or groups text if 1.1 and 1.10 would become one. Return a note."""
    if name is None or any(file.types.get(name) != (NUMBER,) for file in files):
        return ""
    pair = text_columns.two_spellings([file.texts(name) for file in files], decimal)
    if not pair:
        return ""
    for file in files:
        file.types[name] = ()
    return (
        f"column {listed([name])} keeps numbers as they are written, so {' and '.join(pair)} differ"
    )


def _refuse_other_type(table: CsvTable, first: CsvTable, data: Data) -> None:
    """Raise InputError if a column of numbers or dates in the first file is text in this file.

    Otherwise a single text in the test part would turn the numbers to learn from into categories.
    """
    named = {*data.drop, *data.categorical, data.group, data.target}
    for name in sorted(table.types.keys() - named):
        held = first.types.get(name, ())
        if held not in ((), TYPES) and not set(held) & set(table.types[name]):
            raise InputError(
                f"{table.where}: column {listed([name])} must hold {_WORDS[held[0]]}, as in "
                f"{first.name}. Given: {table.first_other(name, held)}; name a text that stands "
                f"for a gap in missing, or the column in categorical"
            )


def _refuse_misread(table: CsvTable, data: Data) -> None:
    """Raise InputError for columns of numbers that are text because of the wrong `decimal`."""
    wrong = sorted(table.misread - {*data.drop, *data.categorical, data.group, data.target})
    if wrong:
        other = "," if data.decimal == "." else "."
        given = table.first_other(wrong[0], (NUMBER,))
        raise InputError(
            f'{table.where}: numbers must have "{data.decimal}" before their decimals. Given: '
            f'numbers with "{other}" in column {listed(wrong)}, the first is {given}; set decimal '
            f'= "{other}", or remove it if it groups digits, or name the column in categorical'
        )


def _named(names: list[str], path: Path) -> list[str]:
    """Return the columns' names without blanks around them; one without a name gets one of pandas'.

    Raises:
        InputError: two columns have the same name.
    """
    names = [name.strip() or f"Unnamed: {at}" for at, name in enumerate(names)]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InputError(
            f"{path}: columns must have different names. Given twice: {listed(twice)}; write a row "
            f"of names above the data if the first row is data"
        )
    return names
