"""Nets and the training loop, compared with NumPy and with other ways to train the same net."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ffnet.data.dataset import DataSet, Part
from ffnet.nets.barebones import BarebonesNet
from ffnet.nets.initializers import initial
from ffnet.nets.net import flatten, initialize
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.trial import TrialConfig
from ffnet.training.device_data import DeviceData
from ffnet.training.loop import Report, train
from ffnet.training.trainer import Trainer

RANDOM = np.random.default_rng(0)


def part(n: int, features: int = 6) -> Part:
    x = RANDOM.integers(0, 256, (n, features), dtype=np.uint8)
    return Part(x, (x[:, 0].astype(np.int32) + x[:, 1]) // 171)  # 0, 1 or 2


@pytest.fixture(scope="module")
def data() -> DataSet:
    first = part(150)
    return DataSet(
        name="own",
        train=first,
        validation=part(1100),  # more than are evaluated at once
        test=None,
        classes=("a", "b", "c"),
        mean=first.x.mean(axis=0).astype(np.float32),
        std=first.x.std(axis=0).astype(np.float32),
        source="",
        digest="",
    )


@pytest.fixture(scope="module")
def trainer(data: DataSet) -> Trainer:
    return Trainer(DeviceData(data), config())


def config(hidden_sizes: Any = 5, epochs: int = 3, seed: int = 0, **training: Any) -> TrialConfig:
    return TrialConfig(
        number=0,
        net=NetSpec(hidden_sizes=hidden_sizes),
        training=Training(**{"batch_size": 64, "learning_rate": 0.05} | training),
        epochs=epochs,
        seed=seed,
    )


def reports(trainer: Trainer, of: TrialConfig, **options: Any) -> list[Report]:
    trainer.initialize(of)
    return list(train(trainer, of, **options))


def curve(of: list[Report]) -> list[tuple[int, float, float, int]]:
    return [(r.step, r.train_loss, r.validation.loss, r.validation.correct) for r in of]


def weights(trainer: Trainer) -> list[np.ndarray[Any, Any]]:
    return [w.numpy() for w in trainer.net.weights]


# --- nets --------------------------------------------------------------------------------------


def test_zeros_in_give_zeros_out_as_in_the_lesson() -> None:
    net = BarebonesNet(32 * 32 * 3, 10, NetSpec())
    initialize(net, 32 * 32 * 3, 10, NetSpec(hidden_sizes=42), seed=0)
    scores = net.scores(tf.zeros((64, 32, 32, 3)))
    assert scores.shape == (64, 10)
    assert not scores.numpy().any()


def test_flatten_keeps_the_rows() -> None:
    assert flatten(tf.zeros((7, 2, 3, 4))).shape == (7, 24)


@pytest.mark.parametrize("hidden_sizes", [(), (4,), (4, 7), (3, 3, 3, 3)])
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_scores_are_layers_of_products_and_activations(
    hidden_sizes: tuple[int, ...], activation: Any
) -> None:
    spec = NetSpec(hidden_sizes=hidden_sizes, activation=activation, bias=False)
    net = BarebonesNet(6, 3, spec)
    initialize(net, 6, 3, spec, seed=1)
    function: Any = {"relu": lambda z: z * (z > 0), "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
                "tanh": np.tanh}[activation]  # fmt: skip
    x = RANDOM.normal(size=(10, 6)).astype(np.float32)
    expected = x
    for w in net.weights[:-1]:
        expected = function(expected @ w.numpy())
    expected = expected @ net.weights[-1].numpy()
    assert [w.numpy().shape for w in net.weights] == list(itertools.pairwise((6, *hidden_sizes, 3)))
    assert net.scores(x).numpy() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("shape", [(1000, 500), (5, 5, 40, 500)])
def test_kaiming_deviation_is_sqrt_of_two_over_fan_in(shape: tuple[int, ...]) -> None:
    sample = initial("kaiming_normal", shape, seed=(0, 0)).numpy()
    assert sample.std() == pytest.approx(math.sqrt(2 / math.prod(shape[:-1])), rel=0.02)
    assert abs(sample.mean()) < 0.02 * sample.std()


def test_kaiming_refuses_other_ranks() -> None:
    with pytest.raises(ValueError, match=r"rank 2 or 4. Given: \(3,\)"):
        initial("kaiming_normal", (3,), seed=(0, 0))


def test_weights_follow_the_seed_and_differ_between_layers() -> None:
    spec = NetSpec(hidden_sizes=(6, 6), bias=False)
    net = BarebonesNet(6, 6, spec)
    drawn = []
    for seed in (0, 0, 1):
        initialize(net, 6, 6, spec, seed)
        drawn.append([w.numpy() for w in net.weights])
    assert all((a == b).all() for a, b in zip(drawn[0], drawn[1], strict=True))
    assert all((a != b).all() for a, b in zip(drawn[0], drawn[2], strict=True))
    assert (drawn[0][0] != drawn[0][1]).all()


# --- one step, against NumPy -------------------------------------------------------------------


def numpy_epoch(data: DataSet, net: list[Any], order: Any, of: TrialConfig) -> float:
    """Train an epoch of SGD with NumPy. Changes the weights and returns the mean loss."""
    total, (w1, b1, w2, b2) = 0.0, net
    for start in range(0, len(order), of.training.batch_size):
        index = order[start : start + of.training.batch_size]
        x = (data.train.x[index] - data.mean) / data.std
        y = np.eye(3)[data.train.y[index]]
        hidden = np.maximum(x @ w1 + b1, 0)
        scores = hidden @ w2 + b2
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        total -= np.log((p * y).sum(axis=1)).sum()
        error = (p - y) / of.training.batch_size
        back = (error @ w2.T) * (hidden > 0)
        for weight, gradient in (
            (w1, x.T @ back), (b1, back.sum(axis=0)), (w2, hidden.T @ error),
            (b2, error.sum(axis=0)),
        ):  # fmt: skip
            weight -= of.training.learning_rate * gradient
    return total / len(order)


def epoch_order(n: int, seed: int, epoch: int) -> Any:
    """Return the order of examples; by `Trainer.run`'s contract, seed and epoch decide it."""
    return tf.random.experimental.stateless_shuffle(tf.range(n), seed=(seed, epoch)).numpy()


