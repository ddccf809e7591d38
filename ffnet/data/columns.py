"""Decides which column of a table holds the labels, and which columns hold the examples."""

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ffnet.data import arrow_numpy
from ffnet.data.raw import Place, listed
from ffnet.errors import InputError

LABELS = ("label", "labels", "y", "target", "class")
ENCODED = ("img", "image")
MOST_CLASSES = 100_000
UNNAMED = re.compile(r"(Unnamed: \d+.*)?", re.DOTALL)
"""The names of columns without a name, such as the row numbers that a CSV file of pandas keeps."""
ROW_NUMBERS = re.compile(r"index|level_\d+", re.I)
"""The names that pandas' `reset_index` gives to the column of an index without a name."""


@dataclass(frozen=True)
class Layout:
    """What each column of a data set is. Of `image`, `pixels` and `features` only one is set.

    Attributes:
        target: the column of labels.
        image: the column of encoded images.
        pixels: the column of lists of numbers.
        features: the other columns, in the order of the first table.
        dropped: the columns that the study leaves out, and those without a name.
        unused: all other columns, without the indices of pandas.
    """

    target: str
    image: str | None = None
    pixels: str | None = None
    features: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


def refuse_same_names(schema: pa.Schema, where: Place) -> None:
    """Raise InputError if two columns have the same name."""
    twice = {name for name in schema.names if schema.names.count(name) > 1}
    if twice:
        raise InputError(
            f"{where}: columns must have different names. Given twice: {listed(twice)}"
        )


def _indices(schema: pa.Schema, where: Place) -> set[str]:
    """Return the names of the columns that hold an index of pandas; an index is no feature."""
    about = metadata_json(schema, b"pandas", where)
    named = about.get("index_columns") if isinstance(about, dict) else None
    named = named if isinstance(named, list) else []
    indices = {name for name in named if isinstance(name, str)}
    return {n for n in schema.names if n in indices or n.startswith("__index_level_")}


def find_layout(
    schema: pa.Schema, where: Place, target: str | None, drop: Collection[str] = ()
) -> Layout:
    """Return what each column is, judged by the first table. `drop` names columns to leave out.

    Raises:
        InputError: there is no such layout, or more than one.
    """
    indices = _indices(schema, where)
    names = [name for name in schema.names if name not in indices]
    kept = [name for name in names if name not in drop]
    target = _target(
        schema.names if target else kept if find_labels(kept) else names, where, target
    )
    rest = [name for name in names if name != target]
    if wrong := set(drop) - set(rest):
        raise InputError(
            f"{where}: drop must name columns other than the labels: {listed(rest, 12)}. Given: "
            f"{listed(sorted(wrong))}"
        )
    rest = [name for name in rest if name not in drop]
    encoded = [name for name in rest if _is_encoded(schema.field(name).type)]
    lists = [name for name in rest if is_list(value_type(schema.field(name).type))]
    image = _image(encoded, where)
    if image:
        return Layout(target, image=image, unused=tuple(n for n in rest if n != image))
    if len(lists) == 1:
        return Layout(target, pixels=lists[0], unused=tuple(n for n in rest if n != lists[0]))
    dropped = tuple(name for name in rest if UNNAMED.fullmatch(name))
    rest = [name for name in rest if name not in dropped]
    if not rest and drop:
        raise InputError(
            f"{where}: drop must leave a column of features. Given: {listed(drop)}, and no other "
            f"column beside the labels"
        )
    odd = [f"{n} ({t})" for n in rest if not base(t := schema.field(n).type)]
    if odd or not rest:
        raise InputError(
            f"{where}: needs an image column ({' or '.join(ENCODED)}), one list column, or columns "
            f"of numbers, text, booleans or dates only. Given: "
            f"{listed(odd) if odd else 'only labels'}; write them as numbers or leave them out "
            f"with drop; target names the label column"
        )
    return Layout(target, features=tuple(rest), dropped=(*drop, *dropped))


def _target(names: list[str], where: Place, wanted: str | None) -> str:
    if wanted is not None:
        if wanted not in names:
            raise InputError(
                f"{where}: target must be one of its columns: {listed(names, 12)}. Given: {wanted}"
            )
        return wanted
    found = find_labels(names)
    if len(found) > 1:
        raise InputError(
            f"{where}: more than one column could hold the labels: {listed(found)}; name it with "
            f"target, and the others in drop unless they are features"
        )
    if not found:
        raise InputError(
            f"{where}: needs a label column: {', '.join(LABELS)}, or the column that target "
            f"names. Given: {listed(names, 12) or 'no columns'}"
        )
    return found[0]


def find_labels(names: Iterable[str]) -> list[str]:
    """Return the columns that hold the labels if their names tell so."""
    return [name for name in names if name.lower() in LABELS]


def _image(encoded: list[str], where: Place) -> str | None:
    named = [name for name in encoded if name in ENCODED] or encoded
    if len(named) > 1:
        raise InputError(f"{where}: needs one column of images. Given: {listed(named)}")
    return named[0] if named else None


