"""Says which trial is better. Tables, summaries, checkpoints, export and board use this rule.

The trial with the better value of the study's metric comes first; if values are equal, the trial
with the lower number. Trials that diverged or failed come after all other trials, and trials
without a finite value come last.
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
    """The metric by which a run's trials are compared, as a `Tuning`.

    Args:
        study: the section `study` of study.json, of a study or of one net.
        source: the file's place, for messages.

    Raises:
        InputError: ffnet does not know the metric.
    """
    tuning = study.get("tuning", study)
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
        prefix: the column's name before the metric: `best_`, `last_`, or "" for reports.
    """
    by_value = ranked(rows, prefix + tuning.metric, descending=tuning.mode == "max")
    column = prefix + tuning.metric
    return sorted(
        by_value, key=lambda row: (not _finite(row.get(column)), row["status"] in UNSOUND)
    )


def best(rows: Iterable[Row], tuning: Tuning) -> Row | None:
    """The best trial's row; None while no trial has a figure."""
    first = best_first(rows, tuning)[:1]
    return first[0] if first and first[0].get(f"best_{tuning.metric}") is not None else None


def ranked(rows: Iterable[Row], column: str, descending: bool) -> list[Row]:
    """Rows sorted by a column; rows without a value come last, equal rows by trial number."""
    rows = sorted(rows, key=lambda row: row["trial"])
    with_value = [row for row in rows if not _missing(row.get(column))]
    with_value.sort(key=lambda row: row[column], reverse=descending)
    return with_value + [row for row in rows if _missing(row.get(column))]


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)
