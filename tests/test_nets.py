"""Nets: the neurons, first weights, the four ways of writing a net, gradients."""

import functools
import math
import typing
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from ffnet.data.load import load
from ffnet.nets import neurons
from ffnet.nets.barebones import BarebonesNet
from ffnet.nets.initializers import SCHEMES, initial
from ffnet.nets.keras_ways import FeedForward, KerasNet
from ffnet.nets.net import NORM_EPSILON, NORM_MOMENTUM, Dropout, Net, initialize, make_net
from ffnet.spec.field_types import Activation
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.sections import Data
from ffnet.spec.trial import TrialConfig
from ffnet.training.device_data import DeviceData
from ffnet.training.gradient_check import gradient_check
from ffnet.training.loop import Report, train
from ffnet.training.trainer import Trainer, structure

APIS = ("barebones", "functional", "model", "sequential")
KERAS_APIS = APIS[1:]
ACTIVATIONS = typing.get_args(typing.get_args(Activation)[0])
FEATURES, CLASSES = 6, 3

SPECS = [
    {"hidden_sizes": []},
    {"hidden_sizes": [7], "bias": True},
    {"hidden_sizes": [7, 5], "batch_norm": True, "dropout": 0.3, "activation": "tanh"},
    {"hidden_sizes": [7, 5, 4], "bias": True, "batch_norm": True, "dropout": [0.1, 0.0, 0.5]},
    {"hidden_sizes": [7, 7, 5], "layer_norm": True, "residual": True, "dropout": 0.3},
    {"hidden_sizes": [6, 6, 6], "batch_norm": True, "residual": True, "activation": "tanh"},
    {"hidden_sizes": [7, 5, 5], "bottleneck": 3, "residual": True, "activation": "gelu"},
]

# --- neurons -----------------------------------------------------------------------------------


