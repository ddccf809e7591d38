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
from ffnet.training.schedules import Settings, falling, learning_rates
from ffnet.training.trainer import Trainer

STEPS = 20
DECAY = 0.1
RATE = 0.05

# --- updates -----------------------------------------------------------------------------------


def rates(training: Training, step: int = 0) -> Rates:
    """The rates of a step, with a learning rate that falls."""
    whole = training.learning_rate / (1 + step), training.momentum or 0.0, training.weight_decay
    others = 1 - (training.average_decay or 0.0), training.clip_norm or 0.0
    return Rates(*(tf.constant(rate, tf.float32) for rate in (*whole, *others)))


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


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adamw", "rmsprop"])
@pytest.mark.parametrize("norm", [0.5, 1e6])
def test_gradients_are_clipped_as_by_keras_global_clipnorm(name: str, norm: float) -> None:
    """Gradients whose common norm is now below, now above the clip, and weight decay after it."""
    fields, make = KERAS[name]
    training = Training(learning_rate=RATE, clip_norm=norm, **fields)
    random = np.random.default_rng(0)
    first = [random.normal(size=shape).astype(np.float32) for shape in ((5, 4), (4,))]
    ours, theirs = [tf.Variable(w) for w in first], [keras.Variable(w) for w in first]
    own, reference = Optimizer(training, ours), make()
    reference.global_clipnorm = norm
    if training.optimizer == "adamw":
        reference.exclude_from_weight_decay(var_list=theirs[1:])
    own.reset()
    sizes = 10.0 ** random.uniform(-2, 1, STEPS)
    for step in range(STEPS):
        drawn = [np.float32(random.normal(size=w.shape) * sizes[step]) for w in first]
        gradients = [tf.constant(each) for each in drawn]
        own.apply(gradients, rates(training, step), tf.constant(step))
        reference.learning_rate = float(rates(training, step).learning_rate)
        reference.apply(gradients, theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert one.numpy() == pytest.approx(other.numpy(), abs=2e-6)


def test_the_norm_of_gradients_is_taken_of_all_and_before_weight_decay() -> None:
    """Norm of (3, 0) and (0, 4): 5. Clipped at 2.5 they are halved; then 0.1 · w is added."""
    weights = [tf.Variable([[10.0, 20.0]]), tf.Variable([0.0, 0.0])]
    training = Training(learning_rate=1.0, weight_decay=0.1, clip_norm=2.5)
    own = Optimizer(training, weights)
    own.apply([tf.constant([[3.0, 0.0]]), tf.constant([0.0, 4.0])], rates(training), tf.constant(0))
    assert weights[0].numpy() == pytest.approx(np.array([[10 - 1.5 - 1, 20 - 2]]))
    assert weights[1].numpy() == pytest.approx(np.array([0, -2]))


def test_a_row_of_learned_vectors_that_a_batch_has_twice_counts_with_its_sum() -> None:
    """Two gradients of 3 for the same row: the norm is 6, not the root of 18."""
    table = tf.Variable([[1.0], [1.0]])
    training = Training(learning_rate=1.0, clip_norm=3.0)
    twice = tf.IndexedSlices(tf.constant([[3.0], [3.0]]), tf.constant([0, 0]), tf.constant([2, 1]))
    Optimizer(training, [table]).apply([twice], rates(training), tf.constant(0))
    assert table.numpy() == pytest.approx(np.array([[1 - 3.0], [1.0]]))


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


def test_one_cycle_rises_from_a_25th_in_three_tenths_and_falls_to_0() -> None:
    """The values at the quarters, thirds and ends of the two half cosines, written out."""
    found = over(10, 6, learning_rate=2.5, schedule="one_cycle")
    assert found[0] == pytest.approx(0.1)
    assert found[6] == pytest.approx(0.1 + 2.4 / 4)  # a third of the rise: (1 − cos 60°) / 2
    assert found[9] == pytest.approx(0.1 + 2.4 / 2)
    assert found[18] == pytest.approx(2.5)
    assert found[32] == pytest.approx(2.5 * 3 / 4)  # a third of the fall: (1 + cos 60°) / 2
    assert found[39] == pytest.approx(1.25)
    assert found[60] == pytest.approx(0, abs=1e-8)
    assert found[:19] == sorted(found[:19])
    assert found[18:] == sorted(found[18:], reverse=True)


def test_one_cycle_is_that_of_pytorch_but_for_its_ends() -> None:
    """PyTorch's rate reaches its ends at the last step, and ends at a 250,000th instead of 0."""
    torch = pytest.importorskip("torch")
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    cycle = torch.optim.lr_scheduler.OneCycleLR(sgd, 2.0, total_steps=2001, final_div_factor=1e12)
    expected = []
    for _ in range(2001):
        expected.append(cycle.get_last_lr()[0])
        sgd.step()
        if len(expected) < 2001:
            cycle.step()
    found = over(20, 100, learning_rate=2.0, schedule="one_cycle")
    assert found == pytest.approx(expected, abs=0.01)


def test_coslog4_rises_and_falls_four_times() -> None:
    """1/2·(1 − cos(2π·log2(1 + 15·t))): 0 where 1 + 15·t is 1, 2, 4, 8 and 16, 1 in between."""
    found = over(15, 1000, learning_rate=0.5, schedule="coslog4")
    assert [found[1000 * (2**i - 1)] for i in range(5)] == pytest.approx([0] * 5, abs=1e-6)
    tops = [found[round(1000 * (2 ** (i + 0.5) - 1))] for i in range(4)]
    assert tops == pytest.approx([0.5] * 4, abs=1e-5)
    quarters = [found[round(1000 * (2 ** (i + 0.25) - 1))] for i in range(4)]
    assert quarters == pytest.approx([0.25] * 4, abs=1e-3)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1, 1, 1, 1, 1, 1, 1]),
        ("cosine", [1, (1 + 3**0.5 / 2) / 2, 3 / 4, 1 / 2, 1 / 4, (1 - 3**0.5 / 2) / 2, 0]),
        ("flat_cosine", [1, 1, 1, 1, 3 / 4, 1 / 4, 0]),
    ],
)
def test_weight_decay_and_dropout_fall_as_their_schedules_say(
    schedule: str, expected: list[float]
) -> None:
    assert falling(schedule, np.arange(7) / 6) == pytest.approx(expected)
    fields: dict[str, Any] = {"weight_decay": 0.5, "weight_decay_schedule": schedule}
    of = trial({"dropout": 0.25, "hidden_sizes": (4, 4)}, dropout_schedule=schedule, **fields)
    found = Settings.of(of, range(7), 2)  # 3 epochs of two steps, and the step after them
    assert found.weight_decays.numpy() == pytest.approx(0.5 * np.array(expected))
    assert found.dropout_rates.numpy() == pytest.approx(0.25 * np.array([expected] * 2).T)


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


