"""Compiled functions that train and evaluate all nets of the same structure on a data set."""

import math
import time
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ffnet.errors import InputError
from ffnet.nets import inputs, layout
from ffnet.nets.net import Net, initialize, make_net
from ffnet.spec.trial import TrialConfig, steps_per_epoch
from ffnet.training import augment, metrics
from ffnet.training.device_data import DeviceData
from ffnet.training.examples import refuse_unfit
from ffnet.training.metrics import Score
from ffnet.training.optimizers import Optimizer
from ffnet.training.schedules import Settings
from ffnet.training.steps import Arguments, Losses, Steps

CALL_SECONDS = 1.0  # a call of a compiled function should take about so long, or less
FIRST_STEPS = 64  # steps of the first call for a trial, whose speed is not known
MOST_STEPS = 8  # in a block; a call of a compiled function trains a multiple of it
EVALUATE_AT_ONCE = 256  # examples; limits the memory that evaluation takes


def structure(config: TrialConfig) -> Hashable:
    """Return the values that compiled functions depend on. Equal trials can share a Trainer."""
    net, training = config.net, config.training
    of, changes = net.number_vectors, net.api == "barebones"  # the sizes of such nets may change
    return (
        net.api,
        len(net.hidden_sizes) if changes else net.hidden_sizes,
        net.activation,
        net.bias,
        net.batch_norm,
        net.layer_norm,
        net.bottleneck > 0 if changes else net.bottleneck,
        net.adds_input if any(net.adds_input) else (),
        net.embedding_sizes if net.learns_vectors else None,
        net.number_embedding,
        (of.size, of.frequencies) if of and not changes else None,
        net.scaling_layer,
        any(net.dropout_rates),
        training.optimizer,
        training.momentum is not None,
        training.nesterov,
        training.weight_decay > 0,
        training.precision,
        training.class_weight,
        training.label_smoothing > 0,
        training.clip_norm is not None,
        training.average_decay is not None,
        training.dropout_schedule != "constant",
        augment.structure(training),
    )


