"""The lesson's net in plain TensorFlow: scores = f(f(x·w1)·w2)…·wn, no biases, any depth.

The weights are variables of open shape, so that one compiled training step serves every width:
a worker goes from one trial's hidden size to the next by assigning other weights.
"""

import itertools

import tensorflow as tf

from ffnet.nets.initializers import kaiming_normal
from ffnet.study import NetSpec

ACTIVATIONS = {"relu": tf.nn.relu, "sigmoid": tf.nn.sigmoid, "tanh": tf.nn.tanh}


def flatten(x: tf.Tensor) -> tf.Tensor:
    """(N, d1, …, dM) → (N, d1·…·dM)."""
    return tf.reshape(x, (tf.shape(x)[0], -1))


class BarebonesNet:
    """A fully connected net whose widths may change while its graph stays.

    Attributes:
        weights: one variable a layer, [inputs, outputs], float32.
    """

    def __init__(self, features: int, classes: int, spec: NetSpec) -> None:
        """Make the variables; `initialize` fills them.

        Args:
            features: numbers in an example, D.
            classes: scores to give, C.
            spec: its depth and activation are kept; its widths are only those of `initialize`.
        """
        self._ends = (features, classes)
        self._activation = ACTIVATIONS[spec.activation]
        open_sizes = (features, *[None] * len(spec.hidden_sizes), classes)
        self.weights = [
            tf.Variable(
                tf.zeros([n or 1 for n in shape]), shape=tf.TensorShape(shape), name=f"w{i + 1}"
            )
            for i, shape in enumerate(itertools.pairwise(open_sizes))
        ]

    def initialize(self, spec: NetSpec, seed: int) -> None:
        """Fresh Kaiming weights of the spec's widths, the same for the same seed."""
        sizes = (self._ends[0], *spec.hidden_sizes, self._ends[1])
        for i, weight in enumerate(self.weights):
            weight.assign(kaiming_normal(sizes[i : i + 2], seed=(seed, -1 - i)))

    def scores(self, x: tf.Tensor) -> tf.Tensor:
        """Class scores (logits) [N, C] of examples [N, …] float32."""
        return self.head(tf.matmul(flatten(x), self.weights[0]))

    def head(self, z: tf.Tensor) -> tf.Tensor:
        """Class scores [N, C] from the first layer's products z = x·w1, [N, H]."""
        for weight in self.weights[1:]:
            z = tf.matmul(self._activation(z), weight)
        return z
