"""The compiled training steps: plain steps, plain steps in tiles, and blocks of steps."""

import math
from collections.abc import Callable, Sequence
from functools import cached_property

import tensorflow as tf

from ffnet.nets.barebones import BarebonesNet
from ffnet.nets.net import FIRST_STATE, NORM_MOMENTUM, Net
from ffnet.spec.net import Training
from ffnet.training.augment import Augmentation
from ffnet.training.blocked import Loss, train_block
from ffnet.training.device_data import DeviceData
from ffnet.training.optimizers import Optimizer, Rates, follow
from ffnet.training.schedules import Settings
from ffnet.training.tiles import Tiles

_INT, _FLOAT = tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.float32)
_OF_STEPS = tf.TensorSpec([None], tf.float32)
ARGUMENTS = [
    *[_INT] * 6,
    Settings(
        learning_rates=_OF_STEPS,
        weight_decays=_OF_STEPS,
        averaging=_OF_STEPS,
        dropout_rates=tf.TensorSpec([None, None], tf.float32),
        momentum=_FLOAT,
        clip_norm=_FLOAT,
        label_smoothing=_FLOAT,
    ),
    _FLOAT,
]
"""What the compiled functions get: first step and step after the last, counted in the epoch; number
of steps before the epoch; seed; epoch; batch size; the settings of these steps; the sum of the
losses so far."""

Arguments = tuple[tf.Tensor, ...]
Losses = tuple[tf.Tensor, tf.Tensor, tf.Tensor]
"""The sum of the examples' losses, the mean loss of the last batch, the number of examples."""

Update = Callable[[tf.Tensor, tf.Tensor, Loss, Rates, tf.Tensor], tf.Tensor]


