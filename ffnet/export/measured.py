"""Measures a net that is exported on the validation part again, and compares with the table."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ffnet.data.dataset import Part
from ffnet.data.load import load_raw
from ffnet.data.rows import by_name
from ffnet.errors import InputError
from ffnet.export.card import Choice
from ffnet.run import provenance
from ffnet.spec.sections import Data
from ffnet.spec.validation import validated

AT_ONCE = 1024
"""Examples are predicted in parts of this size, which limits the memory."""

LOSS = 1e-3
"""Rounding changes a loss by less than this, as a share of the loss or of 1 nat."""

FLIPPED = 1e-3
"""Rounding changes the predicted class of fewer examples than this share, or of one example."""


def measured_again(choice: Choice, scores: Callable[[Any], Any]) -> dict[str, Any]:
    """Measure the exported net on raw examples of the validation part.

    Args:
        choice: the trial and its weights.
        scores: the exported net: raw examples [N, …], or {name of a column: its values}, → class
            scores [N, C].

    Returns:
        `val_accuracy` and `val_loss`, for the card. If the data of the run are not on this machine
        or have changed, both are None, and `reason` says why.

    Raises:
        InputError: the figures differ from those of the report by more than rounding does.
    """
    try:
        part = validation_part(choice)
    except InputError as error:
        return {"val_accuracy": None, "val_loss": None, "reason": str(error)}
    accuracy, loss = _figures(part, scores)
    report = choice.report
    flipped = abs(accuracy - report["val_accuracy"]) * len(part)
    off = abs(loss - report["val_loss"]) / max(1.0, report["val_loss"])
    if not (off <= LOSS and flipped <= max(1.5, FLIPPED * len(part))):
        raise InputError(
            f"the exported net must have the figures of its report: val_accuracy "
            f"{report['val_accuracy']:.6f}, val_loss {report['val_loss']:.6f}. Given: "
            f"{accuracy:.6f} and {loss:.6f}, measured again with {choice.weights.file}; name "
            f"another trial with --trial"
        )
    return {"val_accuracy": accuracy, "val_loss": loss}


def validation_part(choice: Choice) -> Part:
    """The validation part as it stands in the files.

    The examples of a table with an encoding are a structured array: see `ffnet.data.rows`.

    Raises:
        InputError: it is not that of the run.
    """
    about = choice.document["data"]
    asked = validated(Data, choice.document["study"]["data"], str(choice.run.study), recorded=True)
    data, part = load_raw(asked)
    provenance.check_data(about, data, "the run")
    raw = part.x if data.encoding else part.x.astype(about["dtype"], copy=False)
    return Part(raw, part.y)


def _figures(part: Part, scores: Callable[[Any], Any]) -> tuple[float, float]:
    """Accuracy, and mean cross-entropy in nats."""
    correct, loss = 0, 0.0
    for start in range(0, len(part), AT_ONCE):
        some = part.take(slice(start, start + AT_ONCE))
        z = np.asarray(scores(by_name(some.x)), np.float64)
        correct += int((z.argmax(axis=1) == some.y).sum())
        z -= z.max(axis=1, keepdims=True)
        loss += float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(some)), some.y]).sum())
    return correct / len(part), loss / len(part)
