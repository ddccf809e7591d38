"""average_decay: what is evaluated, kept and exported is the moving average of the weights."""

import io
from typing import Any

import pytest

from ffnet.data.load import load
from ffnet.nets.inputs import Inputs
from ffnet.run import checkpoints
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.sections import Data
from ffnet.spec.trial import TrialConfig
from ffnet.training import memory
from ffnet.training.device_data import DeviceData
from ffnet.training.loop import train
from ffnet.training.schedules import averaging
from ffnet.training.trainer import Trainer, structure


@pytest.fixture(scope="module")
def digits() -> DeviceData:
    return DeviceData(load(Data()))


def config(net: dict[str, Any] | None = None, **training: Any) -> TrialConfig:
    fields = {"batch_size": 100, "learning_rate": 0.1, "steps_per_block": 1, "tiles": False}
    return TrialConfig(
        number=0, net=NetSpec(**{"hidden_sizes": (40,), "batch_norm": True} | (net or {})),
        epochs=2, seed=0, training=Training(**fields | training),
    )  # fmt: skip


def begun(data: DeviceData, of: TrialConfig) -> Trainer:
    trainer = Trainer(data, of)
    trainer.initialize(of)
    return trainer


def numbers(net: Any) -> list[Any]:
    return [variable.numpy() for variable in (*net.weights, *net.state)]


def test_the_decay_warms_up() -> None:
    """1 − min(decay, (1 + t) / (10 + t)): 0.9, 9/11, 9/12, … until the decay of 0.99 is reached."""
    assert averaging(0.99, range(3)) == pytest.approx([0.9, 9 / 11, 0.75])
    assert averaging(0.99, range(889, 892)) == pytest.approx([9 / 899, 0.01, 0.01])
    assert averaging(0.05, range(2)) == pytest.approx([0.95, 0.95])


@pytest.mark.parametrize("api", ["barebones", "functional", "model", "sequential"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_averages_are_those_of_numpy_and_the_steps_those_without(
    digits: DeviceData, api: str, optimizer: str
) -> None:
    """Follow a net without averages step by step, and average its weights and its state here.

    What is left of the first mean 0 and the first variance 1 is taken out of the state.
    """
    fields = {"optimizer": optimizer, "weight_decay": 0.01, "report_steps": 1}
    of = config({"api": api}, average_decay=0.8, **fields)
    plain, trainer = begun(digits, config({"api": api}, **fields)), begun(digits, of)
    expected = numbers(plain.net)
    points, steps = range(1, 21), train(plain, config({"api": api}, **fields))
    for step, _ in zip(points, steps, strict=False):
        share = 1 - min(0.8, step / (9 + step))
        *now, mean, variance = numbers(plain.net)
        left = 0.99**step
        now += [mean / (1 - left), (variance - left) / (1 - left)]
        expected = [(1 - share) * a + share * w for a, w in zip(expected, now, strict=True)]
    *_, last = train(trainer, of, points=[20])
    assert last.step == 20
    for found, mean in zip(numbers(trainer.net), expected, strict=True):
        assert found == pytest.approx(mean, abs=2e-5)
    for found, raw in zip(numbers(trainer._trained), numbers(plain.net), strict=True):
        assert (found == raw).all()
    assert last.validation == trainer.evaluate(digits.validation)
    assert last.validation != plain.evaluate(digits.validation)


def test_ten_steps_are_enough_for_averages_of_batch_normalisation(digits: DeviceData) -> None:
    """With weights that stay, and batches of all examples, each batch has the same statistics.

    After ten steps the averages have 10!·9!/19!, a 90,000th, of their first values, 0 and 1. The
    state itself still has 0.99¹⁰, nine tenths, with which a net is far off for hundreds of steps.
    """
    x = digits.normalize(digits.train[0]).numpy()
    of = config(average_decay=0.999, learning_rate=1e-20, batch_size=len(x))
    trainer = begun(digits, of)
    products = x @ trainer.net.weights[0].numpy()
    *_, last = train(trainer, of, points=[10])
    assert last.step == 10
    mean, variance = (state.numpy() for state in trainer.net.state)
    assert mean == pytest.approx(products.mean(axis=0), abs=1e-4)
    assert variance == pytest.approx(products.var(axis=0), rel=1e-3)


@pytest.mark.parametrize("path", [{"steps_per_block": 4}, {"steps_per_block": 8}, {"tiles": True}])
def test_averages_are_the_same_in_blocks_and_tiles(
    digits: DeviceData, path: dict[str, Any]
) -> None:
    """With momentum, weight decay, a schedule, batch normalisation and dropout."""
    fields = {"momentum": 0.5, "weight_decay": 0.01, "weight_decay_schedule": "cosine",
              "average_decay": 0.9, "batch_size": 64}  # fmt: skip
    net = {"hidden_sizes": (40, 20), "dropout": 0.1}
    plain, other = begun(digits, config(net, **fields)), begun(digits, config(net, **fields | path))
    *_, one = train(plain, config(net, **fields))
    *_, two = train(other, config(net, **fields | path))
    assert one.validation.loss == pytest.approx(two.validation.loss, rel=1e-4)
    for a, b in zip(plain.variables, other.variables, strict=True):
        assert a.numpy() == pytest.approx(b.numpy(), abs=1e-4)


def test_a_checkpoint_begins_with_the_averages_and_also_holds_the_weights(
    digits: DeviceData,
) -> None:
    """So a reader that only wants a net, such as the export, gets what was evaluated."""
    of = config(average_decay=0.9)
    trainer = begun(digits, of)
    *_, last = train(trainer, of)
    file = io.BytesIO()
    checkpoints.write(file, last.step, [], trainer.variables)
    reader = begun(digits, config())
    saved = checkpoints.parse(file.getvalue())
    saved.assign(reader.variables)
    assert reader.evaluate(digits.validation) == last.validation
    assert len(saved.arrays) == 2 * len(reader.variables)
    stepped = saved.arrays[len(reader.variables) :]
    for raw, array in zip(numbers(trainer._trained), stepped, strict=True):
        assert (raw == array).all()


def test_without_averages_nothing_is_added(digits: DeviceData) -> None:
    trainer = begun(digits, config())
    assert trainer.net is trainer._trained
    assert len(trainer.variables) == 8  # two kernels, two biases, gamma and beta, mean and variance


def test_memory_counts_the_averages() -> None:
    both = (config({"hidden_sizes": (1000, 500)}, average_decay=a) for a in (0.9, None))
    more, less = (memory.trial_bytes(of, Inputs(100), 10, 1000) for of in both)
    assert more - less == 4 * (100 * 1000 + 1000 * 500 + 500 * 10 + 1000 * 500)


def test_trials_share_their_compiled_functions_whatever_the_decay() -> None:
    assert structure(config(average_decay=0.9)) == structure(config(average_decay=0.99))
    assert structure(config(average_decay=0.9)) != structure(config())
