"""Computes which alternatives of a search space are ever drawn, and the points of a grid.

It does not enumerate all values. A condition asks whether a field has one of a few values, and
later draws depend only on the answers. So values with the same answers are counted together, as a
run.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from math import inf, prod
from typing import Any

from ffnet.spec.base import Values
from ffnet.spec.space import Domain, SearchSpace, as_sizes, asks, same
from ffnet.spec.validation import shown

Run = tuple[float, Any]
"""(number of values, their answer). The answer is a value that conditions ask for, or OTHER. For
hidden_sizes, OTHER is repeated for each layer, because the number of layers matters."""

State = tuple[tuple[str, Any], ...]
"""The answers for the fields that later domains ask for."""

OF_LAYERS = ("hidden_sizes", "dropout")
"""Fields that have a value for each hidden layer."""

OTHER = None
MOST_STATES = 10_000  # with more states than this, no alternative is refused


class Outcomes:
    """All possible results when the names of a space are drawn in order."""

    def __init__(self, space: SearchSpace, base: Mapping[str, Any]) -> None:
        """Prepare the computation.

        Args:
            space: the search space.
            base: the study's fixed fields, by name.
        """
        self.names = space.order()
        self._domains, self._base = space.root, base
        self._mentioned: dict[str, list[Any]] = {}
        for _, domain in space.items():
            for name, wanted in (domain.when or {}).items():
                values = wanted if isinstance(wanted, list) else [wanted]
                self._mentioned.setdefault(name, []).extend(values)
        # At each position: the fields that this and later names ask for. Built from the end.
        self._needed: list[set[str]] = [set()]
        for name in reversed(self.names):
            asked = {other for domain in space.root[name] for other in asks(name, domain)}
            self._needed.insert(0, self._needed[0] | asked)
        self._runs: dict[tuple[str, int | None, int], list[Run]] = {}

    def first(self) -> State:
        """The state before the first name is drawn."""
        return self._state(0, {name: self._answer(name, v) for name, v in self._base.items()})

    def holding(self, at: int, state: State) -> list[int]:
        """The alternatives of name number `at` whose conditions hold. The first is used."""
        known = dict(state)
        return [i for i, domain in enumerate(self._domains[self.names[at]]) if domain.holds(known)]

    def runs(self, at: int, state: State) -> list[Run]:
        """The values of name number `at`, in the order in which a grid takes them."""
        name, layers = self.names[at], self.layers(state)
        holding = self.holding(at, state)
        if not holding:
            return [(1, self._answer(name, self._base[name]))]
        key = (name, holding[0], layers)
        if key not in self._runs:
            self._runs[key] = self._of_domain(name, self._domains[name][holding[0]], layers)
        return self._runs[key]

    def after(self, at: int, state: State, answer: Any) -> State:
        """The state after name number `at` is drawn."""
        return self._state(at + 1, dict(state) | {self.names[at]: answer})

    def layers(self, state: State) -> int:
        """The number of hidden layers. It is right only if a later name needs it."""
        return len(as_sizes(dict(state).get("hidden_sizes", ())))

    def never_drawn(self) -> Iterator[tuple[str, int, bool]]:
        """(name, number of the alternative, whether its condition can hold), for each alternative
        that is never drawn. With more than MOST_STATES states, nothing."""
        first, later = set(), set()
        states = {self.first()}
        for at, name in enumerate(self.names):
            following: set[State] = set()
            for state in states:
                holding = self.holding(at, state)
                first |= {(name, i) for i in holding[:1]}
                later |= {(name, i) for i in holding[1:]}
                following |= {self.after(at, state, answer) for _, answer in self.runs(at, state)}
                if len(following) > MOST_STATES:
                    return
            states = following
        for name, domains in self._domains.items():
            for i in range(len(domains)):
                if (name, i) not in first:
                    yield name, i, (name, i) in later

    def _state(self, at: int, known: Mapping[str, Any]) -> State:
        return tuple((name, known[name]) for name in sorted(self._needed[at]) if name in known)

    def _answer(self, name: str, value: Any) -> Any:
        """The answer of the space's conditions about a value: see `Run`."""
        for wanted in self._mentioned.get(name, ()):
            if same(value, wanted):
                return _hashable(wanted)
        return (OTHER,) * len(as_sizes(value)) if name == "hidden_sizes" else OTHER

    def _of_domain(self, name: str, domain: Domain, layers: int) -> list[Run]:
        if domain.kind in ("fixed", "choice"):
            return _joined([(1, self._answer(name, v)) for v in domain.probes()])
        if name != "hidden_sizes":
            parts = [domain.each] * layers if domain.each else domain.layers or [domain]
            return self._of_lists(name, parts)
        if not domain.depth:
            return self._of_lists(name, domain.layers or [domain])
        counts = _values(domain.depth)
        if domain.repeat:
            return [run for n in counts for run in self._of_equals(name, domain.repeat, n)]
        return [run for n in counts for run in self._of_lists(name, [domain.each] * n)]

    def _of_lists(self, name: str, parts: Sequence[Domain | None]) -> list[Run]:
        """The runs of all lists with a value from each part, or of the values of one range."""
        domains = [part for part in parts if part]
        ranks = {
            rank: _hashable(wanted)
            for wanted in self._mentioned.get(name, ())
            if (rank := _rank(domains, wanted)) is not None
        }
        other = (OTHER,) * len(domains) if name == "hidden_sizes" else OTHER
        return _runs(prod(map(_size, domains)), ranks, other)

    def _of_equals(self, name: str, width: Domain, count: int) -> list[Run]:
        """The runs of all lists that repeat a value so many times."""
        if not count:
            return self._of_lists(name, [])
        ranks = {
            rank: _hashable(wanted)
            for wanted in self._mentioned.get(name, ())
            if same(wanted, [_first(wanted)] * count)
            and (rank := _place(width, _first(wanted))) is not None
        }
        return _runs(_size(width), ranks, (OTHER,) * count)


