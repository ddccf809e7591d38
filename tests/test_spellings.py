"""Values that a user's tool writes in another way than the file: the exported net knows them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

import ffnet
from ffnet.data.encoding import Column
from ffnet.data.load import load
from ffnet.errors import InputError
from ffnet.export.columns import RawColumns, days
from ffnet.spec.sections import Data

ROWS = 40


def codes(categories: tuple[str, ...], texts: list[str], gaps: tuple[str, ...] = ()) -> list[float]:
    raw = RawColumns((Column("a", "category", categories, gaps=True),), [0.0], [1.0], gaps)
    return [*raw({"a": tf.constant(texts)}).numpy()[:, 0]]


def test_other_spellings_have_the_code_of_their_category() -> None:
    assert codes(("True", "False"), ["true", "False", "TRUE"]) == [0, 1, 3]
    assert codes(("007", "8", "010"), ["7", "8", "10", "07"]) == [0, 1, 2, 4]
    assert codes(("07", "007"), ["7"]) == [3]  # it may be either
    assert codes(("07", "7"), ["7", "07"]) == [1, 0]


def test_texts_that_were_gaps_when_the_data_were_read_are_gaps() -> None:
    assert codes(("a", "b"), ["", "NA", "?", "c"], ("?",)) == [2, 2, 2, 3]
    assert codes(("a", "NA"), ["NA"]) == [1]


@pytest.mark.parametrize(
    "text", ["2024-02-30", "2023-02-29", "2024-13-01", "2024-00-01", "2024-01-01T24:00", "x"]
)
def test_dates_that_do_not_exist_are_refused_by_the_exported_net(text: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        days(tf.constant([text]))
    assert days(tf.constant(["2024-02-29", "2024-12-31"])).numpy().tolist() == [19782, 20088]


def test_categories_of_dates_and_short_floats_are_what_one_writes(tmp_path: Path) -> None:
    table = pa.table(
        {
            "at": pa.array([86_400_000_000 * (i % 3) for i in range(ROWS)], pa.timestamp("us")),
            "short": pa.array(np.array([0.1, 2.0, 3.5, 0.1] * (ROWS // 4), np.float32)),
            "y": [i % 2 for i in range(ROWS)],
        }
    )
    data = load(Data(dataset="given", target="y", categorical=("at", "short")), table)
    assert data.encoding
    assert [set(column.categories) for column in data.encoding] == [
        {"1970-01-01", "1970-01-02", "1970-01-03"}, {"0.1", "2", "3.5"}
    ]  # fmt: skip


def test_a_table_of_complete_numbers_is_predicted_by_the_names_of_its_columns(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(ROWS, 2)), np.arange(ROWS) % 2
    table = pa.table({"a": x[:, 0], "b": 9 * x[:, 1] + y, "y": y})
    run = ffnet.train(
        hidden_sizes=[4], epochs=1, data=table, target="y", out=tmp_path / "run", batch_size=8
    )
    net, given = run.load(), table.select(["b", "a", "y"])
    rows: list[dict[str, Any]] = given.to_pylist()
    expected = net.probabilities(np.stack([table["a"], table["b"]], axis=1))
    assert (net.probabilities(given) == expected).all()
    assert (net.probabilities(rows) == expected).all()
    with pytest.raises(InputError, match="without b"):
        net.probabilities(given.select(["a"]))
    with pytest.raises(InputError, match="finite"):
        net.probabilities([{"a": 1.0, "b": None}])
