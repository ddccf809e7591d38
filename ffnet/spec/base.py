"""What all models of a study share: their base class, and the context of a validation."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo

from ffnet.errors import InputError

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

    def __init__(self, /, **fields: Any) -> None:
        """Make the model from its fields; the section of a study may be given as a dict.

        Raises:
            InputError: in one line: the place, the rule, the value received.
        """
        try:
            super().__init__(**fields)
        except ValidationError as error:
            from ffnet.spec.validation import explain

            raise InputError(explain(error, type(self))) from None

    # Only for calls: pydantic itself goes on to make a section inside a study without __init__.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]
