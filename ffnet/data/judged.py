"""Judges what a column of a table says: whether a net can learn from it, and whether its texts are
what they seem.

A column is left out, with a note, if it has no value; if all its values are equal; if it is text or
a whole number that is different in each row, and so names the row (a whole number must also have a
name like `id`, or count the rows); and if it is free text: sentences that hardly repeat. The
training tables alone decide about this, as only they show a net what a column means.

A column in which nearly all texts, or all but a few different ones, are numbers is refused: the
other texts may stand for gaps. So are amounts, dates and times as text that ffnet does not read.
"""

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ffnet.data import arrow_numpy, looks
from ffnet.data.encoding import Kind
from ffnet.data.kinds import NUMBER, Codes, Numbers, Piece
from ffnet.data.raw import listed
from ffnet.errors import InputError, one_line

NEARLY = 0.9
"""If this share of a column's texts are numbers, the others are suspected to stand for gaps."""
FEW_OTHERS = 3
"""So many different texts, or fewer, among many numbers are suspected, too, however frequent."""
FEW = 10
"""Whole numbers with so many different values or fewer may be codes of categories."""
NAMES_ROWS = re.compile(r"(.*[\W_])?(id|key|uuid|guid|index|nr|no|row)|.*(Id|ID)", re.DOTALL)
WORDS = 5
"""Free text has so many words or more on average."""


def useless(kind: Kind, pieces: Sequence[Piece], values: Sequence[Numbers]) -> str | None:
    """Say why a column is left out: the end of a sentence; None if it is used.

    Args:
        kind: what the column is.
        pieces: the column in each table.
        values: its numbers, float64 [N], or its codes, int32 [N], in each table.
    """
    trained_on = [v for piece, v in zip(pieces, values, strict=True) if piece.trained_on]
    every = np.concatenate([*map(there, trained_on)])
    others = np.concatenate([*map(there, values)])
    gaps = sum(map(len, trained_on)) - len(every)
    if not len(every):
        return "it has no value" + " in the training part" * bool(len(others))
    if not gaps and every.min() == every.max():
        elsewhere = bool((others != every[0]).any())
        return "all its values are equal" + " in the training part" * elsewhere
    if len(every) <= 2 or len(every) <= gaps:
        return None
    if kind == "category" and _each_once(trained_on):
        return "its text is different in each row, and so only names the row"
    whole = kind == "number" and all(pa.types.is_integer(piece.values.type) for piece in pieces)
    named = NAMES_ROWS.fullmatch(pieces[0].name.strip()) is not None
    if whole and (_counts_rows(values) or (named and _each_once(trained_on))):
        return "its number is different in each row, and so only names the row"
    return None


def there(values: Numbers) -> Numbers:
    """Return the numbers or codes that are no gaps."""
    return values[values >= 0] if values.dtype.kind == "i" else values[~np.isnan(values)]


def has_few(values: Sequence[Numbers]) -> bool:
    """Whether a column holds whole numbers of FEW different values, which may be codes."""
    every = np.concatenate([*map(there, values)])
    first = every[:1000]
    if len(np.unique(first)) > FEW or (first != np.rint(first)).any():
        return False
    different = np.unique(every)
    return 2 < len(different) <= FEW and bool((different == np.rint(different)).all())


def _each_once(values: Sequence[Numbers]) -> bool:
    """Whether no value stands twice in a table. Values of two tables may be equal."""

    def once(v: Numbers) -> bool:
        return len(np.unique(v)) == len(v)

    return all(once(v[:1000]) and once(v) for v in map(there, values))


def _counts_rows(values: Sequence[Numbers]) -> bool:
    """Whether the values are consecutive numbers, each once, in each table or in all together."""

    def counts(v: Numbers) -> bool:
        if len(v) < FEW or v.max() - v.min() != len(v) - 1:  # also where a gap is
            return False
        return bool((np.diff(np.sort(v)) == 1).all())

    return all(map(counts, values)) or counts(np.concatenate([*values]))


def is_free_text(
    pieces: Sequence[Piece], codes: Sequence[Codes], texts: pa.LargeStringArray
) -> bool:
    """Whether a column of categories holds sentences that hardly repeat."""
    trained_on = [v for piece, v in zip(pieces, codes, strict=True) if piece.trained_on]
    counts = np.bincount(there(np.concatenate(trained_on)), minlength=len(texts))
    used, texts = int(counts.sum()), texts.filter(arrow_numpy.bools(counts > 0))
    if 2 * len(texts) <= used or len(texts) <= 2:
        return False
    words = pc.sum(pc.count_substring_regex(texts, r"\S+")).as_py()
    return bool(words >= WORDS * len(texts))


def refuse_few_texts(
    pieces: Sequence[Piece], codes: Sequence[Codes], texts: pa.LargeStringArray
) -> bool:
    """Refuse a column of numbers with a few texts among them. Return whether all are numbers.

    Raises:
        InputError: names the first text that is no number, its file and its row.
    """
    numbers = pc.match_substring_regex(pc.utf8_trim_whitespace(texts), NUMBER)
    is_number = arrow_numpy.values(pa.chunked_array([numbers]))
    if is_number.all():
        return bool(len(texts))
    used = sum(len(there(v)) for v in codes)
    odd = [np.flatnonzero((v >= 0) & ~is_number[v]) for v in codes]
    rare = used - sum(map(len, odd)) >= NEARLY * used
    few = len(texts) - is_number.sum() <= min(FEW_OTHERS, len(texts) // FEW)
    if is_number.sum() < FEW or not (rare or few):
        return False
    first = next(i for i, rows in enumerate(odd) if len(rows))
    piece, at = pieces[first], odd[first][0]
    text = listed([texts[int(codes[first][at])]])
    raise InputError(
        f"{piece.of} must hold numbers, or texts that are no numbers. Given: "
        f"{text!r} in {piece.where.row(int(at))} among numbers; name "
        f"such texts in missing if they stand for gaps, or the column in categorical"
    )


def refuse_unread(
    pieces: Sequence[Piece], codes: Sequence[Codes], texts: pa.LargeStringArray
) -> bool:
    """Refuse amounts, dates and times that are texts. Return whether they are, but only a FEW.

    Raises:
        InputError: names a text, its file and its row, and what to do.
    """
    apart = len(texts) // looks.MOST + 1
    what = looks.like([texts[i].as_py() for i in range(0, len(texts), apart)])
    if what is None or len(texts) <= FEW:
        return what is not None
    every = texts.to_pylist()
    odd = np.array([not looks.is_like(text, what) for text in every], bool)
    odd = odd if odd.any() else np.array([not looks.is_read(text) for text in every], bool)
    odd = odd if odd.any() else ~odd
    at = [np.flatnonzero((v >= 0) & odd[v]) for v in codes]
    first = next(i for i, rows in enumerate(at) if len(rows))
    piece, row = pieces[first], at[first][0]
    text = every[codes[first][row]]
    given = f"{text!r} in {piece.where.row(int(row))}"
    if not odd.all():
        like = next(text for text, is_odd in zip(every, odd, strict=True) if not is_odd)
        given += f", beside {like!r}; make it null (CSV: missing) if it stands for a gap"
    raise InputError(
        f"{piece.of} must hold numbers or dates as ffnet reads them. Given: {what} as text, "
        f"{one_line(given, 160)}; {looks.REMEDIES[what]}, or name the column in categorical or drop"
    )
