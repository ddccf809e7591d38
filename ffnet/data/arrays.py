"""Arrays of examples and of labels, from an npz file or from Python: the same rules for both."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ffnet.data import features, labels
from ffnet.data.labels import Labels
from ffnet.data.raw import Array, Raw, refuse_uneven
from ffnet.errors import InputError


class Pair(NamedTuple):
    """The examples and the labels of one part.

    Attributes:
        part: "train", "validation" or "test".
        where: what messages call both arrays.
        of_x, of_y: what messages call each array.
        x: the examples [N, ...].
        labels: the labels.
    """

    part: str
    where: str
    of_x: str
    x: Array
    of_y: str
    labels: Labels


def read(pairs: Iterable[Pair], drop_unlabelled: bool) -> Raw:
    """The parts of a set, without the files and the names.

    Args:
        pairs: one for each part, "train" among them.
        drop_unlabelled: whether rows without a label are left out; if not, they are refused.

    Raises:
        InputError: the arrays do not go together, or hold what can be no feature or no label.
    """
    parts, unlabelled, kinds, dtypes = {}, {}, {}, {}
    for pair in pairs:
        dtypes[pair.of_x], kinds[pair.of_y] = pair.x.dtype, pair.labels
        x = _labelled(pair, drop_unlabelled)
        x = x if x.dtype == np.uint8 else features.as_floats(x, pair.of_x)
        parts[pair.part] = (x, pair.labels.values)
        if missing := int((~pair.labels.there).sum()):
            unlabelled[pair.part] = missing
    labels.of_one_kind(kinds)
    _refuse_two_scales(dtypes)
    return Raw(parts, (), unlabelled=unlabelled)


def _labelled(pair: Pair, drop: bool) -> Array:
    """The examples that have a label."""
    x, there = pair.x, pair.labels.there
    refuse_uneven(len(x) if x.ndim else 0, len(there), pair.where)
    if not drop:
        labels.refuse_missing(pair.labels, pair.where)
    return x if there.all() else x[there]


def _refuse_two_scales(dtypes: Mapping[str, np.dtype[Any]]) -> None:
    """Refuse bytes beside floats: one part may be pixels from 0 to 255, the other from 0 to 1."""
    of_bytes = [where for where, dtype in dtypes.items() if dtype == np.uint8]
    of_floats = [where for where, dtype in dtypes.items() if dtype.kind == "f"]
    if of_bytes and of_floats:
        raise InputError(
            f"the examples of all parts must be of one type. Given: {of_bytes[0]}, of uint8, and "
            f"{of_floats[0]}, of {dtypes[of_floats[0]]}; save both in the same"
        )
