"""Reads the labels of files: finds missing labels and gives each label the number of its class."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ffnet.data.columns import has_control, is_list, is_number, stored
from ffnet.data.raw import listed
from ffnet.errors import InputError

Array = npt.NDArray[Any]

GAPS = ("", "nan", "NaN", "NaT", "<NA>", "None")
"""The texts that pandas and NumPy write for a missing label when they turn labels into text."""
LONGEST = 200
"""A label may have up to so many characters."""
KINDS = {"i": "whole numbers", "U": "text", "b": "true or false"}


@dataclass(frozen=True)
class Labels:
    """The labels of a file.

    Attributes:
        values: the labels without the missing ones, [M]: int64, bool or text.
        there: whether each row has a label, bool [N]; M of them are true.
        width: the number of classes if the labels were one-hot rows, else None.
    """

    values: Array
    there: Array
    width: int | None = None

    def without(self, missing: Array) -> "Labels":
        """Return these labels without some of them. `missing` is bool [M]."""
        there = self.there.copy()
        there[there] = ~missing
        return Labels(self.values[~missing], there, self.width)

    def form(self) -> str:
        """Return what kind of labels these are, in words. All files of a set need the same kind."""
        if self.width is not None:
            return f"one-hot rows of width {self.width}"
        return KINDS[self.values.dtype.kind]


def from_array(y: Array, where: str) -> Labels:
    """Read labels from an array [N] or [N, 1], or from one-hot rows [N, classes].

    Args:
        y: the array, as the file has it.
        where: what messages call the file and the array.

    Raises:
        InputError: the values cannot be classes.
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2 and len(y):
        return _one_hot(y, where)
    if y.ndim != 1:
        raise InputError(f"{where}: needs one label for each example. Given: labels of {y.shape}")
    if y.dtype.kind not in "OUSbiuf":
        raise InputError(f"{where}: labels must be {_kinds()}. Given: {listed([y.dtype])}")
    there = np.array([_is_there(v) for v in y]) if y.dtype.kind == "O" else y == y
    there = np.array(there, bool)
    found = Labels(_plain(y[there], where), there)
    return found.without(np.isin(found.values, GAPS)) if found.values.dtype.kind == "U" else found


def _is_there(value: Any) -> bool:
    """Whether a Python object is a label. None, NaN, NaT and pandas' NA are not."""
    try:
        return value is not None and bool(value == value)
    except (TypeError, ValueError):  # pandas' NA raises this: NA == NA is neither true nor false
        return False


def from_column(column: pa.ChunkedArray, where: str) -> Labels:
    """Read labels from a column of Arrow, like `from_array`. Nulls are missing labels."""
    column = stored(column)
    if is_list(column.type):
        return _from_lists(column, where)
    there = np.array(pc.is_valid(column), bool)
    column = column.drop_null()
    if pa.types.is_nested(column.type) or pa.types.is_temporal(column.type):
        raise InputError(f"{where}: labels must be {_kinds()}. Given: {column.type}")
    found = from_array(column.to_numpy(), where)
    there[there] = found.there
    return Labels(found.values, there)


def _from_lists(column: pa.ChunkedArray, where: str) -> Labels:
    """Read labels from a column of lists: one-hot rows, or lists that hold a single label."""
    lengths = pc.list_value_length(column).to_numpy()
    rows = np.flatnonzero(np.asarray(pc.is_valid(column)))
    if not len(rows):
        return Labels(np.empty(0, np.int64), np.zeros(len(column), bool))
    width = int(lengths[rows[0]])
    other = rows[lengths[rows] != width]
    if len(other):
        raise InputError(
            f"{where}: all lists of labels must have one length. Given: {width} values in row "
            f"{rows[0]} and {lengths[other[0]]:.0f} in row {other[0]} (counted from 0)"
        )
    if width == 1:
        return from_column(pc.list_element(column, 0), where)
    values = stored(pa.chunked_array([column.drop_null().combine_chunks().flatten()]))
    if not is_number(values.type):
        raise InputError(f"{where}: needs one label for each example. Given: {column.type}")
    y = np.full((len(column), width), np.nan)  # a null list stays a row of NaN
    y[rows] = values.cast(pa.float64(), safe=False).to_numpy().reshape(len(rows), width)
    return from_array(y, where)


def refuse_missing(labels: Labels, where: str) -> None:
    """Raise InputError if a row has no label. The message tells how many, and the first row."""
    missing = np.flatnonzero(~labels.there)
    if len(missing):
        raise InputError(
            f"{where}: each row needs a label. Given: {len(missing):,} of {len(labels.there):,} "
            f"rows have none, the first is row {missing[0]} (counted from 0); add the labels, or "
            f"leave these rows out with drop_unlabelled = true (the texts {', '.join(GAPS[1:])} "
            f"count as missing: give such a class another name)"
        )


