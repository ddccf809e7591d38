"""Reads a run's study.json, and finds a trial and its configuration."""

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
from ffnet.spec.earlier import as_meant, path
from ffnet.spec.net import PATH, TUNABLE
from ffnet.spec.relevance import relevant
from ffnet.spec.study import OneNet, Study
from ffnet.spec.trial import TrialConfig
from ffnet.spec.validation import explain, shown, validated

OPTIONAL = [n for n, model in TUNABLE.items() if model.model_fields[n].default is None]
"""Hyper-parameters that may have no value, such as momentum."""

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Document(BaseModel):
    """The fields of study.json. It may have others, and old files lack newer fields."""

    model_config = ConfigDict(strict=True)

    study: dict[str, Any]
    data: "DataSection"
    versions: dict[str, str | None]
    threads: int = Field(1, ge=1)
    commit: str | None = None
    started_at: str | None = None
    resumed: list[dict[str, Any]] = []
    test_looks: list[dict[str, Any]] = []  # of `ffnet confirm`


class ColumnSection(BaseModel):
    """A column of the data in study.json: see `ffnet.data.encoding.Column`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: str
    kind: Literal["number", "category", "date"]
    categories: list[str]
    gaps: bool
    fill: Finite
    scaling: Literal["standard", "robust", "quantile"]
    knots: list[Finite]


class DataSection(BaseModel):
    """The section of study.json about the data."""

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
    mean: list[Finite] = []
    std: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = []
    encoding: list[ColumnSection] | None = None
    notes: list[str] = []

    @field_validator("classes")
    @classmethod
    def _each_class_once(cls, classes: list[str]) -> list[str]:
        name, count = Counter(classes).most_common(1)[0]
        if count > 1:
            raise ValueError(f"each class must have a different name. Given: {shown(name)} twice")
        return classes


def read_study_json(run: RunFolder) -> dict[str, Any]:
    """The content of a run's study.json: see `provenance.new_study_json`.

    Raises:
        InputError: the file cannot be read, or a field is missing or wrong; the message names it.
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
    """A study or one net with all defaults, also for fields that are newer than the run."""
    study = as_meant(relevant(study))
    if "budget" in study:
        return validated(Study, study, source, recorded=True).resolved()
    return validated(OneNet, study, source, recorded=True).model_dump(mode="json")


def _wrong_statistics(data: DataSection, scaling: str) -> str | None:
    """What is wrong with mean, std or dtype: field, rule and value. None if nothing is."""
    if not (data.mean or data.std):
        return None
    if wrong := _wrong_dtype(data):
        return wrong
    if not data.example_shape:
        return "example_shape: must be present if data.mean and data.std are. Given: none"
    if data.encoding is not None and [len(data.encoding)] != data.example_shape:
        return (
            f"encoding: must have a column for each feature, {data.example_shape}. Given: "
            f"{len(data.encoding)}"
        )
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
    """What is wrong with dtype; None if nothing is.

    Pixels are normalised in float32. Features are normalised in float64 since study.json has the
    field `normalized_in`, before in float32.
    """
    older = "normalized_in" not in data.model_fields_set
    possible = ["uint8", "float32"] if older else ["uint8"]
    if data.normalized_in == "float64":
        possible = ["float32", "float64"]
    if data.dtype in possible:
        return None
    noted = "absent" if older else data.normalized_in
    rule = f"must be {' or '.join(possible)} if data.normalized_in is {noted}"
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
                return f"{name}: must be from 0 to 255 if data.dtype is uint8. Given: {number}"
    return None


def trial(rows: Sequence[Row], number: str) -> Row:
    """The row of a trial.

    Args:
        rows: rows of trials.parquet.
        number: the trial's number, as text from `--trial`.

    Raises:
        InputError: there is no such trial.
    """
    for row in rows:
        if str(row["trial"]) == number:
            return row
    raise InputError(f"the trial must be one of the run's {len(rows)} trials. Given: {number}")


def refuse_follower(row: Row, remedy: str = "name a trial without a parent") -> None:
    """Refuse a trial that took over the weights of another (pbt): it cannot be trained alone.

    Args:
        row: the trial's row.
        remedy: what the user can do instead.

    Raises:
        InputError: names both trials.
    """
    if row["parent"] is not None:
        raise InputError(
            f"trial {row['trial']} took over weights of trial {row['parent']} (pbt), and cannot "
            f"be trained alone; {remedy}"
        )


def config(study: dict[str, Any], row: Row) -> TrialConfig:
    """A trial's configuration. If pbt changed it during training, the last one.

    A field without a value in the row has the study's, because tables of early versions lack
    columns. But a field of OPTIONAL has none then, as a trial may have drawn that.

    Args:
        study: the study or the one net, as in study.json.
        row: the trial's row of trials.parquet, perhaps without its nulls.

    Raises:
        InputError: the row has values that no trial can have.
    """
    by_rule = row.get("steps_per_block") == 0
    known = [*TUNABLE, *(() if by_rule else PATH)]
    of_row = {name: row[name] for name in known if row.get(name) is not None}
    if "optimizer" in of_row:  # its column is as old as those of OPTIONAL, or older
        of_row = dict.fromkeys(OPTIONAL) | of_row
    fields = study["net"] | study["training"] | of_row
    try:
        epochs, seed = study.get("epochs") or study["budget"]["epochs"], row.get("seed")
        found = TrialConfig.of(fields, row["trial"], epochs, seed)  # refuses a missing seed
        return found.on_path(path(found.net, found.training)) if by_rule else found
    except InputError as error:
        raise InputError(
            f"trials.parquet, trial {row['trial']}: its configuration is not valid ({error})"
        ) from None
