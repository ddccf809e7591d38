"""audit.parquet: pruned trials of a study, trained to the end to see what pruning has cost.

`ffnet audit` writes it: a row for each trial that it has trained again. A pruned trial that would
have become better than the study's winner is what pruning has lost; the epochs that pruned trials
did not train are what pruning has saved.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ffnet.errors import InputError
from ffnet.run import intervals, ranking, tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Kind, Row, Status
from ffnet.spec.base import Values
from ffnet.spec.sections import Tuning

KIND = Kind(
    pa.schema(
        {
            "trial": pa.int32(),
            "status": pa.string(),
            "reason": pa.string(),
            "seed": pa.int64(),
            "pruned_epoch": pa.float64(),  # where the study had pruned it
            "matches": pa.bool_(),  # whether the reports until then are the same, bit for bit
            **tables.BEST,
            "winner": pa.int32(),  # the study's best trial
            "winner_figure": pa.float64(),  # its best figure by the study's metric
            "gain": pa.float64(),  # how much better than the winner; below 0 if it is worse
            "epochs": pa.float64(),
            "train_seconds": pa.float64(),
            "evaluate_seconds": pa.float64(),
            "node": pa.string(),
            "started_at": tables.TIME,
            "ended_at": tables.TIME,
        }
    ),
    ["trial", "status"],
)
MOST_NAMED = 10  # trials that a line names
DRAWN = 0xA0D1  # keeps the choice of trials apart from other random numbers of the study


@dataclass(frozen=True)
class Saved:
    """The compute that pruning saved.

    Attributes:
        epochs: epochs that the pruned trials did not train.
        core_seconds: seconds that these epochs would have taken, at each trial's own measured
            speed, times the CPUs of a trial.
        share: these epochs divided by all that the study would have trained without pruning.
    """

    epochs: float
    core_seconds: float
    share: float


@dataclass(frozen=True)
class Audited:
    """What an audit says.

    Attributes:
        pruned: number of pruned trials in the study.
        audited: number of them that were trained to the end.
        failed: number of them that could not be trained; they are in none of the other numbers.
        different: numbers of the trials whose reports differ from those of the study.
        winner: number of the study's best trial.
        metric: the study's metric.
        beaten_by: the trials that are better than the winner, the best first.
        share: the exact 95 % interval of the share of pruned trials that would have beaten the
            winner; the share itself twice if all pruned trials were trained.
        regret: how much better than the winner the best of them is, 0 or more.
        regret_interval: its 95 % bootstrap interval over the audited trials.
        saved: the compute that pruning saved.
    """

    pruned: int
    audited: int
    failed: int
    different: tuple[int, ...]
    winner: int
    metric: str
    beaten_by: tuple[int, ...]
    share: tuple[float, float]
    regret: float
    regret_interval: tuple[float, float]
    saved: Saved

    def lines(self) -> list[str]:
        """The result in sentences."""
        every = self.audited == self.pruned
        how = "all of them were trained" if every else "exact binomial, 95 %"
        share = "{:.1f} to {:.1f} %".format(*(100 * bound for bound in self.share))
        regret = "{:.4f} to {:.4f}".format(*self.regret_interval)
        unseen = "" if every else "; trials that were not audited may be better"
        lines = [
            (
                f"{len(self.beaten_by)} of {self.audited} audited trials would have beaten trial "
                f"{self.winner}; of all {self.pruned} pruned trials {share} ({how})"
            ),
            (
                f"regret: {self.regret:.4f} {self.metric}, 95 % interval {regret} (bootstrap "
                f"over the audited trials{unseen})"
            ),
            (
                f"pruning saved {self.saved.epochs:,.0f} epochs and {self.saved.core_seconds:,.0f} "
                f"core-seconds: {100 * self.saved.share:.0f} % of the epochs of a study without "
                f"pruning"
            ),
        ]
        same = f"{self.audited - len(self.different)} of {self.audited} trained to the same bits"
        lines.append(f"until they were pruned, {same}{self._differences()}")
        if self.failed:
            lines.append(f"not trained again, because of errors: {self.failed}, see audit.parquet")
        return lines

    def _differences(self) -> str:
        if not self.different:
            return ""
        trials = ", ".join(map(str, self.different[:MOST_NAMED]))
        more = ", …" if len(self.different) > MOST_NAMED else ""
        return f"; different: {trials}{more}, perhaps because the study ran with other versions"


def chosen(rows: Iterable[Row], study_seed: int, count: int | None) -> list[Row]:
    """Pruned trials, drawn at random from the study's seed. More trials include the fewer.

    Args:
        rows: rows of trials.parquet.
        study_seed: the study's seed.
        count: how many are wanted. With None, ten, or as many as there are.

    Raises:
        InputError: there are fewer.
    """
    pruned = sorted(
        (row for row in rows if row["status"] == Status.PRUNED), key=lambda row: row["trial"]
    )
    if not pruned:
        raise InputError("an audit needs pruned trials. Given: a run without one")
    if count is not None and not 1 <= count <= len(pruned):
        raise InputError(
            f"--trials must be from 1 to the number of pruned trials, {len(pruned)}. Given: {count}"
        )
    drawn = np.random.default_rng([study_seed, DRAWN]).permutation(len(pruned))
    return [pruned[at] for at in drawn[: count or 10]]


def gain(row: Row, winner: Row, tuning: Tuning) -> float | None:
    """How much better than the winner a trial is by the study's metric; None if it is not sound."""
    column = f"best_{tuning.metric}"
    if row["status"] in ranking.UNSOUND or row.get(column) is None:
        return None
    better = row[column] - winner[column]
    return float(better if tuning.mode == "max" else -better)


