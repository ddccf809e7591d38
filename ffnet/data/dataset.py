"""What a data set is once loaded: parts of examples, the classes and the training statistics."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ffnet.errors import InputError

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Part:
    """Examples and their labels.

    Attributes:
        x: images [N, height, width] or [N, height, width, channels], or features [N, columns];
            uint8 for pixels, float32 otherwise.
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
        train, validation, test: the parts; no example stands in two. `test` is None on its way to
            a trial, so that no trial can see it.
        classes: the class names; their number is the number of scores a net gives.
        mean, std: per channel [C] of images or per column [D] of features, from `train` alone.
        source: where it was read.
        digest: SHA-256 of the files read, to tell one content from another.
    """

    name: str
    train: Part
    validation: Part
    test: Part | None
    classes: tuple[str, ...]
    mean: FloatArray
    std: FloatArray
    source: str
    digest: str

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
        """One line: name, sizes of the parts, shape, classes."""
        sizes = "/".join(f"{len(p):,}" for p in (self.train, self.validation, self.test) if p)
        shape = "×".join(map(str, self.example_shape))
        return f"{self.name}: {sizes} train/validation/test, {shape}, {len(self.classes)} classes"


def statistics(x: npt.NDArray[Any]) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation per channel (images) or per column (features), float32.

    A constant channel or column gets deviation 1, so that dividing by it changes nothing.

    Args:
        x: examples [N, ...] as in `Part.x`.
    """
    rows = x.reshape(-1, 1 if x.ndim == 3 else x.shape[-1])
    mean, std = _byte_statistics(rows) if x.dtype == np.uint8 else _float_statistics(rows)
    std[std <= 1e-7 * np.abs(mean)] = 1
    return mean.astype(np.float32), std.astype(np.float32)


def _byte_statistics(rows: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """By histogram: exact, and seven times faster than sums of squares in float64."""
    counts = np.zeros((rows.shape[1], 256))
    for start in range(0, len(rows), 1 << 20):
        for column, count in enumerate(counts):
            count += np.bincount(rows[start : start + (1 << 20), column], minlength=256)
    value = np.arange(256)
    mean = counts @ value / len(rows)
    return mean, np.sqrt(np.maximum(counts @ value**2 / len(rows) - mean**2, 0))


def _float_statistics(rows: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    mean = rows.mean(axis=0, dtype=np.float64)
    return mean, rows.std(axis=0, dtype=np.float64, mean=mean)


def checked(part: Part, classes: int, where: str) -> Part:
    """`part`, or InputError when it breaks a rule of `Part`.

    Args:
        part: the examples as read.
        classes: number of classes that labels may name.
        where: the file or part, for the message.
    """
    if len(part.x) != len(part.y):
        raise InputError(
            f"{where}: needs as many labels as examples. Given: {len(part.x)} examples, "
            f"{len(part.y)} labels; the two come from different files or a cut one"
        )
    if len(part) == 0:
        raise InputError(f"{where}: has no examples")
    low, high = int(part.y.min()), int(part.y.max())
    if low < 0 or high >= classes:
        wrong = low if low < 0 else high
        raise InputError(
            f"{where}: labels must be 0 to {classes - 1}. Given: {wrong}; number the classes from 0"
        )
    if part.x.dtype != np.uint8 and not np.isfinite(part.x).all():
        raise InputError(
            f"{where}: features must be finite. Given: NaN or infinity; clean the data"
        )
    return part
