"""Damaged tables and study.json: they are read, or refused in one line."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import Job
from ffnet.errors import InputError
from ffnet.export.card import choose
from ffnet.run import checkpoints, checks, recorded, storage, tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row
from ffnet.spec.net import MUTABLE, NEWEST, PATH, TUNABLE, NetSpec, Training
from ffnet.spec.study import Study

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def row(trial: int, **changed: Any) -> Row:
    known = NetSpec().model_dump() | Training().model_dump() | {"dropout": [0.0]}
    return {
        **{name: value for name, value in known.items() if name in tables.TRIALS.names},
        "trial": trial, "status": "done", "seed": 5, "epochs": 2.0, "best_val_accuracy": 0.5,
        "started_at": NOW, **changed,
    }  # fmt: skip


def report(trial: int, step: int, **changed: Any) -> Row:
    return {"trial": trial, "step": step, "epoch": step / 10, "val_loss": 1.5, **changed}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Write a run of two trials with two reports each."""
    folder = RunFolder.create(tmp_path / "run")
    study = Study.model_validate({"space": {"learning_rate": {"uniform": [0.1, 0.2]}}}).resolved()
    storage.write_json(folder.study, {"study": study, "data": {"sha256": "0"}, "versions": {}})
    tables.write(folder.trials, [row(0), row(1)], tables.TRIALS)
    tables.write(folder.epochs, [report(t, s) for t in (0, 1) for s in (10, 20)], tables.EPOCHS)
    return folder


def rewrite(file: storage.File, table: pa.Table) -> None:
    with file.replacing() as opened:
        pq.write_table(table, opened)


def read(file: storage.File) -> pa.Table:
    with file.open() as opened:
        return pq.read_table(opened)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"trial": 0}, "row 2: trial 0 is also in an earlier row"),
        ({"trial": None}, "row 2: trial must be given. Given: None"),
        ({"trial": -1}, "row 2: trial must be a whole number from 0. Given: -1"),
        ({"status": "dead"}, "row 2: status must be running|done|pruned|diverged|failed|stopped"),
        ({"status": None}, "row 2: status must be given"),
        ({"epochs": -1.0}, "row 2: epochs must be 0 or more. Given: -1.0"),
        ({"epochs": float("nan")}, "row 2: epochs must be 0 or more. Given: nan"),
        ({"best_val_accuracy": 1.5}, "row 2: best_val_accuracy must be from 0 to 1. Given: 1.5"),
        ({"last_val_loss": float("nan")}, "row 2: last_val_loss must be a finite number"),
        ({"learning_rate": float("inf")}, "row 2: learning_rate must be a finite number"),
        ({"augment_crop": 1.5}, "row 2: augment_crop must be from 0 to 1. Given: 1.5"),
        ({"augment_rotate": float("inf")}, "row 2: augment_rotate must be a finite number"),
        ({"frequency_scale": float("nan")}, "row 2: frequency_scale must be a finite number"),
        ({"started_at": datetime(2900, 1, 1, tzinfo=UTC)}, "row 2: started_at must be a time of"),
        ({"seed": -5}, "row 2: seed must be a whole number from 0. Given: -5"),
        ({"hidden_sizes": [8, None]}, "column hidden_sizes: a list must have no missing values"),
    ],
)
def test_a_row_that_no_study_wrote_is_refused(
    run: RunFolder, changed: Row, words: str, call: Job
) -> None:
    tables.write(run.trials, [row(0), row(1) | changed], tables.TRIALS)
    done = call("table", run.place, "--columns", "all")
    assert done.returncode == 2
    assert f"{run.trials}" in done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"trial": 0, "step": 10}, "row 2: trial 0, step 10 is also in an earlier row"),
        ({"step": None}, "row 2: step must be given"),
        ({"epoch": 0.0}, "row 2: epoch must be above 0. Given: 0.0"),
        ({"val_accuracy": -0.5}, "row 2: val_accuracy must be from 0 to 1"),
        ({"train_loss": float("inf")}, "row 2: train_loss must be a finite number"),
    ],
)
def test_a_report_that_no_trial_made_is_refused(run: RunFolder, changed: Row, words: str) -> None:
    tables.write(run.epochs, [report(0, 10), report(0, 20) | changed], tables.EPOCHS)
    with pytest.raises(InputError) as error:
        tables.read(run.epochs)
    assert f"{run.epochs}, {words}" in str(error.value)


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("learning_rate", pa.array(["0.1", "0.2"]), "must be double. Given: string"),
        ("hidden_sizes", pa.array([8, 8]), "must be list<item: int64>. Given: int64"),
        ("hidden_sizes", pa.array([["8"], ["8"]]), "must be list<item: int64>. Given: list"),
        ("trial", pa.array([0.0, 1.0]), "must be int32. Given: double"),
        ("trial", pa.array([0, 2**40]), "must be int32 (Integer value 1099511627776"),
        ("status", pa.array([b"done", b"done"]), "must be string. Given: binary"),
        ("started_at", pa.array([1, 2]), "must be timestamp[us, tz=UTC]. Given: int64"),
    ],
)
def test_a_column_of_another_type_is_refused(
    run: RunFolder, column: str, values: pa.Array, words: str
) -> None:
    table = read(run.trials)
    rewrite(run.trials, table.set_column(table.column_names.index(column), column, values))
    with pytest.raises(InputError) as error:
        tables.read(run.trials)
    assert f"{run.trials}, column {column}: {words}" in str(error.value)


