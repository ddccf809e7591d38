"""Chooses the hyper-parameters for TensorBoard's HParams dashboard: those that vary.

Which of them vary is decided from the study's space, not from the trials so far, because
TensorBoard reads a trial's hyper-parameters only once, and often early in the study.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ffnet.run import tables
from ffnet.run.tables import Row
from ffnet.spec.outcomes import OF_LAYERS
from ffnet.spec.space import Domain, as_sizes
from ffnet.spec.study import Study
from ffnet.spec.validation import validated

Value = bool | float | str
"""The types of values that TensorBoard shows."""


class HParams:
    """The hyper-parameters that are shown for a run, and the form of their values."""

    def __init__(self, study: Study | None = None) -> None:
        """Decide what is shown.

        Args:
            study: the study. With None, the run is a single net, and all its hyper-parameters are
                shown, because other nets may differ in any of them.
        """
        self._domains: Mapping[str, Sequence[Domain]] = study.space.root if study else {}
        self._names = list(tables.HYPERPARAMETERS)
        self._one_layer = False
        if study:
            varied = study.space.varied(study.base)
            self._names = [name for name in self._names if name in varied]
            fixed = (Domain(fixed=study.net.hidden_sizes),)
            sizes = self._domains.get("hidden_sizes", fixed)
            self._one_layer = all(_depths(domain) == {1} for domain in sizes)

    def of(self, row: Row) -> dict[str, Value]:
        """Name → value, for a trial's hyper-parameters that are shown.

        The width of a single hidden layer is a number. If the space draws a value for each layer,
        there is a number for each layer, such as hidden_sizes.1, and the number of layers is
        hidden_sizes.depth. If the space chooses among whole lists, a list is a text: 512-256. The
        rules for dropout are the same.

        Args:
            row: the trial's row of trials.parquet.
        """
        values: dict[str, Value] = {}
        for name in self._names:
            value = row.get(name)
            if isinstance(value, list | tuple):
                values |= self._of_list(name, value)
            elif value is not None:
                values[name] = value
        return values

    def _of_list(self, name: str, value: Sequence[float]) -> dict[str, Value]:
        domains = self._domains.get(name, ())
        one_layer = self._one_layer and name in OF_LAYERS
        if not one_layer and any(domain.parts() for domain in domains):
            return _by_layer(name, value, domains)
        if one_layer or _is_number(name, value, domains):
            return {name: value[0]} if value else {}
        return {name: as_text(name, value)}


def as_text(name: str, value: Sequence[float]) -> str:
    """A list as a text: 512-256 for hidden_sizes, "0.5 0.1" for dropout, none for an empty list."""
    return ("-" if name == "hidden_sizes" else " ").join(map(str, value)) or "none"


def of_study(study: Mapping[str, Any], source: str) -> HParams:
    """The hyper-parameters that are shown for a run.

    Args:
        study: the section `study` of study.json. A single net has no space.
        source: the file's place, for messages.

    Raises:
        InputError: the study is not valid.
    """
    if "space" not in study:
        return HParams()
    return HParams(validated(Study, dict(study), source, recorded=True))


def _depths(domain: Domain) -> set[int]:
    """The numbers of layers that a domain of hidden_sizes can give; only the ends of a range."""
    if domain.layers:
        return {len(domain.layers)}
    if domain.depth:
        return set(domain.depth.probes())
    if domain.each:
        return set()
    return {len(as_sizes(value)) for value in domain.probes()}


def _is_number(name: str, value: Sequence[float], domains: Sequence[Domain]) -> bool:
    """Whether a list means one number in every trial: one layer, or one dropout for all layers."""
    if not domains:  # a single net
        return len(value) == 1 or (name == "dropout" and len(set(value)) == 1)
    probes = [probe for domain in domains for probe in domain.probes()]
    return all(not isinstance(probe, list | tuple) or len(probe) == 1 for probe in probes)


def _by_layer(name: str, value: Sequence[float], domains: Sequence[Domain]) -> dict[str, Value]:
    """A number for each layer, and the number of layers. Numbers that do not vary are left out."""
    columns: dict[str, Value] = {f"{name}.{n}": one for n, one in enumerate(value, 1)}
    if name == "hidden_sizes":
        columns = {f"{name}.depth": len(value), **columns}
    if len(domains) > 1:
        return columns
    (domain,) = domains
    layers = (domain.repeat,) if domain.repeat else domain.layers or ()
    parts = [domain.each] * len(value) if domain.each else layers
    leaves = {f"{name}.{n}": part for n, part in enumerate(parts, 1)}
    leaves |= {f"{name}.depth": domain.depth} if domain.depth else {}
    return {c: v for c, v in columns.items() if (leaf := leaves.get(c)) and leaf.varies()}
