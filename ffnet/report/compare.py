"""Compares runs on the same data: their best nets, their cost, and their common configurations.

All figures are of the validation part. Runs are only compared if it has the same examples in all.

- The best net of a run is its best trial by the study's metric, at that trial's best report. The
  interval of its accuracy is Wilson's, over the examples of the validation part. The best of many
  trials is a little too good on the part that chose it: `ffnet confirm` measures it again.
- The difference of two bests has Newcombe's interval, made from two intervals of Wilson (method 10
  in "Interval estimation for the difference between independent proportions", 1998). Both nets saw
  the same examples, which makes the true interval smaller.
- One study may also be ahead because of luck in its search. If the trials of two runs were the same
  mixture, the best k of all of them would all be in one run with the probability p: an exact
  permutation test. k is the number of trials that are better than the other run's best.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from ffnet.errors import InputError
from ffnet.report.comparison import Better, Compared, Comparison, Pair, Pairs, Verdict
from ffnet.run import intervals, ledger, ranking, recorded, tables
from ffnet.run.folder import RunFolder
from ffnet.run.listing import labels
from ffnet.run.sessions import Session, of_metadata
from ffnet.run.tables import Row, Status
from ffnet.spec.base import Values
from ffnet.spec.sections import Tuning

ELSEWHERE = (
    "dataset", "data_dir", "scaling", "imputation", "max_categories", "categorical", "numeric",
)  # fmt: skip
"""Fields of [data] that do not change which examples are in the validation part."""

STEPS = (0.05, 0.01, 0.001)
"""Distances between the accuracies of `levels`, up to 0.9, up to 0.99, and above."""


@dataclass(frozen=True)
class _Run:
    """What is read of a run."""

    name: str
    document: Values
    tuning: Tuning
    trials: pa.Table
    rows: list[Row]
    reports: list[Row]
    sessions: list[Session]

    def best(self) -> tuple[Row, float] | None:
        """The row of the best trial that neither diverged nor failed, and its best accuracy."""
        row = ranking.best(self._sound(), self.tuning)
        if row is None:
            return None
        at = row[f"best_{self.tuning.metric}_epoch"]
        reports = [r for r in self.reports if r["trial"] == row["trial"] and r["epoch"] == at]
        found = [r["val_accuracy"] for r in reports if r["val_accuracy"] is not None]
        accuracy = found[0] if found else row["best_val_accuracy"]
        return None if accuracy is None else (row, float(accuracy))

    def accuracies(self) -> list[float]:
        """The best accuracy of each trial that neither diverged nor failed."""
        return [v for row in self._sound() if (v := row["best_val_accuracy"]) is not None]

    def sound_reports(self) -> list[Row]:
        """The reports with an accuracy of trials that neither diverged nor failed."""
        sound = {row["trial"] for row in self._sound()}
        reports = (report for report in self.reports if report["trial"] in sound)
        return [report for report in reports if report["val_accuracy"] is not None]

    def _sound(self) -> list[Row]:
        return [row for row in self.rows if row["status"] not in ranking.UNSOUND]


def compare(folders: Sequence[RunFolder], levels: Sequence[float] | None = None) -> Comparison:
    """Compare runs.

    Args:
        folders: two or more different runs.
        levels: accuracies for which the time until a report had them is computed, each above 0 and
            at most 1. With None: see `sensible_levels`.

    Raises:
        InputError: fewer than two runs, a run comes twice, a run cannot be read, a level is not an
            accuracy, or the runs do not have the same validation part.
    """
    for level in levels or ():
        if not 0 < level <= 1:
            raise InputError(f"an accuracy must be above 0 and at most 1. Given: {level}")
    places = [folder.place for folder in folders]
    if len(places) < 2:
        raise InputError(f"compare needs two runs or more. Given: {len(places)}")
    for place in places:
        if places.count(place) > 1:
            raise InputError(f"each run must come once. Given: {place}, twice")
    runs = [_read(folder, name) for folder, name in zip(folders, labels(folders), strict=True)]
    examples = _same_examples(runs)
    bests = {run.name: run.best() for run in runs}
    accuracies = {name: best[1] for name, best in bests.items() if best}
    if levels is None:
        levels = sensible_levels([*accuracies.values()])
    leader = max(accuracies, key=lambda name: accuracies[name], default=None)
    first = next((run for run in runs if run.name == leader), None)
    others = [run for run in runs if run is not first and run.name in accuracies]
    return Comparison(
        [_compared(run, bests[run.name], examples, levels) for run in runs],
        [_verdict(first, run, accuracies, examples, len(others)) for run in others if first],
        runs[0].document["data"],
        examples,
        levels,
    )


def sensible_levels(accuracies: Sequence[float]) -> list[float]:
    """The highest round accuracy that all runs reach, and the highest that any run reaches.

    Example:
        >>> sensible_levels([0.8815, 0.9778])
        [0.85, 0.97]
    """
    if not accuracies:
        return []
    return sorted({_round_below(value) for value in (min(accuracies), max(accuracies))} - {0.0})


def _round_below(value: float) -> float:
    step = next((s for s, end in zip(STEPS, (0.9, 0.99), strict=False) if value < end), STEPS[-1])
    return round(math.floor(value / step + 1e-9) * step, 3)


def _read(folder: RunFolder, name: str) -> _Run:
    document = recorded.read_study_json(folder)
    tuning = ranking.tuning_of(document["study"], str(folder.study))
    if not folder.trials.exists():
        raise InputError(f"{folder} has no table yet: its study has not written one")
    trials = tables.read_table(folder.trials)
    columns = ["trial", "epoch", "val_accuracy", "reported_at"]
    return _Run(
        name,
        document,
        tuning,
        trials,
        trials.to_pylist(),
        tables.read(folder.epochs, columns) if folder.epochs.exists() else [],
        of_metadata(trials.schema.metadata, str(folder.trials)),
    )


def _same_examples(runs: Sequence[_Run]) -> int:
    """The number of validation examples. Raises InputError if runs have different examples."""
    first, *others = runs
    for run in others:
        for name, one, other in (
            ("data (SHA-256)", first.document["data"]["sha256"], run.document["data"]["sha256"]),
            ("split", _split(first.document), _split(run.document)),
        ):
            if one != other:
                raise InputError(
                    f"runs can be compared only on the same validation part, and {first.name} and "
                    f"{run.name} differ in {name}. Given: {one} and {other}"
                )
    count = first.document["data"].get("sizes", {}).get("validation")
    if not count:
        raise InputError(f"study.json of {first.name} must say how many validation examples it has")
    return int(count)


def _split(document: Values) -> Values:
    """How the validation part is made, and its size."""
    fields = {n: v for n, v in document["study"]["data"].items() if n not in ELSEWHERE}
    return fields | {"sizes": document["data"].get("sizes")}


def _compared(
    run: _Run, best: tuple[Row, float] | None, examples: int, levels: Sequence[float]
) -> Compared:
    low, high = intervals.accuracy(best[1], examples) if best else (None, None)
    cost = ledger.account(run.trials, run.sessions)
    statuses = [row["status"] for row in run.rows]
    counts = ", ".join(f"{statuses.count(s)} {s}" for s in Status if s in statuses)
    return Compared(
        name=run.name,
        accuracy=best[1] if best else None,
        low=low,
        high=high,
        metric=run.tuning.metric,
        value=best[0][f"best_{run.tuning.metric}"] if best else None,
        trial=best[0]["trial"] if best else None,
        counts=counts or "none",
        epochs=sum(row["epochs"] or 0.0 for row in run.rows),
        wall_seconds=cost.wall_seconds,
        core_seconds=cost.total,
        reached={level: _reached(run, level) for level in levels},
        progress=_progress(run),
        note=cost.note if cost.total is None else None,
        runs=Status.RUNNING in statuses,
    )


def _reached(run: _Run, level: float) -> tuple[float | None, float | None] | None:
    """(seconds, core-seconds) until a report had an accuracy; None if none had it."""
    times = [r["reported_at"] for r in run.sound_reports() if r["val_accuracy"] >= level]
    known = [time for time in times if time]
    if not times:
        return None
    return _until(run, min(known)) if known else (None, None)


def _progress(run: _Run) -> list[Better]:
    """The reports that were better than all before; none if their times are not known."""
    found: list[Better] = []
    timed = (report for report in run.sound_reports() if report["reported_at"])
    for report in sorted(timed, key=lambda report: report["reported_at"]):
        accuracy = report["val_accuracy"]
        if not found or accuracy > found[-1].accuracy:
            seconds, cores = _until(run, report["reported_at"])
            if seconds is not None:
                found.append(Better(seconds, cores, accuracy))
    return found


def _until(run: _Run, at: datetime) -> tuple[float | None, float | None]:
    """(seconds, core-seconds) from the run's beginning to a time, without breaks of the study."""
    begun = run.document.get("started_at")
    if not run.sessions or at < run.sessions[0].begun_at:  # an earlier version of ffnet
        if not begun or run.document.get("resumed"):
            return None, None
        return (at - datetime.fromisoformat(begun)).total_seconds(), None
    spent = [
        (max((min(at, s.written_at) - s.begun_at).total_seconds(), 0.0), s) for s in run.sessions
    ]
    grows = any(session.slots is None for _, session in spent)
    cores = None if grows else sum(time * (s.slots or 0) * s.cpus for time, s in spent)
    return sum(time for time, _ in spent), cores