def test_wider_and_narrower_types_of_the_same_kind_are_read(run: RunFolder) -> None:
    """Other programs may write such tables back."""
    before, table = tables.read(run.trials), read(run.trials)
    for column, kind in {
        "trial": pa.int64(),
        "status": pa.large_string(),
        "optimizer": pa.dictionary(pa.int32(), pa.string()),
        "best_val_accuracy": pa.float32(),
        "started_at": pa.timestamp("ns", "Europe/Berlin"),
        "hidden_sizes": pa.large_list(pa.int32()),
    }.items():
        at = table.column_names.index(column)
        table = table.set_column(at, column, table.column(at).cast(kind))
    rewrite(run.trials, table.append_column("mine", pa.array(["a", "b"])))
    after = tables.read(run.trials)
    assert [r.pop("mine") for r in after] == ["a", "b"]
    assert after == before


def test_a_table_that_lacks_a_column_is_refused_and_one_of_an_older_version_is_read(
    run: RunFolder,
) -> None:
    table = read(run.trials)
    for column in ("status", "learning_rate", "optimizer"):
        rewrite(run.trials, table.drop_columns([column]))
        with pytest.raises(InputError, match=f"needs a column '{column}'"):
            tables.read(run.trials)
    first = ["trial", "status", "hidden_sizes", "activation", "initializer", "learning_rate"]
    later = [n for n in table.column_names if n not in checks.FIRST_COLUMNS]
    assert not set(first) & set(later)
    rewrite(run.trials, table.drop_columns(later))
    assert tables.read(run.trials)[0]["optimizer"] is None
    rewrite(run.trials, table.rename_columns(["trial", "trial", *table.column_names[2:]]))
    with pytest.raises(InputError, match=r"a different name\. Given: trial"):
        tables.read(run.trials)


@pytest.mark.parametrize("name", NEWEST)
def test_a_table_may_lack_each_of_the_newest_columns_alone(run: RunFolder, name: str) -> None:
    table = read(run.trials)
    rewrite(run.trials, table.drop_columns([name]))
    default = TUNABLE[name].model_fields[name].default
    assert {row[name] for row in tables.read(run.trials)} == {default}
    for older in (PATH[0], "class_weight"):  # all versions with a newest column have these
        rewrite(run.trials, table.drop_columns([name, older]))
        with pytest.raises(InputError, match=f"needs a column '{older}'"):
            tables.read(run.trials)


def test_a_table_that_claims_more_than_memory_is_refused(run: RunFolder) -> None:
    text = pa.chunked_array([pa.nulls(30_000_000, pa.null())])
    rewrite(run.trials, pa.table(dict.fromkeys(tables.TRIALS.names, text)))
    with pytest.raises(InputError, match="must fit into half of the machine's memory"):
        tables.read(run.trials)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 100, b"\x00" * 100])
def test_what_is_no_table_is_refused(run: RunFolder, content: bytes, call: Job) -> None:
    Path(run.trials.place).write_bytes(content)
    done = call("table", run.place)
    assert done.returncode == 2
    assert "not a readable table" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_text_cannot_command_the_terminal(run: RunFolder, call: Job) -> None:
    tables.write(run.trials, [row(0, reason="a\x1b[2J\nb")], tables.TRIALS)
    done = call("table", run.place, "--columns", "trial,reason")
    assert "\x1b" not in done.stdout
    assert len(done.stdout.splitlines()) == 3


