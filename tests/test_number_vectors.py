"""Learned vectors of numbers and the scaling layer: the formulas of the papers, in every net."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import ffnet
from ffnet.data.encoding import Column
from ffnet.errors import InputError
from ffnet.nets import layout
from ffnet.nets.inputs import Inputs, Vectors, of_net
from ffnet.nets.net import Net, initialize, make_net
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.trial import TrialConfig, may_be_blocked, may_be_tiled
from ffnet.training import memory
from ffnet.training.device_data import DeviceData
from ffnet.training.examples import notes
from ffnet.training.gradient_check import gradient_check
from ffnet.training.loop import train
from ffnet.training.optimizers import Optimizer, Rates
from ffnet.training.trainer import Trainer, structure
from test_preparation import COLUMNS, config, dataset, trained

Array = npt.NDArray[Any]

APIS = ("barebones", "functional", "model", "sequential")
K, F, E = 3, 5, 4  # columns, frequencies, size
SIZES = {"periodic": 2 * F, "plr": E, "pbld": E}


def spec(kind: str, **fields: Any) -> NetSpec:
    """A net without a hidden layer and a bias: its scores are a product with its inputs."""
    size = {} if kind == "periodic" else {"number_embedding_size": E}
    fields = {"hidden_sizes": (), "bias": False, "frequency_scale": 0.3} | size | fields
    return NetSpec(number_embedding=kind, number_frequencies=F, **fields)


def by_formula(kind: str, x: Array, weights: dict[str, Array]) -> Array:
    """The vectors of each example, number by number, as the papers define them."""
    rows = []
    for row in x:
        whole: list[float] = []
        for k, number in enumerate(row):
            c = weights["frequencies"].reshape(K, F)[k]
            angles = 2 * np.pi * c * number
            if kind == "pbld":
                waves = np.cos(angles + weights["phases"].reshape(K, F)[k])
                own = waves @ weights["map"][k] + weights["offsets"].reshape(K, E - 1)[k]
                whole += [number, *own]
                continue
            waves = np.concatenate([np.cos(angles), np.sin(angles)])
            if kind == "plr":
                own = waves @ weights["map"][k] + weights["offsets"].reshape(K, E)[k]
                waves = np.maximum(own, 0)
            whole += list(waves)
        rows.append(whole)
    return np.array(rows)


def filled(of: NetSpec, inputs: int | Inputs, dtype: tf.DType = tf.float64) -> Net:
    """Make a net whose first kernel is the identity and whose other weights are random."""
    width = inputs.width if isinstance(inputs, Inputs) else inputs
    net, random = make_net(inputs, width, of, dtype), np.random.default_rng(0)
    initialize(net, inputs, width, of, 0)
    for weight in net.weights:
        weight.assign(random.normal(size=weight.numpy().shape))
    net.weights[0].assign(np.eye(width))
    return net


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("kind", SIZES)
def test_the_inputs_of_the_first_layer_are_those_of_the_papers_formula(kind: str, api: Any) -> None:
    """Numbers become vectors; the other inputs stay, and codes become vectors, too."""
    of = spec(kind, api=api, scaling_layer=True)
    codes = (Vectors(rows=4, trained=4, size=2),)
    inputs = Inputs(K + 2, codes, K, of.number_vectors)
    assert inputs.width == K * SIZES[kind] + 2 + 2
    net = filled(of, inputs)
    named = layout.weights(inputs, inputs.width, of)
    weights = {each.kind: v.numpy() for each, v in zip(named, net.weights, strict=True)}
    x = np.random.default_rng(1).normal(size=(6, K + 3))
    x[:, -1] = [0, 1, 2, 3, 1, 0]
    plain = np.concatenate(
        [by_formula(kind, x[:, :K], weights), x[:, K : K + 2],
         weights["vectors"][x[:, -1].astype(int)]], axis=1,
    )  # fmt: skip
    np.testing.assert_allclose(net.scores(x), plain * weights["scale"], atol=1e-12)


def test_first_values_are_those_of_the_papers_and_follow_the_seed() -> None:
    of = NetSpec(number_embedding="pbld", number_frequencies=1000, scaling_layer=True)
    inputs = Inputs(40, (), 40, of.number_vectors)

    def values(seed: int) -> dict[str, Array]:
        net = make_net(inputs, 2, of)
        initialize(net, inputs, 2, of, seed)
        named = layout.weights(inputs, 2, of)
        return {each.kind: v.numpy() for each, v in zip(named, net.weights, strict=True)}

    found = values(3)
    assert found["frequencies"].std() == pytest.approx(0.1, rel=0.02)
    assert np.abs(found["frequencies"]).max() > 0.3  # normal
    for kind, end in (("phases", np.pi), ("map", 1000**-0.5)):
        assert 0.99 * end < np.abs(found[kind]).max() <= end
        assert found[kind].std() == pytest.approx(end / 3**0.5, rel=0.02)
    assert 0.8 * 1000**-0.5 < np.abs(found["offsets"]).max() <= 1000**-0.5
    assert (found["scale"] == 1).all()
    assert all((values(3)[kind] == found[kind]).all() for kind in layout.NUMBERS)
    assert all((values(4)[kind] != found[kind]).any() for kind in layout.NUMBERS)
    plr = NetSpec(number_embedding="plr").number_vectors
    assert plr is not None
    assert plr._asdict() == {"kind": "plr", "size": 24, "frequencies": 48, "scale": 0.01}


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("kind", SIZES)
def test_gradients_of_learned_inputs_are_right(kind: str, api: Any) -> None:
    of = spec(kind, api=api, hidden_sizes=(4,), activation="tanh", scaling_layer=True)
    inputs = Inputs(K + 1, (Vectors(4, 4, 2),), K, of.number_vectors)
    errors = gradient_check(of, inputs, most=4)
    own = {"frequencies1", "phases1", "map1", "offsets1", "vectors1", "scale1"}
    lacking = {"periodic": {"phases1", "map1", "offsets1"}, "plr": {"phases1"}, "pbld": set()}
    assert errors.keys() & own == own - lacking[kind]
    assert max(errors.values()) < 1e-6, errors


# --- tables ------------------------------------------------------------------------------------


def test_numbers_and_dates_of_a_table_become_vectors_and_nothing_else() -> None:
    plain = of_net(dataset(), NetSpec())
    found = of_net(dataset(), NetSpec(number_embedding="pbld", number_embedding_size=3))
    assert found.numbers == 5  # age, income, joined, score, same
    assert found.dense == plain.dense
    assert found.width == plain.width + 5 * 2
    of_numbers = of_net(dataset((COLUMNS[0], COLUMNS[3])), NetSpec(number_embedding="periodic"))
    assert (of_numbers.numbers, of_numbers.width) == (2, 2 * 96 + 1)


@pytest.mark.parametrize("api", ["barebones", "functional"])
def test_a_table_without_numbers_trains_the_same_net_and_a_note_says_so(api: Any) -> None:
    data, plr = dataset((COLUMNS[1], COLUMNS[4])), {"api": api, "number_embedding": "plr"}
    assert of_net(data, NetSpec(**plr)) == of_net(data, NetSpec())
    assert trained(data, config(plr))[0] == trained(data, config({"api": api}))[0]
    (note,) = notes(data, [NetSpec(), NetSpec(**plr), NetSpec(number_embedding="pbld")])
    assert note.startswith("note: number_embedding pbld and plr has no effect")
    assert not notes(data, [NetSpec()])
    assert not notes(dataset(), [NetSpec(**plr)])


@pytest.mark.parametrize("kind", ["plr", "pbld"])
def test_nets_of_every_api_learn_from_vectors_of_numbers_to_the_same_curve(kind: str) -> None:
    net = {
        "hidden_sizes": [8], "number_embedding": kind, "number_embedding_size": 3, "dropout": 0.1,
        "number_frequencies": 4, "frequency_scale": 0.2, "embedding_sizes": [3, 0],
        "scaling_layer": True,
    }  # fmt: skip
    found = {api: trained(dataset(), config(net | {"api": api})) for api in APIS}
    curve, weights = found["barebones"]
    assert curve[-1][0] < curve[0][0]
    begun = trained(dataset(), config(net, learning_rate=1e-30))[1]
    assert all((one != two).any() for one, two in zip(weights, begun, strict=True))
    for other, others in found.values():
        np.testing.assert_allclose(other, curve, rtol=1e-4)
        for one, two in zip(weights, others, strict=True):
            np.testing.assert_allclose(one, two, rtol=2e-3, atol=1e-5)


def test_other_sizes_need_no_new_trace_in_barebones() -> None:
    net: dict[str, Any] = {"hidden_sizes": [8], "number_embedding": "pbld", "scaling_layer": True}
    sizes: list[dict[str, Any]] = [
        {}, {"number_embedding_size": 7}, {"number_frequencies": 3, "frequency_scale": 1.0}
    ]  # fmt: skip
    trials = [config(net | more, epochs=1) for more in sizes]
    assert len({structure(of) for of in trials}) == 1
    made = Trainer(DeviceData(dataset()), trials[0])
    for of in trials:
        made.initialize(of)
        (shared,) = train(made, of)
        (alone,), _ = trained(dataset(), of)
        assert alone[0] == shared.train_loss
    assert made._steps.plain.experimental_get_tracing_count() == 1
    keras = {structure(config(net | more | {"api": "model"})) for more in sizes}
    assert len(keras) == 3


def test_weight_decay_acts_on_maps_and_not_on_frequencies_and_factors() -> None:
    of = spec("pbld", scaling_layer=True, bias=True)
    inputs = Inputs(K, (), K, of.number_vectors)
    net = make_net(inputs, 2, of)
    initialize(net, inputs, 2, of, 0)
    before = [weight.numpy() for weight in net.weights]
    optimizer = Optimizer(Training(weight_decay=0.5), net.weights)
    rates = Rates(tf.constant(0.1), tf.constant(0.0), tf.constant(0.5))
    optimizer.apply([tf.zeros(weight.shape) for weight in before], rates, tf.constant(0))
    decayed = {
        each.kind
        for each, old, new in zip(layout.weights(inputs, 2, of), before, net.weights, strict=True)
        if (new.numpy() != old).any()
    }
    assert decayed == {"w", "map"}


@pytest.mark.parametrize("api", APIS)
def test_a_scaling_layer_learns_with_six_times_the_learning_rate(api: Any) -> None:
    """Where all factors s are 1, the gradient of s_j is the sum of w_jh times that of w_jh."""
    of = config({"hidden_sizes": [8], "api": api, "scaling_layer": True}, epochs=1, batch_size=300)
    made = Trainer(DeviceData(dataset()), of)
    made.initialize(of)
    w, before = made.net.weights[0].numpy(), made.net.weights[-1].numpy()
    assert made.run(of, 0, range(1))[2] == 300
    by_w, by_s = made.net.weights[0].numpy() - w, made.net.weights[-1].numpy() - before
    assert np.abs(by_s).max() > 0.01
    np.testing.assert_allclose(by_s, 6 * (w * by_w).sum(axis=1), rtol=1e-3, atol=1e-5)


def test_memory_counts_vectors_of_numbers() -> None:
    wide = dataset(tuple(Column(f"n{i}", "number") for i in range(200)), rows=300)
    net = {"hidden_sizes": [8]}
    more = net | {"number_embedding": "plr", "number_frequencies": 500, "number_embedding_size": 50}
    added = memory.worker_bytes(config(more), wide) - memory.worker_bytes(config(net), wide)
    assert added > 4 * (2 * 200 * 1000 * 50 + 256 * 200 * 3 * 1000)  # weights, gradients, waves


# --- what contradicts --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ({"number_embedding_size": 4}, "number_embedding_size 4, number_embedding none"),
        ({"number_embedding": "periodic", "number_embedding_size": 4}, "only for number_embedding"),
        ({"number_embedding": "pbld", "number_embedding_size": 1}, "2 or more"),
        ({"number_frequencies": 4}, "need number_embedding periodic, plr or pbld"),
        ({"frequency_scale": 0.5}, "frequency_scale 0.5, number_embedding none"),
    ],
)
def test_fields_without_effect_are_refused(net: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        config(net)
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("net", [{"number_embedding": "pbld"}, {"scaling_layer": True}])
def test_learned_inputs_are_refused_in_bfloat16_blocks_and_tiles(net: dict[str, Any]) -> None:
    for path in ({"precision": "bfloat16"}, {"steps_per_block": 4}, {"tiles": True}):
        with pytest.raises(InputError, match="without learned vectors or factors"):
            config(net, **path)
    assert not may_be_blocked(NetSpec(**net), Training())
    assert not may_be_tiled(NetSpec(**net), Training())


# --- a whole run -------------------------------------------------------------------------------


def test_an_exported_net_of_a_table_gives_the_scores_of_the_run(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    number, kind = random.normal(size=300), random.integers(3, size=300)
    table = pa.table({
        "number": [None if i % 9 == 0 else float(n) for i, n in enumerate(number)],
        "day": [date(2024, 1, 1) + timedelta(i) for i in range(300)],
        "kind": [f"k{k}" for k in kind],
        "y": np.where(np.sin(3 * number) + kind > 1, "yes", "no"),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "table.parquet")
    ffnet.train(
        hidden_sizes=[12, 12], residual=True, layer_norm=True, number_embedding="pbld",
        scaling_layer=True, bottleneck=4, initializer="fitted", activation="gelu", epochs=3,
        optimizer="adam", dataset=str(tmp_path / "table.parquet"), target="y",
        out=tmp_path / "run",
    )  # fmt: skip
    run = ffnet.Run(tmp_path / "run")
    card = run.export(tmp_path / "model")
    assert card["measured_again"]["val_accuracy"] == card["val_accuracy"]
    assert card["hyperparameters"]["number_embedding"] == "pbld"
    model = tf.saved_model.load(str(tmp_path / "model" / "1")).signatures["serving_default"]
    given = model(
        number=tf.constant([0.5, np.nan], tf.float64), kind=tf.constant(["k1", "other"]),
        day=tf.constant(["2024-02-01", ""]),
    )  # fmt: skip
    days = [date(2024, 2, 1), None]
    rows = pa.table({"number": [0.5, None], "day": days, "kind": ["k1", "other"]})
    np.testing.assert_allclose(
        run.load().probabilities(rows), given["probabilities"].numpy(), rtol=1e-5
    )


def test_a_trial_has_the_same_bits_in_two_processes_or_from_its_checkpoint() -> None:
    of = TrialConfig(
        number=0, net=spec("pbld", hidden_sizes=(8, 8), residual=True, scaling_layer=True),
        training=Training(optimizer="adam", batch_size=16), epochs=2, seed=3,
    )  # fmt: skip
    one, two = trained(dataset(), of), trained(dataset(), of)
    assert one[0] == two[0]
    assert all((a == b).all() for a, b in zip(one[1], two[1], strict=True))
