"""Turns the values of a request into arrays. NumPy alone would accept more than a model should."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from ffnet.errors import one_line

Array = npt.NDArray[Any]


RULES = {
    "number": "a finite number, or null for a gap",
    "category": "a text, a number, true or false, or null for a gap",
    "date": "a date such as 2024-02-29 or 2024-02-29T12:30:00, or null for a gap",
}
"""What a value of a table's column must be, by the column's kind."""

LONGEST = 300
"""Limit for the characters of a reason. In a longer reason the middle is cut out."""


class Refused(Exception):  # noqa: N818 - it is not an error of the server
    """Refuses a request with a status of 4xx and a reason: the rule, and the value received.

    The reason is a single line of printable characters, whatever the request holds.
    """

    def __init__(
        self, reason: str, status: int = 400, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(one_line(reason, LONGEST))
        self.status, self.headers = status, headers or {}


@dataclass(frozen=True)
class Input:
    """An input of a model.

    Attributes:
        name: its name in requests.
        dtype: its dtype; object for text.
        shape: the shape of a row.
        kind: "number", "category" or "date" for a column of a table, which may have gaps; else
            None.
        signature_name: its name in the signature, if that is another one.
        gaps: texts that stand for a gap, as they did in the data.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    kind: str | None = None
    signature_name: str | None = None
    gaps: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """Its name in the signature."""
        return self.signature_name or self.name

    @property
    def empty(self) -> Any:
        """What stands for no value: a gap, where the input may have gaps."""
        return "" if self._is_text else np.nan if self.kind else 0

    def array(self, values: object, each: bool = False) -> Array:
        """Turn the nested lists of a request into an array [N, …] of the input's dtype.

        Args:
            values: the values from JSON.
            each: whether to check each value before NumPy joins them.

        Raises:
            Refused: lists have unequal lengths or another shape, or a value does not fit.
        """
        if self.kind or self._is_text:
            return self._column(values)
        if each:
            self._check_each(values)
        try:
            array = np.asarray(values)
        except ValueError:
            raise Refused(
                f"{self.name} must be lists of equal lengths: instances of {_by(self.shape)}"
            ) from None
        if not self._holds_all(array):
            self._check_each(values)
        if array.ndim == 0 or array.shape[1:] != self.shape:
            given = _by(array.shape[1:]) if array.ndim else "no list"
            raise Refused(f"{self.name} must be instances of {_by(self.shape)}. Given: {given}")
        return array.astype(self.dtype)

    @property
    def _is_text(self) -> bool:
        return self.dtype.kind == "O"

    def _column(self, values: object) -> Array:
        """Turn a list with a value for each row into an array [N]."""
        if not isinstance(values, list):
            raise Refused(f"{self.name} must be a list of values. Given: {in_words(values)}")
        return np.array([self._value(value) for value in values], self.dtype)

    def _value(self, value: object) -> object:
        is_gap = isinstance(value, str) and value.strip() in self.gaps
        if self.kind and (value is None or (is_gap and self.kind != "category")):
            return self.empty
        found: object = value if isinstance(value, str) else None
        if self.kind == "number":
            found = value if self._holds(value) else None
        elif self.kind == "category":
            found = _category(value)
        elif self.kind == "date":
            found = _date(value)
        if found is None:
            rule = RULES.get(self.kind or "", "a text")
            raise Refused(f"{self.name} must be {rule}. Given: {in_words(value)}")
        return found

    def _check_each(self, values: object) -> None:
        for value in _values(values, 1 + len(self.shape)):
            if not self._holds(value):
                raise Refused(f"{self.name} must be {self._rule()}. Given: {in_words(value)}")

    @property
    def _floats(self) -> bool:
        return self.dtype.kind == "f"

    def _holds_all(self, array: Array) -> bool:
        """Whether all values surely fit, checked with NumPy at once."""
        if array.dtype.kind not in ("iuf" if self._floats else "iu"):
            return False
        with np.errstate(over="ignore"):
            cast = array.astype(self.dtype)
        return bool(np.isfinite(cast).all() if self._floats else (cast == array).all())

    def _holds(self, value: object) -> bool:
        if type(value) is int or (type(value) is float and self._floats):
            low, high = self._range()
            return low <= value <= high
        return False

    def _range(self) -> tuple[float, float]:
        if self._floats:
            return float(np.finfo(self.dtype).min), float(np.finfo(self.dtype).max)
        return np.iinfo(self.dtype).min, np.iinfo(self.dtype).max

    def _rule(self) -> str:
        if self._floats:
            return f"finite {self.dtype} numbers"
        return "whole numbers from {} to {}".format(*self._range())


def _category(value: object) -> str | None:
    """The text of a category, as the reader of tables writes it; None for what is no category."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, str | int | float) else None


def _date(value: object) -> str | None:
    """A date in the form that exported nets read; None for what is no date."""
    if not isinstance(value, str) or not value:
        return "" if value == "" else None
    try:
        at = datetime.fromisoformat(value)
        return (at.astimezone(UTC) if at.tzinfo else at).replace(tzinfo=None).isoformat()
    except (ValueError, OverflowError):
        return None


def _values(nested: object, depth: int) -> Iterator[object]:
    """Yield the values that lie `depth` lists deep, and values of less depth."""
    if depth and isinstance(nested, list):
        for inner in nested:
            yield from _values(inner, depth - 1)
    else:
        yield nested


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "one number"


def in_words(value: object) -> str:
    """Describe a value of a request in a few words."""
    if isinstance(value, dict):
        return f"an object with {', '.join(map(in_words, islice(value, 4))) or 'nothing'}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, int) and abs(value) >= 10**60:  # Python refuses to write long ones
        return "a number of more than 60 digits"
    return one_line(json.dumps(value, ensure_ascii=False), 60)