def test_a_configuration_that_cannot_be_is_refused(run: RunFolder) -> None:
    study = recorded.read_study_json(run)["study"]
    assert recorded.config(study, row(0)).training.learning_rate > 0
    for changed in ({"learning_rate": -1.0}, {"optimizer": "magic"}, {"seed": None}):
        with pytest.raises(InputError, match=r"trials\.parquet, trial 7: its configuration"):
            recorded.config(study, row(7, **changed))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["study"], [], "study"),
        (["study", "budget"], 5, "budget"),
        (["study", "budget", "epochs"], -1, "budget.epochs"),
        (["study", "surprise"], 1, "unknown key 'surprise'"),
        (["data"], None, "data"),
        (["data", "sha256"], 5, "data.sha256"),
        (["data", "mean"], [float("nan")], "data.mean"),
        (["data", "std"], [0.0], "data.std"),
        (["data", "example_shape"], [0], "data.example_shape"),
        (["data", "example_shape"], [2] * 4, "data.example_shape"),
        (["data", "classes"], [5], "data.classes"),
        (["versions"], "all", "versions"),
        (["threads"], 0, "threads"),
        (["resumed"], {}, "resumed"),
    ],
)
def test_a_study_json_with_an_odd_field_is_refused_by_its_name(
    run: RunFolder, path: list[str], value: Any, words: str
) -> None:
    document = json.loads(Path(run.study.place).read_text("utf-8"))
    section = document
    for name in path[:-1]:
        section = section[name]
    section[path[-1]] = value
    Path(run.study.place).write_text(json.dumps(document), "utf-8")
    with pytest.raises(InputError) as error:
        recorded.read_study_json(run)
    assert str(run.study) in str(error.value)
    assert words in str(error.value)


FEATURES = {
    "name": "own", "sha256": "0", "sizes": {"train": 8, "validation": 2, "test": None},
    "classes": ["a", "b", "c"], "example_shape": [5], "dtype": "float64",
    "normalized_in": "float64", "mean": [-1.5] * 5, "std": [2.0] * 5,
}  # fmt: skip
IMAGES = FEATURES | {
    "example_shape": [4, 4, 3], "dtype": "uint8", "normalized_in": "float32",
    "mean": [9.5] * 3, "std": [2.0] * 3,
}  # fmt: skip
OLDER = {n: v for n, v in FEATURES.items() if n != "normalized_in"} | {"dtype": "float32"}


def describe(run: RunFolder, data: dict[str, Any], **of_data: Any) -> None:
    """Write `data` of a run's study.json; `of_data` goes to the study's `[data]`."""
    document = json.loads(Path(run.study.place).read_text("utf-8"))
    document["study"]["data"] |= of_data
    storage.write_json(run.study, document | {"data": data})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (FEATURES | {"dtype": "nonsense"}, "dtype: input should be 'uint8', 'float32' or"),
        (FEATURES | {"dtype": "complex64"}, "dtype: input should be 'uint8', 'float32' or"),
        (FEATURES | {"dtype": "int8"}, "dtype: input should be 'uint8', 'float32' or"),
        (FEATURES | {"dtype": "uint8"}, "dtype: must be float32 or float64 if data.norm"),
        (FEATURES | {"normalized_in": "float32"}, "dtype: must be uint8 if data.normalized_in"),
        (OLDER | {"dtype": "float64"}, "dtype: must be uint8 or float32 if data.normalized_in"),
        (OLDER | {"dtype": "uint8"}, "mean: must be from 0 to 255 if data.dtype is uint8. G"),
        (IMAGES | {"dtype": "float32"}, "dtype: must be uint8 if data.normalized_in is float32"),
        (FEATURES | {"classes": []}, "classes: list should have at least 2 items"),
        (FEATURES | {"classes": ["a"]}, "classes: list should have at least 2 items"),
        (FEATURES | {"classes": ["b", "a", "a"]}, "classes: each class must have a different name"),
        (FEATURES | {"std": [1e-320] + [2.0] * 4}, "std: must be numbers that float64 holds, and"),
        (OLDER | {"std": [1e-40] + [2.0] * 4}, "std: must be numbers that float32 holds, and the"),
        (OLDER | {"mean": [1e39] * 5}, "mean: must be numbers that float32 holds. Given: 1e+39"),
        (FEATURES | {"mean": [0.0], "std": [1.0]}, "mean: must have a number for each channel or"),
        (FEATURES | {"std": [1.0]}, "std: must have a number for each channel or feature, 5 for"),
        (IMAGES | {"mean": [9.5], "std": [2.0]}, "mean: must have a number for each channel or"),
        (FEATURES | {"example_shape": [1, 5]}, "mean: must have a number for each channel or f"),
    ],
)
def test_what_is_said_of_the_data_fits_together_or_is_refused(
    run: RunFolder, data: dict[str, Any], words: str, call: Job
) -> None:
    describe(run, data)
    for arguments in (("export",), ("train", "--trial", 0, "--from")):
        done = call(*arguments, run.place)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"error: {run.study}: data.{words}")
        assert "Given: " in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("data", "of_data"),
    [
        (FEATURES, {}),
        (FEATURES | {"dtype": "float32"}, {}),
        (OLDER, {}),
        (IMAGES, {}),
        (IMAGES | {"mean": [0.0], "std": [255.0]}, {"scaling": "unit"}),
        (IMAGES | {"example_shape": [4, 4], "mean": [9.5], "std": [2.0]}, {}),
        (IMAGES | {"example_shape": [3]}, {}),  # whole numbers of a byte as features
    ],
)
def test_what_versions_said_of_their_data_is_read(
    run: RunFolder, data: dict[str, Any], of_data: dict[str, Any]
) -> None:
    describe(run, data, **of_data)
    assert recorded.read_study_json(run)["data"] == data


