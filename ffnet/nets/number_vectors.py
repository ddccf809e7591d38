"""Learned vectors of numbers: each column of numbers becomes several inputs of the first layer.

With x a number of a column, c its K frequencies and ‖ a concatenation, the vector is

    periodic    cos(2π·c·x) ‖ sin(2π·c·x)
    plr         relu(W·(cos(2π·c·x) ‖ sin(2π·c·x)) + b)
    pbld        x ‖ W·cos(2π·c·x + φ) + b

Every column has its own c, φ, W and b, and all of them are trained. They begin as in the papers: c
normal with the deviation `frequency_scale`, φ uniform between ±π, W and b uniform between ± 1/√n,
where n is the number of inputs of W.

Sources: periodic and plr: Gorishniy, Rubachev and Babenko, "On Embeddings for Numerical Features in
Tabular Deep Learning", 2022. pbld: Holzmüller, Grinsztajn and Steinwart, "Better by Default: Strong
Pre-Tuned MLPs and Boosted Trees on Tabular Data", 2024.
"""

import math
from collections.abc import Mapping, Sequence

import tensorflow as tf

from ffnet.nets.initializers import normal, uniform
from ffnet.spec.net import NumberVectors


def with_number_vectors(
    x: tf.Tensor, numbers: int, of: NumberVectors, weights: Mapping[str, tf.Tensor]
) -> tf.Tensor:
    """Replace the numbers of examples by vectors.

    Args:
        x: [N, D]: the numbers, then whatever else an example has.
        numbers: how many numbers there are.
        of: how a number becomes a vector.
        weights: the weights by their kind: see `layout.NUMBERS`.

    Returns:
        [N, D − numbers + numbers · size].
    """
    alone = x[:, :numbers, None]
    angles = 2 * math.pi * alone * _by_column(weights["frequencies"], numbers)
    if of.kind == "pbld":
        found = tf.cos(angles + _by_column(weights["phases"], numbers))
    else:
        found = tf.concat([tf.cos(angles), tf.sin(angles)], axis=2)
    if of.kind != "periodic":
        found = tf.einsum("nkf,kfe->nke", found, weights["map"])
        found += _by_column(weights["offsets"], numbers)
    if of.kind == "plr":
        found = tf.nn.relu(found)
    if of.kind == "pbld":
        found = tf.concat([alone, found], axis=2)
    size = tf.shape(found)[2]
    return tf.concat([tf.reshape(found, [-1, numbers * size]), x[:, numbers:]], axis=1)


def first_value(
    kind: str, shape: Sequence[int], of: NumberVectors, seed: Sequence[int]
) -> tf.Tensor:
    """Return the initial value of a weight of this kind, float32."""
    if kind == "frequencies":
        return normal(shape, seed, of.scale)
    return uniform(shape, seed, math.pi if kind == "phases" else of.waves**-0.5)


def _by_column(weight: tf.Tensor, numbers: int) -> tf.Tensor:
    """The weight as a matrix [numbers, …]. It is stored flat, because it does not decay."""
    return tf.reshape(weight, [numbers, -1])
