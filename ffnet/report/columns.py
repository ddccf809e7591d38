"""Prints columns of text side by side. Libraries for this take over a second for 10,000 rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

ELLIPSIS = "…"


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: the column's name in the table of the run.
        head: the text above the cells.
        cells: a text for each row.
        right: whether the cells are aligned at the right, as numbers are.
    """

    name: str
    head: str
    cells: Sequence[str]
    right: bool = False

    @property
    def width(self) -> int:
        """The column's width, in cells of a terminal."""
        return max(map(cells_of, (self.head, *self.cells)))

    def cut(self, most: int) -> "Column":
        """The column at most `most` cells wide. A text that is cut ends with …"""
        if self.width <= most:
            return self
        return replace(self, head=cut(self.head, most), cells=[cut(c, most) for c in self.cells])

    def padded(self) -> list[str]:
        """The head, the line below it, and the cells, all with the same width."""
        width = self.width
        texts = (self.head, "-" * width, *self.cells)
        if self.right:
            return [" " * (width - cells_of(text)) + text for text in texts]
        return [text + " " * (width - cells_of(text)) for text in texts]


def side_by_side(columns: Sequence[Column], markdown: bool = False) -> str:
    """The columns as a table with a head. Two blanks, or Markdown's bars, separate the columns."""
    left, between, end = ("| ", " | ", " |") if markdown else ("", "  ", "")
    lines = zip(*(column.padded() for column in columns), strict=True)
    return "\n".join((left + between.join(line) + end).rstrip() for line in lines)


def total_width(columns: Sequence[Column]) -> int:
    """The width of the columns side by side, in cells of a terminal."""
    return sum(column.width for column in columns) + 2 * (len(columns) - 1)


def cells_of(text: str) -> int:
    """The width of a text in cells of a terminal. A Chinese character takes two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # imported only if needed, because the import takes time

    return cell_len(text)


def cut(text: str, most: int) -> str:
    """A text, cut to at most `most` cells.

    >>> cut("256-128-64", 6)
    '256-1…'
    """
    if cells_of(text) <= most:
        return text
    from rich.cells import set_cell_size

    return set_cell_size(text, most - 1).rstrip() + ELLIPSIS
