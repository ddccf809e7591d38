"""Who survived: how many trials reached each epoch at which trials were pruned."""

from collections.abc import Sequence
from dataclasses import dataclass

from ffnet.report.page.facts import Facts
from ffnet.run.tables import Row, Status

MOST_RUNGS = 12  # with more levels, neighbours are joined


@dataclass(frozen=True)
class Rung:
    """A level of the study: an epoch at which trials were pruned, or the last epoch.

    Attributes:
        epochs: the level, in epochs.
        reached: number of trials that trained so many epochs.
        pruned: number of trials that the scheduler stopped here: after the level before, up to
            this one.
        other: number of trials that diverged, failed or were stopped in the same part.
        best_pruned: the best figure among the pruned; None if none was pruned.
    """

    epochs: float
    reached: int
    pruned: int
    other: int
    best_pruned: float | None


def rungs(facts: Facts) -> list[Rung]:
    """The levels of a study, ascending; no levels if no trial was pruned."""
    pruned = sorted({row["epochs"] for row in facts.rows if row["status"] == Status.PRUNED})
    if not pruned:
        return []
    levels = _spread(pruned)
    if levels[-1] < facts.epochs:
        levels.append(float(facts.epochs))
    below = [-1.0, *levels]
    return [_rung(facts, low, high) for low, high in zip(below, levels, strict=False)]


def _spread(levels: list[float]) -> list[float]:
    """At most MOST_RUNGS of the levels, the last among them."""
    if len(levels) <= MOST_RUNGS:
        return levels
    step = len(levels) / MOST_RUNGS
    return [levels[round((i + 1) * step) - 1] for i in range(MOST_RUNGS)]


def _rung(facts: Facts, low: float, high: float) -> Rung:
    here = [row for row in facts.rows if low < (row["epochs"] or 0.0) <= high]
    pruned = [row for row in here if row["status"] == Status.PRUNED]
    other = [row for row in here if row["status"] not in (Status.PRUNED, Status.DONE)]
    return Rung(
        epochs=high,
        reached=sum((row["epochs"] or 0.0) >= high for row in facts.rows),
        pruned=len(pruned),
        other=len([row for row in other if row["status"] != Status.RUNNING]),
        best_pruned=_best(facts, pruned),
    )


def _best(facts: Facts, rows: Sequence[Row]) -> float | None:
    values = [value for row in rows if (value := facts.value(row)) is not None]
    pick = max if facts.tuning.mode == "max" else min
    return pick(values, default=None)


def takeovers(facts: Facts) -> list[tuple[int, int]]:
    """(trial, the trial whose weights it last took over), for population-based training."""
    return sorted((row["trial"], row["parent"]) for row in facts.rows if row["parent"] is not None)
