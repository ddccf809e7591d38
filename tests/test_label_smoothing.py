"""label_smoothing changes the loss that is minimised, and no loss that is reported."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from ffnet.data.load import load
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.sections import Data
from ffnet.spec.trial import TrialConfig
from ffnet.training.device_data import DeviceData
from ffnet.training.loop import Report, train
from ffnet.training.steps import loss_of
from ffnet.training.trainer import Trainer, structure

LABELS = np.array([2, 0, 1, 2], np.int32)
SCORES = np.array([[3, -1, 0.5], [0, 0, 0], [40, -40, 2], [-2, 1, 7]], np.float32)


@pytest.fixture(scope="module")
def digits() -> DeviceData:
    return DeviceData(load(Data()))


def config(**training: Any) -> TrialConfig:
    fields = {"batch_size": 100, "learning_rate": 0.1, "steps_per_block": 1, "tiles": False}
    return TrialConfig(
        number=0, net=NetSpec(hidden_sizes=(16,)), epochs=1, seed=0,
        training=Training(**fields | training),
    )  # fmt: skip


def trained(data: DeviceData, of: TrialConfig) -> tuple[Trainer, Report]:
    trainer = Trainer(data, of)
    trainer.initialize(of)
    *_, last = train(trainer, of)
    return trainer, last


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.75])
def test_the_minimised_loss_is_that_of_keras_and_the_reported_one_is_not_smoothed(
    smoothing: float,
) -> None:
    of = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    expected = of(tf.one_hot(LABELS, 3), SCORES)
    loss = loss_of(tf.constant(4), smoothing=tf.constant(smoothing))
    losses, minimised = loss(tf.constant(LABELS), tf.constant(SCORES))
    assert float(minimised) == pytest.approx(float(expected), rel=1e-5)
    plain, mean = loss_of(tf.constant(4))(tf.constant(LABELS), tf.constant(SCORES))
    assert losses.numpy() == pytest.approx(plain.numpy(), rel=1e-6, abs=1e-6)
    assert (float(minimised) == pytest.approx(float(mean), rel=1e-6)) == (smoothing == 0)


def test_the_target_of_three_classes_is_written_out() -> None:
    """One example with scores 1, 0, 0 and label 0: p = e/(e+2), 1/(e+2), 1/(e+2)."""
    scores, smoothing = tf.constant([[1.0, 0.0, 0.0]]), tf.constant(0.3)
    _, found = loss_of(tf.constant(1), smoothing=smoothing)(tf.constant([0]), scores)
    whole = np.log(np.e + 2)
    assert float(found) == pytest.approx(0.8 * (whole - 1) + 2 * 0.1 * whole, rel=1e-6)


def test_an_examples_smoothed_loss_is_multiplied_by_the_weight_of_its_class() -> None:
    weights = np.array([0.5, 2.0, 3.0], np.float32)
    of = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.2, reduction="sum"
    )
    expected = of(tf.one_hot(LABELS, 3), SCORES, sample_weight=weights[LABELS]) / 4
    loss = loss_of(tf.constant(4), weights=tf.constant(weights), smoothing=tf.constant(0.2))
    _, minimised = loss(tf.constant(LABELS), tf.constant(SCORES))
    assert float(minimised) == pytest.approx(float(expected), rel=1e-5)


def test_a_mixed_example_has_the_losses_of_both_labels() -> None:
    """λ · loss of one label + (1 − λ) · loss of the other, with the weight of each class."""
    weights, smoothing = tf.constant([0.5, 2.0, 3.0]), tf.constant(0.2)
    loss = loss_of(tf.constant(4), weights=weights, smoothing=smoothing)
    one, other = tf.constant(LABELS), tf.constant(LABELS[::-1].copy())
    shares = 0.3 * tf.one_hot(one, 3) + 0.7 * tf.one_hot(other, 3)
    losses, minimised = loss(shares, tf.constant(SCORES))
    each = [loss(labels, tf.constant(SCORES)) for labels in (one, other)]
    assert float(minimised) == pytest.approx(float(0.3 * each[0][1] + 0.7 * each[1][1]), rel=1e-6)
    assert losses.numpy() == pytest.approx((0.3 * each[0][0] + 0.7 * each[1][0]).numpy(), rel=1e-6)


def test_a_net_trains_with_it_on_every_path(digits: DeviceData) -> None:
    paths: list[dict[str, Any]] = [{}, {"steps_per_block": 4}, {"tiles": True}]
    plain, *others = (trained(digits, config(label_smoothing=0.4, **path)) for path in paths)
    sharp, before = trained(digits, config())
    for trainer, report in others:
        for one, other in zip(trainer.net.weights, plain[0].net.weights, strict=True):
            assert one.numpy() == pytest.approx(other.numpy(), abs=1e-5)
        assert report.train_loss == pytest.approx(plain[1].train_loss, rel=1e-5)
    assert abs(plain[0].net.weights[0].numpy() - sharp.net.weights[0].numpy()).max() > 1e-2
    assert plain[1].validation.loss > before.validation.loss  # the net is less sure


def test_reported_losses_are_not_smoothed(digits: DeviceData) -> None:
    """With steps of almost nothing, both nets stay the same, and so do all their figures."""
    smoothed, plain = (
        trained(digits, config(learning_rate=1e-30, label_smoothing=share))[1]
        for share in (0.4, 0.0)
    )
    assert smoothed.validation == plain.validation
    assert smoothed.train_loss == pytest.approx(plain.train_loss, rel=1e-6)
    assert smoothed.batch_loss == pytest.approx(plain.batch_loss, rel=1e-6)


def test_trials_share_their_compiled_functions_whatever_the_share_above_0() -> None:
    assert structure(config(label_smoothing=0.1)) == structure(config(label_smoothing=0.2))
    assert structure(config(label_smoothing=0.1)) != structure(config())