def refuse_other_columns(layout: Layout, schema: pa.Schema, where: Place, first: str) -> None:
    """Raise InputError unless a table has all columns of the layout.

    Where the features are columns, the table must have no other column: it might be a feature.
    """
    names = set(schema.names) - (_indices(schema, where) - {layout.target})
    used = [layout.target, *filter(None, [layout.image, layout.pixels]), *layout.features]
    missing = [name for name in used if name not in names]
    names -= {name for name in names if name in layout.dropped or UNNAMED.fullmatch(name)}
    more = sorted(names - set(used)) if layout.features else []
    if missing or more:
        said = [f"without {listed(missing)}"] * bool(missing)
        said += [f"with {listed(more)}"] * bool(more)
        ways = ["remove what is too much from this file"] * bool(more)
        if layout.target in missing:
            ways += ["add the labels, or keep rows without labels in another folder"]
        elif missing:
            ways += ["add what is missing, or leave it out of all files with drop"]
        raise InputError(
            f"{where}: needs the same columns as {first}. Given: {' and '.join(said)}; "
            f"{', and '.join(ways)}"
        )
    for name in layout.features:
        kind = schema.field(name).type
        if not base(kind):
            raise InputError(
                f"{where}: column {listed([name])} must hold numbers, text, booleans or dates. "
                f"Given: {kind}"
            )


def numbers_rows(numbers: Sequence[npt.NDArray[np.float64]]) -> bool:
    """Whether a column that pandas made from an index only numbers the rows.

    Row numbers show the order before the rows were shuffled, and so may give the class away. Such
    a column has a name of `ROW_NUMBERS`, and its values are 0 to N - 1 or 1 to N, each once, in
    each table or in all tables together.

    Args:
        numbers: the column's values in each table.
    """
    return all(map(_is_numbering, numbers)) or _is_numbering(np.concatenate(numbers))


def as_float64(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Return a column of numbers as float64 [N]; missing values become NaN."""
    numbers = stored(column).cast(pa.float64(), safe=False)
    return np.where(arrow_numpy.valid(numbers), arrow_numpy.values(numbers), np.nan)


def _is_numbering(values: npt.NDArray[np.float64]) -> bool:
    first = values.min(initial=np.inf)
    return first in (0, 1) and bool((np.sort(values) == np.arange(len(values)) + first).all())


def metadata_json(schema: pa.Schema, key: bytes, where: Place) -> Any:
    """Return the JSON value under a key of the schema's metadata, or None without such a key.

    Raises:
        InputError: the value is not JSON.
    """
    text = (schema.metadata or {}).get(key)
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        name = key.decode()
        raise InputError(f"{where}: metadata {name!r} must be JSON; write the file again") from None


def class_names(schema: pa.Schema, label: str, where: Place) -> tuple[str, ...] | None:
    """Return the class names from the Hugging Face hub's metadata, or None if it has none."""
    names = metadata_json(schema, b"huggingface", where)
    for key in ("info", "features", label, "names"):
        names = names.get(key) if isinstance(names, dict) else None
    if names is None:
        return None
    if isinstance(names, list):
        names = [name.strip() if isinstance(name, str) else name for name in names]
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
    """Whether a text has a control character, for example a line break or NUL."""
    return any(unicodedata.category(character) == "Cc" for character in text)


def same_classes(named: Mapping[Place, tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Return the class names that the tables agree on, or None if no table has class names.

    Raises:
        InputError: two tables have different class names.
    """
    different = list(dict.fromkeys(names for names in named.values() if names))
    if len(different) > 1:
        raise InputError(
            f"{next(iter(named))}: class names in the metadata must be the same in all "
            f"tables. Given: {listed(different[0])}; and {listed(different[1])}"
        )
    return different[0] if different else None


def value_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of a column's values, without the dictionary or extension around it."""
    if isinstance(kind, pa.BaseExtensionType):
        return value_type(kind.storage_type)
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def stored(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column's plain values: no dictionary, no extension type, no views of text.

    Views of lists stay views, because PyArrow 26 casts them to lists without the last offset.
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
    kind = value_type(kind)
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    )


def is_list(kind: pa.DataType) -> bool:
    """Whether a type is a list type."""
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def base(kind: pa.DataType) -> str | None:
    """Return what the values of a type are, in words, or None if they can be no feature."""
    if isinstance(kind, pa.BaseExtensionType):
        return base(kind.storage_type)
    types = pa.types
    if types.is_dictionary(kind):
        return base(kind.value_type) and "a dictionary"
    if types.is_null(kind):
        return "nothing"
    if types.is_boolean(kind):
        return "booleans"
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "numbers"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "text"
    return "dates" if types.is_timestamp(kind) or types.is_date(kind) else None


def is_number(kind: pa.DataType) -> bool:
    """Whether a type is a number type, or null (all values missing)."""
    return any(
        is_kind(kind)
        for is_kind in (
            pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal,
            pa.types.is_null,  # a column without any value; another check refuses it
        )
    )  # fmt: skip
