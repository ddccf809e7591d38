"""A run read back: its study.json, one of its trials, and how that one was configured."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ffnet.errors import InputError
from ffnet.netspec import TUNABLE, NetSpec, Training, TrialConfig
from ffnet.relevance import relevant
from ffnet.results import storage
from ffnet.results.layout import RunFolder
from ffnet.results.tables import Row
from ffnet.space import Values
from ffnet.study import OneNet, Study
from ffnet.validation import MOST_BYTES, explain, json_object, validated


class Document(BaseModel):
    """What study.json must be like. Other fields may stand in it, and later ones may be absent."""

    model_config = ConfigDict(strict=True)

    study: dict[str, Any]
    data: "DataSection"
    versions: dict[str, str | None]
    threads: int = Field(1, ge=1)
    commit: str | None = None
    started_at: str | None = None
    resumed: list[dict[str, Any]] = []


class DataSection(BaseModel):
    """What study.json says of the data."""

    model_config = ConfigDict(strict=True)

    sha256: str
    name: str = ""
    sizes: dict[str, int | None] = {}
    classes: list[str] = []
    example_shape: list[Annotated[int, Field(ge=1, le=2**31)]] = []
    dtype: str = "uint8"
    normalized_in: Literal["float32", "float64"] = "float32"
    mean: list[Annotated[float, Field(allow_inf_nan=False)]] = []
    std: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = []


def document(run: RunFolder) -> dict[str, Any]:
    """The content of a run's study.json: see `provenance.document`.

    Raises:
        InputError: it cannot be read, or is of something else; naming the field.
    """
    try:
        with run.study.open() as file:
            content = _checked(json_object(file.read(MOST_BYTES + 1)))
    except OSError as error:
        raise InputError(f"{run.study}: cannot be read ({storage.reason(error)})") from None
    except ValueError as error:
        raise InputError(f"{run.study}: not a study.json of a run ({error})") from None
    return content | {"study": _resolved(content["study"], str(run.study))}


def _resolved(study: Values, source: str) -> Values:
    """A study or one net with every default, also of fields that are newer than the run."""
    study = relevant(study)
    if "budget" in study:
        return validated(Study, study, source, recorded=True).resolved()
    return validated(OneNet, study, source, recorded=True).model_dump(mode="json")


def _checked(content: dict[str, Any]) -> dict[str, Any]:
    """The document; raises ValueError when a field is not as it must be."""
    if missing := {"study", "data", "versions"} - content.keys():
        raise ValueError(f"no {', '.join(sorted(missing))}")
    try:
        data = Document.model_validate(content).data
    except ValidationError as error:
        raise ValueError(explain(error)) from None
    if {"mean", "std", "example_shape"} <= content["data"].keys():
        features, lengths = math.prod(data.example_shape), {len(data.mean), len(data.std)}
        if len(lengths) > 1 or 0 in lengths or features % lengths.pop():
            raise ValueError(
                "data.mean and data.std must have a number for each channel or feature"
            )
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

    Raises:
        InputError: the row has values that no trial can have.
    """
    fields = (
        study["net"]
        | study["training"]
        | {n: v for n, v in row.items() if n in TUNABLE and v is not None}
    )
    try:
        return TrialConfig(
            number=row["trial"],
            net=NetSpec(**{n: v for n, v in fields.items() if n in NetSpec.model_fields}),
            training=Training(**{n: v for n, v in fields.items() if n in Training.model_fields}),
            epochs=study.get("epochs") or study["budget"]["epochs"],
            seed=row.get("seed"),
        )
    except ValidationError as error:
        raise InputError(
            f"trials.parquet, trial {row['trial']}: its configuration cannot be ({explain(error)})"
        ) from None