class Value:
    """Has the attributes of a TensorFlow variable that a checkpoint needs."""

    def __init__(self, *shape: int) -> None:
        self.zeros = np.zeros(shape, np.float32)

    def read_value(self) -> np.ndarray:
        return self.zeros


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"classes": ["a", "b"]}, "classes: must be 3 names, as the net of trial 0 has so"),
        ({"classes": list("abcd")}, "classes: must be 3 names, as the net of trial 0 has so"),
        (
            {"example_shape": [4], "mean": [0.0] * 4, "std": [1.0] * 4},
            "example_shape: must be 5 numbers, as the net of trial 0 has so many inputs. Given:",
        ),
    ],
)
def test_data_of_another_net_than_the_weights_are_blamed_and_not_the_checkpoint(
    run: RunFolder, changed: dict[str, Any], words: str, call: Job
) -> None:
    of_net = {"hidden_sizes": [4], "bias": True, "batch_norm": True}
    trial = row(0, **of_net)
    tables.write(run.trials, [trial], tables.TRIALS)
    same = {name: trial.get(name) for name in MUTABLE}
    tables.write(run.epochs, [report(0, 20, val_accuracy=0.5, **same)], tables.EPOCHS)
    weights = [Value(5, 4), Value(4), Value(4), Value(4), Value(4, 3), Value(3)]
    with run.checkpoint(0).replacing() as file:
        checkpoints.write(file, 20, [], [*weights, Value(4), Value(4)])
    describe(run, FEATURES)
    assert choose(run, None).report["step"] == 20
    describe(run, FEATURES | changed)
    done = call("export", run.place)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {run.study}: data.{words}")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("job", ["table", "export", "board"])
def test_every_job_refuses_a_damaged_run_in_one_line(run: RunFolder, call: Job, job: str) -> None:
    flags = ["--convert-only"] if job == "board" else []
    for damage in ("study.json", "trials.parquet", "epochs.parquet"):
        copy = Path(f"{run.place}-{job}-{damage}")
        shutil.copytree(run.place, copy)
        content = (copy / damage).read_bytes()
        (copy / damage).write_bytes(content[: len(content) // 2])
        done = call(job, copy, *flags)
        if job == "table" and damage == "epochs.parquet":  # table does not read it
            assert done.returncode == 0
            continue
        if job == "board" and damage == "study.json":
            continue
        assert done.returncode == 2, (damage, done.stdout)
        assert str(copy) in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_trial_without_a_report_cannot_be_trained_again(run: RunFolder, call: Job) -> None:
    tables.write(run.trials, [row(0), row(1, status="failed")], tables.TRIALS)
    tables.write(run.epochs, [report(0, 10)], tables.EPOCHS)
    done = call("train", "--from", run.place, "--trial", 1)
    assert (done.returncode, done.stdout) == (2, "")
    assert "trial 1 has no report to compare with (status failed)" in done.stderr
