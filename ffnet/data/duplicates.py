"""Counts the examples of the validation and test parts that the training part has, too.

A net may remember such an example, and then its accuracy says less about new examples. The
examples stay where they are: a set may rightly have equal rows, for example of few categories.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ffnet.data.raw import Array, blocks

Hashes = npt.NDArray[np.uint64]

WORDS = ((8, np.uint64), (4, np.uint32), (2, np.uint16), (1, np.uint8))
ODD = np.uint64(0x9E3779B97F4A7C15)
HALF = np.uint64(32)


def notes(parts: Mapping[str, Hashes]) -> tuple[str, ...]:
    """Return a sentence for each part that has examples of the training part.

    Two examples count as equal if all their features are; labels are not compared. Rows are
    compared by a hash of 64 bits: 8 bytes for each example, and among 10 million examples a wrong
    match is to be expected once in a million sets.

    Args:
        parts: {"train", "validation" and perhaps "test": `hashes` of the part's features, as they
            stand in the files}.
    """
    there = np.sort(parts["train"])
    found = []
    for name, part in parts.items():
        if name != "train":
            count = int(_among(part, there).sum())
            if count:
                found.append(
                    f"{count:,} of {len(part):,} {name} examples have the same features as an "
                    f"example of the training part"
                )
    return tuple(found)


def hashes(x: Array) -> Hashes:
    """Return a hash of each example of `x` [N, ...]. NaN equals NaN, and 0.0 equals -0.0."""
    found = np.empty(len(x), np.uint64)
    for rows in blocks(x):
        words = _words(np.ascontiguousarray(x[rows]).reshape(rows.stop - rows.start, -1))
        hashed = np.zeros(len(words), np.uint64)
        for word in words.T:
            _add(word, hashed)
        found[rows] = hashed
    return found


def add_column(values: Array, hashed: Hashes) -> None:
    """Change the hash of each row of a table by its value in one more column, [N]."""
    for rows in blocks(values):
        _add(_words(values[rows, None].astype(np.float64))[:, 0], hashed[rows])


def _add(word: Array, hashed: Hashes) -> None:
    hashed ^= word
    hashed *= ODD
    hashed ^= hashed >> HALF


def _words(rows: Array) -> Array:
    """Return rows [N, D] as unsigned numbers of up to 64 bits. Equal rows have equal words."""
    if rows.dtype.kind == "f":
        rows = rows.astype(np.float64) + 0.0  # -0.0 becomes 0.0
        rows[np.isnan(rows)] = np.nan  # there are many NaNs
        return rows.view(np.uint64)
    size = rows.shape[1] * rows.itemsize
    return rows.view(next(word for width, word in WORDS if size % width == 0))


def _among(values: Hashes, known: Hashes) -> npt.NDArray[np.bool_]:
    """Whether each value is among the known ones, which are sorted."""
    at = np.searchsorted(known, values).clip(max=len(known) - 1)
    return np.asarray(known[at] == values)
