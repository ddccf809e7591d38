"""A column of a table is understood alike whether another column has a gap, or a note says so."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest

from data_files import N, loaded
from ffnet.data.dataset import DataSet
from ffnet.data.load import load
from ffnet.errors import InputError
from ffnet.run import provenance
from ffnet.spec.sections import Data

FRAME = pd.DataFrame(
    {
        "a": np.arange(N) / 3,
        "zip": pd.Categorical([20, 1, 300] * (N // 3)),
        "flag": [True, False, True] * (N // 3),
        "y": ["p", "q"] * (N // 2),
    }
)
GAPPY = FRAME.assign(a=[None, *FRAME["a"][1:]])
CODES = (
    "categories that are numbers count as numbers in this table: zip; name such a column in categ"
)
FLAGS = "booleans are 0 and 1 in a table of complete numbers: flag; in other tables they are categ"


def in_form(form: str, folder: Path, frame: Any, **fields: Any) -> DataSet:
    path = folder / f"own.{form}"
    if form == "python":
        return load(Data(target="y", **fields), frame)
    (frame.to_parquet if form == "parquet" else frame.to_feather)(path)
    return loaded(path, target="y", **fields)


def kinds(data: DataSet) -> list[str] | None:
    return [column.kind for column in data.encoding] if data.encoding else None


@pytest.mark.parametrize("form", ["python", "feather", "parquet"])
def test_a_note_names_categories_and_booleans_that_are_numbers_in_this_table(
    tmp_path: Path, form: str
) -> None:
    data = in_form(form, tmp_path, FRAME)
    assert kinds(data) is None
    assert data.notes[0].startswith(CODES)
    assert data.notes[1].startswith(FLAGS)
    gappy = in_form(form, tmp_path, GAPPY)
    lost = form == "parquet"  # Parquet keeps no dictionary of numbers
    assert kinds(gappy) == ["number", "number" if lost else "category", "category"]
    assert any(note.startswith(CODES) for note in gappy.notes) == lost
    assert not any(note.startswith(FLAGS) for note in gappy.notes)


@pytest.mark.parametrize("form", ["python", "feather", "parquet"])
@pytest.mark.parametrize("frame", [FRAME, GAPPY])
def test_the_remedy_of_the_note_gives_categories_everywhere(
    tmp_path: Path, form: str, frame: Any
) -> None:
    data = in_form(form, tmp_path, frame, categorical=("zip",))
    assert kinds(data) == ["number", "category", "category"]
    assert data.encoding
    assert set(data.encoding[1].categories) == {"1", "20", "300"}
    assert not any(note.startswith((CODES, FLAGS)) for note in data.notes)


def test_a_run_that_read_columns_as_numbers_does_not_go_on_with_categories() -> None:
    data = load(Data(target="y", categorical=("zip",)), FRAME)
    before = json.loads(json.dumps(provenance.about(data)))
    provenance.check_data(before, data, "RUN")
    del before["encoding"]  # as in runs of versions that had no categories
    with pytest.raises(InputError, match="read its data in another way: encoding"):
        provenance.check_data(before, data, "RUN")
