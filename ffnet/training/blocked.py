"""Blocked SGD: several steps share one read and one write of the first layer's weights, exactly.

The first layer's input is data, so the inputs X_1 … X_k of the next k steps are known. With the
weights W before them, z_j = X_j·W − X_j·(X_1ᵀ·Δ_1 + … + X_{j−1}ᵀ·Δ_{j−1}), where Δ_i is the
learning rate times the gradient of step i by its z_i: step i subtracts X_iᵀ·Δ_i from W.
So k steps need X·W once, the small products X_j·X_iᵀ, and W ← W − Xᵀ·Δ once; every other weight
is updated at every step. The result equals that of k plain steps up to rounding. The two large
products have k times as many rows. A CPU multiplies such products faster, in bfloat16 much faster.
"""

from collections.abc import Callable

import tensorflow as tf

from ffnet.training.optimizers import descend

STEPS = 4
"""Steps in a block, k. Relative extra work: about (k−1)·batch size/4·(1/D + 1/H) of a step."""

Loss = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def train_block(
    weights: list[tf.Variable],
    head: Callable[[tf.Tensor, int], tf.Tensor],
    x: tf.Tensor,
    y: tf.Tensor,
    learning_rates: tf.Tensor,
    loss: Loss,
    products: tf.DType,
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Train a net for STEPS steps of SGD.

    Args:
        weights: the net's weights, the first layer's kernel [D, H] first. They are updated in
            place.
        head: a function (products of the first layer [B, H], step of the block) → scores [B, C].
        x: the batches of all steps in order, [STEPS·B, D], with the weights' dtype.
        y: the labels, [STEPS·B].
        learning_rates: the learning rate of each step, [STEPS].
        loss: a function (labels, scores) → (losses [B], the scalar to minimise).
        products: dtype in which the first layer's two large products are computed.

    Returns:
        The sum of the losses of each step, and the mean loss of the last step.
    """
    first, *others = weights
    inputs = tf.cast(x, products)
    batches = tf.split(inputs, STEPS)
    z_before = tf.split(tf.cast(tf.matmul(inputs, tf.cast(first, products)), x.dtype), STEPS)
    sums: list[tf.Tensor] = []
    deltas: list[tf.Tensor] = []
    for j, labels in enumerate(tf.split(y, STEPS)):
        z = z_before[j]
        for i in range(j):
            gram = tf.cast(tf.matmul(batches[j], batches[i], transpose_b=True), x.dtype)
            z -= tf.matmul(gram, deltas[i])
        with tf.GradientTape() as tape:
            tape.watch(z)
            losses, objective = loss(labels, head(z, j))
        by_z, *by_others = tape.gradient(objective, [z, *others])
        deltas.append(learning_rates[j] * by_z)
        for weight, gradient in zip(others, by_others, strict=True):
            descend(weight.handle, gradient, learning_rates[j])
        sums.append(tf.reduce_sum(losses))
    delta = tf.cast(tf.concat(deltas, axis=0), products)
    descend(first.handle, tf.cast(tf.matmul(inputs, delta, transpose_a=True), x.dtype), 1.0)
    return sums, tf.reduce_mean(losses)