@pytest.mark.parametrize("api", ["barebones", "model"])
def test_a_trainer_clips_gradients(digits: DeviceData, api: str) -> None:
    """With clipped gradients of norm 0.01, one step of rate 0.1 moves all weights by 0.001."""
    of = trial({"api": api}, learning_rate=0.1, clip_norm=0.01, batch_size=2000)
    trainer = Trainer(digits, of)
    trainer.initialize(of)
    before = [weight.numpy() for weight in trainer.net.weights]
    next(train(trainer, of))
    moved = [w.numpy() - b for w, b in zip(trainer.net.weights, before, strict=True)]
    assert np.sqrt(sum((m**2).sum() for m in moved)) == pytest.approx(0.001, rel=1e-3)


def test_a_trainer_follows_the_schedule(digits: DeviceData) -> None:
    """A net changes until the learning rate falls to 0, and not afterwards."""
    of = trial(schedule="step", step_epochs=2, step_factor=1e-9, learning_rate=0.1)
    one, two, three = (r.validation.loss for r in reports(Trainer(digits, of), of))
    assert two < 0.95 * one
    assert three == pytest.approx(two, rel=1e-6)


@pytest.mark.parametrize("path", [{"tiles": True}, {}])
def test_a_trainer_follows_the_schedule_of_weight_decay(
    digits: DeviceData, path: dict[str, Any]
) -> None:
    """Weight decay without a schedule whose rate is that of the cosine at each of three epochs."""
    fields = {"weight_decay": 0.3, "learning_rate": 0.01, "batch_size": 2000} | path
    of = trial(weight_decay_schedule="cosine", **fields)
    trainer, other = Trainer(digits, of), Trainer(digits, trial(**fields))
    curve_of = curve(reports(trainer, of))
    other.initialize(of)
    expected = []
    for epoch, share in enumerate((1, 3 / 4, 1 / 4)):  # one step each
        now = trial(**fields | {"weight_decay": 0.3 * share})
        expected += curve(list(train(other, now, after=epoch, points=[epoch + 1])))
    for one, two in zip(curve_of, expected, strict=True):
        assert one == pytest.approx(two, rel=1e-6)
    for a, b in zip(trainer.net.weights, other.net.weights, strict=True):
        assert a.numpy() == pytest.approx(b.numpy(), abs=1e-7)


@pytest.mark.parametrize("api", ["barebones", "model"])
def test_a_trainer_follows_the_schedule_of_dropout(digits: DeviceData, api: str) -> None:
    """As above. The seed and the step decide what is dropped, so both nets drop the same."""
    fields: dict[str, Any] = {"learning_rate": 0.01, "batch_size": 2000}
    of = trial({"api": api, "dropout": 0.6}, dropout_schedule="cosine", **fields)
    trainer = Trainer(digits, of)
    found = curve(reports(trainer, of))
    first = trial({"api": api, "dropout": 0.6}, **fields)
    other = Trainer(digits, first)
    other.initialize(of)
    expected = []
    for epoch, share in enumerate((1, 3 / 4, 1 / 4)):
        now = trial({"api": api, "dropout": 0.6 * share}, **fields)
        expected += curve(list(train(other, now, after=epoch, points=[epoch + 1])))
    for one, two in zip(found, expected, strict=True):
        assert one == pytest.approx(two, rel=1e-6)
    assert curve(reports(other, first)) != expected


def test_blocks_of_steps_follow_the_schedule_and_normalise_and_drop_as_plain_steps(
    digits: DeviceData,
) -> None:
    of = trial(
        {"hidden_sizes": (16, 8), "bias": True, "batch_norm": True, "dropout": 0.3},
        learning_rate=0.1, schedule="cosine", warmup_epochs=1, dropout_schedule="flat_cosine",
        weight_decay=0.1, weight_decay_schedule="cosine",
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
    "clipped gradients": ({"dropout": 0.2}, {"clip_norm": 0.1, "dropout_schedule": "cosine"}),
    "averages": (
        {"batch_norm": True, "hidden_sizes": (16, 8)},
        {"momentum": 0.9, "average_decay": 0.9, "learning_rate": 0.05},
    ),
    "averages in Keras": ({"api": "model", "batch_norm": True}, {"average_decay": 0.9}),
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
