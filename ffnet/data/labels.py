"""Reads the labels of files: finds missing labels and gives each label the number of its class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ffnet.data import arrow_numpy, kinds
from ffnet.data.coded import Coded
from ffnet.data.columns import base, has_control, is_list, is_number, stored
from ffnet.data.kinds import GAPS
from ffnet.data.raw import Place, Raw, listed
from ffnet.errors import InputError

Array = npt.NDArray[Any]

LONGEST = 200
"""A label may have up to so many characters."""
KINDS = {"i": "whole numbers", "U": "text", "b": "true or false"}


@dataclass(frozen=True)
class Labels:
    """The labels of a file.

    Attributes:
        values: the labels without the missing ones, [M]: int64, bool or text. The texts of a
            column of Arrow are `Coded`.
        there: whether each row has a label, bool [N]; M of them are true.
        width: the number of classes if the labels were one-hot rows, else None.
    """

    values: Array | Coded
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


def from_array(y: Array, where: Place) -> Labels:
    """Read labels from an array [N] or [N, 1], or from one-hot rows [N, classes].

    Args:
        y: the array, as the file has it.
        where: the column or array.

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
    values = _plain(y[there], where if there.all() else where.at(there))
    found = Labels(values, there)
    return found.without(np.isin(values, GAPS)) if values.dtype.kind == "U" else found


def _is_there(value: Any) -> bool:
    """Whether a Python object is a label. None, NaN, NaT and pandas' NA are not."""
    try:
        return value is not None and bool(value == value)
    except (TypeError, ValueError):  # pandas' NA raises this: NA == NA is neither true nor false
        return False


def from_column(column: pa.ChunkedArray, where: Place) -> Labels:
    """Read labels from a column of Arrow, like `from_array`. Nulls are missing labels."""
    column = stored(column)
    if is_list(column.type):
        return _from_lists(column, where)
    if base(column.type) == "text":
        return _from_texts(column, where)
    there = arrow_numpy.valid(column)
    column = column.drop_null()
    if pa.types.is_nested(column.type):
        raise InputError(f"{where}: labels must be {_kinds()}. Given: {column.type}")
    if pa.types.is_temporal(column.type):
        given = f"{column[0]!s} in {where.row(int(there.argmax()))}, " if len(column) else ""
        raise InputError(
            f"{where}: labels must be {_kinds()}. Given: {given}of type {column.type}; write "
            f"classes as text, for example day 2024-01-31"
        )
    plain = base(column.type) in ("numbers", "booleans") and not pa.types.is_decimal(column.type)
    found = from_array(
        arrow_numpy.values(column) if plain else column.to_numpy(),
        where if there.all() else where.at(there),
    )
    there[there] = found.there
    return Labels(found.values, there)


def _from_texts(column: pa.ChunkedArray, where: Place) -> Labels:
    """Read labels from a column of texts. Only the different texts become Python objects."""
    at, texts = kinds.encoded(column)
    different = texts.to_pylist()
    if any(len(text) > LONGEST or has_control(text) for text in different):
        _, first = np.unique(at, return_index=True)
        _texts(different, where.at(first[-len(different) :]))  # names the first such row
    plain = pc.utf8_trim_whitespace(texts)
    every = kinds.known(plain)
    codes = kinds.placed(at, plain, every)
    there = codes >= 0
    return Labels(Coded(codes[there], np.array(every.to_pylist(), np.str_)), there)


def _from_lists(column: pa.ChunkedArray, where: Place) -> Labels:
    """Read labels from a column of lists: one-hot rows, or lists that hold a single label."""
    lengths = pc.list_value_length(column).to_numpy()
    rows = np.flatnonzero(arrow_numpy.valid(column))
    if not len(rows):
        return Labels(np.empty(0, np.int64), np.zeros(len(column), bool))
    width = int(lengths[rows[0]])
    other = rows[lengths[rows] != width]
    if len(other):
        raise InputError(
            f"{where}: all lists of labels must have one length. Given: {width} values in "
            f"{where.row(rows[0])} and {lengths[other[0]]:.0f} in {where.row(other[0])}"
        )
    if width == 1:
        return from_column(pc.list_element(column, 0), where)
    values = stored(pa.chunked_array([column.drop_null().combine_chunks().flatten()]))
    if not is_number(values.type):
        raise InputError(f"{where}: needs one label for each example. Given: {column.type}")
    y = np.full((len(column), width), np.nan)  # a null list stays a row of NaN
    y[rows] = values.cast(pa.float64(), safe=False).to_numpy().reshape(len(rows), width)
    return from_array(y, where)


