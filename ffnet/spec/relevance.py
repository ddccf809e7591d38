"""Fields that have an effect only with certain values of another field.

A field without an effect is refused. But if a flag changes the other field, for example
`--scheduler none`, then a field in the file that loses its effect is left out instead.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

from ffnet.errors import one_line
from ffnet.spec.base import Values


class Beside(NamedTuple):
    """What a field needs to have an effect.

    Attributes:
        other: another field.
        holds: says whether the field has an effect with a value of the other field.
        needed: these values in words, for messages.
        section: the other field's section; None: that of the field.
    """

    other: str
    holds: Callable[[Any], bool]
    needed: str
    section: str | None = None


def _one_of(other: str, *values: str | None) -> Beside:
    return Beside(other, lambda value: value in values, " or ".join(filter(None, values)))


def _above_0(other: str, section: str | None = None) -> Beside:
    def holds(value: Any) -> bool:
        return any(value) if isinstance(value, list | tuple) else value != 0

    return Beside(other, holds, "above 0", section)


def _in_a_data_folder(dataset: Any) -> bool:
    return dataset not in ("digits", "given") and not str(dataset).startswith(("/", "~"))


BESIDE = {
    ("data", "data_dir"): Beside(
        "dataset", _in_a_data_folder, "that is a relative path, or a name other than digits"
    ),
    ("data", "split_seed"): _one_of("split", "stratified", None),
    ("tuning", "points"): _one_of("search", "random", "qmc", "tpe", "gp", "cmaes"),
    ("tuning", "learn_from"): _one_of("search", "tpe", "gp", "cmaes"),
    ("tuning", "grace_epochs"): _one_of("scheduler", "asha", "median"),
    ("tuning", "reduction_factor"): _one_of("scheduler", "asha", "hyperband"),
    ("tuning", "perturbation_epochs"): _one_of("scheduler", "pbt"),
    ("net", "number_embedding_size"): _one_of("number_embedding", "plr", "pbld"),
    ("net", "number_frequencies"): _one_of("number_embedding", "periodic", "plr", "pbld"),
    ("net", "frequency_scale"): _one_of("number_embedding", "periodic", "plr", "pbld"),
    ("training", "step_epochs"): _one_of("schedule", "step"),
    ("training", "step_factor"): _one_of("schedule", "step"),
    ("training", "warmup_epochs"): _one_of("schedule", "constant", "cosine", "step"),
    ("training", "momentum"): _one_of("optimizer", "sgd", "rmsprop"),
    ("training", "nesterov"): _one_of("optimizer", "sgd"),
    ("training", "weight_decay_schedule"): _above_0("weight_decay"),
    ("training", "dropout_schedule"): _above_0("dropout", "net"),
}
"""(section, field) → what the field needs."""


def check(study: BaseModel, sections: Collection[str]) -> None:
    """Refuse fields in these sections that have no effect.

    A field with its default value is not refused, because study.json names every field.

    Raises:
        ValueError: names both fields and their values.
    """
    for (section, name), (other, holds, needed, of) in BESIDE.items():
        if section not in sections:
            continue
        part = getattr(study, section)
        value, beside = getattr(part, name), getattr(getattr(study, of or section), other)
        default = type(part).model_fields[name].default
        if name in part.model_fields_set and value != default and not holds(beside):
            shown = f"{value:g}" if isinstance(value, float) else one_line(str(value), 100)
            raise ValueError(
                f"{name} has an effect only with {other} {needed}: leave it out. "
                f"Given: {name} {shown}, {other} {beside}"
            )


def relevant(values: Values, given: Collection[str] = ()) -> Values:
    """A study's values without fields that have no effect. The fields in `given` stay."""
    kept = dict(values)
    for section, name in _without_effect(values):
        if name not in given:
            kept[section] = {k: v for k, v in kept[section].items() if k != name}
    return kept


def _without_effect(values: Values) -> Iterator[tuple[str, str]]:
    space = values.get("space")
    searched = space if isinstance(space, dict) else ()
    for (section, name), (other, holds, _, of) in BESIDE.items():
        part, beside = values.get(section), values.get(of or section)
        if not isinstance(part, dict) or not isinstance(beside, dict):
            continue
        if name in part and other in beside and other not in searched and not holds(beside[other]):
            yield section, name
