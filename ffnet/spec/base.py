"""What all models of a study share: their base class, and the context of a validation."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo

Values = dict[str, Any]
"""The values of a study or of one section of it, by field name."""

RECORDED, NEW = {"recorded": True}, {"recorded": False}
"""Context of a validation: for values that a run has recorded, perhaps by an earlier version of
ffnet with fewer rules; and for values that a person gives now."""


def is_recorded(info: ValidationInfo) -> bool:
    """Whether the values are those of a run: rules that are newer than the run do not apply."""
    return bool((info.context or {}).get("recorded"))


def is_new(info: ValidationInfo) -> bool:
    """Whether a person gives the values now: they come neither from a run nor from ffnet itself."""
    return (info.context or {}).get("recorded") is False


class Spec(BaseModel):
    """A frozen model that refuses unknown keys, NaN and infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
