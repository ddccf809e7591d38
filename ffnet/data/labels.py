"""Labels as they stand in files: which are missing, what they are, and which class each means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ffnet.data.raw import listed
from ffnet.errors import InputError

Array = npt.NDArray[Any]

GAPS = ("", "nan", "NaN", "NaT", "<NA>")
"""What pandas and NumPy make of a missing label when they turn labels into text."""
LONGEST = 200
"""Characters of a label."""
KINDS = {"i": "whole numbers", "U": "text", "b": "true or false"}


@dataclass(frozen=True)
class Labels:
    """The labels of a file.

    Attributes:
        values: the labels that are there, [M]: int64, bool or text.
        there: which of the rows have a label, bool [N], M of them true.
    """

    values: Array
    there: Array

    def without(self, missing: Array) -> "Labels":
        """The same, with some of the labels [M] being missing after all."""
        there = self.there.copy()
        there[there] = ~missing
        return Labels(self.values[~missing], there)


def from_array(y: Array, where: str) -> Labels:
    """The labels of an array [N] or [N, 1], or one-hot [N, classes].

    Args:
        y: the array as it stands in the file.
        where: the file and the array, for messages.

    Raises:
        InputError: the labels can be no classes.
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2 and len(y):
        return _one_hot(y, where)
    if y.ndim != 1:
        raise InputError(f"{where}: needs one label for each example. Given: labels of {y.shape}")
    if y.dtype.kind not in "OUSbiuf":
        raise InputError(f"{where}: labels must be {_kinds()}. Given: {listed([y.dtype])}")
    there = np.array([v is not None and v == v for v in y]) if y.dtype.kind == "O" else y == y
    there = np.array(there, bool)
    found = Labels(_plain(y[there], where), there)
    return found.without(np.isin(found.values, GAPS)) if found.values.dtype.kind == "U" else found


def from_column(column: pa.ChunkedArray, where: str) -> Labels:
    """The labels of a column of Arrow: as `from_array`, nulls are missing labels."""
    there = np.array(pc.is_valid(column), bool)
    column = column.drop_null()
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        values: Array = np.array(column.to_pylist())
        if values.ndim != 2 and len(column):
            raise InputError(f"{where}: needs one label for each example. Given: {column.type}")
    elif pa.types.is_nested(column.type) or pa.types.is_temporal(column.type):
        raise InputError(f"{where}: labels must be {_kinds()}. Given: {column.type}")
    else:
        values = column.to_numpy()
    found = from_array(values, where)
    there[there] = found.there
    return Labels(found.values, there)


def refuse_missing(labels: Labels, where: str) -> None:
    """Raise InputError with the count and the first row, if a row has no label."""
    missing = np.flatnonzero(~labels.there)
    if len(missing):
        raise InputError(
            f"{where}: each row needs a label. Given: {len(missing):,} of {len(labels.there):,} "
            f"rows without, the first is row {missing[0]} (counted from 0); add the labels, or "
            f"leave these rows out with --drop-unlabelled true"
        )


def of_one_kind(columns: Mapping[str, Array]) -> None:
    """Raise InputError if two columns of labels are of different kinds.

    Args:
        columns: what to call each column → its labels.
    """
    kinds = {where: y.dtype.kind for where, y in columns.items() if len(y)}
    if len(set(kinds.values())) > 1:
        (first, one), (other, another) = list({kind: w for w, kind in kinds.items()}.items())[:2]
        raise InputError(
            f"labels must be of one kind everywhere. Given: {KINDS[first]} in {one}, "
            f"{KINDS[other]} in {another}; write them in one way"
        )


def numbered(
    parts: Mapping[str, Array], names: Sequence[str] | None, where: str
) -> tuple[dict[str, npt.NDArray[np.int32]], tuple[str, ...]]:
    """Labels as numbers 0 to classes - 1, and the class names.

    Args:
        parts: the labels of each part, "train" among them.
        names: the class names where they are known; whole numbers are then positions in it.
            None: the classes are the labels of "train", in their order, each its own name.
        where: the file, for messages.

    Raises:
        InputError: fewer than two classes, nearly as many as examples, or a label that is none.
    """
    of_one_kind({f"{where} ({part})": y for part, y in parts.items()})
    parts = {p: y.astype(np.str_) if y.dtype.kind == "b" else y for p, y in parts.items()}
    train = parts["train"]
    if names is not None and train.dtype.kind == "i":
        classes: Array = np.arange(len(names))
    elif names is not None:
        classes = np.array(sorted(names))
    else:
        classes = np.unique(train)
        _refuse_no_classes(classes, train, where)
    order = {name: i for i, name in enumerate(names or map(str, classes))}
    if len(order) < 2:
        raise InputError(f"{where}: needs two classes or more. Given: {len(order)}")
    number = np.array(
        [i if train.dtype.kind == "i" else order[str(c)] for i, c in enumerate(classes)]
    )
    found = {}
    for part, y in parts.items():
        at = np.searchsorted(classes, y).clip(max=len(classes) - 1)
        unknown = classes[at] != y
        if unknown.any():
            raise InputError(_unknown(y, unknown, f"{where} ({part})", classes, names))
        found[part] = number[at].astype(np.int32)
    return found, tuple(order)


