"""The lesson's minibatch iterator, shuffled for real: to look at batches outside of the graph.

Training itself draws the same kind of order inside the compiled loop (`ffnet.training.trainer`).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ffnet.data.dataset import IntArray, Part
from ffnet.errors import InputError

Batch = tuple[npt.NDArray[Any], IntArray]


class Minibatches:
    """Iterates over (x [B, …], y [B]) of a part, every example once an epoch; the last is short.

    Each iteration is one epoch, in an order of its own that follows from the seed and the number
    of epochs before.
    """

    def __init__(self, part: Part, batch_size: int, seed: int | None = None) -> None:
        """Nothing is copied.

        Args:
            part: the examples.
            batch_size: B, at least 1.
            seed: of the orders; None for the order of the file.

        Raises:
            InputError: examples and labels of different lengths, none at all, a batch size below 1.
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
        """Batches in an epoch."""
        return -(-len(self._part) // self._size)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of the next epoch."""
        order = np.arange(len(self._part))
        if self._seed is not None:
            np.random.default_rng([self._seed, self._epoch]).shuffle(order)
        self._epoch += 1
        for start in range(0, len(order), self._size):
            batch = self._part.take(order[start : start + self._size])
            yield batch.x, batch.y
