"""Points: configurations that a study tries first, given whole or in part."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ffnet.errors import InputError
from ffnet.spec.drawn import drawn, not_offered
from ffnet.spec.net import TUNABLE
from ffnet.spec.space import Domain, Suggest, as_sizes, asks, recorded_value, same
from ffnet.spec.validation import shown, unknown_key

if TYPE_CHECKING:
    from ffnet.spec.study import Study


def filled(suggest: Suggest, point: Mapping[str, Any]) -> Suggest:
    """A function for `SearchSpace.draw` that takes the point's values, and else asks `suggest`.

    Raises:
        InputError: the space does not offer a value of the point.
        ValueError: a value of the point has the wrong number of layers.
    """

    def value_of(label: str, domain: Domain) -> Any:
        name = label.partition(".")[0].partition("/")[0]
        if name not in point:
            return suggest(label, domain)
        try:
            value = recorded_value(label, {**point, name: _as_list(name, point[name])})
        except (TypeError, IndexError):
            raise ValueError(f"{name} needs a list with a value for each hidden layer") from None
        if domain.kind != "choice" and isinstance(value, list | tuple) and len(value) == 1:
            value = value[0]
        if not _offers(domain, value):
            raise not_offered(label, domain, value)
        return value

    return value_of


def _offers(domain: Domain, value: Any) -> bool:
    if domain.kind == "choice":
        return any(same(choice, value) for choice in domain.value)
    low, high = domain.value
    return isinstance(value, int | float) and bool(low <= value <= high)


def check(study: "Study") -> None:
    """Refuse points that the study's space does not offer.

    Raises:
        ValueError: names the point, the rule and the value.
    """
    points = study.tuning.points
    if len(points) > study.trials:
        raise ValueError(
            f"each point is a trial, so there must be as many trials or more. Given: "
            f"{len(points)} points, {study.trials} trials"
        )
    for number, point in enumerate(points):
        for wrong in _wrong(study, number, point):
            raise ValueError(f"tuning.points, point {number + 1}: {wrong}")


def _wrong(study: "Study", number: int, point: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a point."""
    if not point:
        yield "it gives no field: remove it"
    for name in point:
        if name not in study.space.root:
            yield (
                f"{name} is not in [space], so it is the same in all trials: leave it out"
                if name in TUNABLE
                else unknown_key(name, "space", study.space.root)
            )
        for asked in sorted({a for domain in study.space.root[name] for a in asks(name, domain)}):
            if asked in study.space.root and asked not in point:
                yield f"{name} depends on {asked}: give both, or leave {name} out"
    try:
        values = study.sample(number)
        for name, value in point.items():
            if name not in values:
                yield f"{name} has no domain whose condition holds: leave it out"
            if not same(values[name], value):
                yield f"{name} must be {shown(values[name])} there. Given: {shown(value)}"
        drawn(study, study.trial_config(number, values, 0))
    except (InputError, ValueError) as error:
        yield str(error)


def _as_list(name: str, value: Any) -> Any:
    return as_sizes(value) if name == "hidden_sizes" else value