def _runs(size: float, ranks: Mapping[int, Any], other: Any) -> list[Run]:
    """The runs of so many values.

    Args:
        size: how many values there are.
        ranks: position of a value that conditions ask for → its answer.
        other: the answer of all other values.
    """
    runs: list[Run] = []
    begin = 0
    for rank in sorted(ranks):
        runs += [(rank - begin, other), (1, ranks[rank])]
        begin = rank + 1
    return [run for run in (*runs, (size - begin, other)) if run[0] > 0]


def refuse_two_meanings(name: str, asked: str, value: Any) -> None:
    """Refuse a list in `when` that could mean several values, or one value for each layer."""
    flat = isinstance(value, list) and not any(isinstance(one, list | tuple) for one in value)
    if flat and asked in OF_LAYERS and len(value) > 1:
        alone = [[one] for one in value] if asked == "hidden_sizes" else "each in a condition alone"
        raise ValueError(
            f"space.{name}.when.{asked} = {shown(value)} could mean one net with a value for each "
            f"layer, or any of these values: write {shown([value])} for the net, or {alone}"
        )


def why_never_drawn(name: str, domains: tuple[Domain, ...], number: int, holds: bool) -> str:
    """The message that says why an alternative is never drawn, and what to do."""
    if name in OF_LAYERS and not any(domain.when for domain in domains):
        each = "{choice = [64, 128]}" if name == "hidden_sizes" else "{uniform = [0.0, 0.5]}"
        return (
            f"a list of domains is a list of alternatives: the first whose `when` holds is used. "
            f"To give each layer a domain, write {name} = {{layers = [{each}, {each}]}}"
        )
    which = f"alternative {number + 1} of {name}" if len(domains) > 1 else name
    if holds or not domains[number].when:
        return (
            f"{which} is never drawn: the first alternative whose `when` holds is used, and an "
            f"earlier one always holds too; change the order, or remove {which}"
        )
    asked = " and ".join(f"{n} = {v!r}" for n, v in (domains[number].when or {}).items())
    return (
        f"{which} is never drawn: its condition never holds. Given: when {asked} (with a list, the "
        f"field must have one of its values); correct the condition, or remove {which}"
    )