def saved(rows: Iterable[Row], epochs: int, cpus: float) -> Saved:
    """The compute that pruning saved.

    Args:
        rows: rows of trials.parquet.
        epochs: epochs of a trial that is not pruned.
        cpus: CPUs of a trial.
    """
    trained = left = seconds = 0.0
    for row in rows:
        trained += row["epochs"] or 0.0
        if row["status"] != Status.PRUNED or not row["epochs"]:
            continue
        spent = (row["train_seconds"] or 0.0) + (row["evaluate_seconds"] or 0.0)
        left += epochs - row["epochs"]
        seconds += (epochs - row["epochs"]) * spent / row["epochs"]
    return Saved(left, seconds * cpus, left / (trained + left) if left else 0.0)


def read(folder: RunFolder) -> list[Row]:
    """The rows of audit.parquet; none if the file does not exist.

    Raises:
        InputError: the table cannot be read, or has a value that is not possible.
    """
    return tables.read(folder.audit, kind=KIND) if folder.audit.exists() else []


def summary(rows: Sequence[Row], trials: Sequence[Row], study: Values) -> Audited | None:
    """What an audit says; None if there are no rows.

    Args:
        rows: rows of audit.parquet.
        trials: rows of trials.parquet.
        study: the section `study` of study.json.
    """
    if not rows:
        return None
    trained = [row for row in rows if row["status"] != Status.FAILED]
    gains = [-math.inf if row["gain"] is None else row["gain"] for row in trained]
    better = sorted((r for r in trained if (r["gain"] or 0) > 0), key=lambda row: -row["gain"])
    pruned = sum(row["status"] == Status.PRUNED for row in trials)
    census = len(trained) == pruned
    exact = (len(better) / pruned,) * 2 if census else (0.0, 1.0)
    low, high = intervals.largest(gains) if gains else (0.0, 0.0)
    return Audited(
        pruned=pruned,
        audited=len(trained),
        failed=len(rows) - len(trained),
        different=tuple(row["trial"] for row in trained if row["matches"] is False),
        winner=rows[0]["winner"],
        metric=ranking.tuning_of(study).metric,
        beaten_by=tuple(row["trial"] for row in better),
        share=exact if census or not trained else intervals.share(len(better), len(trained)),
        regret=max([0.0, *gains]),
        regret_interval=(max(0.0, low), max(0.0, high)),
        saved=saved(trials, study["budget"]["epochs"], study["resources"]["cpus"]),
    )
