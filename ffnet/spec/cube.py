"""A search space as a cube: each value that may be drawn has a coordinate from 0 to 1.

The search by Sobol points and CMA-ES choose a point of this cube. A coordinate of a value that a
condition leaves out is not used. This module imports neither TensorFlow nor Ray.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ffnet.spec.space import Domain, SearchSpace, as_sizes

BLOCK = 1024  # Sobol points are computed in blocks of so many, a power of 2
BITS = 32  # a sequence has 2³² points, more than a study can have trials


class Dimension(NamedTuple):
    """A coordinate of the cube.

    Attributes:
        label: the label under which `SearchSpace.draw` asks for the value.
        domain: a choice or a range.
        always: whether the value is drawn in every configuration.
    """

    label: str
    domain: Domain
    always: bool


def dimensions(space: SearchSpace, base: Mapping[str, Any]) -> list[Dimension]:
    """All values that a configuration may need, ordered by label.

    Args:
        space: the search space.
        base: the study's fixed fields, by name.

    Example:
        >>> space = SearchSpace({"batch_size": {"choice": [32, 64]}, "momentum": 0.9})
        >>> [dimension.label for dimension in dimensions(space, {})]
        ['batch_size']
    """
    found = []
    for name, domains in space.root.items():
        for i, domain in enumerate(domains):
            label = f"{name}/{i}" if len(domains) > 1 else name
            alone = len(domains) == 1 and not domain.when
            for suffix, leaf, always in _leaves(domain, space, base):
                if leaf.kind != "fixed":
                    found.append(Dimension(label + suffix, leaf, alone and always))
    return sorted(found, key=lambda dimension: dimension.label)


def _leaves(
    domain: Domain, space: SearchSpace, base: Mapping[str, Any]
) -> list[tuple[str, Domain, bool]]:
    """(end of the label, domain, whether each use of the whole domain draws it)."""
    if domain.layers:
        return [(f".{i + 1}", layer, True) for i, layer in enumerate(domain.layers)]
    alone = domain.each or domain.repeat
    if not alone:
        return [("", domain, True)]
    counts = _depths(domain) if domain.depth else _all_depths(space, base)
    if domain.repeat:
        layers = [(".1", alone, min(counts) > 0)]
    else:
        layers = [(f".{i + 1}", alone, i < min(counts)) for i in range(max(counts))]
    return [*layers, (".depth", domain.depth, True)] if domain.depth else layers


def _all_depths(space: SearchSpace, base: Mapping[str, Any]) -> list[int]:
    """Numbers of hidden layers that include the least and the greatest possible one."""
    domains = space.root.get("hidden_sizes", ())
    depths = [depth for domain in domains for depth in _depths(domain)]
    if all(domain.when for domain in domains):
        depths.append(len(as_sizes(base["hidden_sizes"])))
    return depths


def _depths(domain: Domain) -> list[int]:
    if domain.depth:
        return domain.depth.probes()
    if domain.layers:
        return [len(domain.layers)]
    finite = domain.kind in ("fixed", "choice")
    return [len(as_sizes(value)) for value in domain.probes()] if finite else [1]


def value_at(domain: Domain, share: float) -> Any:
    """The value of a choice or a range at a coordinate.

    Equal lengths of the coordinate have the same probability as in a random search.

    >>> value_at(Domain(choice=["relu", "tanh"]), 0.7)
    'tanh'
    """
    if domain.kind == "choice":
        return domain.value[min(int(share * len(domain.value)), len(domain.value) - 1)]
    low, high = _ends(domain)
    place = low + share * (high - low)
    place = math.exp(place) if domain.kind.startswith("log_") else place
    place = min(domain.value[1], max(domain.value[0], place))
    return min(domain.value[1], max(domain.value[0], round(place))) if _whole(domain) else place


def share_of(domain: Domain, value: float) -> float:
    """The coordinate of a value of a range: the inverse of `value_at`."""
    low, high = _ends(domain)
    return ((math.log(value) if domain.kind.startswith("log_") else value) - low) / (high - low)


def _whole(domain: Domain) -> bool:
    return "integer" in domain.kind


def _ends(domain: Domain) -> tuple[float, float]:
    """The ends of a range, in logarithms if it is logarithmic. A whole number has ± 1/2."""
    low, high = domain.value
    if _whole(domain):
        low, high = low - 0.5, high + 0.5
    return (math.log(low), math.log(high)) if domain.kind.startswith("log_") else (low, high)


def sobol(seed: int, number: int, size: int) -> npt.NDArray[np.float64]:
    """Point `number` of a scrambled Sobol sequence in a cube of `size` dimensions.

    It depends on the three arguments only (Owen, "Scrambling Sobol' and Niederreiter–Xing points",
    1998). The first 2ᵏ points together fill the cube more evenly than points drawn at random.
    """
    point: npt.NDArray[np.float64] = _block(seed, number // BLOCK, size)[number % BLOCK]
    return point


@lru_cache(maxsize=2)
def _block(seed: int, block: int, size: int) -> Any:
    from scipy.stats import qmc  # takes half a second to import

    engine = qmc.Sobol(size, scramble=True, bits=BITS, rng=np.random.default_rng(seed))
    if block:
        engine.fast_forward(block * BLOCK)
    return engine.random(BLOCK)
