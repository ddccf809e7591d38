"""Data from Python that break a rule are refused in a line, by the names that the caller knows."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pytest

from conftest import Job
from data_files import LABELS, N, loaded
from ffnet.data.load import load
from ffnet.errors import InputError
from ffnet.run import provenance, storage
from ffnet.run.folder import RunFolder
from ffnet.spec.sections import Data
from ffnet.spec.study import Study
from test_data_given import PIXELS, WORDS, X, frame, refusal

HOLE = X.copy()
HOLE[17, 2] = np.nan
REFUSED: dict[str, tuple[Any, str]] = {
    "text": ("digits", "data: must be a pair (x, y), a table, or {"),
    "an array alone": (X, "Given: a ndarray"),
    "three": ((X, LABELS, X), "Given: a tuple of 3"),
    "pairs in a pair": (((X, LABELS), (X, LABELS)), "Given: a pair whose x is a tuple"),
    "columns": ({"a": X[:, 0], "label": LABELS}, "train, validation and test, each once. Given: a"),
    "a part twice": ({"train": (X, LABELS), "val": (X, LABELS), "validation": 1}, "each once"),
    "no training part": ({"test": (X, LABELS)}, "must have a part called train. Given: test"),
    "no part": ({}, "must have a part called train. Given: none"),
    "a copy": (
        {"train": (X, LABELS), "test": (X.copy(), LABELS)},
        "data (test): must not have the same content as another part. Given: a copy of train",
    ),
    "tables and arrays": (
        {"train": (X, LABELS), "test": frame().rename(columns={"kind": "y"})},
        "all parts must be tables, or all must be arrays",
    ),
    "too few labels": ((X, LABELS[1:]), "data: needs as many labels as examples. Given: 60 ex"),
    "too few of a frame": ((pd.DataFrame(X), LABELS[1:]), "x and y: needs as many labels"),
    "a gap": ((HOLE, LABELS), "NaN, a missing value, in feature 2, row 17 (counted from 0)"),
    "a gap in a part": (
        {"train": (X, LABELS), "test": (HOLE, LABELS)}, "x (test): features must be finite"),
    "an infinite number in a frame": (
        (pd.DataFrame({"age": np.where(np.isnan(HOLE), np.inf, HOLE)[:, 2], "b": X[:, 0]}), LABELS),
        "finite numbers. Given: inf in column age, row 17 (counted from 0)"),
    "masked": ((np.ma.masked_equal(LABELS[:, None], 2), LABELS), "x: must have no masked values"),
    "masked labels": ((X, np.ma.masked_equal(LABELS, 2)), "y: must have no masked"),
    "objects": ((X.astype(object), LABELS), "x: features must be numbers. Given: object"),
    "texts": ((np.stack([WORDS, WORDS], axis=1), LABELS), "x: features must be numbers"),
    "one number each": ((X[:, 0], LABELS), "in 2 to 4 dimensions. Given: float64 (60,)"),
    "no array": ((object(), LABELS), "can turn into an array (it is of type object)"),
    "no labels": ((X, None), "y: must be an array, or values that NumPy can turn into an array"),
    "uneven": (([[1.0], [2.0, 3.0]], [0, 1]), "x: must be an array, or values"),
    "labels of two kinds": ((X, ["a", 1, *WORDS[2:]]), "y: labels must be of one kind. Given: int"),
    "quantities": ((X, X[:, 0]), "y: labels must be classes"),
    "probabilities": ((X, np.full((N, 3), 1 / 3)), "y: needs one label for each example, or"),
    "no rows": ((X[:0], LABELS[:0]), "must have an example that has a label. Given: 0 examples"),
    "no label column": (frame(), "data: needs a label column"),
    "two columns of one name": (pd.DataFrame(X[:, :2], columns=["a", "a"]), "data: cannot be read"),
    "a column of two kinds": (
        pd.DataFrame({"a": ["x", *X[1:, 0]], "y": LABELS}), "Conversion failed for column a"),
    "durations": (
        (pd.DataFrame({"a": pd.to_timedelta(LABELS, "s")}), LABELS),
        "numbers, text, booleans or dates only. Given: a (duration["),
    "labels among the features": (
        (frame(), frame()["kind"]), "x: must not have a column with the labels' name. Given: kind"),
    "another index": (
        (frame(), frame()["kind"].sample(frac=1, random_state=0).rename("y")),
        "x and y: must have the same index. Given: different ones"),
    "row numbers alone": (
        pd.DataFrame({"index": np.arange(N), "y": LABELS}),
        "data: must have a feature beside the labels and the numbers of the rows. Given: y, index"),
    "a class of the test part alone": (
        {"train": (X[:, :2], LABELS % 2), "test": (X[:, 2:], LABELS)},
        "y (test): a label must be a class of the training part"),
    "bytes and floats": (
        {"train": (PIXELS, LABELS), "test": (PIXELS / 255, LABELS)},
        "Given: x (train) with uint8 and x (test) with float64"),
    "a byte of no text": (
        pa.table({"a": X[:, 0], "y": pa.array([b"\xff"] * N)}), "labels of bytes must be text"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_breaks_a_rule_is_refused_by_what_the_caller_gave(kind: str) -> None:
    value, words = REFUSED[kind]
    assert words in refusal(value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dataset": "mnist"}, "dataset must be left out"),
        ({"dataset": "own.npz"}, "dataset must be left out"),
        ({"data_dir": "folder"}, "data_dir must be left out"),
    ],
)
def test_a_study_that_names_other_data_is_refused(fields: Any, words: str) -> None:
    message = refusal((X, LABELS), **fields)
    assert words in message
    assert message.endswith(f"Given: {next(iter(fields.values()))}")


def test_given_data_that_are_not_given_again_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        loaded("given")
    assert str(caught.value) == (
        "the data of this study were given from Python: give them again, as data=…, to "
        "ffnet.tune, ffnet.train, Run.confirm, Run.audit, or Run.load and Run.export with "
        "ensemble=…. Given: dataset given"
    )


def test_a_split_that_the_parts_have_made_is_refused() -> None:
    parts = {"train": (X[:40], LABELS[:40]), "test": (X[40:], LABELS[40:])}
    message = refusal(parts, test=9)
    assert message == "test must be left out: the given data set already has a test part. Given: 9"


def test_a_command_refuses_a_run_whose_data_were_given(tmp_path: Path, call: Job) -> None:
    space = {"learning_rate": {"log_uniform": [0.01, 0.1]}}
    study = Study.model_validate({"data": {"dataset": "given"}, "space": space})
    about = provenance.new_study_json(study.resolved(), load(Data(), (X, WORDS)), 1)
    run = tmp_path / "run"
    storage.write_json(RunFolder.at(run).study, about)
    for words in (
        ("tune", run / "study.json"),
        ("tune", run / "study.json", "--out", run, "--resume"),
        ("train", "--dataset", "given"),
    ):
        done = call(*words)
        assert done.returncode == 2
        assert done.stderr.startswith("error: the data of this study were given from Python")
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""
