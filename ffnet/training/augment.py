"""Changes training examples at random, in the compiled graph; validation and test stay as they are.

Images: shift, mirror, crop and rotation together are one affine map for each image, so that it is
sampled once, and each new pixel is interpolated between four old ones. If images are only shifted
and mirrored, each new pixel is one of the old ones. Beyond the border stand the pixels of the
border. Last, a square may be erased: its pixels become 0, which is the mean of the training part,
or black with scaling unit.

Mixup mixes each example of a batch with the next one, the inputs and the labels alike. It serves
tables, too. Source: Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: Beyond Empirical Risk
Minimization", 2018.

Gaussian noise on the inputs serves tables, too. For small noise it is like a penalty on the slope
of the net's outputs (Bishop, "Training with Noise is Equivalent to Tikhonov Regularization", 1995).
"""

import math
from collections.abc import Sequence

import tensorflow as tf

from ffnet.spec.net import AUGMENTING, Training
from ffnet.training.examples import Examples, refuse_unfit

SEEDS_FROM = -(2**32)
"""The seeds of step 0; the seeds of later steps lie below. No other draw of a trial is there."""


def structure(training: Training) -> tuple[bool, bool, bool, bool, bool]:
    """What the compiled functions depend on: whether images move, are interpolated, have erased
    squares, and whether examples are mixed and get noise.
    """
    between = bool(training.augment_crop or training.augment_rotate)
    whole = bool(training.augment_shift or training.augment_flip)
    erases, mixes, adds_noise = (
        getattr(training, name) > 0 for name in ("augment_erase", "mixup", "input_noise")
    )
    return between or whole, between, erases, mixes, adds_noise


