"""Honest splits: groups stay together, rare classes can be learnt, and copies are counted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_files import LABELS, RANDOM, N, loaded, original, refusal, savez, write
from ffnet.data import duplicates, groups
from ffnet.data.dataset import DataSet
from ffnet.data.load import load
from ffnet.errors import InputError
from ffnet.run import provenance
from ffnet.spec.sections import Data

# --- groups --------------------------------------------------------------------------------------

PATIENT = np.arange(N) // 4  # 15 patients with 4 rows each


def patients(data: DataSet) -> list[set[int]]:
    """Return the patients in each part, by the feature a, which is the number of the row."""
    parts = np.split(original(data)[:, 0].round().astype(int) // 4,
                     np.cumsum([len(data.train), len(data.validation)]))  # fmt: skip
    return [set(part.tolist()) for part in parts]


KINDS = {
    "whole numbers": PATIENT,
    "floats": PATIENT * 0.5,
    "text": pa.array([f"p{i}" for i in PATIENT]),
    "dictionary": pa.array([f"p{i}" for i in PATIENT]).dictionary_encode(),
    "dates": pa.array((PATIENT * 86400).astype("datetime64[s]")),
    "text views": pa.array([f"p{i}" for i in PATIENT], pa.string_view()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_group_is_in_one_part_and_is_no_feature(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "own.parquet", patient=KINDS[kind])
    data = loaded(path, group="patient")
    assert data.columns == ("a", "b")
    train, validation, test = patients(data)
    assert sorted([*train, *validation, *test]) == list(range(15))
    assert provenance.about(data)["groups"] == {"train": 11, "validation": 2, "test": 2}
    assert patients(loaded(path, group="patient")) == [train, validation, test]
    drawn = {tuple(patients(loaded(path, group="patient", split_seed=s))[2]) for s in range(5)}
    assert len(drawn) > 1


def test_a_table_from_python_may_have_groups_and_its_digest_covers_them() -> None:
    frame = pd.DataFrame({"a": np.arange(N) * 1.0, "patient": PATIENT, "label": LABELS})
    data = load(Data(group="patient"), frame)
    assert data.columns == ("a",)
    other = load(Data(group="patient"), frame.assign(patient=np.arange(N) // 5))
    assert data.digest != other.digest
    begun = json.loads(json.dumps(provenance.about(data)))
    with pytest.raises(InputError, match="read its data in another way: groups"):
        provenance.check_data(begun | {"groups": {"train": 9}}, data, "run")


def test_rows_without_a_label_leave_their_groups_too(tmp_path: Path) -> None:
    labels = [None if i in (0, 1, 2, 3, 9) else f"c{i % 3}" for i in range(N)]
    path = write(tmp_path / "own.parquet", patient=PATIENT, label=labels)
    data = loaded(path, group="patient", drop_unlabelled=True)
    train, validation, test = patients(data)
    assert train | validation | test == set(PATIENT) - {0}
    assert not train & validation | train & test | validation & test


def test_groups_of_different_sizes_and_classes_are_dealt_evenly() -> None:
    random = np.random.default_rng(1)
    sizes = random.zipf(1.5, 2000).clip(max=300)  # many groups have one example
    group = random.permutation(np.repeat(np.arange(2000), sizes))
    y = np.where(random.random(len(group)) < 0.7, group % 5, random.integers(0, 5, len(group)))
    for seed in range(3):
        heap = groups.dealt(y, group, [0.7, 0.3], seed)
        assert all(len(np.unique(heap[group == g])) == 1 for g in np.unique(group))
        share = np.bincount(y[heap == 1], minlength=5) / np.bincount(y)
        assert share == pytest.approx([0.3] * 5, abs=0.02)


def test_a_class_of_one_group_stays_in_the_training_part(tmp_path: Path) -> None:
    label = np.where(PATIENT == 7, 5, PATIENT % 2)
    path = write(tmp_path / "own.parquet", patient=PATIENT, label=label)
    for seed in range(10):
        assert 7 in patients(loaded(path, group="patient", split_seed=seed))[0]


def test_parts_of_their_own_may_share_no_group(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", patient=PATIENT)
    write(tmp_path / "test.parquet", patient=PATIENT + 100, b=np.arange(N) * 0.7)
    assert provenance.about(loaded(tmp_path, group="patient"))["groups"]["test"] == 15
    write(tmp_path / "test.parquet", patient=PATIENT + 13, b=np.arange(N) * 0.7)
    words = "column patient: a group must be in one part. Given: 2 groups in train and in test"
    message = refusal(tmp_path, group="patient")
    assert words in message
    row = int(np.argmax(PATIENT == 13))
    assert (
        f"for example train.parquet, row {row} (counted from 0) and test.parquet, row 0" in message
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"group": "b2"}, "group must be one of its columns, and not the labels: a, b, label"),
        ({"group": "label", "target": "label"}, "Given: label in target and in group"),
        ({"group": "label"}, "group must not be the column of labels. Given: label, which holds"),
        ({"group": "patient", "split": "last"}, "Given: split last, group patient"),
        ({"group": "one"}, "Given: 1 groups to draw about 9 of 60 examples from"),
        ({"group": "gap"}, "Given: 1 rows without one, the first is row 7 (counted from 0)"),
        ({"group": "list"}, "groups must be numbers or text, of one kind in all tables"),
    ],
)
def test_groups_that_make_no_split_are_refused(tmp_path: Path, fields: Any, words: str) -> None:
    columns = {
        "patient": PATIENT,
        "one": [1] * N,
        "gap": [None if i == 7 else i for i in range(N)],
        "list": [[i] for i in range(N)],
    }
    name = fields["group"]
    path = write(tmp_path / "own.parquet", **{n: v for n, v in columns.items() if n == name})
    assert words in refusal(path, **fields)


def test_groups_of_arrays_are_refused(tmp_path: Path) -> None:
    path = savez(tmp_path / "own.npz", x=RANDOM.normal(size=(N, 2)), y=LABELS, patient=PATIENT)
    assert "group names a column of a table" in refusal(path, group="patient")


# --- rare classes --------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{}, {"split": "last"}, {"validation": 0.4, "test": 0.4}])
def test_classes_of_one_or_two_examples_can_be_learnt(tmp_path: Path, fields: Any) -> None:
    y = np.where(np.arange(N) < 40, "many", "some")
    y[[50, 59]], y[58] = "two", "one"
    y[[5, 20]] = "some"
    for seed in range(3):
        more = {} if "split" in fields else {"split_seed": seed}
        path = savez(tmp_path / "own.npz", x=RANDOM.normal(size=(N, 2)), y=y)
        data = loaded(path, **fields, **more)
        assert set(data.train.y) == {0, 1, 2, 3}
        assert data.classes[1] == "one"
        assert data.test is not None
        assert len(data.train) + len(data.validation) + len(data.test) == N
        note = "classes with only one or two examples: one (1), two (2); at least one is in the"
        assert data.notes[0].startswith(note)


def test_the_last_rows_are_the_test_part_but_for_a_class_that_is_nowhere_else() -> None:
    data = load(Data(split="last", test=5, validation=5), (np.arange(N)[:, None], ["a", "b"] * 30))
    assert original(data)[:, 0] == pytest.approx(np.arange(N), abs=1e-5)
    assert data.notes == ()
    y = ["a", "b"] * 29 + ["c", "b"]
    data = load(Data(split="last", test=5, validation=5), (np.arange(N)[:, None], y))
    order = [*range(51), 58, *range(51, 58), 59]
    assert original(data)[:, 0] == pytest.approx(order, abs=1e-5)


# --- copies --------------------------------------------------------------------------------------


def part(x: Any) -> duplicates.Hashes:
    return duplicates.hashes(np.asarray(x))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1,), (3,), (6, 4), (5, 5, 3)])
def test_examples_of_the_training_part_are_counted_in_other_parts(dtype: Any, shape: Any) -> None:
    x = np.random.default_rng(0).permutation(200 * int(np.prod(shape)))
    x = (x % 251).reshape(200, *shape).astype(dtype)
    train, other = x[:100], np.concatenate([x[90:130], x[:3]])
    rows = {row.tobytes() for row in train}
    equal = sum(row.tobytes() in rows for row in other)
    assert equal >= 13
    found = duplicates.notes({"train": part(train), "test": part(other)})
    assert found == (
        f"{equal} of 43 test examples have the same features as an example of the training part",
    )
    assert duplicates.notes({"train": part(x[:1]), "test": part(x[:1] + 1)}) == ()


def test_a_gap_equals_a_gap_and_zero_equals_negative_zero() -> None:
    odd_nan = np.array([0x7FF8000000000001], np.uint64).view(np.float64)[0]
    train = part([[np.nan, 0.0], [1.0, 2.0]])
    other = part([[odd_nan, -0.0], [2.0, 1.0], [-np.nan, 0.0], [np.nan, 1.0]])
    assert duplicates.notes({"train": train, "validation": other})[0].startswith("2 of 4 valid")


def test_copies_are_noted_for_parts_of_a_file_and_for_parts_that_are_drawn(tmp_path: Path) -> None:
    x = RANDOM.normal(size=(N, 3))
    path = savez(tmp_path / "own.npz", x=x, y=LABELS, x_test=x[:7] + 0.0, y_test=LABELS[:7])
    before = provenance.about(loaded(path))["notes"]
    assert sum("same features" in note for note in before) == 1
    assert "of 7 test examples have the same features" in before[0]
    path = savez(tmp_path / "own.npz", x=np.repeat(x[:5], 12, axis=0), y=LABELS)
    assert loaded(path).notes == (
        "9 of 9 validation examples have the same features as an example of the training part",
        "9 of 9 test examples have the same features as an example of the training part",
    )


def test_groups_in_files_of_two_kinds_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", patient=PATIENT)
    write(tmp_path / "test.parquet", patient=[f"p{i}" for i in range(N)])
    assert "of one kind in all tables. Given: int64, string" in refusal(tmp_path, group="patient")


def test_wide_files_have_groups_too(tmp_path: Path) -> None:
    pixels = RANDOM.integers(0, 256, (N, 16)).astype(np.uint8).tolist()
    table = {"pixels": pixels, "label": LABELS, "patient": PATIENT}
    pq.write_table(pa.table(table), tmp_path / "own.parquet")
    data = loaded(tmp_path / "own.parquet", group="patient")
    assert data.unused == ()
    assert data.train.group is not None
    assert not set(data.train.group) & set(data.validation.group)  # type: ignore[arg-type]


def test_rows_that_only_scaling_makes_equal_are_no_copies() -> None:
    far = [1, *(1_700_000_000 + i for i in range(1, 40))]  # float32 holds few of these apart
    table = pa.table({"n": far, "c": [*"uv" * 20], "y": [*"aabb" * 10]})
    notes = load(Data(dataset="given", target="y"), table).notes
    assert [note for note in notes if "same features" in note] == []
