"""What all nouns of a study share: their base class, and what a validation is told."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo

Values = dict[str, Any]
"""The values of a study or of one section of it, by field name."""

RECORDED, NEW = {"recorded": True}, {"recorded": False}
"""Context of a validation: of what an earlier version may have accepted, or of what is new."""


def is_recorded(info: ValidationInfo) -> bool:
    """Whether a study is read that was run already, and is not refused for what did no harm."""
    return bool((info.context or {}).get("recorded"))


def is_new(info: ValidationInfo) -> bool:
    """Whether a person gives it now: it is not of a run, and ffnet itself does not join it."""
    return (info.context or {}).get("recorded") is False


class Spec(BaseModel):
    """A frozen model that refuses unknown keys, NaN and infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
