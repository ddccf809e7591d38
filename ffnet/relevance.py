"""Fields that have an effect only beside certain values of another field.

Given where it has none, such a field is refused. A flag that changes the other field, for example
`--scheduler none`, takes it out of the file's values instead.
"""

from collections.abc import Collection, Iterator
from typing import Any

from pydantic import BaseModel

from ffnet.space import Values

BESIDE: dict[tuple[str, str], tuple[str, tuple[Any, ...]]] = {
    ("tuning", "grace_epochs"): ("scheduler", ("asha", "median")),
    ("tuning", "reduction_factor"): ("scheduler", ("asha", "hyperband")),
    ("tuning", "perturbation_epochs"): ("scheduler", ("pbt",)),
    ("data", "split_seed"): ("split", ("stratified", None)),
    ("training", "step_epochs"): ("schedule", ("step",)),
    ("training", "step_factor"): ("schedule", ("step",)),
    ("training", "momentum"): ("optimizer", ("sgd", "rmsprop")),
    ("training", "nesterov"): ("optimizer", ("sgd",)),
}
"""(section, field) → another field of the section, and the values beside which it has an effect."""


def check(study: BaseModel, sections: Collection[str]) -> None:
    """Refuse fields of these sections that are given and have no effect.

    A field at its default is no contradiction: a study.json has every field written out.

    Raises:
        ValueError: the rule, the values.
    """
    for (section, name), (other, allowed) in BESIDE.items():
        if section not in sections:
            continue
        part = getattr(study, section)
        value, beside = getattr(part, name), getattr(part, other)
        default = type(part).model_fields[name].default
        if name in part.model_fields_set and value != default and beside not in allowed:
            needed = " or ".join(str(each) for each in allowed if each is not None)
            raise ValueError(
                f"{name} has an effect only with {other} {needed}: leave it out. "
                f"Given: {name} {value:g}, {other} {beside}"
            )


def relevant(values: Values, given: Collection[str] = ()) -> Values:
    """A study's values without the fields that have no effect, but for those in `given`."""
    kept = dict(values)
    for section, name in _without_effect(values):
        if name not in given:
            kept[section] = {k: v for k, v in kept[section].items() if k != name}
    return kept


def _without_effect(values: Values) -> Iterator[tuple[str, str]]:
    for (section, name), (other, allowed) in BESIDE.items():
        part = values.get(section)
        if not isinstance(part, dict) or name not in part or other not in part:
            continue
        if isinstance(part[other], str | None) and part[other] not in allowed:
            yield section, name
