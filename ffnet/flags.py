"""Flags made from a study's models: each field is one."""

import argparse
import tomllib
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ffnet.netspec import TUNABLE
from ffnet.space import SearchSpace, Values, same


def add_flags(to: argparse.ArgumentParser, model: type[BaseModel]) -> None:
    """A flag for each field of a study's model, in a group for each section."""
    top = to.add_argument_group("study")
    for name, field in model.model_fields.items():
        section = _section(field)
        if section is None:
            _add_flag(top, name, field)
        elif section is not SearchSpace:
            group = to.add_argument_group(name, (section.__doc__ or "").splitlines()[0])
            for inner, inner_field in section.model_fields.items():
                _add_flag(group, inner, inner_field)


def override(values: Values, flags: argparse.Namespace, model: type[BaseModel]) -> Values:
    """A study's values with those flags that were given put over them.

    A hyper-parameter given as a number leaves the search space; one given as a domain,
    `--learning-rate '{log_uniform = [1e-3, 1e-1]}'`, enters it. Domains under a condition that the
    number rules out leave it too: with `--optimizer adam` nothing of SGD is searched.
    """
    merged = {k: dict(v) if isinstance(v, dict) else v for k, v in values.items()}
    given = {name: value for name, value in vars(flags).items() if value is not None}
    for name, field in model.model_fields.items():
        section = _section(field)
        if section is None and name in given:
            merged[name] = _value(given[name])
        elif section is not None and section is not SearchSpace:
            for inner in section.model_fields.keys() & given.keys():
                _set(merged, name, inner, _value(given[inner]))
    return merged


def _set(merged: Values, section: str, name: str, value: Any) -> None:
    space = merged.get("space")
    if name in TUNABLE and isinstance(space, dict):
        space.pop(name, None)
        if not _is_domain(value):
            merged["space"] = _where_possible(space, name, value)
    if name in TUNABLE and _is_domain(value):
        if isinstance(merged.get(section), dict):
            merged[section].pop(name, None)
        section = "space"
    if isinstance(merged.setdefault(section, {}), dict):  # else validation says what it must be
        merged[section][name] = value


def _is_domain(value: Any) -> bool:
    """Whether a flag's value is a domain, or a list of alternatives."""
    return any(isinstance(v, dict) for v in (value if isinstance(value, list) else [value]))


def _where_possible(space: Values, name: str, value: Any) -> Values:
    """A space's TOML without the alternatives whose condition needs `name` to be another value."""

    def possible(domain: Any) -> bool:
        when = domain.get("when") if isinstance(domain, dict) else None
        if not isinstance(when, dict) or name not in when:
            return True
        wanted = when[name] if isinstance(when[name], list) else [when[name]]
        return any(same(value, one) for one in wanted)

    kept: Values = {}
    for other, domains in space.items():
        if isinstance(domains, list) and domains:
            kept[other] = [domain for domain in domains if possible(domain)]
            if not kept[other]:
                del kept[other]
        elif possible(domains):
            kept[other] = domains
    return kept


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _add_flag(group: argparse._ArgumentGroup, name: str, field: FieldInfo) -> None:
    choices = [
        c for part in (field.annotation, *get_args(field.annotation)) for c in get_args(part)
    ]
    choices = [c for c in choices if isinstance(c, str)]
    default = field.get_default()
    shown = "" if default in (None, PydanticUndefined) else f" [{default}]"
    metavar = "|".join(choices) if choices else name.split("_")[-1].upper()
    group.add_argument(
        "--" + name.replace("_", "-"), metavar=metavar, help=f"{field.description}{shown}"
    )


def _value(text: str) -> Any:
    """A flag's text as TOML reads it; what is not TOML is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
