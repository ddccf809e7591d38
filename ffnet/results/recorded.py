"""A run read back: its study.json, one of its trials, and how that one was configured."""

import json
from collections.abc import Sequence
from typing import Any

from ffnet.errors import InputError
from ffnet.netspec import TUNABLE, NetSpec, Training, TrialConfig
from ffnet.results.layout import RunFolder
from ffnet.results.tables import Row


def document(run: RunFolder) -> dict[str, Any]:
    """The content of a run's study.json: see `provenance.document`.

    Raises:
        InputError: it cannot be read, or is of something else.
    """
    try:
        with run.study.open() as file:
            content: dict[str, Any] = json.loads(file.read())
        missing = {"study", "data", "versions"} - content.keys()
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{run.study}: not a study.json of a run ({error})") from None
    if missing:
        raise InputError(f"{run.study}: not a study.json of a run (no {', '.join(missing)})")
    return content


def trial(rows: Sequence[Row], number: str) -> Row:
    """The row of one trial. Raises InputError when there is none.

    Args:
        rows: of trials.parquet.
        number: of the trial, as --trial has it.
    """
    for row in rows:
        if str(row["trial"]) == number:
            return row
    raise InputError(f"--trial must be one of the run's {len(rows)} trials. Given: {number}")


def config(study: dict[str, Any], row: Row) -> TrialConfig:
    """A trial's configuration; one changed while it trained (pbt) as it was at the end.

    Args:
        study: the study or the one net, as study.json has it.
        row: the trial's, of trials.parquet.
    """
    fields = (
        study["net"]
        | study["training"]
        | {n: v for n, v in row.items() if n in TUNABLE and v is not None}
    )
    return TrialConfig(
        number=row["trial"],
        net=NetSpec(**{n: v for n, v in fields.items() if n in NetSpec.model_fields}),
        training=Training(**{n: v for n, v in fields.items() if n in Training.model_fields}),
        epochs=study.get("epochs") or study["budget"]["epochs"],
        seed=row["seed"],
    )