def refuse_missing(labels: Labels, where: Place, gaps: Sequence[str] = GAPS) -> None:
    """Raise InputError if a row has no label. The message tells how many, and the first row.

    Args:
        labels: the labels.
        where: the column or array.
        gaps: the texts that stand for a missing label.
    """
    missing = np.flatnonzero(~labels.there)
    if len(missing):
        raise InputError(
            f"{where}: each row needs a label. Given: {len(missing):,} of {len(labels.there):,} "
            f"rows have none, the first is {where.row(missing[0])}; add the labels, or "
            f"leave these rows out with drop_unlabelled = true (the texts "
            f"{listed(filter(None, gaps), 30)} count as missing: give such a class another name)"
        )


def of_one_kind(columns: Mapping[Place, Labels]) -> None:
    """Raise InputError if two columns of labels are of different kinds or one-hot widths.

    Args:
        columns: {table, column or array: its labels}.
    """
    forms = {where: found.form() for where, found in columns.items() if len(found.values)}
    if len(set(forms.values())) > 1:
        (first, one), (other, another) = list({form: w for w, form in forms.items()}.items())[:2]
        raise InputError(
            f"labels must be of one kind everywhere. Given: {first} in {one}, {other} in "
            f"{another}; write all in the same way"
        )


def numbered(
    parts: Mapping[str, Array | Coded], names: Sequence[str] | None, raw: Raw
) -> tuple[dict[str, npt.NDArray[np.int32]], tuple[str, ...]]:
    """Return labels as class numbers from 0, int32 [N] for each part, and the class names.

    Args:
        parts: {part: labels [N]}, all of the same kind; the part "train" must be among them.
        names: the class names if they are known. Labels that are whole numbers are then positions
            in `names`. With None, the sorted labels of "train" are the classes and their names.
        raw: names files and rows in messages.

    Raises:
        InputError: there are fewer than two classes, or more than half as many classes as
            examples, or a label is not a class.
    """
    parts = {
        part: y if isinstance(y, Coded) or y.dtype.kind != "b" else y.astype(np.str_)
        for part, y in parts.items()
    }
    train = parts["train"]
    if names is not None and train.dtype.kind == "i":
        classes: Array = np.arange(len(names))
    elif names is not None:
        classes = np.array(sorted(names))
    else:
        classes = _different(train)
        _refuse_no_classes(classes, train, raw)
    order = {name: i for i, name in enumerate(names or map(str, classes))}
    if len(order) < 2:
        raise InputError(
            f"{raw.origin('train')[0].y}: needs two classes or more. Given: only "
            f"{listed(order)}; add rows of other classes, or name another column with target"
        )
    number = np.array(
        [i if train.dtype.kind == "i" else order[str(c)] for i, c in enumerate(classes)]
    )
    found = {}
    for part, y in parts.items():
        each, row = (y.texts, y.codes) if isinstance(y, Coded) else (y, slice(None))
        at = np.searchsorted(classes, each).clip(max=len(classes) - 1)
        unknown = (classes[at] != each)[row]
        if unknown.any():
            raise InputError(_unknown(y, unknown, raw, part, classes, names))
        found[part] = number[at].astype(np.int32)[row]
    return found, tuple(order)


def _different(y: Array | Coded) -> Array:
    return y.different() if isinstance(y, Coded) else np.unique(y)


def _unknown(
    y: Array | Coded,
    unknown: Array,
    raw: Raw,
    part: str,
    classes: Array,
    names: Sequence[str] | None,
) -> str:
    origin, at = raw.origin(part, int(unknown.argmax()))
    given = (
        f"Given: {listed(_different(y[unknown]))} in {int(unknown.sum()):,} rows, the first is "
        f"{origin.y.row(at)}"
    )
    if names is not None and y.dtype.kind == "i":
        return f"{origin.y}: labels must be 0 to {len(names) - 1}. {given}"
    return f"{origin.y}: a label must be a class of the training part: {listed(classes)}. {given}"


def _refuse_no_classes(classes: Array, train: Array | Coded, raw: Raw) -> None:
    if len(train) > 2 and len(classes) > len(train) / 2:
        raise InputError(
            f"{raw.origin('train')[0].y}: labels must name classes that many examples "
            f"share. Given: {len(classes):,} different labels of {len(train):,} examples; name the "
            f"column with target"
        )


def _one_hot(y: Array, where: Place) -> Labels:
    """Read one-hot rows: zeros with a single 1 at the class. A row of NaN has no label."""
    given = f"Given: labels of {y.shape}"
    rule = f"{where}: needs one label for each example, or one-hot rows with a single 1"
    if y.dtype.kind not in "biuf" or not y.size:
        raise InputError(f"{rule}. {given}")
    there = ~(y != y).all(axis=1)
    wrong = there & ~(((y == 0) | (y == 1)).all(axis=1) & ((y == 1).sum(axis=1) == 1))
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(f"{rule}. {given}, {where.row(row)} has {listed(y[row])}")
    return Labels(y[there].argmax(axis=1).astype(np.int64), there, y.shape[1])


