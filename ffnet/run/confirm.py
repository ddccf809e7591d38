"""confirm.parquet: the best configurations of a study, trained again from fresh seeds.

`ffnet confirm` writes it: a row for each net. The configuration whose nets are best on the
validation part is chosen, and only its nets are evaluated on the test part. study.json lists under
`test_looks` when the test part was looked at. Each look adds its rows; no row is removed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ffnet.errors import InputError
from ffnet.run import ensembles, intervals, ranking, recorded, tables
from ffnet.run.ensembles import Ensemble
from ffnet.run.folder import RunFolder
from ffnet.run.intervals import Estimate
from ffnet.run.tables import Kind, Row, Status
from ffnet.spec.base import Values
from ffnet.spec.net import TUNABLE
from ffnet.spec.sections import METRICS, Metric, Tuning, on_test

KIND = Kind(
    pa.schema(
        {
            "look": pa.int32(),  # 1 for the first look at the test part, 2 for the second
            "net": pa.int32(),  # number of the net, from 0 in each look
            "trial": pa.int32(),  # whose configuration the net has
            "seed": pa.int64(),  # of weights, batches and dropout; with folds also of the folds
            "fold": pa.int32(),  # which of the folds is the validation part, from 0
            "folds": pa.int32(),  # number of folds; null for the study's own split
            "status": pa.string(),
            "reason": pa.string(),
            "best_epoch": pa.float64(),  # the epoch that is best by the study's metric
            **dict.fromkeys(METRICS, pa.float64()),  # after the best epoch, as the test figures
            **tables.TEST,  # null unless the configuration was chosen
            "chosen": pa.bool_(),
            "epochs": pa.float64(),  # epochs trained
            "train_seconds": pa.float64(),
            "evaluate_seconds": pa.float64(),  # of all evaluations on the validation part
            "node": pa.string(),
            "started_at": tables.TIME,
            "ended_at": tables.TIME,
        }
    ),
    ["look", "net", "trial", "status"],
)
FRESH = 0xF5E5  # keeps the seeds of these nets apart from the seeds of trials


@dataclass(frozen=True)
class Confirmed:
    """What the nets of one confirmation say.

    Attributes:
        look: number of the look at the test part, from 1.
        metric: the study's metric.
        seeds, folds: number of seeds, and of folds; folds is None for the study's own split.
        validation: trial → the estimate of the metric after the best epoch, the best trial first.
            The chosen trial is the first.
        broken: trials of which a net diverged or failed. They come after the others.
        difference: the metric of the chosen trial minus that of the next trial, for nets of the
            same seed. None if there is no next trial, or too few of its nets are sound.
        test: the test accuracy of the chosen trial; None if the test part was not looked at.
        test_loss: the mean test loss of the chosen trial, in nats; None like `test`.
        test_metric: the study's metric on the test part; None like `test`, and in early versions.
        test_examples: number of examples in the test part; None if study.json does not say it.
        ensemble: what an ensemble of these nets says; None if none was asked for.
    """

    look: int
    metric: Metric
    seeds: int
    folds: int | None
    validation: dict[int, Estimate]
    broken: tuple[int, ...]
    difference: Estimate | None
    test: Estimate | None
    test_loss: float | None
    test_metric: Estimate | None
    test_examples: int | None
    ensemble: Ensemble | None = None

    @property
    def chosen(self) -> int | None:
        """The number of the chosen trial; None if each trial has a net that diverged or failed."""
        return next((trial for trial in self.validation if trial not in self.broken), None)

    @property
    def runner_up(self) -> int | None:
        """The number of the second trial; None if only one was trained again."""
        return next(iter([*self.validation][1:]), None)

    @property
    def told_apart(self) -> bool:
        """Whether the chosen trial is better than the next: the interval lies beside 0."""
        return self.difference is not None and self.difference.excludes_zero

    def lines(self) -> list[str]:
        """The result in sentences."""
        if self.chosen is None:
            return ["no trial is chosen, because each has a net that diverged or failed"]
        return [
            self._choice(self.validation[self.chosen]),
            *self._comparison(),
            *self._test(),
            *(self.ensemble.lines() if self.ensemble else []),
            *self._looks(),
        ]

    def _choice(self, best: Estimate) -> str:
        each = f"{self.seeds} seeds" + (f" × {self.folds} folds" if self.folds else "")
        return (
            f"chosen by validation: trial {self.chosen}, mean {self.metric} {best.mean:.4f} over "
            f"{each}, each net after its best epoch"
        )

    def _comparison(self) -> list[str]:
        if self.runner_up is None:
            return []
        if self.difference is None:
            return [f"trial {self.runner_up} has too few sound nets for a comparison"]
        found = self.difference
        assert found.low is not None
        how = "paired t, corrected for folds that share examples" if self.folds else "paired t"
        can = "is better than" if self.told_apart else "cannot be told from"
        where = "" if self.folds else " on this validation part"
        return [
            (
                f"trial {self.chosen} {can} trial {self.runner_up}{where}: difference "
                f"{found.mean:+.4f}, "
                f"95 % interval {found.low:+.4f} to {found.high:+.4f} ({how}, {found.count} pairs)"
            )
        ]

    def _test(self) -> list[str]:
        interval = self.test.within() if self.test else None
        if self.test is None or interval is None:
            return ["the test part was not looked at"]
        low, high = interval
        lines = [
            (
                f"test accuracy of trial {self.chosen}: mean {self.test.mean:.4f}, deviation "
                f"{self.test.deviation:.4f}, 95 % interval of the mean {low:.4f} to {high:.4f} (t, "
                f"{self.test.count} nets); mean loss {self.test_loss:.4f}"
            )
        ]
        if self.test_examples:
            low, high = intervals.accuracy(self.test.mean, self.test_examples)
            lines.append(
                f"that interval says how much seeds matter; {self.test_examples:,} test examples "
                f"leave {low:.4f} to {high:.4f} (Wilson, 95 %) for other examples of the same kind"
            )
        if self.metric not in ("val_accuracy", "val_loss") and self.test_metric is not None:
            lines.append(
                f"{on_test(self.metric)} of trial {self.chosen}: mean {self.test_metric.mean:.4f}, "
                f"deviation {self.test_metric.deviation:.4f}"
            )
        return lines

    def _looks(self) -> list[str]:
        if self.look == 1 or self.test is None:
            return []
        return [
            (
                f"this was look {self.look} at the test part: its accuracy may be too good, "
                f"because earlier looks may have led to a choice"
            )
        ]


# --- before the training -------------------------------------------------------------------------


def refuse_second_look(document: Values, again: bool) -> None:
    """Refuse to look at the test part once more, unless the user asks for it.

    Args:
        document: the content of study.json.
        again: whether the user has written `--again`.

    Raises:
        InputError: says when the test part was looked at.
    """
    looks = document.get("test_looks", [])
    if looks and not again:
        raise InputError(
            f"the test part may be looked at once, else it becomes a second validation part. "
            f"Given: a run with {len(looks)} look{'s' * (len(looks) > 1)}, the first at "
            f"{looks[0].get('at')}; `ffnet confirm RUN --again` looks once more, and study.json "
            f"records it"
        )


def best_configurations(rows: Iterable[Row], tuning: Tuning, top: int | None) -> list[Row]:
    """The rows of the best trials, the best first. Of equal configurations, only the best counts.

    Args:
        rows: rows of trials.parquet.
        tuning: says which trial is better.
        top: how many are wanted. With None, three, or as many as there are.

    Raises:
        InputError: there are fewer, or one of them cannot be trained alone (pbt).
    """
    found: dict[str, Row] = {}
    for row in ranking.best_first(rows, tuning):
        if row["status"] not in ranking.UNSOUND and row[f"best_{tuning.metric}"] is not None:
            found.setdefault(repr([row[name] for name in TUNABLE if name in row]), row)
    if not found:
        raise InputError(
            f"a confirmation needs a trial that has reported {tuning.metric} and did not diverge "
            f"or fail. Given: a run without one"
        )
    if top is not None and not 1 <= top <= len(found):
        raise InputError(
            f"--top must be from 1 to the number of different configurations that did not diverge "
            f"or fail, {len(found)}. Given: {top}"
        )
    best = list(found.values())[: top or 3]
    for row in best:
        recorded.refuse_follower(row, "tune with another scheduler to confirm what it finds")
    return best


def fresh_seeds(study_seed: int, taken: Iterable[int], count: int) -> list[int]:
    """Seeds for nets that are trained again, from 0 to 2³¹ - 1. None of them is in `taken`.

    The first seeds do not depend on `count`.
    """
    seeds: list[int] = []
    used, number = set(taken), 0
    while len(seeds) < count:
        seed = int(np.random.SeedSequence([study_seed, FRESH, number]).generate_state(1)[0] >> 1)
        if seed not in used:
            used.add(seed)
            seeds.append(seed)
        number += 1
    return seeds


# --- after the training --------------------------------------------------------------------------


def order(rows: Sequence[Row], tuning: Tuning) -> list[int]:
    """The trials of a confirmation, the best by the mean over its nets first.

    Trials with a net that diverged or failed come last.
    """
    sign, unsound = -1 if tuning.mode == "max" else 1, broken(rows)

    def key(trial: int) -> tuple[bool, float, int]:
        values = [*_values(rows, trial, tuning.metric).values()]
        return trial in unsound, sign * float(np.mean(values)) if values else np.inf, trial

    return sorted({row["trial"] for row in rows}, key=key)


def broken(rows: Iterable[Row]) -> tuple[int, ...]:
    """The trials of which a net diverged or failed."""
    return tuple(sorted({row["trial"] for row in rows if not _is_sound(row)}))


def _is_sound(row: Row) -> bool:
    return bool(row["status"] == Status.DONE)


def read(folder: RunFolder) -> list[Row]:
    """The rows of confirm.parquet, of all looks; none if the file does not exist.

    Raises:
        InputError: the table cannot be read, or has a value that is not possible.
    """
    return tables.read(folder.confirm, kind=KIND) if folder.confirm.exists() else []


def last(folder: RunFolder, tuning: Tuning, data: Values) -> Confirmed | None:
    """What the last confirmation of a run says; None if there was none. See `summary`.

    Raises:
        InputError: a table cannot be read, or has a value that is not possible.
    """
    return summary(read(folder), tuning, data, ensembles.read(folder))


def summary(
    rows: Sequence[Row], tuning: Tuning, data: Values, of_ensembles: Sequence[Row] = ()
) -> Confirmed | None:
    """What the last confirmation of a run says; None if there are no rows.

    Args:
        rows: rows of confirm.parquet.
        tuning: names the study's metric.
        data: the section `data` of study.json.
        of_ensembles: rows of ensembles.parquet.
    """
    if not rows:
        return None
    look = max(row["look"] for row in rows)
    rows = [row for row in rows if row["look"] == look]
    folds = rows[0]["folds"]
    shared = 1 / (folds - 1) if folds else 0.0
    values = {trial: _values(rows, trial, tuning.metric) for trial in order(rows, tuning)}
    values = {trial: of_nets for trial, of_nets in values.items() if of_nets}
    tested = [
        row for row in rows if row["test_accuracy"] is not None and row["test_loss"] is not None
    ]
    examples = data.get("sizes", {}).get("test")
    measured = [v for row in tested if (v := row[on_test(tuning.metric)]) is not None]
    return Confirmed(
        look=look,
        metric=tuning.metric,
        seeds=len({row["seed"] for row in rows}),
        folds=folds,
        validation={t: intervals.mean([*v.values()], shared) for t, v in values.items()},
        broken=broken(rows),
        difference=_difference([*values.values()][:2], shared),
        test=intervals.mean([row["test_accuracy"] for row in tested]) if tested else None,
        test_loss=float(np.mean([row["test_loss"] for row in tested])) if tested else None,
        test_metric=intervals.mean(measured) if measured else None,
        test_examples=examples,
        ensemble=ensembles.of_look(of_ensembles, rows, tuning.metric, examples),
    )


def _values(rows: Iterable[Row], trial: int, metric: str) -> dict[Any, float]:
    """(seed, fold) → the metric of a sound net of the trial."""
    of_trial = (row for row in rows if row["trial"] == trial and _is_sound(row))
    return {(r["seed"], r["fold"]): r[metric] for r in of_trial if r[metric] is not None}


def _difference(values: Sequence[dict[Any, float]], shared: float) -> Estimate | None:
    """The first trial's values minus the second's, for nets of the same seed and fold."""
    if len(values) < 2:
        return None
    first, second = values
    pairs = [first[key] - second[key] for key in first if key in second]
    return intervals.mean(pairs, shared) if len(pairs) > 1 else None