class Augmentation:
    """Changes the examples of training batches. Its strengths may change without a new trace.

    Attributes:
        changes: whether images are changed.
        mixes: whether examples are mixed.
        adds_noise: whether the inputs get noise.
    """

    def __init__(self, data: Examples, training: Training) -> None:
        """Decide which changes there are. Their strengths come with `set`.

        Args:
            data: the data set.
            training: any training of the structure.

        Raises:
            InputError: the examples cannot be changed so.
        """
        refuse_unfit(training, data)
        self._shape = (*(data.pixels or ()), 1)[:3]
        (
            self._moves, self._between, self._erases, self.mixes, self.adds_noise,
        ) = structure(training)  # fmt: skip
        self.changes = self._moves or self._erases
        self._strengths = tf.Variable(tf.zeros([len(AUGMENTING)]), trainable=False)
        self._alpha = tf.Variable(0.0, trainable=False)
        self._deviation = tf.Variable(0.0, trainable=False)

    def set(self, training: Training) -> None:
        """Take the strengths of a trial."""
        if self.changes:
            self._strengths.assign([float(getattr(training, name)) for name in AUGMENTING])
        if self.mixes:
            self._alpha.assign(training.mixup)
        if self.adds_noise:
            self._deviation.assign(training.input_noise)

    def images(self, x: tf.Tensor, seed: tf.Tensor, steps: Sequence[tf.Tensor]) -> tf.Tensor:
        """Return the changed images of one or more batches of the same size.

        Args:
            x: prepared images [N, D], those of the first batch first.
            seed: the trial's seed. It and a step's number decide what happens to its images.
            steps: the number of earlier steps, for each batch.
        """
        count = tf.shape(x)[0] // len(steps)
        draws = tf.concat([self._draws(count, seed, step) for step in steps], axis=0)
        images = tf.reshape(x, [-1, *self._shape])
        if self._moves:
            move = self._mapped if self._between else self._shifted
            images = move(images, draws[:, :7])
        if self._erases:
            images *= self._kept(draws[:, 7:])
        return tf.reshape(images, [-1, math.prod(self._shape)])

    def _draws(self, count: tf.Tensor, seed: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Numbers from -1 to below 1, ten for each image, [N, 10]."""
        return tf.random.stateless_uniform(
            [count, 10], _seed(seed, step, 0), -1.0, 1.0, alg="philox"
        )

    def _shifted(self, images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        """The images [N, H, W, C] shifted and mirrored: copies of whole pixels.

        The result is that of `_mapped` without rotation and crop, in a fifth of the time.
        """
        shift, flip, *_ = tf.unstack(self._strengths)
        right, down, mirror, *_ = tf.unstack(draws, axis=1)
        height, width, channels = self._shape
        mirrored = (flip > 0) & (mirror < 0)
        columns = tf.where(mirrored[:, None], tf.range(width)[::-1], tf.range(width))
        columns += tf.cast(_whole(right, shift), tf.int32)[:, None]
        rows = tf.range(height) + tf.cast(_whole(down, shift), tf.int32)[:, None]
        columns = tf.clip_by_value(columns, 0, width - 1)
        rows = tf.clip_by_value(rows, 0, height - 1)
        rows += tf.range(tf.shape(rows)[0])[:, None] * height  # of all images, one below the other
        places = rows[:, :, None] * width + columns[:, None]
        return tf.gather(tf.reshape(images, [-1, channels]), places)

    def _mapped(self, images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        """The images [N, H, W, C], each under its own affine map."""
        shift, flip, crop, _, rotate = tf.unstack(self._strengths)
        right, down, mirror, zoom, turn, aside, up = tf.unstack(draws, axis=1)
        height, width, _ = self._shape
        middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
        scale = 1 - crop * (1 + zoom) / 2  # the share of each side that is seen
        x = middle_x + _whole(right, shift) + aside * (1 - scale) * middle_x
        y = middle_y + _whole(down, shift) + up * (1 - scale) * middle_y
        angle = turn * rotate * (math.pi / 180)
        cos, sin = scale * tf.cos(angle), scale * tf.sin(angle)
        sign = tf.where((flip > 0) & (mirror < 0), -1.0, 1.0)
        # The middle of the new image shows (x, y) of the old one.
        maps = [
            cos * sign, -sin, x - cos * sign * middle_x + sin * middle_y,
            sin * sign, cos, y - sin * sign * middle_x - cos * middle_y,
            tf.zeros_like(cos), tf.zeros_like(cos),
        ]  # fmt: skip
        moved: tf.Tensor = tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=tf.stack(maps, axis=1),
            output_shape=[height, width],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="NEAREST",
        )
        return moved

    def _kept(self, draws: tf.Tensor) -> tf.Tensor:
        """0 for the pixels of each image's square, 1 for the others, [N, H, W, 1].

        The middle of the square may be any pixel, so that the square may end at the border.
        """
        height, width, _ = self._shape
        size, x, y = tf.unstack(draws, axis=1)
        share = self._strengths[3] * (1 + size) / 2
        side = tf.sqrt(share * (height * width))

        def inside(middle: tf.Tensor, pixels: int) -> tf.Tensor:
            distance = tf.range(pixels, dtype=tf.float32) - (middle[:, None] + 1) / 2 * pixels
            return tf.abs(distance + 0.5) < side[:, None] / 2

        erased = inside(y, height)[:, :, None] & inside(x, width)[:, None, :]
        return tf.cast(~erased, tf.float32)[..., None]

    def mixed(
        self, x: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor, steps: Sequence[tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return mixed examples and their mixed targets, of one or more batches of the same size.

        A batch has one share λ, from the distribution Beta(mixup, mixup). An example becomes λ
        times itself and 1 - λ times the next one; the last example of a batch is mixed with the
        first.

        Args:
            x: what the net gets, [N, D].
            targets: the share of each class, [N, C].
            seed, steps: as for `images`.
        """
        shares = tf.stack([self._share(seed, step) for step in steps])
        batches = [len(steps), tf.shape(x)[0] // len(steps)]
        return _mixed(x, shares, batches), _mixed(targets, shares, batches)

    def _share(self, seed: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """A number from Beta(mixup, mixup): a share of a gamma number and another one.

        A gamma number with parameter α is one with α + 1 times a uniform number to the power of
        1/α (Marsaglia and Tsang, 2000). With logarithms, small α do not make both numbers 0.
        """
        own = _seed(seed, step, 1)
        apart = tf.random.fold_in(own, 1, "philox")
        gamma = tf.math.log(tf.random.stateless_gamma([2], own, alpha=self._alpha + 1))
        power = tf.math.log1p(-tf.random.stateless_uniform([2], apart, alg="philox"))
        return tf.sigmoid(gamma[0] - gamma[1] + (power[0] - power[1]) / self._alpha)

    def noisy(self, x: tf.Tensor, seed: tf.Tensor, steps: Sequence[tf.Tensor]) -> tf.Tensor:
        """Return the inputs [N, D] of one or more batches of the same size with Gaussian noise.

        Args:
            x: what the net gets, [N, D].
            seed, steps: as for `images`.
        """
        shape = [tf.shape(x)[0] // len(steps), tf.shape(x)[1]]
        noise = [
            tf.random.stateless_normal(
                shape, tf.random.fold_in(_seed(seed, step, 0), 1, "philox"), alg="philox"
            )
            for step in steps
        ]
        return x + self._deviation * tf.concat(noise, axis=0)


def _mixed(x: tf.Tensor, shares: tf.Tensor, batches: list[tf.Tensor | int]) -> tf.Tensor:
    """x [k·B, …], each row mixed with the next one of its batch; shares [k]."""
    apart = tf.reshape(x, [*batches, x.shape[1]])
    share = shares[:, None, None]
    return tf.reshape(share * apart + (1 - share) * tf.roll(apart, -1, axis=1), tf.shape(x))


def _whole(draws: tf.Tensor, most: tf.Tensor) -> tf.Tensor:
    """Whole numbers from -most to most, each as often as the others."""
    return tf.floor((draws + 1) / 2 * (2 * most + 1)) - most


def _seed(seed: tf.Tensor, step: tf.Tensor, kind: int) -> tf.Tensor:
    """The seed of a step's draws. Images (0) and mixup (1) draw apart, noise from both."""
    number = SEEDS_FROM - 2 * tf.cast(step, tf.int64) - kind
    return tf.stack([tf.cast(seed, tf.int64), number])
