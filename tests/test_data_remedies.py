"""What a refusal tells the user to do works: each remedy is tried."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_files import N, loaded, refusal, write
from ffnet.data import csv_head
from ffnet.errors import InputError
from ffnet.run import provenance
from ffnet.spec.sections import Data

ID = 2**53 + 1


def csv(folder: Path, head: str, *columns: list[Any], separator: str = ",") -> Path:
    """Write a CSV file, and return its path."""
    rows = [separator.join(map(str, row)) for row in zip(*columns, strict=True)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own.csv").write_text("\n".join([head, *rows]) + "\n")
    return folder / "own.csv"


A = [i / 4 for i in range(N)]
B = [i * 7 % 13 for i in range(N)]
Y = ["pq"[i % 2] for i in range(N)]


def test_large_identifiers_are_dropped_or_categories(tmp_path: Path) -> None:
    path = csv(tmp_path, "a,key,y", A, [ID + 2 * (i % 9) for i in range(N)], Y)
    message = refusal(path)
    assert f"Given: {ID} in column key, row 2 (row 1 has the names" in message
    assert message.endswith("in drop if it is an identifier, in categorical if it is a code")
    assert loaded(path, drop=("key",)).columns == ("a",)
    (_, key) = loaded(path, categorical=("key",)).encoding or ()
    assert set(key.categories) == {str(ID + 2 * i) for i in range(9)}


def test_a_test_file_with_other_columns_is_told_what_to_do(tmp_path: Path) -> None:
    train = csv(tmp_path, "a,b,y", A, B, Y).rename(tmp_path / "train.csv")
    test = csv(tmp_path, "a,b", A[::-1], B).rename(tmp_path / "test.csv")
    message = refusal(tmp_path)
    assert message.startswith(f"{test}: needs the same columns as train.csv. Given: without y; ")
    assert message.endswith("add the labels, or keep rows without labels in another folder")
    csv(tmp_path, "a,y,id", A[::-1], Y, B).rename(test)
    message = refusal(tmp_path)
    assert "Given: without b and with id; remove what is too much from this file, and " in message
    assert message.endswith("add what is missing, or leave it out of all files with drop")
    csv(tmp_path, "a,y", A[::-1], Y).rename(test)
    assert loaded(tmp_path, drop=("b",)).columns == ("a",)
    test.rename(tmp_path.parent / "elsewhere.csv")
    assert loaded(tmp_path).source == str(train)


def test_one_of_two_columns_of_labels_is_dropped(tmp_path: Path) -> None:
    path = csv(tmp_path, "a,label,y", A, B, Y)
    message = refusal(path)
    assert message.endswith("name it with target, and the others in drop unless they are features")
    assert loaded(path, target="y", drop=("label",)).columns == ("a",)
    data = loaded(path, drop=("label",))
    assert (data.target, data.columns) == ("y", ("a",))
    assert "other than the labels" in refusal(path, target="y", drop=("label", "b"))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"drop": "b", "group": "b"}, "b in group and in drop"),
        ({"drop": "b", "categorical": "b"}, "b in drop and in categorical"),
        ({"drop": "b", "numeric": "b"}, "b in drop and in numeric"),
        ({"group": "b", "categorical": "b"}, "b in group and in categorical"),
        ({"numeric": "b", "categorical": "b"}, "b in categorical and in numeric"),
        ({"target": "b", "drop": "b"}, "b in target and in drop"),
        ({"target": "b", "group": "b"}, "b in target and in group"),
    ],
)
def test_a_column_has_one_use(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=f"must be named only once in .* Given: {words}"):
        Data(**fields)


def test_the_column_that_holds_the_labels_by_its_name_is_no_feature(tmp_path: Path) -> None:
    path = csv(tmp_path, "a,b,y", A, Y, [i // 2 % 20 for i in range(N)])
    assert "Given: y, the labels" in refusal(path, categorical="y")
    message = refusal(path, group="y")
    assert message.endswith("y, which holds the labels by its name; name the column of labels with "
                            "target")  # fmt: skip
    assert loaded(path, group="y", target="b").columns == ("a",)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_booleans_can_be_numbers(tmp_path: Path, form: str) -> None:
    true = [i % 3 > 0 for i in range(N)]
    path = csv(tmp_path, "a,b,y", A, [str(each).lower() for each in true], Y)
    if form == "parquet":
        path = write(tmp_path / "own.parquet", b=true)
    data = loaded(path, numeric="b")
    parts = (data.train, data.validation, data.test)
    values = np.concatenate([part.x[:, 1] for part in parts if part])
    assert sorted(np.rint(values * data.std[1] + data.mean[1]).tolist()) == sorted(true)


def test_numbers_with_decimal_commas_are_read_with_decimal(tmp_path: Path) -> None:
    commas = [f"{i},5" for i in range(N)]
    path = csv(tmp_path, "a;b;y", A, commas, Y, separator=";")
    assert 'set decimal = ","' in refusal(path, numeric="b", drop="a")
    (b,) = loaded(path, numeric="b", drop="a", decimal=",").encoding or (None,)
    assert b is None  # complete numbers
    groups = [f"{i % 20},5" for i in range(N)]
    path = csv(tmp_path, "a;b;y", A, groups, Y, separator=";")
    data = loaded(path, group="b")
    assert data.columns == ("a",)
    mixed = write(tmp_path / "own.parquet", b=["1,5", *["2"] * (N - 1)])
    message = refusal(mixed, numeric="b")
    assert "Given: 1,5 in row 0 (counted from 0); write numbers as 1.5, make gaps empty" in message


def test_the_texts_that_count_as_missing_labels_are_those_of_the_format(tmp_path: Path) -> None:
    names = ["NA", "EU", "US"]
    message = refusal(csv(tmp_path, "a,y", A, [names[i % 3] for i in range(N)]), missing="US")
    assert "Given: 40 of 60 rows have none, the first is row 2 (row 1" in message
    assert "the texts NA, N/A, n/a, #N/A, " in message
    assert ", null, US count as missing: give such a class another name" in message
    assert len(loaded(csv(tmp_path, "a,y", A, [f"{names[i % 3]}_" for i in range(N)])).classes) == 3
    labels = ["None", "EU", "US"] * (N // 3)
    message = refusal(write(tmp_path / "own.parquet", label=labels))
    assert "(the texts nan, NaN, NaT, <NA>, None count as missing" in message


@pytest.mark.parametrize(
    ("names", "given", "text"),
    [
        (["2024-01-01", "2024-02-01"], "2024-01-01 00:00:00 in row 2", "day {}"),
        (["1.10", "1.20"], "the number 1.1 in row 2", "v{}"),
    ],
)
def test_labels_that_are_dates_or_decimals_become_classes_as_text(
    tmp_path: Path, names: list[str], given: str, text: str
) -> None:
    message = refusal(csv(tmp_path, "a,y", A, [names[i % 2] for i in range(N)]))
    assert f"Given: {given} (row 1 has the names" in message
    assert f"write classes as text, for example {text[:-2]}" in message
    classes = [text.format(name) for name in names]
    assert list(loaded(csv(tmp_path, "a,y", A, [classes[i % 2] for i in range(N)])).classes) == (
        classes
    )


def test_what_excel_and_r_write_is_known(tmp_path: Path) -> None:
    text = csv(tmp_path, "a;b;y", A, B, Y, separator=";").read_text()
    (tmp_path / "own.csv").write_text(f"sep=;\n{text}")
    message = refusal(tmp_path / "own.csv")
    assert message.endswith("Given: sep=;, which only Excel reads; remove this row")
    (tmp_path / "own.csv").write_text(text)
    assert loaded(tmp_path / "own.csv").columns == ("a", "b")
    names = [f'"{i + 1}"' for i in range(N)]
    message = refusal(csv(tmp_path, '"a" "b" "y"', names, A, B, Y, separator=" "), separator=" ")
    assert "Given: one name fewer than cells, as R's write.table writes; use write.csv" in message
    assert loaded(csv(tmp_path, '"","a","b","y"', names, A, B, Y)).columns == ("a", "b")


def test_drop_must_leave_a_feature(tmp_path: Path) -> None:
    message = refusal(csv(tmp_path, "a,b,y", A, B, Y), drop=("a", "b"))
    assert "drop must leave a column of features. Given: a, b" in message


def test_long_whole_numbers_among_decimals_are_never_rounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = ["12345678901234567", "12345678901234568", "0.5"]
    path = csv(tmp_path, "a,b,y", A, [codes[i % 3] for i in range(N)], Y)
    (_, b) = loaded(path).encoding or ()
    assert set(b.categories) == set(codes)
    message = refusal(path, numeric="b")
    assert "numbers that float64 holds, as numeric says. Given: 12345678901234567 in" in message
    monkeypatch.setattr(csv_head, "BLOCK", 1024)  # the decimals stand in the last block
    long = [codes[i % 2] if i < 90 else "0.5" for i in range(100)]
    path = csv(tmp_path, "b,y", long, [Y[i % N] for i in range(100)])
    (b,) = loaded(path).encoding or ()
    assert set(b.categories) == set(codes)


def test_a_run_does_not_go_on_with_other_training_examples(tmp_path: Path) -> None:
    path = write(tmp_path / "own.parquet", c=np.arange(N) // 3, d=np.arange(N) % 20)
    before = json.loads(json.dumps(provenance.about(loaded(path, group="c", drop="d"))))
    provenance.check_data(before, loaded(path, group="c", drop="d"), "RUN")
    other = loaded(path, group="c", drop="d", split_seed=1)
    now = json.loads(json.dumps(provenance.about(other)))
    before |= {"sizes": now["sizes"], "groups": now["groups"]}
    with pytest.raises(InputError, match="RUN had other examples in its training part: their mean"):
        provenance.check_data(before, other, "RUN")
