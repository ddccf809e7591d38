"""Reads Parquet: a label column beside encoded images, one column of lists, or columns of numbers.

Columns are found by name: their order may differ from file to file.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ffnet.data import cache, features, images, labels
from ffnet.data.columns import (
    Layout,
    class_names,
    find_layout,
    is_list,
    is_number,
    metadata_json,
    read_schema,
    refuse_other_columns,
    refuse_row_numbers,
    same_classes,
    stored,
)
from ffnet.data.labels import Labels
from ffnet.data.raw import Array, Raw, listed, reading
from ffnet.errors import InputError
from ffnet.spec.study import Data

IMAGES_AT_ONCE = 64


def read(files: Mapping[str, list[Path]], data: Data) -> Raw:
    """The parts of a set.

    Args:
        files: part → its files, read in order; "train" among them.
        data: names the label column, and says what is done with rows that have no label.

    Raises:
        InputError: a file is damaged, or the files do not go together.
    """
    schemas = {path: read_schema(path) for paths in files.values() for path in paths}
    first = files["train"][0]
    layout = find_layout(schemas[first], first, data.target)
    for path, schema in schemas.items():
        refuse_other_columns(layout, schema, path, first)
    refuse_row_numbers(layout, tuple(schemas))
    classes = same_classes({p: class_names(s, layout.target, p) for p, s in schemas.items()})
    examples: dict[Path, Array] = {}
    found: dict[Path, Labels] = {}
    for path, schema in schemas.items():
        examples[path], found[path] = _read_file(
            path, schema, layout, classes, data.drop_unlabelled
        )
    labels.of_one_kind({str(path): labelled for path, labelled in found.items()})
    if layout.image and any(x.ndim == 4 for x in examples.values()):  # one in colour: all are
        examples = {p: x if x.ndim == 4 else images.in_colour(x) for p, x in examples.items()}
    parts, unlabelled = {}, {}
    for part, paths in files.items():
        y = [found[path].values for path in paths]
        parts[part] = (_joined([examples[path] for path in paths], paths), np.concatenate(y))
        unlabelled[part] = sum(int((~found[path].there).sum()) for path in paths)
    return Raw(
        parts,
        tuple(schemas),
        classes,
        columns=layout.features or None,
        target=layout.target,
        unused=layout.unused,
        unlabelled={part: count for part, count in unlabelled.items() if count},
    )


def _joined(xs: list[Array], paths: list[Path]) -> Array:
    shapes = {x.shape[1:] for x in xs}
    if len(shapes) > 1:
        raise InputError(
            f"{paths[0].parent}: examples must have one shape. Given: {listed(shapes)}"
        )
    return xs[0] if len(xs) == 1 else np.concatenate(xs)  # one file's stay memory-mapped


def _read_file(
    path: Path, schema: pa.Schema, layout: Layout, classes: tuple[str, ...] | None, drop: bool
) -> tuple[Array, Labels]:
    """The examples that have a label, and the labels."""
    where = f"{path}, column {listed([layout.target])}"
    with reading(path, "Parquet"), pq.ParquetFile(path) as file:
        used = [layout.target, *filter(None, [layout.pixels]), *layout.features]
        table = file.read(columns=used)
        found = labels.from_column(table[layout.target], where)
        if classes and found.values.dtype.kind == "i":  # the hub's mark of a missing label
            found = found.without(found.values == -1)
        if not drop:
            labels.refuse_missing(found, where)
        rows = None if found.there.all() else pa.array(found.there)
        if layout.image:
            x = _images(path, layout.image)
            return x if rows is None else x[found.there], found
        if rows is not None:
            table = table.drop_columns(layout.target).filter(rows)
        if len(table) == 0:
            raise InputError(f"{path}: has no examples with a label; leave the file out")
        if layout.pixels:
            return _lists(table[layout.pixels], layout.pixels, schema, path), found
        return _columns(table, layout.features, path), found


def _images(path: Path, column: str) -> Array:
    def decode() -> Array:
        with pq.ParquetFile(path) as file:
            return images.decode(_encoded(file, column), file.metadata.num_rows, path)

    return cache.decoded(path, column, decode)


def _encoded(file: pq.ParquetFile, column: str) -> Iterator[bytes | None]:
    """The bytes of each image, few at a time: one that stands in many rows is stored once."""
    for batch in file.iter_batches(IMAGES_AT_ONCE, columns=[column]):
        values = stored(pa.chunked_array([batch.column(0)]))
        if pa.types.is_struct(values.type):
            values = pc.struct_field(values, "bytes")
        yield from values.to_pylist()


def _columns(table: pa.Table, names: Iterable[str], path: Path) -> Array:
    """Columns of numbers as features [N, columns]: uint8 if all columns are, else floats."""
    columns = {name: stored(table[name]) for name in names}
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


def _refuse_nulls(column: pa.ChunkedArray, name: str, path: Path, inside: int = 1) -> None:
    """Refuse a column, of which each row has so many values, for its first null."""
    if column.null_count:
        row = pc.index(pc.is_null(column), True).as_py() // inside
        raise InputError(
            f"{path}: each row needs all its features. Given: {column.null_count:,} missing values "
            f"in column {listed([name])}, the first in row {row} (counted from 0); fill such gaps "
            f"or drop these rows"
        )


def _lists(column: pa.ChunkedArray, name: str, schema: pa.Schema, path: Path) -> Array:
    """Lists of numbers of one length, or lists of such lists, as [N, ...]."""
    shape = [len(column)]
    values: Any = stored(column).combine_chunks()
    while is_list(values.type):
        inside = math.prod(shape[1:])  # such lists in one row
        _refuse_nulls(pa.chunked_array([values]), name, path, inside)
        lengths = pc.list_value_length(values).to_numpy(zero_copy_only=False)
        other = np.flatnonzero(lengths != lengths[:1])
        if len(other):
            raise InputError(
                f"{path}: all lists in column {listed([name])} must have one length. Given: "
                f"{lengths[0]} and, in row {other[0] // inside} (counted from 0), "
                f"{lengths[other[0]]}"
            )
        if not lengths[:1].any():
            raise InputError(f"{path}: lists in column {listed([name])} must hold numbers")
        shape.append(int(lengths[0]))
        values = stored(pa.chunked_array([values.flatten()])).combine_chunks()
    if not is_number(values.type) or pa.types.is_decimal(values.type):
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
    shape = metadata_json(schema, b"shape", path)
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
