"""Says what was understood of a data set: its columns, its classes and its parts."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from ffnet.data.dataset import DataSet, Part
from ffnet.data.encoding import Column

Array = npt.NDArray[Any]


def parts(data: DataSet) -> dict[str, Part]:
    """Return the parts of a data set by name."""
    named = {"train": data.train, "validation": data.validation, "test": data.test}
    return {name: part for name, part in named.items() if part is not None}


def classes(data: DataSet) -> list[dict[str, Any]]:
    """Return a dict for each class: its name, and the count of its examples in each part."""
    counts = {
        name: np.bincount(part.y, minlength=len(data.classes)).tolist()
        for name, part in parts(data).items()
    }
    return [
        {"class": name, **{part: count[i] for part, count in counts.items()}}
        for i, name in enumerate(data.classes)
    ]


def columns(data: DataSet) -> list[dict[str, Any]]:
    """Return a dict for each column, over all parts; an empty list if examples are no columns.

    Its keys: `column`, `kind`, `missing` and `distinct` (counts), `low` and `high` (numbers, or
    dates as ISO text), `categories` (those of the training part, the most frequent first). Numbers
    have about 7 digits.
    """
    return list(_columns(data))


def _columns(data: DataSet) -> Iterator[dict[str, Any]]:
    for i, name in enumerate(data.columns or ()):
        column = data.encoding[i] if data.encoding else Column(name, "number")
        values = np.concatenate([part.x[:, i] for part in parts(data).values()])
        about: dict[str, Any] = {"column": name, "kind": column.kind}
        if column.kind == "category":
            n = len(column.categories)
            yield about | {
                "missing": int((values == n).sum()),
                "distinct": len(np.unique(values[values < n])),
                "unseen": int((values > n).sum()),
                "categories": list(column.categories),
            }
            continue
        there = values[~np.isnan(values)]
        about |= {"missing": len(values) - len(there), "distinct": len(np.unique(there))}
        low, high = (_raw(value, data, i) for value in (there.min(), there.max()))
        if column.kind == "date":
            yield about | {"low": _iso(low), "high": _iso(high)}
        else:
            yield about | {"low": low, "high": high}


def _raw(value: Any, data: DataSet, column: int) -> float:
    """Return a number as it stood in the file, with the digits that float32 has kept."""
    if data.train.x.dtype != np.uint8:
        spread = max(abs(data.mean[column]), abs(data.std[column]))
        raw = float(value) * float(data.std[column]) + float(data.mean[column])  # perhaps infinite
        value = 0.0 if abs(raw) < 1e-6 * spread else raw
    return float(f"{value:.6g}")


def _iso(days: float) -> str:
    try:
        moment = datetime(1970, 1, 1) + timedelta(minutes=round(days * 1440))
    except OverflowError:  # beyond the year 9999
        return f"day {days:g}"
    return moment.isoformat(sep=" ", timespec="minutes").removesuffix(" 00:00")