def test_a_perceptron_computes_nand() -> None:
    inputs = [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert neurons.perceptron(inputs, w=(-2, -2), b=3).tolist() == [1, 1, 1, 0]


def test_a_threshold_gives_0_at_0() -> None:
    assert neurons.threshold([-1e-9, 0.0, 1e-9]).tolist() == [0, 0, 1]


def test_sigmoid_does_not_overflow_and_is_the_formula_in_the_middle() -> None:
    assert neurons.sigmoid([-1e4, 1e4]).tolist() == [0, 1]
    z = np.linspace(-30, 30, 121)
    assert neurons.sigmoid(z) == pytest.approx(1 / (1 + np.exp(-z)), rel=1e-14)


def test_relu_is_0_below_0_and_z_above() -> None:
    assert neurons.relu([[-2.0, -1e-9], [0.0, 3.5]]).tolist() == [[0, 0], [0, 3.5]]


def test_one_neuron_drops_the_last_axis_and_a_layer_replaces_it() -> None:
    x, w = np.ones((5, 4, 3)), np.arange(6.0).reshape(3, 2)
    assert neurons.affine(x, w[:, 0], 1).shape == (5, 4)
    layer = neurons.affine(x, w, [1, -1])
    assert layer.shape == (5, 4, 2)
    assert layer[0, 0].tolist() == [0 + 2 + 4 + 1, 1 + 3 + 5 - 1]


def test_a_neuron_is_its_activation_of_the_affine_function() -> None:
    x, w, b = [[1.0, 2.0], [-3.0, 0.5]], [0.5, -1.0], 0.25  # z = -1.25 and -1.75
    assert neurons.logistic(x, w, b) == pytest.approx([0.22270014, 0.14804720])
    assert neurons.rectified_linear(x, w, b).tolist() == [0, 0]
    assert neurons.rectified_linear(x, [-0.5, 1.0], -b).tolist() == [1.25, 1.75]


@pytest.mark.parametrize("name", ["relu", "sigmoid"])
def test_nets_have_the_same_activations(name: str) -> None:
    z = np.linspace(-9, 9, 37)
    assert getattr(neurons, name)(z) == pytest.approx(
        keras.activations.get(name)(tf.constant(z)).numpy(), abs=1e-12
    )


# --- first weights -----------------------------------------------------------------------------

SHAPES = [(1000, 500), (5, 5, 40, 500)]  # both have a fan in of 1000
FAN_OUT = {2: 500, 4: 5 * 5 * 500}


def deviation(name: str, shape: Sequence[int]) -> float:
    """Return the deviation from the literature for a fan in of 1000."""
    variances = {
        "kaiming": 2 / 1000,
        "variance": 2 / 1000,
        "lecun": 1 / 1000,
        "fitted": 1 / 1000,  # of a linear activation
        "glorot": 2 / (1000 + FAN_OUT[len(shape)]),
    }
    return math.sqrt(variances[name.split("_")[0]])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", SCHEMES)
def test_deviation_of_first_weights_is_the_schemes(name: str, shape: tuple[int, ...]) -> None:
    sample = initial(name, shape, seed=(0, 0)).numpy()
    assert sample.shape == shape
    assert sample.std() == pytest.approx(deviation(name, shape), rel=0.02)
    assert abs(sample.mean()) < 0.02 * sample.std()


@pytest.mark.parametrize("name", SCHEMES)
def test_distribution_of_first_weights_is_the_schemes(name: str) -> None:
    """The largest of half a million numbers, in deviations, shows which distribution it is."""
    largest = np.abs(initial(name, SHAPES[0], seed=(0, 0)).numpy()).max() / deviation(
        name, SHAPES[0]
    )
    if name in ("kaiming_normal", "fitted"):
        assert 4 < largest < 7
    else:  # a uniform distribution ends at √3; a normal one cut at ±2 has a deviation of 0.87963
        end = math.sqrt(3) if name.endswith("uniform") else 2 / 0.8796256610342398
        assert 0.999 * end < largest < 1.0001 * end


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        (
            "kaiming_normal",
            keras.initializers.VarianceScaling(2, "fan_in", "untruncated_normal", seed=0),
        ),
        ("kaiming_uniform", keras.initializers.HeUniform(seed=0)),
        ("variance_scaling", keras.initializers.VarianceScaling(2.0, seed=0)),
        ("glorot_normal", keras.initializers.GlorotNormal(seed=0)),
        ("glorot_uniform", keras.initializers.GlorotUniform(seed=0)),
        ("lecun_normal", keras.initializers.LecunNormal(seed=0)),
    ],
)
def test_first_weights_have_the_variance_of_keras_own(
    name: str, theirs: keras.Initializer, shape: tuple[int, ...]
) -> None:
    ours = initial(name, shape, seed=(0, 0)).numpy()
    assert ours.var() == pytest.approx(theirs(shape).numpy().var(), rel=0.02)


@pytest.mark.parametrize("name", SCHEMES)
def test_first_weights_follow_the_seed_alone_and_other_ranks_are_refused(name: str) -> None:
    first = initial(name, (4, 3), (1, 2)).numpy()
    assert (initial(name, (4, 3), (1, 2)).numpy() == first).all()
    assert (initial(name, (4, 3), (1, 3)).numpy() != first).all()
    with pytest.raises(ValueError, match=rf"{name} needs .* rank 2 or 4. Given: \(4, 3, 2\)"):
        initial(name, (4, 3, 2), (1, 2))


# --- four ways of writing a net ----------------------------------------------------------------


def made(spec: NetSpec, features: int = FEATURES, dtype: tf.DType = tf.float32) -> Net:
    """Make a net with random numbers in every variable, the same for every api."""
    net = make_net(features, CLASSES, spec, dtype)
    initialize(net, features, CLASSES, spec, seed=0)
    random = np.random.default_rng(0)
    for variable in net.weights:
        variable.assign(random.normal(size=variable.numpy().shape))
    for variable in net.state:
        variable.assign(random.uniform(0.5, 1.5, variable.numpy().shape))
    net.dropout.rates.assign(spec.dropout_rates)
    return net


def examples(dtype: type = np.float32) -> Any:
    return np.random.default_rng(1).normal(size=(20, FEATURES)).astype(dtype)


