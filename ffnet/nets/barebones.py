"""The net in plain TensorFlow: scores = f(f(x·w1)·w2)…·wn, with any number of layers.

The weights are variables whose widths may change, so the same compiled training step trains nets
of every width. Between two trials a worker only assigns other weights.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from ffnet.nets.inputs import Inputs, as_inputs
from ffnet.nets.net import NORM_EPSILON, NORM_MOMENTUM, Dropout, flatten, with_vectors
from ffnet.spec.net import NetSpec


class BarebonesNet:
    """A fully connected net. Its widths may change without a new trace.

    Attributes:
        dropout, weights, state: as in `Net`.
        vectors: the tables of learned vectors, which are also among the weights.
    """

    def __init__(
        self, features: int | Inputs, classes: int, spec: NetSpec, dtype: tf.DType = tf.float32
    ) -> None:
        """Make the variables; `initialize` gives them widths and values.

        Args:
            features: numbers in an example, D; or the inputs, some of which may be codes.
            classes: number of classes, C.
            spec: the net. Its widths and dropout rates may change later, all else may not.
            dtype: dtype of the variables.
        """
        inputs = as_inputs(features)
        self._activation = keras.activations.get(spec.activation)
        self._drops = any(spec.dropout_rates)
        self.dropout = Dropout(len(spec.hidden_sizes))
        self.weights: list[tf.Variable] = []
        self.state: list[tf.Variable] = []
        self._layers: list[_Layer] = []
        rows: int | None = inputs.width
        for width in (*[None] * len(spec.hidden_sizes), classes):
            hidden = width is None
            parts = {
                "kernel": (rows, width),
                "bias": (width,) if spec.bias else None,
                "gamma": (width,) if spec.batch_norm and hidden else None,
                "beta": (width,) if spec.batch_norm and hidden else None,
            }
            made = {n: _open(shape, n, dtype) for n, shape in parts.items() if shape is not None}
            moved = [_open((width,), n, dtype) for n in ("mean", "variance") if "gamma" in made]
            self.weights += made.values()
            self.state += moved
            self._layers.append(_Layer(made, moved))
            rows = width
        self.vectors = [_open((each.rows, each.size), "vectors", dtype) for each in inputs.vectors]
        self.weights += self.vectors

    def scores(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return class scores (logits) [N, C] of examples [N, …]; dropout acts only in training."""
        x = with_vectors(flatten(x), self.vectors)
        return self.head(tf.matmul(x, self.weights[0]), training)

    def head(self, z: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return class scores [N, C] from the first layer's products z = x·w1, [N, H]."""
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
        """Add the bias to the product and batch-normalise it, as far as the layer does these."""
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
    """Make a variable whose sizes of None may change. Its value is a placeholder until assigned."""
    first = tf.zeros([n or 1 for n in shape], dtype)
    return tf.Variable(first, shape=tf.TensorShape(shape), name=name)
