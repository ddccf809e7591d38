"""Columns of mixed tables: their kinds, gaps, categories, dates, and what is left out."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pytest

from data_files import LABELS, RANDOM, N, loaded, refusal, savez, write
from ffnet.data.dataset import DataSet
from ffnet.data.encoding import Column
from ffnet.data.load import load
from ffnet.run import provenance
from ffnet.spec.sections import Data

CITIES = np.array(["Rome", "Oslo", "Bonn", "Rome"])[np.arange(N) % 4]
NAMED = {"label": None, "y": np.array(["low", "high"])[np.arange(N) // 7 % 2]}


def column(data: DataSet, name: str) -> Column:
    assert data.encoding is not None
    return next(each for each in data.encoding if each.name == name)


def values(data: DataSet, name: str) -> list[np.ndarray[Any, Any]]:
    """Return a column in the training, validation and test part."""
    assert data.columns is not None
    assert data.test is not None
    i = data.columns.index(name)
    return [part.x[:, i] for part in (data.train, data.validation, data.test)]


def sets(tmp_path: Path, train: dict[str, Any], test: dict[str, Any]) -> Path:
    for part, columns in (("train", train), ("test", test)):
        write(tmp_path / f"{part}.parquet", **columns)
    return tmp_path


def test_categories_are_codes_the_most_frequent_first_then_gap_then_unseen(tmp_path: Path) -> None:
    train = {"city": pa.array([None if i == 5 else str(c) for i, c in enumerate(CITIES)])}
    test = {"city": pa.array(["Paris" if i == 0 else "" if i == 1 else "Bonn" for i in range(N)])}
    write(tmp_path / "validation.parquet", **train)
    data = loaded(sets(tmp_path, train, test))
    found = column(data, "city")
    assert found.categories == ("Rome", "Bonn", "Oslo")  # Bonn 15 times, Oslo 14 times
    assert (found.kind, found.gaps) == ("category", True)
    codes, _, of_test = values(data, "city")
    assert codes[:8].tolist() == [0, 2, 1, 0, 0, 3, 1, 0]
    assert of_test[:3].tolist() == [4, 3, 1]
    assert data.train.x.dtype == np.float32
    assert (data.mean[2], data.std[2]) == (0, 1)


def test_what_is_measured_is_measured_in_the_training_part_alone(tmp_path: Path) -> None:
    numbers = np.where(np.arange(N) == 3, np.nan, np.arange(N) ** 2.0)
    path = write(tmp_path / "own.parquet", a=numbers, city=CITIES)
    data = loaded(path, split="last", imputation="median")
    size = len(data.train)
    train = np.delete(numbers[:size], 3)
    assert data.mean[0] == pytest.approx(train.mean())
    assert data.std[0] == pytest.approx(train.std())
    assert column(data, "a").fill == pytest.approx((np.median(train) - data.mean[0]) / data.std[0])
    assert column(loaded(path), "a").fill == 0
    assert np.isnan(values(data, "a")[0]).nonzero()[0].tolist() == [3]
    np.testing.assert_allclose(
        values(data, "a")[2], (numbers[-len(values(data, "a")[2]) :] - data.mean[0]) / data.std[0],
        rtol=1e-6,
    )  # fmt: skip


def test_a_gap_in_the_test_part_alone_is_no_gap_of_the_training_part(tmp_path: Path) -> None:
    gappy = np.where(np.arange(N) == 3, np.nan, RANDOM.normal(size=N))
    data = loaded(sets(tmp_path, {}, {"a": gappy}))
    assert not column(data, "a").gaps
    assert np.isnan(values(data, "a")[2]).sum() == 1


def test_dates_are_days_in_utc(tmp_path: Path) -> None:
    east = timezone(timedelta(hours=6))
    moments = [datetime(1970, 1, 2, 6, tzinfo=east) + timedelta(hours=12 * int(i)) for i in LABELS]
    days = pa.array([*(i % 7 for i in range(N - 1)), None], pa.date32())
    path = write(tmp_path / "own.parquet", at=pa.array(moments), day=days, when=None)
    data = loaded(path)
    assert (column(data, "at").kind, column(data, "day").kind) == ("date", "date")
    raw = values(data, "at")[0] * data.std[2] + data.mean[2]
    np.testing.assert_allclose(np.unique(raw.round(4)), [1, 1.5, 2])
    as_text = loaded(path, categorical=["at", "day"])
    assert "1970-01-03" in column(as_text, "day").categories
    assert {*column(as_text, "at").categories} == {
        "1970-01-02", "1970-01-02 12:00:00", "1970-01-03"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (LABELS % 2 == 0, "category"),
        (pd.Series(LABELS % 2 == 0).mask(LABELS == 1).astype("boolean"), "category"),
        (pd.Series(LABELS).mask(LABELS == 1).astype("Int64"), "number"),
        (pd.Categorical.from_codes(LABELS, ["x", "y", "z"]), "category"),
        (pd.Categorical(LABELS), "category"),
        (pd.Series(CITIES, dtype="string").mask(LABELS == 1), "category"),
        (pd.Series(CITIES, dtype=object).mask(LABELS == 1), "category"),
        (pd.date_range("2020", periods=N, tz="Europe/Rome"), "date"),
    ],
)
def test_columns_of_pandas_have_the_kind_of_their_type(given: Any, kind: str) -> None:
    frame = pd.DataFrame({"a": given, "city": CITIES, "y": LABELS})
    data = load(Data(), frame)
    assert column(data, "a").kind == kind
    same = load(Data(), pa.Table.from_pandas(frame))
    assert same.digest == data.digest
    assert np.array_equal(same.train.x, data.train.x, equal_nan=True)


def test_numbers_that_are_categories_have_the_names_that_a_person_writes(tmp_path: Path) -> None:
    codes = np.where(LABELS == 2, np.nan, LABELS * 1.0)
    data = loaded(write(tmp_path / "own.parquet", a=codes), categorical="a")
    assert column(data, "a").categories == ("0", "1")
    halves = loaded(write(tmp_path / "own.parquet", a=codes / 2), categorical=["a"])
    assert set(column(halves, "a").categories) == {"0", "0.5"}


def test_text_may_be_numbers_if_the_study_says_so(tmp_path: Path) -> None:
    texts = [f" {i // 2 / 4} " if i % 9 else "" for i in range(N)]
    path = write(tmp_path / "own.parquet", a=texts, c=CITIES)
    data = loaded(path)
    assert "numbers that are written as text are categories: a" in str(data.notes)
    data = loaded(path, numeric="a")
    assert (column(data, "a").kind, column(data, "a").gaps) == ("number", True)
    path = write(tmp_path / "own.parquet", a=[*texts[:-1], "ten"])
    assert "column a must hold numbers, as numeric says. Given: ten in row 59" in refusal(
        path, numeric="a"
    )


def test_a_few_texts_among_numbers_are_refused_with_the_row_and_the_remedy(tmp_path: Path) -> None:
    texts = [str(i * i) if i != 41 else "unknown" for i in range(N)]
    message = refusal(write(tmp_path / "own.parquet", a=texts))
    assert "own.parquet: column a must hold numbers, or texts that are no numbers. Given" in message
    assert "'unknown' in row 41 (counted from 0)" in message
    assert "missing" in message
    assert "categorical" in message
    data = loaded(tmp_path / "own.parquet", categorical="a")
    assert column(data, "a").kind == "category"


@pytest.mark.parametrize("every", [2, 3, 5, 9])
def test_a_text_among_numbers_is_refused_however_frequent_it_is(tmp_path: Path, every: int) -> None:
    texts = ["?" if i % every == 0 else f"{i}.5" for i in range(N)]
    assert "Given: '?' in row 0" in refusal(write(tmp_path / "own.parquet", a=texts))
    words = [f"{i % 12}" if i % 3 else "abcd"[i % 4] for i in range(N)]  # codes of four kinds more
    assert column(loaded(write(tmp_path / "own.parquet", a=words)), "a").kind == "category"


LEFT_OUT = {
    "nothing": ([None] * N, "it has no value"),
    "same": (["x"] * N, "all its values are equal"),
    "customer_id": ([i * 7 for i in range(N)], "its number is different in each row, and so"),
    "place": ([*range(5, N + 5)], "its number is different in each row, and so"),
    "key": ([f"k{i}" for i in range(N)], "its text is different in each row, and so"),
    "said": (
        [f"he said that it was {2 * i // 3} days" for i in range(N - 2)] + ["a"] * 2,
        "free text",
    ),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_column_that_says_nothing_is_left_out_with_a_note(tmp_path: Path, name: str) -> None:
    content, why = LEFT_OUT[name]
    path = write(tmp_path / "own.parquet", **{name: content, "city": CITIES})
    data = loaded(path)
    assert data.columns == ("a", "b", "city")
    assert data.unused == (name,)
    assert any(
        note.startswith(f"left out: column {name}, as") and why in note for note in data.notes
    )
    kept = loaded(path, categorical=[name])
    assert name in (kept.columns or ())
    dropped = loaded(path, drop=[name])
    assert (dropped.columns, dropped.unused) == (data.columns, data.unused)
    assert provenance.about(data)["notes"] == data.notes


def test_complete_numbers_are_kept_and_a_note_says_which_name_the_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "own.parquet", patient_id=np.arange(N) * 7)
    data = loaded(path)
    assert (data.columns, data.encoding) == (("a", "b", "patient_id"), None)
    assert "column patient_id may mislead, as its number is different in each row" in data.notes[0]


def test_if_no_column_is_left_the_set_is_refused(tmp_path: Path) -> None:
    message = refusal(write(tmp_path / "own.parquet", a=["x"] * N, b=None))
    assert "must have a column that tells the classes apart. Given: a, as all its values" in message


def test_a_column_that_tells_the_class_alone_is_warned_of(tmp_path: Path) -> None:
    path = write(tmp_path / "own.parquet", city=CITIES, answer=np.array(["n", "y", "z"])[LABELS])
    (note,) = (note for note in loaded(path).notes if "alone tells the class" in note)
    assert note.startswith("column answer alone tells the class of every training example; leave")
    score = LABELS * 10 + RANDOM.normal(size=N)
    notes = loaded(write(tmp_path / "own.parquet", a=score)).notes
    assert "column a alone tells" in notes[0]
    hidden = np.where(np.arange(N) == 4, 25, score)
    assert not loaded(write(tmp_path / "own.parquet", a=hidden), split="last").notes


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"drop": ["c"]}, "drop must name columns other than the labels: a, b. Given: c"),
        ({"drop": "label"}, "drop must name columns other than the labels"),
        ({"categorical": ["c"]}, "categorical must name columns that are features: a, b. Given: c"),
        (
            {"numeric": ["a"], "drop": ["a"]},
            "group, drop, categorical and numeric. Given: a in drop and in numeric",
        ),
        ({"numeric": ["a"], "categorical": ["a"]}, "Given: a in categorical and in num"),
        ({"drop": ["a", "b"]}, "drop must leave a column of features. Given: a, b, and"),
    ],
)
def test_names_of_no_column_are_refused(tmp_path: Path, fields: Any, words: str) -> None:
    assert words in refusal(write(tmp_path / "own.parquet"), **fields)


def test_names_of_columns_are_refused_where_there_are_none(tmp_path: Path) -> None:
    assert "categorical must name columns that are features: none" in refusal(
        "digits", categorical="a"
    )
    savez(tmp_path / "own.npz", x=RANDOM.normal(size=(N, 3)), y=LABELS)
    assert "drop must be left out: the examples of" in refusal(tmp_path / "own.npz", drop="a")


def test_rows_without_a_label_count_in_the_rows_that_messages_name(tmp_path: Path) -> None:
    labels = pa.array([None if i < 10 else i % 3 for i in range(N)])
    big = np.where(np.arange(N) == 17, np.inf, 1.0)
    path = write(tmp_path / "own.parquet", a=big, c=CITIES, label=labels)
    assert "inf in column a, row 17 (counted from 0)" in refusal(path, drop_unlabelled=True)


def test_a_column_that_is_words_in_one_file_and_numbers_in_another_is_refused(
    tmp_path: Path,
) -> None:
    path = sets(tmp_path, {"a": LABELS * 1.5}, {"a": CITIES})
    assert "test.parquet: column a must hold numbers. Given: string, but double in" in refusal(path)
    assert column(loaded(path, categorical="a"), "a").categories[0] in ("0", "1.5", "3")


def test_a_very_large_number_of_categories_is_read() -> None:
    n = 120_000
    words = np.char.add("w", (np.arange(n) // 2 * 2).astype(str))
    data = load(Data(), pa.table({"a": words, "y": np.arange(n) % 2}))
    assert 50_000 < len(column(data, "a").categories) <= n // 2
    assert data.train.x[:, 0].max() < len(column(data, "a").categories)
