"""The columns of a table become what a net gets: as plain NumPy computes it, for every net."""

from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ffnet.data.dataset import DataSet, Part
from ffnet.data.encoding import Column
from ffnet.errors import InputError
from ffnet.nets.inputs import Vectors, of_net
from ffnet.nets.preparation import Preparation
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.trial import TrialConfig
from ffnet.training import loop, memory
from ffnet.training.device_data import DeviceData
from ffnet.training.trainer import Trainer, structure

Array = npt.NDArray[Any]

NAN = float("nan")
KNOTS = (-2.0, -0.5, 0.0, 1.5, -2.3, -0.7, 0.1, 2.3)
COLUMNS = (
    Column("age", "number", gaps=True, fill=0.25),
    Column("colour", "category", ("red", "blue", "green", "grey")),
    Column("income", "number", gaps=True, scaling="robust", fill=-0.5),
    Column("joined", "date"),
    Column("city", "category", ("a", "b"), gaps=True),
    Column("score", "number", scaling="quantile", knots=KNOTS),
    Column("same", "number", scaling="quantile", knots=(0.5, 0.0)),
)
MOST = 2


def encoded(rows: int, seed: int = 0, columns: tuple[Column, ...] = COLUMNS) -> Array:
    """Return random `Part.x`, with gaps and unseen categories in every column."""
    random = np.random.default_rng(seed)
    x = np.empty((rows, len(columns)), np.float32)
    for i, column in enumerate(columns):
        if column.kind == "category":
            x[:, i] = random.integers(len(column.categories) + 2, size=rows)
        else:
            x[:, i] = np.where(random.random(rows) < 0.2, NAN, 2 * random.normal(size=rows))
    return x


def prepared(x: Array, columns: tuple[Column, ...] = COLUMNS, most: int = MOST) -> Array:
    """Compute what a net gets, column by column and row by row, as the docstrings say it."""
    rows = []
    for row in x:
        numbers, indicators, categories = [], [], []
        for value, column in zip(map(float, row), columns, strict=True):
            if column.kind != "category":
                gap = np.isnan(value)
                value = column.fill if gap else value
                if column.scaling == "robust":
                    value = value / np.sqrt(1 + (value / 3) ** 2)
                if column.knots:
                    half = len(column.knots) // 2
                    value = float(np.interp(value, column.knots[:half], column.knots[half:]))
                numbers.append(value)
                indicators += [float(gap)] * column.gaps
                continue
            count = len(column.categories)
            own, joins = min(count, most), count > most
            one_hot = [0.0] * (own + joins + column.gaps)
            if value < own:
                one_hot[int(value)] = 1
            elif value == count:
                if column.gaps:
                    one_hot[-1] = 1
            elif joins:
                one_hot[own] = 1
            categories += one_hot
        rows.append(numbers + indicators + categories)
    return np.array(rows, np.float32)


def dataset(columns: tuple[Column, ...] = COLUMNS, rows: int = 300) -> DataSet:
    """Return a data set whose classes follow the categories and the numbers."""
    examples = encoded(rows, 0, columns), encoded(120, 1, columns)
    train, validation = (
        Part(x, (np.nan_to_num(x).sum(axis=1) > 3).astype(np.int32)) for x in examples
    )
    width = len(columns)
    return DataSet(
        "mixed", train, validation, None, ("no", "yes"), np.zeros(width), np.ones(width), "", "",
        "float64", encoding=columns, max_categories=MOST,
    )  # fmt: skip


def config(net: dict[str, Any], epochs: int = 2, **training: Any) -> TrialConfig:
    spec = Training(**{"learning_rate": 0.1, "batch_size": 16} | training)
    return TrialConfig(number=0, net=NetSpec(**net), training=spec, epochs=epochs, seed=3)


def trained(data: DataSet, of: TrialConfig) -> tuple[list[tuple[float, float, float]], list[Array]]:
    """Train a net. Return its curve and its weights."""
    made = Trainer(DeviceData(data), of)
    made.initialize(of)
    curve = [(r.train_loss, r.validation.loss, r.validation.accuracy) for r in loop.train(made, of)]
    return curve, [weight.numpy() for weight in made.net.weights]


def test_columns_become_what_plain_numpy_makes_of_them() -> None:
    x = encoded(500)
    got = np.asarray(Preparation(COLUMNS, MOST)(x))
    expected = prepared(x)
    assert got.shape == expected.shape == (500, 5 + 2 + 3 + 3)
    assert of_net(dataset(), NetSpec()).width == got.shape[1]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert np.isfinite(got).all()


@pytest.mark.parametrize("most", [1, 3, 4, 5, 100])
def test_rare_categories_are_joined_only_where_there_are_any(most: int) -> None:
    x = encoded(200)
    np.testing.assert_allclose(
        np.asarray(Preparation(COLUMNS, most)(x)), prepared(x, most=most), rtol=1e-5, atol=1e-6
    )


def test_complete_standard_numbers_keep_their_bits() -> None:
    columns = (Column("a", "number"), Column("b", "date"))
    x = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(Preparation(columns, 100)(x)), x)


def test_the_knots_of_quantile_scaling_give_a_normal_distribution() -> None:
    from ffnet.data.scaling import scales, standardized

    numbers = np.random.default_rng(0).exponential(size=(4000, 1))
    found = scales(numbers, "quantile")
    column = Column("a", "number", scaling="quantile", knots=found.knots[0])
    x = standardized(numbers, found.centre, found.scale)
    got = np.sort(np.asarray(Preparation((column,), 100)(x))[:, 0])
    normal = [NormalDist().inv_cdf((i + 0.5) / 4000) for i in range(4000)]
    assert np.abs(got - normal)[40:-40].max() < 0.05


