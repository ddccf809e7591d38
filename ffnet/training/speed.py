"""Measures how fast this machine trains the first layer of a net on each path."""

import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import tensorflow as tf

from ffnet.spec.net import Training
from ffnet.training.blocked import train_block
from ffnet.training.devices import threads
from ffnet.training.optimizers import Optimizer, Rates
from ffnet.training.tiles import Tiles

MOST_STEPS = 8  # in a block
SECONDS = 0.2  # measuring ends after the round in which so much time is over
MOST_WORK = 2**29  # batch size · features · neurons; nets with more are measured with less features
FASTER = 0.98
"""A path must take less than this share of the time of the paths before it. So noise of the
measurement does not choose a path that is no faster."""

Loop = Callable[[tf.Tensor], tf.Tensor]
FEW = 8  # neurons of the net with which the functions are compiled


class Bench:
    """The first layer of a net with random data. The rest of a net takes the same time on all
    paths.
    """

    def __init__(self, features: int, batch_size: int, training: Training) -> None:
        """Make the layer.

        Args:
            features: inputs of the layer.
            batch_size: examples in a batch.
            training: optimizer, momentum, weight decay and precision.
        """
        self._features, self._batch_size = features, batch_size
        self._products = tf.as_dtype(training.precision)
        self._kernel = tf.Variable(tf.zeros([self._features, FEW]), shape=[self._features, None])
        self._optimizer = Optimizer(training, [self._kernel])
        self._tiles = Tiles(self._optimizer)
        self._x = tf.random.uniform([MOST_STEPS * batch_size, self._features])
        rates = (training.learning_rate, training.momentum or 0.0, training.weight_decay)
        self._rates = Rates(*map(tf.constant, rates))
        self._loops: dict[tuple[int, bool], Loop] = {}
        self._optimizer.reset()
        # The time of one core does not count the time in which other programs use it.
        self._clock = time.process_time if threads() == 1 else time.perf_counter

    def fastest(self, paths: Iterable[Any], neurons: int) -> Any:
        """The fastest of some paths (steps in a block, whether in tiles) for so many neurons."""
        seconds = self.seconds(paths, neurons)
        best, *others = seconds
        for path in others:
            if seconds[path] < FASTER * seconds[best]:
                best = path
        return best

    def seconds(self, paths: Iterable[Any], neurons: int) -> dict[Any, float]:
        """Path → seconds of a step. The least of some rounds, in which paths alternate."""
        paths = list(paths)
        for path in paths:
            if path not in self._loops:  # compiles it
                self._timed(path)
        self._resize(neurons)
        begun, found = time.perf_counter(), {path: self._timed(path) for path in paths}
        while time.perf_counter() - begun < SECONDS:
            found = {path: min(before, self._timed(path)) for path, before in found.items()}
        self._resize(FEW)
        return found

    def _resize(self, neurons: int) -> None:
        self._kernel.assign(tf.zeros([self._features, neurons]))
        self._optimizer.reset()

    def _timed(self, path: tuple[int, bool]) -> float:
        each, in_tiles = path
        if path not in self._loops:
            step = self._tiled if in_tiles else self._plain
            self._loops[path] = _loop(step if each == 1 else self._block(each), each)
        steps = max(2, each)
        with self._tiles.cut() if in_tiles else nullcontext():
            begun = self._clock()
            self._loops[path](tf.constant(steps))
            return (self._clock() - begun) / steps

    def _plain(self) -> None:
        x = self._x[: self._batch_size]
        gradient = tf.matmul(x, _gradient(tf.matmul(x, self._kernel)), transpose_a=True)
        self._optimizer.apply([gradient], self._rates, tf.constant(0))

    def _tiled(self) -> None:
        x = self._x[: self._batch_size]
        by_product = _gradient(self._tiles.product(x))
        self._tiles.update(x, by_product, self._rates, tf.constant(0))

    def _block(self, steps: int) -> Callable[[], None]:
        rates = self._rates._replace(learning_rate=tf.fill([steps], self._rates.learning_rate))

        def block() -> None:
            rows = steps * self._batch_size
            train_block(
                self._optimizer, lambda z, _: z, self._x[:rows], tf.zeros([rows], tf.int32), rates,
                tf.constant(0), lambda _, z: (z[:, 0], tf.reduce_sum(z * z)), self._products,
            )  # fmt: skip

        return block


def products(dtype: str) -> float:
    """GFLOP/s of a product as in a block of four batches of 64, in this number type."""
    rows, features, neurons = 256, 2048, 2048
    x, w = (
        tf.cast(tf.random.uniform(shape), dtype)
        for shape in ((rows, features), (features, neurons))
    )
    clock = time.process_time if threads() == 1 else time.perf_counter

    def seconds() -> float:
        begun = clock()
        tf.matmul(x, w).numpy()
        return clock() - begun

    return 2e-9 * rows * features * neurons / min(seconds() for _ in range(20))


def _gradient(z: tf.Tensor) -> tf.Tensor:
    """The gradient of the sum of z², as the blocks compute it."""
    return 2.0 * z


def _loop(train: Callable[[], None], stride: int) -> Loop:
    """A compiled function that trains so many steps."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)], autograph=False)  # type: ignore[untyped-decorator]
    def loop(steps: tf.Tensor) -> tf.Tensor:
        def body(step: tf.Tensor) -> tuple[tf.Tensor]:
            train()
            return (step + stride,)

        (last,) = tf.while_loop(lambda step: step < steps, body, (tf.constant(0),))
        return last

    return loop  # type: ignore[no-any-return]
