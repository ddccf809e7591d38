"""Turns the columns of a table into what a net gets: gaps, clips, one-hot vectors, codes.

Training, evaluation, prediction and exported nets use this module, and nothing else does this.
"""

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ffnet.data.encoding import Column
from ffnet.nets.inputs import embedded, own

CLIPPED_FROM = 3.0
"""`robust` keeps numbers below this nearly as they are, and none becomes larger than this."""

FAR = 1e9
"""From here on, the clip gives the same number for all."""

GAP = -1.0  # stands for a gap where codes of categories are compared; no code is negative


class Preparation:
    """Prepares examples: `Part.x` of a data set with an encoding → inputs of a net.

    The inputs have, in this order: the columns of numbers and dates; an indicator, 0 or 1, of the
    gaps of each of these columns in which the training part has gaps; the columns of categories as
    one-hot vectors: a number for each of the `max_categories` most frequent categories, one for all
    rarer ones and one for gaps, if the training part has these; the codes of the columns with
    learned vectors. A category that the training part does not have counts as a rare one. Where
    there are no rare ones, all its numbers are 0, as are those of a gap in a column without gaps.
    """

    def __init__(
        self,
        encoding: tuple[Column, ...],
        max_categories: int,
        embedding_sizes: tuple[int, ...] | None = None,
    ) -> None:
        """Decide which input belongs to which column.

        Args:
            encoding: the columns of the data set.
            max_categories: the study's field.
            embedding_sizes: the net's field.

        Raises:
            InputError: the sizes do not fit the columns.
        """
        self._learned = [*embedded(encoding, embedding_sizes)]
        places = range(len(encoding))
        self._numbers = [i for i in places if encoding[i].kind != "category"]
        numbers = [encoding[i] for i in self._numbers]
        self._fill = np.array([column.fill for column in numbers], np.float32)
        self._gaps = [at for at, column in enumerate(numbers) if column.gaps]
        self._clipped = np.array([column.scaling == "robust" for column in numbers], bool)
        self._knots = _Knots(numbers) if any(column.knots for column in numbers) else None
        self._one_hot = [
            i for i in places if encoding[i].kind == "category" and i not in self._learned
        ]
        categories = [encoding[i] for i in self._one_hot]
        self._gap_code = np.array([len(each.categories) for each in categories], np.float32)
        self._own = np.array([own(each, max_categories) for each in categories], np.float32)
        codes = [_codes(each, max_categories) for each in categories]
        self._of = np.repeat(np.arange(len(codes), dtype=np.int32), [len(each) for each in codes])
        self._code = np.concatenate([*codes, np.empty(0, np.float32)])

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Return the inputs [B, D] of examples [B, K], float32.

        Without learned vectors D is `Inputs.dense`; each learned vector adds its code.
        """
        parts = []
        if self._numbers:
            parts += self._of_numbers(tf.gather(x, self._numbers, axis=1))
        if self._one_hot:
            parts.append(self._of_categories(tf.gather(x, self._one_hot, axis=1)))
        if self._learned:
            parts.append(tf.gather(x, self._learned, axis=1))
        return tf.concat(parts, axis=1)

    def _of_numbers(self, x: tf.Tensor) -> list[tf.Tensor]:
        gaps = tf.math.is_nan(x)
        x = tf.where(gaps, self._fill, x)
        if self._clipped.any():
            near = tf.clip_by_value(x, -FAR, FAR)  # the square of a larger number may be infinite
            x = tf.where(self._clipped, near / tf.sqrt(1 + (near / CLIPPED_FROM) ** 2), x)
        if self._knots:
            x = self._knots(x)
        indicators = tf.cast(tf.gather(gaps, self._gaps, axis=1), x.dtype) if self._gaps else None
        return [x] if indicators is None else [x, indicators]

    def _of_categories(self, codes: tf.Tensor) -> tf.Tensor:
        # A code from the first rare category on becomes the code of all rare ones.
        codes = tf.where(codes == self._gap_code, GAP, tf.minimum(codes, self._own))
        return tf.cast(tf.gather(codes, self._of, axis=1) == self._code, tf.float32)


def _codes(column: Column, max_categories: int) -> npt.NDArray[np.float32]:
    """The code that each number of a one-hot vector stands for."""
    first = own(column, max_categories)
    joined = [first] if len(column.categories) > first else []
    return np.array([*range(first), *joined, *[GAP] * column.gaps], np.float32)


class _Knots:
    """The piecewise linear maps of `Column.knots`, for all columns of numbers at once."""

    def __init__(self, columns: list[Column]) -> None:
        self._mapped = np.array([bool(column.knots) for column in columns])
        pairs = [np.reshape(column.knots or (0.0, 0.0), (2, -1)) for column in columns]
        most = max(pair.shape[1] for pair in pairs)
        padded = np.array([np.pad(p, ((0, 0), (0, most - p.shape[1])), "edge") for p in pairs])
        places, values = padded[:, 0], padded[:, 1]
        run = np.diff(places, axis=1)
        slopes = np.divide(np.diff(values, axis=1), run, out=np.zeros_like(run), where=run > 0)
        self._places, self._values = places.astype(np.float32), values.astype(np.float32)
        self._slopes = np.pad(slopes, ((0, 0), (0, 1))).astype(np.float32)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        inside = tf.clip_by_value(x, self._places[:, 0], self._places[:, -1])
        # For each column [K], the last knot that is not beyond the number [B].
        at = tf.searchsorted(self._places, tf.transpose(inside), side="right") - 1
        place, value, slope = (
            tf.transpose(tf.gather(of, at, axis=1, batch_dims=1))
            for of in (self._places, self._values, self._slopes)
        )
        return tf.where(self._mapped, value + (inside - place) * slope, x)
