"""The weights of a net: their names, their shapes and their order.

This module does not import TensorFlow.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from ffnet.nets.inputs import Inputs
from ffnet.spec.net import NetSpec


class Weight(NamedTuple):
    """A variable that gradients update.

    Attributes:
        kind: "w" and "b" are a layer's kernel and bias; "v" is the kernel of the bottleneck before
            it; "gamma" and "beta" belong to its normalisation. NUMBERS belong to learned vectors
            of numbers; "vectors" is a table of learned vectors of categories; "scale" are the
            factors of the first layer's inputs.
        number: the number of the layer, from 1; for other kinds, which one of its kind it is.
        shape: its shape. A size is None if it may change.
    """

    kind: str
    number: int
    shape: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The name in messages: w1, b1, gamma1, …"""
        return f"{self.kind}{self.number}"


OF_LAYERS = ("v", "w", "b", "gamma", "beta")
"""The kinds that belong to a layer."""
NUMBERS = ("frequencies", "phases", "map", "offsets")
"""The kinds of `number_vectors`. Only the map [columns, inputs, outputs] has several axes, because
weight decay acts on weights with several axes, and frequencies, phases and offsets do not decay:
a decaying frequency would make its input constant."""
SCALE_FACTOR = 6.0
"""Factor of the learning rate of "scale", as in RealMLP (Holzmüller et al., 2024): these numbers
begin at 1, which is large beside a weight, so with the rate of the weights they learn slowly."""


def weights(inputs: Inputs, classes: int, spec: NetSpec, *, fixed: bool = True) -> Iterator[Weight]:
    """Yield the weights of a net in the order of `Net.weights`.

    Args:
        inputs: what the net gets.
        classes: number of classes.
        spec: the net.
        fixed: whether sizes that a barebones net may change are fixed. Otherwise they are None.

    Example:
        >>> [each.name for each in weights(Inputs(4), 3, NetSpec(hidden_sizes=(8,)))]
        ['w1', 'b1', 'w2', 'b2']
    """
    hidden = [size if fixed else None for size in spec.hidden_sizes]
    first = inputs.width if fixed or not inputs.numbers else None
    for number, (rows, width) in enumerate(pairwise([first, *hidden, classes]), 1):
        if spec.bottleneck and 1 < number <= len(hidden):
            narrow = spec.bottleneck if fixed else None
            yield Weight("v", number, (rows, narrow))
            rows = narrow
        yield Weight("w", number, (rows, width))
        if spec.bias:
            yield Weight("b", number, (width,))
        if spec.normalizes and number <= len(hidden):
            yield Weight("gamma", number, (width,))
            yield Weight("beta", number, (width,))
    yield from of_numbers(inputs, fixed)
    for number, each in enumerate(inputs.vectors, 1):
        yield Weight("vectors", number, (each.rows, each.size))
    if spec.scaling_layer:
        yield Weight("scale", 1, (first,))


def factors(inputs: Inputs, classes: int, spec: NetSpec) -> list[float]:
    """The factor of the learning rate for each weight: see SCALE_FACTOR."""
    kinds = (each.kind for each in weights(inputs, classes, spec))
    return [SCALE_FACTOR if kind == "scale" else 1.0 for kind in kinds]


def of_numbers(inputs: Inputs, fixed: bool = True) -> Iterator[Weight]:
    """Yield the weights of learned vectors of numbers; the arguments are those of `weights`."""
    of, columns = inputs.number_vectors, inputs.numbers
    if not of:
        return
    outputs = of.size - (of.kind == "pbld")
    yield Weight("frequencies", 1, (columns * of.frequencies if fixed else None,))
    if of.kind == "pbld":
        yield Weight("phases", 1, (columns * of.frequencies if fixed else None,))
    if of.kind != "periodic":
        yield Weight("map", 1, (columns, of.waves, outputs) if fixed else (columns, None, None))
        yield Weight("offsets", 1, (columns * outputs if fixed else None,))
