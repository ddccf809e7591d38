"""Says where a word that may be a value, such as None or NA, counts as a gap in many rows."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ffnet.data import arrow_numpy
from ffnet.data.raw import listed

WORDS = ("None", "NA")
"""pandas' readers take these words for gaps, too."""
MANY = 0.05
"""A word is told of from this share of the rows on."""


def often(column: pa.ChunkedArray, words: Sequence[str] = WORDS) -> str:
    """Return the word that is in many rows of a column; "" if there is none, or it has no texts."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return ""
    counts = {
        word: pc.sum(pc.is_in(column, value_set=arrow_numpy.texts([word]))).as_py() or 0
        for word in words
    }
    return next((word for word, count in counts.items() if count > MANY * len(column)), "")


def notes(words: dict[str, str]) -> list[str]:
    """Return a note for {name of a column: the word that is a gap in many of its rows, or ""}."""
    told = [f"{listed([name])} ({word})" for name, word in words.items() if word]
    note = (
        f"words that count as gaps in many rows: {listed(told, 12)}; where such a word is a value, "
        f"write another one, so that it differs from real gaps"
    )
    return [note] if told else []
