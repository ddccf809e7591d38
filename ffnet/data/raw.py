"""`Raw`, which every reader of data returns, and the checks and messages that readers share."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ffnet.data import cache
from ffnet.data.by_column import ByColumn, joined
from ffnet.errors import InputError, one_line

Array = npt.NDArray[Any]

PARTS = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""{word in the name of a file, a folder or an array: the part that it stands for}."""


@dataclass(frozen=True)
class Place:
    """A table, a column of it, or an array, as messages call it. It knows how its rows are counted.

    Attributes:
        name: the file, or what the caller of ffnet calls these data.
        column: the name of the column; None for all columns, and for an array.
        first: the number of the first row of data. In a CSV file it is 2, because a spreadsheet
            shows the names of the columns in row 1; elsewhere 0, as pandas and NumPy count.
        rows: the positions of the rows that are used; None for all rows.
    """

    name: str
    column: str | None = None
    first: int = 0
    rows: Array | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return self.name if self.column is None else f"{self.name}, column {listed([self.column])}"

    def of(self, column: str) -> "Place":
        """Return the place of a column."""
        return replace(self, column=column)

    def at(self, rows: Array) -> "Place":
        """Return the place of some of its rows: their positions, or bool for each row."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        return replace(self, rows=rows if self.rows is None else self.rows[rows])

    def row(self, at: int) -> str:
        """Return what messages call the row at position `at` of `rows`."""
        number = int(at if self.rows is None else self.rows[at]) + self.first
        told = "counted from 0"
        if self.first:
            told = f"row {self.first - 1} has the names, empty lines do not count"
        return f"row {number} ({told})"


class Origin(NamedTuple):
    """Where some examples of a part come from.

    Attributes:
        x, y: the table or array of the examples, and the column or array of the labels.
        size: the number of the examples.
    """

    x: Place
    y: Place
    size: int


@dataclass(frozen=True)
class Raw:
    """Data before they are split: the content of files, or data from Python.

    Attributes:
        parts: {part: (examples [N, ...], labels [N])}; "train", and perhaps "validation", "test".
            The examples of a table whose columns are features are `ByColumn`.
        files: the files that were read, in order; empty for data from Python.
        classes: the class names, if the files have them.
        columns: the names of the features, if they have names.
        target: the name of the column or array of labels, if it has a name.
        unused: columns or arrays of the files that are not used.
        unlabelled: {part: number of rows left out because they have no label}.
        given: "arrays" or "a table" for data from Python, empty for files.
        categories: {index of a column of categories: its categories in all files}. The numbers of
            such a column are positions in its categories. A gap is NaN in every column.
        dates: the indices of the columns of dates, which hold days since 1970-01-01 in UTC.
        gaps: whether a column has a gap.
        groups: {part: the number of each example's group, int32 [N]}; None without `group`.
        notes: sentences about what was left out, and why: columns, files.
        content: SHA-256 of the contents of a folder whose files are too many to be listed.
        origins: {part: where its examples come from, in order}. Without them, messages name the
            first file and the part.
    """

    parts: dict[str, tuple[Any, Any]]
    files: tuple[Path, ...]
    classes: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    target: str | None = None
    unused: tuple[str, ...] = ()
    unlabelled: dict[str, int] = field(default_factory=dict)
    given: str = ""
    categories: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    dates: tuple[int, ...] = ()
    gaps: bool = False
    notes: tuple[str, ...] = ()
    groups: Mapping[str, Array] | None = None
    content: str = ""
    origins: Mapping[str, tuple[Origin, ...]] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """What messages call these data: the first file, or `data` for data from Python."""
        return str(self.files[0]) if self.files else "data"

    @property
    def source(self) -> str:
        """Where the data come from, for study.json."""
        return f"given from Python: {self.given}" if self.given else ", ".join(map(str, self.files))

    @property
    def is_mixed(self) -> bool:
        """Whether the columns hold more than complete numbers."""
        return bool(self.categories or self.dates or self.gaps)

    def origin(self, part: str, at: int = 0) -> tuple[Origin, int]:
        """Return where an example of a part comes from, and its position there."""
        for origin in self.origins.get(part, ()):
            if at < origin.size:
                return origin, at
            at -= origin.size
        place = Place(f"{self.where} ({part})")
        return Origin(place, place, 0), at

    def cell(self, column: int, number: float) -> str:
        """Return where a column (of images, a channel) has a number first: file, column and row."""
        for part, (x, _) in self.parts.items():
            channels = 1 if x.ndim == 3 else x.shape[-1]
            by_column = isinstance(x, ByColumn)
            values = x.column(column) if by_column else x.reshape(-1, channels)[:, column]
            found = np.flatnonzero(values == number)
            if len(found):
                row, pixel = divmod(int(found[0]), x.size // len(x) // channels)
                origin, at = self.origin(part, row)
                name = self._feature(pixel * channels + column)
                return f"{origin.x}, {name}, {origin.x.row(at)}"
        return f"{self.where}, {self._feature(column)}"

    def _feature(self, number: int) -> str:
        return f"column {listed([self.columns[number]])}" if self.columns else f"feature {number}"

    def features(self) -> ByColumn:
        """Return the features of a table, with the rows of all parts in their order."""
        return joined([x for x, _ in self.parts.values()])

    def digest(self) -> str:
        """Return the SHA-256 of the contents of the files, or of the data from Python."""
        if self.given:
            return self._content_digest()
        if self.content:
            return self.content
        return hashlib.sha256("".join(map(cache.file_digest, self.files)).encode()).hexdigest()

    def _content_digest(self) -> str:
        """Return the SHA-256 of data from Python.

        It covers names (features, target, classes, categories), the counts of rows left out, and
        for each part dtype, shape, numbers in C order and labels. Strides, byte order, chunks,
        dictionaries, and whether text is stored as objects or characters have no effect.
        """
        names: list[Any] = [
            self.columns,
            self.target,
            self.classes,
            sorted(self.unlabelled.items()),
        ]
        names += [sorted(self.categories.items()), self.dates] if self.is_mixed else []
        digest = hashlib.sha256(json.dumps(names).encode())
        for part in sorted(self.parts):
            x, y = self.parts[part]
            text = y.dtype.kind == "U"
            head = [part, x.dtype.name, x.shape, "text" if text else y.dtype.name, len(y)]
            digest.update(json.dumps(head).encode())
            columns = [*x.columns()] if isinstance(x, ByColumn) else []
            for rows in blocks(x):
                some = np.stack([c[rows] for c in columns], axis=1) if columns else x[rows]
                digest.update(np.ascontiguousarray(some).data)
            digest.update(json.dumps(y.tolist()).encode() if text else y.tobytes())
            if self.groups is not None:
                digest.update(self.groups[part].tobytes())
        return digest.hexdigest()


VALUES_AT_ONCE = 1 << 22
"""How many values a check reads at a time. This limits the memory that it takes."""


def blocks(x: Array | ByColumn, width: int | None = None) -> Iterator[slice]:
    """Yield slices of rows that cover `x`, with about VALUES_AT_ONCE values each.

    With `width`, a row counts as so many values.
    """
    size = max(1, VALUES_AT_ONCE // (width or max(1, x.size // max(1, len(x)))))
    for start in range(0, len(x), size):
        yield slice(start, min(start + size, len(x)))


def refuse_irregular(path: Path) -> None:
    """Raise InputError for a pipe, a socket or a device: reading it might never end."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(
            f"{path}: must be a regular file. Given: a pipe, a socket or a device; copy its "
            f"content to a file"
        )


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn any error that a damaged file raises into an InputError."""
    refuse_irregular(path)
    with refused(str(path), f"cannot be read as {kind}", "; is the file complete?"):
        yield


@contextmanager
def refused(where: "Place | str", rule: str, remedy: str = "") -> Iterator[None]:
    """Turn any error that a library raises for a user's data into an InputError."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # damaged data may raise anything in a library
        reason = one_line(str(error).strip() or type(error).__name__, 200)
        raise InputError(f"{where}: {rule} ({reason}){remedy}") from error


def refuse_beyond_memory(where: Path | Place, size: int) -> None:
    """Raise InputError if `size` bytes do not fit into this machine's memory."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise InputError(
            f"{where}: must fit into memory when unpacked. Given: {size / 1e9:,.1f} GB, as the "
            f"file says; this machine has {memory / 1e9:,.1f} GB"
        )


def refuse_uneven(examples: int, labels: int, where: Place | str) -> None:
    """Raise InputError unless there are as many labels as examples."""
    if examples != labels:
        raise InputError(
            f"{where}: needs as many labels as examples. Given: {examples:,} examples, {labels:,} "
            f"labels; they do not belong together, or one of the two was cut"
        )


def matching(folder: Path, pattern: str) -> list[Path]:
    """Return the folder's files that match the pattern, sorted, without hidden files.

    On other file systems and in archives, macOS adds a hidden file `._NAME` without data.
    """
    return sorted(p for p in folder.glob(pattern) if not p.name.startswith("."))


def listed(values: Iterable[object], most: int = 6) -> str:
    """Join the first values of a list for a message. Long values are cut."""
    values = list(values)
    shown = [one_line(str(value), 40) for value in values[:most]]
    return ", ".join(shown) + (f" and {len(values) - most:,} more" if len(values) > most else "")
