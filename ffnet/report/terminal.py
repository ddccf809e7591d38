"""Fits tables into the width of a terminal.

On a terminal, a table is never wider than the terminal: names are short, long values end with …,
and the least needed columns are left out. Columns that the user asked for are all shown, if
necessary in several blocks. In a pipe or a log, a table has its full width and full names, unless
the environment variable COLUMNS sets a width.
"""

import os
import sys
import textwrap
from collections.abc import Sequence

from ffnet.report.columns import Column, cut, side_by_side, total_width
from ffnet.report.text import columns_of
from ffnet.run.tables import Row

LONG, SHORTENED = 40, 20
"""Maximum width of a value on a terminal, and in a table that would be too wide."""

JOINED = {
    "best_val_accuracy": ("best_val_accuracy_epoch", "best acc @epoch"),
    "best_val_loss": ("best_val_loss_epoch", "best loss @epoch"),
    "best_val_balanced_accuracy": ("best_val_balanced_accuracy_epoch", "best bal acc @epoch"),
    "best_val_macro_f1": ("best_val_macro_f1_epoch", "best macro f1 @epoch"),
    "best_val_auc": ("best_val_auc_epoch", "best auc @epoch"),
    "best": ("best_trial", "best @trial"),
}
"""Column → (the column that is shown after it, with an @; the head of both)."""

FIGURES = {
    "last_val_accuracy": "last acc",
    "last_val_loss": "last loss",
    "train_seconds": "train s",
}
HYPERPARAMETERS = {
    "hidden_sizes": "hidden",
    "learning_rate": "lr",
    "batch_size": "batch",
    "weight_decay": "decay",
    "class_weight": "weight",
    "label_smoothing": "smooth",
    "activation": "activ",
    "batch_norm": "norm",
    "initializer": "init",
    "warmup_epochs": "warmup",
}
"""Column → its name on a terminal. Hyper-parameters get it only if the table is too wide."""

LEAST_NEEDED = ("train_seconds", "last_val_loss", "last_val_accuracy", "begun", "metric", "epochs")
"""Columns in the order in which they are left out. Other columns follow, from right to left."""


def width() -> int | None:
    """The width that a table on standard output must fit, in cells. None for no limit."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):  # standard output is not a terminal, or has no descriptor
        return None


def fitted(rows: Sequence[Row], names: Sequence[str], most: int | None) -> tuple[str, list[str]]:
    """A table of the columns that fit into a width.

    Args:
        rows: table rows.
        names: names of the columns, in order. The first column and the best figures always stay.
        most: the width in cells of a terminal. With None, there is no limit.

    Returns:
        The table, and the names of the columns that were left out.

    Example:
        >>> rows = [{"trial": 9, "best_val_loss": 0.25, "best_val_loss_epoch": 28.0}]
        >>> print(fitted(rows, list(rows[0]), 80)[0])
        trial  best loss @epoch
        -----  ----------------
            9  0.2500 @28
    """
    columns = columns_of(rows, names)
    if most is None:
        return side_by_side(columns), []
    columns = [_renamed(c, FIGURES).cut(LONG) for c in _joined(columns)]
    for narrower in (
        lambda column: _renamed(column, HYPERPARAMETERS),
        lambda column: column if column.name == "run" else column.cut(SHORTENED),
    ):
        if total_width(columns) > most:
            columns = [narrower(column) for column in columns]
    left_out = []
    for name in _least_needed_first([column.name for column in columns]):
        if total_width(columns) > most:
            left_out.append(name)
            columns = [column for column in columns if column.name != name]
    return _within(columns, most), [name for name in names if name in left_out]


def wrapped(rows: Sequence[Row], names: Sequence[str], most: int | None) -> str:
    """A table of all columns. If it is too wide, it has several blocks below each other.

    Each block begins with the first column.
    """
    columns = columns_of(rows, names)
    if most is None or total_width(columns) <= most:
        return side_by_side(columns)
    first, *others = columns
    first = first.cut(max(most // 3, 1))
    others = [column.cut(max(most - first.width - 2, 1)) for column in others]
    blocks = [[first]]
    for column in others:
        if total_width([*blocks[-1], column]) > most and len(blocks[-1]) > 1:
            blocks.append([first])
        blocks[-1].append(column)
    return "\n\n".join(_within(block, most) for block in blocks)


def left_out_line(names: Sequence[str], how: str, most: int | None) -> str:
    """The line that names the columns that were left out, and how to see them."""
    return wrapped_text(f"left out: {', '.join(names)}; {how}", most)


def wrapped_text(text: str, most: int | None) -> str:
    """A text in lines of at most `most` cells. With None, a single line."""
    return textwrap.fill(text, most) if most else text


def _joined(columns: Sequence[Column]) -> list[Column]:
    """The columns, with some of them put into others: see JOINED."""
    by_name = {column.name: column for column in columns}
    pairs = {name: by_name.get(JOINED[name][0]) for name in by_name if name in JOINED}
    joined = []
    for column in columns:
        if other := pairs.get(column.name):
            wide = max(map(len, column.cells), default=0)
            both = zip(column.cells, other.cells, strict=True)
            texts = [f"{value:>{wide}} @{at}" if value else "" for value, at in both]
            joined.append(Column(column.name, JOINED[column.name][1], texts))
        elif column not in pairs.values():
            joined.append(column)
    return joined


def _renamed(column: Column, names: dict[str, str]) -> Column:
    if column.head != column.name:
        return column
    return Column(column.name, names.get(column.name, column.name), column.cells, column.right)


def _least_needed_first(names: list[str]) -> list[str]:
    droppable = [name for name in names[1:] if not name.startswith("best")]
    early = [name for name in LEAST_NEEDED if name in droppable]
    return early + [name for name in reversed(droppable) if name not in early]


def _within(columns: Sequence[Column], most: int) -> str:
    """The table. If even two columns are too wide, its lines are cut."""
    table = side_by_side(columns)
    if total_width(columns) <= most:
        return table
    return "\n".join(cut(line, most) for line in table.splitlines())
