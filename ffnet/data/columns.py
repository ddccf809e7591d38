"""Columns of tables: which one holds the labels, and which ones the examples."""

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ffnet.data.raw import listed
from ffnet.errors import InputError

LABELS = ("label", "labels", "y", "target", "class")
ENCODED = ("img", "image")
MOST_CLASSES = 100_000
UNNAMED = re.compile(r"Unnamed: \d+.*")
ROW_NUMBERS = re.compile(r"index|level_\d+", re.I)
"""What pandas calls an index without a name when `reset_index` makes a column of it."""


@dataclass(frozen=True)
class Layout:
    """Which columns of a set are what.

    Attributes:
        target: the column of labels.
        image: the column of encoded images, if there is one.
        pixels: else the column of lists, if there is one.
        features: else the columns of numbers, in the order of the first table.
        unused: every other column but indices of pandas.
    """

    target: str
    image: str | None = None
    pixels: str | None = None
    features: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


def refuse_same_names(schema: pa.Schema, where: str) -> None:
    """Raise InputError if two columns have one name."""
    twice = {name for name in schema.names if schema.names.count(name) > 1}
    if twice:
        raise InputError(f"{where}: each column needs a name of its own. Given: {listed(twice)}")


def _indices(schema: pa.Schema, where: str) -> set[str]:
    """The columns that hold an index of pandas, which is no feature."""
    about = metadata_json(schema, b"pandas", where)
    named = about.get("index_columns") if isinstance(about, dict) else None
    named = named if isinstance(named, list) else []
    indices = {name for name in named if isinstance(name, str)}
    return {n for n in schema.names if n in indices or n.startswith("__index_level_")}


def find_layout(schema: pa.Schema, where: str, target: str | None) -> Layout:
    """Which columns are what, by the first table; raises InputError where that is not certain."""
    indices = _indices(schema, where)
    names = [name for name in schema.names if name not in indices]
    target = _target(schema.names if target else names, where, target)
    rest = [name for name in names if name != target]
    encoded = [name for name in rest if _is_encoded(schema.field(name).type)]
    lists = [name for name in rest if is_list(_value_type(schema.field(name).type))]
    image = _image(encoded, where)
    if image:
        return Layout(target, image=image, unused=tuple(n for n in rest if n != image))
    if len(lists) == 1:
        return Layout(target, pixels=lists[0], unused=tuple(n for n in rest if n != lists[0]))
    unnamed = [name for name in rest if UNNAMED.fullmatch(name)]
    if unnamed:
        raise InputError(
            f"{where}: a feature must have a name. Given: {listed(unnamed)}, as pandas calls the "
            f"row numbers that a CSV file kept; drop this column or give it a name"
        )
    wrong = [f"{n} ({t})" for n in rest if not is_number(t := _value_type(schema.field(n).type))]
    if wrong or not rest:
        raise InputError(
            f"{where}: needs an image column ({' or '.join(ENCODED)}), one list column, or numeric "
            f"columns only. Given: {listed(wrong) if wrong else 'labels alone'}; write categories "
            f"as numbers or leave them out; target names the label column"
        )
    return Layout(target, features=tuple(rest))


def _target(names: list[str], where: str, wanted: str | None) -> str:
    if wanted is not None:
        if wanted not in names:
            raise InputError(
                f"{where}: target must be one of its columns: {listed(names, 12)}. Given: {wanted}"
            )
        return wanted
    found = [name for name in names if name.lower() in LABELS]
    if len(found) > 1:
        raise InputError(
            f"{where}: more than one column could hold the labels: {listed(found)}; name it with "
            f"target"
        )
    if not found:
        raise InputError(
            f"{where}: needs a label column, one of {', '.join(LABELS)}, or the one that target "
            f"names. Given: {listed(names, 12) or 'no columns'}"
        )
    return found[0]


def _image(encoded: list[str], where: str) -> str | None:
    named = [name for name in encoded if name in ENCODED] or encoded
    if len(named) > 1:
        raise InputError(f"{where}: needs one column of images. Given: {listed(named)}")
    return named[0] if named else None


