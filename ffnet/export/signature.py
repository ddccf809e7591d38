"""The inputs and outputs of an exported net, as its card describes them. Needs no TensorFlow."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from ffnet.data.encoding import Column
from ffnet.serving.rest import SIGNATURE


def input_name(dtype: str) -> str:
    """Return the signature's name for examples of a dtype."""
    return "images" if dtype == "uint8" else "features"


def example(columns: Iterable[Column], centres: Iterable[float]) -> dict[str, Any]:
    """Return a typical row for a table with an encoding: {name of a column: its value in JSON}.

    It has the centre of each column of numbers or dates, and the most frequent categories.
    """
    return {
        column.name: _typical(column, centre)
        for column, centre in zip(columns, centres, strict=True)
    }


def _typical(column: Column, centre: float) -> float | str | None:
    if column.kind == "number":
        return float(f"{centre:.6g}")
    if column.kind == "date":
        return (date(1970, 1, 1) + timedelta(days=round(centre))).isoformat()
    return column.categories[0] if column.categories else None


def signature(data: Mapping[str, Any], columns: Sequence[Column] | None) -> dict[str, Any]:
    """Return names, dtypes and shapes of inputs and outputs. None stands for any number.

    Args:
        data: the section `data` of study.json.
        columns: the columns of a table with an encoding, which are its inputs. None for other data.
    """
    dtype, shape = data["dtype"], [None, *data["example_shape"]]
    inputs: dict[str, Any] = {input_name(dtype): {"dtype": dtype, "shape": shape}}
    if columns:
        names = input_names(column.name for column in columns)
        inputs = {names[column.name]: _input(column) for column in columns}
    probabilities = {"dtype": "float32", "shape": [None, len(data["classes"])]}
    return {
        "name": SIGNATURE,
        "inputs": inputs,
        "outputs": {
            "probabilities": probabilities,
            "class": {"dtype": "string", "shape": [None]},
        },
    }


def _input(column: Column) -> dict[str, Any]:
    """Return what the card says of the input for a column."""
    number = column.kind == "number"
    gap = "NaN" if number else '""'
    about: dict[str, Any] = {
        "dtype": "float64" if number else "string",
        "shape": [None],
        "column": column.name,
        "kind": column.kind,
        "gap": f"{gap}; null in a request to the server",
    }
    if column.kind == "date":
        about["format"] = "ISO 8601, such as 2024-02-29 or 2024-02-29T12:30:00; UTC"
    if column.kind == "category":
        about["known"] = len(column.categories)
    return about


def input_names(columns: Iterable[str]) -> dict[str, str]:
    """{name of a column: name of its input}.

    They are equal, except where TensorFlow cannot have the column's name: then other characters
    than letters, digits and _ become _. Two inputs never have the same name.
    """
    found: dict[str, str] = {}
    taken = {"self"}
    for column in columns:
        name = plain = re.sub(r"\W", "_", column, flags=re.ASCII)
        if not plain[:1].isalpha():
            name = plain = f"column_{plain}"
        number = 1
        while name.lower() in taken:
            number += 1
            name = f"{plain}_{number}"
        taken.add(name.lower())
        found[column] = name
    return found
