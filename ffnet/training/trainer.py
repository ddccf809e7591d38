"""Compiled training and evaluation of one structure of net on one data set."""

from dataclasses import dataclass

import tensorflow as tf

from ffnet.nets.barebones import BarebonesNet
from ffnet.study import NetSpec
from ffnet.training.device_data import DeviceData

INT, FLOAT = tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.float32)
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
        self, seed: int, epoch: int, steps: range, batch_size: int, learning_rate: float
    ) -> tuple[float, float, int]:
        """Train for some steps of one epoch.

        Args:
            seed: with `epoch`, it decides the order of the examples.
            epoch: counted from 0.
            steps: which steps of the epoch; the last of an epoch may be a short batch.
            batch_size: examples a step.
            learning_rate: step size of SGD.

        Returns:
            Loss summed over the examples trained on, loss of the last batch, and the examples
            trained on: fewer than asked for when a loss was no longer finite.
        """
        total, last, seen = self._steps(
            *map(tf.constant, (seed, epoch, steps.start, steps.stop, batch_size)),
            tf.constant(learning_rate, tf.float32),
        )
        return float(total), float(last), int(seen)

    def evaluate(self, part: tuple[tf.Tensor, tf.Tensor]) -> Score:
        """The net's score on a part of the data."""
        correct, total = self._evaluate(*part)
        count = int(part[1].shape[0])
        return Score(int(correct), count, float(total) / count)

    @tf.function(input_signature=[INT] * 5 + [FLOAT])  # type: ignore[untyped-decorator]
    def _steps(
        self, seed: tf.Tensor, epoch: tf.Tensor, step: tf.Tensor, end: tf.Tensor,
        batch_size: tf.Tensor, learning_rate: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:  # fmt: skip
        x, y = self.data.train
        order = tf.random.experimental.stateless_shuffle(
            tf.range(self.examples), seed=tf.stack([seed, epoch])
        )
        full = tf.minimum(batch_size, self.examples)
        total, loss, seen = tf.constant(0.0), tf.constant(0.0), tf.constant(0)
        while step < end and tf.math.is_finite(loss):
            index = order[step * batch_size : (step + 1) * batch_size]
            batch = self.data.normalize(tf.gather(x, index))
            with tf.GradientTape() as tape:
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                    labels=tf.gather(y, index), logits=self.net.scores(batch)
                )
                # Over the batch size, also where the last batch of an epoch is short: every example
                # weighs the same, and the short batch is no noisier than the others.
                objective = tf.reduce_sum(losses) / tf.cast(full, tf.float32)
            gradients = tape.gradient(objective, self.net.weights)
            for weight, gradient in zip(self.net.weights, gradients, strict=True):
                # The fused update writes in place; assign_sub makes learning_rate·gradient first.
                tf.raw_ops.ResourceApplyGradientDescent(
                    var=weight.handle, alpha=learning_rate, delta=gradient
                )
            loss = tf.reduce_mean(losses)
            total += tf.reduce_sum(losses)
            seen += tf.size(index)
            step += 1
        return total, loss, seen

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
