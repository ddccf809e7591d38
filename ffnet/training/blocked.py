"""Blocks of SGD: several steps share one read and one write of the first layer's weights, exactly.

The first layer's input is data, so the inputs X_1 … X_k of the next k steps are known. Step j has
the gradient X_jᵀ·D_j + λ·W_{j−1} of the first layer's weights W, where D_j is the gradient of its
loss by z_j = X_j·W_{j−1}, and λ_j is its weight decay. With its learning rate η_j and momentum μ,
the velocity V and the weights become

    V_j = μ·V_{j−1} − η_j·(X_jᵀ·D_j + λ_j·W_{j−1})
    W_j = W_{j−1} + V_j                                          momentum
    W_j = W_{j−1} + μ·V_j − η_j·(X_jᵀ·D_j + λ_j·W_{j−1})         Nesterov's momentum
    W_j = W_{j−1} − η_j·(X_jᵀ·D_j + λ_j·W_{j−1})                 without momentum

The moving average A of the weights, if there is one, takes a share s_j of the new weights:

    A_j = A_{j−1} + s_j·(W_j − A_{j−1})

All of this is linear. So, with Δ_i = η_i·D_i and numbers a, c and p that the same recurrences give,

    W_j = a_j·W_0 + c_j·V_0 − Σ_{i≤j} p_{j,i}·X_iᵀ·Δ_i

V_j is such a sum with other numbers, and A_j is a multiple of A_0 plus such a sum.

The first layer's output at step j is X_j times W_{j−1}:

    z_j = a_{j−1}·X_j·W_0 + c_{j−1}·X_j·V_0 − Σ_{i<j} p_{j−1,i}·(X_j·X_iᵀ)·Δ_i

So k steps need X·W_0 once (with momentum also X·V_0), the small products X_j·X_iᵀ, and at the end
W_k once (with momentum also V_k, with an average also A_k); every other weight is updated at every
step. The result equals that of k plain steps up to rounding. The large products have k times as
many rows. A CPU multiplies such products faster, in bfloat16 much faster, and it reads and writes W
less often. Momentum needs twice as many of them, and an average half as many more, so that they
gain less: see `tiles`.
"""

from collections.abc import Callable

import tensorflow as tf

from ffnet.training.optimizers import Optimizer, Rates, descend