class Steps:
    """Trains a net by compiled functions. Their arguments are those of ARGUMENTS.

    Attributes:
        blocks: whether the net can train in blocks.
        augmentation: changes the training examples.
    """

    def __init__(
        self,
        net: Net,
        optimizer: Optimizer,
        data: DeviceData,
        prepare: Callable[[tf.Tensor], tf.Tensor],
        training: Training,
        drops: bool,
        averages: Sequence[tf.Variable] = (),
    ) -> None:
        """Nothing is compiled before it is used.

        Args:
            net: the net.
            optimizer: updates its weights.
            data: the data set.
            prepare: a function: examples [N, D] → what the net gets.
            training: any training of the structure.
            drops: whether the net has dropout.
            averages: the moving average of each variable of the net's state; or empty.
        """
        self._net, self._optimizer, self._data, self._prepare = net, optimizer, data, prepare
        self._averages = [*zip(averages, net.state, strict=True)] if averages else []
        self._drops, self._drops_less = drops, training.dropout_schedule != "constant"
        self._compiled: dict[tuple[int, bool], Callable[..., Losses]] = {}
        self._examples = int(data.train[0].shape[0])
        self._products = tf.as_dtype(training.precision)
        balanced = training.class_weight == "balanced"
        self._class_weights = data.balanced_weights() if balanced else None
        self._smooths = training.label_smoothing > 0
        self.augmentation = Augmentation(data, training)
        # Blocks and tiles need inputs of the first layer that do not change from step to step.
        self._barebones = net if isinstance(net, BarebonesNet) and not net.learns_inputs else None
        self.blocks = bool(self._barebones) and training.optimizer == "sgd"

    def compiled(self, steps: int, tiles: bool = False) -> Callable[..., Losses]:
        """The function for so many steps in a block, or for plain steps in tiles.

        It is called without TensorFlow's search for a fitting trace, which takes longer than ten
        steps of a small net.
        """
        if (steps, tiles) not in self._compiled:
            ways = {
                1: self.tiled if tiles else self.plain,
                2: self.blocks_of_2, 4: self.blocks_of_4, 8: self.blocks_of_8,
            }  # fmt: skip
            self._compiled[steps, tiles] = ways[steps].get_concrete_function()
        return self._compiled[steps, tiles]

    @cached_property
    def tiles(self) -> Tiles:
        """The tiles of the first layer. Only barebones nets with a hidden layer have them."""
        return Tiles(self._optimizer)

    @tf.function(input_signature=ARGUMENTS, autograph=False)  # type: ignore[untyped-decorator]
    def plain(self, *arguments: tf.Tensor) -> Losses:
        """Train plain steps; the last batch of an epoch may be short."""

        def update(
            x: tf.Tensor, y: tf.Tensor, loss: Loss, rates: Rates, step: tf.Tensor
        ) -> tf.Tensor:
            with tf.GradientTape() as tape:
                losses, objective = loss(y, self._net.scores(x, training=True))
            self._average_state(rates, step)
            self._optimizer.apply(tape.gradient(objective, self._net.weights), rates, step)
            return losses

        return self._one_by_one(update, *arguments)

    @tf.function(input_signature=ARGUMENTS, autograph=False)  # type: ignore[untyped-decorator]
    def tiled(self, *arguments: tf.Tensor) -> Losses:
        """Train plain steps within `tiles.cut`."""
        net, tiles = self._barebones, self.tiles
        assert net

        def update(
            x: tf.Tensor, y: tf.Tensor, loss: Loss, rates: Rates, step: tf.Tensor
        ) -> tf.Tensor:
            z = tiles.product(x)
            with tf.GradientTape() as tape:
                tape.watch(z)
                losses, objective = loss(y, net.head(z, training=True))
            self._average_state(rates, step)
            by_z, *others = tape.gradient(objective, [z, *net.weights[1:]])
            self._optimizer.apply([None, *others], rates, step)
            tiles.update(x, by_z, rates, step)
            return losses

        return self._one_by_one(update, *arguments)

    @tf.function(input_signature=ARGUMENTS, autograph=False)  # type: ignore[untyped-decorator]
    def blocks_of_2(self, *arguments: tf.Tensor) -> Losses:
        """Train blocks of two full batches."""
        return self._in_blocks(2, *arguments)

    @tf.function(input_signature=ARGUMENTS, autograph=False)  # type: ignore[untyped-decorator]
    def blocks_of_4(self, *arguments: tf.Tensor) -> Losses:
        """Train blocks of four full batches."""
        return self._in_blocks(4, *arguments)

    @tf.function(input_signature=ARGUMENTS, autograph=False)  # type: ignore[untyped-decorator]
    def blocks_of_8(self, *arguments: tf.Tensor) -> Losses:
        """Train blocks of eight full batches."""
        return self._in_blocks(8, *arguments)

    def _one_by_one(
        self, update: Update, first: tf.Tensor, end: tf.Tensor, before: tf.Tensor, seed: tf.Tensor,
        epoch: tf.Tensor, batch_size: tf.Tensor, settings: Settings, total: tf.Tensor,
    ) -> Losses:  # fmt: skip
        order = self._order(seed, epoch)
        loss = self._loss(tf.minimum(batch_size, self._examples), settings)

        def train(step: tf.Tensor, total: tf.Tensor) -> Losses:
            x, y = self._gather(
                order[step * batch_size : (step + 1) * batch_size], seed, [before + step]
            )
            self._begin_step(seed, before + step, settings, step - first)
            rates = settings.rates(step - first)
            losses = update(x, y, loss, rates, before + step)
            return total + tf.reduce_sum(losses), tf.reduce_mean(losses), tf.shape(y)[0]

        return _loop(first, end, 1, total, train)

    def _in_blocks(
        self, steps: int, first: tf.Tensor, end: tf.Tensor, before: tf.Tensor, seed: tf.Tensor,
        epoch: tf.Tensor, batch_size: tf.Tensor, settings: Settings, total: tf.Tensor,
    ) -> Losses:  # fmt: skip
        assert self._barebones
        net, order = self._barebones, self._order(seed, epoch)
        loss = self._loss(batch_size, settings)

        def train(step: tf.Tensor, total: tf.Tensor) -> Losses:
            index = order[step * batch_size : (step + steps) * batch_size]
            x, y = self._gather(index, seed, [before + step + j for j in range(steps)])

            rates = settings.rates(step - first, steps)

            def head(z: tf.Tensor, j: int) -> tf.Tensor:
                self._begin_step(seed, before + step + j, settings, step - first + j)
                scores = net.head(z, training=True)
                self._average_state(rates, before + step + j, j)
                return scores

            sums, last = train_block(
                self._optimizer, head, x, y, rates, before + step, loss, self._products
            )
            # Added one after another: TensorFlow changes the order of plain additions.
            return tf.cumsum(tf.stack([total, *sums]))[-1], last, tf.shape(y)[0]

        return _loop(first, end, steps, total, train)

    def _loss(self, batch_size: tf.Tensor, settings: Settings) -> Loss:
        smoothing = settings.label_smoothing if self._smooths else None
        return loss_of(batch_size, weights=self._class_weights, smoothing=smoothing)

    def _begin_step(
        self, seed: tf.Tensor, step: tf.Tensor, settings: Settings, at: tf.Tensor
    ) -> None:
        """Prepare dropout for a step, which is number `at` of the settings' steps."""
        if self._drops_less:
            self._net.dropout.rates.assign(settings.dropout_rates[at])
        if self._drops:
            self._net.dropout.begin_step(seed, step)

    def _average_state(self, rates: Rates, step: tf.Tensor, at: int | None = None) -> None:
        """Update the averages of the net's state in a step, number `at` of the rates' steps.

        The state itself still has a part of its first value, 0.99 to the power of the steps, which
        the averages leave out, as Adam does with its moments. Otherwise they would be far from the
        batches' means and variances for hundreds of steps.
        """
        share = rates.averaging if at is None else rates.averaging[at]
        moved = -tf.math.expm1(tf.cast(step + 1, tf.float32) * math.log(NORM_MOMENTUM))
        for number, (average, variable) in enumerate(self._averages):
            first = FIRST_STATE[number % 2]
            follow(average, first + (variable - first) / moved, share)

    def _order(self, seed: tf.Tensor, epoch: tf.Tensor) -> tf.Tensor:
        """Return a permutation of the training examples; each epoch has a different one."""
        return tf.random.experimental.stateless_shuffle(
            tf.range(self._examples), seed=tf.stack([seed, epoch])
        )

    def _gather(
        self, index: tf.Tensor, seed: tf.Tensor, steps: list[tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The batches of some steps: inputs [N, D], and labels [N] or shares of classes [N, C]."""
        x, y = (tf.gather(each, index) for each in self._data.train)
        x = self._prepare(x)
        if self.augmentation.changes:
            x = self.augmentation.images(x, seed, steps)
        if self.augmentation.mixes:
            x, y = self.augmentation.mixed(x, tf.one_hot(y, self._data.classes), seed, steps)
        if self.augmentation.adds_noise:
            x = self.augmentation.noisy(x, seed, steps)
        return x, y


def _loop(
    first: tf.Tensor,
    end: tf.Tensor,
    stride: int,
    total: tf.Tensor,
    train: Callable[[tf.Tensor, tf.Tensor], Losses],
) -> Losses:
    """Call `train` for each step from `first` to `end`, until a loss is NaN or infinite.

    `train` adds its losses to `total`, so that the sum has the same bits whatever the number of
    calls. One loop, not two nested ones: in nested loops TensorFlow's optimiser of graphs may give
    two running iterations the same temporary variable, and the training fails now and then.
    """

    def body(step: tf.Tensor, total: tf.Tensor, _: tf.Tensor, seen: tf.Tensor) -> Arguments:
        total, last, count = train(step, total)
        return step + stride, total, last, seen + count

    _, total, last, seen = tf.while_loop(
        lambda step, _, last, __: (step < end) & tf.math.is_finite(last),
        body,
        (first, total, tf.constant(0.0), tf.constant(0)),
    )
    return total, last, seen


def loss_of(
    batch_size: tf.Tensor,
    dtype: tf.DType = tf.float32,
    weights: tf.Tensor | None = None,
    smoothing: tf.Tensor | None = None,
) -> Loss:
    """Return a function: (labels, scores) → (softmax cross-entropies, their sum / batch size).

    Labels are classes [N], or shares of the classes [N, C].

    Class weights and label smoothing change the sum, which steps minimise, but not the first
    result, which is reported. If the last batch of an epoch is short, the sum is still divided by
    the full batch size. So every example has the same weight, and the short batch is not noisier
    than the others.

    Args:
        batch_size: size of a full batch.
        dtype: dtype of the scores.
        weights: a factor for each class [C], by which an example's loss is multiplied in the sum.
            With None, the sum is not weighted.
        smoothing: ε of label smoothing (Szegedy et al., 2016), with the scores' dtype: the targets
            are 1 − ε + ε/C for the example's class and ε/C for each other class. With None,
            they are 1 and 0.
    """

    def loss(labels: tf.Tensor, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if labels.dtype.is_floating:
            return of_shares(tf.cast(labels, dtype), tf.nn.log_softmax(scores))
        if smoothing is not None:
            classes = tf.one_hot(labels, tf.shape(scores)[1], dtype=dtype)
            return of_shares(classes, tf.nn.log_softmax(scores))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=scores)
        counted = losses if weights is None else losses * tf.gather(weights, labels)
        return losses, tf.reduce_sum(counted) / tf.cast(batch_size, dtype)

    def of_shares(shares: tf.Tensor, logarithms: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        each = counted = -shares * logarithms
        if smoothing is not None:  # each class: (1 − ε)·(its loss) + ε·(the mean of all classes)
            mean = tf.reduce_mean(logarithms, axis=1, keepdims=True)
            counted += smoothing * shares * (logarithms - mean)
        if weights is not None:
            counted *= weights
        return tf.reduce_sum(each, axis=1), tf.reduce_sum(counted) / tf.cast(batch_size, dtype)

    return loss
