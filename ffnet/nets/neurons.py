"""The neurons that the source lesson begins with: z = w·x + b, then an activation.

These NumPy functions are for reading and trying; the nets use TensorFlow's activations. The
perceptron's threshold is not an activation of the nets: gradient descent cannot train it.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def affine(x: npt.ArrayLike, w: npt.ArrayLike, b: npt.ArrayLike = 0.0) -> Array:
    """z = x·w + b.

    Args:
        x: inputs [..., D].
        w: weights [D] of one neuron, or [D, H] of a layer.
        b: bias, a number or [H].

    Returns:
        z [...] for a neuron, [..., H] for a layer.
    """
    z: Array = np.asarray(x, float) @ np.asarray(w, float) + np.asarray(b, float)
    return z


def threshold(z: npt.ArrayLike) -> Array:
    """1 where z > 0, else 0; same shape as z. The perceptron's activation (Rosenblatt, 1958)."""
    output: Array = np.heaviside(np.asarray(z, float), 0.0)
    return output


def sigmoid(z: npt.ArrayLike) -> Array:
    """1 / (1 + e^-z), same shape as z. Only e^-|z| is computed, so nothing overflows."""
    z = np.asarray(z, float)
    small = np.exp(-np.abs(z))
    output: Array = np.where(z >= 0, 1.0, small) / (1 + small)
    return output


def relu(z: npt.ArrayLike) -> Array:
    """max(0, z), same shape as z."""
    output: Array = np.maximum(np.asarray(z, float), 0.0)
    return output


def perceptron(x: npt.ArrayLike, w: npt.ArrayLike, b: npt.ArrayLike = 0.0) -> Array:
    """Output 0 or 1; shapes as in `affine`. With w = (-2, -2), b = 3 it computes NAND."""
    return threshold(affine(x, w, b))


def logistic(x: npt.ArrayLike, w: npt.ArrayLike, b: npt.ArrayLike = 0.0) -> Array:
    """Output between 0 and 1; shapes as in `affine`."""
    return sigmoid(affine(x, w, b))


def rectified_linear(x: npt.ArrayLike, w: npt.ArrayLike, b: npt.ArrayLike = 0.0) -> Array:
    """Output 0 or more; shapes as in `affine`."""
    return relu(affine(x, w, b))