def test_epochs_match_numpy_with_a_short_last_batch(data: DataSet, trainer: Trainer) -> None:
    of = config(epochs=2)  # 150 examples: batches of 64, 64 and 22
    trainer.initialize(of)
    net = [w.astype(np.float64) for w in weights(trainer)]
    for epoch, report in enumerate(train(trainer, of)):
        order = epoch_order(150, of.seed, epoch)
        assert sorted(order) == list(range(150))
        loss = numpy_epoch(data, net, order, of)
        assert report.train_loss == pytest.approx(loss, rel=1e-4)
        for ours, expected in zip(weights(trainer), net, strict=True):
            assert ours == pytest.approx(expected, abs=1e-4)
    assert (epoch_order(150, 0, 0) != epoch_order(150, 0, 1)).any()


def test_validation_score_matches_numpy_beyond_one_evaluation_batch(
    data: DataSet, trainer: Trainer
) -> None:
    trainer.initialize(config(seed=3))
    score = trainer.evaluate(trainer.data.validation)
    w1, b1, w2, b2 = weights(trainer)
    x = (data.validation.x - data.mean) / data.std
    scores = np.maximum(x @ w1 + b1, 0) @ w2 + b2
    assert score.count == 1100
    assert score.correct == (scores.argmax(axis=1) == data.validation.y).sum()
    log_p = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    assert score.loss == pytest.approx(-log_p[np.arange(1100), data.validation.y].mean(), rel=1e-4)


# --- the loop ----------------------------------------------------------------------------------


def test_training_learns(trainer: Trainer) -> None:
    run = reports(trainer, config(hidden_sizes=32, epochs=60, learning_rate=0.3))
    assert run[-1].validation.accuracy > 0.8  # the most frequent class has 0.45
    assert run[-1].train_loss < run[0].train_loss / 3


def test_one_trace_serves_every_width_rate_and_batch(data: DataSet) -> None:
    fresh = Trainer(DeviceData(data), config())
    for hidden, batch, rate in ((32, 64, 0.1), (400, 7, 0.01), (1, 150, 1e-4), (500, 9, 0.1)):
        for path in ({}, {"tiles": True}, {"steps_per_block": 4}):
            of = config(hidden, epochs=1, batch_size=batch, learning_rate=rate, **path)
            assert len(reports(fresh, of)) == 1
    assert fresh._steps.plain.experimental_get_tracing_count() == 1
    assert fresh._steps.tiled.experimental_get_tracing_count() == 1
    assert fresh._steps.blocks_of_4.experimental_get_tracing_count() == 1
    assert fresh._evaluate.experimental_get_tracing_count() == 1


def test_same_seed_same_curve_and_another_seed_another(trainer: Trainer) -> None:
    first = reports(trainer, config(seed=5))
    assert curve(reports(trainer, config(seed=5))) == curve(first)
    assert curve(reports(trainer, config(seed=6))) != curve(first)