Loss = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def train_block(
    optimizer: Optimizer,
    head: Callable[[tf.Tensor, int], tf.Tensor],
    x: tf.Tensor,
    y: tf.Tensor,
    rates: Rates,
    step: tf.Tensor,
    loss: Loss,
    products: tf.DType,
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Train a net for k steps of SGD.

    Args:
        optimizer: SGD for the net's weights, the first layer's kernel [D, H] first. The weights and
            their velocities are updated in place.
        head: a function (products of the first layer [B, H], step of the block) → scores [B, C].
        x: the batches of all steps in order, [k·B, D], with the weights' dtype.
        y: the labels, [k·B].
        rates: the rates, but with a learning rate, a weight decay and, if the optimizer has
            averages, a share of averaging for each step: [k], whose static shape says k.
        step: number of earlier steps.
        loss: a function (labels, scores) → (losses [B], the scalar to minimise).
        products: dtype in which the first layer's large products are computed.

    Returns:
        The sum of the losses of each step, and the mean loss of the last step.
    """
    steps = int(rates.learning_rate.shape[0])
    first = _First(optimizer, rates.momentum, steps)
    inputs = tf.cast(x, products)
    batches = tf.split(inputs, steps)
    old = first.products(inputs, steps)
    sums: list[tf.Tensor] = []
    deltas: list[tf.Tensor] = []
    for j, labels in enumerate(tf.split(y, steps)):
        z = first.old(*old[j])
        for i in range(j):
            gram = tf.cast(tf.matmul(batches[j], batches[i], transpose_b=True), x.dtype)
            z -= tf.matmul(first.of_kernel(gram, i), deltas[i])
        with tf.GradientTape() as tape:
            tape.watch(z)
            losses, objective = loss(labels, head(z, j))
        by_z, *by_others = tape.gradient(objective, [z, *optimizer.weights[1:]])
        now = _at(rates, j, optimizer)
        deltas.append(now.learning_rate * by_z)
        optimizer.apply([None, *by_others], now, step + j)
        first.advance(now, j)
        sums.append(tf.reduce_sum(losses))
    first.write(inputs, deltas)
    return sums, tf.reduce_mean(losses)


def _at(rates: Rates, step: int, optimizer: Optimizer) -> Rates:
    """The rates of one step of a block."""
    return rates._replace(
        learning_rate=rates.learning_rate[step],
        weight_decay=rates.weight_decay[step],
        averaging=rates.averaging[step] if optimizer.averages else None,
    )


class _First:
    """The first layer after j steps of a block, as a sum of what was there before the block.

    The kernel is W_0 + u·(W_0, V_0, −X_1ᵀ·Δ_1, …, −X_kᵀ·Δ_k), the velocity is v times the same, and
    the average is A_0 − q·A_0 plus m times the same. So u_0 = a − 1, which is often tiny and would
    lose digits as a. u, v and m are vectors [2 + k].
    """

    def __init__(self, optimizer: Optimizer, momentum: tf.Tensor, steps: int) -> None:
        self._kernel = optimizer.weights[0]
        own = optimizer.of_weight[0]
        self._velocity = own[0] if optimizer.slots else None
        self._average = own[-1] if optimizer.averages else None
        self._decays, self._nesterov = optimizer.decays, optimizer.nesterov
        self._sums = self._velocity is None and not self._decays  # then all a and p are 1
        self._momentum = momentum
        self._old, self._v, *self._new = tf.unstack(tf.eye(2 + steps, dtype=self._kernel.dtype))
        self._u = self._m = tf.zeros_like(self._v)
        self._q = tf.zeros([], self._kernel.dtype)

    def products(self, inputs: tf.Tensor, steps: int) -> list[list[tf.Tensor]]:
        """X_j·W_0 of each step, and with momentum X_j·V_0, which the first step does not need."""
        found = [[each] for each in tf.split(self._product(inputs, self._kernel), steps)]
        if self._velocity is not None and steps > 1:
            rest = inputs[tf.shape(inputs)[0] // steps :]
            each = tf.split(self._product(rest, self._velocity), steps - 1)
            for own, by_velocity in zip(found[1:], each, strict=True):
                own.append(by_velocity)
        return found

    def _product(self, inputs: tf.Tensor, weight: tf.Variable) -> tf.Tensor:
        return tf.cast(tf.matmul(inputs, tf.cast(weight, inputs.dtype)), weight.dtype)

    def old(self, by_kernel: tf.Tensor, by_velocity: tf.Tensor | None = None) -> tf.Tensor:
        """The part of z that comes from the old kernel and the old velocity."""
        z = by_kernel + self._u[0] * by_kernel if self._decays else by_kernel
        return z if by_velocity is None else z + self._u[1] * by_velocity

    def of_kernel(self, tensor: tf.Tensor, step: int) -> tf.Tensor:
        """The tensor times the factor that Xᵀ·Δ of a step of the block has in the kernel."""
        return tensor if self._sums else self._u[2 + step] * tensor

    def advance(self, rates: Rates, step: int) -> None:
        """Follow the recurrences one step further, with the rates of this step."""
        gradient = -self._new[step]  # times the learning rate
        if self._decays:
            gradient += rates.learning_rate * rates.weight_decay * (self._old + self._u)
        if self._velocity is None:
            self._u -= gradient
        else:
            self._v = self._momentum * self._v - gradient
            self._u += self._momentum * self._v - gradient if self._nesterov else self._v
        if self._average is not None:
            self._m += rates.averaging * (self._old + self._u - self._m)
            self._q += rates.averaging * (1 - self._q)

    def write(self, inputs: tf.Tensor, deltas: list[tf.Tensor]) -> None:
        """Give the kernel, the velocity and the average their new values."""
        kernel, velocity = self._kernel, self._velocity
        self._write_average(inputs, deltas)  # first, because it reads the old ones
        by_kernel = self._change(inputs, deltas, None if self._sums else self._u)
        if self._decays:
            by_kernel -= self._u[0] * kernel
        if velocity is not None:
            by_kernel -= self._u[1] * velocity
            by_velocity = self._change(inputs, deltas, self._v) + (1 - self._v[1]) * velocity
            if self._decays:
                by_velocity -= self._v[0] * kernel
            descend(velocity.handle, by_velocity, 1.0)
        descend(kernel.handle, by_kernel, 1.0)

    def _write_average(self, inputs: tf.Tensor, deltas: list[tf.Tensor]) -> None:
        if self._average is None:
            return
        by_average = self._change(inputs, deltas, self._m) - self._m[0] * self._kernel
        if self._velocity is not None:
            by_average -= self._m[1] * self._velocity
        descend(self._average.handle, by_average + self._q * self._average, 1.0)

    def _change(
        self, inputs: tf.Tensor, deltas: list[tf.Tensor], factors: tf.Tensor | None
    ) -> tf.Tensor:
        """The sum of the steps' Xᵀ·Δ, each times its factor; None stands for factors of 1."""
        if factors is not None:
            deltas = [factors[2 + i] * delta for i, delta in enumerate(deltas)]
        delta = tf.cast(tf.concat(deltas, axis=0), inputs.dtype)
        return tf.cast(tf.matmul(inputs, delta, transpose_a=True), self._kernel.dtype)
