"""What a net may have between its layers, with answers that are known beforehand."""

import math
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from ffnet.data.load import load
from ffnet.errors import InputError
from ffnet.nets.initializers import GAINS, initial
from ffnet.nets.net import Net, initialize, make_net
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.sections import Data
from ffnet.spec.trial import TrialConfig
from ffnet.training.device_data import DeviceData
from ffnet.training.loop import train
from ffnet.training.trainer import Trainer, structure

APIS = ("barebones", "functional", "model", "sequential")


def with_weights(spec: NetSpec, *values: Any) -> Net:
    """Make a net with given weights. The first and the last one are kernels."""
    features, classes = np.shape(values[0])[0], np.shape(values[-1])[-1]
    net = make_net(features, classes, spec)
    for weight, value in zip(net.weights, values, strict=True):
        weight.assign(np.array(value, np.float32))
    return net


def config(epochs: int = 1, net: dict[str, Any] | None = None, **training: Any) -> TrialConfig:
    of = {"net": NetSpec(**net or {}), "training": Training(**training)}
    return TrialConfig(number=0, epochs=epochs, seed=0, **of)


def digits() -> DeviceData:
    return DeviceData(load(Data()))


# --- layer normalisation -----------------------------------------------------------------------


@pytest.mark.parametrize("api", APIS)
def test_layer_norm_is_keras_layer_normalization_of_each_example(api: Any) -> None:
    spec = NetSpec(
        api=api, hidden_sizes=(6,), activation="linear", layer_norm=True, bias=False, dropout=0.0
    )
    gamma, beta = np.linspace(0.5, 2, 6), np.linspace(-1, 1, 6)
    net = with_weights(spec, np.eye(6), gamma, beta, np.eye(6))
    x = (3 + 2 * np.random.default_rng(0).normal(size=(9, 6))).astype(np.float32)
    theirs = keras.layers.LayerNormalization()
    theirs.build(x.shape)
    theirs.set_weights([gamma, beta])
    for training in (False, True):
        assert net.scores(x, training).numpy() == pytest.approx(theirs(x).numpy(), abs=2e-5)
    mean, variance = x.mean(1, keepdims=True), x.var(1, keepdims=True)
    by_hand = (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    assert net.scores(x).numpy() == pytest.approx(by_hand, abs=2e-5)
    assert net.state == []


def test_an_example_alone_is_normalised_as_among_others() -> None:
    spec = NetSpec(hidden_sizes=(6,), layer_norm=True, bias=False)
    net = with_weights(spec, np.eye(6), np.ones(6), np.zeros(6), np.eye(6))
    x = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    alone = np.concatenate([net.scores(x[i : i + 1], training=True).numpy() for i in range(5)])
    assert alone == pytest.approx(net.scores(x, training=True).numpy(), abs=1e-6)


# --- residual layers ---------------------------------------------------------------------------


@pytest.mark.parametrize("api", APIS)
def test_a_residual_net_gives_the_numbers_worked_out_by_hand(api: Any) -> None:
    """x = (1, 2) → (1, 2, 0) → (1, 0, 3) + (1, 2, 0) = (2, 2, 3) → (4, 0), which adds nothing."""
    spec = NetSpec(api=api, hidden_sizes=(3, 3, 2), residual=True, bias=False)
    assert spec.adds_input == (False, True, False)
    net = with_weights(
        spec,
        [[1, 0, 0], [0, 1, -1]],
        [[1, 0, -1], [0, -1, 2], [5, 5, 5]],
        [[1, -1], [1, -1], [0, 1]],
        [[1, 2], [3, 4]],
    )
    assert net.scores(np.array([[1, 2]], np.float32)).numpy().tolist() == [[4, 8]]


@pytest.mark.parametrize("api", APIS)
def test_a_residual_layer_that_drops_nearly_all_passes_its_input_on(api: Any) -> None:
    spec = NetSpec(
        api=api, hidden_sizes=(50, 50), residual=True, bias=False, dropout=(0.0, 0.9),
        activation="linear",
    )  # fmt: skip
    net = with_weights(spec, np.eye(50), np.eye(50), np.eye(50))
    net.dropout.rates.assign(spec.dropout_rates)
    net.dropout.begin_step(0, 0)
    got = net.scores(np.ones((40, 50), np.float32), training=True).numpy()
    assert (got == 1).mean() == pytest.approx(0.9, abs=0.03)  # x + 0
    assert got[got != 1] == pytest.approx(11, rel=1e-3)  # x + x / 0.1


def test_where_layers_add_their_input_is_part_of_the_structure_and_widths_are_not() -> None:
    def of(*sizes: int, residual: bool = True) -> Any:
        return structure(config(net={"hidden_sizes": sizes, "residual": residual}))

    assert of(8, 8, 8) == of(64, 64, 64) != of(8, 8, 4) == of(32, 32, 7)
    assert of(8, 4, residual=False) == of(8, 8, residual=False) != of(8, 8)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ({"layer_norm": True, "batch_norm": True}, "two normalisations of the same layers"),
        ({"layer_norm": True, "hidden_sizes": []}, "layer_norm needs a hidden layer"),
        ({"layer_norm": True, "hidden_sizes": [8, 1]}, "two neurons or more"),
        ({"residual": True, "hidden_sizes": [8]}, "same width, e.g. [256, 256]"),
        ({"residual": True, "hidden_sizes": [8, 4, 8]}, "Given: hidden_sizes [8, 4, 8]"),
    ],
)
def test_parts_without_effect_are_refused(net: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        config(net=net)
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


# --- initial weights that fit the activation ---------------------------------------------------


def size_of(values: npt.NDArray[Any]) -> float:
    return float((values.astype(float) ** 2).mean())


@pytest.mark.parametrize("name", GAINS)
def test_each_gain_is_what_the_rule_of_he_gives_for_the_activation(name: Any) -> None:
    z = np.linspace(-12, 12, 24_001)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    outputs = keras.activations.get(name)(tf.constant(z)).numpy()
    gain = 1 / math.sqrt(np.sum(outputs**2 * density) * (z[1] - z[0]))
    assert GAINS[name] == pytest.approx(gain, rel=0.05 if name == "tanh" else 1e-3)


@pytest.mark.parametrize("name", GAINS)
def test_fitted_weights_keep_the_size_of_a_layers_products(name: Any) -> None:
    activation = keras.activations.get(name)
    z = np.random.default_rng(0).normal(size=(100, 500)).astype(np.float32)
    for layer in range(6):
        kernel = initial("fitted", (500, 500), (0, layer), name)
        z = tf.matmul(activation(tf.constant(z)), kernel).numpy()
    assert size_of(z) == pytest.approx(1.2 if name == "tanh" else 1, rel=0.15)


def test_fitted_weights_of_a_relu_net_are_kaimings_to_the_bit() -> None:
    fitted, kaiming = (initial(n, (30, 20), (1, 2), "relu") for n in ("fitted", "kaiming_normal"))
    assert (fitted.numpy() == kaiming.numpy()).all()


# --- bottlenecks -------------------------------------------------------------------------------


@pytest.mark.parametrize("api", APIS)
def test_a_bottleneck_is_a_linear_layer_between_two_hidden_layers(api: Any) -> None:
    """(3,) → relu (3, 0) → 1·3 + 0 = 3 → relu (3, -3) = (3, 0), to which (3, 0) is added."""
    spec = NetSpec(api=api, hidden_sizes=(2, 2), bottleneck=1, residual=True, bias=False)
    net = with_weights(spec, [[1, -1]], [[1], [9]], [[1, -1]], [[1, 2], [3, 4]])
    assert net.scores(np.array([[3]], np.float32)).numpy().tolist() == [[6, 12]]


def test_weights_around_a_bottleneck_keep_the_size_of_the_products() -> None:
    """Before the bottleneck stands an activation, after it none."""
    spec = NetSpec(hidden_sizes=(500,) * 4, bottleneck=500, bias=False)
    for initializer in ("kaiming_normal", "fitted"):
        of = spec.model_copy(update={"initializer": initializer})
        net = make_net(500, 500, of)
        initialize(net, 500, 500, of, 0)
        x = np.random.default_rng(0).normal(size=(100, 500)).astype(np.float32)
        assert size_of(net.scores(x).numpy()) == pytest.approx(2, rel=0.3)  # the first layer: 2


def test_a_barebones_bottleneck_of_another_width_needs_no_new_trace() -> None:
    eight, four, none, keras = (
        structure(config(net={"hidden_sizes": (6, 6), "bottleneck": n, "api": api}))
        for n, api in ((8, "barebones"), (4, "barebones"), (0, "barebones"), (8, "model"))
    )
    assert eight == four != none
    assert keras != structure(config(net={"hidden_sizes": (6, 6), "bottleneck": 4, "api": "model"}))


def test_a_bottleneck_needs_two_hidden_layers() -> None:
    with pytest.raises(
        InputError, match=r"two of them or more, .* Given: bottleneck 8, hidden_sizes"
    ):
        config(net={"hidden_sizes": [64], "bottleneck": 8})


@pytest.mark.parametrize("path", [{"steps_per_block": 4}, {"tiles": True}])
def test_parts_behind_the_first_layer_train_in_blocks_and_tiles(path: dict[str, Any]) -> None:
    net = {"hidden_sizes": (64, 64), "residual": True, "layer_norm": True, "bottleneck": 8}
    of = config(2, net, batch_size=32, learning_rate=0.1, steps_per_block=1, tiles=False)
    curves = []
    for each in (of, of.on_path({"steps_per_block": 1, "tiles": False} | path)):
        trainer = Trainer(digits(), each)
        trainer.initialize(each)
        curves.append([(r.train_loss, r.validation.loss) for r in train(trainer, each)])
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-4)
    assert curves[0][1][0] < 0.8 * curves[0][0][0]
