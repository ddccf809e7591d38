"""A run whose study has ended, as `ffnet confirm` and `ffnet audit` need it."""

from dataclasses import dataclass

from ffnet.errors import InputError
from ffnet.run import recorded, rescue, tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row
from ffnet.spec.base import Values
from ffnet.spec.study import Study
from ffnet.spec.validation import validated


@dataclass(frozen=True)
class Ended:
    """A run whose study has ended.

    Attributes:
        folder: the run's folder.
        document: the content of its study.json.
        study: the study.
        rows: the rows of trials.parquet.
    """

    folder: RunFolder
    document: Values
    study: Study
    rows: list[Row]


def read(folder: RunFolder) -> Ended:
    """Read a run of a study.

    Raises:
        InputError: the run is a single net, no trial has begun, or its tables are in another place.
    """
    if saved := rescue.found(folder):
        raise InputError(
            f"{folder}: tables of its run are saved in {saved}: bring them back with "
            f"`ffnet tune … --resume` first"
        )
    document = recorded.read_study_json(folder)
    if "budget" not in document["study"]:
        raise InputError(
            f"a run of `ffnet tune` is needed. Given: {folder}, a single net of `ffnet train`"
        )
    study = validated(Study, document["study"], str(folder.study), recorded=True)
    if not folder.trials.exists():
        raise InputError(f"a run with trials is needed. Given: {folder}, in which none has begun")
    return Ended(folder, document, study, tables.read(folder.trials))
