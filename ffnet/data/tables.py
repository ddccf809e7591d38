"""Reads tables of examples: a label column, and encoded images, a column of lists, or numbers.

A table is a Parquet file or comes from Python; the rules are the same. Columns are matched by name,
so their order may differ between tables.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ffnet.data import coded, features, groups, images, labels, mixed
from ffnet.data.arrow_numpy import bools
from ffnet.data.by_column import joined
from ffnet.data.columns import (
    ROW_NUMBERS,
    UNNAMED,
    Layout,
    as_float64,
    base,
    class_names,
    find_layout,
    is_list,
    is_number,
    metadata_json,
    numbers_rows,
    refuse_other_columns,
    refuse_same_names,
    same_classes,
    stored,
    value_type,
)
from ffnet.data.kinds import GAPS
from ffnet.data.labels import Labels
from ffnet.data.raw import Array, Origin, Place, Raw, listed
from ffnet.errors import InputError
from ffnet.spec.sections import Data

IMAGES_AT_ONCE = 64


class Table(ABC):
    """A table of a data set.

    Attributes:
        where: what messages call the table, and how its rows are counted.
        name: a short name, for messages that compare two tables.
        schema: the names and types of the columns.
        of_text: whether the types were found out from text, as in a CSV file. Such a table has no
            column that only names its rows, and booleans are categories. A table of another format
            that has nothing but complete numbers and booleans is used as it is.
        gaps: the texts that stand for a missing label.
    """

    of_text: bool = False
    gaps: Sequence[str] = GAPS
    where: Place
    name: str
    schema: pa.Schema

    @abstractmethod
    def read(self, columns: list[str]) -> pa.Table:
        """Read the named columns."""

    @abstractmethod
    def images(self, column: str) -> Array:
        """Return the decoded images of a column of encoded images."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[None]:
        """Return a context manager that turns a library's errors into an InputError."""


def read(tables: Mapping[str, Sequence[Table]], data: Data) -> Raw:
    """Read tables into a Raw; the caller adds the files.

    Args:
        tables: {part: its tables, in order}; the part "train" must be among them.
        data: `target` names the label column; `drop_unlabelled` decides whether rows without a
            label are left out or refused.

    Raises:
        InputError: a table is damaged, or the tables do not match.
    """
    every = [table for of_part in tables.values() for table in of_part]
    first = tables["train"][0]
    for table in every:
        refuse_same_names(table.schema, table.where)
    schemas = [groups.without(t.schema, data.group, data.target, t.where) for t in every]
    layout = find_layout(schemas[0], first.where, data.target, data.drop)
    for table, schema in zip(every, schemas, strict=True):
        refuse_other_columns(layout, schema, table.where, first.name)
    layout, notes = _without_row_numbers(layout, every)
    mixed.refuse_unused_names(data, layout, first.where)
    classes = same_classes(
        {table.where: class_names(table.schema, layout.target, table.where) for table in every}
    )
    labelled = {table.where: _labels(table, layout, classes, data) for table in every}
    labels.of_one_kind(labelled)
    columns = mixed.Columns({})
    examples: dict[Place, Any]
    if layout.features:
        there = {where: found.there for where, found in labelled.items()}
        trained_on = {table.where for table in tables["train"]}
        columns = _features(every, there, trained_on, layout, data)
        notes += _as_numbers(columns, first, data)
        examples = dict[Place, Any](columns.x)
    else:
        examples = {t.where: _examples(t, layout, labelled[t.where].there) for t in every}
    if layout.image and any(x.ndim == 4 for x in examples.values()):  # all get colours if one has
        examples = {w: x if x.ndim == 4 else images.in_colour(x) for w, x in examples.items()}
    parts, origins, unlabelled = {}, {}, {}
    for part, of_part in tables.items():
        of_labels = [labelled[table.where] for table in of_part]
        xs = [examples[table.where] for table in of_part]
        x = joined(xs) if layout.features else _joined(xs, of_part[0].where)
        parts[part] = (x, coded.joined([each.values for each in of_labels]))
        unlabelled[part] = sum(int((~each.there).sum()) for each in of_labels)
        origins[part] = tuple(_origin(table, labelled[table.where], layout) for table in of_part)
    unused = set(layout.features) - set(columns.names)
    return Raw(
        parts,
        (),
        classes,
        columns=tuple(columns.names) or None,
        target=layout.target,
        unused=(*layout.unused, *layout.dropped, *(n for n in layout.features if n in unused)),
        unlabelled={part: count for part, count in unlabelled.items() if count},
        categories=columns.categories,
        dates=tuple(columns.dates),
        gaps=columns.gaps,
        notes=(*notes, *columns.notes),
        groups=_groups(tables, data.group, labelled) if data.group else None,
        origins=origins,
    )


