"""The search space: which values a hyper-parameter may have, and how a configuration is drawn.

A configuration is drawn name by name through a callback, so that all searches
use the same space with the same conditions. This module imports neither TensorFlow nor Ray.
"""

import graphlib
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

import numpy as np
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    ValidationInfo,
    model_validator,
)

from ffnet.spec.base import Spec, Values, is_recorded

Suggest = Callable[[str, "Domain"], Any]
"""(label, domain) → a value from the domain, which is a choice or a range."""

PERTURB, RESAMPLE = (0.8, 1.2), 0.25  # population-based training: Jaderberg et al., 2017

MOST_LAYERS = 1000  # maximum number of hidden layers


def _as_domain(value: object) -> object:
    """A domain as pydantic needs it. A number means a domain with only this number."""
    if value is None or isinstance(value, Mapping | Domain):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"fixed": value}
    raise ValueError("needs a number or one domain, e.g. {choice = [1, 2]}")


def _as_layers(value: object) -> object:
    return [_as_domain(layer) for layer in value] if isinstance(value, list | tuple) else value


def _as_number(value: object) -> object:
    if isinstance(value, bool):  # to Python, True is the integer 1
        raise ValueError("needs two numbers")
    return value


Part = Annotated["Domain | None", BeforeValidator(_as_domain)]
Whole = Annotated[int, BeforeValidator(_as_number)]
Real = Annotated[float, BeforeValidator(_as_number)]


class Domain(Spec):
    """The values that a hyper-parameter may have: exactly one kind, and perhaps a condition.

    `each` draws a value for each hidden layer from the same domain. `layers` has a domain for each
    layer. With `each`, hidden_sizes also needs `depth`, the number of layers. `repeat` draws one
    width for `depth` layers, so that all of them are equally wide.
    """

    fixed: Any = None
    choice: tuple[Any, ...] | None = Field(None, min_length=1)
    uniform: tuple[Real, Real] | None = None
    log_uniform: tuple[Real, Real] | None = None
    integer: tuple[Whole, Whole] | None = None  # both ends included
    log_integer: tuple[Whole, Whole] | None = None  # both ends included
    each: Part = None
    repeat: Part = None
    layers: Annotated[tuple["Domain", ...] | None, BeforeValidator(_as_layers)] = Field(
        None, min_length=1, max_length=MOST_LAYERS
    )
    depth: Part = None
    when: dict[str, Any] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _one_ordered_kind(self, info: ValidationInfo) -> Self:
        kinds = [name for name in type(self).model_fields if name not in ("depth", "when")]
        given = self.model_fields_set & set(kinds)
        if len(given) != 1 or (self.kind != "fixed" and self.value is None):
            raise ValueError(f"needs exactly one kind of domain, one of: {', '.join(kinds)}")
        if self.kind in ("uniform", "log_uniform", "integer", "log_integer"):
            low, high = self.value
            if not low < high:
                raise ValueError(f"{self.kind} needs low < high, e.g. {{{self.kind} = [1, 2]}}")
            if self.kind.startswith("log_") and low <= 0:
                raise ValueError(f"{self.kind} needs low > 0")
        if self.depth and not (self.each or self.repeat):
            raise ValueError("depth needs each or repeat")
        if (twice := _twice(self.choice or ())) and not is_recorded(info):
            raise ValueError(f"choice has a value twice. Given: {twice[0]!r} and {twice[1]!r}")
        counts = self.depth.probes() if self.depth else []
        if not all(type(n) is int and 0 <= n <= MOST_LAYERS for n in counts):
            raise ValueError(f"depth needs counts of layers, up to {MOST_LAYERS}. Given: {counts}")
        if any(part.when or part.parts() for part in self.parts()):
            raise ValueError(
                "each, repeat, layers and depth may have choices, ranges or fixed values only; put "
                "when next to them, not inside"
            )
        return self

    def parts(self) -> list["Domain"]:
        """The domains inside this one."""
        own = (self.depth, self.each, self.repeat, *(self.layers or ()))
        return [part for part in own if part]

    @property
    def kind(self) -> str:
        """The kind's name: fixed, choice, uniform, log_uniform, …, each or layers."""
        return next(iter(self.model_fields_set - {"depth", "when"}))

    @property
    def value(self) -> Any:
        """The kind's value: a fixed value, the choices, (low, high), or the domains of layers."""
        return getattr(self, self.kind)

    def probes(self) -> list[Any]:
        """Test values: if these are valid, so is the whole domain."""
        alone = self.each or self.repeat
        of_layers = [alone] if alone else self.layers or ()
        if of_layers:
            return [[probe] for layer in of_layers for probe in layer.probes()]
        return [self.value] if self.kind == "fixed" else list(self.value)

    def holds(self, known: Mapping[str, Any]) -> bool:
        """Whether the condition holds: each of its fields has the value, or a value in the list."""
        wanted = (self.when or {}).items()
        return all(
            any(same(known[name], one) for one in (value if isinstance(value, list) else [value]))
            for name, value in wanted
        )

    def varies(self) -> bool:
        """Whether this domain, which has no other domain inside, has more than one value."""
        return len(self.probes()) > 1

    def only_value(self) -> Any:
        """The value of this domain, if every domain inside it has only one value."""
        if self.layers:
            return [layer.only_value() for layer in self.layers]
        if alone := self.each or self.repeat:
            value = alone.only_value()  # without depth, one number means all layers
            return [value] * self.depth.only_value() if self.depth else value
        return self.probes()[0]

    def leaves(self) -> Iterator["Domain"]:
        """The domains inside this one, or this one: values are drawn from these."""
        yield from self.parts() or [self]


