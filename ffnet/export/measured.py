"""Measures a net that is exported on the validation part again, and compares with the table."""

from collections.abc import Callable, Mapping
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
from ffnet.training.ensemble import Answers

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
    found = answers(part, scores)
    refuse_other_figures(choice, found)
    return figures(found)


def validation_part(choice: Choice, given: Any = None) -> Part:
    """The validation part as it stands in the files.

    The examples of a table with an encoding are a structured array: see `ffnet.data.rows`.

    Args:
        choice: a trial of the run.
        given: the data, if they were given from Python: see `ffnet.data.given`.

    Raises:
        InputError: it is not that of the run.
    """
    about = choice.document["data"]
    asked = validated(Data, choice.document["study"]["data"], str(choice.run.study), recorded=True)
    data, part = load_raw(asked, given)
    provenance.check_data(about, data, "the run")
    raw = part.x if data.encoding else part.x.astype(about["dtype"], copy=False)
    return Part(raw, part.y)


def answers(part: Part, scores: Callable[[Any], Any]) -> Answers:
    """What a net says about a part with raw examples; `scores` as for `measured_again`."""
    each = [
        np.asarray(scores(by_name(part.x[start : start + AT_ONCE])))
        for start in range(0, len(part), AT_ONCE)
    ]
    return Answers.of(np.concatenate(each), part.y)


def figures(found: Answers) -> dict[str, Any]:
    """The figures that a card names as measured again."""
    return {"val_accuracy": found.value("val_accuracy"), "val_loss": found.loss()}


def refuse_other_figures(choice: Choice, found: Answers) -> None:
    """Raise InputError if the exported net has other figures than the report of its weights."""
    given = figures(found)
    if not is_same(choice.report, given, len(found.labels)):
        raise InputError(
            f"the exported net must have the figures of its report: val_accuracy "
            f"{choice.report['val_accuracy']:.6f}, val_loss {choice.report['val_loss']:.6f}. "
            f"Given: {given['val_accuracy']:.6f} and {given['val_loss']:.6f}, measured again with "
            f"{choice.weights.file}; name another trial with --trial"
        )


def is_same(report: Mapping[str, Any], found: Mapping[str, Any], examples: int) -> bool:
    """Whether the figures measured again differ from those of a report only by rounding."""
    flipped = abs(found["val_accuracy"] - report["val_accuracy"]) * examples
    off = abs(found["val_loss"] - report["val_loss"]) / max(1.0, report["val_loss"])
    return bool(off <= LOSS and flipped <= max(1.5, FLIPPED * examples))
