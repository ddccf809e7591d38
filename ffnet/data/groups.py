"""Keeps the examples of a group, for example of a patient, together when a data set is divided."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ffnet.data.columns import base, find_labels, stored
from ffnet.data.raw import Place, listed
from ffnet.errors import InputError

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[Any]


def without(schema: pa.Schema, name: str | None, target: str | None, where: Place) -> pa.Schema:
    """Return a table's schema without the column of groups; with None, the schema as it is.

    Raises:
        InputError: there is no such column, or it holds the labels.
    """
    if name is None:
        return schema
    if name not in schema.names or name == target:
        raise InputError(
            f"{where}: group must be one of its columns, and not the labels: "
            f"{listed(schema.names, 12)}. Given: {name}"
        )
    if target is None and find_labels(schema.names) == [name]:
        raise InputError(
            f"{where}: group must not be the column of labels. Given: {name}, which holds the "
            f"labels by its name; name the column of labels with target"
        )
    return schema.remove(schema.get_field_index(name))


def numbered(columns: Iterable[tuple[str, Place, pa.ChunkedArray, Bools]]) -> dict[str, Ints]:
    """Return the number of each example's group, {part: int32 [N]}.

    Args:
        columns: for each table its part, the place of the column, the column, and whether each of
            its rows is used.

    Raises:
        InputError: a row has no group, the values cannot be compared, or a group is in two parts.
    """
    columns = list(columns)
    values, parts = [], []
    for part, where, column, there in columns:
        plain = stored(column)
        if base(plain.type) == "text":  # blanks around a text do not count
            plain = pc.utf8_trim_whitespace(plain)
            plain = pc.if_else(pc.equal(plain, ""), pa.scalar(None, plain.type), plain)
        missing = np.flatnonzero(np.asarray(pc.is_null(plain, nan_is_null=True)) & there)
        if len(missing):
            raise InputError(
                f"{where}: each row needs a group. Given: {len(missing):,} rows without one, the "
                f"first is {where.row(missing[0])}; give each such row a group of its own"
            )
        values.append(plain.filter(pa.array(there)))
        parts.append(np.full(len(values[-1]), part))
    try:
        whole = pa.chunked_array([c for each in values for c in each.cast(values[0].type).chunks])
        codes = whole.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int32)
    except pa.ArrowException:
        raise InputError(
            f"{columns[0][1]}: groups must be numbers or text, of one kind in all tables. Given: "
            f"{listed(each.type for each in values)}"
        ) from None
    of_part = np.concatenate(parts)
    found = {part: codes[of_part == part] for part in dict.fromkeys(part for part, *_ in columns)}
    _refuse_shared(found, [(part, where.at(there)) for part, where, _, there in columns])
    return found


def _refuse_shared(groups: Mapping[str, Ints], columns: Sequence[tuple[str, Place]]) -> None:
    """Raise InputError if a group is in two parts. `columns` are the used rows of each table."""
    for (one, of_one), (other, of_other) in combinations(groups.items(), 2):
        shared = np.intersect1d(of_one, of_other)
        if len(shared):
            rows = (_row_of(shared[0], part, groups[part], columns) for part in (one, other))
            raise InputError(
                f"{columns[0][1]}: a group must be in one part. Given: {len(shared):,} groups in "
                f"{one} and in {other}, for example {' and '.join(rows)}; leave group out, or move "
                f"these rows"
            )


def _row_of(group: Any, part: str, groups: Ints, columns: Sequence[tuple[str, Place]]) -> str:
    """Return the file and the first row of a group in a part."""
    at = int(np.argmax(groups == group))
    for place in (place for of_part, place in columns if of_part == part):
        assert place.rows is not None
        if at < len(place.rows):
            return f"{Path(place.name).name}, {place.row(at)}"
        at -= len(place.rows)
    raise AssertionError("a part has a row for each of its groups")


def dealt(y: Ints, groups: Ints, shares: Sequence[float], seed: int) -> Ints:
    """Deal whole groups to heaps, so that each heap gets about its share of each class.

    The groups are taken by their size, the largest first, and in random order where they have the
    same size. Each goes to the heap where it adds least to the chi-squared distance of the counts
    of the classes from their shares: the sum over heaps and classes of
    (count - share · total)² / (share · total).

    Args:
        y: the class of each example, int [N].
        groups: the group of each example, int [N].
        shares: the share of each heap; they add up to 1.
        seed: decides the random order.

    Returns:
        The number of the heap that each example goes to, int [N].
    """
    _, group = np.unique(groups, return_inverse=True)
    pairs, counts = np.unique(group * (int(y.max()) + 1) + y, return_counts=True)
    of_pair, classes = np.divmod(pairs, int(y.max()) + 1)
    begins = np.searchsorted(of_pair, np.arange(of_pair[-1] + 2))
    order = np.random.default_rng(seed).permutation(len(begins) - 1)
    order = order[np.argsort(-np.bincount(group)[order], kind="stable")]
    share, total = np.array(shares), np.bincount(y)
    held = np.zeros((len(shares), len(total)))
    heap = np.empty(len(order), np.intp)
    for each in order:
        of_group = slice(begins[each], begins[each + 1])
        inside, count = classes[of_group], counts[of_group]
        added = (2 * held[:, inside] + count) @ (count / total[inside]) / share
        heap[each] = to = added.argmin()
        held[to, inside] += count
    return heap[group]


def spare_classes(held: Bools, y: Ints, groups: Ints | None = None) -> Bools:
    """Return which examples are held out of training, such that training has each class.

    Of a class that training would lack, all examples go to training; with groups, their whole
    groups do.

    Args:
        held: whether each example is held out, bool [N].
        y: the class of each example, int [N].
        groups: the group of each example, int [N], or None.
    """
    back = np.isin(y, np.setdiff1d(y, y[~held]))
    return held & ~(back if groups is None else np.isin(groups, groups[back]))