class Grid(Sequence[Values]):
    """The configurations of a space of choices; the last name varies fastest.

    Point n is computed from n. The time grows with the number of names, not of points.
    """

    def __init__(self, space: SearchSpace, base: Mapping[str, Any]) -> None:
        """Prepare the grid of a space whose domains are choices and fixed values."""
        self._domains = space.root
        self._outcomes = Outcomes(space, base)
        self._counts: dict[tuple[int, State], int] = {}

    @cached_property
    def size(self) -> int:
        """The number of points, which may be too large for `len`."""
        return self._count(0, self._outcomes.first())

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Values]:
        return map(self._point, range(self.size))

    def __getitem__(self, number: Any) -> Any:
        return self._point(range(self.size)[number])

    def _point(self, number: int) -> Values:
        point: Values = {}
        state = self._outcomes.first()
        for at, name in enumerate(self._outcomes.names):
            before = 0
            for count, answer in self._outcomes.runs(at, state):
                after = self._outcomes.after(at, state, answer)
                each = self._count(at + 1, after)
                if number < int(count) * each:
                    break
                number -= int(count) * each
                before += int(count)
            for index in self._outcomes.holding(at, state)[:1]:
                layers = self._outcomes.layers(state)
                domain = self._domains[name][index]
                point[name] = _value_at(domain, before + number // each, layers)
            number, state = number % each, after
        return point

    def _count(self, at: int, state: State) -> int:
        """The number of ways to draw name number `at` and all later names."""
        if at == len(self._outcomes.names):
            return 1
        key = (at, state)
        if key not in self._counts:
            self._counts[key] = sum(
                int(count) * self._count(at + 1, self._outcomes.after(at, state, answer))
                for count, answer in self._outcomes.runs(at, state)
            )
        return self._counts[key]


def _value_at(domain: Domain, rank: int, layers: int) -> Any:
    """The value at position `rank` among all values of a domain of choices."""
    if domain.kind in ("fixed", "choice"):
        return domain.probes()[rank]
    parts = list(domain.layers or ())
    if domain.repeat:
        for depth in _values(domain.depth or Domain(fixed=1)):
            count = int(_size(domain.repeat)) if depth else 1
            if rank < count:
                return [domain.repeat.probes()[rank]] * depth
            rank -= count
    if domain.each:
        layer = domain.each
        for depth in _values(domain.depth) if domain.depth else [layers]:
            parts = [layer] * depth
            if rank < int(_size(layer)) ** depth:
                break
            rank -= int(_size(layer)) ** depth
    drawn = []
    for part in reversed(parts):
        rank, place = divmod(rank, int(_size(part)))
        drawn.append(part.probes()[place])
    return drawn[::-1]


def _values(counts: Domain) -> Sequence[int]:
    """The possible values of a depth."""
    low_high = counts.probes()
    return range(low_high[0], low_high[1] + 1) if "integer" in counts.kind else low_high


def _size(domain: Domain) -> float:
    """How many values a domain for one layer has; infinite for a range of floats."""
    if domain.kind in ("fixed", "choice"):
        return len(domain.probes())
    low, high = domain.value
    return high - low + 1 if "integer" in domain.kind else inf


def _rank(domains: Sequence[Domain], wanted: Any) -> int | None:
    """The position of a list among all lists with a value from each domain; None if not there."""
    values = wanted if isinstance(wanted, list | tuple) else [wanted]
    if len(values) != len(domains):
        return None
    rank = 0
    for domain, value in zip(domains, values, strict=True):
        place = _place(domain, value)
        if place is None:
            return None
        rank = rank * int(_size(domain)) + place
    return rank


def _place(domain: Domain, value: Any) -> int | None:
    """The position of a value in a layer's domain; None if not there, or in a range of floats."""
    if domain.kind in ("fixed", "choice"):
        return next((i for i, one in enumerate(domain.probes()) if same(one, value)), None)
    if "integer" not in domain.kind or value != int(value):
        return None
    low, high = domain.value
    return int(value) - low if low <= value <= high else None


def _first(wanted: Any) -> Any:
    return wanted[0] if isinstance(wanted, list | tuple) and wanted else wanted


def _joined(runs: Sequence[Run]) -> list[Run]:
    """The runs, with neighbours that have the same answer joined into one."""
    return [
        (sum(count for count, _ in group), answer)
        for answer, group in groupby(runs, key=lambda run: run[1])
    ]


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
