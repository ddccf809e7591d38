"""The lesson's net in plain TensorFlow: scores = f(f(x·w1)·w2)…·wn, of any depth.

The weights are variables of open shape, so that one compiled training step serves every width:
a worker goes from one trial's hidden size to the next by assigning other weights.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from ffnet.nets.net import NORM_EPSILON, NORM_MOMENTUM, Dropout, flatten
from ffnet.spec.net import NetSpec


class BarebonesNet:
    """A fully connected net whose widths may change while its graph stays: see `Net`."""

    def __init__(
        self, features: int, classes: int, spec: NetSpec, dtype: tf.DType = tf.float32
    ) -> None:
        """Make the variables; `initialize` gives them widths and values.

        Args:
            features: numbers in an example, D.
            classes: scores to give, C.
            spec: everything of it but the widths and the rates of dropout is kept.
            dtype: of the variables.
        """
        self._activation = keras.activations.get(spec.activation)
        self._drops = any(spec.dropout_rates)
        self.dropout = Dropout(len(spec.hidden_sizes))
        self.weights: list[tf.Variable] = []
        self.state: list[tf.Variable] = []
        self._layers: list[_Layer] = []
        inputs: int | None = features
        for width in (*[None] * len(spec.hidden_sizes), classes):
            hidden = width is None
            parts = {
                "kernel": (inputs, width),
                "bias": (width,) if spec.bias else None,
                "gamma": (width,) if spec.batch_norm and hidden else None,
                "beta": (width,) if spec.batch_norm and hidden else None,
            }
            made = {n: _open(shape, n, dtype) for n, shape in parts.items() if shape is not None}
            moved = [_open((width,), n, dtype) for n in ("mean", "variance") if "gamma" in made]
            self.weights += made.values()
            self.state += moved
            self._layers.append(_Layer(made, moved))
            inputs = width

    def scores(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Class scores (logits) [N, C] of examples [N, …]; dropout only while training."""
        return self.head(tf.matmul(flatten(x), self.weights[0]), training)

    def head(self, z: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Class scores [N, C] from the first layer's products z = x·w1, [N, H]."""
        z = self._layers[0].after_product(z, training)
        for i, layer in enumerate(self._layers[1:]):
            x = self._activation(z)
            if self._drops and training:
                x = self.dropout.drop(x, i)
            z = layer.after_product(tf.matmul(x, layer.kernel), training)
        return z


class _Layer:
    """The variables of one layer."""

    def __init__(self, made: dict[str, tf.Variable], moved: Sequence[tf.Variable]) -> None:
        self.kernel, self._bias = made["kernel"], made.get("bias")
        self._gamma, self._beta, self._moved = made.get("gamma"), made.get("beta"), moved

    def after_product(self, z: tf.Tensor, training: bool) -> tf.Tensor:
        """The layer's z from its product: bias and batch normalisation, where it has them."""
        if self._bias is not None:
            z += self._bias
        if self._gamma is None:
            return z
        mean, variance = self._moved
        if training:
            now = tf.nn.moments(z, axes=[0])
            for moved, value in zip(self._moved, now, strict=True):
                moved.assign(moved * NORM_MOMENTUM + value * (1 - NORM_MOMENTUM))
            mean, variance = now
        return tf.nn.batch_normalization(z, mean, variance, self._beta, self._gamma, NORM_EPSILON)


def _open(shape: Sequence[int | None], name: str, dtype: tf.DType) -> tf.Variable:
    """A variable whose unknown sizes may change; empty until it is assigned."""
    first = tf.zeros([n or 1 for n in shape], dtype)
    return tf.Variable(first, shape=tf.TensorShape(shape), name=name)
