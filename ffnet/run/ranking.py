"""Which trial is better: the one rule that tables, summaries, checkpoints, export and board follow.

The better value of the study's metric comes first; of equal ones the trial begun first. Trials that
diverged or failed come after all that did not, and those without a finite value last.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from ffnet.errors import InputError
from ffnet.run.tables import Row, Status
from ffnet.spec.sections import Tuning
from ffnet.spec.validation import explain

UNSOUND = (Status.DIVERGED, Status.FAILED)


def tuning_of(study: Mapping[str, Any], source: str = "study.json") -> Tuning:
    """What a run is judged by: its metric, and whether a higher one is better.

    Args:
        study: its section of study.json; one net alone has no tuning.
        source: the file's place, for the message of an error.

    Raises:
        InputError: the metric is none that ffnet knows.
    """
    tuning = study.get("tuning")
    given = {"metric": tuning["metric"]} if isinstance(tuning, dict) and "metric" in tuning else {}
    try:
        return Tuning.model_validate(given)
    except ValidationError as error:
        raise InputError(f"{source}: tuning.{explain(error)}") from None


def best_first(rows: Iterable[Row], tuning: Tuning, prefix: str = "best_") -> list[Row]:
    """Trials, the best by the study's metric first.

    Args:
        rows: rows with `trial`, `status` and the column of the metric.
        tuning: names the metric.
        prefix: of the column: `best_`, `last_`, or nothing for reports.
    """
    by_value = ranked(rows, prefix + tuning.metric, descending=tuning.mode == "max")
    column = prefix + tuning.metric
    return sorted(
        by_value, key=lambda row: (not _finite(row.get(column)), row["status"] in UNSOUND)
    )


def best(rows: Iterable[Row], tuning: Tuning) -> Row | None:
    """The first trial of the table; None while no trial has a figure."""
    first = best_first(rows, tuning)[:1]
    return first[0] if first and first[0].get(f"best_{tuning.metric}") is not None else None


def ranked(rows: Iterable[Row], column: str, descending: bool) -> list[Row]:
    """Rows by a column, rows without a value last; of equal ones the trial begun first."""
    rows = sorted(rows, key=lambda row: row["trial"])
    with_value = [row for row in rows if not _missing(row.get(column))]
    with_value.sort(key=lambda row: row[column], reverse=descending)
    return with_value + [row for row in rows if _missing(row.get(column))]


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)
