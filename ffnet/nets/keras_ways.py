"""The three ways of writing a net in Keras: functional, a subclass of Model, and Sequential.

The source lesson compares them: barebones TensorFlow is flexible and inconvenient, keras.Model is
flexible and fairly convenient, Sequential is convenient and rigid. In ffnet all of them give the
same net, and the same compiled loop trains it.
"""

import keras
import tensorflow as tf

from ffnet.nets import layout
from ffnet.nets.inputs import Inputs, Vectors, as_inputs
from ffnet.nets.net import NORM_EPSILON, NORM_MOMENTUM, Dropout, flatten, with_vectors
from ffnet.nets.number_vectors import with_number_vectors
from ffnet.spec.net import NetSpec

Shape = tuple[int | None, ...]


class SeededDropout(keras.layers.Layer):  # type: ignore[misc]
    """A Keras layer around `Dropout`: a seed fixes its draws, and a new rate needs no new trace."""

    def __init__(self, dropout: Dropout, layer: int, **options: object) -> None:
        super().__init__(**options)
        self._dropout, self._layer = dropout, layer

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return `x` [N, H]; in training some of its numbers are dropped."""
        return self._dropout.drop(x, self._layer) if training else x

    def compute_output_shape(self, shape: Shape) -> Shape:
        """The shape of the output for a shape of `x`: the same."""
        return shape


class Residual(keras.layers.Layer):  # type: ignore[misc]
    """A Keras layer that adds its input to what its parts make of it."""

    def __init__(self, parts: list[keras.layers.Layer], **options: object) -> None:
        super().__init__(**options)
        self._parts = parts

    def build(self, shape: Shape) -> None:
        """Make the variables of the parts."""
        for part in self._parts:
            part.build(shape)
            shape = part.compute_output_shape(shape)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return [N, H] for `x` [N, H]. Keras hands `training` to each part."""
        before = x
        for part in self._parts:
            x = part(x)
        return x + before

    def compute_output_shape(self, shape: Shape) -> Shape:
        """The shape of the output for a shape of `x`: the same."""
        return shape


class LearnedVectors(keras.layers.Layer):  # type: ignore[misc]
    """A Keras layer that replaces codes of categories by learned vectors."""

    def __init__(self, vectors: tuple[Vectors, ...], **options: object) -> None:
        super().__init__(**options)
        self._tables = [
            self.add_weight(shape=(each.rows, each.size), initializer="zeros") for each in vectors
        ]

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return the numbers of `x` [N, D + T] and the vectors of its codes."""
        return with_vectors(x, [table.value for table in self._tables])

    def compute_output_shape(self, shape: Shape) -> Shape:
        """The shape of the output for a shape of `x`."""
        width = shape[-1] or 0
        return (shape[0], width + sum(table.shape[1] - 1 for table in self._tables))


class LearnedNumbers(keras.layers.Layer):  # type: ignore[misc]
    """A Keras layer that replaces numbers by learned vectors."""

    def __init__(self, inputs: Inputs, **options: object) -> None:
        super().__init__(**options)
        self._inputs = inputs
        self._own = {
            each.kind: self.add_weight(shape=each.shape, initializer="zeros")
            for each in layout.of_numbers(inputs)
        }

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return the vectors of the first numbers of `x` [N, D + T], and the rest of it."""
        of = self._inputs.number_vectors
        assert of
        weights = {kind: weight.value for kind, weight in self._own.items()}
        return with_number_vectors(x, self._inputs.numbers, of, weights)

    def compute_output_shape(self, shape: Shape) -> Shape:
        """The shape of the output for a shape of `x`."""
        alone = Inputs(shape[-1] or 0, (), self._inputs.numbers, self._inputs.number_vectors)
        return (shape[0], alone.width)


