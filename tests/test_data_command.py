"""The command `ffnet data`: what was understood of a data set."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from conftest import Job
from data_files import LABELS, N, write

CITIES = np.array(["Rome", "Oslo", "Bonn"])[np.arange(N) % 3]


def mixed(tmp_path: Path) -> Path:
    """Write a set whose columns are of each kind; one is left out."""
    gappy = np.where(np.arange(N) == 3, np.nan, np.arange(N) / 4)
    days = pa.array([i % 28 for i in range(N)], pa.date32())
    columns = {"city": CITIES, "day": days, "same": ["x"] * N, "label": LABELS[::-1].copy()}
    return write(tmp_path / "own.parquet", a=gappy, b=None, **columns)


def test_each_column_has_a_line_and_each_class_its_counts(call: Job, tmp_path: Path) -> None:
    done = call("data", mixed(tmp_path), env={**os.environ, "COLUMNS": "80"})
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0][-2:] == ["3", "columns"]
    assert ["a", "number", "1", "59", "0", "to", "14.75"] in lines
    assert ["city", "category", "0", "3", "Bonn,", "Oslo,", "Rome"] in lines
    assert ["day", "date", "0", "28", "1970-01-01", "to", "1970-01-28"] in lines
    assert ["0", "14", "3", "3"] in lines
    assert "- left out: column same, as all its values are equal" in done.stdout
    assert "- column city alone tells the class" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_json_has_all_that_was_understood(call: Job, tmp_path: Path) -> None:
    path = str(mixed(tmp_path))
    about = json.loads(call("data", path, "--json", "--drop", "day").stdout)
    assert about["sizes"] == {"train": 42, "validation": 9, "test": 9}
    assert about["columns"][0] == {
        "column": "a", "kind": "number", "missing": 1, "distinct": 59, "low": 0.0, "high": 14.75,
    }  # fmt: skip
    assert [each["column"] for each in about["columns"]] == ["a", "city"]
    assert about["unused"] == ["day", "same"]
    assert sum(each["train"] for each in about["classes"]) == 42


def test_images_have_a_line_of_their_shape(call: Job) -> None:
    done = call("data", "digits")
    assert done.stdout.startswith("digits: 1,257 train, 270 validation, 270 test; examples of 8×8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent.csv"], "dataset 'absent.csv' is neither a path nor one of"),
        (["digits", "--dataset", "mnist"], "give the data set once"),
        (["digits", "--epochs", "3"], "unknown flag --epochs"),
        (["digits", "--drop", "a"], "drop must name columns other than the labels"),
    ],
)
def test_what_is_refused_is_refused_in_a_line(call: Job, words: list[str], message: str) -> None:
    done = call("data", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_neither_tensorflow_nor_ray_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from ffnet.cli.data import main; main(sys.argv[1:]); "
        "sys.exit(bool({'tensorflow', 'ray'} & sys.modules.keys()))"
    )
    path = str(mixed(tmp_path))
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=False)
    assert done.returncode == 0
