"""Measures how fast this machine trains the first layer of a net on each path."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import tensorflow as tf

from ffnet.spec.net import Training
from ffnet.training.blocked import train_block
from ffnet.training.devices import threads
from ffnet.training.memory import MOST_STEPS
from ffnet.training.optimizers import Optimizer, Rates
from ffnet.training.tiles import Tiles

LEAST_ROUNDS, SECONDS = 2, 0.1  # measuring ends after so many rounds and so much time
MOST_INPUTS = 2**24  # features · examples of MOST_STEPS batches; with more, there are less features
MOST_WEIGHTS, MOST_WORK = 3 * 2**20, 2**29
"""Features · neurons, and batch size · features · neurons: with more, there are less neurons."""

FASTER = 0.96
"""A path must take less than this share of the time of the paths before it. So noise of the
measurement does not choose a path that is no faster."""

NEAR = 1.1
"""Blocks of 4 steps are among the fastest paths if they take less than so many times the time of
the fastest."""

Step = Callable[[tf.Tensor], None]
Loop = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
FEW = 8  # neurons of the net with which the functions are compiled


class Bench:
    """The first layer of a net with random data. The rest of a net takes the same time on all
    paths. The loss is half the sum of z², the squares of the layer's outputs: its gradient is z.
    """

    def __init__(self, features: int, training: Training) -> None:
        """Make the layer. Each path is compiled once, for all widths and batch sizes.

        Args:
            features: inputs of the layer.
            training: optimizer, momentum, weight decay, average and precision.
        """
        self._features = features
        self._products = tf.as_dtype(training.precision)
        self._kernel = tf.Variable(tf.zeros([features, FEW]), shape=[features, None])
        averages = [tf.Variable(self._kernel, shape=self._kernel.shape)]
        self._optimizer = Optimizer(
            training, [self._kernel], averages=averages if training.average_decay else ()
        )
        self._tiles = Tiles(self._optimizer)
        rates = (training.learning_rate, training.momentum or 0.0, training.weight_decay)
        self._rates = Rates(*map(tf.constant, (*rates, 1 - (training.average_decay or 0.0))))
        self._loops: dict[tuple[int, bool], Loop] = {}
        # The time of one core does not count the time in which other programs use it.
        self._clock = time.process_time if threads() == 1 else time.perf_counter

    def fastest(self, paths: Sequence[Any], neurons: int, batch_size: int) -> Any:
        """The fastest of some paths (steps in a block, whether in tiles).

        Blocks of 2 and then of 8 steps are measured only while those of 4 are among the fastest:
        where those are slower than plain steps, all blocks are, and where they are slower than
        blocks of 2 steps, those of 8 are even slower.

        Args:
            paths: the paths. The first one needs the least from the CPU.
            neurons: neurons of the layer.
            batch_size: examples in a batch.
        """
        first = [path for path in paths if path[0] in (1, 4)]
        found = self.seconds(first, neurons, batch_size)
        of_four = min((found[path] for path in first if path[0] == 4), default=math.inf)
        for other in sorted(path for path in paths if path[0] in (2, 8)):
            if of_four < NEAR * min(found.values()):
                found |= self.seconds([other], neurons, batch_size)
        return _best(found)

    def seconds(self, paths: Sequence[Any], neurons: int, batch_size: int) -> dict[Any, float]:
        """Path → seconds of a step. The least of some rounds, in which paths alternate.

        A large layer is measured with fewer neurons: see MOST_WEIGHTS.
        """
        for path in paths:
            if path not in self._loops:
                self._compile(path)
        most = min(MOST_WEIGHTS // self._features, MOST_WORK // (self._features * batch_size))
        self._resize(max(1, min(neurons, most)))
        x = tf.random.uniform([MOST_STEPS * batch_size, self._features])
        begun, found = time.perf_counter(), dict.fromkeys(paths, math.inf)
        rounds = 0
        while rounds < LEAST_ROUNDS or time.perf_counter() - begun < SECONDS:
            found = {path: min(before, self._timed(path, x)) for path, before in found.items()}
            rounds += 1
        self._resize(FEW)
        return found

    def _resize(self, neurons: int) -> None:
        self._kernel.assign(tf.zeros([self._features, neurons]))
        self._optimizer.reset()

    def _compile(self, path: tuple[int, bool]) -> None:
        each, in_tiles = path
        step = self._tiled if in_tiles else self._plain
        self._loops[path] = _loop(step if each == 1 else self._block(each), each, self._features)
        self._resize(FEW)
        self._timed(path, tf.zeros([MOST_STEPS, self._features]))

    def _timed(self, path: tuple[int, bool], x: tf.Tensor) -> float:
        """Seconds of a step with the batches x [MOST_STEPS · B, D]."""
        each, in_tiles = path
        steps = max(2, each)
        with self._tiles.cut() if in_tiles else nullcontext():
            begun = self._clock()
            self._loops[path](tf.constant(steps), x)
            return (self._clock() - begun) / steps

    def _plain(self, x: tf.Tensor) -> None:
        gradient = tf.matmul(x, tf.matmul(x, self._kernel), transpose_a=True)
        self._optimizer.apply([gradient], self._rates, tf.constant(0))

    def _tiled(self, x: tf.Tensor) -> None:
        self._tiles.update(x, self._tiles.product(x), self._rates, tf.constant(0))

    def _block(self, steps: int) -> Step:
        rate, momentum, decay, share, _ = self._rates
        each = (tf.fill([steps], rate), momentum, tf.fill([steps], decay))
        rates = Rates(*each, tf.fill([steps], share))

        def block(x: tf.Tensor) -> None:
            train_block(
                self._optimizer, lambda z, _: z, x, tf.zeros(tf.shape(x)[:1], tf.int32), rates,
                tf.constant(0), lambda _, z: (tf.nn.l2_loss(z),) * 2, self._products,
            )  # fmt: skip

        return block


def _best(seconds: dict[Any, float]) -> Any:
    """The path with the least seconds, or one before it that is hardly slower: see FASTER."""
    best, *others = seconds
    for path in others:
        if seconds[path] < FASTER * seconds[best]:
            best = path
    return best


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


def _loop(train: Step, stride: int, features: int) -> Loop:
    """A compiled function that trains so many steps, each with the first batches of x."""

    @tf.function(
        input_signature=[tf.TensorSpec([], tf.int32), tf.TensorSpec([None, features])],
        autograph=False,
    )  # type: ignore[untyped-decorator]
    def loop(steps: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        batches = x[: stride * (tf.shape(x)[0] // MOST_STEPS)]

        def body(step: tf.Tensor) -> tuple[tf.Tensor]:
            train(batches)
            return (step + stride,)

        (last,) = tf.while_loop(lambda step: step < steps, body, (tf.constant(0),))
        return last

    return loop  # type: ignore[no-any-return]
