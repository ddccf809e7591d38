"""Columns of text side by side. Done by hand: libraries take over a second for 10,000 rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

ELLIPSIS = "…"


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: the table's own name of it.
        head: what stands above it.
        cells: one for each row.
        right: whether the cells stand at the right, as numbers do.
    """

    name: str
    head: str
    cells: Sequence[str]
    right: bool = False

    @property
    def width(self) -> int:
        """Cells of a terminal that the column takes."""
        return max(map(cells_of, (self.head, *self.cells)))

    def cut(self, most: int) -> "Column":
        """The column with no text wider than `most`; a cut text ends with …"""
        if self.width <= most:
            return self
        return replace(self, head=cut(self.head, most), cells=[cut(c, most) for c in self.cells])

    def padded(self) -> list[str]:
        """The head, the rule below it, and the cells: all of one width."""
        width = self.width
        texts = (self.head, "-" * width, *self.cells)
        if self.right:
            return [" " * (width - cells_of(text)) + text for text in texts]
        return [text + " " * (width - cells_of(text)) for text in texts]


def side_by_side(columns: Sequence[Column], markdown: bool = False) -> str:
    """The columns as a table with a head, two blanks between columns."""
    left, between, end = ("| ", " | ", " |") if markdown else ("", "  ", "")
    lines = zip(*(column.padded() for column in columns), strict=True)
    return "\n".join((left + between.join(line) + end).rstrip() for line in lines)


def total_width(columns: Sequence[Column]) -> int:
    """Cells of a terminal that the columns take side by side."""
    return sum(column.width for column in columns) + 2 * (len(columns) - 1)


def cells_of(text: str) -> int:
    """Cells of a terminal that a text takes; a Chinese character takes two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # only where it is needed: an import takes time

    return cell_len(text)


def cut(text: str, most: int) -> str:
    """A text in at most so many cells.

    >>> cut("256-128-64", 6)
    '256-1…'
    """
    if cells_of(text) <= most:
        return text
    from rich.cells import set_cell_size

    return set_cell_size(text, most - 1).rstrip() + ELLIPSIS