@pytest.mark.parametrize("api", APIS)
def test_before_training_biases_are_0_and_normalisation_changes_nothing(api: Any) -> None:
    spec = NetSpec(api=api, hidden_sizes=(7,), bias=True, batch_norm=True)
    net = made(spec)  # an earlier trial has left other values
    initialize(net, FEATURES, CLASSES, spec, seed=0)
    w1, b1, gamma, beta, w2, b2 = (v.numpy() for v in net.weights)
    mean, variance = (v.numpy() for v in net.state)
    assert not any(np.any(zero) for zero in (b1, beta, b2, mean))
    assert all(np.all(one == 1) for one in (gamma, variance))
    assert all(np.all(w != 0) for w in (w1, w2))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("api", KERAS_APIS)
@pytest.mark.parametrize("fields", SPECS)
def test_with_the_same_weights_the_four_ways_give_the_same_scores(
    fields: dict[str, Any], api: Any, training: bool
) -> None:
    plain, other = (made(NetSpec(api=way, **fields)) for way in ("barebones", api))
    scores = []
    for net in (plain, other):
        net.dropout.begin_step(3, 5)
        scores.append(net.scores(examples(), training).numpy())
    assert scores[1] == pytest.approx(scores[0], abs=1e-5)
    for one, two in zip(plain.state, other.state, strict=True):
        assert two.numpy() == pytest.approx(one.numpy(), abs=1e-6)


@pytest.mark.parametrize("api", KERAS_APIS)
def test_float64_nets_do_not_round_their_inputs(api: Any) -> None:
    spec = NetSpec(hidden_sizes=(7,))
    expected = made(spec, dtype=tf.float64).scores(examples(np.float64)).numpy()
    net = made(spec.model_copy(update={"api": api}), dtype=tf.float64)
    assert net.scores(examples(np.float64)).numpy() == pytest.approx(expected, abs=1e-12)


def test_each_way_is_what_it_says() -> None:
    nets = {api: make_net(FEATURES, CLASSES, NetSpec(api=api)) for api in APIS}
    assert isinstance(nets["barebones"], BarebonesNet)
    models = {api: net.model for api, net in nets.items() if isinstance(net, KerasNet)}
    assert set(models) == set(KERAS_APIS)
    assert isinstance(models["sequential"], keras.Sequential)
    assert type(models["model"]) is FeedForward
    assert FeedForward.__bases__ == (keras.Model,)
    x = keras.Input((2,))  # with input and output, keras.Model returns another class
    assert type(models["functional"]) is type(keras.Model(x, x)) is not keras.Model


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_works_in_every_way(name: Any, api: Any) -> None:
    """With identity weights, the scores are the hidden layer's outputs."""
    spec = NetSpec(api=api, hidden_sizes=(CLASSES,), activation=name, bias=False)
    net = make_net(CLASSES, CLASSES, spec)
    for kernel in net.weights:
        kernel.assign(tf.eye(CLASSES))
    x = np.linspace(-8, 8, 99, dtype=np.float32).reshape(-1, CLASSES)
    expected = keras.activations.get(name)(tf.constant(x)).numpy()
    assert net.scores(x).numpy() == pytest.approx(expected, abs=1e-6)


# --- dropout and batch normalisation -----------------------------------------------------------

WIDE = 400


def identity(api: Any, rates: tuple[float, ...]) -> Net:
    """Make a net whose scores are its inputs, except for dropout."""
    sizes = (WIDE,) * len(rates)
    spec = NetSpec(api=api, hidden_sizes=sizes, activation="linear", dropout=rates, bias=False)
    net = make_net(WIDE, WIDE, spec)
    for kernel in net.weights:
        kernel.assign(tf.eye(WIDE))
    net.dropout.rates.assign(rates)
    net.dropout.begin_step(0, 0)
    return net


@pytest.mark.parametrize("api", APIS)
def test_dropout_is_on_while_training_and_off_otherwise(api: Any) -> None:
    net, ones = identity(api, (0.3,)), np.ones((50, WIDE), np.float32)
    assert (net.scores(ones).numpy() == 1).all()
    dropped = net.scores(ones, training=True).numpy()
    assert (dropped == 0).mean() == pytest.approx(0.3, abs=0.015)  # 4.6 deviations of 20,000 draws
    rate = int(0.3 * 2**16) / 2**16
    assert dropped[dropped != 0] == pytest.approx(1 / (1 - rate))