def _twice(values: Sequence[Any]) -> tuple[Any, Any] | None:
    """Two values that mean the same (see `same`); None if there are none."""
    seen: dict[tuple[Any, ...], Any] = {}
    for value in values:
        whole = value if isinstance(value, list | tuple) else [value]
        key = tuple(one if isinstance(one, int | float | str) else repr(one) for one in whole)
        if key in seen:
            return seen[key], value
        seen[key] = value
    return None


def _as_domains(value: object) -> object:
    alternatives = value if isinstance(value, list | tuple) else [value]
    domains = [isinstance(v, Mapping | Domain) for v in alternatives]
    if any(domains) and not all(domains):
        raise ValueError(
            "a list must not have both values and domains; to give each layer a domain, write "
            "{layers = [64, {log_integer = [64, 512]}]}"
        )
    if not any(domains):
        return ({"fixed": value},)
    return tuple(alternatives)


Domains = Annotated[tuple[Domain, ...], BeforeValidator(_as_domains)]


class SearchSpace(RootModel[dict[str, Domains]]):
    """Name of a hyper-parameter → its domains. The first domain whose `when` holds is used."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        try:
            self.order()
        except graphlib.CycleError as error:
            raise ValueError(
                f"conditions must not depend on each other in a circle. Given: "
                f"{' → '.join(error.args[1])}"
            ) from None
        return self

    def items(self) -> list[tuple[str, Domain]]:
        """(name, domain) in the study's order. A name comes once for each of its domains."""
        return [(name, domain) for name, domains in self.root.items() for domain in domains]

    def leaves(self) -> Iterator[tuple[str, Domain]]:
        """(name, domain) for all domains from which values are drawn."""
        return ((name, leaf) for name, domain in self.items() for leaf in domain.leaves())

    def draw(self, suggest: Suggest, base: Mapping[str, Any]) -> Values:
        """Draw a configuration: a value for each name that has a domain whose condition holds.

        Args:
            suggest: called with a label and a domain for each value; returns the value.
            base: the study's fixed fields, by name. Conditions may ask for them.
        """
        drawn: Values = {}
        for name in self.order():
            known = {**base, **drawn}
            for i, domain in enumerate(self.root[name]):
                if domain.holds(known):
                    label = f"{name}/{i}" if len(self.root[name]) > 1 else name
                    drawn[name] = _value(label, domain, suggest, known)
                    break
        return drawn

    def sample(self, seed: int, number: int, base: Mapping[str, Any]) -> Values:
        """Configuration `number` of a random search with `seed`: see `suggests`."""
        return self.draw(self.suggests(seed, number), base)

    def suggests(self, seed: int, number: int) -> Suggest:
        """Draws the values of configuration `number` of a random search with `seed`.

        They do not depend on earlier configurations. A name's value does not depend on the other
        names of the space, unless a condition asks for them.
        """

        def suggest(label: str, domain: Domain) -> Any:
            random = np.random.default_rng([seed, number, zlib.crc32(label.encode())])
            return _random_value(domain, random)

        return suggest

    def perturbed(
        self, known: Mapping[str, Any], names: Sequence[str], random: np.random.Generator
    ) -> Values:
        """New values for some names, by the rule of PBT: drawn again, or 20 % more or less.

        Args:
            known: the present values of all fields.
            names: the names to change. A name without a domain whose condition holds stays.
            random: the source of random numbers.
        """
        new: Values = {}
        for name in self.root:  # this order is the same in every process
            if name not in names:
                continue
            domain = next((d for d in self.root[name] if d.holds(known)), None)
            if domain and known[name] is not None:
                new[name] = _perturbed(domain, known[name], random)
        return new

    def varied(self, base: Mapping[str, Any]) -> list[str]:
        """The names that have different values in different configurations, in the space's order.

        Args:
            base: the study's fixed fields, by name.
        """
        same_in_all = {name: value for name, value in base.items() if name not in self.root}
        for name in self.order():
            domains = self._possible(name, same_in_all)
            values = [domain.only_value() if domain else base[name] for domain in domains]
            leaves = [leaf for domain in domains if domain for leaf in domain.leaves()]
            ranges = any(leaf.varies() for leaf in leaves)
            if not ranges and all(same(value, values[0]) for value in values):
                same_in_all[name] = values[0]
        return [name for name in self.root if name not in same_in_all]

    def _possible(self, name: str, known: Mapping[str, Any]) -> list[Domain | None]:
        """The domains of a name that may be used, and None if the base's value may be used.

        Args:
            name: the hyper-parameter.
            known: the fields that have the same value in every configuration.
        """
        possible: list[Domain | None] = []
        for domain in self.root[name]:
            if not (domain.when or {}).keys() <= known.keys():
                possible.append(domain)
            elif domain.holds(known):
                return [*possible, domain]
        return [*possible, None]

    def order(self) -> list[str]:
        """The names in the order in which they are drawn: a name follows those it depends on."""
        asked = {
            name: [
                other for domain in domains for other in asks(name, domain) if other in self.root
            ]
            for name, domains in self.root.items()
        }
        return list(graphlib.TopologicalSorter(asked).static_order())


