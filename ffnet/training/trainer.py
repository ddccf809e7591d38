"""Compiled training and evaluation of one structure of net on one data set."""

import math
from dataclasses import dataclass

import tensorflow as tf

from ffnet.nets.barebones import BarebonesNet
from ffnet.study import NetSpec, Training
from ffnet.training.blocked import STEPS, Loss, descend, train_block
from ffnet.training.device_data import DeviceData

ARGUMENTS = [tf.TensorSpec([], tf.int32)] * 5 + [tf.TensorSpec([], tf.float32)]
BLOCKED_FROM = {"float32": 2048, "bfloat16": 128}
"""Width of the first layer from which blocked steps are faster than plain ones: see docs/log.md."""
EVALUATE_AT_ONCE = 256  # examples; bounds the memory that evaluation takes


@dataclass(frozen=True)
class Score:
    """How a net does on a part: correct predictions of `count`, and mean cross-entropy."""

    correct: int
    count: int
    loss: float

    @property
    def accuracy(self) -> float:
        """Share of correct predictions, 0 to 1."""
        return self.correct / self.count


class Trainer:
    """A net, and the compiled functions that train and evaluate it.

    Made once a process for each depth and activation; every width, batch size and learning rate
    goes through the same compiled functions without a new trace.

    Attributes:
        net: the net being trained.
        data: what it is trained on.
    """

    def __init__(self, data: DeviceData, spec: NetSpec) -> None:
        self.data = data
        self.net = BarebonesNet(data.features, data.classes, spec)
        self.examples = int(data.train[0].shape[0])

    def run(
        self, seed: int, epoch: int, steps: range, training: Training
    ) -> tuple[float, float, int]:
        """Train for some steps of one epoch.

        Args:
            seed: with `epoch`, it decides the order of the examples.
            epoch: counted from 0.
            steps: which steps of the epoch; the last of an epoch may be a short batch.
            training: batch size, learning rate and precision.

        Returns:
            Loss summed over the examples trained on, loss of the last batch, and the examples
            trained on: fewer than asked for when a loss was no longer finite.
        """
        order = map(tf.constant, (seed, epoch))
        size, rate = tf.constant(training.batch_size), tf.constant(training.learning_rate)
        common = (*order, size, rate)
        middle = steps.start
        total, last, seen = 0.0, 0.0, 0
        if self._width() >= BLOCKED_FROM[training.precision]:
            full = min(steps.stop, self.examples // training.batch_size)
            middle += max(0, full - middle) // STEPS * STEPS
            products = tf.as_dtype(training.precision)
            first = self._blocks(tf.constant(steps.start), tf.constant(middle), *common, products)
            total, last, seen = float(first[0]), float(first[1]), int(first[2])
        if math.isfinite(last):
            rest = self._steps(tf.constant(middle), tf.constant(steps.stop), *common)
            total, seen = total + float(rest[0]), seen + int(rest[2])
            last = float(rest[1]) if middle < steps.stop else last
        return total, last, seen

    def _width(self) -> int:
        return int(self.net.weights[0].read_value().shape[1])

    def evaluate(self, part: tuple[tf.Tensor, tf.Tensor]) -> Score:
        """The net's score on a part of the data."""
        correct, total = self._evaluate(*part)
        count = int(part[1].shape[0])
        return Score(int(correct), count, float(total) / count)

    @tf.function(input_signature=ARGUMENTS)  # type: ignore[untyped-decorator]
    def _steps(
        self, step: tf.Tensor, end: tf.Tensor, seed: tf.Tensor, epoch: tf.Tensor,
        batch_size: tf.Tensor, learning_rate: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:  # fmt: skip
        """Plain steps, the short batch at the end of an epoch included."""
        order = self._order(seed, epoch)
        loss = _loss(tf.minimum(batch_size, self.examples))
        total, last, seen = tf.constant(0.0), tf.constant(0.0), tf.constant(0)
        while step < end and tf.math.is_finite(last):
            x, y = self._gather(order[step * batch_size : (step + 1) * batch_size])
            with tf.GradientTape() as tape:
                losses, objective = loss(y, self.net.scores(x))
            gradients = tape.gradient(objective, self.net.weights)
            for weight, gradient in zip(self.net.weights, gradients, strict=True):
                descend(weight, gradient, learning_rate)
            last = tf.reduce_mean(losses)
            total += tf.reduce_sum(losses)
            seen += tf.size(y)
            step += 1
        return total, last, seen

    @tf.function  # type: ignore[untyped-decorator]
    def _blocks(
        self, step: tf.Tensor, end: tf.Tensor, seed: tf.Tensor, epoch: tf.Tensor,
        batch_size: tf.Tensor, learning_rate: tf.Tensor, products: tf.DType,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:  # fmt: skip
        """Blocks of STEPS full batches."""
        order = self._order(seed, epoch)
        loss = _loss(batch_size)
        total, last, seen = tf.constant(0.0), tf.constant(0.0), tf.constant(0)
        while step < end and tf.math.is_finite(last):
            x, y = self._gather(order[step * batch_size : (step + STEPS) * batch_size])
            more, last = train_block(self.net, x, y, learning_rate, loss, products)
            total += more
            seen += tf.size(y)
            step += STEPS
        return total, last, seen

    def _order(self, seed: tf.Tensor, epoch: tf.Tensor) -> tf.Tensor:
        """A permutation of the training examples, another one each epoch."""
        return tf.random.experimental.stateless_shuffle(
            tf.range(self.examples), seed=tf.stack([seed, epoch])
        )

    def _gather(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x, y = self.data.train
        return self.data.normalize(tf.gather(x, index)), tf.gather(y, index)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def _evaluate(self, x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        correct, total = tf.constant(0), tf.constant(0.0)
        start = tf.constant(0)
        while start < tf.shape(y)[0]:
            labels = y[start : start + EVALUATE_AT_ONCE]
            scores = self.net.scores(self.data.normalize(x[start : start + EVALUATE_AT_ONCE]))
            hits = tf.equal(tf.argmax(scores, axis=1, output_type=tf.int32), labels)
            correct += tf.reduce_sum(tf.cast(hits, tf.int32))
            total += tf.reduce_sum(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=scores)
            )
            start += EVALUATE_AT_ONCE
        return correct, total


def _loss(batch_size: tf.Tensor, dtype: tf.DType = tf.float32) -> Loss:
    """Softmax cross-entropy: of each example, and its sum over the batch size.

    Where the last batch of an epoch is short the sum is still divided by the whole batch size:
    every example weighs the same, and the short batch is no noisier than the others.
    """

    def loss(labels: tf.Tensor, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=scores)
        return losses, tf.reduce_sum(losses) / tf.cast(batch_size, dtype)

    return loss