def _plain(y: Array, where: Place) -> Array:
    """Return labels as int64, bool or text without blanks around it.

    Raises:
        InputError: the values cannot be classes.
    """
    if y.dtype.kind == "O":
        y = _of_objects(y, where)
    if y.dtype.kind == "b":
        return y
    if y.dtype.kind == "U":
        return _of_characters(y, where)
    if y.dtype.kind == "S":
        return _decoded(y.tolist(), where)
    if y.dtype.kind == "f":
        if (odd := (y != np.rint(y)) | (abs(y) >= np.float64(2**53))).any():
            raise InputError(
                f"{where}: labels must be classes: {_kinds()}. Given: the number "
                f"{_first(y, odd, where)}; ffnet classifies, it predicts no quantities: write "
                f"classes as text, for example v1.10"
            )
    elif y.dtype.kind == "u" and (high := y > np.uint64(np.iinfo(np.int64).max)).any():
        raise InputError(f"{where}: labels must be below 2^63. Given: {_first(y, high, where)}")
    return y.astype(np.int64)


def _first(y: Array, wrong: Array, where: Place) -> str:
    """Return the first wrong label, and its row. `wrong` is bool [N]."""
    at = int(np.argmax(wrong))
    return f"{y[at]!s} in {where.row(at)}"


def _of_objects(y: Array, where: Place) -> Array:
    """Turn an array of Python objects into an array of their type, which all must share."""
    types = {type(value): at for at, value in reversed([*enumerate(y)])}
    if types.keys() <= {bytes}:
        return _decoded(y.tolist(), where)
    if len(types) > 1 and not types.keys() <= {int, float}:
        given = " and ".join(
            f"{t.__name__} in {where.row(types[t])}" for t in sorted(types, key=_name)[:3]
        )
        raise InputError(f"{where}: labels must be of one kind. Given: {given}; write all as text")
    if types.keys() <= {str}:
        return _texts(y.tolist(), where)
    values = np.array(y.tolist())
    if values.dtype.kind == "O":  # for example decimals
        at = next((at for at, value in enumerate(y) if not _is_whole(value)), None)
        if at is None:
            return np.array([int(value) for value in y], np.int64)
        raise InputError(
            f"{where}: labels must be {_kinds()}. Given: {listed([y[at]])} of type "
            f"{type(y[at]).__name__} in {where.row(at)}"
        )
    return values


def _name(kind: type) -> str:
    return kind.__name__


def _is_whole(value: Any) -> bool:
    """Whether a Python object, for example a decimal, is a whole number of up to 64 bits."""
    try:
        return int(value) == value and -(2**63) <= int(value) < 2**63
    except (TypeError, ValueError, OverflowError):
        return False


def _texts(y: list[str], where: Place) -> Array:
    _refuse_long(np.array([*map(len, y)], np.intp), where)
    _refuse_control(y, where)  # first, as NumPy drops a NUL at the end: two labels may become one
    return np.strings.strip(np.array(y, dtype=np.str_))


def _of_characters(y: Array, where: Place) -> Array:
    """Return text of NumPy. Raises InputError if it holds numbers that are no characters."""
    y = np.ascontiguousarray(y.astype(y.dtype.newbyteorder("=")))
    codes = y.view(np.uint32) if y.itemsize else np.empty(0, np.uint32)
    wrong = (codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))
    if wrong.any():
        row = where.row(int(wrong.argmax()) // (len(codes) // len(y)))
        raise InputError(
            f"{where}: labels must be text. Given: numbers that are no characters in {row}"
        )
    _refuse_long(np.strings.str_len(y), where)
    _refuse_control(y.tolist(), where)
    return np.strings.strip(y)


def _refuse_long(lengths: Array, where: Place) -> None:
    if lengths.max(initial=0) > LONGEST:
        at = int(lengths.argmax())
        raise InputError(
            f"{where}: labels must have up to {LONGEST} characters. Given: a label of "
            f"{lengths[at]:,} in {where.row(at)}; is another column meant by target?"
        )


def _refuse_control(y: Sequence[str], where: Place) -> None:
    wrong = {label for label in set(y) if has_control(label)}
    if wrong:
        at = next(at for at, label in enumerate(y) if label in wrong)
        raise InputError(
            f"{where}: labels must have no control characters, such as line breaks or NUL. Given: "
            f"{listed([repr(y[at])])} in {where.row(at)}; strip them"
        )


def _decoded(y: list[bytes], where: Place) -> Array:
    texts = []
    for at, value in enumerate(y):
        try:
            texts.append(value.decode())
        except UnicodeDecodeError:
            raise InputError(
                f"{where}: labels of bytes must be text in UTF-8. Given: {listed([value])} in "
                f"{where.row(at)}"
            ) from None
    return _texts(texts, where)


def _kinds() -> str:
    return "text, whole numbers, or true and false"
