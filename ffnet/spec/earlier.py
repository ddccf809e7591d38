"""Defaults that have changed: what a run means by a field that its study.json does not name.

A run keeps the meaning that it was begun with. `study.json` names every field with its value, but
a run that is older than a field cannot name it, and the TOML file that a person resumes with may
leave out a field whose default was another one when the run began.
"""

from ffnet.spec.base import Values

EARLIER = {"bias": False}
"""Fields of [net] whose default has changed → the default in runs that do not name them."""


def as_meant(values: Values, defaults: Values = EARLIER) -> Values:
    """A study's values, with the run's own value for fields whose default has changed.

    Args:
        values: the study, or one net; a field that it names keeps its value.
        defaults: field → the run's value; without it, what a field meant before it existed.

    Example:
        >>> as_meant({"net": {"hidden_sizes": [8]}})
        {'net': {'bias': False, 'hidden_sizes': [8]}}
    """
    net, space = values.get("net", {}), values.get("space", {})
    if not isinstance(net, dict) or not isinstance(space, dict):
        return values  # validation says what they must be
    left = {n: v for n, v in defaults.items() if n not in net and not _always(space.get(n))}
    return values | {"net": left | net} if left else values


def _always(domains: object) -> bool:
    """Whether a field's domains give it a value in every trial: one of them has no condition."""
    each = domains if isinstance(domains, list | tuple) else [domains]
    return domains is not None and not all(isinstance(d, dict) and d.get("when") for d in each)


def of_run(values: Values) -> Values:
    """What a run's study says of the fields whose default has changed."""
    net = values["net"]
    return {name: net[name] for name in EARLIER if name in net}
