"""Rows as text: a table for a terminal, CSV, JSON or Markdown."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tabulate import tabulate

from ffnet.results.tables import Row

SHOWN = (
    "trial", "status", "hidden_sizes", "learning_rate", "batch_size", "best_val_accuracy",
    "best_val_accuracy_epoch", "last_val_loss", "epochs", "train_seconds",
)  # fmt: skip
FORMATS = ("table", "csv", "json", "markdown")


def render(rows: Sequence[Row], columns: Sequence[str], style: str) -> str:
    """The rows' columns as text.

    Args:
        rows: table rows.
        columns: those shown, in order.
        style: one of FORMATS. `table` and `markdown` round numbers to be read; `csv` and `json`
            give every digit.
    """
    if style == "json":
        return json.dumps([{c: row[c] for c in columns} for row in rows], default=str, indent=1)
    if style == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_exact(row[c]) for c in columns] for row in rows)
        return text.getvalue().rstrip("\n")
    cells = [[_rounded(c, row[c]) for c in columns] for row in rows]
    numeric = [any(isinstance(row[c], int | float) for row in rows) for c in columns]
    return str(
        tabulate(
            cells,
            headers=columns,
            tablefmt="github" if style == "markdown" else "simple",
            disable_numparse=True,
            colalign=["right" if n else "left" for n in numeric] if rows else None,
        )
    )


def _exact(value: Any) -> Any:
    return "-".join(map(str, value)) if isinstance(value, list | tuple) else value


def _rounded(column: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}" if column.endswith(("accuracy", "loss")) else f"{value:.4g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return str(_exact(value))
