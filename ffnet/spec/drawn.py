"""Recovers the values that were drawn from a study's space for a finished configuration."""

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ffnet.errors import InputError
from ffnet.spec.base import Values
from ffnet.spec.net import TUNABLE
from ffnet.spec.space import Domain, as_sizes, recorded_value
from ffnet.spec.trial import TrialConfig

if TYPE_CHECKING:
    from ffnet.spec.study import Study


class Drawn(NamedTuple):
    """A value that was drawn.

    Attributes:
        domain: the choice or the range from which it was drawn.
        value: the number from a range; for a choice, the position of the choice.
    """

    domain: Domain
    value: Any


def drawn(study: "Study", config: TrialConfig) -> dict[str, Drawn]:
    """Label → the drawn value, for each value that `SearchSpace.draw` drew for a configuration.

    Args:
        study: the study.
        config: a trial's configuration.

    Raises:
        InputError: one of the configuration's values is not in the study's space.

    >>> study = Study(space={"batch_size": {"choice": [32, 64]}})
    >>> drawn(study, study.trial_config(0, {"batch_size": 64}, seed=0))["batch_size"].value
    1
    """
    return _redrawn(study, config)[0]


def refuse_other(study: "Study", config: TrialConfig) -> None:
    """Refuse a configuration that the study could not draw.

    Raises:
        InputError: one of its values is not in the study's space, or a field that is the same in
            all trials of the study has another value.
    """
    values = study.trial_config(0, _redrawn(study, config)[1], 0).hyperparameters()
    for name, value in config.hyperparameters().items():
        if value != values[name]:
            raise InputError(f"{name} is {values[name]!r} in this study. Given: {value!r}")


def _redrawn(study: "Study", config: TrialConfig) -> tuple[dict[str, Drawn], Values]:
    """(label → drawn value, name → value) when the space draws a configuration again."""
    values = config.hyperparameters()
    found: dict[str, Drawn] = {}

    def suggest(label: str, domain: Domain) -> Any:
        value = recorded_value(label, values)
        if domain.kind == "choice":
            position = _position(label, domain, value, len(config.net.hidden_sizes))
            found[label] = Drawn(domain, position)
            return domain.value[position]
        value = value[0] if isinstance(value, tuple) else value  # one dropout for all layers
        found[label] = Drawn(domain, _number(label, domain, value))
        return found[label].value

    return found, study.space.draw(suggest, study.base)


def _number(label: str, domain: Domain, value: Any) -> float:
    low, high = domain.value
    if value is None or not low <= value <= high:
        raise not_offered(label, domain, value)
    return int(value) if "integer" in domain.kind else float(value)


def _position(label: str, domain: Domain, value: Any, depth: int) -> int:
    """The position of the choice that gave a trial its value."""
    for i, choice in enumerate(domain.value):
        if _meant(label, choice, depth) == value:
            return i
    raise not_offered(label, domain, value)


def not_offered(label: str, domain: Domain, value: Any) -> InputError:
    """The error for a value that is not in the choice or the range of a label."""
    if domain.kind == "choice":
        offered = f"choices: {', '.join(map(repr, domain.value))}"
    else:
        offered = "values from {:g} to {:g}".format(*domain.value)
    shown = re.sub(r"/\d+", "", label)  # without the number of the alternative
    return InputError(f"[space] does not offer {shown} = {value!r}; {offered}")


def _meant(label: str, choice: Any, depth: int) -> Any:
    """The value that a choice gives a trial, in the form of `TrialConfig.hyperparameters`."""
    whole, _, part = label.partition(".")
    name = whole.partition("/")[0]
    if part:
        return choice
    if name == "hidden_sizes" or (name == "embedding_sizes" and choice is not None):
        return tuple(as_sizes(choice))
    if name == "dropout":
        return tuple(choice) if isinstance(choice, list | tuple) else (choice,) * depth
    return getattr(TUNABLE[name].model_validate({name: choice}), name)
