"""A run read back: its study.json, one of its trials, and how that one was configured."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ffnet.errors import InputError
from ffnet.run.folder import RunFolder
from ffnet.run.study_files import not_of_a_run, read_run_json
from ffnet.run.tables import Row
from ffnet.spec.base import Values
from ffnet.spec.earlier import as_meant
from ffnet.spec.net import TUNABLE
from ffnet.spec.relevance import relevant
from ffnet.spec.study import OneNet, Study
from ffnet.spec.trial import TrialConfig
from ffnet.spec.validation import explain, shown, validated


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
    classes: list[str] = Field([], min_length=2)
    example_shape: list[Annotated[int, Field(ge=1, le=2**31)]] = Field(
        [], min_length=1, max_length=3
    )
    dtype: Literal["uint8", "float32", "float64"] = "uint8"
    normalized_in: Literal["float32", "float64"] = "float32"
    mean: list[Annotated[float, Field(allow_inf_nan=False)]] = []
    std: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = []

    @field_validator("classes")
    @classmethod
    def _each_class_once(cls, classes: list[str]) -> list[str]:
        name, count = Counter(classes).most_common(1)[0]
        if count > 1:
            raise ValueError(f"each class must have a name of its own. Given: {shown(name)} twice")
        return classes


def read_study_json(run: RunFolder) -> dict[str, Any]:
    """The content of a run's study.json: see `provenance.new_study_json`.

    Raises:
        InputError: it cannot be read, or is of something else; naming the field.
    """
    content = read_run_json(run.study, run.study)
    if missing := {"study", "data", "versions"} - content.keys():
        raise not_of_a_run(run.study, f"no {', '.join(sorted(missing))}")
    try:
        checked = Document.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{run.study}: {explain(error)}") from None
    study = _resolved(content["study"], str(run.study))
    if wrong := _wrong_statistics(checked.data, study["data"]["scaling"]):
        raise InputError(f"{run.study}: data.{wrong}")
    return content | {"study": study, "threads": checked.threads, "commit": checked.commit}


def _resolved(study: Values, source: str) -> Values:
    """A study or one net with every default, also of fields that are newer than the run."""
    study = as_meant(relevant(study))
    if "budget" in study:
        return validated(Study, study, source, recorded=True).resolved()
    return validated(OneNet, study, source, recorded=True).model_dump(mode="json")


def _wrong_statistics(data: DataSection, scaling: str) -> str | None:
    """The field that does not fit the others, the rule and the value; None where all fit."""
    if not (data.mean or data.std):
        return None
    if wrong := _wrong_dtype(data):
        return wrong
    if not data.example_shape:
        return "example_shape: must be given where data.mean and data.std are. Given: none"
    grey = len(data.example_shape) == 2
    needed = 1 if grey or scaling == "unit" else data.example_shape[-1]
    for name, numbers in (("mean", data.mean), ("std", data.std)):
        if len(numbers) != needed:
            return (
                f"{name}: must have a number for each channel or feature, {needed} for examples "
                f"of shape {data.example_shape}. Given: {len(numbers)}"
            )
    return _wrong_number(data)


def _wrong_dtype(data: DataSection) -> str | None:
    """Pixels are normalised in float32, features in float64 since `normalized_in` is noted."""
    older = "normalized_in" not in data.model_fields_set
    possible = ["uint8", "float32"] if older else ["uint8"]
    if data.normalized_in == "float64":
        possible = ["float32", "float64"]
    if data.dtype in possible:
        return None
    noted = "absent" if older else data.normalized_in
    rule = f"must be {' or '.join(possible)} where data.normalized_in is {noted}"
    return f"dtype: {rule}. Given: {data.dtype}"


def _wrong_number(data: DataSection) -> str | None:
    floats = np.dtype(data.normalized_in).type
    with np.errstate(all="ignore"):
        for number in data.mean:
            if not np.isfinite(floats(number)):
                return f"mean: must be numbers that {data.normalized_in} holds. Given: {number}"
        for number in data.std:
            if not (np.isfinite(floats(number)) and np.isfinite(1 / floats(number))):
                rule = f"must be numbers that {data.normalized_in} holds, and their inverses too"
                return f"std: {rule}. Given: {number}"
    for name, numbers in (("mean", data.mean), ("std", data.std)):
        for number in numbers:
            if data.dtype == "uint8" and not 0 <= number <= 255:
                return f"{name}: must be from 0 to 255 where data.dtype is uint8. Given: {number}"
    return None


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


def refuse_follower(row: Row) -> None:
    """Refuse a trial that cannot be trained alone, as it took over the weights of another (pbt).

    Raises:
        InputError: naming both trials.
    """
    if row["parent"] is not None:
        raise InputError(
            f"trial {row['trial']} went on from weights of trial {row['parent']} (pbt), and cannot "
            f"be trained alone; name a trial without a parent"
        )


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
        epochs, seed = study.get("epochs") or study["budget"]["epochs"], row.get("seed")
        return TrialConfig.of(fields, row["trial"], epochs, seed)  # without a seed it is refused
    except InputError as error:
        raise InputError(
            f"trials.parquet, trial {row['trial']}: its configuration cannot be ({error})"
        ) from None
