"""The rows of a run while its trials train: one row a trial, one row a report.

A trial's life is three calls: `begin`, then `report` for each report, then `end`. `ffnet train`
makes these calls itself; for a study `tuning.recorder` makes them from the events of Ray Tune.
`writer.Writer` also keeps the rows on disk.
"""

import os
import platform
import resource
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from ffnet.run import ranking, tables
from ffnet.run.tables import Row, Status
from ffnet.spec.sections import Tuning
from ffnet.spec.trial import TrialConfig

PLACE = ("node", "worker", "worker_memory")
"""Columns that say where a trial runs; trials.parquet has all of them, epochs.parquet some."""


def place(node: str = "") -> Row:
    """The columns PLACE of a trial that runs in this process.

    Args:
        node: what tells this node from others on the same machine, if it is one of several.
    """
    return {
        "node": ":".join(filter(None, (platform.node(), node))),
        "worker": os.getpid(),
        "worker_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


class Rows:
    """The rows of a run, in memory.

    Attributes:
        rows: trial number → its row of trials.parquet.
        reports: (trial number, step) → the row of epochs.parquet.
        changed: whether something has changed since this was last set to False.
    """

    def __init__(self, tuning: Tuning) -> None:
        """Begin without a trial.

        Args:
            tuning: says which trial is better, and whether a trial may report a step again.
        """
        self.rows: dict[int, Row] = {}
        self.reports: dict[tuple[int, int], Row] = {}
        self.changed = True
        self._tuning = tuning
        self._notes: dict[int, str] = {}

    def begin(
        self, config: TrialConfig, sampled_at: float | None = None, parent: int | None = None
    ) -> None:
        """A trial begins, or goes on: its row says `running`.

        Args:
            config: the trial. Population-based training may have changed it since its last time.
            sampled_at: when the trial was sampled, in seconds since 1970; it was queued since then.
            parent: the trial whose weights it goes on from.
        """
        if config.number not in self.rows:
            self.rows[config.number] = {
                "trial": config.number,
                "seed": config.seed,
                "epochs": 0.0,
                "queue_seconds": time.time() - sampled_at if sampled_at else None,
                "started_at": datetime.now(UTC),
            }
        row = self.rows[config.number]
        row |= config.hyperparameters()
        row |= {"status": Status.RUNNING, "reason": None}
        if parent is not None:
            row["parent"] = parent
        row.pop("ended_at", None)
        self.changed = True

    def report(self, number: int, report: Mapping[str, Any], again: bool = False) -> bool:
        """Put a report into both tables, unless it stands there already.

        Under population-based training a trial reports a step once more when it has gone on from
        another trial's weights: then the later report replaces the earlier one.

        Args:
            number: of the trial.
            report: `Report.measured()` with the columns PLACE.
            again: whether it comes from a checkpoint, because the tables may lack it.

        Returns:
            Whether the report is new.
        """
        row, key = self.rows[number], (number, report["step"])
        if key in self.reports and (again or self._tuning.scheduler != "pbt"):
            return False
        row |= {name: report[name] for name in PLACE} | {"epochs": report["epoch"]}
        self.spend(number, report, ("train_seconds", "evaluate_seconds"))
        self.reports[key] = {n: report.get(n, row.get(n)) for n in tables.EPOCHS.names} | {
            name: datetime.fromisoformat(report[name]) for name in ("started_at", "reported_at")
        }
        tables.note_score(row, report)
        self.changed = True
        return True

    def spend(self, number: int, seconds: Mapping[str, Any], names: Iterable[str]) -> None:
        """Add the seconds of these names, where there are any, to those of the trial."""
        row = self.rows[number]
        for name in names:
            row[name] = row.get(name, 0.0) + seconds.get(name, 0.0)
        self.changed = True

    def put(self, number: int, columns: Mapping[str, Any]) -> None:
        """Put columns into the trial's row."""
        self.rows[number] |= columns
        self.changed = True

    def note(self, number: int, text: str) -> None:
        """Keep a text that the trial's reason says too when the trial ends."""
        self._notes[number] = text

    def end(self, number: int, status: Status, reason: str | None = None) -> None:
        """A trial ends."""
        reason = "; ".join(filter(None, (reason, self._notes.pop(number, None)))) or None
        self.rows[number] |= {"status": status, "reason": reason, "ended_at": datetime.now(UTC)}
        self.changed = True

    def counts(self) -> Counter[Status]:
        """Trials by status."""
        return Counter(row["status"] for row in self.rows.values())

    def finished(self) -> int:
        """Trials that were trained as far as the study wanted: done or pruned."""
        counts = self.counts()
        return counts[Status.DONE] + counts[Status.PRUNED]

    def best(self, most: int) -> list[Row]:
        """The best trials by the metric at its best epoch, with every column."""
        empty = dict.fromkeys(tables.TRIALS.names)
        return [empty | row for row in self.ranked(self.rows.values())[:most]]

    def epochs_run(self) -> float:
        """Epochs trained by all trials so far."""
        return float(sum(row["epochs"] for row in self.rows.values()))

    def ranked(self, rows: Iterable[Row]) -> list[Row]:
        """Those of the rows that have a figure, the best first."""
        column = f"best_{self._tuning.metric}"
        return ranking.best_first((row for row in rows if column in row), self._tuning)
