"""Optimisers compared with Keras', schedules compared with formulas, and resumed training."""

import io
import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from ffnet.data.load import load
from ffnet.nets.keras_ways import KerasNet
from ffnet.nets.net import initialize, make_net
from ffnet.run import checkpoints
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.sections import Data
from ffnet.spec.trial import TrialConfig
from ffnet.training.device_data import DeviceData
from ffnet.training.loop import Report, train
from ffnet.training.optimizers import Optimizer, Rates
from ffnet.training.schedules import learning_rates
from ffnet.training.trainer import Trainer

STEPS = 20
DECAY = 0.1
RATE = 0.05

# --- updates -----------------------------------------------------------------------------------


def rates(training: Training, step: int = 0) -> Rates:
    """The rates of a step, with a learning rate that falls."""
    whole = training.learning_rate / (1 + step), training.momentum or 0.0, training.weight_decay
    return Rates(*(tf.constant(rate, tf.float32) for rate in whole))


KERAS: dict[str, tuple[dict[str, Any], Callable[..., keras.Optimizer]]] = {
    "sgd": ({}, keras.optimizers.SGD),
    "momentum": ({"momentum": 0.9}, lambda: keras.optimizers.SGD(momentum=0.9)),
    "nesterov": (
        {"momentum": 0.9, "nesterov": True},
        lambda: keras.optimizers.SGD(momentum=0.9, nesterov=True),
    ),
    "adam": ({"optimizer": "adam"}, keras.optimizers.Adam),
    "adamw": (
        {"optimizer": "adamw", "weight_decay": DECAY},
        lambda: keras.optimizers.AdamW(weight_decay=DECAY),
    ),
    "rmsprop": ({"optimizer": "rmsprop"}, keras.optimizers.RMSprop),
    "rmsprop with momentum": (
        {"optimizer": "rmsprop", "momentum": 0.8},
        lambda: keras.optimizers.RMSprop(momentum=0.8),
    ),
    "sgd with decay": ({"weight_decay": DECAY}, keras.optimizers.SGD),
    "momentum with decay": (
        {"momentum": 0.9, "weight_decay": DECAY},
        lambda: keras.optimizers.SGD(momentum=0.9),
    ),
    "adam with decay": ({"optimizer": "adam", "weight_decay": DECAY}, keras.optimizers.Adam),
    "rmsprop with decay": (
        {"optimizer": "rmsprop", "weight_decay": DECAY},
        keras.optimizers.RMSprop,
    ),
}


