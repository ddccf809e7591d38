"""class_weight = "balanced": each class counts the same in the loss, and nowhere else."""

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ffnet.data.dataset import DataSet, Part
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.trial import TrialConfig
from ffnet.training.device_data import DeviceData
from ffnet.training.loop import Report, train
from ffnet.training.trainer import Trainer, structure

COUNTS = (120, 25, 5)  # 150 examples
CLASSES = ("a", "b", "c", "absent")


def part(counts: tuple[int, ...], seed: int) -> Part:
    random = np.random.default_rng(seed)
    y = random.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int32)
    x = random.normal(size=(len(y), 6)) + 0.8 * np.eye(6)[y]
    return Part(x.astype(np.float32), y)


@pytest.fixture(scope="module")
def data() -> DeviceData:
    return DeviceData(
        DataSet(
            name="own", train=part(COUNTS, 0), validation=part((100, 60, 40), 1), test=None,
            classes=CLASSES, mean=np.zeros(6), std=np.ones(6), source="", digest="",
        )
    )  # fmt: skip


def config(net: dict[str, Any] | None = None, epochs: int = 2, **training: Any) -> TrialConfig:
    fields = {"batch_size": 64, "learning_rate": 0.1, "class_weight": "balanced"} | training
    return TrialConfig(
        number=0, net=NetSpec(**{"hidden_sizes": 5} | (net or {})), training=Training(**fields),
        epochs=epochs, seed=3,
    )  # fmt: skip


def trained(data: DeviceData, of: TrialConfig) -> tuple[Trainer, list[Report]]:
    trainer = Trainer(data, of)
    trainer.initialize(of)
    return trainer, list(train(trainer, of))


def test_the_weights_are_examples_by_classes_times_examples_of_the_class(data: DeviceData) -> None:
    y = data.train[1].numpy()
    weights = data.balanced_weights().numpy()
    assert weights == pytest.approx([150 / (3 * 120), 150 / (3 * 25), 150 / (3 * 5), 0])
    assert weights[y].mean() == pytest.approx(1)


@pytest.mark.parametrize("api", ["barebones", "functional", "model", "sequential"])
def test_steps_minimise_the_weighted_mean(data: DeviceData, api: str) -> None:
    """150 examples: batches of 64, 64 and 22, whose sum is divided by 64 too."""
    of = config({"api": api}, optimizer="sgd")
    trainer, (first, _) = trained(data, of)
    other = Trainer(data, of)
    other.initialize(of)
    x, y = (each.numpy() for each in data.train)
    total = 0.0
    for epoch in range(2):
        order = tf.random.experimental.stateless_shuffle(tf.range(150), seed=(3, epoch)).numpy()
        for start in range(0, 150, 64):
            index = order[start : start + 64]
            with tf.GradientTape() as tape:
                log_p = tf.nn.log_softmax(other.net.scores(tf.constant(x[index]), training=True))
                losses = -tf.gather(log_p, y[index], batch_dims=1)
                factors = 150 / (3 * np.array(COUNTS, np.float32)[y[index]])
                objective = tf.reduce_sum(losses * factors) / 64
            gradients = tape.gradient(objective, other.net.weights)
            for weight, gradient in zip(other.net.weights, gradients, strict=True):
                weight.assign_sub(0.1 * gradient)
            total += float(tf.reduce_sum(losses)) if epoch == 0 else 0.0
    for weight, expected in zip(trainer.net.weights, other.net.weights, strict=True):
        assert weight.numpy() == pytest.approx(expected.numpy(), abs=1e-5)
    assert first.train_loss == pytest.approx(total / 150, rel=1e-4)  # without weights


@pytest.mark.parametrize("batch_size", [16, 7])
def test_blocked_steps_are_plain_steps_with_weights_too(data: DeviceData, batch_size: int) -> None:
    of = config({"hidden_sizes": 40}, batch_size=batch_size)
    plain, one = trained(data, of)
    unweighted, _ = trained(
        data, config({"hidden_sizes": 40}, batch_size=batch_size, class_weight="none")
    )
    blocked, other = trained(data, of.on_path({"steps_per_block": 4}))
    assert [r.train_loss for r in one] != [r.train_loss for r in other]  # rounding differs
    for a, b, c in zip(plain.net.weights, blocked.net.weights, unweighted.net.weights, strict=True):
        assert a.numpy() == pytest.approx(b.numpy(), abs=1e-5)
        assert np.abs(a.numpy() - c.numpy()).max() > 1e-2


def test_reported_losses_have_no_weights(data: DeviceData) -> None:
    """With steps of almost nothing, both nets stay the same, and so do all their figures."""
    balanced, none = (
        trained(data, config(learning_rate=1e-30, class_weight=weight))[1][0]
        for weight in ("balanced", "none")
    )
    for name in ("train_loss", "batch_loss", "validation"):
        assert getattr(balanced, name) == getattr(none, name)


def test_weights_help_the_rare_classes(data: DeviceData) -> None:
    both = (config(epochs=12, class_weight=weight) for weight in ("balanced", "none"))
    found = {of.training.class_weight: trained(data, of)[1][-1].validation for of in both}
    assert found["balanced"].balanced_accuracy > found["none"].balanced_accuracy + 0.03
    assert found["balanced"].macro_f1 > found["none"].macro_f1 + 0.1
    assert found["none"].auc is None  # the class `absent` has no example


def test_a_trainer_serves_only_one_kind_of_weights() -> None:
    assert structure(config()) != structure(config(class_weight="none"))


def test_infinite_losses_are_seen_although_the_class_has_no_weight(data: DeviceData) -> None:
    _, (*_, last) = trained(data, config(learning_rate=1e30))
    assert last.diverged
    assert not math.isfinite(last.train_loss)
    assert not {"val_auc", "val_loss", "val_macro_f1"} & last.measured().keys()
