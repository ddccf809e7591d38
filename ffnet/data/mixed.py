"""Finds out what the columns of tables are: numbers, categories, dates; a few columns at a time.

The numbers of a large table are read a second time when they are encoded, so that memory never
holds all of them. The codes of categories are held, in one, two or four bytes each.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ffnet.data import arrow_numpy, gap_words, judged, kinds
from ffnet.data.by_column import ByColumn, ReadColumn
from ffnet.data.columns import Layout, base, stored
from ffnet.data.encoding import Kind
from ffnet.data.kinds import Codes, Piece
from ffnet.data.raw import VALUES_AT_ONCE, Place, listed, refused
from ffnet.errors import InputError
from ffnet.spec.sections import Data

Read = Callable[[list[str]], pa.Table]
"""Reads the named columns of a table."""
HELD = 1 << 23
"""Numbers are read a second time if the tables have more values than these."""


@dataclass(frozen=True)
class Opened:
    """A table whose labels are known.

    Attributes:
        where: the table.
        schema: the names and types of its columns.
        read: reads columns.
        reading: makes a context manager that turns a library's errors into an InputError.
        there: whether each row has a label, bool [N]; other rows are left out.
        trained_on: whether the table is one of the training part.
    """

    where: Place
    schema: pa.Schema
    read: Read
    reading: Callable[[], AbstractContextManager[None]]
    there: npt.NDArray[np.bool_]
    trained_on: bool

    @cached_property
    def labelled(self) -> Place:
        """The rows of the table that have a label."""
        return self.where if self.there.all() else self.where.at(self.there)

    @cached_property
    def rows(self) -> int:
        """How many rows have a label."""
        return int(self.there.sum())

    def piece(self, name: str, table: pa.Table) -> Piece:
        """Return a column of what was read, without the rows that have no label."""
        values = stored(table[name])
        if self.rows < len(self.there):
            values = values.filter(arrow_numpy.bools(self.there))
        kind = self.schema.field(name).type
        return Piece(name, self.labelled, kind, values, self.trained_on)

    def again(self, name: str, numbers: Callable[[Piece], npt.NDArray[Any]]) -> ReadColumn:
        """Return what reads a column once more, and makes it numbers."""

        def read() -> npt.NDArray[Any]:
            with self.reading():
                return numbers(self.piece(name, self.read([name])))

        return read


@dataclass
class Columns:
    """The columns of all tables as numbers.

    Attributes:
        x: {table: its numbers [N, columns]}.
        names: the names of the columns that are used.
        categories, dates, notes: as in `Raw`.
        gaps: whether a value is missing.
    """

    x: dict[Place, ByColumn]
    names: list[str] = field(default_factory=list)
    categories: dict[int, tuple[str, ...]] = field(default_factory=dict)
    dates: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    gaps: bool = False


def complete(tables: Sequence[Opened], names: Sequence[str]) -> Columns | None:
    """Read columns of complete numbers, all of which are kept; None if there is a gap.

    The numbers of a table are uint8 if all its columns are, else float32 if all their types fit.
    """
    found: dict[Place, list[ReadColumn]] = {table.where: [] for table in tables}
    types: dict[Place, set[np.dtype[Any]]] = {table.where: set() for table in tables}
    notes, held = [], _are_held(tables, names)
    for pieces in _pieces(tables, names):
        if not all(map(_is_complete, pieces)):
            return None
        for table, piece in zip(tables, pieces, strict=True):
            numbers = _plain(piece)
            types[table.where].add(numbers.dtype)
            read = partial(np.asarray, numbers) if held else table.again(piece.name, _plain)
            found[table.where].append(read)
        notes += _row_names(pieces)
    x = {t.where: ByColumn(found[t.where], t.rows, _common(types[t.where])) for t in tables}
    return Columns(x, list(names), notes=notes)


def _is_complete(piece: Piece) -> bool:
    """Whether a column of numbers has no gap: neither null nor NaN."""
    values = piece.values
    if values.null_count:
        return False
    return not (pa.types.is_floating(values.type) and np.isnan(arrow_numpy.values(values)).any())


def _plain(piece: Piece) -> npt.NDArray[Any]:
    """Return complete numbers [N]: bytes as they are, others as floats."""
    if piece.values.type == pa.uint8():
        return arrow_numpy.values(piece.values)
    return kinds.floats(piece.values, piece.name, piece.where)


def _common(types: set[np.dtype[Any]]) -> np.dtype[Any]:
    """Return the type of a table whose columns have these types."""
    return np.result_type(*types) if len(types) > 1 else types.pop()


def _are_held(tables: Sequence[Opened], names: Sequence[str]) -> bool:
    return sum(len(table.there) for table in tables) * len(names) <= HELD


def read(tables: Sequence[Opened], layout: Layout, data: Data) -> Columns:
    """Read the feature columns of all tables.

    Args:
        tables: the tables of all parts.
        layout: names the columns.
        data: `categorical` and `numeric` overrule what is found out about a column.

    Raises:
        InputError: a value or a type breaks a rule, or no column is left.
    """
    found, about = Columns({}), _About()
    columns: list[list[ReadColumn]] = []
    held = _are_held(tables, layout.features)
    for pieces in _pieces(tables, layout.features):
        with refused(pieces[0].of, "cannot be read"):
            if column := _column(pieces, found, about, data):
                columns.append(
                    [
                        _read(*each, column.kind, held)
                        for each in zip(tables, pieces, column.values, strict=True)
                    ]
                )
    if not found.names:
        raise InputError(
            f"{tables[0].where}: must have a column that tells the classes apart. Given: "
            f"{listed(about.left_out)}; name a column in categorical or numeric to keep it"
        )
    for table, of_table in zip(tables, zip(*columns, strict=True), strict=True):
        found.x[table.where] = ByColumn(of_table, table.rows, np.float64)
    found.notes = about.notes()
    return found


@dataclass
class _About:
    """What is said about columns: {reason: names}, and other lists of names."""

    left_out: list[str] = field(default_factory=list)
    few: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    gap_words: dict[str, str] = field(default_factory=dict)

    def notes(self) -> list[str]:
        notes = [f"left out: column {each}" for each in self.left_out]
        if self.few:
            notes.append(
                f"whole numbers with up to {judged.FEW} different values stay numbers: "
                f"{listed(self.few, 12)}; name such a column in categorical if they are codes"
            )
        if self.texts:
            notes.append(
                f"numbers that are written as text are categories: {listed(self.texts, 12)}; name "
                f"such a column in numeric if they are numbers"
            )
        if self.odd:
            notes.append(
                f"amounts, dates or times that are written as text are categories: "
                f"{listed(self.odd, 12)}; write them as numbers or dates if their order matters"
            )
        return notes + gap_words.notes(self.gap_words)


def _pieces(tables: Sequence[Opened], names: Sequence[str]) -> Iterator[list[Piece]]:
    """Yield each column as its pieces in all tables. Memory holds only some columns at a time."""
    at_once = max(1, 4 * VALUES_AT_ONCE // max(1, sum(len(table.there) for table in tables)))
    for start in range(0, len(names), at_once):
        group = list(names[start : start + at_once])
        contents = []
        for table in tables:
            with table.reading():
                contents.append(table.read(group))
        for name in group:
            yield [t.piece(name, content) for t, content in zip(tables, contents, strict=True)]


@dataclass(frozen=True)
class _Column:
    """A column that is used: its kind, and its numbers or codes in each table."""

    kind: Kind
    values: Sequence[npt.NDArray[Any]]


def _column(pieces: Sequence[Piece], found: Columns, about: _About, data: Data) -> _Column | None:
    """Find out what a column is; None if it is left out."""
    name, place = pieces[0].name, len(found.names)
    named = name in data.categorical or name in data.numeric
    kind = kinds.kind_of(pieces, name in data.categorical, name in data.numeric)
    texts = arrow_numpy.texts([])
    values: list[Any]
    if kind == "category":
        values, texts = kinds.categories(pieces)
    else:
        values = [_numbers(piece, kind) for piece in pieces]
    judged_text = not named and len(texts) > 0 and any(base(p.type) == "text" for p in pieces)
    all_numbers = judged_text and judged.refuse_few_texts(pieces, values, texts)
    unread = judged_text and not all_numbers and judged.refuse_unread(pieces, values, texts)
    why = None if named else judged.useless(kind, pieces, values)
    if judged_text and not why and judged.is_free_text(pieces, values, texts):
        why = "it is free text"
    if why and all_numbers:
        why += "; name it in numeric if they are numbers"
    if why:
        about.left_out.append(f"{listed([name])}, as {why}")
        return None
    if kind == "category":
        about.gap_words[name] = gap_words.often(pieces[0].values, ("None",))
    if all_numbers:
        about.texts.append(name)
    if unread:
        about.odd.append(name)
    if kind == "number" and not named and judged.has_few(values):
        about.few.append(name)
    found.gaps = found.gaps or any(len(judged.there(v)) < len(v) for v in values)
    found.names.append(name)
    if kind == "category":
        found.categories[place] = tuple(texts.to_pylist())
    elif kind == "date":
        found.dates.append(place)
    return _Column(kind, values)


def _numbers(piece: Piece, kind: Kind) -> npt.NDArray[np.float64]:
    return kinds.dates(piece) if kind == "date" else kinds.numbers(piece)


def _read(
    table: Opened, piece: Piece, values: npt.NDArray[Any], kind: Kind, held: bool
) -> ReadColumn:
    """Return what gives the numbers of a column of a table."""
    if kind == "category":
        small = values.astype(np.min_scalar_type(-1 - int(values.max(initial=0))))
        return partial(_of_codes, small)
    if held:
        return partial(np.asarray, values)
    return table.again(piece.name, partial(_numbers, kind=kind))


def _of_codes(codes: Codes) -> npt.NDArray[np.float64]:
    """Return codes as numbers; a gap, whose code is -1, is NaN."""
    return np.where(codes < 0, np.nan, codes)


def refuse_unused_names(data: Data, layout: Layout, where: Place) -> None:
    """Raise InputError unless the columns that the study names are features of the table."""
    for option in ("categorical", "numeric"):
        wrong = set(getattr(data, option)) - set(layout.features)
        if wrong:
            labels = ", the labels" if layout.target in wrong else ""
            raise InputError(
                f"{where}: {option} must name columns that are features: "
                f"{listed(layout.features, 12) or 'none'}. Given: {listed(sorted(wrong))}{labels}"
            )


def _row_names(pieces: Sequence[Piece]) -> list[str]:
    """Return a note if a column of complete numbers seems to name the rows."""
    types = [piece.values.type for piece in pieces]
    if not all(pa.types.is_integer(kind) and kind != pa.uint8() for kind in types):
        return []
    why = judged.useless("number", pieces, [*map(kinds.numbers, pieces)])
    if not (why and why.startswith("its number")):
        return []
    return [f"column {listed([pieces[0].name])} may mislead, as {why}; drop leaves it out"]