def refuse_other_columns(layout: Layout, schema: pa.Schema, where: str, first: str) -> None:
    """Each table must have the columns that are used, and if they are features no others."""
    names = set(schema.names) - (_indices(schema, where) - {layout.target})
    used = [layout.target, *filter(None, [layout.image, layout.pixels]), *layout.features]
    missing = [name for name in used if name not in names]
    more = sorted(names - set(used)) if layout.features else []
    if missing or more:
        said = [f"without {listed(missing)}"] * bool(missing) + [f"with {listed(more)}"] * bool(
            more
        )
        raise InputError(f"{where}: needs the same columns as {first}. Given: {' and '.join(said)}")
    for name in layout.features:
        kind = _value_type(schema.field(name).type)
        if not is_number(kind):
            raise InputError(f"{where}: column {listed([name])} must hold numbers. Given: {kind}")


def refuse_row_numbers(name: str, numbers: Sequence[npt.NDArray[np.float64]], where: str) -> None:
    """A column that pandas made of an index, and that numbers the rows, is no feature.

    It tells in what order the rows stood before they were shuffled, which may tell the class. It is
    known by its name (`ROW_NUMBERS`) and by its values: 0 to N - 1, or 1 to N, each once, in each
    table or in all.

    Args:
        name: the column.
        numbers: its values in each table.
        where: the first table, for messages.
    """
    if all(map(_is_numbering, numbers)) or _is_numbering(np.concatenate(numbers)):
        raise InputError(
            f"{where}: a feature must not be the number of the row. Given: column "
            f"{listed([name])}, each number once, as pandas keeps an index; drop this column, "
            f"or rename it if it is a feature"
        )


def as_float64(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """A column of numbers; gaps are NaN."""
    return np.asarray(stored(column).cast(pa.float64(), safe=False).to_numpy(), np.float64)


def _is_numbering(values: npt.NDArray[np.float64]) -> bool:
    first = values.min(initial=np.inf)
    return first in (0, 1) and bool((np.sort(values) == np.arange(len(values)) + first).all())


def metadata_json(schema: pa.Schema, key: bytes, where: str) -> Any:
    """What the metadata hold under a key; None where there is nothing."""
    text = (schema.metadata or {}).get(key)
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        name = key.decode()
        raise InputError(f"{where}: its {name!r} metadata must be JSON; write it again") from None


def class_names(schema: pa.Schema, label: str, where: str) -> tuple[str, ...] | None:
    """Class names from the metadata that the Hugging Face hub writes, when there are any."""
    names = metadata_json(schema, b"huggingface", where)
    for key in ("info", "features", label, "names"):
        names = names.get(key) if isinstance(names, dict) else None
    if names is None:
        return None
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or not 0 < len(set(names)) == len(names) <= MOST_CLASSES
        or any(map(has_control, names))
    ):
        raise InputError(
            f"{where}: class names in its metadata must be different texts without control "
            f"characters"
        )
    return tuple(names)


def has_control(text: str) -> bool:
    """Whether a control character stands in a text, as a line break or NUL is."""
    return any(unicodedata.category(character) == "Cc" for character in text)


def same_classes(named: Mapping[str, tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """The class names of all tables that have any; raises InputError if they differ."""
    different = list(dict.fromkeys(names for names in named.values() if names))
    if len(different) > 1:
        raise InputError(
            f"{next(iter(named))}: class names in the metadata must be the same in all "
            f"tables. Given: {listed(different[0])}; and {listed(different[1])}"
        )
    return different[0] if different else None


def _value_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values: dictionaries and extensions are only ways to store them."""
    if isinstance(kind, pa.BaseExtensionType):
        return _value_type(kind.storage_type)
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def stored(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column's values as such: not as a dictionary's, not as an extension's, no text as views.

    Views of lists stay: PyArrow 26 casts them to lists whose last offset is missing.
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return stored(pa.chunked_array([c.storage for c in column.chunks], type=kind.storage_type))
    if pa.types.is_dictionary(kind):
        return stored(column.cast(kind.value_type))
    if pa.types.is_string_view(kind):
        return column.cast(pa.large_string())
    if pa.types.is_binary_view(kind):
        return column.cast(pa.large_binary())
    return column


def _is_encoded(kind: pa.DataType) -> bool:
    kind = _value_type(kind)
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    )


def is_list(kind: pa.DataType) -> bool:
    """Whether values of that type are lists."""
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def is_number(kind: pa.DataType) -> bool:
    """Whether values of that type are numbers, or are all missing."""
    return any(
        is_kind(kind)
        for is_kind in (
            pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal,
            pa.types.is_null,  # a column of nothing but gaps, refused as such
        )
    )  # fmt: skip