def test_reports_come_each_epoch_or_each_so_many_steps(trainer: Trainer) -> None:
    assert [(r.step, r.epoch) for r in reports(trainer, config())] == [(3, 1), (6, 2), (9, 3)]
    by_steps = reports(trainer, config(report_steps=4))
    assert [r.step for r in by_steps] == [4, 8, 9]
    assert by_steps[0].epoch == pytest.approx(4 / 3)
    assert reports(trainer, config(report_steps=100))[0].step == 9


def test_how_often_a_trial_reports_does_not_change_its_training(trainer: Trainer) -> None:
    reports(trainer, config(report_steps=1))
    by_step = weights(trainer)
    reports(trainer, config())
    assert all((a == b).all() for a, b in zip(by_step, weights(trainer), strict=True))


def test_a_resumed_net_goes_on_as_if_never_stopped(trainer: Trainer) -> None:
    whole = reports(trainer, config(report_steps=2))
    of = config(report_steps=2)
    trainer.initialize(of)
    begun = list(itertools.islice(train(trainer, of), 2))
    saved = weights(trainer)
    trainer.initialize(config(seed=99))
    for weight, value in zip(trainer.net.weights, saved, strict=True):
        weight.assign(value)
    assert curve(begun + list(train(trainer, of, after=4))) == curve(whole)


def test_a_loss_that_is_no_longer_finite_ends_the_epoch_and_the_trial(trainer: Trainer) -> None:
    (report,) = reports(trainer, config(epochs=50, learning_rate=1e30, batch_size=1))
    assert report.diverged
    assert report.step == 150
    of = config(batch_size=1, learning_rate=1e30)
    trainer.initialize(of)
    _, _, seen = trainer.run(of, 0, range(150))
    assert seen < 20


def test_batches_larger_than_the_set_are_one_batch(trainer: Trainer) -> None:
    run = reports(trainer, config(batch_size=10_000, epochs=40, learning_rate=0.5))
    assert [r.step for r in run] == list(range(1, 41))
    assert run[-1].train_loss < 0.8 * run[0].train_loss


@pytest.mark.slow
def test_thread_and_device_settings_reach_tensorflow(tmp_path: Path) -> None:
    """This runs in another process, because TensorFlow takes these settings only once."""
    import subprocess
    import sys

    code = """
import tensorflow as tf
from ffnet.errors import InputError
from ffnet.training.devices import configure
configure(threads=3, gpus=0)
assert tf.config.threading.get_intra_op_parallelism_threads() == 3
assert tf.config.threading.get_inter_op_parallelism_threads() == 3
assert tf.config.get_visible_devices("GPU") == []
try:
    configure(threads=1, gpus=0.5)
except InputError as error:
    assert "CPU:0" in str(error), error
    print("refused")
"""
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "refused\n", done.stderr


# --- blocked steps -----------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [16, 7])
@pytest.mark.parametrize("steps", [2, 4, 8])
def test_nets_train_in_blocks_to_the_same_curve(
    trainer: Trainer, steps: int, batch_size: int
) -> None:
    """150 examples give blocks of full batches, single steps, and a short batch."""
    plain = reports(trainer, config(40, batch_size=batch_size))
    blocked = reports(trainer, config(40, batch_size=batch_size, steps_per_block=steps))
    assert [r.step for r in blocked] == [r.step for r in plain]
    for one, other in zip(blocked, plain, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-4)
        assert one.batch_loss == pytest.approx(other.batch_loss, rel=1e-3)
        assert one.validation.loss == pytest.approx(other.validation.loss, rel=1e-3)
    assert [r.train_loss for r in blocked] != [r.train_loss for r in plain]  # rounding differs


def test_bfloat16_products_learn_as_well_and_leave_float32_weights(trainer: Trainer) -> None:
    exact = reports(trainer, config(40, epochs=40, learning_rate=0.2, batch_size=16))
    training: Any = {"learning_rate": 0.2, "batch_size": 16, "steps_per_block": 4}
    of = config(40, epochs=40, precision="bfloat16", **training)
    rounding = Trainer(trainer.data, of)
    rounded = reports(rounding, of)
    assert rounded[-1].train_loss != exact[-1].train_loss
    assert rounded[-1].train_loss == pytest.approx(exact[-1].train_loss, rel=0.2)
    assert {w.dtype for w in weights(rounding)} == {np.dtype("float32")}


@pytest.mark.parametrize("path", [{"steps_per_block": 4}, {"tiles": True}])
def test_divergence_in_blocks_and_tiles_ends_the_trial(
    trainer: Trainer, path: dict[str, Any]
) -> None:
    (report,) = reports(trainer, config(epochs=9, learning_rate=1e30, batch_size=4, **path))
    assert report.diverged