def _unknown(
    y: Array, unknown: Array, where: str, classes: Array, names: Sequence[str] | None
) -> str:
    given = f"Given: {listed(np.unique(y[unknown]))} in {int(unknown.sum()):,} rows"
    if names is not None and y.dtype.kind == "i":
        return f"{where}: labels must be 0 to {len(names) - 1}. {given}"
    return f"{where}: a label must be a class of the training part: {listed(classes)}. {given}"


def _refuse_no_classes(classes: Array, train: Array, where: str) -> None:
    if len(train) > 2 and len(classes) > len(train) / 2:
        raise InputError(
            f"{where}: labels must name classes that many examples share. Given: {len(classes):,} "
            f"different labels of {len(train):,} examples; name the column with --target"
        )


def _one_hot(y: Array, where: str) -> Labels:
    """Rows of zeros with a single 1 say which class it is, and nothing else does."""
    if y.dtype.kind not in "biuf" or not ((y == 0) | (y == 1)).all() or (y.sum(axis=1) != 1).any():
        raise InputError(
            f"{where}: needs one label for each example, or one-hot rows with a single 1. Given: "
            f"labels of {y.shape}"
        )
    return Labels(y.argmax(axis=1).astype(np.int64), np.ones(len(y), bool))


def _plain(y: Array, where: str) -> Array:
    """Labels without gaps as int64, bool or text; refuses what can be no class."""
    if y.dtype.kind == "O":
        y = _of_objects(y, where)
    if y.dtype.kind == "b":
        return y
    if y.dtype.kind == "U":
        return _of_characters(y, where)
    if y.dtype.kind == "S":
        return _decoded(y.tolist(), where)
    if y.dtype.kind == "f":
        y = y.astype(np.float64)
        fractions = y[y != np.rint(y)]
        if len(fractions) or (len(y) and abs(y).max() >= 2**53):
            shown = fractions[0] if len(fractions) else abs(y).max()
            raise InputError(
                f"{where}: labels must be classes: {_kinds()}. Given: the number {shown}; ffnet "
                f"classifies, it predicts no quantities"
            )
    elif y.dtype.kind == "u" and len(y) and y.max() > np.iinfo(np.int64).max:
        raise InputError(f"{where}: labels must be below 2^63. Given: {y.max()}")
    return y.astype(np.int64)


def _of_objects(y: Array, where: str) -> Array:
    """An array of Python objects as one of the only type that they have."""
    types = {type(value) for value in y}
    if types <= {bytes}:
        return _decoded(y.tolist(), where)
    if len(types) > 1:
        given = ", ".join(sorted(t.__name__ for t in types))
        raise InputError(f"{where}: labels must be of one kind. Given: {given}")
    if types <= {str}:
        return _texts(y.tolist(), where)
    values = np.array(y.tolist())
    if values.dtype.kind == "O":  # e.g. decimals
        try:
            whole = [int(value) for value in y]
            if all(a == b for a, b in zip(whole, y, strict=True)):
                return np.array(whole, np.int64)
        except (TypeError, ValueError, OverflowError):
            pass
        raise InputError(f"{where}: labels must be {_kinds()}. Given: {types.pop().__name__}")
    return values


def _texts(y: list[str], where: str) -> Array:
    _refuse_long(max(map(len, y), default=0), where)
    return np.array(y, dtype=np.str_)


def _of_characters(y: Array, where: str) -> Array:
    """Text as NumPy keeps it, if it is text: NumPy itself takes any numbers for characters."""
    y = np.ascontiguousarray(y.astype(y.dtype.newbyteorder("=")))
    codes = y.view(np.uint32) if y.itemsize else np.empty(0, np.uint32)
    if ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))).any():
        raise InputError(f"{where}: labels must be text. Given: numbers that are no characters")
    _refuse_long(np.strings.str_len(y).max(initial=0), where)
    return y


def _refuse_long(longest: int, where: str) -> None:
    if longest > LONGEST:
        raise InputError(
            f"{where}: labels must have up to {LONGEST} characters. Given: one of {longest:,}"
        )


def _decoded(y: list[bytes], where: str) -> Array:
    try:
        return _texts([value.decode() for value in y], where)
    except UnicodeDecodeError:
        raise InputError(f"{where}: labels of bytes must be text in UTF-8") from None


def _kinds() -> str:
    return "text, whole numbers, or true and false"
