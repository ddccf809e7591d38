"""Checks arrays of examples and labels. Arrays of npz files and from Python obey the same rules."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ffnet.data import features, labels
from ffnet.data.labels import Labels
from ffnet.data.raw import Array, Origin, Place, Raw, refuse_uneven
from ffnet.errors import InputError


class Pair(NamedTuple):
    """The examples and the labels of one part.

    Attributes:
        part: "train", "validation" or "test".
        where: both arrays.
        of_x, of_y: the array x and the array y.
        x: the examples [N, ...].
        labels: the labels.
    """

    part: str
    where: Place
    of_x: Place
    x: Array
    of_y: Place
    labels: Labels


def read(pairs: Iterable[Pair], drop_unlabelled: bool) -> Raw:
    """Join the parts into a Raw; the caller adds files and names.

    Args:
        pairs: a pair for each part; the part "train" must be among them.
        drop_unlabelled: True leaves rows without a label out, False refuses them.

    Raises:
        InputError: the arrays do not match, or hold values that cannot be features or labels.
    """
    parts, origins, unlabelled, kinds, dtypes = {}, {}, {}, {}, {}
    for pair in pairs:
        dtypes[pair.of_x], kinds[pair.of_y] = pair.x.dtype, pair.labels
        x = _labelled(pair, drop_unlabelled)
        of_x, of_y = pair.of_x, pair.of_y
        if missing := int((~pair.labels.there).sum()):
            unlabelled[pair.part] = missing
            of_x, of_y = of_x.at(pair.labels.there), of_y.at(pair.labels.there)
        x = x if x.dtype == np.uint8 else features.as_floats(x, of_x)
        parts[pair.part] = (x, pair.labels.values)
        origins[pair.part] = (Origin(of_x, of_y, len(x)),)
    labels.of_one_kind(kinds)
    _refuse_two_scales(dtypes)
    return Raw(parts, (), unlabelled=unlabelled, origins=origins)


def _labelled(pair: Pair, drop: bool) -> Array:
    """The examples that have a label."""
    x, there = pair.x, pair.labels.there
    refuse_uneven(len(x) if x.ndim else 0, len(there), pair.where)
    if not drop:
        labels.refuse_missing(pair.labels, pair.of_y)
    return x if there.all() else x[there]


def _refuse_two_scales(dtypes: Mapping[Place, np.dtype[Any]]) -> None:
    """Refuse uint8 in one part and floats in another: the pixels may be 0 to 255 and 0 to 1."""
    of_bytes = [where for where, dtype in dtypes.items() if dtype == np.uint8]
    of_floats = [where for where, dtype in dtypes.items() if dtype.kind == "f"]
    if of_bytes and of_floats:
        raise InputError(
            f"the examples of all parts must have the same dtype. Given: {of_bytes[0]} with uint8 "
            f"and {of_floats[0]} with {dtypes[of_floats[0]]}; save both with the same dtype"
        )
