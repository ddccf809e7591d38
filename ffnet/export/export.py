"""A trial's net as a SavedModel: raw examples in, probabilities and class names out.

Whoever loads it needs TensorFlow, and nothing of ffnet or Keras. Imports TensorFlow.
"""

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ffnet.errors import InputError
from ffnet.export.card import Choice, card, input_name
from ffnet.export.folder import CARD
from ffnet.nets.net import make_net
from ffnet.nets.normalization import normalized, per_feature
from ffnet.run import checkpoints
from ffnet.run.storage import File, write_json
from ffnet.serving.rest import SIGNATURE
from ffnet.spec.net import NetSpec

Array = npt.NDArray[Any]


class ServedNet(tf.Module):  # type: ignore[misc]
    """A trained net with the normalisation and the class names inside.

    Attributes:
        step: steps that its weights have been trained.
    """

    def __init__(self, spec: NetSpec, data: Mapping[str, Any], checkpoint: File) -> None:
        """Build the net and read its weights.

        Args:
            spec: the net.
            data: the data set, as study.json has it.
            checkpoint: the trial's.
        """
        super().__init__()
        self._features, self._classes = math.prod(data["example_shape"]), tuple(data["classes"])
        # Every api gives the same net, and the variables of a barebones one have open shapes.
        functional = spec.model_copy(update={"api": "functional"})
        self._net = make_net(self._features, len(self._classes), functional)
        self._variables = [*self._net.weights, *self._net.state]  # saved as it is the Module's
        saved = checkpoints.load(checkpoint)
        try:
            saved.assign(self._variables)
        except InputError as error:
            raise checkpoints.damaged(checkpoint, error) from None
        self.step = saved.step
        floats = np.dtype(data.get("normalized_in", "float32")).type
        each = per_feature(floats(data["mean"]), floats(data["std"]), self._features)
        self._mean, self._scale = each
        name, dtype = input_name(data["dtype"]), data["dtype"]
        self._input = tf.TensorSpec([None, *data["example_shape"]], dtype, name)

    def answer(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Probabilities [N, C] and class names [N] for raw examples [N, …]."""
        x = normalized(tf.reshape(x, [-1, self._features]), self._mean, self._scale)
        scores = self._net.scores(x)
        best = tf.argmax(scores, axis=1)
        return {
            "probabilities": tf.nn.softmax(scores),
            "class": tf.gather(tf.constant(self._classes), best),
        }

    def save(self, path: Path) -> None:
        """Write a SavedModel, whose one signature is `answer`."""
        signature = tf.function(self.answer, autograph=False).get_concrete_function(self._input)
        tf.saved_model.save(self, str(path), {SIGNATURE: signature})


def export(choice: Choice, out: Path) -> dict[str, Any]:
    """Write the next version of a model, OUT/1, OUT/2, …; returns its card.

    The card lies in the version's folder and, that of the newest, in OUT.

    Args:
        choice: the trial.
        out: the model's folder; its name is the model's.

    Raises:
        InputError: the trial has trained on since it was chosen, or `out` cannot be written.
    """
    net = ServedNet(choice.config.net, choice.document["data"], choice.checkpoint)
    if net.step != choice.report["step"]:
        raise InputError(f"trial {choice.row['trial']} trains on meanwhile: export it when it ends")
    try:
        return _publish(net, card(choice), out)
    except OSError as error:
        raise InputError(f"{out} must be a folder to write to ({error.strerror})") from None


def _publish(net: ServedNet, about: dict[str, Any], out: Path) -> dict[str, Any]:
    """A version appears when it is complete; none is ever written over."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=out) as beside:
        made = Path(beside) / "model"  # unlike `beside`, for others to read too
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
                    raise  # else another export came first
    write_json(File(str(out.absolute() / CARD)), whole)
    return whole
