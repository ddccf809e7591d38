"""What a data set is once loaded: parts of examples, the classes and the training statistics."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ffnet.data.raw import listed, refuse_uneven
from ffnet.data.scaling import standardized
from ffnet.errors import InputError

NAMED = 12
"""Columns that the first line of a study names."""

Array = npt.NDArray[Any]
IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Part:
    """Examples and their labels.

    Attributes:
        x: images [N, height, width] or [N, height, width, channels], or features [N, columns];
            uint8 for pixels as they stand in the file, else floats.
        y: class of each example, int32 [N], 0 <= y < number of classes.
    """

    x: npt.NDArray[Any]
    y: IntArray

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: slice | npt.NDArray[np.intp]) -> "Part":
        """The examples at `index`: a view for a slice, a copy for an array."""
        return Part(self.x[index], self.y[index])


@dataclass(frozen=True)
class DataSet:
    """A data set ready to train on.

    Attributes:
        name: what the study calls it.
        train, validation, test: the parts; no example stands in two. Pixels (uint8) are as in the
            file, features (float32) standardised. `test` is None on its way to a trial, so that
            no trial can see it.
        classes: the class names; their number is the number of scores a net gives.
        mean, std: per channel [C] of images or per column [D] of features, from `train` alone:
            float32 for pixels, float64 for features as they stood in the file.
        source: where it was read.
        digest: SHA-256 of the files read, to tell one content from another.
        dtype: of the examples in the file: "uint8", "float32", or "float64" where float32 does not
            hold each number.
        columns: the names of the features of one example, where they have names.
        target: the column or array of the labels, where it has a name.
        unused: the columns or arrays of the files that are not used.
        unlabelled: part → rows left out because they have no label.
    """

    name: str
    train: Part
    validation: Part
    test: Part | None
    classes: tuple[str, ...]
    mean: Array
    std: Array
    source: str
    digest: str
    dtype: str = "uint8"
    columns: tuple[str, ...] | None = None
    target: str | None = None
    unused: tuple[str, ...] = ()
    unlabelled: Mapping[str, int] = field(default_factory=dict)

    @property
    def example_shape(self) -> tuple[int, ...]:
        """Shape of one example, e.g. (32, 32, 3) or (64,)."""
        return tuple(self.train.x.shape[1:])

    @property
    def features(self) -> int:
        """Numbers in one example: the product of its shape."""
        return int(np.prod(self.example_shape))

    def without_test(self) -> Self:
        """The same set for a trial: test examples are never sent to one."""
        return replace(self, test=None)

    def describe(self) -> str:
        """One line: name, sizes of the parts, shape, classes; what is used of a table's columns."""
        sizes = "/".join(f"{len(p):,}" for p in (self.train, self.validation, self.test) if p)
        shape = "×".join(map(str, self.example_shape))
        line = f"{self.name}: {sizes} train/validation/test, {shape}, {len(self.classes)} classes"
        if self.columns:
            line += f"; features {listed(self.columns, NAMED)}; target {listed([self.target])}"
        if self.unused:
            line += f"; not used: {listed(self.unused, NAMED)}"
        if self.unlabelled:
            counts = (f"{count:,} of {part}" for part, count in self.unlabelled.items())
            line += f"; left out without a label: {', '.join(counts)}"
        return line

    def normalized(self, x: Array) -> Array:
        """Examples of a part [N, ...] as the net gets them: float32, mean 0 and deviation 1."""
        return standardized(x, self.mean, self.std) if x.dtype == np.uint8 else x


def refuse_odd(x: Array, labels: int, where: str) -> None:
    """Raise InputError unless `x` [N, ...] has an example for each of the labels, and features."""
    refuse_uneven(len(x), labels, where)
    if len(x) == 0:
        raise InputError(f"{where}: must have an example that has a label. Given: 0 examples")
    if not 2 <= x.ndim <= 4:
        raise InputError(
            f"{where}: examples must be numbers in 2 to 4 dimensions. Given: {x.dtype} {x.shape}"
        )
    if x.size == 0:
        raise InputError(f"{where}: examples must have a feature. Given: {x.shape}")
