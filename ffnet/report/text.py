"""Writes rows as text: a table for a terminal, CSV, JSON or Markdown."""

import csv
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from ffnet.errors import one_line
from ffnet.report.columns import Column, side_by_side
from ffnet.run.ranking import tuning_of
from ffnet.run.tables import Row

LONGEST = 1000  # maximum number of characters in a cell
FORMATS = ("table", "csv", "json", "markdown")


def default_columns(study: Mapping[str, Any]) -> list[str]:
    """The columns of a table if the user names none: the searched fields, the metric and others.

    Args:
        study: the section `study` of study.json. A single net has no space.

    Raises:
        InputError: ffnet does not know the study's metric.
    """
    space = study.get("space")
    searched = space if space and isinstance(space, dict) else ("hidden_sizes", "learning_rate")
    metric = tuning_of(study).metric
    other = "val_loss" if metric == "val_accuracy" else "val_accuracy"
    return [
        "trial", "status", *searched, f"best_{metric}", f"best_{metric}_epoch", f"last_{other}",
        "epochs", "train_seconds",
    ]  # fmt: skip


def render(rows: Sequence[Row], columns: Sequence[str], style: str) -> str:
    """Columns of rows as text.

    Args:
        rows: table rows.
        columns: names of the columns, in order.
        style: one of FORMATS. `table` and `markdown` round numbers; `csv` and `json` give every
            digit.
    """
    if style == "json":
        return json.dumps([{c: row[c] for c in columns} for row in rows], default=str, indent=1)
    if style == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_exact(row[c]) for c in columns] for row in rows)
        return text.getvalue().rstrip("\n")
    made = columns_of(rows, columns)
    if style == "markdown":
        made = [
            replace(column, head=escaped(column.head), cells=[*map(escaped, column.cells)])
            for column in made
        ]
    return side_by_side(made, markdown=style == "markdown")


def escaped(text: str) -> str:
    """A text that Markdown shows as it is: it has neither HTML nor the end of a cell."""
    return html.escape(text, quote=False).replace("|", "\\|")


def columns_of(rows: Sequence[Row], names: Sequence[str]) -> list[Column]:
    """The columns with these names. Values are rounded; numbers are aligned at the right."""
    return [
        Column(
            name,
            name,
            [_rounded(name, row[name]) for row in rows],
            right=any(isinstance(row[name], int | float) for row in rows),
        )
        for name in names
    ]


def _exact(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return ("-" if all(isinstance(part, int) for part in value) else " ").join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else value


def _rounded(column: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        if column.endswith(("accuracy", "loss", "f1", "auc")):
            return f"{value:.4f}"
        return f"{value:.4g}" if abs(value) < 1e4 or abs(value) >= 1e9 else f"{value:.0f}"
    if isinstance(value, list | tuple) and any(isinstance(part, float) for part in value):
        return " ".join(f"{part:.3g}" for part in value)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return one_line(str(_exact(value)), LONGEST)  # a text such as a reason may have any characters
