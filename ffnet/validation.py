"""Turns what pydantic raises, and files that cannot be read, into one line for a person."""

import difflib
import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ffnet.errors import InputError
from ffnet.results.storage import File, checked, is_remote
from ffnet.space import Domain, Spec, Values

M = TypeVar("M", bound=Spec)


def unknown_key(name: str, section: str, valid: Mapping[str, Any]) -> str:
    """The message for a key that does not exist, with the valid ones."""
    close = difflib.get_close_matches(name, valid, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"unknown key {name!r} in [{section}]{hint}; valid keys: {', '.join(valid)}"


def explain(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """One line for the first thing wrong: where, the rule, the value received.

    Args:
        error: what pydantic raised.
        model: the model that was validated, to name the valid keys when one is unknown.
    """
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden" and model is not None:
        section, valid = _valid_keys(model, place[:-1])
        return unknown_key(place[-1], section, valid)
    message = first["msg"].removeprefix("Value error, ")
    where = ".".join(place)
    if first["type"] == "value_error":
        return f"{where}: {message}" if where else message
    given = first["input"]
    shown = "nan" if isinstance(given, float) and math.isnan(given) else repr(given)
    return f"{where}: {message[0].lower()}{message[1:]}. Given: {shown}"


def _valid_keys(model: type[BaseModel], place: list[str]) -> tuple[str, Mapping[str, Any]]:
    if place[:1] == ["space"]:
        return ".".join(place[:2]), Domain.model_fields
    for part in place:
        annotation = model.model_fields[part].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        model = annotation
    return ".".join(place) or "the study", model.model_fields


def validated(model: type[M], values: Values, source: str) -> M:
    """The model made from `values`; raises InputError with one line that names `source`."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{source}: {explain(error, model)}") from None


def read_study(place: str) -> Values:
    """A study's values from its TOML file, or from the study.json of a run, wherever it lies.

    Raises:
        InputError: the file is absent or malformed.
    """
    if not (is_remote(place) or place.endswith(".json")):
        return read_toml(Path(place))
    try:
        with File(checked(place)).open() as file:
            values: Values = json.loads(file.read())["study"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{place}: not a study.json of a run ({error})") from None
    return values


def read_toml(path: Path) -> Values:
    """A TOML file as nested dicts. Raises InputError when it is absent or malformed."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{path}: not a readable TOML file ({reason})") from None
