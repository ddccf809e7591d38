"""Plain steps of a wide net in tiles: the first layer's neurons in parts that fit into a cache.

A step multiplies by the first layer's kernel, computes the kernel's gradient, and updates kernel,
slots and average. If these are larger than the cache of a core, each of them is read from memory
and written to it several times in a step. Here they are cut into COUNT tiles of neurons while the
net trains. A tile's gradient is used as soon as it is computed, so that it never leaves the cache;
a product with a tile packs the tile within the cache, too.

Every number is computed by the same sums as without tiles. Whether they are rounded in the same way
depends on the library that multiplies: with oneDNN the results are the same, bit for bit. This
serves every optimizer; `blocked` saves more, but for SGD without momentum only.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from ffnet.training.optimizers import Optimizer, Rates

COUNT = 8
WIDTH = 16  # the width of a tile is a multiple of it, so that vector instructions fit


class Tiles:
    """The tiles of the first layer's kernel, of its slots and of its average."""

    def __init__(self, optimizer: Optimizer) -> None:
        """Make empty tiles.

        Args:
            optimizer: updates the net's weights, the first layer's kernel [D, H] first.
        """
        self._optimizer = optimizer
        self._whole = [optimizer.weights[0], *optimizer.of_weight[0]]
        rows, dtype = self._whole[0].shape[0], self._whole[0].dtype
        self._tiles = [
            [tf.Variable(tf.zeros([rows, 0], dtype), shape=[rows, None]) for _ in self._whole]
            for _ in range(COUNT)
        ]

    @contextmanager
    def cut(self) -> Iterator[None]:
        """In the block, the tiles hold the kernel and its slots, which are empty meanwhile."""
        neurons = self._whole[0].read_value().shape[1]
        each = -(-neurons // COUNT // WIDTH) * WIDTH
        sizes = [min(each, max(0, neurons - i * each)) for i in range(COUNT)]
        for i, whole in enumerate(self._whole):
            for own, part in zip(self._tiles, tf.split(whole, sizes, axis=1), strict=True):
                own[i].assign(part)
            whole.assign(whole[:, :0])
        try:
            yield
        finally:
            for i, whole in enumerate(self._whole):
                whole.assign(tf.concat([own[i] for own in self._tiles], axis=1))
                for own in self._tiles:
                    own[i].assign(own[i][:, :0])

    def product(self, x: tf.Tensor) -> tf.Tensor:
        """x·W [B, H] of a batch x [B, D]."""
        return tf.concat([tf.matmul(x, kernel) for kernel, *_ in self._tiles], axis=1)

    def update(self, x: tf.Tensor, by_product: tf.Tensor, rates: Rates, step: tf.Tensor) -> None:
        """Update the kernel and its slots.

        Args:
            x: the batch, [B, D].
            by_product: gradient of the loss by `product(x)`, [B, H].
            rates: the rates of this step.
            step: number of earlier steps.
        """
        sizes = [tf.shape(kernel)[1] for kernel, *_ in self._tiles]
        before: list[tf.Tensor] = []
        for (kernel, *slots), part in zip(
            self._tiles, tf.split(by_product, sizes, axis=1, num=COUNT), strict=True
        ):
            with tf.control_dependencies(before):  # one after another: a tile stays in the cache
                gradient = tf.matmul(x, part, transpose_a=True)
                self._optimizer.update(kernel, slots, gradient, rates, step)
                before = [kernel.read_value()[0, :0]]
