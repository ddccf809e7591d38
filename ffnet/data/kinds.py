"""Finds out what a column of a table is: numbers, categories or dates, and turns it into numbers.

The rules, for a column that neither `categorical` nor `numeric` names:

- Text, booleans and dictionaries are categories; whole numbers and other numbers are numbers.
- Dates and timestamps are dates. Those with a time zone are converted to UTC.

Which columns are left out or refused for what they hold: see `judged`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ffnet.data import arrow_numpy, features, text_columns
from ffnet.data.columns import base
from ffnet.data.encoding import Kind
from ffnet.data.raw import Place, listed
from ffnet.errors import InputError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]
Numbers = Floats | Codes

GAPS = ("", "nan", "NaN", "NaT", "<NA>", "None")
"""Texts that stand for a gap in a column of categories, as they do in a column of labels."""
NUMBER = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"
MOST_CATEGORIES = 2**24 - 2
"""float32, in which the codes of categories are held, has no more whole numbers without a gap."""
YEAR_1, YEAR_10_000 = -719_162, 2_932_897
"""Days from 1970-01-01 to the first days of these years."""
PER_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


@dataclass(frozen=True)
class Piece:
    """A column in one table.

    Attributes:
        name: the name of the column.
        where: the table, and the rows that have a label.
        type: the type of the column, with the dictionary around it.
        values: the plain values of these rows.
        trained_on: whether the table is one of the training part.
    """

    name: str
    where: Place
    type: pa.DataType
    values: pa.ChunkedArray
    trained_on: bool = True

    @property
    def of(self) -> str:
        """What messages call the column."""
        return f"{self.where}: column {listed([self.name])}"


def kind_of(pieces: Sequence[Piece], categorical: bool, numeric: bool) -> Kind:
    """Return the kind of a column, judged by its types in all tables and by the study.

    Raises:
        InputError: the types in two tables do not go together.
    """
    filled = [piece for piece in pieces if base(piece.type) != "nothing"]
    found = {base(piece.type) for piece in filled}
    if categorical:
        return "category"
    if found == {"dates"}:
        return "date"
    if numeric or not found or ("numbers" in found and found <= {"numbers", "booleans"}):
        return "number"
    first = filled[0]
    words = base(first.type)
    for piece in filled:
        texts = words in ("text", "a dictionary") and base(piece.type) != "dates"
        if not texts and base(piece.type) != words:
            raise InputError(
                f"{piece.of} must hold {words}. Given: {piece.type}, but {first.type} in "
                f"{first.where}; write it alike everywhere, or name it in categorical"
            )
    return "category"


# --- numbers and dates ---------------------------------------------------------------------------


def numbers(piece: Piece) -> Floats:
    """Return a column of numbers as float64 [N]; a gap is NaN.

    Raises:
        InputError: a value is infinite, or no number, or one that float64 cannot hold.
    """
    column = piece.values
    if base(column.type) == "dates":
        return dates(piece)
    if base(column.type) == "text":
        column = _parsed(piece)
    there = arrow_numpy.valid(column)
    if pa.types.is_floating(column.type):
        there = there & ~np.isnan(arrow_numpy.values(column))
    if there.all():
        whole = floats(column, piece.name, piece.where)
        return whole.astype(np.float64, copy=False)
    found = np.full(len(there), np.nan)
    if there.any():
        filled = column.filter(arrow_numpy.bools(there))
        found[there] = floats(filled, piece.name, piece.where.at(there))
    return found


def floats(column: pa.ChunkedArray, name: str, where: Place) -> Array:
    """Return a column of numbers without nulls as floats [N].

    Args:
        column: the numbers.
        name: the name of the column.
        where: the table.

    Raises:
        InputError: a value is infinite, or one that float64 cannot hold.
    """
    if pa.types.is_decimal(column.type):
        rounded = column.cast(pa.float64())
        same = pc.equal(rounded.cast(column.type, safe=False), column)
        if not pc.all(same).as_py():
            at = pc.index(same, False).as_py()
            raise InputError(
                f"{where}: features must be numbers that float64 holds. Given: {column[at]} in "
                f"column {listed([name])}, {where.row(at)}, of type {column.type}; write it with "
                f"fewer digits"
            )
        column = rounded
    return features.as_floats(arrow_numpy.values(column)[:, None], where, [name])[:, 0]


def _parsed(piece: Piece) -> pa.ChunkedArray:
    """Read numbers that are written as text."""
    column = pc.utf8_trim_whitespace(_without_gaps(piece.values))
    words = pc.utf8_lower(column)
    if pc.all(pc.is_in(words.drop_null(), pa.array(["true", "false"], words.type))).as_py():
        return pc.equal(words, "true").cast(pa.float64())
    wrong = pc.fill_null(pc.invert(pc.match_substring_regex(column, NUMBER)), False)
    if pc.any(wrong).as_py():
        at = pc.index(wrong, True).as_py()
        raise InputError(
            f"{piece.of} must hold numbers, as numeric says. Given: {listed([column[at]])} in "
            f"{piece.where.row(at)}; write numbers as 1.5, make gaps empty, or take the column out "
            f"of numeric"
        )
    if (at := text_columns.rounded(column)) is not None:
        raise InputError(
            f"{piece.of} must hold numbers that float64 holds, as numeric says. Given: "
            f"{column[at]} in {piece.where.row(at)}; take the column out of numeric, or write "
            f"fewer digits"
        )
    return column.cast(pa.float64())


def _without_gaps(column: pa.ChunkedArray) -> pa.ChunkedArray:
    gaps = pc.is_in(column, pa.array(GAPS, column.type))
    return pc.if_else(gaps, pa.scalar(None, column.type), column)


def dates(piece: Piece) -> Floats:
    """Return a column of dates as days since 1970-01-01 in UTC, float64 [N]; a gap is NaN.

    Raises:
        InputError: a date is one that exported nets cannot read, as its year has no four digits.
    """
    column = piece.values
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("ms"))
    found = arrow_numpy.values(column.cast(pa.int64())) / PER_DAY[column.type.unit]
    found[~arrow_numpy.valid(column)] = np.nan
    outside = (found < YEAR_1) | (found >= YEAR_10_000)
    if outside.any():
        at = int(outside.argmax())
        raise InputError(
            f"{piece.of} must hold dates of the years 1 to 9999. Given: {found[at]:.0f} days from "
            f"1970-01-01 in {piece.where.row(at)}; make it null if it stands for a gap, or leave "
            f"the column out with drop"
        )
    return found


# --- categories ----------------------------------------------------------------------------------


def categories(pieces: Sequence[Piece]) -> tuple[list[Codes], pa.LargeStringArray]:
    """Return a column's categories as codes, int32 [N] for each table, and all its categories.

    A code is a position in the categories, which are in the order of their texts; a gap is -1.
    Numbers become texts as Python writes them, whole ones without a point; dates become ISO texts.
    Blanks around a text do not count.
    """
    for piece in pieces:
        if base(piece.values.type) == "dates":
            dates(piece)  # refuses those that have no text
    coded = [encoded(piece.values) for piece in pieces]
    found = [(at, pc.utf8_trim_whitespace(different)) for at, different in coded]
    every = known(pa.chunked_array([different for _, different in found], pa.large_string()))
    if len(every) > MOST_CATEGORIES:
        raise InputError(
            f"{pieces[0].of} must have up to {MOST_CATEGORIES:,} categories. Given: "
            f"{len(every):,}; leave it out with drop"
        )
    return [placed(at, different, every) for at, different in found], every


def known(texts: pa.Array | pa.ChunkedArray) -> pa.LargeStringArray:
    """Return the different texts, sorted, without those that stand for a gap."""
    every = pc.unique(texts)
    every = every.filter(pc.invert(pc.is_in(every, value_set=arrow_numpy.texts(GAPS))))
    return every.take(pc.array_sort_indices(every))


def placed(at: Codes, different: pa.LargeStringArray, every: pa.LargeStringArray) -> Codes:
    """Return the positions in `every` of texts [N] whose positions in `different` are `at`.

    A text that is not there, and a position of -1, becomes -1.
    """
    place = pa.chunked_array([pc.index_in(different, value_set=every)])
    known = np.where(arrow_numpy.valid(place), arrow_numpy.values(place), np.int32(-1))
    return np.append(known, np.int32(-1))[at]


def encoded(column: pa.ChunkedArray) -> tuple[Codes, pa.LargeStringArray]:
    """Return the positions of a column's values in an array of texts, int32 [N]; -1 for a null.

    Two texts of the array may be equal. No Python object is made for each row.
    """
    if base(column.type) == "nothing":
        return np.full(len(column), -1, np.int32), arrow_numpy.texts([])
    if base(column.type) == "dates":
        kind = column.type
        if pa.types.is_timestamp(kind):
            column = column.cast(pa.timestamp(kind.unit))  # in UTC, without the time zone
        # Whatever the unit of the type is, midnight and whole seconds are written alike.
        column = pc.replace_substring_regex(column.cast(pa.string()), r"\.0+$", "")
        column = pc.replace_substring_regex(column, " 00:00:00$", "")
    coded = column.dictionary_encode().unify_dictionaries()
    at = pa.chunked_array([chunk.indices for chunk in coded.chunks], pa.int32())
    codes = np.where(arrow_numpy.valid(at), arrow_numpy.values(at), np.int32(-1))
    different = coded.chunk(0).dictionary if coded.num_chunks else arrow_numpy.texts([])
    if base(different.type) == "text":
        return codes, different.cast(pa.large_string())
    plain = different.to_pylist()
    if pa.types.is_float16(column.type) or pa.types.is_float32(column.type):
        plain = [float(str(np.float32(value))) for value in plain]  # 0.1, not 0.10000000149
    return codes, arrow_numpy.texts(map(_text, plain))


def _text(value: Any) -> str:
    """Return the text of a category that is no text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float | Decimal) and value == value // 1:
        value = int(value)
    return str(value)
