"""Reads the columns of tables that have categories, dates or gaps, a few columns at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ffnet.data import kinds
from ffnet.data.columns import Layout, base, stored
from ffnet.data.kinds import Floats, Piece
from ffnet.data.raw import VALUES_AT_ONCE, Place, listed, refused
from ffnet.errors import InputError
from ffnet.spec.sections import Data

Read = Callable[[list[str]], pa.Table]
"""Reads the named columns of a table."""


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


@dataclass
class Columns:
    """The columns of all tables as numbers.

    Attributes:
        x: {table: its numbers, float64 [columns, N]}.
        names: the names of the columns that are used.
        categories, dates, notes: as in `Raw`.
        gaps: whether a value is missing.
    """

    x: dict[Place, Floats]
    names: list[str] = field(default_factory=list)
    categories: dict[int, tuple[str, ...]] = field(default_factory=dict)
    dates: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    gaps: bool = False


def read(tables: Sequence[Opened], layout: Layout, data: Data) -> Columns:
    """Read the feature columns of all tables.

    Args:
        tables: the tables of all parts.
        layout: names the columns.
        data: `categorical` and `numeric` overrule what is found out about a column.

    Raises:
        InputError: a value or a type breaks a rule, or no column is left.
    """
    rows = [np.flatnonzero(table.there) for table in tables]
    found = Columns(
        {
            t.where: np.empty((len(layout.features), len(r)))
            for t, r in zip(tables, rows, strict=True)
        }
    )
    about = _About()
    for pieces in _pieces(tables, rows, layout.features):
        with refused(pieces[0].of, "cannot be read"):
            _add(pieces, found, about, data)
    if not found.names:
        raise InputError(
            f"{tables[0].where}: must have a column that tells the classes apart. Given: "
            f"{listed(about.left_out)}; name a column in categorical or numeric to keep it"
        )
    found.x = {where: x[: len(found.names)] for where, x in found.x.items()}
    found.notes = about.notes()
    return found


@dataclass
class _About:
    """What is said about columns: {reason: names}, and other lists of names."""

    left_out: list[str] = field(default_factory=list)
    few: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        notes = [f"left out: column {each}" for each in self.left_out]
        if self.few:
            notes.append(
                f"whole numbers with up to {kinds.FEW} different values stay numbers: "
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
        return notes


def _pieces(
    tables: Sequence[Opened], rows: Sequence[npt.NDArray[np.intp]], names: Sequence[str]
) -> Iterator[list[Piece]]:
    """Yield each column as its pieces in all tables. Memory holds only some columns at a time."""
    at_once = max(1, 4 * VALUES_AT_ONCE // max(1, sum(len(table.there) for table in tables)))
    for start in range(0, len(names), at_once):
        group = list(names[start : start + at_once])
        contents = []
        for table in tables:
            with table.reading():
                contents.append(table.read(group))
        for name in group:
            pieces = []
            for table, content, kept in zip(tables, contents, rows, strict=True):
                values = stored(content[name])
                values = (
                    values if len(kept) == len(values) else values.filter(pa.array(table.there))
                )
                kind = table.schema.field(name).type
                pieces.append(Piece(name, table.where.at(kept), kind, values, table.trained_on))
            yield pieces


def _add(pieces: Sequence[Piece], found: Columns, about: _About, data: Data) -> None:
    """Turn a column into numbers and put it after the columns before, unless it is left out."""
    name, place = pieces[0].name, len(found.names)
    named = name in data.categorical or name in data.numeric
    kind = kinds.kind_of(pieces, name in data.categorical, name in data.numeric)
    texts: tuple[str, ...] = ()
    if kind == "category":
        values, texts = kinds.categories(pieces)
    else:
        values = [kinds.dates(p) if kind == "date" else kinds.numbers(p) for p in pieces]
    judged_text = not named and texts and any(base(piece.type) == "text" for piece in pieces)
    all_numbers = judged_text and kinds.refuse_few_texts(pieces, values, texts)
    unread = judged_text and not all_numbers and kinds.refuse_unread(pieces, values, texts)
    why = None if named else kinds.useless(kind, pieces, values)
    if judged_text and not why and kinds.is_free_text(pieces, values, texts):
        why = "it is free text"
    if why and all_numbers:
        why += "; name it in numeric if they are numbers"
    if why:
        about.left_out.append(f"{listed([name])}, as {why}")
        return
    if all_numbers:
        about.texts.append(name)
    if unread:
        about.odd.append(name)
    if kind == "number" and not named and kinds.has_few(values):
        about.few.append(name)
    for piece, numbers in zip(pieces, values, strict=True):
        found.x[piece.where][place] = numbers
        found.gaps = found.gaps or bool(np.isnan(numbers).any())
    found.names.append(name)
    if kind == "category":
        found.categories[place] = texts
    elif kind == "date":
        found.dates.append(place)


def refuse_unused_names(data: Data, layout: Layout, where: Place) -> None:
    """Raise InputError unless the columns that the study names are features of the table."""
    for option in ("categorical", "numeric"):
        wrong = set(getattr(data, option)) - set(layout.features)
        if wrong:
            raise InputError(
                f"{where}: {option} must name columns that are features: "
                f"{listed(layout.features, 12) or 'none'}. Given: {listed(sorted(wrong))}"
            )
    if both := set(data.categorical) & set(data.numeric):
        raise InputError(
            f"a column must be in one of categorical and numeric. Given: {listed(sorted(both))} in "
            f"both"
        )


def row_names(contents: Mapping[Place, pa.Table], names: Sequence[str]) -> list[str]:
    """Return a note for each column of complete numbers that seems to name the rows."""
    notes = []
    for name in names:
        columns = {where: stored(content[name]) for where, content in contents.items()}
        if all(pa.types.is_integer(c.type) and c.type != pa.uint8() for c in columns.values()):
            pieces = [Piece(name, w, c.type, c) for w, c in columns.items()]
            why = kinds.useless("number", pieces, [*map(kinds.numbers, pieces)])
            if why and why.startswith("its number"):
                notes.append(f"column {listed([name])} may mislead, as {why}; drop leaves it out")
    return notes


def is_complete(table: pa.Table) -> bool:
    """Whether columns of numbers have no gap: neither null nor NaN."""
    for column in map(stored, table.columns):
        if column.null_count:
            return False
        if pa.types.is_floating(column.type) and np.isnan(column.to_numpy()).any():
            return False
    return True
