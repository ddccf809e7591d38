"""The minibatch iterator of the source lesson, for looking at batches in Python.

Training does not use it: the compiled loop shuffles by itself (`ffnet.training.trainer`).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ffnet.data.dataset import IntArray, Part
from ffnet.errors import InputError

Batch = tuple[npt.NDArray[Any], IntArray]


class Minibatches:
    """Iterates over the batches (x [B, …], y [B]) of a part. The last batch may be smaller.

    Each iteration is an epoch and yields every example once. The seed and the number of earlier
    epochs decide the order.
    """

    def __init__(self, part: Part, batch_size: int, seed: int | None = None) -> None:
        """Keep the part; its arrays are not copied.

        Args:
            part: the examples and labels.
            batch_size: B, at least 1.
            seed: decides the order of the examples; None keeps the order of the file.

        Raises:
            InputError: examples and labels differ in number, the part is empty, or the batch size
                is below 1.
        """
        if len(part.x) != len(part.y):
            raise InputError(
                f"minibatches need as many labels as examples. Given: {len(part.x)} examples, "
                f"{len(part.y)} labels"
            )
        if not len(part):
            raise InputError("minibatches need an example. Given: an empty part")
        if batch_size < 1:
            raise InputError(f"batch_size must be 1 or more. Given: {batch_size}")
        self._part, self._size, self._seed, self._epoch = part, batch_size, seed, 0

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self._part) // self._size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the next epoch."""
        order = np.arange(len(self._part))
        if self._seed is not None:
            np.random.default_rng([self._seed, self._epoch]).shuffle(order)
        self._epoch += 1
        for start in range(0, len(order), self._size):
            batch = self._part.take(order[start : start + self._size])
            yield batch.x, batch.y