@pytest.mark.parametrize("api", APIS)
def test_each_layer_drops_others_at_its_own_rate(api: Any) -> None:
    net, ones = identity(api, (0.5, 0.0, 0.5)), np.ones((50, WIDE), np.float32)
    dropped = net.scores(ones, training=True).numpy()
    assert (dropped == 0).mean() == pytest.approx(1 - 0.5 * 0.5, abs=0.015)
    assert dropped[dropped != 0] == pytest.approx(4)


def test_what_is_dropped_follows_from_seed_and_step_alone() -> None:
    dropout, ones = Dropout(1), tf.ones((50, WIDE))
    dropout.rates.assign([0.5])

    def kept(seed: int, step: int) -> Any:
        dropout.begin_step(seed, step)
        return dropout.drop(ones, 0).numpy() > 0

    first = kept(1, 7)
    for other in (kept(1, 8), kept(2, 7)):
        assert (first == other).mean() == pytest.approx(0.5, abs=0.02)
    assert (kept(1, 7) == first).all()


@pytest.mark.parametrize("api", APIS)
def test_batch_normalisation_uses_the_batch_in_training_and_moving_statistics_otherwise(
    api: Any,
) -> None:
    net = made(NetSpec(api=api, hidden_sizes=(7,), batch_norm=True, bias=True, activation="tanh"))
    w1, b1, gamma, beta, w2, b2 = (v.numpy() for v in net.weights)
    before = [v.numpy() for v in net.state]
    z = examples() @ w1 + b1

    def expected(mean: Any, variance: Any) -> Any:
        normal = (z - mean) / np.sqrt(variance + NORM_EPSILON)
        return np.tanh(normal * gamma + beta) @ w2 + b2

    batch = z.mean(axis=0), z.var(axis=0)
    assert net.scores(examples()).numpy() == pytest.approx(expected(*before), abs=1e-5)
    assert all((v.numpy() == b).all() for v, b in zip(net.state, before, strict=True))
    trained = net.scores(examples(), training=True).numpy()
    assert trained == pytest.approx(expected(*batch), abs=1e-5)
    for moved, old, new in zip(net.state, before, batch, strict=True):
        mixed = NORM_MOMENTUM * old + (1 - NORM_MOMENTUM) * new
        assert moved.numpy() == pytest.approx(mixed, abs=1e-5)


# --- training in the four ways -----------------------------------------------------------------


@functools.cache
def digits() -> DeviceData:
    return DeviceData(load(Data()))


_TRAINERS: dict[Any, Trainer] = {}  # a Trainer for each structure: they are slow to make


def trainer_for(of: TrialConfig) -> Trainer:
    if structure(of) not in _TRAINERS:
        _TRAINERS[structure(of)] = Trainer(digits(), of)
    return _TRAINERS[structure(of)]


def trial(api: Any, epochs: int = 3, seed: int = 0, **fields: Any) -> TrialConfig:
    net = {"hidden_sizes": (16, 8), "bias": True, "dropout": 0.2, "activation": "tanh"}
    net |= {name: fields.pop(name) for name in fields.keys() & NetSpec.model_fields.keys()}
    return TrialConfig(
        number=0,
        net=NetSpec(api=api, **net),
        training=Training(**{"batch_size": 64} | fields),
        epochs=epochs,
        seed=seed,
    )


def reports(of: TrialConfig) -> list[Report]:
    trainer = trainer_for(of)
    trainer.initialize(of)
    return list(train(trainer, of))


TRAININGS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "sgd", "learning_rate": 0.1},
    "nesterov": {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3, "learning_rate": 0.05},
    "adam": {"optimizer": "adam", "learning_rate": 0.003},
    "adamw": {"optimizer": "adamw", "learning_rate": 0.003, "weight_decay": 0.1},
    "rmsprop": {"optimizer": "rmsprop", "learning_rate": 0.001, "momentum": 0.5},
    # Without bias: its gradient would be rounding errors only, and Adam would scale them up.
    "batch_norm": {"optimizer": "adam", "batch_norm": True, "bias": False},
}


