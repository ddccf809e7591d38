"""Loads the data of a run again, and refuses other data."""

from collections.abc import Mapping
from typing import Any

from ffnet.data.dataset import DataSet
from ffnet.data.load import load
from ffnet.run import provenance
from ffnet.run.folder import RunFolder
from ffnet.spec.base import Values
from ffnet.spec.relevance import relevant
from ffnet.spec.study import OneNet
from ffnet.spec.validation import validated

MOVED = ("dataset", "data_dir")
"""Fields that say where the data of a run are now. The data themselves must be the same."""


def load_again(
    folder: RunFolder, document: Values, moved: Mapping[str, Any] | None = None, given: Any = None
) -> DataSet:
    """The data set of a run.

    Args:
        folder: the run's folder.
        document: the content of its study.json.
        moved: fields of MOVED that differ from the run's; None stands for an unchanged field.
        given: the data, if they were given from Python: see `ffnet.data.given`.

    Raises:
        InputError: the data are not found, or are not those of the run.
    """
    place = {name: value for name, value in (moved or {}).items() if value is not None}
    fields = relevant({"data": document["study"]["data"] | place}, place)
    data = load(validated(OneNet, fields, str(folder.study), list(place)).data, given)
    provenance.check_data(document["data"], data, "the run")
    return data