def asks(name: str, domain: Domain) -> tuple[str, ...]:
    """The names that must be drawn before this domain."""
    layers = ("hidden_sizes",) if domain.each and name != "hidden_sizes" else ()
    return (*layers, *(domain.when or ()))


def _value(label: str, domain: Domain, suggest: Suggest, known: Mapping[str, Any]) -> Any:
    if domain.kind == "fixed":
        return domain.value
    if domain.layers:
        return [
            _value(f"{label}.{i + 1}", layer, suggest, known)
            for i, layer in enumerate(domain.layers)
        ]
    alone = domain.each or domain.repeat
    if not alone:
        return suggest(label, domain)
    depth = (
        _value(f"{label}.depth", domain.depth, suggest, known)
        if domain.depth
        else len(as_sizes(known["hidden_sizes"]))
    )
    if domain.repeat:
        return [_value(f"{label}.1", alone, suggest, known)] * depth if depth else []
    return [_value(f"{label}.{i + 1}", alone, suggest, known) for i in range(depth)]


def same(known: Any, wanted: Any) -> bool:
    """Whether two values mean the same: a list is a tuple, and a size is a list of one size."""

    def plain(value: Any) -> Any:
        return tuple(value) if isinstance(value, list | tuple) else value

    known, wanted = plain(known), plain(wanted)
    return bool(known == wanted or known == (wanted,) or wanted == (known,))


def recorded_value(label: str, values: Mapping[str, Any]) -> Any:
    """The value that `SearchSpace.draw` drew under a label, recovered from the configuration.

    Args:
        label: the label, for example `hidden_sizes.2`.
        values: the finished configuration.
    """
    whole, _, part = label.partition(".")
    value = values[whole.partition("/")[0]]
    if not part:
        return value
    return len(values["hidden_sizes"]) if part == "depth" else value[int(part) - 1]


def as_sizes(value: Any) -> Any:
    """hidden_sizes as a tuple or list. A number means one hidden layer."""
    return (value,) if isinstance(value, int) and not isinstance(value, bool) else value


def _random_value(domain: Domain, random: np.random.Generator) -> Any:
    if domain.kind == "choice":
        return domain.value[random.integers(len(domain.value))]
    low, high = domain.value
    match domain.kind:
        case "uniform":
            return float(random.uniform(low, high))
        case "log_uniform":
            return min(high, max(low, math.exp(random.uniform(math.log(low), math.log(high)))))
        case "integer":
            return int(random.integers(low, high, endpoint=True))
        case _:
            ends = math.log(low - 0.5), math.log(high + 0.5)
            return min(high, max(low, round(math.exp(random.uniform(*ends)))))


def _perturbed(domain: Domain, value: Any, random: np.random.Generator) -> Any:
    if isinstance(value, Sequence):
        if domain.each:
            return [_perturbed(domain.each, one, random) for one in value]
        if domain.layers:
            return [
                _perturbed(layer, one, random)
                for layer, one in zip(domain.layers, value, strict=True)
            ]
        value = value[0] if value else 0.0  # one value for all layers
    if domain.kind == "fixed":
        return domain.value
    if domain.kind == "choice" or random.random() < RESAMPLE:
        return _random_value(domain, random)
    low, high = domain.value
    return min(high, max(low, value * random.choice(PERTURB)))
