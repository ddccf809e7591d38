"""The common base of all models of a study, and the context of a validation."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo

from ffnet.errors import InputError

Values = dict[str, Any]
"""The values of a study or of one section of it, by field name."""

RECORDED, NEW = {"recorded": True}, {"recorded": False}
"""Contexts of a validation. RECORDED is for values in a run, which an earlier version of ffnet with
fewer rules may have written. NEW is for values that a user gives now."""


def is_recorded(info: ValidationInfo) -> bool:
    """Whether the values come from a run. Then rules that are newer than the run do not apply."""
    return bool((info.context or {}).get("recorded"))


def is_new(info: ValidationInfo) -> bool:
    """Whether a user gives the values now, so that they come neither from a run nor from ffnet."""
    return (info.context or {}).get("recorded") is False


class Spec(BaseModel):
    """A frozen model that refuses unknown keys, NaN and infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def __init__(self, /, **fields: Any) -> None:
        """Make the model from its fields. A section of a study may be a dict.

        Raises:
            InputError: a value is wrong. The message has the field, the rule and the value.
        """
        try:
            super().__init__(**fields)
        except ValidationError as error:
            from ffnet.spec.validation import explain

            raise InputError(explain(error, type(self))) from None

    # pydantic itself still makes a section inside a study without __init__.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]