def _origin(table: Table, found: Labels, layout: Layout) -> Origin:
    """Return where the rows of a table come from that have a label."""
    where = table.where if found.there.all() else table.where.at(found.there)
    return Origin(where, where.of(layout.target), len(found.values))


def _groups(
    tables: Mapping[str, Sequence[Table]], name: str, labelled: Mapping[Place, Labels]
) -> dict[str, Array]:
    """Return the number of each example's group, by part."""
    columns = []
    for part, table in ((part, table) for part, of_part in tables.items() for table in of_part):
        with table.reading():
            column = table.read([name])[name]
        columns.append((part, table.where.of(name), column, labelled[table.where].there))
    return groups.numbered(columns)


def _without_row_numbers(layout: Layout, tables: Sequence[Table]) -> tuple[Layout, list[str]]:
    """Leave out columns that only number the rows. Return the layout, and a note for each."""
    notes = [
        f"left out: column {listed([repr(name)])}, as it has no name, like the row numbers that a "
        f"CSV file of pandas keeps"
        for name in layout.dropped
        if UNNAMED.fullmatch(name)
    ]
    for name in filter(ROW_NUMBERS.fullmatch, layout.features):
        kinds = {base(table.schema.field(name).type) for table in tables}
        if kinds == {"numbers"} and numbers_rows([_numbers(table, name) for table in tables]):
            rest = tuple(each for each in layout.features if each != name)
            layout = replace(layout, features=rest, dropped=(*layout.dropped, name))
            notes.append(
                f"left out: column {name}, as it counts the rows as an index of pandas does; "
                f"rename it if it is a feature"
            )
    if not (layout.image or layout.pixels or layout.features):
        raise InputError(
            f"{tables[0].where}: must have a feature beside the labels and the numbers of the "
            f"rows. Given: {listed([layout.target, *layout.dropped])}"
        )
    return layout, notes


def _features(
    tables: Sequence[Table],
    there: Mapping[Place, Array],
    trained_on: Collection[Place],
    layout: Layout,
    data: Data,
) -> mixed.Columns:
    """Read the columns of features: complete numbers as they are, others by `mixed`."""
    opened = [
        mixed.Opened(t.where, t.schema, t.read, t.reading, there[t.where], t.where in trained_on)
        for t in tables
    ]
    types = (value_type(t.schema.field(name).type) for t in tables for name in layout.features)
    plain = None
    if (
        all(map(is_number, types))
        and not data.categorical
        and not any(table.of_text for table in tables)
    ):
        plain = mixed.complete(opened, layout.features)
    return plain or mixed.read(opened, layout, data)


def _as_numbers(columns: mixed.Columns, table: Table, data: Data) -> list[str]:
    """Return notes about columns that are numbers here, and categories in other tables."""
    schema = table.schema
    about = metadata_json(schema, b"pandas", table.where)
    of_pandas = about.get("columns") if isinstance(about, dict) else None
    coded = {
        str(each.get("name"))
        for each in (of_pandas if isinstance(of_pandas, list) else [])
        if isinstance(each, dict) and each.get("pandas_type") == "categorical"
    }
    numbers = [name for i, name in enumerate(columns.names) if i not in columns.categories]
    types = {n: schema.field(n).type for n in numbers if n not in data.numeric}
    coded |= {name for name, kind in types.items() if pa.types.is_dictionary(kind)}
    found = []
    if names := [name for name in types if name in coded]:
        found.append(
            f"categories that are numbers count as numbers in this table: {listed(names, 12)}; "
            f"name such a column in categorical if they are codes"
        )
    if names := [name for name, kind in types.items() if pa.types.is_boolean(kind)]:
        found.append(
            f"booleans are 0 and 1 in a table of complete numbers: {listed(names, 12)}; in other "
            f"tables they are categories, which tell nets the same"
        )
    return found


def encoded(batches: Iterable[pa.RecordBatch]) -> Iterator[bytes | None]:
    """Yield the bytes of each image of a column, and hold only a few images in memory."""
    for batch in batches:
        values = stored(pa.chunked_array([batch.column(0)]))
        if pa.types.is_struct(values.type):
            values = pc.struct_field(values, "bytes")
        yield from values.to_pylist()