@functools.cache
def barebones_curve(name: str) -> list[Report]:
    return reports(trial("barebones", **TRAININGS[name]))


CURVES = [
    pytest.param(name, api, marks=[] if i % 3 == j else [pytest.mark.slow])
    for i, name in enumerate(TRAININGS)
    for j, api in enumerate(KERAS_APIS)
]
"""All pairs. The quick pairs have each optimiser once and each api twice."""


@pytest.mark.parametrize(("name", "api"), CURVES)
def test_the_four_ways_train_to_the_same_curve(name: str, api: Any) -> None:
    run = reports(trial(api, **TRAININGS[name]))
    assert len(run) == 3
    for one, other in zip(run, barebones_curve(name), strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, abs=1e-5)
        assert one.validation.loss == pytest.approx(other.validation.loss, abs=1e-5)
    assert run[-1].train_loss < 0.8 * run[0].train_loss


@pytest.mark.parametrize("api", APIS)
def test_rates_seeds_and_batch_sizes_are_not_traced_again(api: Any) -> None:
    for change in (
        {"learning_rate": 0.02, "dropout": 0.5, "batch_size": 100},
        {"momentum": 0.5, "weight_decay": 0.1, "schedule": "cosine", "seed": 7},
        {"dropout": (0.1, 0.3), "warmup_epochs": 0.5, "epochs": 1},
        {"initializer": "glorot_uniform"},
    ):
        of = trial(api, **TRAININGS["nesterov"] | change)
        assert len(reports(of)) == of.epochs
    trainer = trainer_for(of)
    assert trainer._steps.plain.experimental_get_tracing_count() == 1
    assert trainer._evaluate.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("api", APIS)
def test_a_trainer_drops_while_training_and_not_while_evaluating(api: Any) -> None:
    of = trial(api, epochs=1, **TRAININGS["nesterov"])
    (run,) = reports(of)
    trainer = trainer_for(of)
    assert trainer.evaluate(trainer.data.validation) == run.validation
    trainer.net.dropout.rates.assign([0.0, 0.0])
    assert trainer.evaluate(trainer.data.validation) == run.validation
    (other,) = reports(trial(api, epochs=1, **TRAININGS["nesterov"] | {"dropout": (0.2, 0.0)}))
    assert other.train_loss != run.train_loss


# --- gradients ---------------------------------------------------------------------------------


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("fields", SPECS)
def test_automatic_gradients_are_the_numerical_ones(fields: dict[str, Any], api: Any) -> None:
    errors = gradient_check(NetSpec(api=api, **fields), most=4)
    assert max(errors.values()) < 1e-6, errors


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_of_every_activation_are_right(name: Any) -> None:
    errors = gradient_check(NetSpec(hidden_sizes=(5, 4), activation=name, bias=True), most=5)
    assert list(errors) == ["w1", "b1", "w2", "b2", "w3", "b3"]
    assert max(errors.values()) < 1e-6, errors


def test_a_wrong_gradient_of_an_activation_is_found_where_it_matters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def wrong(x: tf.Tensor) -> Any:
        return tf.tanh(x), lambda upstream: 1.01 * upstream * (1 - tf.tanh(x) ** 2)

    monkeypatch.setattr(keras.activations, "get", lambda _: wrong)
    errors = gradient_check(NetSpec(hidden_sizes=(5, 4)), most=10)
    assert errors["w1"] == pytest.approx(0.02 / 2.02, rel=0.05)  # through two activations
    assert errors["w2"] == pytest.approx(0.01 / 2.01, rel=0.05)
    assert errors["w3"] < 1e-6


def test_batch_statistics_taken_for_constants_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = tf.nn.moments
    monkeypatch.setattr(
        tf.nn, "moments", lambda *a, **k: [tf.stop_gradient(m) for m in moments(*a, **k)]
    )
    errors = gradient_check(NetSpec(hidden_sizes=(5,), batch_norm=True), most=10)
    assert errors["w1"] > 0.01
    assert max(errors["gamma1"], errors["beta1"], errors["w2"]) < 1e-6