def test_a_number_of_embedding_sizes_is_for_columns_with_more_categories() -> None:
    of = of_net(dataset(), NetSpec(embedding_sizes=2))
    assert of.vectors == (Vectors(rows=6, trained=4, size=2),)
    assert (of.dense, of.width) == (5 + 2 + 3, 5 + 2 + 3 + 2)
    each = of_net(dataset(), NetSpec(embedding_sizes=[0, 3]))
    assert each.vectors == (Vectors(rows=4, trained=3, size=3),)
    x = encoded(50)
    got = np.asarray(Preparation(COLUMNS, MOST, (0, 3))(x))
    np.testing.assert_allclose(got[:, :10], prepared(x)[:, :10], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(got[:, 10], x[:, 4])
    assert of_net(dataset(), NetSpec(embedding_sizes=0)) == of_net(dataset(), NetSpec())


@pytest.mark.parametrize(
    ("sizes", "columns", "message"),
    [
        ([1, 2, 3], COLUMNS, "each of the 2 columns of categories: colour, city. Given: [1, 2, 3]"),
        (4, (COLUMNS[0],), "embedding_sizes needs data with a column of categories. Given: [4]"),
    ],
)
def test_sizes_that_do_not_fit_the_columns_are_refused(
    sizes: Any, columns: tuple[Column, ...], message: str
) -> None:
    with pytest.raises(InputError) as refused:
        of_net(dataset(columns), NetSpec(embedding_sizes=sizes))
    assert message in str(refused.value)
    with pytest.raises(InputError):
        memory.worker_bytes(config({"embedding_sizes": sizes}), dataset(columns))


@pytest.mark.parametrize(
    "path", [{"precision": "bfloat16"}, {"steps_per_block": 4}, {"tiles": True}]
)
def test_learned_vectors_are_refused_in_bfloat16_blocks_and_tiles(path: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="without learned vectors"):
        config({"embedding_sizes": 4}, **path)
    assert config({"embedding_sizes": 0}, precision="bfloat16").net.embedding_sizes == (0,)


def test_blocked_steps_equal_plain_steps_with_one_hot_inputs() -> None:
    data, of = dataset(), config({"hidden_sizes": [12]}, epochs=3)
    blocked, weights = trained(data, of.on_path({"steps_per_block": 4}))
    plain, expected = trained(data, of)
    assert blocked != plain  # other roundings
    np.testing.assert_allclose(blocked, plain, rtol=1e-4)
    for weight, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_nets_of_every_api_learn_vectors_to_the_same_curve(optimizer: str) -> None:
    net: dict[str, Any] = {"hidden_sizes": [8], "embedding_sizes": [3, 2], "dropout": 0.1}
    rate = {"sgd": 0.1, "adam": 0.01}[optimizer]
    net["batch_norm"] = optimizer == "sgd"  # adam makes large steps of a bias without effect
    found = {
        api: trained(dataset(), config(net | {"api": api}, optimizer=optimizer, learning_rate=rate))
        for api in ("barebones", "functional", "model", "sequential")
    }
    curve, weights = found["barebones"]
    assert curve[-1][0] < curve[0][0]
    assert [weight.shape for weight in weights[-2:]] == [(6, 3), (4, 2)]
    for other, others in found.values():
        np.testing.assert_allclose(other, curve, rtol=1e-4)
        for one, two in zip(weights, others, strict=True):
            np.testing.assert_allclose(one, two, rtol=2e-3, atol=1e-5)


def test_vectors_of_codes_that_are_not_in_the_training_part_stay_zero() -> None:
    data = dataset()
    of = config({"embedding_sizes": [3, 2]}, optimizer="adam", weight_decay=0.01)
    seen = replace(data.train, x=data.train.x.copy())
    seen.x[:, 1] %= 4  # the first column has no gaps in the training part
    seen.x[:, 4] %= 3
    _, weights = trained(replace(data, train=seen), of)
    colours, cities = weights[-2:]
    assert not colours[4:].any()
    assert not cities[3:].any()
    assert colours[:4].all()
    assert cities[:3].all()


def test_trials_share_compiled_functions_only_with_equal_vectors() -> None:
    plain, zero, four = (config({"embedding_sizes": sizes}) for sizes in (None, [0, 0], 4))
    assert structure(plain) == structure(zero) != structure(four)
    assert structure(four) != structure(config({"embedding_sizes": 5}))


def test_memory_counts_the_inputs_not_the_columns() -> None:
    many = tuple(map(str, range(50_000)))
    data = dataset((*COLUMNS, Column("many", "category", many)))
    wide = replace(data, max_categories=100_000)
    of = config({"hidden_sizes": [1000]})
    joined, apart = (memory.worker_bytes(of, each) for each in (data, wide))
    assert apart - joined > 4 * 50_000 * 1000 * 2  # weights and gradients
    adam = config({"hidden_sizes": [8], "embedding_sizes": 64}, optimizer="adam")
    without = config({"hidden_sizes": [8]}, optimizer="adam")
    more = memory.worker_bytes(adam, data) - memory.worker_bytes(without, data)
    assert more == pytest.approx(4 * 50_002 * 64 * 4, rel=0.05)


def test_the_clip_of_far_numbers_is_three() -> None:
    clip = Preparation((Column("a", "number", scaling="robust"),), MOST)
    far = np.array([[1e3], [1e19], [3e38], [-1e30]], np.float32)
    np.testing.assert_allclose(clip(far).numpy()[:, 0], [3, 3, 3, -3], rtol=1e-5)
