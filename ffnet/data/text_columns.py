"""Finds the type of a column of texts, and turns the texts into values of that type.

A column gets the first of `TYPES` that holds all its texts, and stays text otherwise. Blanks around
texts do not count. Whole numbers with leading zeros, such as 007 or 0x1F, and
those too long for 64 bits are codes, not quantities: text.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ffnet.data import arrow_numpy

Types = tuple[pa.DataType, ...]

WHOLE, NUMBER, DATE, ZONED = pa.int64(), pa.float64(), pa.timestamp("us"), pa.timestamp("us", "UTC")
TYPES: Types = (WHOLE, NUMBER, DATE, ZONED)
"""Dates are of ISO 8601, for example 2024-01-31 or 2024-01-31T12:00:00Z."""

FIRST = 100
"""So many texts are tried before all others."""
LONG = 18
"""A number with so many digits may be a code."""
GAPS = (
    "", "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NaN", "nan", "-NaN", "-nan", "NaT",
    "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN", "None", "NULL", "null",
)  # fmt: skip
"""The texts that stand for a missing value: those of pandas' readers, and NaT."""

_CODES = {WHOLE: r"^\s*[-+]?0[0-9xX]", NUMBER: r"^\s*[-+]?(0[0-9xX]|[0-9]{18})"}
_WIDE = r"^\s*[-+]?[1-9][0-9]{15,}\s*$"  # 2^53 has 16 digits
_OTHER = {
    decimal: rf"^\s*[-+]?(0|[1-9][0-9]{{0,16}})({other}[0-9]+)?\s*$"  # no codes such as 007
    for decimal, other in ((".", ","), (",", r"\."))
}


def rounded(column: pa.ChunkedArray) -> int | None:
    """Return the position of the first whole number that float64 would round, or None."""
    wide = pc.match_substring_regex(column, _WIDE)
    if not pc.any(wide).as_py():
        return None
    at = np.flatnonzero(np.asarray(pc.fill_null(wide, False)))
    texts = column.take(pa.array(at)).to_pylist()
    return next(
        (int(i) for i, text in zip(at, texts, strict=True) if int(text) != int(float(text))), None
    )


def _float64_holds(column: pa.Array, values: pa.Array) -> bool:
    """Whether float64 holds all whole numbers of a part of a column of numbers."""
    if values.type not in (WHOLE, NUMBER):
        return True
    ends = [end for end in pc.min_max(values).as_py().values() if end is not None]
    return max(map(abs, ends), default=0) < 2**53 or rounded(column) is None


def first_other(column: pa.Array, among: Types, decimal: str, gaps: Sequence[str]) -> int:
    """Return the position of the first text because of which no type of `among` holds a column."""
    start, stop = 0, len(column)
    while stop - start > 1:
        middle = (start + stop) // 2
        if typed(column.slice(start, middle - start), among, decimal, gaps)[0]:
            start = middle
        else:
            stop = middle
    return start


def typed(
    column: pa.Array, among: Types, decimal: str, gaps: Sequence[str]
) -> tuple[Types, pa.Array]:
    """Return those types of `among` that hold all texts of a part of a column, and its values.

    The values are of the first of these types. A part without any text keeps all types, and has
    nulls of no type. No type means that the column is text: then the values are the texts.
    """
    if among and column.null_count == len(column):
        return among, pa.nulls(len(column))
    for kind in among:
        values = _cast(column, kind, decimal, gaps)
        if values is not None:
            code = _CODES.get(kind)
            if code and _any_matches(code, column):
                break
            exact = NUMBER not in among or _float64_holds(column, values)
            if kind == NUMBER and not exact:
                break
            wider = (NUMBER,) if kind == WHOLE and exact else ()
            return tuple(each for each in among if each in (kind, *wider)), values
    return (), column


def _cast(
    column: pa.Array, kind: pa.DataType, decimal: str, gaps: Sequence[str]
) -> pa.Array | None:
    """Return the values of a part of a column, or None if a text is no value of this type."""
    if len(column) > FIRST and _cast(column[:FIRST], kind, decimal, gaps) is None:
        return None  # PyArrow is slow to refuse many texts
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


def _any_matches(code: str, column: pa.StringArray) -> bool:
    """Whether a text is a code, such as 007.

    The bytes of all texts are looked at first: a code begins with a blank, or with a 0 (after a
    sign) that no point follows, or it is long. The regular expression then sees only such texts.
    """
    _, ends, content = column.buffers()
    if content is None or not content.size:
        return False
    bound = np.frombuffer(ends, np.int32)[column.offset : column.offset + len(column) + 1]
    text, start, length = np.frombuffer(content, np.uint8), bound[:-1], np.diff(bound)
    last = len(text) - 1
    first = text[np.minimum(start, last)]
    start = start + ((first == ord("+")) | (first == ord("-")))
    zero = text[np.minimum(start, last)] == ord("0")
    after = text[np.minimum(start + 1, last)]
    maybe = (zero & (after != ord(".")) & (after != ord(","))) | (first <= ord(" ")) | (first > 127)
    maybe = (maybe & (length > 1)) | (length >= LONG)
    found = column.filter(arrow_numpy.bools(maybe))
    return bool(pc.any(pc.match_substring_regex(found, code)).as_py())


def stripped(column: pa.ChunkedArray, gaps: Sequence[str]) -> pa.ChunkedArray:
    """Return texts without blanks around them; those of `gaps` are then null."""
    plain = pc.utf8_trim_whitespace(column)
    is_gap = pc.is_in(plain, value_set=arrow_numpy.texts(gaps).cast(plain.type))
    return pc.if_else(is_gap, pa.nulls(1, plain.type)[0], plain)


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


def has_other_decimals(column: pa.Array, decimal: str) -> bool:
    """Whether all texts of a column are numbers if the decimals follow the other character.

    The character is "," where `decimal` is ".", and the other way round.
    """
    return bool(pc.all(pc.match_substring_regex(column, _OTHER[decimal])).as_py())
