"""Validates values, and turns pydantic's errors into a line that a user understands."""

import difflib
import re
import reprlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ffnet.errors import InputError, one_line
from ffnet.spec.base import NEW, RECORDED, Spec, Values
from ffnet.spec.space import Domain

M = TypeVar("M", bound=Spec)
Place = tuple[str, ...]

MOST_LEVELS = 20  # maximum depth of nested tables and lists
SHOWN = 100  # maximum number of characters of a value in a message
MOST_KEYS = 250  # characters of a list of valid keys
MOST_MESSAGE = 350  # maximum number of characters of a rule with its values


def unknown_key(name: str, section: str, valid: Iterable[str]) -> str:
    """The message for a key that does not exist. It names a similar key, or the valid ones."""
    valid = list(valid)
    keys = f"; valid keys: {', '.join(valid)}"
    if len(keys) > MOST_KEYS:
        keys = "; `ffnet tune --help` explains the valid keys"
    hint = did_you_mean(name, valid) or keys
    return f"unknown key {shown(name)} in [{_short(section)}]{hint}"


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """A hint with the most similar valid name. Empty if no name is similar."""
    close = difflib.get_close_matches(name[:SHOWN], list(valid), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def explain(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """A line for the first error: its place, the rule and the value.

    Args:
        error: pydantic's error.
        model: the model that was validated. It is used to list valid keys if a key is unknown.
    """
    where, message = _first(error, model)
    return f"{where}: {message}" if where else message


def _first(error: ValidationError, model: type[BaseModel] | None) -> tuple[str, str]:
    """(place of the first error, its message). The place is empty if the message names it."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden" and model is not None:
        section, valid = _valid_keys(model, place[:-1])
        return "", unknown_key(place[-1], section, valid)
    message = first["msg"].removeprefix("Value error, ")
    where = _short(".".join(map(_short, place)))
    if first["type"] == "value_error":
        return where, one_line(message, MOST_MESSAGE)
    hint = ""
    if first["type"] == "literal_error":
        hint = did_you_mean(str(first["input"]), re.findall("'([^']*)'", first["ctx"]["expected"]))
    return where, f"{message[0].lower()}{message[1:]}. Given: {shown(first['input'])}{hint}"


def _valid_keys(model: type[BaseModel], place: list[str]) -> tuple[str, Mapping[str, Any]]:
    if place[:1] == ["space"]:
        return ".".join(place[:2]), Domain.model_fields
    for part in place:
        annotation = model.model_fields[part].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        model = annotation
    return ".".join(place) or "the study", model.model_fields


def shown(value: Any) -> str:
    """A short text for a value in a message, even if the value is large."""
    try:
        return _short(_SHORTENER.repr(value))
    except (ValueError, RecursionError):  # for example, an integer with thousands of digits
        return f"a value of type {type(value).__name__}"


def _short(text: str) -> str:
    return one_line(text, SHOWN)


class _Shortener(reprlib.Repr):
    """Shortens texts, and writes tuples as lists, which is how a study has them."""

    def repr_tuple(self, value: tuple[Any, ...], level: int) -> str:
        return self.repr_list(list(value), level)


_SHORTENER = _Shortener()
_SHORTENER.maxlist = _SHORTENER.maxtuple = _SHORTENER.maxdict = 8
_SHORTENER.maxstring = _SHORTENER.maxother = _SHORTENER.maxlong = SHOWN


def validated(
    model: type[M],
    values: Values,
    source: str,
    flags: Collection[str] = (),
    recorded: bool = False,
) -> M:
    """A model from values.

    Args:
        model: the model's class.
        values: its fields, by name.
        source: where the values come from, usually a file; messages name it.
        flags: names of the fields that come from the command line instead.
        recorded: whether the values come from a run, which an earlier version of ffnet may have
            written. Then rules that are newer than the run do not apply.

    Raises:
        InputError: a value is wrong. The message has the source or the flag, the rule and the
            value.
    """
    if odd := _odd_leaf(values):
        place, message = odd
        raise _refusal(source, flags, place, _short(".".join(map(_short, place))), message)
    try:
        return model.model_validate(values, context=RECORDED if recorded else NEW)
    except ValidationError as error:
        where, message = _first(error, model)
        place = tuple(str(part) for part in error.errors()[0]["loc"])
        raise _refusal(source, flags, place, where, message) from None


def _refusal(
    source: str, flags: Collection[str], place: Place, where: str, message: str
) -> InputError:
    """The error. It names the flag that set the field, or the source and the place."""
    if flag := next((field for field in place if field in flags), None):
        return InputError(f"{_flag(flag)}: {message}")
    if where:
        return InputError(f"{source}: {where}: {message}")
    given = f" with {', '.join(map(_flag, flags))}" if flags and not place else ""
    return InputError(f"{source}{_short(given)}: {message}")


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def _odd_leaf(values: Any) -> tuple[Place, str] | None:
    """(place, message) for a value that no study can have; None if there is none.

    Such a value is nested too deep, is an integer beyond 64 bits, or has control characters.
    """
    level: list[tuple[Place, Any]] = [((), values)]
    for _ in range(MOST_LEVELS):
        inner: list[tuple[Place, Any]] = []
        for place, value in level:
            if isinstance(value, dict):
                inner += [(place, key) for key in value]
                inner += [((*place, str(key)), each) for key, each in value.items()]
            elif isinstance(value, list | tuple):
                inner += [(place, each) for each in value]
            elif message := _why_odd(value):
                return place, message
        if not inner:
            return None
        level = inner
    deep = f"tables and lists may be nested at most {MOST_LEVELS} deep"
    return level[0][0][:2], deep


def _why_odd(value: Any) -> str | None:
    if isinstance(value, int) and value.bit_length() > 63:
        return f"an integer must fit in 64 bits. Given: {value.bit_length()} bits"
    if isinstance(value, str) and re.search("[\x00-\x1f\x7f-\x9f\ud800-\udfff]", value):
        return f"a text must have no control characters. Given: {shown(value)}"
    return None
