"""Makes a flag from each field of a study's models."""

import argparse
import tomllib
from collections.abc import Iterator, Set
from itertools import groupby
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ffnet.cli.command import Parser
from ffnet.spec.base import Values
from ffnet.spec.net import TUNABLE
from ffnet.spec.relevance import BESIDE, relevant
from ffnet.spec.space import SearchSpace, same

MOST_METAVAR = 45  # longer choices are in the flag's description, not next to its name
OTHERS = {beside.other for beside in BESIDE.values()}
"""Fields whose value decides whether another field has an effect."""


ORDER = (None, "data", "budget", "net", "training", "tuning", "resources")
"""Sections of a study, in the order in which --help shows them."""

DOMAINS = {
    "net": "--hidden-sizes '{log_integer = [32, 512]}'",
    "training": "--learning-rate '{log_uniform = [1e-3, 1e-1]}'",
}
"""Section whose flags may have a domain → an example."""


def add_flags(to: Parser, model: type[BaseModel]) -> None:
    """Add a flag for each field of a study's model, in a group for each section.

    A boolean field's flag needs no value; see `Parser.switches`.
    """
    searches = "space" in model.model_fields
    whole = {None: "whole study" if searches else "one net"}
    in_order = sorted(fields(model), key=lambda each: ORDER.index(each[0]))
    for section, each in groupby(in_order, key=lambda each: each[0]):
        title = f"section [{section}]" if section else whole[section]
        group = to.add_argument_group(title, _about(model, section))
        for _, name, field in each:
            only = searches and section in DOMAINS and name not in TUNABLE
            _add_flag(group, name, field, "; takes no domain" if only else "")
    to.switches = switches(model)


def switches(model: type[BaseModel]) -> frozenset[str]:
    """The names of the boolean fields of a study's model."""
    return frozenset(
        name for _, name, field in fields(model) if field.annotation in (bool, bool | None)
    )


def override(values: Values, flags: argparse.Namespace, model: type[BaseModel]) -> Values:
    """A study's values, in which flags replace the values of their fields.

    If a flag has a value, its field leaves the search space; if it has a domain, such as
    `--learning-rate '{log_uniform = [1e-3, 1e-1]}'`, its field enters the space. Domains whose
    condition cannot hold any more leave the space, too: with `--optimizer adam`, a domain for SGD
    only. The file's points lose their values of all these fields, because the study would refuse
    them. A field of the file that has no effect any more is dropped: `grace_epochs` with
    `--scheduler none`.
    """
    merged = {k: dict(v) if isinstance(v, dict) else v for k, v in values.items()}
    for section, name, field in fields(model):
        text = getattr(flags, name, None)
        if text is None:
            continue
        if section is None:
            merged[name] = _value(text, field)
        else:
            _set(merged, section, name, _value(text, field), "space" in model.model_fields)
    names = given(flags, model)
    if "points" not in names and isinstance(merged.get("tuning"), dict):
        space = values.get("space")
        _shorten_points(merged["tuning"], space if isinstance(space, dict) else {}, {*names})
    changed = [name for name in names if name in OTHERS]
    return relevant(merged, names) if changed else merged


def given(flags: argparse.Namespace, model: type[BaseModel]) -> list[str]:
    """The names of the fields that are set on the command line."""
    return [name for _, name, _ in fields(model) if getattr(flags, name, None) is not None]


def fields(model: type[BaseModel]) -> Iterator[tuple[str | None, str, FieldInfo]]:
    """(section or None, name, field) for each field of a study's model, except the space."""
    for name, field in model.model_fields.items():
        section = _section(field)
        if section is None:
            yield None, name, field
        elif section is not SearchSpace:
            for inner, inner_field in section.model_fields.items():
                yield name, inner, inner_field


def _set(merged: Values, section: str, name: str, value: Any, searches: bool) -> None:
    """Put a field's value into its section, or its domain into the study's search space."""
    space = merged.get("space")
    if name in TUNABLE and isinstance(space, dict):
        space.pop(name, None)
        if not _is_domain(value):
            merged["space"] = _where_possible(space, name, value)
    if searches and name in TUNABLE and _is_domain(value):
        if isinstance(merged.get(section), dict):
            merged[section].pop(name, None)
        section = "space"
    if isinstance(merged.setdefault(section, {}), dict):  # if not, the validation will refuse it
        merged[section][name] = value


def _is_domain(value: Any) -> bool:
    """Whether a flag's value is a domain, or a list of alternatives."""
    return any(isinstance(v, dict) for v in (value if isinstance(value, list) else [value]))


def _where_possible(space: Values, name: str, value: Any) -> Values:
    """A space without domains whose condition asks for another value of `name`."""

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


def _shorten_points(tuning: Values, space: Values, changed: Set[str]) -> None:
    """Remove from the points what depends, in the file's space, on a changed field.

    Points that become empty leave, too.
    """
    points = tuning.get("points")
    if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
        return  # the validation will refuse it
    while more := {name for name in space if _needs(space[name]) & changed} - changed:
        changed = changed | more
    shorter = [{k: v for k, v in point.items() if k not in changed} for point in points]
    pairs = zip(points, shorter, strict=True)
    tuning["points"] = [now for before, now in pairs if now or not before]


def _needs(domains: Any) -> set[str]:
    """The fields that must be known before a field's domains."""
    needed: set[str] = set()
    for domain in domains if isinstance(domains, list) else [domains]:
        if isinstance(domain, dict):
            when = domain.get("when")
            needed |= when.keys() if isinstance(when, dict) else set()
            needed |= {"hidden_sizes"} if "each" in domain else set()
    return needed


def _about(model: type[BaseModel], section: str | None) -> str | None:
    """The text of --help about a section."""
    if section is None:
        return None
    about = (getattr(_section(model.model_fields[section]), "__doc__", None) or "").splitlines()[0]
    if "space" in model.model_fields and section in DOMAINS:
        about += f" A flag has a value, or a domain to search:\n\n  {DOMAINS[section]}"
    return about


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _add_flag(group: argparse._ArgumentGroup, name: str, field: FieldInfo, note: str) -> None:
    kinds = (field.annotation, *get_args(field.annotation))
    choices = "|".join(c for part in kinds for c in get_args(part) if isinstance(c, str))
    metavar = choices or name.split("_")[-1].upper()
    described, default = field.description or "", field.get_default()
    if bool in kinds:
        metavar = "[true|false]"
    elif len(choices) > MOST_METAVAR:
        described, metavar = f"{described}: {choices.replace('|', ', ')}", name.upper()
    described += note
    if default not in (None, PydanticUndefined) and not described.endswith("]"):
        typed = _typed(default)
        described += f" {typed if typed.startswith('[') else f'[{typed}]'}"
    flag = "--" + name.replace("_", "-")
    group.add_argument(flag, metavar=metavar, help=described.replace("%", "%%"))


def _typed(value: Any) -> str:
    """A value as a user types it in TOML or on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_typed, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _value(text: str, field: FieldInfo) -> Any:
    """A flag's text, read as TOML. It stays text for a text field, and if it is not TOML."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    of_text = str in (field.annotation, *get_args(field.annotation))
    if len(parsed) > 1 or (of_text and not isinstance(parsed["value"], str)):
        return text
    return parsed["value"]
