"""The interface `Net`, which the training loop uses, and `make_net`, which builds such a net."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import tensorflow as tf

from ffnet.nets import layout
from ffnet.nets.initializers import initial, vectors
from ffnet.nets.inputs import Inputs, as_inputs
from ffnet.nets.number_vectors import first_value
from ffnet.spec.net import NetSpec

NORM_EPSILON, NORM_MOMENTUM = 1e-3, 0.99  # of batch and layer normalisation, as in Keras
FIRST_STATE = 0.0, 1.0  # of batch normalisation: the first moving mean and moving variance

# Dropout's seeds start here, so that they differ from the seeds of epochs and of weights.
DROPOUT_SEEDS_FROM, MOST_LAYERS = 2**32, 2**20


class Dropout:
    """Dropout's rates and seed as variables, so that changing them needs no new trace.

    Attributes:
        rates: dropout rate of each hidden layer, [depth] float32.
    """

    def __init__(self, depth: int) -> None:
        self.rates = tf.Variable(tf.zeros([depth]), trainable=False)
        self._seed = tf.Variable(tf.zeros([2], tf.int64), trainable=False)

    def begin_step(self, seed: tf.Tensor, step: tf.Tensor) -> None:
        """Set the seed of this step: the trial's seed and the step alone decide what is dropped."""
        step = tf.cast(step, tf.int64)
        self._seed.assign([tf.cast(seed, tf.int64), (step + DROPOUT_SEEDS_FROM) * MOST_LAYERS])

    def drop(self, x: tf.Tensor, layer: int) -> tf.Tensor:
        """Return `x` [N, H] with a share of its numbers set to 0 and the others scaled up.

        The share is the layer's rate, rounded down to a multiple of 2⁻¹⁶, because each number gets
        16 random bits. Drawing 32 bits would take twice the work.
        """
        seed = self._seed + tf.constant([0, layer], tf.int64)
        rows, columns = tf.unstack(tf.shape(x))
        pairs = tf.random.stateless_uniform(
            [rows, (columns + 1) // 2], seed, None, None, tf.uint32, alg="philox"
        )
        bits = tf.reshape(tf.bitcast(pairs, tf.uint16), [rows, -1])[:, :columns]
        dropped = tf.floor(self.rates[layer] * 2**16)
        scale = tf.cast(2**16 / (2**16 - dropped), x.dtype)
        return x * (tf.cast(bits >= tf.cast(dropped, tf.uint16), x.dtype) * scale)


class Net(Protocol):
    """A net whose variables the training loop changes.

    Attributes:
        dropout: rates and seed of dropout.
        weights: the variables that gradients update, in the order of `layout.weights`.
        state: moving mean and moving variance [outputs] of each batch-normalised layer.
    """

    dropout: Dropout
    weights: list[tf.Variable]
    state: list[tf.Variable]

    def scores(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return class scores (logits) [N, C] of examples [N, …]; dropout acts only in training."""


def make_net(
    features: int | Inputs, classes: int, spec: NetSpec, dtype: tf.DType = tf.float32
) -> Net:
    """Build the net that a spec describes. Call `initialize` before you use it.

    Args:
        features: numbers in an example, D; or the inputs, some of which may be codes.
        classes: number of classes, C.
        spec: the net; its `api` decides how the net is written.
        dtype: dtype of the variables.
    """
    if spec.api == "barebones":
        from ffnet.nets.barebones import BarebonesNet

        return BarebonesNet(features, classes, spec, dtype)
    from ffnet.nets.keras_ways import KerasNet

    return KerasNet(features, classes, spec, dtype)


def initialize(net: Net, features: int | Inputs, classes: int, spec: NetSpec, seed: int) -> None:
    """Give a net's variables their values before training.

    The same spec and seed give the same values, whatever the spec's `api`.
    """
    for variable, value in zip(
        net.weights, _first_weights(as_inputs(features, spec), classes, spec, seed), strict=True
    ):
        variable.assign(tf.cast(value, variable.dtype))
    for i, size in enumerate(spec.hidden_sizes * spec.batch_norm):
        for variable, first in zip(net.state[2 * i : 2 * i + 2], FIRST_STATE, strict=True):
            variable.assign(tf.fill([size], tf.constant(first, variable.dtype)))


def _first_weights(inputs: Inputs, classes: int, spec: NetSpec, seed: int) -> Iterator[tf.Tensor]:
    """Yield each initial value in turn, so that memory never holds a second copy of the net."""
    depth = len(spec.hidden_sizes)
    for kind, number, shape in layout.weights(inputs, classes, spec):
        if kind == "w":
            before = None if spec.bottleneck and 1 < number <= depth else spec.activation
            yield initial(spec.initializer, shape, (seed, -number), before)
        elif kind == "v":
            own = -3 * MOST_LAYERS - number
            yield initial(spec.initializer, shape, (seed, own), spec.activation)
        elif kind == "vectors":
            yield vectors(*inputs.vectors[number - 1], seed=(seed, -MOST_LAYERS - number))
        elif kind in layout.NUMBERS and inputs.number_vectors:
            own = -2 * MOST_LAYERS - layout.NUMBERS.index(kind)
            yield first_value(kind, shape, inputs.number_vectors, (seed, own))
        else:
            yield tf.ones(shape) if kind in ("gamma", "scale") else tf.zeros(shape)


def with_vectors(x: tf.Tensor, tables: Sequence[tf.Variable]) -> tf.Tensor:
    """Replace the codes of examples by learned vectors.

    Args:
        x: [N, D + T]: numbers, then a code for each of the T tables.
        tables: the learned vectors, [rows, size] each.

    Returns:
        [N, D + the sizes of all vectors].
    """
    if not tables:
        return x
    codes = tf.cast(x[:, -len(tables) :], tf.int32)
    found = [tf.gather(table, codes[:, i]) for i, table in enumerate(tables)]
    return tf.concat([x[:, : -len(tables)], *found], axis=1)


def flatten(x: tf.Tensor) -> tf.Tensor:
    """(N, d1, …, dM) → (N, d1·…·dM)."""
    return tf.reshape(x, (tf.shape(x)[0], -1))