class Trainer:
    """A net, its optimiser, and the compiled functions that train and evaluate it.

    A process makes a Trainer for each `structure`. All batch sizes, rates and, for barebones nets,
    widths use the same compiled functions without a new trace.

    Attributes:
        net: the net that is evaluated. With average_decay, its weights and its state are moving
            averages of those that steps change.
        data: the data set.
        examples: number of training examples.
        features: inputs of the first layer, D.
        variables: all variables that training changes, in the order of checkpoints: the net's
            weights and state; with average_decay those that steps change; the optimiser's slots.
    """

    def __init__(self, data: DeviceData, config: TrialConfig) -> None:
        """Make the variables; `initialize` gives them values.

        Args:
            data: the data set to train on.
            config: any trial of the structure.
        """
        self.data = data
        self._inputs, self._prepare = inputs.of_net(data, config.net), data.preparation(config.net)
        self._trained = net = make_net(self._inputs, data.classes, config.net)
        averages: Net | None = None
        if config.training.average_decay:
            averages = make_net(self._inputs, data.classes, config.net)
        self._averages, self.net = averages, averages or net
        factors = layout.factors(self._inputs, data.classes, config.net)
        self._optimizer = Optimizer(
            config.training, net.weights, factors, averages.weights if averages else ()
        )
        drops = any(config.net.dropout_rates)
        self._steps = Steps(
            net, self._optimizer, data, self._prepare, config.training, drops,
            averages.state if averages else (),
        )  # fmt: skip
        stepped = [*net.weights, *net.state] if averages else []
        self.variables = [*self.net.weights, *self.net.state, *stepped, *self._optimizer.slots]
        self.examples, self.features = int(data.train[0].shape[0]), self._inputs.width
        self._epoch, self._step, self._per_epoch = 0, 0, 1  # where the training is now
        self._steps_at_once = FIRST_STEPS

    @property
    def epochs_now(self) -> float:
        """The epochs trained until now, about CALL_SECONDS late. Any thread may ask for it."""
        return self._epoch + self._step / self._per_epoch

    def initialize(self, config: TrialConfig) -> None:
        """Set initial weights, and set the optimiser's slots to 0. The trial's seed decides them.

        Raises:
            InputError: batch normalisation would get a batch of one example, or the examples cannot
                be changed as the trial says.
        """
        refuse_unfit(config.training, self.data)
        size = config.training.batch_size
        if config.net.batch_norm and self.examples % size == 1:
            raise InputError(
                f"batch_norm needs batches of two or more. Given: {self.examples} examples in "
                f"batches of {size}, so the last batch has one example; choose another batch_size"
            )
        self._inputs = inputs.of_net(self.data, config.net)
        initialize(self._trained, self._inputs, self.data.classes, config.net, config.seed)
        self._optimizer.reset()
        if self._averages:
            for average, value in zip(self._averages.state, self._trained.state, strict=True):
                average.assign(value)
        self._steps_at_once = FIRST_STEPS

    def held_bytes(self) -> int:
        """Return the bytes that the variables take now, with the latest trial's shapes."""
        return sum(int(tf.size(v)) * v.dtype.size for v in self.variables)

    def run(self, config: TrialConfig, epoch: int, steps: range) -> tuple[float, float, int]:
        """Train for some steps of one epoch.

        Args:
            config: the trial; its seed and `epoch` decide the order of the examples.
            epoch: counted from 0.
            steps: the steps of the epoch, counted from 0. The last batch may be short.

        Returns:
            The sum of the examples' losses, the mean loss of the last batch, and the number of
            examples. Training ends early when a loss is NaN or infinite.
        """
        training = config.training
        self._epoch, self._per_epoch = epoch, math.ceil(self.examples / training.batch_size)
        self._trained.dropout.rates.assign(config.net.dropout_rates)
        self._steps.augmentation.set(training)
        middle = self._end_of_blocks(steps, config)
        total, last, seen = 0.0, 0.0, 0
        if middle > steps.start:
            blocks = self._steps.compiled(training.steps_per_block or 1)
            total, last, seen = self._call(blocks, config, epoch, range(steps.start, middle))
        if middle < steps.stop and math.isfinite(last):
            rest, last, more = self._one_by_one(config, epoch, range(middle, steps.stop))
            total, seen = total + rest, seen + more
        return total, last, seen

    def _one_by_one(
        self, config: TrialConfig, epoch: int, steps: range
    ) -> tuple[float, float, int]:
        """Train plain steps, perhaps in tiles."""
        if not config.training.tiles:
            return self._call(self._steps.compiled(1), config, epoch, steps)
        with self._steps.tiles.cut():
            return self._call(self._steps.compiled(1, tiles=True), config, epoch, steps)

    def _call(
        self, compiled: Callable[..., Losses], config: TrialConfig, epoch: int, steps: range
    ) -> tuple[float, float, int]:
        """Train with a compiled function, in several calls if one call would take long.

        Between two calls `epochs_now` is set. The loss is summed as in a single call: to the same
        bits.
        """
        total, last, seen, at = 0.0, 0.0, 0, steps.start
        while at < steps.stop and math.isfinite(last):
            self._step, end = at, min(at + self._steps_at_once, steps.stop)
            begun = time.perf_counter()
            arguments = self._arguments(config, epoch, range(at, end))
            losses = compiled(*arguments, tf.constant(total))
            total, last, seen = float(losses[0]), float(losses[1]), seen + int(losses[2])
            possible = (end - at) * CALL_SECONDS / (time.perf_counter() - begun)
            self._steps_at_once = max(1, int(possible) // MOST_STEPS) * MOST_STEPS
            at = end
        self._step = at
        return total, last, seen

    def evaluate(self, part: tuple[tf.Tensor, tf.Tensor]) -> Score:
        """Return the net's score on a part of the data.

        Args:
            part: (examples [N, D], labels [N]), as in `DeviceData`.
        """
        correct, total, each = self._evaluate(*part)
        scores, labels = each.numpy(), part[1].numpy()
        predicted = scores.argmax(axis=1)
        return Score(
            int(correct),
            len(labels),
            float(total) / len(labels),
            metrics.balanced_accuracy(predicted, labels),
            metrics.macro_f1(predicted, labels),
            metrics.auc(scores, labels),
        )

    def scores(self, part: tuple[tf.Tensor, tf.Tensor]) -> npt.NDArray[np.float32]:
        """Return the scores (logits) of the classes [N, C] for a part of the data."""
        return np.asarray(self._evaluate(*part)[2])

    def confusion(self, part: tuple[tf.Tensor, tf.Tensor]) -> npt.NDArray[np.int64]:
        """Return the number of examples by true class (row) and predicted class, [C, C]."""
        x, y = part
        starts = range(0, len(y), EVALUATE_AT_ONCE)
        predicted = tf.concat([self._predict(x[s : s + EVALUATE_AT_ONCE]) for s in starts], 0)
        counts: Any = tf.math.confusion_matrix(y, predicted, self.data.classes, dtype=tf.int64)
        return np.asarray(counts)

    def _end_of_blocks(self, steps: range, config: TrialConfig) -> int:
        """Return the first step that is not trained in a block."""
        each = config.training.steps_per_block or 1
        if each == 1 or not self._steps.blocks:
            return steps.start
        full = min(steps.stop, self.examples // config.training.batch_size)
        return steps.start + max(0, full - steps.start) // each * each

    def _arguments(self, config: TrialConfig, epoch: int, steps: range) -> Arguments:
        """Return the arguments of the compiled functions: see `steps.ARGUMENTS`."""
        training = config.training
        per_epoch = steps_per_epoch(config, self.examples)
        before = epoch * per_epoch
        settings = Settings.of(config, range(before + steps.start, before + steps.stop), per_epoch)
        whole = (steps.start, steps.stop, before, config.seed, epoch, training.batch_size)
        return (
            *(tf.constant(number, tf.int32) for number in whole),
            settings,
        )

    @tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]
    def _predict(self, x: tf.Tensor) -> tf.Tensor:
        return tf.argmax(self.net.scores(self._prepare(x)), axis=1, output_type=tf.int32)

    @tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]
    def _evaluate(self, x: tf.Tensor, y: tf.Tensor) -> Losses:
        """Return how many predictions are correct, the sum of the losses, the scores [N, C]."""

        def evaluate(
            start: tf.Tensor, correct: tf.Tensor, total: tf.Tensor, each: tf.TensorArray
        ) -> Arguments:
            labels = y[start : start + EVALUATE_AT_ONCE]
            scores = self.net.scores(self._prepare(x[start : start + EVALUATE_AT_ONCE]))
            hits = tf.equal(tf.argmax(scores, axis=1, output_type=tf.int32), labels)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=scores)
            correct += tf.reduce_sum(tf.cast(hits, tf.int32))
            each = each.write(start // EVALUATE_AT_ONCE, scores)
            return start + EVALUATE_AT_ONCE, correct, total + tf.reduce_sum(losses), each

        calls = (tf.size(y) + EVALUATE_AT_ONCE - 1) // EVALUATE_AT_ONCE
        each = tf.TensorArray(tf.float32, calls, infer_shape=False, element_shape=[None, None])
        before = tf.constant(0), tf.constant(0), tf.constant(0.0), each
        found = tf.while_loop(lambda start, *_: start < tf.size(y), evaluate, before)
        return found[1], found[2], found[3].concat()