def _numbers(table: Table, name: str) -> Array:
    with table.reading():
        return as_float64(table.read([name])[name])


def _joined(xs: list[Array], where: Place) -> Array:
    shapes = {x.shape[1:] for x in xs}
    if len(shapes) > 1:
        raise InputError(f"{where}: examples must have one shape. Given: {listed(shapes)}")
    return xs[0] if len(xs) == 1 else np.concatenate(xs)  # a single array stays memory-mapped


def _labels(table: Table, layout: Layout, classes: tuple[str, ...] | None, data: Data) -> Labels:
    where = table.where.of(layout.target)
    with table.reading():
        found = labels.from_column(table.read([layout.target])[layout.target], where)
    if classes and found.values.dtype.kind == "i":  # the hub writes -1 for a missing label
        found = found.without(np.asarray(found.values == -1))
    if not data.drop_unlabelled:
        labels.refuse_missing(found, where, table.gaps)
    if not layout.image and not found.there.any():
        raise InputError(f"{table.where}: no example has a label; leave this table out")
    return found


def _examples(table: Table, layout: Layout, there: Array) -> Array:
    """Return the images or lists of the rows that have a label."""
    with table.reading():
        if layout.image:
            x = table.images(layout.image)
            return x if there.all() else x[there]
        assert layout.pixels
        content, where = table.read([layout.pixels]), table.where.of(layout.pixels)
        if not there.all():
            content, where = content.filter(bools(there)), where.at(there)
        return _lists(content[layout.pixels], table.schema, where)


def _refuse_nulls(column: pa.ChunkedArray, where: Place, inside: int = 1) -> None:
    """Raise InputError if a column has nulls. `inside` is the number of values in each row."""
    if column.null_count:
        row = pc.index(pc.is_null(column), True).as_py() // inside
        raise InputError(
            f"{where}: each row needs all its features. Given: {column.null_count:,} missing "
            f"values, the first in {where.row(row)}; fill such gaps or drop these rows"
        )


def _lists(column: pa.ChunkedArray, schema: pa.Schema, where: Place) -> Array:
    """Turn lists of numbers, or lists of such lists, into [N, ...]. All must have one length."""
    shape = [len(column)]
    values: Any = stored(column).combine_chunks()
    while is_list(values.type):
        inside = math.prod(shape[1:])  # lists of this depth in a row
        _refuse_nulls(pa.chunked_array([values]), where, inside)
        lengths = pc.list_value_length(values).to_numpy(zero_copy_only=False)
        other = np.flatnonzero(lengths != lengths[:1])
        if len(other):
            raise InputError(
                f"{where}: all lists must have one length. Given: {lengths[0]} values in "
                f"{where.row(0)} and {lengths[other[0]]} in {where.row(other[0] // inside)}"
            )
        if not lengths[:1].any():
            raise InputError(f"{where}: lists must hold numbers. Given: empty lists")
        shape.append(int(lengths[0]))
        values = stored(pa.chunked_array([values.flatten()])).combine_chunks()
    if not is_number(values.type) or pa.types.is_decimal(values.type):
        raise InputError(f"{where}: lists must hold numbers. Given: {values.type}")
    _refuse_nulls(pa.chunked_array([values]), where, math.prod(shape[1:]))
    numbers: Array = values.to_numpy(zero_copy_only=False)
    numbers = numbers.reshape(len(column), -1)
    if numbers.dtype != np.uint8:
        numbers = features.as_floats(numbers, where)
    inner = tuple(shape[1:]) if len(shape) > 2 else _pixel_shape(numbers, schema, where)
    return numbers.reshape(len(column), *inner)


def _pixel_shape(x: Array, schema: pa.Schema, where: Place) -> tuple[int, ...]:
    """Return the shape of an example.

    It is `shape` (JSON) in the file's metadata if there is one. Otherwise bytes are a square
    image if their number allows it, and all else is a vector.
    """
    size = x.shape[1]
    shape = metadata_json(schema, b"shape", where)
    if shape is not None:
        if (
            not isinstance(shape, list)
            or not all(type(side) is int and side > 0 for side in shape)
            or not 1 <= len(shape) <= 3
            or math.prod(shape) != size
        ):
            raise InputError(
                f"{where}: shape in its metadata must be sides whose product is {size}. Given: "
                f"{listed([shape])}"
            )
        return tuple(shape)
    if x.dtype == np.uint8:
        for channels in (1, 3):
            side = round((size / channels) ** 0.5)
            if side * side * channels == size:
                return (side, side) if channels == 1 else (side, side, 3)
    return (size,)
