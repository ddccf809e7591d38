"""Figures and configurations in words, for sentences of the page."""

from collections.abc import Mapping, Sequence
from typing import Any

from ffnet.spec.base import Values


def duration(seconds: float | None) -> str:
    """A time in two units: 1 h 5 min, 2 min 3 s, 4.2 s; "an unknown time" for None.

    >>> duration(3900.4), duration(4.21), duration(125)
    ('1 h 5 min', '4.2 s', '2 min 5 s')
    """
    if seconds is None:
        return "an unknown time"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 59.95 else "1 min 0 s"
    whole = round(seconds)
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    first = next(i for i, (_, size) in enumerate(units) if whole >= size)
    (big, size), (small, below) = units[first], units[first + 1]
    return f"{whole // size} {big} {whole % size // below} {small}"


def count(number: int, noun: str) -> str:
    """A number with its noun: 1 trial, 2,000 trials.

    >>> count(1, "trial"), count(2000, "trial")
    ('1 trial', '2,000 trials')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def listed(words: Sequence[str]) -> str:
    """Words with commas and a last "and".

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def value(of: Any) -> str:
    """The value of a field, rounded: lists with a dash between sizes, true and false in small."""
    if isinstance(of, bool):
        return str(of).lower()
    if isinstance(of, float):
        return f"{of:.4g}"
    if isinstance(of, list | tuple):
        between = "-" if all(isinstance(part, int) for part in of) else " "
        return between.join(value(part) for part in of) or "none"
    return "none" if of is None else str(of)


def configuration(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """The fields of a trial in words: learning_rate 0.03, hidden_sizes 256-128."""
    return listed([f"{name} {value(row[name])}" for name in names if row.get(name) is not None])


def of_range(low: float, high: float) -> str:
    """A range in words."""
    return f"{low:g} to {high:g}"


def figure(number: float) -> str:
    """An accuracy or a loss with four digits after the point; from 100 on, with four digits.

    >>> figure(0.97037), figure(12345.6)
    ('0.9704', '1.235e+04')
    """
    return f"{number:.4f}" if abs(number) < 100 else f"{number:.4g}"


def sizes(data: Values) -> str:
    """The data set in words: digits (1,257 training and 270 validation examples, 10 classes)."""
    parts = data.get("sizes", {})
    named = (("training", parts.get("train")), ("validation", parts.get("validation")))
    counts = [f"{number:,} {name}" for name, number in named if number]
    inside = [f"{listed(counts)} examples"] if counts else []
    if data.get("classes"):
        inside.append(f"{len(data['classes']):,} classes")
    return f"{data.get('name') or 'the data'}" + (f" ({', '.join(inside)})" if inside else "")
