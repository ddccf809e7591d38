"""Fields whose default has changed, and their values in runs that were begun before.

A run keeps the values that it was begun with. Its study.json names every field, except fields that
are newer than the run. And the TOML file with which a user resumes the run may leave out a field
that had another default when the run began.
"""

from ffnet.spec.base import Values
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.trial import may_be_blocked

EARLIER = {"bias": False}
"""Field of [net] whose default has changed → its value in runs that do not name it."""


def as_meant(values: Values, defaults: Values = EARLIER) -> Values:
    """A study's values, completed with the fields whose default has changed.

    Args:
        values: the study, or one net. A field that it names keeps its value.
        defaults: field → its value in the run. The default is the values of old runs.

    Example:
        >>> as_meant({"net": {"hidden_sizes": [8]}})
        {'net': {'bias': False, 'hidden_sizes': [8]}}
    """
    net, space = values.get("net", {}), values.get("space", {})
    if not isinstance(net, dict) or not isinstance(space, dict):
        return values  # the validation will refuse them
    left = {n: v for n, v in defaults.items() if n not in net and not _always(space.get(n))}
    return values | {"net": left | net} if left else values


def _always(domains: object) -> bool:
    """Whether a field's domains give it a value in every trial, because one has no condition."""
    each = domains if isinstance(domains, list | tuple) else [domains]
    return domains is not None and not all(isinstance(d, dict) and d.get("when") for d in each)


def of_run(values: Values) -> Values:
    """Field whose default has changed → its value in a run's study."""
    net = values["net"]
    return {name: net[name] for name in EARLIER if name in net}


BLOCKED_FROM = {"float32": 2048, "bfloat16": 128}
"""Nets whose first layer is so wide trained in blocks of four steps, in runs without a record."""


def path(net: NetSpec, training: Training) -> Values:
    """The fields PATH of a trial in a run that does not record them."""
    wide = [*net.hidden_sizes, 0][0] >= BLOCKED_FROM[training.precision]
    plain = not (training.momentum or training.weight_decay)
    blocks = wide and plain and may_be_blocked(net, training)
    return {"steps_per_block": 4 if blocks else 1, "tiles": False}