@pytest.mark.parametrize("name", KERAS)
def test_updates_are_those_of_keras(name: str) -> None:
    """Update a kernel, which decays, and a bias, which does not, with the same gradients.

    The gradients have many sizes, so that the epsilon in divisions matters too.
    """
    fields, make = KERAS[name]
    training = Training(learning_rate=RATE, **fields)
    random = np.random.default_rng(0)
    first = [random.normal(size=shape).astype(np.float32) for shape in ((5, 4), (4,))]
    sizes = [10.0 ** random.integers(-7, 1, w.shape) for w in first]
    ours, theirs = [tf.Variable(w) for w in first], [keras.Variable(w) for w in first]
    own, reference = Optimizer(training, ours), make()
    if training.optimizer == "adamw":
        reference.exclude_from_weight_decay(var_list=theirs[1:])
    own.reset()
    for step in range(STEPS):
        gradients = [np.float32(random.normal(size=s.shape) * s) for s in sizes]
        own.apply([tf.constant(g) for g in gradients], rates(training, step), tf.constant(step))
        if training.optimizer != "adamw":  # λ/2·‖w‖² in the loss
            gradients[0] += training.weight_decay * theirs[0].numpy()
        reference.learning_rate = float(rates(training, step).learning_rate)
        reference.apply([tf.constant(g) for g in gradients], theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert one.numpy() == pytest.approx(other.numpy(), abs=2e-6)


@pytest.mark.parametrize("api", ["barebones", "sequential"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_only_kernels_decay(optimizer: Any, api: Any) -> None:
    """The gradients are 0, so only weight decay changes a weight."""
    spec = NetSpec(api=api, hidden_sizes=(4,), bias=True, batch_norm=True)
    net = make_net(5, 3, spec)
    initialize(net, 5, 3, spec, seed=0)
    for weight in net.weights:
        weight.assign_add(tf.ones(tf.shape(weight)))  # no bias is 0
    before = [w.numpy() for w in net.weights]
    training = Training(optimizer=optimizer, learning_rate=0.5, weight_decay=DECAY)
    own = Optimizer(training, net.weights)
    own.reset()
    own.apply([tf.zeros(w.shape) for w in before], rates(training), tf.constant(0))
    moved = [(w.numpy() != b).any() for w, b in zip(net.weights, before, strict=True)]
    assert moved == [True, False, False, False, True, False]  # w1, b1, gamma1, beta1, w2, b2
    if optimizer in ("sgd", "adamw"):
        assert net.weights[0].numpy() == pytest.approx(before[0] * (1 - 0.5 * DECAY))


# --- schedules ---------------------------------------------------------------------------------


def over(epochs: int, per_epoch: int, **fields: Any) -> Any:
    """Return the rates of a whole training, and of the step after it, as a list."""
    steps = range(epochs * per_epoch + 1)
    return learning_rates(Training(**fields), steps, per_epoch, epochs).tolist()


def test_a_constant_rate_stays() -> None:
    assert over(2, 3, learning_rate=0.5) == [0.5] * 7


def test_cosine_falls_from_the_rate_by_half_to_0_at_the_end() -> None:
    found = over(4, 3, learning_rate=0.5, schedule="cosine")
    assert found[0] == 0.5
    assert found[3] == pytest.approx(0.25 * (1 + np.sqrt(0.5)))  # a quarter of the way: cos 45°
    assert found[6] == pytest.approx(0.25)
    assert found[12] == pytest.approx(0, abs=1e-8)
    assert found == sorted(found, reverse=True)


def test_steps_fall_by_their_factor_or_a_tenth() -> None:
    step = {"learning_rate": 1.0, "schedule": "step", "step_epochs": 2}
    assert over(6, 2, step_factor=0.5, **step) == [1.0] * 4 + [0.5] * 4 + [0.25] * 4 + [0.125]
    assert over(3, 2, **step) == pytest.approx([1.0] * 4 + [0.1] * 3)


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_steps_of_parts_of_an_epoch_fall_on_time(steps: int) -> None:
    """In floats 0.3 // 0.1 is 2."""
    falls = {"schedule": "step", "step_epochs": steps / 10, "step_factor": 0.5}
    found = over(4, 10, learning_rate=1.0, **falls)
    assert found == [0.5 ** (step // steps) for step in range(41)]


def test_warm_up_rises_in_a_line_and_multiplies_the_schedule() -> None:
    warm = {"learning_rate": 0.5, "warmup_epochs": 1.5}
    assert over(3, 2, **warm) == pytest.approx([0.5 / 3, 1 / 3, 0.5, 0.5, 0.5, 0.5, 0.5])
    cosine = over(3, 2, learning_rate=0.5, schedule="cosine")
    found = over(3, 2, schedule="cosine", **warm)
    assert found == pytest.approx([cosine[0] / 3, 2 * cosine[1] / 3, *cosine[2:]])


def test_rates_of_some_steps_are_those_of_the_whole_training() -> None:
    training = Training(schedule="cosine", warmup_epochs=0.5)
    whole = learning_rates(training, range(40), 10, 4)
    assert (learning_rates(training, range(3, 25), 10, 4) == whole[3:25]).all()


# --- training ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> DeviceData:
    return DeviceData(load(Data()))


def trial(net: dict[str, Any] | None = None, seed: int = 0, **fields: Any) -> TrialConfig:
    return TrialConfig(
        number=0,
        net=NetSpec(**{"hidden_sizes": (16,)} | (net or {})),
        training=Training(**{"batch_size": 100} | fields),
        epochs=3,
        seed=seed,
    )


def reports(trainer: Trainer, of: TrialConfig) -> list[Report]:
    trainer.initialize(of)
    return list(train(trainer, of))


def curve(of: list[Report]) -> list[tuple[int, float, float]]:
    return [(r.step, r.train_loss, r.validation.loss) for r in of]


@pytest.mark.parametrize(
    ("fields", "keras_own"),
    [
        (
            {"optimizer": "adamw", "weight_decay": DECAY, "schedule": "cosine"},
            lambda: keras.optimizers.AdamW(weight_decay=DECAY),
        ),
        (
            {"momentum": 0.9, "nesterov": True, "warmup_epochs": 2},
            lambda: keras.optimizers.SGD(momentum=0.9, nesterov=True),
        ),
    ],
    ids=["adamw", "nesterov"],
)
def test_a_trainer_trains_as_a_loop_over_keras_optimizers_does(
    digits: DeviceData, fields: dict[str, Any], keras_own: Callable[[], keras.Optimizer]
) -> None:
    """The last batch of an epoch is short; its summed loss is divided by the whole batch size."""
    of = trial({"api": "sequential"}, learning_rate=0.01, **fields)
    run = reports(Trainer(digits, of), of)
    net = make_net(digits.features, digits.classes, of.net)
    assert isinstance(net, KerasNet)
    initialize(net, digits.features, digits.classes, of.net, of.seed)
    optimizer, (x, y) = keras_own(), digits.train
    starts = range(0, len(y), 100)
    rate = iter(learning_rates(of.training, range(3 * len(starts)), len(starts), 3))
    for epoch, report in enumerate(run):
        order = tf.random.experimental.stateless_shuffle(tf.range(len(y)), seed=(of.seed, epoch))
        total = 0.0
        for start in starts:
            index = order[start : start + 100]
            with tf.GradientTape() as tape:
                scores = net.scores(digits.normalize(tf.gather(x, index)), training=True)
                losses = keras.losses.sparse_categorical_crossentropy(
                    tf.gather(y, index), scores, from_logits=True
                )
                objective = tf.reduce_sum(losses) / 100
            optimizer.learning_rate = float(next(rate))
            optimizer.apply(tape.gradient(objective, net.weights), net.model.trainable_variables)
            total += float(tf.reduce_sum(losses))
        assert report.train_loss == pytest.approx(total / len(y), rel=1e-4)


def test_a_trainer_follows_the_schedule(digits: DeviceData) -> None:
    """A net changes until the learning rate falls to 0, and not afterwards."""
    of = trial(schedule="step", step_epochs=2, step_factor=1e-9, learning_rate=0.1)
    one, two, three = (r.validation.loss for r in reports(Trainer(digits, of), of))
    assert two < 0.95 * one
    assert three == pytest.approx(two, rel=1e-6)


def test_blocks_of_steps_follow_the_schedule_and_normalise_and_drop_as_plain_steps(
    digits: DeviceData,
) -> None:
    of = trial(
        {"hidden_sizes": (16, 8), "bias": True, "batch_norm": True, "dropout": 0.3},
        learning_rate=0.1, schedule="cosine", warmup_epochs=1,
    )  # fmt: skip
    trainer = Trainer(digits, of)
    plain = reports(trainer, of)
    blocked = reports(trainer, of.on_path({"steps_per_block": 4}))
    for one, other in zip(blocked, plain, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-4)
        assert one.validation.loss == pytest.approx(other.validation.loss, rel=1e-3)
    assert trainer._steps.blocks_of_4.experimental_get_tracing_count() == 1


REMEMBERING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "momentum": ({}, {"momentum": 0.9, "learning_rate": 0.05}),
    "adam, batch_norm, dropout": (
        {"batch_norm": True, "bias": True, "dropout": 0.2},
        {"optimizer": "adam", "schedule": "cosine"},
    ),
    "rmsprop with momentum": ({}, {"optimizer": "rmsprop", "momentum": 0.9}),
    "adamw in Keras": (
        {"api": "functional", "batch_norm": True},
        {"optimizer": "adamw", "weight_decay": 0.1},
    ),
}


@pytest.mark.parametrize("name", REMEMBERING)
def test_training_resumed_from_a_checkpoint_goes_on_as_if_never_stopped(
    digits: DeviceData, name: str
) -> None:
    net, training = REMEMBERING[name]
    of = trial(net, report_steps=10, **training)
    trainer = Trainer(digits, of)
    whole = curve(reports(trainer, of))
    trainer.initialize(of)
    begun = curve(list(itertools.islice(train(trainer, of), 2)))
    file = io.BytesIO()
    checkpoints.write(file, 20, [], trainer.variables)
    reports(trainer, trial(net, seed=99, **training))  # another trial has the net meanwhile
    saved = checkpoints.parse(file.getvalue())
    saved.assign(trainer.variables)
    assert (saved.step, saved.reports) == (20, [])
    assert begun + curve(list(train(trainer, of, after=saved.step))) == whole


@pytest.mark.parametrize("name", REMEMBERING)
def test_a_trial_does_not_inherit_what_the_one_before_it_left(
    digits: DeviceData, name: str
) -> None:
    net, training = REMEMBERING[name]
    trainer = Trainer(digits, trial(net, **training))
    first = curve(reports(trainer, trial(net, **training)))
    reports(trainer, trial(net, seed=99, **training))
    assert curve(reports(trainer, trial(net, **training))) == first


def test_a_checkpoint_may_be_read_for_its_net_alone(digits: DeviceData) -> None:
    of = trial({"batch_norm": True}, optimizer="adam")
    trainer = Trainer(digits, of)
    *_, last = reports(trainer, of)
    file = io.BytesIO()
    checkpoints.write(file, last.step, [], trainer.variables)
    other = Trainer(digits, trial({"batch_norm": True}))  # sgd: no slots
    other.initialize(of)
    saved = checkpoints.parse(file.getvalue())
    saved.assign(other.variables)
    assert (saved.step, saved.reports) == (last.step, [])
    assert other.evaluate(digits.validation) == last.validation