def of_one_kind(columns: Mapping[str, Labels]) -> None:
    """Raise InputError if two columns of labels are of different kinds or one-hot widths.

    Args:
        columns: {what messages call a column: its labels}.
    """
    forms = {where: found.form() for where, found in columns.items() if len(found.values)}
    if len(set(forms.values())) > 1:
        (first, one), (other, another) = list({form: w for w, form in forms.items()}.items())[:2]
        raise InputError(
            f"labels must be of one kind everywhere. Given: {first} in {one}, {other} in "
            f"{another}; write all in the same way"
        )


def numbered(
    parts: Mapping[str, Array], names: Sequence[str] | None, where: str
) -> tuple[dict[str, npt.NDArray[np.int32]], tuple[str, ...]]:
    """Return labels as class numbers from 0, int32 [N] for each part, and the class names.

    Args:
        parts: {part: labels [N]}, all of the same kind; the part "train" must be among them.
        names: the class names if they are known. Labels that are whole numbers are then positions
            in `names`. With None, the sorted labels of "train" are the classes and their names.
        where: what messages call the file.

    Raises:
        InputError: there are fewer than two classes, or more than half as many classes as
            examples, or a label is not a class.
    """
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
            f"different labels of {len(train):,} examples; name the column with target"
        )


def _one_hot(y: Array, where: str) -> Labels:
    """Read one-hot rows: zeros with a single 1 at the class. A row of NaN has no label."""
    given = f"Given: labels of {y.shape}"
    rule = f"{where}: needs one label for each example, or one-hot rows with a single 1"
    if y.dtype.kind not in "biuf" or not y.size:
        raise InputError(f"{rule}. {given}")
    there = ~(y != y).all(axis=1)
    wrong = there & ~(((y == 0) | (y == 1)).all(axis=1) & ((y == 1).sum(axis=1) == 1))
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(f"{rule}. {given}, row {row} (counted from 0) has {listed(y[row])}")
    return Labels(y[there].argmax(axis=1).astype(np.int64), there, y.shape[1])


def _plain(y: Array, where: str) -> Array:
    """Return labels as int64, bool or text. Raises InputError for values that cannot be classes."""
    if y.dtype.kind == "O":
        y = _of_objects(y, where)
    if y.dtype.kind == "b":
        return y
    if y.dtype.kind == "U":
        return _of_characters(y, where)
    if y.dtype.kind == "S":
        return _decoded(y.tolist(), where)
    if y.dtype.kind == "f":
        fractions = y[y != np.rint(y)]
        if len(fractions) or (len(y) and float(abs(y).max()) >= 2**53):
            shown = fractions[0] if len(fractions) else abs(y).max()
            raise InputError(
                f"{where}: labels must be classes: {_kinds()}. Given: the number {shown!s}; ffnet "
                f"classifies, it predicts no quantities"
            )
    elif y.dtype.kind == "u" and len(y) and y.max() > np.iinfo(np.int64).max:
        raise InputError(f"{where}: labels must be below 2^63. Given: {y.max()}")
    return y.astype(np.int64)


def _of_objects(y: Array, where: str) -> Array:
    """Turn an array of Python objects into an array of their type, which all must share."""
    types = {type(value) for value in y}
    if types <= {bytes}:
        return _decoded(y.tolist(), where)
    if len(types) > 1 and not types <= {int, float}:
        given = ", ".join(sorted(t.__name__ for t in types))
        raise InputError(f"{where}: labels must be of one kind. Given: {given}")
    if types <= {str}:
        return _texts(y.tolist(), where)
    values = np.array(y.tolist())
    if values.dtype.kind == "O":  # for example decimals
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
    _refuse_control(y, where)  # first, as NumPy drops a NUL at the end: two labels may become one
    return np.array(y, dtype=np.str_)


def _of_characters(y: Array, where: str) -> Array:
    """Return text of NumPy. Raises InputError if it holds numbers that are no characters."""
    y = np.ascontiguousarray(y.astype(y.dtype.newbyteorder("=")))
    codes = y.view(np.uint32) if y.itemsize else np.empty(0, np.uint32)
    if ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))).any():
        raise InputError(f"{where}: labels must be text. Given: numbers that are no characters")
    _refuse_long(np.strings.str_len(y).max(initial=0), where)
    _refuse_control(y.tolist(), where)
    return y


def _refuse_long(longest: int, where: str) -> None:
    if longest > LONGEST:
        raise InputError(
            f"{where}: labels must have up to {LONGEST} characters. Given: a label of {longest:,}"
        )


def _refuse_control(y: Iterable[str], where: str) -> None:
    wrong = [label for label in sorted(set(y)) if has_control(label)]
    if wrong:
        raise InputError(
            f"{where}: labels must have no control characters, such as line breaks or NUL. Given: "
            f"{listed(map(repr, wrong))}; strip them"
        )


def _decoded(y: list[bytes], where: str) -> Array:
    try:
        return _texts([value.decode() for value in y], where)
    except UnicodeDecodeError:
        raise InputError(f"{where}: labels of bytes must be text in UTF-8") from None


def _kinds() -> str:
    return "text, whole numbers, or true and false"