def _verdict(
    first: _Run, second: _Run, accuracies: Mapping[str, float], examples: int, comparisons: int
) -> Verdict:
    a, b = accuracies[first.name], accuracies[second.name]
    low, high = intervals.difference(a, b, examples, comparisons)
    ours, theirs = first.accuracies(), second.accuracies()
    best = max(theirs, default=b)
    ahead = sum(value > best for value in ours)
    return Verdict(
        first=first.name,
        second=second.name,
        difference=a - b,
        low=low,
        high=high,
        ahead=ahead,
        trials=len(ours),
        chance=min(intervals.chance_of_lead(ahead, len(ours), len(theirs)) * comparisons, 1.0),
        pairs=_pairs(first, second),
    )


def _pairs(first: _Run, second: _Run) -> Pairs | None:
    searched = {*_searched(first), *_searched(second)}
    theirs = {_configuration(row, searched): row["trial"] for row in second.rows}
    same = [
        (row["trial"], theirs[key])
        for row in sorted(first.rows, key=lambda row: row["trial"])
        if row["parent"] is None and (key := _configuration(row, searched)) in theirs
    ]
    ours, others = _curves(first.reports), _curves(second.reports)
    each = []
    for one, other in same:
        if common := ours.get(one, {}).keys() & others.get(other, {}).keys():
            last = max(common)
            each.append(Pair((one, other), last, (ours[one][last], others[other][last])))
    if not each:
        return None
    differences = [pair.accuracies[0] - pair.accuracies[1] for pair in each]
    return Pairs(
        intervals.mean(differences),
        higher=sum(value > 0 for value in differences),
        lower=sum(value < 0 for value in differences),
        each=each,
    )


def _searched(run: _Run) -> Iterable[str]:
    """The names of the searched fields; of one net, all hyper-parameters."""
    return run.document["study"].get("space") or tables.HYPERPARAMETERS


def _configuration(row: Row, searched: Iterable[str]) -> tuple[Any, ...]:
    """What must be the same in two trials: the seed, and the values of these fields."""
    values = (row[name] for name in ("seed", "parent", *sorted(searched)))
    return tuple(tuple(value) if isinstance(value, list) else value for value in values)


def _curves(reports: Iterable[Row]) -> dict[int, dict[float, float]]:
    """Trial → epoch → validation accuracy."""
    curves: dict[int, dict[float, float]] = {}
    for report in reports:
        if report["val_accuracy"] is not None and report["epoch"] is not None:
            curves.setdefault(report["trial"], {})[report["epoch"]] = report["val_accuracy"]
    return curves
