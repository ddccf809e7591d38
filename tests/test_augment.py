"""Changes of the training examples: images move, turn, lose a square; examples are mixed."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from ffnet.data.dataset import DataSet, Part
from ffnet.errors import InputError
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.study import OneNet, Study
from ffnet.spec.trial import TrialConfig
from ffnet.training.augment import Augmentation
from ffnet.training.device_data import DeviceData
from ffnet.training.examples import refuse_unfit
from ffnet.training.loop import train
from ffnet.training.trainer import Trainer, structure
from ffnet.tuning import checks

Array = npt.NDArray[Any]
HEIGHT, WIDTH = 5, 7
SEED, STEP = tf.constant(3), tf.constant(11)


def images(count: int, shape: tuple[int, ...] = (HEIGHT, WIDTH)) -> Array:
    """Images [N, …] in which no two pixels are equal, and none is 0."""
    size = int(np.prod(shape))
    return np.tile(
        np.arange(1, size + 1, dtype=np.float32).reshape(shape), (count,) + (1,) * len(shape)
    )


def dataset(
    shape: tuple[int, ...] = (HEIGHT, WIDTH), dtype: type = np.uint8, name: str = "own"
) -> DataSet:
    random = np.random.default_rng(0)
    parts = []
    for count in (90, 40):
        y = random.integers(0, 3, count).astype(np.int32)
        x = random.integers(0, 80, (count, *shape)) + 60 * y.reshape(-1, *[1] * len(shape))
        parts.append(Part(x.astype(dtype), y))
    return DataSet(
        name=name, train=parts[0], validation=parts[1], test=None, classes=("a", "b", "c"),
        mean=np.array([100.0], np.float32), std=np.array([60.0], np.float32), source="", digest="",
    )  # fmt: skip


def changed(x: Array, *steps: int, **fields: Any) -> Array:
    training = Training(**fields)
    shape = x.shape[1:]
    augmentation = Augmentation(dataset(shape), training)
    augmentation.set(training)
    found = augmentation.images(
        x.reshape(len(x), -1), SEED, [tf.constant(s) for s in steps or (11,)]
    )
    return np.asarray(found).reshape(x.shape)


def shifted(image: Array, right: int, down: int) -> Array:
    """The image where pixel (y, x) shows pixel (y + down, x + right), or the nearest one."""
    rows = np.clip(np.arange(image.shape[0]) + down, 0, image.shape[0] - 1)
    columns = np.clip(np.arange(image.shape[1]) + right, 0, image.shape[1] - 1)
    return image[rows][:, columns]


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (HEIGHT, WIDTH, 3)])
def test_a_shift_moves_whole_pixels_to_all_sides_alike(shape: tuple[int, ...]) -> None:
    before = images(900, shape)
    counts: dict[tuple[int, int], int] = {}
    for image in changed(before, augment_shift=1):
        (found,) = [
            (right, down) for right in (-1, 0, 1) for down in (-1, 0, 1)
            if (image == shifted(before[0], right, down)).all()
        ]  # fmt: skip
        counts[found] = counts.get(found, 0) + 1
    assert len(counts) == 9
    assert all(60 < count < 145 for count in counts.values())  # 100 ± 4.5 deviations


def test_a_flip_mirrors_every_other_image() -> None:
    before = images(400)
    after = changed(before, augment_flip=True)
    mirrored = (after == before[:, :, ::-1]).all(axis=(1, 2))
    assert (mirrored | (after == before).all(axis=(1, 2))).all()
    assert 160 < mirrored.sum() < 240


def moved(x: Array, draws: dict[str, float], **fields: Any) -> Array:
    """The images under known draws: right, down, mirror, zoom, turn, aside, up."""
    training = Training(**fields)
    augmentation = Augmentation(dataset(x.shape[1:]), training)
    augmentation.set(training)
    names = ("right", "down", "mirror", "zoom", "turn", "aside", "up")
    row = [draws.get(name, -1.0 if name == "zoom" else 0.0) for name in names]
    found = augmentation._mapped(tf.constant(x[..., None]), tf.constant([row] * len(x)))
    return np.asarray(found)[..., 0]


def test_copies_of_whole_pixels_are_what_the_map_without_a_turn_gives() -> None:
    augmentation = Augmentation(dataset(), training := Training(augment_shift=2, augment_flip=True))
    augmentation.set(training)
    x = tf.constant(images(50)[..., None])
    draws = tf.random.stateless_uniform([50, 7], [1, 2], -1.0, 1.0)
    found = [np.asarray(move(x, draws)) for move in (augmentation._shifted, augmentation._mapped)]
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_a_rotation_turns_around_the_middle() -> None:
    square = images(1, (5, 5))
    quarter = moved(square, {"turn": 0.5}, augment_rotate=180)[0]
    assert any(quarter == pytest.approx(np.rot90(square[0], k), abs=1e-4) for k in (1, 3))
    half = moved(square, {"turn": -1.0}, augment_rotate=180)[0]
    assert half == pytest.approx(square[0][::-1, ::-1], abs=1e-4)


def test_a_crop_shows_a_part_enlarged() -> None:
    """Half of each side of 5 pixels: the new pixels show 1, 1½, 2, 2½, 3 of the old ones."""
    square = images(1, (5, 5))
    middle = moved(square, {"zoom": 1.0}, augment_crop=0.5)[0]
    places = np.array([1, 1.5, 2, 2.5, 3])
    assert middle == pytest.approx(1 + 5 * places[:, None] + places, abs=1e-4)
    corner = moved(square, {"zoom": 1.0, "aside": -1.0, "up": 1.0}, augment_crop=0.5)[0]
    assert corner == pytest.approx(1 + 5 * (places + 1)[:, None] + places - 1, abs=1e-4)


def test_an_erased_square_is_the_mean_and_has_at_most_its_share() -> None:
    before = images(300, (20, 20))
    erased = changed(before, augment_erase=0.25) == 0
    assert (changed(before, augment_erase=0.25)[~erased] == before[~erased]).all()
    counts = erased.sum(axis=(1, 2))
    assert counts.max() <= 11 * 11
    assert 20 < counts.mean() < 50  # on average 50 without the border
    for image in erased:
        rows, columns = image.any(axis=1), image.any(axis=0)
        assert (image == rows[:, None] & columns).all()


def test_each_step_and_each_image_change_in_their_own_way() -> None:
    before = images(2)
    several = {"augment_shift": 2, "augment_rotate": 20, "augment_crop": 0.2, "augment_erase": 0.2}
    one, other = changed(before, 11, **several), changed(before, 12, **several)
    assert (one == changed(before, 11, **several)).all()
    assert (one != other).any()
    assert (one[0] != one[1]).any()
    both = changed(np.concatenate([before, before]), 11, 12, **several)
    assert (both == np.concatenate([one, other])).all()


def test_mixup_mixes_inputs_and_labels_by_the_same_share() -> None:
    random = np.random.default_rng(1)
    x, targets = random.normal(size=(8, 5)).astype("f4"), np.eye(4, dtype="f4")[[0, 1, 2, 3] * 2]
    training = Training(mixup=0.4)
    augmentation = Augmentation(dataset(), training)
    augmentation.set(training)
    steps = [tf.constant(5), tf.constant(6)]
    mixed, shares = (np.asarray(each) for each in augmentation.mixed(x, targets, SEED, steps))
    found = []
    for batch in (slice(0, 4), slice(4, 8)):
        share = shares[batch][0].max() if shares[batch][0][0] >= 0.5 else shares[batch][0][0]
        found.append(share)
        for before, after in ((x, mixed), (targets, shares)):
            following = np.roll(before[batch], -1, axis=0)
            assert after[batch] == pytest.approx(share * before[batch] + (1 - share) * following)
    assert found[0] != found[1]


@pytest.mark.parametrize("alpha", [1e-30, 0.01, 0.4, 30.0, 1e30])
def test_the_share_of_mixup_has_the_beta_distribution(alpha: float) -> None:
    """Beta(a, a) has the mean 1/2 and the variance 1/(4·(2a + 1)); with a small a it is 0 or 1."""
    training = Training(mixup=alpha)
    augmentation = Augmentation(dataset(), training)
    augmentation.set(training)
    draw = tf.function(
        lambda: tf.map_fn(
            lambda step: augmentation._share(SEED, step),
            tf.range(4000),
            fn_output_signature=tf.float32,
        )
    )
    shares = draw().numpy()
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.08, abs=1e-7)


def noise(*steps: int, strength: float = 0.5, seed: int = 3) -> Array:
    """What is added to 300 examples of 20 inputs in each step."""
    augmentation = Augmentation(dataset((20,)), training := Training(input_noise=strength))
    augmentation.set(training)
    x = np.full((300 * len(steps), 20), 7.0, np.float32)
    found = augmentation.noisy(x, tf.constant(seed), [tf.constant(step) for step in steps])
    return np.asarray(found) - x


def test_the_noise_of_inputs_is_gaussian_and_independent() -> None:
    found = noise(11)
    assert found.mean() == pytest.approx(0, abs=0.03)
    assert found.std() == pytest.approx(0.5, rel=0.04)
    assert (np.abs(found) < 0.5).mean() == pytest.approx(0.683, abs=0.025)
    assert np.abs(np.corrcoef(found.T) - np.eye(20)).max() < 0.3
    assert noise(11, strength=1.0) == pytest.approx(2 * found, abs=1e-5)


def test_the_noise_of_a_step_follows_from_seed_and_step_alone() -> None:
    one, other = noise(11), noise(12)
    assert (noise(11, 12) == np.concatenate([one, other])).all()
    assert (noise(11) == one).all()
    for apart in (other, noise(11, seed=4), noise(13)):
        assert abs(np.corrcoef(one.ravel(), apart.ravel())[0, 1]) < 0.06


def config(net: dict[str, Any] | None = None, epochs: int = 2, **training: Any) -> TrialConfig:
    fields = {"batch_size": 8, "learning_rate": 0.05} | training
    return TrialConfig(
        number=0, net=NetSpec(**{"hidden_sizes": 6} | (net or {})), training=Training(**fields),
        epochs=epochs, seed=3,
    )  # fmt: skip


def weights(of: TrialConfig, data: DeviceData) -> list[Array]:
    trainer = Trainer(data, of)
    trainer.initialize(of)
    assert all(not report.diverged for report in train(trainer, of))
    return [np.asarray(weight) for weight in trainer.net.weights]


ALL: dict[str, Any] = {
    "augment_shift": 1, "augment_flip": True, "augment_crop": 0.2, "augment_erase": 0.2,
    "augment_rotate": 10.0, "mixup": 0.2, "input_noise": 0.3,
}  # fmt: skip


@pytest.mark.parametrize("path", [{"steps_per_block": 4}, {"tiles": True}])
@pytest.mark.parametrize("class_weight", ["none", "balanced"])
def test_all_paths_train_the_same_net(path: dict[str, Any], class_weight: str) -> None:
    data = DeviceData(dataset())
    plain = weights(config(**ALL, steps_per_block=1, class_weight=class_weight), data)
    other = weights(config(**ALL, **path, class_weight=class_weight), data)
    for one, two in zip(plain, other, strict=True):
        assert two == pytest.approx(one, abs=1e-5)


def test_a_step_minimises_the_mixed_loss_of_the_changed_images() -> None:
    data, of = DeviceData(dataset()), config(**ALL, batch_size=90, epochs=1)
    trainer = Trainer(data, of)
    trainer.initialize(of)
    kernel, bias, *_ = first = [weight.numpy() for weight in trainer.net.weights]
    order = tf.random.experimental.stateless_shuffle(tf.range(90), seed=(3, 0)).numpy()
    augmentation = Augmentation(data, of.training)
    augmentation.set(of.training)
    step = [tf.constant(0)]
    x = augmentation.images(data.normalize(tf.gather(data.train[0], order)), SEED, step)
    hot = np.eye(3, dtype="f4")[data.train[1].numpy()[order]]
    x, shares = augmentation.mixed(x, hot, SEED, step)
    x = augmentation.noisy(x, SEED, step)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(
            tf.nn.softmax_cross_entropy_with_logits(shares, trainer.net.scores(x))
        )
    gradients = tape.gradient(loss, trainer.net.weights)
    (report,) = train(trainer, of)
    assert report.train_loss == pytest.approx(float(loss), rel=1e-5)
    for before, gradient, weight in zip(first, gradients, trainer.net.weights, strict=True):
        assert weight.numpy() == pytest.approx(before - 0.05 * gradient.numpy(), abs=1e-6)
    assert kernel.shape == (35, 6)
    assert bias.shape == (6,)


def test_values_share_compiled_functions_and_kinds_do_not() -> None:
    assert structure(config(augment_shift=1)) == structure(config(augment_shift=2))
    assert structure(config(augment_shift=1)) == structure(config(augment_flip=True))
    assert structure(config(mixup=0.1)) == structure(config(mixup=0.9))
    assert structure(config(input_noise=0.1)) == structure(config(input_noise=0.9))
    kinds: list[dict[str, Any]] = [
        {},
        {"augment_shift": 1},
        {"augment_rotate": 5},
        {"augment_erase": 0.1},
        {"mixup": 1},
        {"input_noise": 1},
    ]
    assert len({structure(config(**kind)) for kind in kinds}) == len(kinds)


@pytest.mark.parametrize(
    ("data", "fields", "message"),
    [
        (dataset((12,)), {"augment_flip": True}, "augment_flip needs images .* augment_flip True"),
        (dataset(dtype=np.float32), {"augment_rotate": 3.0}, r"needs images \[height, width\] or"),
        (dataset(), {"augment_shift": 5}, "less than height and width of the images, 5 and 7"),
        (dataset(name="mnist"), {"augment_flip": True}, "mirrored digit .* dataset mnist"),
        (dataset(name="mnist"), {"augment_rotate": 91}, "at most 90 for digits: .* mnist"),
        (dataset((3, 8, 9)), {"augment_erase": 0.1}, "channels seem to be first: move them"),
    ],
)  # fmt: skip
def test_changes_that_the_examples_cannot_have_are_refused(
    data: DataSet, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        refuse_unfit(Training(**fields), data)
    with pytest.raises(InputError, match=message):
        Trainer(DeviceData(data), config(**fields))
    study = Study(
        training=fields,
        space={"learning_rate": {"log_uniform": [1e-3, 1e-1]}},
    )
    with pytest.raises(InputError, match=message):
        checks.check_images(study, data)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"augment_shift": -1}, "augment_shift"),
        ({"augment_shift": 1.5}, "augment_shift"),
        ({"augment_crop": 1.0}, "augment_crop"),
        ({"augment_erase": -0.1}, "augment_erase"),
        ({"augment_rotate": 181}, "augment_rotate"),
        ({"mixup": -1}, "mixup"),
        ({"input_noise": -0.1}, "input_noise"),
    ],
)
def test_impossible_strengths_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        OneNet(training=fields)


def test_a_trainer_also_refuses_a_later_trial_of_the_same_structure() -> None:
    data = DeviceData(dataset())
    trainer = Trainer(data, config(augment_shift=1))
    with pytest.raises(InputError, match="less than height and width"):
        trainer.initialize(config(augment_shift=5))


def test_images_of_any_usual_shape_may_change() -> None:
    for shape in ((3, 9), (9, 3), (9, 8, 1), (9, 8, 4), (3, 3, 3)):
        refuse_unfit(Training(augment_erase=0.1, augment_rotate=90), dataset(shape))
    refuse_unfit(Training(), dataset((3, 8, 9)))  # a net without changes may take any order


def test_mixup_of_one_example_is_refused() -> None:
    with pytest.raises(InputError, match=r"batches of two or more\. .* batch_size 1"):
        config(mixup=0.2, batch_size=1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mixup": 0.2}, "mixup cannot mix categories with learned vectors"),
        ({"input_noise": 0.2}, "input_noise cannot change categories with learned vectors"),
    ],
)
def test_changes_of_learned_vectors_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config({"embedding_sizes": 3}, **fields)
