"""Columns without two different values in the training part: left out, or harmless and told of."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data_files import LABELS, N, loaded, write
from ffnet.data import folds
from ffnet.data.load import load
from ffnet.export.columns import RawColumns
from ffnet.nets.preparation import Preparation
from ffnet.spec.sections import Data

NONE = pa.nulls(N, pa.float64())
FAR = np.arange(N) + 1e6
CANNOT = "but others in the validation or test part, which nets cannot know: column c; leave it out"


def notes(folder: Path, train: Any, test: Any, **fields: Any) -> tuple[str, ...]:
    write(folder / "train.parquet", c=train, t=["x", "y", "z"] * (N // 3))
    write(folder / "test.parquet", c=test, t=["x", "y", "z"] * (N // 3))
    data = loaded(folder, **fields)
    return tuple(note for note in data.notes if "column c" in note)


@pytest.mark.parametrize(
    ("train", "test", "why"),
    [
        (NONE, FAR, "it has no value in the training part"),
        (np.full(N, 5.0), FAR, "all its values are equal in the training part"),
        (np.full(N, 5.0), np.full(N, 5.0), "all its values are equal"),
        (NONE, NONE, "it has no value"),
        (pa.array(["same"] * N), ["same", "other"] * 30, "all its values are equal in the train"),
        (pa.array([f"n{i}" for i in range(N)]), ["n1"] * N, "its text is different in each row"),
        (pa.array([f"some long sentence {i} {i}" for i in range(N)]), ["a"] * N, "its text is dif"),
    ],
)
def test_the_training_file_alone_decides_what_is_left_out(
    tmp_path: Path, train: Any, test: Any, why: str
) -> None:
    (note,) = notes(tmp_path, train, test)
    assert note.startswith(f"left out: column c, as {why}")
    assert ("in the training part" in note) == ("in the train" in why)


def test_a_column_that_varies_in_the_training_file_alone_is_kept(tmp_path: Path) -> None:
    assert notes(tmp_path, np.arange(N) % 7 / 2, NONE) == ()
    assert notes(tmp_path, np.arange(N) % 7 / 2, np.full(N, 5.0)) == ()


def whole(path: Path, c: Any, **fields: Any) -> Any:
    """Load a file whose first 40 rows are the training part."""
    write(path, c=c, t=["x", "y", "z"] * (N // 3))
    return loaded(path, split="last", validation=10, test=10, **fields)


AFTER = np.where(np.arange(N) < 40, 5.0, FAR)
GAPS = pa.array([None if i < 40 else float(i) for i in range(N)])
GAPS_OR_FIVE = pa.array([None if i < 20 else 5.0 if i < 40 else 1e6 for i in range(N)])


@pytest.mark.parametrize("scaling", ["standard", "robust", "quantile"])
@pytest.mark.parametrize("c", [AFTER, GAPS, GAPS_OR_FIVE])
def test_numbers_that_the_training_part_does_not_have_reach_no_net(
    tmp_path: Path, c: Any, scaling: Any
) -> None:
    data = whole(tmp_path / "own.parquet", c, scaling=scaling)
    at = data.columns.index("c")
    prepare = Preparation(data.encoding, 100)
    for part in (data.train, data.validation, data.test):
        assert (np.asarray(prepare(part.x))[:, at] == 0).all()
    what = "no value" if c is GAPS else "a single value"
    assert any(note.startswith(f"{what} in the training part, {CANNOT}") for note in data.notes)


def test_an_exported_net_takes_such_numbers_as_harmless(tmp_path: Path) -> None:
    data = whole(tmp_path / "own.parquet", AFTER)
    raw = RawColumns(data.encoding, data.mean, data.std)
    row = {"a": [1.0], "b": [0.0], "c": [1e30], "t": ["x"]}
    shown = np.asarray(Preparation(data.encoding, 100)(raw(row)))
    assert shown[0, data.columns.index("c")] == 0


def test_a_fold_whose_training_part_has_such_numbers_learns_from_them(tmp_path: Path) -> None:
    data = whole(tmp_path / "own.parquet", np.where(np.arange(N) < 40, 5.0, 6.0))
    fold = folds.folded(data, folds.Fold(0, 2, 0), "standard")
    at = data.columns.index("c")
    assert fold.encoding
    assert fold.encoding[at].knots == ()
    assert abs(fold.train.x[:, at].mean()) < 1e-6
    assert fold.train.x[:, at].std() == pytest.approx(1)


def test_a_note_names_complete_numbers_and_categories_that_nets_cannot_know(tmp_path: Path) -> None:
    path = write(tmp_path / "own.parquet", c=AFTER)
    data = loaded(path, split="last", validation=10, test=10)
    assert data.encoding is None
    assert any(
        note.startswith(f"a single value in the training part, {CANNOT}") for note in data.notes
    )
    cats = {"a": np.arange(N) / 3, "c": ["x"] * 40 + ["y"] * 20, "label": LABELS}
    data = load(Data(split="last", validation=10, test=10), pa.table(cats))
    assert any(
        note.startswith(f"a single value in the training part, {CANNOT}") for note in data.notes
    )


def test_no_note_where_other_parts_have_the_same_single_value(tmp_path: Path) -> None:
    write(tmp_path / "own.parquet", c=np.full(N, 5.0))
    assert not any("single value" in note for note in loaded(tmp_path / "own.parquet").notes)
