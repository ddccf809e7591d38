"""Blocks of steps and steps in tiles change nets exactly as plain steps do."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ffnet.nets.net import Net, initialize, make_net
from ffnet.spec.net import NetSpec, Training
from ffnet.training.blocked import train_block
from ffnet.training.optimizers import Optimizer, Rates
from ffnet.training.schedules import averaging
from ffnet.training.steps import loss_of
from ffnet.training.tiles import Tiles

FEATURES, CLASSES, BATCH, BLOCKS = 6, 3, 4, 3

nets = st.builds(
    NetSpec,
    hidden_sizes=st.lists(st.integers(1, 7), max_size=3),
    activation=st.sampled_from(["tanh", "silu"]),  # with a kink, rounding may take the other side
    dropout=st.just(0.0),
    batch_norm=st.just(False),
    bias=st.booleans(),
)
sgd = st.builds(
    lambda momentum, nesterov, weight_decay, smoothing, average: Training(
        momentum=momentum,
        nesterov=nesterov and bool(momentum),
        weight_decay=weight_decay,
        label_smoothing=smoothing,
        average_decay=average,
    ),
    momentum=st.sampled_from([None, 0.3, 0.9, 0.99]),
    nesterov=st.booleans(),
    weight_decay=st.sampled_from([0.0, 1e-6, 1e-2, 0.5]),
    smoothing=st.sampled_from([0.0, 0.1, 0.9]),
    average=st.sampled_from([None, 0.5, 0.95]),
)


class Pair:
    """Two equal nets in float64 with an optimizer each, and the same batches for both."""

    def __init__(self, spec: NetSpec, training: Training, seed: int, batches: int) -> None:
        random = np.random.default_rng(seed)
        self.nets: list[Net] = []
        self.optimizers: list[Optimizer] = []
        for _ in range(2):
            net = make_net(FEATURES, CLASSES, spec, tf.float64)
            initialize(net, FEATURES, CLASSES, spec, seed)
            net.dropout.rates.assign(spec.dropout_rates)
            self.nets.append(net)
            averages = make_net(FEATURES, CLASSES, spec, tf.float64).weights
            kept = averages if training.average_decay else ()
            self.optimizers.append(Optimizer(training, net.weights, averages=kept))
            self.optimizers[-1].reset()
        self.x = random.normal(size=(batches, BATCH, FEATURES))
        self.y = tf.constant(random.integers(0, CLASSES, (batches, BATCH)))
        self.learning_rates = random.uniform(0.05, 0.15, batches)
        self.weight_decays = training.weight_decay * random.uniform(0.5, 1.5, batches)
        self.momentum = training.momentum or 0.0
        self.averaging = averaging(training.average_decay or 0.0, range(batches))
        weights = tf.constant(random.uniform(0.2, 2, CLASSES))
        smoothing = tf.constant(training.label_smoothing, tf.float64)
        self.loss = loss_of(tf.constant(BATCH), tf.float64, weights, smoothing)

    def rates(self, steps: int | slice) -> Rates:
        values = (
            self.learning_rates[steps],
            self.momentum,
            self.weight_decays[steps],
            self.averaging[steps],
        )
        return Rates(*(tf.constant(value, tf.float64) for value in values))

    def plain(self, step: int) -> float:
        """Train the second net for a step. Returns the sum of its losses."""
        net, optimizer = self.nets[1], self.optimizers[1]
        net.dropout.begin_step(tf.constant(5), tf.constant(step))
        with tf.GradientTape() as tape:
            losses, objective = self.loss(self.y[step], net.scores(self.x[step], training=True))
        gradients = tape.gradient(objective, net.weights)
        optimizer.apply(gradients, self.rates(step), tf.constant(step))
        return float(tf.reduce_sum(losses))

    def must_be_equal(self) -> None:
        (a, b), (c, d) = self.nets, self.optimizers
        ones, others = ([*n.weights, *n.state, *o.slots, *o.averages] for n, o in ((a, c), (b, d)))
        for one, other in zip(ones, others, strict=True):
            np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=0, atol=1e-12)


def trained_in_blocks(pair: Pair, steps: int) -> None:
    """Train both nets of a pair for BLOCKS blocks, the first one in blocks, and compare them."""
    net: Any = pair.nets[0]

    def head(z: tf.Tensor, j: int) -> tf.Tensor:
        net.dropout.begin_step(tf.constant(5), tf.constant(first + j))
        return net.head(z, training=True)

    for first in range(0, BLOCKS * steps, steps):
        now = slice(first, first + steps)
        sums, last = train_block(
            pair.optimizers[0],
            head,
            tf.constant(pair.x[now].reshape(-1, FEATURES)),
            tf.reshape(pair.y[now], [-1]),
            pair.rates(now),
            tf.constant(first),
            pair.loss,
            tf.float64,
        )
        expected = [pair.plain(step) for step in range(first, first + steps)]
        np.testing.assert_allclose([float(each) for each in sums], expected, rtol=1e-12)
        assert float(last) == pytest.approx(expected[-1] / BATCH, rel=1e-12)
    pair.must_be_equal()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(nets, sgd, st.sampled_from([2, 4, 8]), st.integers(0, 100))
def test_blocks_of_sgd_are_plain_steps_exactly(
    spec: NetSpec, training: Training, steps: int, seed: int
) -> None:
    """In float64, with a learning rate and a weight decay that change at every step, and with
    class weights. Some nets have smoothed labels or averaged weights, too.
    """
    pair = Pair(spec, training, seed, BLOCKS * steps)
    before = pair.nets[0].weights[0].numpy()
    trained_in_blocks(pair, steps)
    assert abs(pair.nets[0].weights[0].numpy() - before).max() > 1e-3


@pytest.mark.parametrize("momentum", [None, 0.9])
def test_blocks_drop_and_normalise_as_plain_steps_do(momentum: float | None) -> None:
    spec = NetSpec(hidden_sizes=(9, 5), dropout=(0.3, 0.5), batch_norm=True, activation="tanh")
    pair = Pair(spec, Training(momentum=momentum, weight_decay=1e-2), 0, BLOCKS * 4)
    trained_in_blocks(pair, 4)
    assert (pair.nets[0].state[0].numpy() != 0).all()


def test_a_tiny_weight_decay_keeps_its_digits_in_float32() -> None:
    """A block of 8 steps must shrink the weights by 8·η·λ, which 1 − a would round away."""
    weight = tf.Variable(tf.ones([3, 4]))
    optimizer = Optimizer(Training(weight_decay=1e-7), [weight])
    rates = Rates(tf.fill([8], 0.1), tf.constant(0.0), tf.fill([8], 1e-7))
    before = weight.numpy()
    for _ in range(100):
        train_block(
            optimizer, lambda z, _: z, tf.zeros([16, 3]), tf.zeros([16], tf.int32), rates,
            tf.constant(0), lambda _, z: (tf.reduce_sum(z, 1), tf.reduce_sum(z)), tf.float32,
        )  # fmt: skip
    lost = (before - weight.numpy()).mean()
    assert lost == pytest.approx(100 * 8 * 0.1 * 1e-7, rel=0.3)


@pytest.mark.parametrize("hidden", [1, 16, 256, 293])
@pytest.mark.parametrize(
    "training",
    [
        Training(),
        Training(momentum=0.9, nesterov=True, weight_decay=1e-2),
        Training(optimizer="adamw", weight_decay=1e-2),
        Training(optimizer="rmsprop", momentum=0.5, average_decay=0.9),
        Training(average_decay=0.9),
    ],
    ids=lambda training: training.optimizer,
)
def test_steps_in_tiles_are_plain_steps_exactly(training: Training, hidden: int) -> None:
    pair = Pair(NetSpec(hidden_sizes=(hidden, 5)), training, 1, 6)
    net: Any = pair.nets[0]
    optimizer = pair.optimizers[0]
    tiles = Tiles(optimizer)
    with tiles.cut():
        assert int(tf.size(net.weights[0])) == 0
        for step in range(6):
            x = tf.constant(pair.x[step])
            z = tiles.product(x)
            with tf.GradientTape() as tape:
                tape.watch(z)
                _, objective = pair.loss(pair.y[step], net.head(z, training=True))
            by_z, *others = tape.gradient(objective, [z, *net.weights[1:]])
            rates = pair.rates(step)
            optimizer.apply([None, *others], rates, tf.constant(step))
            tiles.update(x, by_z, rates, tf.constant(step))
            pair.plain(step)
    pair.must_be_equal()


def test_an_error_in_the_training_leaves_the_weights_whole() -> None:
    pair = Pair(NetSpec(hidden_sizes=(5,)), Training(momentum=0.9), 0, 1)
    before = pair.nets[0].weights[0].numpy()
    with pytest.raises(KeyboardInterrupt), Tiles(pair.optimizers[0]).cut():
        raise KeyboardInterrupt
    pair.must_be_equal()
    assert (pair.nets[0].weights[0].numpy() == before).all()
