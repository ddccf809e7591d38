"""Finds cells of CSV files that seem to hold whole rows: two stray quotes join the rows between."""

import pyarrow as pa
import pyarrow.compute as pc

from ffnet.data.raw import Place, listed
from ffnet.errors import one_line

BREAK = r"\r\n|\r|\n"


class JoinedRows:
    """Counts the cells with line breaks, and those of them that look like joined rows.

    Rows of a file that a pair of stray quotes joins have as many separators as these rows have
    together, and so their cell has `cells - 1` separators for each line break. A text of several
    lines rarely has.

    Args:
        where: the file.
        names: the names of its columns.
        separator: the character between two cells.
    """

    def __init__(self, where: Place, names: list[str], separator: str) -> None:
        self._where, self._names, self._separator = where, names, separator
        self._rows = self._with_breaks = self._joined = 0
        self._first = ""

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at the next rows of the file."""
        for name, column in zip(self._names, batch.columns, strict=True):
            text = column.buffers()[2]
            content = text.to_pybytes() if text else b""
            if b"\n" in content or b"\r" in content:
                self._look(name, column)
        self._rows += len(batch)

    def _look(self, name: str, column: pa.StringArray) -> None:
        breaks = pc.fill_null(pc.count_substring_regex(column, BREAK), 0)
        separators = pc.fill_null(pc.count_substring(column, self._separator), 0)
        each = pa.scalar(len(self._names) - 1, breaks.type)
        lines = pc.greater(breaks, 0)
        joined = pc.and_(lines, pc.equal(separators, pc.multiply(breaks, each)))
        self._with_breaks += pc.sum(lines).as_py()
        self._joined += pc.sum(joined).as_py()
        if not self._first and pc.any(joined).as_py():
            at = pc.index(joined, True).as_py()
            text = one_line(repr(column[at].as_py()), 60)
            self._first = f"{self._where.row(self._rows + at)}, column {listed([name])}: {text}"

    def notes(self) -> list[str]:
        """Return a note if the cells with line breaks look like joined rows."""
        if not self._first or self._joined < self._with_breaks:
            return []
        note = (
            f"{self._where}: stray quotes seem to join rows, cells that look so: {self._joined:,}; "
            f"the first is in {self._first}; correct the quotes if these are rows"
        )
        return [note]
