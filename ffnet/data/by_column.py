"""Features of a table that are read column by column, so that memory never holds them twice."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
ReadColumn = Callable[[], Array]
"""Returns the numbers of a column [N]; a gap is NaN."""


class ByColumn:
    """Features [N, D] of a table, as its files have them. Reading them does not change them.

    Attributes:
        dtype: the type of the numbers in all columns.
    """

    ndim = 2

    def __init__(self, columns: Sequence[ReadColumn], rows: int, dtype: npt.DTypeLike) -> None:
        """Keep what reads each column, the number of the rows and the type of the numbers."""
        self._columns, self._rows, self.dtype = columns, rows, np.dtype(dtype)

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._rows

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and columns."""
        return self._rows, len(self._columns)

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return self._rows * len(self._columns)

    def column(self, i: int) -> Array:
        """Read a column, [N] of `dtype`; a gap is NaN."""
        return np.asarray(self._columns[i](), self.dtype)

    def columns(self) -> Iterator[Array]:
        """Read one column after the other."""
        return map(self.column, range(len(self._columns)))

    def rows(self, at: Any = slice(None)) -> Array:
        """Return some rows as an array [n, D]; without `at`, all rows."""
        first = self.column(0)[at]
        found = np.empty((len(first), len(self._columns)), self.dtype)
        for i in range(len(self._columns)):
            found[:, i] = self.column(i)[at] if i else first
        return found


def joined(tables: Sequence[ByColumn]) -> ByColumn:
    """Return the rows of one table below those of the other. All have the same columns."""
    if len(tables) == 1:
        return tables[0]

    def read(i: int) -> ReadColumn:
        return lambda: np.concatenate([table.column(i) for table in tables])

    return ByColumn(
        [read(i) for i in range(tables[0].shape[1])],
        sum(map(len, tables)),
        np.result_type(*(table.dtype for table in tables)),
    )
