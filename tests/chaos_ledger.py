"""Checks a run's tables while it is disturbed: after each reading, and at the end.

Only rows are compared here; nothing is started or killed. See chaos.py.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from ffnet.run import tables
from ffnet.run.tables import Row
from ffnet.spec.net import MUTABLE

ENDED = ("done", "pruned", "diverged")
"""Statuses that never change again. A trial that failed or was stopped may be tried again."""

CURVE = ("epoch", "train_loss", "val_loss", "val_accuracy")
OWN = ("status", "seed", "epochs", "best_val_accuracy", "best_val_loss", *tables.HYPERPARAMETERS)
"""Columns in which a trial must equal the same trial of an uninterrupted study."""

Key = tuple[int, int]  # trial and step


class Ledger:
    """Compares each reading of a run's tables with the one before it.

    Attributes:
        findings: {name of a fault: its cases, each once}.
        ended: how many trials had ended in the last reading.
        running: numbers of the trials that ran in the last reading.
        shares: whether a trial may continue from another trial's weights (pbt).
    """

    def __init__(self, shares: bool) -> None:
        """Begin without a reading.

        Args:
            shares: whether a trial may continue from another trial's weights (pbt). Then epochs
                may be skipped, or trained again with other hyper-parameters.
        """
        self.findings: defaultdict[str, set[str]] = defaultdict(set)
        self.ended = 0
        self.running: list[int] = []
        self.shares = shares
        self._trials: dict[int, Row] = {}
        self._reports: set[Key] = set()
        self._trained: defaultdict[Key, set[tuple[Any, ...]]] = defaultdict(set)

    @property
    def reports(self) -> int:
        """How many epochs were seen, in a table or in a checkpoint."""
        return len(self._trained)

    @property
    def repeated(self) -> int:
        """How many epochs were trained again although they had been saved."""
        return sum(len(self._times(key)) - 1 for key in list(self._trained))

    def take(self, trials: Sequence[Row], reports: Sequence[Row]) -> None:
        """Compare a reading of both tables with the one before.

        Args:
            trials: rows of trials.parquet.
            reports: rows of epochs.parquet, read after the trials.
        """
        now = {row["trial"]: row for row in trials}
        keys = Counter((report["trial"], report["step"]) for report in reports)
        self._count_twice(trials, keys)
        for number in self._trials.keys() - now.keys():
            self.findings["rows lost"].add(f"the row of trial {number} is gone")
        for key in self._reports - keys.keys():
            self.findings["rows lost"].add(f"the report of trial and step {key} is gone")
        for number, row in now.items():
            before = self._trials.get(number, row)
            if before["status"] in ENDED and before != row:
                changed = [name for name in row if row[name] != before[name]]
                self.findings["ended rows changed"].add(f"trial {number}: {', '.join(changed)}")
        self._find_gaps(now, reports)
        for report in reports:
            self.note(report["trial"], report)
        self._trials |= now
        self._reports |= keys.keys()
        self.ended = sum(row["status"] in ENDED for row in trials)
        self.running = [row["trial"] for row in trials if row["status"] == "running"]

    def note(self, trial: int, report: Row) -> None:
        """Note a trained epoch, from a row of epochs.parquet or from a checkpoint."""
        at = report["reported_at"]
        at = datetime.fromisoformat(at) if isinstance(at, str) else at
        changing = tuple(repr(report.get(name)) for name in (*MUTABLE, "parent"))
        self._trained[trial, report["step"]].add((at, changing if self.shares else None))

    def close(self, trials: Sequence[Row], reports: Sequence[Row], expected: int) -> None:
        """Check the tables of a study that has ended.

        Args:
            trials: rows of trials.parquet.
            reports: rows of epochs.parquet.
            expected: how many trials the study has.
        """
        self.take(trials, reports)
        numbers = {row["trial"] for row in trials}
        for number in set(range(expected)) - numbers:
            self.findings["rows lost"].add(f"trial {number} has no row")
        for number in numbers - set(range(expected)):
            self.findings["trials twice"].add(f"trial {number} is one too many")
        for row in trials:
            if row["status"] not in ENDED:
                name = "failed, or not ended"
                self.findings[name].add(f"trial {row['trial']}: {row['status']}, {row['reason']}")

    def _count_twice(self, trials: Sequence[Row], keys: Counter[Key]) -> None:
        for number, count in Counter(row["trial"] for row in trials).items():
            if count > 1:
                self.findings["trials twice"].add(f"trial {number} has {count} rows")
        for key, count in keys.items():
            if count > 1:
                self.findings["reports twice"].add(f"trial and step {key} have {count} rows")
        if self.shares:
            return
        first: dict[str, int] = {}
        for row in trials:
            drawn = repr([row[name] for name in tables.HYPERPARAMETERS])
            if first.setdefault(drawn, row["trial"]) != row["trial"]:
                pair = f"trials {first[drawn]} and {row['trial']} have the same hyper-parameters"
                self.findings["trials twice"].add(pair)

    def _find_gaps(self, trials: dict[int, Row], reports: Sequence[Row]) -> None:
        """Note a finding if a trial that has ended lacks one of its epochs."""
        have = defaultdict(set)
        for report in reports:
            have[report["trial"]].add(report["epoch"])
        for number, row in trials.items():
            if row["status"] not in ENDED:
                continue
            last = int(row["epochs"])
            due = {last} if self.shares else set(range(1, last + 1))
            if missing := due - have[number]:
                self.findings["reports missing"].add(f"trial {number}: {sorted(missing)}")
            if not self.shares and (more := have[number] - due):
                self.findings["reports twice"].add(f"trial {number} ended before {sorted(more)}")

    def _times(self, key: Key) -> list[tuple[Any, ...]]:
        """Return each training of an epoch; under pbt only with the last hyper-parameters."""
        trained = sorted(self._trained[key], key=lambda entry: entry[0])
        return [entry for entry in trained if entry[1] == trained[-1][1]]


def changed_decisions(
    whole: tuple[Iterable[Row], Iterable[Row]], end: tuple[Iterable[Row], Iterable[Row]]
) -> set[str]:
    """Compare a disturbed study with the same study without a break.

    Args:
        whole: trials and reports of the study without a break.
        end: trials and reports of the disturbed study.

    Returns:
        A sentence for each trial with a different status, hyper-parameter, seed or curve.
    """
    before, after = _by_trial(*whole), _by_trial(*end)
    found = set()
    for number in before.keys() | after.keys():
        old, new = before.get(number, {}), after.get(number, {})
        names = [name for name in old | new if old.get(name) != new.get(name)]
        if names:
            name = names[0]
            found.add(f"trial {number}: {name} {old.get(name)} became {new.get(name)}")
    return found


def _by_trial(trials: Iterable[Row], reports: Iterable[Row]) -> dict[int, Row]:
    rows = {row["trial"]: {name: row[name] for name in OWN} for row in trials}
    for number in rows:
        rows[number]["curve"] = []
    for report in sorted(reports, key=lambda report: report["step"]):
        rows[report["trial"]]["curve"].append(tuple(report[name] for name in CURVE))
    return rows
