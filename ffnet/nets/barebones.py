"""The net in plain TensorFlow: scores = f(f(x·w1)·w2)…·wn, with any number of layers.

The weights are variables whose widths may change, so the same compiled training step trains nets
of every width. Between two trials a worker only assigns other weights.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from ffnet.nets import layout
from ffnet.nets.inputs import Inputs, as_inputs
from ffnet.nets.net import NORM_EPSILON, NORM_MOMENTUM, Dropout, flatten, with_vectors
from ffnet.nets.number_vectors import with_number_vectors
from ffnet.spec.net import NetSpec


class BarebonesNet:
    """A fully connected net. Its widths may change without a new trace.

    Attributes:
        dropout, weights, state: as in `Net`.
        learns_inputs: whether the inputs of the first layer change while the net trains.
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
        inputs = self._inputs = as_inputs(features, spec)
        self.learns_inputs = bool(inputs.vectors or inputs.numbers or spec.scaling_layer)
        self._activation = keras.activations.get(spec.activation)
        self._drops = any(spec.dropout_rates)
        self._adds_input = spec.adds_input
        self.dropout = Dropout(len(spec.hidden_sizes))
        made = [
            (each, _open(each.shape, each.kind, dtype))
            for each in layout.weights(inputs, classes, spec, fixed=False)
        ]
        self.weights = [variable for _, variable in made]
        self._vectors = [variable for each, variable in made if each.kind == "vectors"]
        self._front = {each.kind: v for each, v in made if each.kind not in layout.OF_LAYERS}
        self.state: list[tf.Variable] = []
        self._layers: list[_Layer] = []
        for number in range(1, len(spec.hidden_sizes) + 2):
            own = {
                each.kind: variable
                for each, variable in made
                if each.kind in layout.OF_LAYERS and each.number == number
            }
            batch = ("mean", "variance") if spec.batch_norm and "gamma" in own else ()
            moved = [_open((None,), name, dtype) for name in batch]
            self.state += moved
            self._layers.append(_Layer(own, moved))

    def scores(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return class scores (logits) [N, C] of examples [N, …]; dropout acts only in training."""
        return self.head(tf.matmul(self._first(flatten(x)), self.weights[0]), training)

    def _first(self, x: tf.Tensor) -> tf.Tensor:
        """The inputs of the first layer."""
        if of := self._inputs.number_vectors:
            x = with_number_vectors(x, self._inputs.numbers, of, self._front)
        x = with_vectors(x, self._vectors)
        return x * self._front["scale"] if "scale" in self._front else x

    def head(self, z: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return class scores [N, C] from the first layer's products z = x·w1, [N, H]."""
        z = self._layers[0].after_product(z, training)
        before = z  # the first hidden layer never adds its input
        for i, layer in enumerate(self._layers[1:]):
            x = self._activation(z)
            if self._drops and training:
                x = self.dropout.drop(x, i)
            if self._adds_input[i]:
                x += before
            before = x
            z = layer.after_product(layer.product(x), training)
        return z


class _Layer:
    """The variables of one layer."""

    def __init__(self, made: dict[str, tf.Variable], moved: Sequence[tf.Variable]) -> None:
        self._bottleneck, self._kernel, self._bias = made.get("v"), made["w"], made.get("b")
        self._gamma, self._beta, self._moved = made.get("gamma"), made.get("beta"), moved

    def product(self, x: tf.Tensor) -> tf.Tensor:
        """Multiply [N, rows] by the kernel, perhaps through the bottleneck."""
        if self._bottleneck is not None:
            x = tf.matmul(x, self._bottleneck)
        return tf.matmul(x, self._kernel)

    def after_product(self, z: tf.Tensor, training: bool) -> tf.Tensor:
        """Add the bias to the product and normalise it, as far as the layer does these."""
        if self._bias is not None:
            z += self._bias
        if self._gamma is None:
            return z
        if not self._moved:
            mean, variance = tf.nn.moments(z, axes=[1], keepdims=True)
        else:
            mean, variance = self._of_batch(z, training)
        return tf.nn.batch_normalization(z, mean, variance, self._beta, self._gamma, NORM_EPSILON)

    def _of_batch(self, z: tf.Tensor, training: bool) -> Sequence[tf.Tensor]:
        """Mean and variance [H]: in training those of the batch, which also move the averages."""
        if training:
            now: Sequence[tf.Tensor] = tf.nn.moments(z, axes=[0])
            for moved, value in zip(self._moved, now, strict=True):
                moved.assign(moved * NORM_MOMENTUM + value * (1 - NORM_MOMENTUM))
            return now
        return self._moved


def _open(shape: Sequence[int | None], name: str, dtype: tf.DType) -> tf.Variable:
    """Make a variable whose sizes of None may change. Its value is a placeholder until assigned."""
    first = tf.zeros([n or 1 for n in shape], dtype)
    return tf.Variable(first, shape=tf.TensorShape(shape), name=name)
