"""Finds the type of a column of texts, and turns the texts into values of that type.

A column gets the first of `TYPES` that holds all its texts, and stays text otherwise. Blanks around
texts do not count. Whole numbers with leading zeros, such as 007 or 0x1F, and
those too long for 64 bits are codes, not quantities: text.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

Types = tuple[pa.DataType, ...]

WHOLE, NUMBER, DATE, ZONED = pa.int64(), pa.float64(), pa.timestamp("us"), pa.timestamp("us", "UTC")
TYPES: Types = (WHOLE, NUMBER, DATE, ZONED)
"""Dates are of ISO 8601, for example 2024-01-31 or 2024-01-31T12:00:00Z."""

GAPS = (
    "", "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NaN", "nan", "-NaN", "-nan", "NaT",
    "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN", "None", "NULL", "null",
)  # fmt: skip
"""The texts that stand for a missing value: those of pandas' readers, and NaT."""

_CODES = {WHOLE: r"^\s*[-+]?0[0-9xX]", NUMBER: r"^\s*[-+]?(0[0-9xX]|[0-9]{18})"}
_OTHER = {
    decimal: rf"^\s*[-+]?(0|[1-9][0-9]{{0,16}})({other}[0-9]+)?\s*$"  # no codes such as 007
    for decimal, other in ((".", ","), (",", r"\."))
}


def types(column: pa.ChunkedArray, among: Types, decimal: str, gaps: Sequence[str]) -> Types:
    """Return those types of `among` that hold all texts of a column, or of a part of a column.

    A column without any text keeps all types. No type means that the column is text.
    """
    if not among or column.null_count == len(column):
        return among
    for kind in among:
        if typed(column, kind, decimal, gaps) is not None:
            code = _CODES.get(kind)
            if code and pc.any(pc.match_substring_regex(column, code)).as_py():
                return ()
            wider = (NUMBER,) if kind == WHOLE else ()
            return tuple(each for each in among if each in (kind, *wider))
    return ()


def first_other(column: pa.ChunkedArray, among: Types, decimal: str, gaps: Sequence[str]) -> int:
    """Return the position of the first text because of which no type of `among` holds a column."""
    start, stop = 0, len(column)
    while stop - start > 1:
        middle = (start + stop) // 2
        if types(column.slice(start, middle - start), among, decimal, gaps):
            start = middle
        else:
            stop = middle
    return start


def typed(
    column: pa.ChunkedArray, kind: pa.DataType, decimal: str, gaps: Sequence[str]
) -> pa.ChunkedArray | None:
    """Return the values of a column of texts, or None if a text is no value of this type."""
    if kind == NUMBER and decimal != ".":
        if pc.any(pc.match_substring(column, ".")).as_py():
            return None
        column = pc.replace_substring(column, decimal, ".")
    try:
        return column.cast(kind)
    except pa.ArrowInvalid:
        pass
    try:
        return stripped(column, gaps).cast(kind)
    except pa.ArrowInvalid:
        return None


def stripped(column: pa.ChunkedArray, gaps: Sequence[str]) -> pa.ChunkedArray:
    """Return texts without blanks around them; those of `gaps` are then null."""
    plain = pc.utf8_trim_whitespace(column)
    is_gap = pc.is_in(plain, pa.array(gaps, plain.type))
    return pc.if_else(is_gap, pa.scalar(None, plain.type), plain)


def two_spellings(columns: Sequence[pa.ChunkedArray], decimal: str) -> tuple[str, ...]:
    """Return two spellings of a number with decimals, such as 1.1 and 1.10; () if there are none.

    Args:
        columns: the same column of all files, as texts that are all numbers.
        decimal: the character before the decimals.
    """
    texts: set[str] = set()
    for column in columns:
        texts |= set(pc.unique(column.drop_null()).to_pylist())
    found: dict[float, str] = {}
    for text in sorted(texts):
        number = float(text.replace(decimal, "."))
        if number % 1 and found.setdefault(number, text) != text:
            return found[number], text
    return ()


def has_other_decimals(column: pa.ChunkedArray, decimal: str) -> bool:
    """Whether all texts of a column are numbers if the decimals follow the other character.

    The character is "," where `decimal` is ".", and the other way round.
    """
    return bool(pc.all(pc.match_substring_regex(column, _OTHER[decimal])).as_py())
