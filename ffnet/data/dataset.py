"""A loaded data set: its parts, its classes, and mean and deviation of the training part."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ffnet.data.encoding import Column
from ffnet.data.raw import Place, listed, refuse_uneven
from ffnet.data.scaling import standardized
from ffnet.errors import InputError

NAMED = 12
"""How many columns the first line of a study names at most."""

Array = npt.NDArray[Any]
IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Part:
    """Examples and their labels.

    Attributes:
        x: images [N, height, width] or [N, height, width, channels], or features [N, columns];
            uint8 for pixels with the file's values, else floats.
        y: class of each example, int32 [N], 0 <= y < number of classes.
        group: group of each example, int32 [N], if the study's `group` names a column. Examples of
            one group have the same number, and are all in one part.
    """

    x: npt.NDArray[Any]
    y: IntArray
    group: IntArray | None = None

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: slice | npt.NDArray[np.intp]) -> "Part":
        """Return the examples at `index`: a view for a slice, a copy for an array of indices."""
        group = None if self.group is None else self.group[index]
        return Part(self.x[index], self.y[index], group)


@dataclass(frozen=True)
class DataSet:
    """A data set ready to train on.

    Attributes:
        name: the name of the data set in the study.
        train, validation, test: the parts; no example is in two parts. Pixels (uint8) have the
            file's values, features (float32) are standardised. `test` is None in the data set
            that trials get, so that no trial can see test examples.
        classes: the class names; a net gives a score for each of them.
        mean, std: mean and standard deviation of the training part, for each channel [C] of
            images or each feature [D]. float32 for pixels; float64 for features, measured before
            they were standardised. 0 and 1 for a column of categories.
        source: where the data were read.
        digest: SHA-256 of the contents of the files.
        dtype: dtype of the examples in the file: "uint8", "float32", or "float64" if float32
            cannot hold every number.
        columns: the names of the features, if they have names.
        target: the name of the column or array of labels, if it has a name.
        unused: the columns or arrays of the files that are not used.
        unlabelled: {part: number of rows left out because they have no label}.
        encoding: what each column of a table with categories, dates or gaps is, and what the
            numbers of the parts mean; see `Column`. None for images, vectors, and tables of
            complete numbers.
        max_categories: the study's field: the numbers that a column of categories gives a net.
        notes: sentences about the columns, the classes and the parts: what was left out and why,
            and warnings.
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
    encoding: tuple[Column, ...] | None = None
    max_categories: int = 100
    notes: tuple[str, ...] = ()

    @property
    def example_shape(self) -> tuple[int, ...]:
        """Shape of one example, for example (32, 32, 3) or (64,)."""
        return tuple(self.train.x.shape[1:])

    @property
    def features(self) -> int:
        """Numbers in one example: the product of its shape."""
        return int(np.prod(self.example_shape))

    @property
    def pixels(self) -> tuple[int, ...] | None:
        """Shape of one example if the examples are images of uint8 pixels, else None."""
        shape = self.example_shape
        is_image = self.train.x.dtype == np.uint8 and len(shape) in (2, 3)
        return shape if is_image else None

    def without_test(self) -> Self:
        """Return the data set without the test part: trials get this one."""
        return replace(self, test=None)

    def describe(self) -> str:
        """Describe the set in one line: name, sizes of the parts, shape, classes, columns."""
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
        """Return examples [N, ...] as float32 with the training part's mean 0 and deviation 1."""
        return standardized(x, self.mean, self.std) if x.dtype == np.uint8 else x


def refuse_odd(x: Array, labels: int, where: Place) -> None:
    """Raise InputError unless `x` [N, ...] has features, and an example for each label."""
    refuse_uneven(len(x), labels, where)
    if len(x) == 0:
        raise InputError(f"{where}: must have an example that has a label. Given: 0 examples")
    if not 2 <= x.ndim <= 4:
        raise InputError(
            f"{where}: examples must be numbers in 2 to 4 dimensions. Given: {x.dtype} {x.shape}"
        )
    if x.size == 0:
        raise InputError(f"{where}: examples must have a feature. Given: {x.shape}")
