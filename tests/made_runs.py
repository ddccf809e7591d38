"""Writes runs without training: study.json and tables with rows that a test has chosen."""

import json
import math
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ffnet.run import provenance, tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row
from ffnet.spec.study import Study
from ffnet.spec.validation import validated

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
DATA = {
    "name": "digits", "sha256": "0" * 64, "sizes": {"train": 1437, "validation": 270, "test": 0},
    "classes": list("0123456789"), "example_shape": [8, 8], "dtype": "uint8",
    "mean": [4.9], "std": [6.0],
}  # fmt: skip
CONDITIONAL = {
    "hidden_sizes": {"each": {"log_integer": [16, 64]}, "depth": {"integer": [1, 3]}},
    "optimizer": {"choice": ["sgd", "adam"]},
    "momentum": {"uniform": [0.5, 0.9], "when": {"optimizer": "sgd"}},
    "learning_rate": [
        {"log_uniform": [1e-2, 1.0], "when": {"optimizer": "sgd"}},
        {"log_uniform": [1e-4, 1e-2], "when": {"optimizer": "adam"}},
    ],
}


def study_of(space: Any = CONDITIONAL, **sections: Any) -> Study:
    """A study over a space, with 20 trials of 10 epochs unless a section says otherwise."""
    budget = {"trials": 20, "epochs": 10} | sections.pop("budget", {})
    if sections.get("tuning", {}).get("search") == "grid":
        del budget["trials"]
    values = {"space": space, "budget": budget, "seed": 1, **sections}
    return validated(Study, values, "test")


def write(
    place: Path, study: Study, rows: Iterable[Row], reports: Iterable[Row], **data: Any
) -> RunFolder:
    """Write a run's files. `data` replaces fields of study.json about the data."""
    place.mkdir(parents=True)
    run = RunFolder.at(place)
    document = {
        "study": study.resolved(), "data": DATA | data, "versions": provenance.versions(),
        "threads": 1, "commit": None, "started_at": BEGAN.isoformat(), "resumed": [],
    }  # fmt: skip
    Path(run.study.place).write_text(json.dumps(document))
    tables.write(run.trials, rows, tables.TRIALS)
    tables.write(run.epochs, reports, tables.EPOCHS)
    return run


def trial(
    study: Study, number: int, status: str = "done", accuracies: Iterable[float] = (), **more: Any
) -> tuple[Row, list[Row]]:
    """A trial's row and its reports: one for each accuracy, at epochs 1, 2, ….

    The configuration is the one that the study's random search draws for the number.
    """
    grid = study.tuning.search == "grid"
    sample = study.grid()[number] if grid else study.sample(number)
    config = study.trial_config(number, sample, 1000 + number)
    began = BEGAN + timedelta(seconds=10 * number)
    row: Row = {
        "trial": number, "seed": config.seed, "epochs": 0.0, "node": f"node-{number % 2}",
        "worker": 4000 + number % 2, "started_at": began, **config.hyperparameters(),
        "queue_seconds": 1.0, "setup_seconds": 0.5, "report_seconds": 0.25,
    }  # fmt: skip
    shared = {name: row[name] for name in tables.EPOCHS.names if name in row}
    reports = []
    for epoch, accuracy in enumerate(accuracies, 1):
        at = began + timedelta(seconds=epoch)
        report = {
            "trial": number, "epoch": float(epoch), "step": 10 * epoch, "val_accuracy": accuracy,
            "train_loss": 1.01 - accuracy, "val_loss": 1.05 - accuracy, "train_seconds": 0.75,
            "evaluate_seconds": 0.125, "worker": row["worker"], "reported_at": at,
            "started_at": at - timedelta(seconds=1),
        }  # fmt: skip
        reports.append(shared | report)
        tables.note_score(row, report)
        row["epochs"] = report["epoch"]
    row["train_seconds"] = 0.75 * len(reports)
    row["evaluate_seconds"] = 0.125 * len(reports)
    if status != "running":
        row["ended_at"] = began + timedelta(seconds=len(reports) + 1)
    return row | {"status": status, **more}, reports


def trials(study: Study, statuses: Iterable[str], seed: int = 0) -> tuple[list[Row], list[Row]]:
    """Rows and reports of trials 0, 1, … with these statuses, and learning curves.

    A done trial has all epochs, a failed trial has no report, and the others have some epochs.
    Learning rates near 0.03 are the best, with some noise.
    """
    decide = random.Random(seed)
    rows: list[Row] = []
    reports: list[Row] = []
    for number, status in enumerate(statuses):
        most = study.budget.epochs
        epochs = {"done": most, "failed": 0}.get(status, decide.randint(1, most - 1))
        rate = study.sample(number).get("learning_rate", 0.03)
        final = 0.95 - 0.15 * abs(math.log10(rate) + 1.5) + decide.uniform(-0.03, 0.03)
        curve = [final * (1 - 0.6**epoch) for epoch in range(1, epochs + 1)]
        reason = None if status in ("done", "running") else f"reason of trial {number}"
        row, own = trial(study, number, status, curve, reason=reason)
        rows.append(row)
        reports += own
    return rows, reports