class Scaling(keras.layers.Layer):  # type: ignore[misc]
    """A Keras layer that multiplies each input by a learned factor."""

    def build(self, shape: Shape) -> None:
        """Make the factors."""
        self._factors = self.add_weight(shape=shape[-1:], initializer="ones")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return `x` [N, D], scaled."""
        return x * self._factors

    def compute_output_shape(self, shape: Shape) -> Shape:
        """The shape of the output for a shape of `x`: the same."""
        return shape


def front(inputs: Inputs, spec: NetSpec, dtype: str) -> list[keras.layers.Layer]:
    """Return the layers before the first layer of neurons."""
    found: list[keras.layers.Layer] = []
    if inputs.numbers:
        found.append(LearnedNumbers(inputs, dtype=dtype))
    if inputs.vectors:
        found.append(LearnedVectors(inputs.vectors, dtype=dtype))
    if spec.scaling_layer:
        found.append(Scaling(dtype=dtype))
    return found


def layers(classes: int, spec: NetSpec, dropout: Dropout, dtype: str) -> list[keras.layers.Layer]:
    """Return the net's layers in order. The three ways differ only in how they join the layers."""
    common = {"dtype": dtype}
    # `initialize` sets the weights later.
    dense = {"use_bias": spec.bias, "kernel_initializer": "zeros", **common}
    made: list[keras.layers.Layer] = []
    for i, size in enumerate(spec.hidden_sizes):
        hidden: list[keras.layers.Layer] = []
        if spec.bottleneck and i:
            hidden.append(keras.layers.Dense(spec.bottleneck, **dense | {"use_bias": False}))
        hidden.append(keras.layers.Dense(size, **dense))
        if spec.batch_norm:
            hidden.append(
                keras.layers.BatchNormalization(
                    epsilon=NORM_EPSILON, momentum=NORM_MOMENTUM, **common
                )
            )
        if spec.layer_norm:
            hidden.append(keras.layers.LayerNormalization(epsilon=NORM_EPSILON, **common))
        hidden.append(keras.layers.Activation(spec.activation, **common))
        if any(spec.dropout_rates):
            hidden.append(SeededDropout(dropout, i, **common))
        made += [Residual(hidden, **common)] if spec.adds_input[i] else hidden
    return [*made, keras.layers.Dense(classes, **dense)]


class FeedForward(keras.Model):  # type: ignore[misc]
    """The object-oriented way: a subclass of keras.Model."""

    def __init__(self, parts: list[keras.layers.Layer], dtype: str) -> None:
        super().__init__(dtype=dtype)
        self._parts = parts

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return class scores [N, C] of examples [N, D]. Keras hands `training` to each layer."""
        for part in self._parts:
            x = part(x)
        return x


def functional(features: int, parts: list[keras.layers.Layer], dtype: str) -> keras.Model:
    """The functional way: each layer is called on the output of the layer before it."""
    x = first = keras.Input((features,), dtype=dtype)
    for part in parts:
        x = part(x)
    return keras.Model(first, x)


def sequential(features: int, parts: list[keras.layers.Layer], dtype: str) -> keras.Model:
    """The sequential way: a list of layers."""
    return keras.Sequential([keras.Input((features,), dtype=dtype), *parts])


class KerasNet:
    """A Keras model behind the interface `Net`, which the training loop uses."""

    def __init__(
        self, features: int | Inputs, classes: int, spec: NetSpec, dtype: tf.DType = tf.float32
    ) -> None:
        """Build the model. The arguments are those of `make_net`."""
        inputs = as_inputs(features, spec)
        self.dropout = Dropout(len(spec.hidden_sizes))
        before = front(inputs, spec, dtype.name)
        parts = [*before, *layers(classes, spec, self.dropout, dtype.name)]
        columns = inputs.dense + len(inputs.vectors)
        if spec.api == "model":
            self.model = FeedForward(parts, dtype.name)
            self.model(tf.zeros([1, columns], dtype))  # makes the variables
        else:
            join = functional if spec.api == "functional" else sequential
            self.model = join(columns, parts, dtype.name)
        weights = [v.value for v in self.model.trainable_variables]
        first = sum(len(part.trainable_variables) for part in before)
        self.weights = weights[first:] + weights[:first]
        self.state = [v.value for v in self.model.non_trainable_variables]

    def scores(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return class scores (logits) [N, C] of examples [N, …]; dropout acts only in training."""
        return self.model(flatten(x), training=training)
