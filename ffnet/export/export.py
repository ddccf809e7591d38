"""Writes a trial's net as a SavedModel: raw examples in, probabilities and class names out.

Loading the SavedModel needs TensorFlow, but neither ffnet nor Keras. This module imports
TensorFlow.
"""

import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ffnet.errors import InputError
from ffnet.export.card import Choice, card
from ffnet.export.columns import RawColumns
from ffnet.export.folder import CARD
from ffnet.export.measured import measured_again
from ffnet.export.signature import input_name
from ffnet.nets.net import make_net
from ffnet.nets.normalization import normalized, per_feature
from ffnet.nets.preparation import Preparation
from ffnet.run import checkpoints
from ffnet.run.storage import File, write_json
from ffnet.serving.rest import SIGNATURE

Array = npt.NDArray[Any]
Examples: TypeAlias = "tf.Tensor | Mapping[str, tf.Tensor]"


class Served(tf.Module):  # type: ignore[misc]
    """A net, or an ensemble, that takes raw examples and names the classes.

    Attributes:
        columns: the columns of a table with an encoding; None for other data.
    """

    def __init__(self, choice: Choice, raw: "_Scaled | RawColumns") -> None:
        """Take the classes and the inputs from a chosen trial."""
        super().__init__()
        self._classes = tuple(choice.document["data"]["classes"])
        self.columns = choice.columns
        self.raw = raw

    def scores(self, x: Examples) -> tf.Tensor:
        """Return the score of each class [N, C] for raw examples.

        Args:
            x: examples [N, …]; for a table with an encoding {name of a column: raw values [N]}.
        """
        return self.scores_of(self.raw(x))

    def scores_of(self, examples: tf.Tensor) -> tf.Tensor:
        """Return the score of each class [N, C] for examples as `raw` makes them."""
        raise NotImplementedError

    def answer(self, x: Examples) -> dict[str, tf.Tensor]:
        """Return probabilities [N, C] and class names [N] for raw examples, as for `scores`."""
        scores = self.scores(x)
        best = tf.argmax(scores, axis=1)
        return {
            "probabilities": tf.nn.softmax(scores),
            "class": tf.gather(tf.constant(self._classes), best),
        }

    def save(self, path: Path) -> None:
        """Write a SavedModel with a single signature, `answer`."""
        names = self.raw.specs

        def answer(*values: tf.Tensor) -> dict[str, tf.Tensor]:
            return self.answer(dict(zip(names, values, strict=True)) if self.columns else values[0])

        signed = tf.function(answer, autograph=False).get_concrete_function(*names.values())
        tf.saved_model.save(self, str(path), {SIGNATURE: signed})


class ServedNet(Served):
    """A trained net that also prepares its inputs."""

    def __init__(self, choice: Choice, raw: "_Scaled | RawColumns | None" = None) -> None:
        """Build the net of the chosen trial, with the chosen weights.

        Args:
            choice: the trial and its weights.
            raw: the first part of another net of the same data, which this net then shares.

        Raises:
            InputError: the weights are not those of the trial's net.
        """
        super().__init__(choice, raw or _raw(choice))
        spec, weights = choice.config.net, choice.weights
        self._prepare: Preparation | Callable[[tf.Tensor], tf.Tensor] = tf.identity
        if choice.columns:
            self._prepare = Preparation(choice.columns, choice.max_categories, spec.embedding_sizes)
        # Every api gives the same net, but a barebones net's variables have no fixed shape.
        functional = spec.model_copy(update={"api": "functional"})
        self._net = make_net(choice.inputs, len(self._classes), functional)
        # An attribute, so that tf.Module saves these variables.
        self._variables = [*self._net.weights, *self._net.state]
        try:
            weights.saved.assign(self._variables)
        except InputError as error:
            raise checkpoints.damaged(weights.file, error) from None

    def scores_of(self, examples: tf.Tensor) -> tf.Tensor:
        return self._net.scores(self._prepare(examples))


def _raw(choice: Choice) -> "_Scaled | RawColumns":
    """The first part of a net: raw examples → examples as `Part.x` of a data set has them."""
    data = choice.document["data"]
    if choice.columns:
        return RawColumns(choice.columns, data["mean"], data["std"], choice.missing)
    return _Scaled(data)


class _Scaled:
    """The first part of a net for pixels or complete numbers: it scales them."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._features = math.prod(data["example_shape"])
        floats = np.dtype(data.get("normalized_in", "float32")).type
        each = per_feature(floats(data["mean"]), floats(data["std"]), self._features)
        self._mean, self._scale = each
        name, dtype = input_name(data["dtype"]), data["dtype"]
        self.specs = {name: tf.TensorSpec([None, *data["example_shape"]], dtype, name)}

    def __call__(self, x: Examples) -> tf.Tensor:
        return normalized(tf.reshape(x, [-1, self._features]), self._mean, self._scale)


def export(choice: Choice, out: Path) -> dict[str, Any]:
    """Write the next version of a model, OUT/1, OUT/2, …, and return its card.

    Each version's folder has its card. OUT has the card of the newest version, too.

    Args:
        choice: the trial and its weights.
        out: the model's folder; its name is the model's name.

    Raises:
        InputError: the net has other figures on the validation part than the table says, or `out`
            cannot be written.
    """
    net = ServedNet(choice)
    again = measured_again(choice, net.scores)
    return publish(net, card(choice) | {"measured_again": again}, out)


def publish(net: Served, about: dict[str, Any], out: Path) -> dict[str, Any]:
    """Write the next version of a model with the card `about`, and return the whole card.

    Raises:
        InputError: `out` cannot be written.
    """
    try:
        return _publish(net, about, out)
    except OSError as error:
        raise InputError(f"{out} must be a folder that can be written ({error.strerror})") from None


def _publish(net: Served, about: dict[str, Any], out: Path) -> dict[str, Any]:
    """Write a version and rename it when it is complete. Existing versions are never changed."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=out) as beside:
        made = Path(beside) / "model"  # other users may read it, unlike `beside`
        net.save(made)
        while True:
            taken = [int(path.name) for path in out.iterdir() if path.name.isdecimal()]
            version = max(taken, default=0) + 1
            whole = {"name": out.resolve().name, "version": version, **about}
            write_json(File(str(made / CARD)), whole)
            try:
                made.rename(out / str(version))
                break
            except OSError:
                if not (out / str(version)).exists():
                    raise
                # Another export has just taken this version: try the next.
    write_json(File(str(out.absolute() / CARD)), whole)
    return whole
