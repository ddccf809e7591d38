"""The first part of an exported net for a table: raw values by column in, numbers out.

The graph looks up categories, reads dates and scales numbers, as the reader of the data did.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from ffnet.data.encoding import Column
from ffnet.data.text_columns import GAPS
from ffnet.export.signature import input_names

ISO = (
    r"^(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    r"(?:[T ]([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?)?"
    r"(?:Z|([+-])(\d{2}):?(\d{2}))?$"
)
"""A date of ISO 8601, perhaps with a time, perhaps with a time zone; without one it is UTC."""
BLANKS = r"^[\s\pZ\x0b\x1c-\x1f\x{85}]+|[\s\pZ\x0b\x1c-\x1f\x{85}]+$"
"""The blanks around a text that Python's `strip` takes away."""
PADDED = re.compile(r"[-+]?\d+\.(\d*0)?")
"""A number that ends in zeros or in a point, such as 1.50."""


class RawColumns(tf.Module):  # type: ignore[misc]
    """Turns raw values of columns into examples [N, K], as `Part.x` of a data set has them.

    Attributes:
        specs: the inputs by the column's name. Numbers are float64, NaN for a gap; categories and
            dates are text, empty for a gap.
    """

    def __init__(
        self,
        encoding: Sequence[Column],
        mean: Iterable[float],
        std: Iterable[float],
        gaps: Sequence[str] = (),
    ) -> None:
        """Make the tables of categories.

        Args:
            encoding: the columns.
            mean, std: centre and scale of each column, [K].
            gaps: texts that stood for a gap when the data were read, besides the usual ones.
        """
        super().__init__()
        self._columns = tuple(encoding)
        self._mean, self._scale = np.array([*mean]), 1 / np.array([*std])
        names = input_names(column.name for column in encoding)
        self.specs = {
            column.name: tf.TensorSpec(
                [None], tf.float64 if column.kind == "number" else tf.string, names[column.name]
            )
            for column in encoding
        }
        # An attribute, so that tf.Module saves these tables.
        self._tables = [
            _table(column, ["", *GAPS, *gaps]) for column in encoding if column.kind == "category"
        ]

    def __call__(self, columns: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Return examples [N, K] for {name of a column: its raw values [N]}."""
        tables, made = iter(self._tables), []
        for i, column in enumerate(self._columns):
            raw = tf.convert_to_tensor(columns[column.name], self.specs[column.name].dtype)
            if column.kind == "category":
                made.append(_codes(raw, column, next(tables)))
                continue
            numbers = days(raw) if column.kind == "date" else raw
            made.append(tf.cast((numbers - self._mean[i]) * self._scale[i], tf.float32))
        return tf.stack(made, axis=1)


def _codes(raw: tf.Tensor, column: Column, table: tf.lookup.StaticHashTable) -> tf.Tensor:
    """Look texts up without blanks around them; if all categories are numbers, 1.50 is 1.5."""
    texts = tf.strings.regex_replace(raw, BLANKS, "")
    if any(text != text.strip() for text in column.categories):  # a run of an earlier version
        texts = raw
    if not all(map(_is_number, column.categories)):
        return table.lookup(texts)
    plain = tf.strings.regex_replace(texts, r"^([-+]?\d+)\.0*$", r"\1")
    plain = tf.strings.regex_replace(plain, r"^([-+]?\d+\.\d*[1-9])0+$", r"\1")
    codes = table.lookup(texts)
    unseen = len(column.categories) + 1
    return tf.where(tf.equal(codes, unseen), table.lookup(plain), codes)


def _is_number(text: str) -> bool:
    try:
        return not PADDED.fullmatch(text) and float(text) == float(text)
    except ValueError:
        return False


def _table(column: Column, gaps: Sequence[str]) -> tf.lookup.StaticHashTable:
    """Category → code: see `Column`. Other spellings of a category have its code."""
    count = len(column.categories)
    known = {text: float(code) for code, text in enumerate(column.categories)}
    others = [(other, known[text]) for text in column.categories for other in spellings(text)]
    often = Counter(other for other, _ in others)
    for other, code in others:
        if often[other] == 1:  # "7" may be 07 or 007
            known.setdefault(other, code)
    for text in gaps:
        known.setdefault(text, float(count))
    pairs = tf.lookup.KeyValueTensorInitializer([*known], [*map(np.float32, known.values())])
    return tf.lookup.StaticHashTable(pairs, count + 1.0)


def spellings(text: str) -> set[str]:
    """Return how JSON or pandas may write a category of a text file: True as true, 007 as 7.

    A number with decimals, such as 1.50, is also 1.5.
    """
    if text.lower() in ("true", "false"):
        return {text.lower(), text.capitalize()} - {text}
    if re.fullmatch(r"[-+]?\d+\.\d*", text):
        return {text.rstrip("0").rstrip(".")} - {text}
    return {text.lstrip("0")} if re.fullmatch(r"0\d*[1-9]\d*", text) else set()


def days(texts: tf.Tensor) -> tf.Tensor:
    """Return dates [N] in ISO 8601 as days since 1970-01-01 in UTC, float64; NaN for "".

    A text that is no date ends the call with an InvalidArgumentError.
    """
    gap = tf.equal(texts, "")
    right = gap | tf.strings.regex_full_match(texts, ISO)
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(right), ["dates", texts])]):
        texts = tf.where(gap, "1970-01-01", texts)

    def part(number: int) -> tf.Tensor:
        text = tf.strings.regex_replace(texts, ISO, rf"\{number}")
        return tf.strings.to_number(tf.where(tf.equal(text, ""), "0", text), tf.float64)

    year, month, day = (tf.cast(part(number), tf.int64) for number in (1, 2, 3))
    first = tf.ones_like(day)
    length = _civil(year + month // 12, month % 12 + 1, first) - _civil(year, month, first)
    exists = tf.debugging.Assert(tf.reduce_all(day <= length), ["dates", texts])
    with tf.control_dependencies([exists]):
        day = tf.identity(day)
    seconds = part(4) * 3600 + part(5) * 60 + part(6)
    behind = tf.equal(tf.strings.regex_replace(texts, ISO, r"\7"), "-")
    ahead = part(8) * 3600 + part(9) * 60
    seconds += tf.where(behind, ahead, -ahead)
    found = tf.cast(_civil(year, month, day), tf.float64) + seconds / 86_400
    return tf.where(gap, tf.constant(np.nan, tf.float64), found)


def _civil(year: tf.Tensor, month: tf.Tensor, day: tf.Tensor) -> tf.Tensor:
    """Days since 1970-01-01 in the Gregorian calendar: H. Hinnant, "chrono-Compatible Low-Level
    Date Algorithms". A year begins in March here, so that a leap day is its last day."""
    year -= tf.cast(month <= 2, tf.int64)
    month = (month + 9) % 12
    leap_days = year // 4 - year // 100 + year // 400
    return 365 * year + leap_days + (153 * month + 2) // 5 + day - 1 - 719_468
