"""The rows of a run while its trials train: a row for each trial and a row for each report.

For a trial, `begin` is called first, then `report` for each report, then `end`. `ffnet train` makes
these calls itself; for a study, `tuning.recorder` makes them from the events of Ray Tune.
`writer.Writer` also writes the rows to disk.
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
    """The columns PLACE for a trial that runs in this process.

    Args:
        node: a text that distinguishes this node from other nodes on the same machine.
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
        """A trial begins or continues: its row gets the status `running`.

        Args:
            config: the trial's configuration. Population-based training may have changed it.
            sampled_at: when the trial was sampled, in seconds since 1970. It has been in the queue
                since then. None if it was not in a queue.
            parent: number of the trial whose weights this trial took over; None if it took none.
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
        row |= config.hyperparameters() | config.path()
        row |= {"status": Status.RUNNING, "reason": None}
        if parent is not None:
            row["parent"] = parent
        row.pop("ended_at", None)
        self.changed = True

    def report(self, number: int, report: Mapping[str, Any], again: bool = False) -> bool:
        """Put a report into both tables, unless it is already there.

        With population-based training, a trial that took over another trial's weights may report a
        step a second time. Then the later report replaces the earlier one.

        Args:
            number: the trial's number.
            report: `Report.measured()` with the columns PLACE.
            again: whether the report comes from a checkpoint, because the tables may lack it.

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
        """Add seconds to the trial's columns `names`. A name that `seconds` lacks counts as 0."""
        row = self.rows[number]
        for name in names:
            row[name] = row.get(name, 0.0) + seconds.get(name, 0.0)
        self.changed = True

    def put(self, number: int, columns: Mapping[str, Any]) -> None:
        """Set columns of the trial's row."""
        self.rows[number] |= columns
        self.changed = True

    def note(self, number: int, text: str) -> None:
        """Remember a text. It is added to the trial's reason when the trial ends."""
        self._notes[number] = text

    def end(self, number: int, status: Status, reason: str | None = None) -> None:
        """A trial ends with a status and, unless it is done, a reason."""
        reason = "; ".join(filter(None, (reason, self._notes.pop(number, None)))) or None
        self.rows[number] |= {"status": status, "reason": reason, "ended_at": datetime.now(UTC)}
        self.changed = True

    def counts(self) -> Counter[Status]:
        """Status → number of trials."""
        return Counter(row["status"] for row in self.rows.values())

    def finished(self) -> int:
        """Trials that were trained as far as the study wanted: done or pruned."""
        counts = self.counts()
        return counts[Status.DONE] + counts[Status.PRUNED]

    def best(self, most: int) -> list[Row]:
        """At most `most` rows of the best trials, best first, with every column."""
        empty = dict.fromkeys(tables.TRIALS.names)
        return [empty | row for row in self.ranked(self.rows.values())[:most]]

    def epochs_run(self) -> float:
        """The number of epochs that all trials together have trained."""
        return float(sum(row["epochs"] for row in self.rows.values()))

    def ranked(self, rows: Iterable[Row]) -> list[Row]:
        """The rows that have a value of the metric, best first."""
        column = f"best_{self._tuning.metric}"
        return ranking.best_first((row for row in rows if column in row), self._tuning)
