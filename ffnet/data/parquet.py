"""Reads Parquet: a label column beside encoded images, one column of lists, or columns of numbers.

Columns are found by name: their order may differ from file to file.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ffnet.data import cache, features, images, labels
from ffnet.data.labels import Labels
from ffnet.data.raw import Array, Raw, listed, reading, refuse_beyond_memory
from ffnet.errors import InputError
from ffnet.study import Data

LABELS = ("label", "labels", "y", "target", "class")
ENCODED = ("img", "image")
MOST_CLASSES = 100_000


@dataclass(frozen=True)
class Layout:
    """Which columns of a set are what.

    Attributes:
        target: the column of labels.
        image: the column of encoded images, if there is one.
        pixels: else the column of lists, if there is one.
        features: else the columns of numbers, in the order of the first file.
        unused: every other column but indices of pandas.
    """

    target: str
    image: str | None = None
    pixels: str | None = None
    features: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


def read(files: Mapping[str, list[Path]], data: Data) -> Raw:
    """The parts of a set.

    Args:
        files: part → its files, read in order; "train" among them.
        data: names the label column, and says what is done with rows that have no label.

    Raises:
        InputError: a file is damaged, or the files do not go together.
    """
    schemas = {path: _schema(path) for paths in files.values() for path in paths}
    first = files["train"][0]
    layout = _layout(schemas[first], first, data.target)
    for path, schema in schemas.items():
        _refuse_other_columns(layout, schema, path, first)
    classes = _same_classes(
        {path: _class_names(s, layout.target, path) for path, s in schemas.items()}
    )
    examples: dict[Path, Array] = {}
    kinds: dict[str, Array] = {}
    unlabelled: dict[str, int] = {}
    for part, paths in files.items():
        for path in paths:
            x, found = _read_file(path, schemas[path], layout, classes, data.drop_unlabelled)
            examples[path] = x
            kinds[str(path)] = found.values
            unlabelled[part] = unlabelled.get(part, 0) + int((~found.there).sum())
    if layout.image and any(x.ndim == 4 for x in examples.values()):  # one in colour: all are
        examples = {p: x if x.ndim == 4 else images.in_colour(x) for p, x in examples.items()}
    parts: dict[str, tuple[Array, Array]] = {}
    for part, paths in files.items():
        xs, ys = [examples[path] for path in paths], [kinds[str(path)] for path in paths]
        shapes = {x.shape[1:] for x in xs}
        if len(shapes) > 1:
            raise InputError(
                f"{paths[0].parent}: examples must have one shape. Given: {listed(shapes)}"
            )
        labels.of_one_kind(kinds)
        ys = [y for y in ys if len(y)] or ys[:1]
        one = len(paths) == 1  # stays memory-mapped
        parts[part] = (xs[0] if one else np.concatenate(xs), np.concatenate(ys))
    return Raw(
        parts,
        tuple(schemas),
        classes,
        columns=layout.features or None,
        target=layout.target,
        unused=layout.unused,
        unlabelled={part: count for part, count in unlabelled.items() if count},
    )


# --- schemas -------------------------------------------------------------------------------------


def _schema(path: Path) -> pa.Schema:
    """The schema, if the file is one that memory can hold and no two columns have one name."""
    with reading(path, "Parquet"):
        with pq.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
            groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
            refuse_beyond_memory(path, sum(group.total_byte_size for group in groups))
            refuse_beyond_memory(path, metadata.num_rows * len(schema.names))
        twice = {name for name in schema.names if schema.names.count(name) > 1}
        if twice:
            raise InputError(f"{path}: each column needs a name of its own. Given: {listed(twice)}")
        return schema


def _indices(schema: pa.Schema, path: Path) -> set[str]:
    """The columns that hold an index of pandas, which is no feature."""
    about = _json(schema, b"pandas", path)
    named = about.get("index_columns") if isinstance(about, dict) else None
    named = named if isinstance(named, list) else []
    indices = {name for name in named if isinstance(name, str)}
    return {n for n in schema.names if n in indices or n.startswith("__index_level_")}


def _layout(schema: pa.Schema, path: Path, target: str | None) -> Layout:
    indices = _indices(schema, path)
    names = [name for name in schema.names if name not in indices]
    target = _target(schema.names if target else names, path, target)
    rest = [name for name in names if name != target]
    encoded = [name for name in rest if _is_encoded(schema.field(name).type)]
    lists = [name for name in rest if _is_list(_value_type(schema.field(name).type))]
    image = _image(encoded, path)
    if image:
        return Layout(target, image=image, unused=tuple(n for n in rest if n != image))
    if len(lists) == 1:
        return Layout(target, pixels=lists[0], unused=tuple(n for n in rest if n != lists[0]))
    wrong = [f"{n} ({t})" for n in rest if not _is_number(t := _value_type(schema.field(n).type))]
    if wrong or not rest:
        raise InputError(
            f"{path}: needs an image column ({' or '.join(ENCODED)}), one list column, or numeric "
            f"columns only. Given: {listed(wrong) if wrong else 'labels alone'}; write categories "
            f"as numbers or leave them out; --target names the label column"
        )
    return Layout(target, features=tuple(rest))


def _target(names: list[str], path: Path, wanted: str | None) -> str:
    if wanted is not None:
        if wanted not in names:
            raise InputError(
                f"{path}: target must be one of its columns: {listed(names, 12)}. Given: {wanted}"
            )
        return wanted
    found = [name for name in names if name.lower() in LABELS]
    if len(found) > 1:
        raise InputError(
            f"{path}: more than one column could hold the labels: {listed(found)}; name it with "
            f"--target"
        )
    if not found:
        raise InputError(
            f"{path}: needs a label column, one of {', '.join(LABELS)}, or the one that --target "
            f"names. Given: {listed(names, 12) or 'no columns'}"
        )
    return found[0]


def _image(encoded: list[str], path: Path) -> str | None:
    named = [name for name in encoded if name in ENCODED] or encoded
    if len(named) > 1:
        raise InputError(f"{path}: needs one column of images. Given: {listed(named)}")
    return named[0] if named else None


def _refuse_other_columns(layout: Layout, schema: pa.Schema, path: Path, first: Path) -> None:
    """Each file must have the columns that are used, and a table no further one."""
    names = set(schema.names) - (_indices(schema, path) - {layout.target})
    used = [layout.target, *filter(None, [layout.image, layout.pixels]), *layout.features]
    missing = [name for name in used if name not in names]
    more = sorted(names - set(used)) if layout.features else []
    if missing or more:
        said = [f"without {listed(missing)}"] * bool(missing) + [f"with {listed(more)}"] * bool(
            more
        )
        raise InputError(
            f"{path}: needs the same columns as {first.name}. Given: {' and '.join(said)}"
        )
    for name in layout.features:
        kind = _value_type(schema.field(name).type)
        if not _is_number(kind):
            raise InputError(f"{path}: column {listed([name])} must hold numbers. Given: {kind}")


def _json(schema: pa.Schema, key: bytes, path: Path) -> Any:
    """What the metadata hold under a key; None where there is nothing."""
    text = (schema.metadata or {}).get(key)
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        name = key.decode()
        raise InputError(f"{path}: its {name!r} metadata must be JSON; write it again") from None


def _class_names(schema: pa.Schema, label: str, path: Path) -> tuple[str, ...] | None:
    """Class names from the metadata that the Hugging Face hub writes, when there are any."""
    names = _json(schema, b"huggingface", path)
    for key in ("info", "features", label, "names"):
        names = names.get(key) if isinstance(names, dict) else None
    if names is None:
        return None
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or not 0 < len(set(names)) == len(names) <= MOST_CLASSES
    ):
        raise InputError(f"{path}: class names in its metadata must be different texts")
    return tuple(names)


def _same_classes(named: Mapping[Path, tuple[str, ...] | None]) -> tuple[str, ...] | None:
    different = list(dict.fromkeys(names for names in named.values() if names))
    if len(different) > 1:
        raise InputError(
            f"{next(iter(named)).parent}: class names in the metadata must be the same in all "
            f"files. Given: {listed(different[0])}; and {listed(different[1])}"
        )
    return different[0] if different else None


def _value_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values: dictionaries and extensions are only ways to store them."""
    if isinstance(kind, pa.BaseExtensionType):
        return _value_type(kind.storage_type)
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_encoded(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _is_number(kind: pa.DataType) -> bool:
    return any(
        is_kind(kind)
        for is_kind in (
            pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal,
            pa.types.is_null,  # a column of nothing but gaps, refused as such
        )
    )  # fmt: skip


# --- columns -------------------------------------------------------------------------------------


def _read_file(
    path: Path, schema: pa.Schema, layout: Layout, classes: tuple[str, ...] | None, drop: bool
) -> tuple[Array, Labels]:
    """The examples that have a label, and the labels."""
    where = f"{path}, column {listed([layout.target])}"
    with reading(path, "Parquet"), pq.ParquetFile(path) as file:
        used = [layout.target, *filter(None, [layout.pixels]), *layout.features]
        table = file.read(columns=used)
        found = labels.from_column(_stored(table[layout.target]), where)
        if classes and found.values.dtype.kind == "i":  # the hub's mark of a missing label
            found = found.without(found.values == -1)
        if not drop:
            labels.refuse_missing(found, where)
        rows = None if found.there.all() else pa.array(found.there)
        if layout.image:
            x = _images(path, layout.image)
            return x if rows is None else x[found.there], found
        if rows is not None:
            table = table.filter(rows)
        if len(table) == 0:
            raise InputError(f"{path}: has no examples with a label; leave the file out")
        if layout.pixels:
            return _lists(table[layout.pixels], layout.pixels, schema, path), found
        return _columns(table, layout.features, path), found


def _stored(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column's values as such: not as a dictionary's, not as an extension's."""
    if isinstance(column.type, pa.BaseExtensionType):
        return _stored(
            pa.chunked_array([c.storage for c in column.chunks], type=column.type.storage_type)
        )
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _images(path: Path, column: str) -> Array:
    def decode() -> Array:
        with pq.ParquetFile(path) as file:
            encoded = file.read(columns=[column])[column].combine_chunks()
        if pa.types.is_struct(encoded.type):
            encoded = encoded.field("bytes")
        return images.decode(encoded.to_pylist(), path)

    return cache.decoded(path, column, decode)


def _columns(table: pa.Table, names: Iterable[str], path: Path) -> Array:
    """Columns of numbers as features [N, columns]: uint8 if all columns are, else floats."""
    columns = {name: _stored(table[name]) for name in names}
    for name, column in columns.items():
        _refuse_nulls(column, name, path)
    if all(column.type == pa.uint8() for column in columns.values()):
        return np.stack([column.to_numpy() for column in columns.values()], axis=1)
    return np.stack([_floats(column, name, path) for name, column in columns.items()], axis=1)


def _floats(column: pa.ChunkedArray, name: str, path: Path) -> Array:
    """A column without nulls as floats."""
    if pa.types.is_decimal(column.type):
        floats = column.cast(pa.float64())
        if not pc.all(pc.equal(floats.cast(column.type, safe=False), column)).as_py():
            raise InputError(
                f"{path}: column {listed([name])} has {column.type} numbers that float64 cannot "
                f"hold; write it with fewer digits"
            )
        column = floats
    return features.as_floats(column.to_numpy()[:, None], str(path), [name])[:, 0]


def _refuse_nulls(column: pa.ChunkedArray, name: str, path: Path) -> None:
    if column.null_count:
        row = pc.index(pc.is_null(column), True).as_py()
        raise InputError(
            f"{path}: each row needs all its features. Given: {column.null_count:,} missing values "
            f"in column {listed([name])}, the first in row {row} (counted from 0); fill such gaps "
            f"or drop these rows"
        )


def _lists(column: pa.ChunkedArray, name: str, schema: pa.Schema, path: Path) -> Array:
    """Lists of numbers of one length, or lists of such lists, as [N, ...]."""
    column = _stored(column)
    shape = [len(column)]
    values: Any = column.combine_chunks()
    while _is_list(values.type):
        _refuse_nulls(pa.chunked_array([values]), name, path)
        lengths = pc.list_value_length(values).unique().to_pylist()
        if len(lengths) != 1 or not lengths[0]:
            raise InputError(
                f"{path}: all lists in column {listed([name])} must have one length. Given: "
                f"{listed(sorted(lengths)) or 'none'}"
            )
        shape.append(lengths[0])
        values = _stored(pa.chunked_array([values.flatten()])).combine_chunks()
    if not _is_number(values.type) or pa.types.is_decimal(values.type):
        raise InputError(f"{path}: column {listed([name])} must list numbers. Given: {values.type}")
    if values.null_count:
        row = pc.index(pc.is_null(values), True).as_py() // math.prod(shape[1:])
        raise InputError(
            f"{path}: each row needs all its features. Given: {values.null_count:,} missing values "
            f"in lists of column {listed([name])}, the first in row {row} (counted from 0)"
        )
    numbers: Array = values.to_numpy(zero_copy_only=False)
    numbers = numbers.reshape(len(column), -1)
    if numbers.dtype != np.uint8:
        numbers = features.as_floats(numbers, f"{path}, column {listed([name])}")
    inner = tuple(shape[1:]) if len(shape) > 2 else _pixel_shape(numbers, schema, path)
    return numbers.reshape(len(column), *inner)


def _pixel_shape(x: Array, schema: pa.Schema, path: Path) -> tuple[int, ...]:
    """The shape in the file's metadata (`shape`, JSON); square for bytes; else a vector."""
    size = x.shape[1]
    shape = _json(schema, b"shape", path)
    if shape is not None:
        if (
            not isinstance(shape, list)
            or not all(type(side) is int and side > 0 for side in shape)
            or not 1 <= len(shape) <= 3
            or math.prod(shape) != size
        ):
            raise InputError(
                f"{path}: shape in its metadata must be sides whose product is {size}. Given: "
                f"{listed([shape])}"
            )
        return tuple(shape)
    if x.dtype == np.uint8:
        for channels in (1, 3):
            side = round((size / channels) ** 0.5)
            if side * side * channels == size:
                return (side, side) if channels == 1 else (side, side, 3)
    return (size,)
