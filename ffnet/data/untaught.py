"""Finds columns that have no two different values to learn from, but other values elsewhere."""

from collections.abc import Mapping, Sequence

import numpy as np

from ffnet.data.dataset import Part
from ffnet.data.encoding import Column
from ffnet.data.raw import listed


def notes(
    parts: Mapping[str, Part], names: Sequence[str], encoding: Sequence[Column] | None
) -> list[str]:
    """Return a sentence about the columns with no value, and one about those with a single value.

    Only columns count of which another part has a value that the training part does not have.

    Args:
        parts: {"train", "validation", "test": the part}, of features [N, columns].
        names: the names of the columns.
        encoding: what the columns are; None if all hold complete numbers.
    """
    train = parts["train"].x
    low, high = np.fmin.reduce(train), np.fmax.reduce(train)
    found: dict[str, list[str]] = {"no value": [], "a single value": []}
    for i, name in enumerate(names):
        categories = encoding is not None and encoding[i].kind == "category"
        known = len(encoding[i].categories) if encoding and categories else 0
        if known > 1 or (not categories and low[i] < high[i]):
            continue
        others = (part.x[:, i] for name, part in parts.items() if name != "train")
        if any((x > known if categories else (x != low[i]) & ~np.isnan(x)).any() for x in others):
            empty = known == 0 if categories else np.isnan(low[i])
            found["no value" if empty else "a single value"].append(name)
    return [
        f"{what} in the training part, but others in the validation or test part, which nets "
        f"cannot know: column {listed(columns, 12)}; leave it out with drop, or divide the data in "
        f"another way"
        for what, columns in found.items()
        if columns
    ]
