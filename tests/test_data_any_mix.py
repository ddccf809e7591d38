"""Any mix of kinds, gaps, categories and labels is loaded, or refused in a line that says where."""

import json
import math
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ffnet.data import summary
from ffnet.data.dataset import DataSet
from ffnet.data.load import load
from ffnet.errors import InputError
from ffnet.run.provenance import about
from ffnet.run.recorded import DataSection
from ffnet.spec.sections import Data

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=12)
DAYS = st.integers(-40_000, 40_000).map(lambda n: datetime(1970, 1, 1) + timedelta(hours=n))
VALUES = {
    "whole": st.integers(-(2**40), 2**40),
    "few": st.integers(0, 3),
    "huge": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=True, allow_infinity=False),
    "any float": st.floats(),
    "bool": st.booleans(),
    "word": st.sampled_from(["red", "green", "blue", "NaN", "", "7"]),
    "text": TEXT,
    "number in text": st.one_of(st.integers(0, 99).map(str), st.just("?")),
    "date": DAYS,
    "nothing": st.none(),
}
TYPES = {"date": pa.timestamp("ms"), "nothing": pa.null(), "float": pa.float64()}
LABELS = [
    st.sampled_from(["yes", "no"]), st.integers(-3, 2), st.booleans(), st.integers(0, 60),
    st.sampled_from([1.0, 2.0, 7.0]), st.sampled_from(["a", "a", "a", "a", "b"]), st.floats(0, 1),
    st.sampled_from(["a", "b", "b", "a", None]), st.sampled_from([1, 2, 1, 2, 2.5]),
]  # fmt: skip


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Draw a table of 2 to 40 rows and 1 to 5 columns beside the labels."""
    rows = draw(st.integers(2, 40))
    columns: dict[str, pa.Array] = {}
    for i in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(sorted(VALUES)))
        gap = draw(st.booleans())
        values = st.one_of(st.none(), VALUES[kind]) if gap else VALUES[kind]
        cells = draw(st.lists(values, min_size=rows, max_size=rows))
        columns[f"{kind} {i}"] = pa.array(cells, TYPES.get(kind), from_pandas=False)
        if pa.types.is_string(columns[f"{kind} {i}"].type) and draw(st.booleans()):
            columns[f"{kind} {i}"] = columns[f"{kind} {i}"].dictionary_encode()
    labels = draw(st.sampled_from(LABELS))
    columns["y"] = pa.array(draw(st.lists(labels, min_size=rows, max_size=rows)))
    return pa.table(columns)


def written(table: pa.Table, path: Path) -> str:
    """Write a table, and return its path."""
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        plain = pa.table(
            {
                name: column.cast(column.type.value_type)
                if pa.types.is_dictionary(column.type)
                else column
                for name, column in zip(table.column_names, table.columns, strict=True)
            }
        )
        pyarrow.csv.write_csv(plain, path)
    return str(path)


def check(data: DataSet) -> None:
    """Check what all data sets hold."""
    for part in summary.parts(data).values():
        assert part.x.dtype in (np.float32, np.uint8)
        assert not np.isinf(part.x).any()
        for i, column in enumerate(data.encoding or ()):
            x = part.x[:, i]
            n = len(column.categories)
            if column.kind == "category":
                assert set(x.tolist()) <= set(range(n + 2))
                assert (data.mean[i], data.std[i]) == (0, 1)
            if part is data.train:
                is_gap = x == n if column.kind == "category" else np.isnan(x)
                assert column.gaps == is_gap.any()
                if column.kind == "category":
                    counts = np.bincount(x.astype(int), minlength=n + 2)
                    assert (np.diff(counts[:n]) <= 0).all()
                    assert counts[:n].all()
                    assert counts[n + 1] == 0
        if data.encoding is None:
            assert not np.isnan(part.x.astype(np.float32)).any()
    section = json.loads(json.dumps(about(data)))
    DataSection.model_validate(section)
    summary.columns(data)


WHOLE = (
    "needs two classes", "labels must name classes that many", "a split must leave",
    "must leave examples on both sides", "must have a column that tells the classes apart",
    "must not have the same content", "labels must be of one kind everywhere",
    "no example has a label", "each class needs an example",
)  # fmt: skip
"""Rules about a whole column, table or part. All other refusals name a cell."""


def check_place(message: str, tables: dict[str, pa.Table], first: int) -> None:
    """Check that a message names a file, a column and a row, and that this cell holds the value.

    Args:
        message: the message of a refusal.
        tables: {what the message calls a table: its content}.
        first: the number of the first row of data.
    """
    named = [table for name, table in tables.items() if name in message]
    assert len(named) == 1, message
    rows = re.findall(r"row (\d+) \((?:counted from 0|row 1 has the names)", message)
    columns = [name for name in named[0].column_names if f"column {name}" in message]
    assert len(columns) == 1, message
    assert rows, message
    values = [named[0][columns[0]][int(row) - first].as_py() for row in rows]
    given = message.partition("Given: ")[2]
    if "rows have none" in given:
        assert values[0] in (None, "", "NaN") or values[0] != values[0], message
    else:
        assert all(is_told(value, given) for value in values), (message, values)


def is_told(value: Any, given: str) -> bool:
    """Whether a message tells a value, perhaps with fewer digits."""
    if str(value) in given or repr(value) in given or str(value).lower() in given:
        return True
    numbers = re.findall(r"-?(?:\d[\d.]*(?:e[+-]?\d+)?|inf|nan)", given)
    return isinstance(value, int | float) and any(
        math.isclose(float(number.rstrip(".")), value, rel_tol=1e-5) for number in numbers
    )


@pytest.mark.parametrize("form", ["python", "parquet", "csv"])
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(table=tables(), imputation=st.sampled_from(["mean", "median"]), parts=st.booleans())
def test_any_table_is_loaded_or_refused_in_a_line_that_names_the_cell(
    tmp_path_factory: pytest.TempPathFactory, form: str, table: pa.Table, imputation: Any,
    parts: bool,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("any", numbered=True)
    half = len(table) // 2
    pieces = {"train": table[half:], "test": table[:half]} if parts else {"own": table}
    given: Any = None
    place = "given"
    if form == "python":
        given = pieces if parts else table
        named = {f"data ({name})" if parts else "data": each for name, each in pieces.items()}
    else:
        named = {f"{name}.{form}": each for name, each in pieces.items()}
        for name, each in named.items():
            place = written(each, folder / name)
        place = str(folder) if parts else place
    try:
        fields = {} if given is not None else {"dataset": place}
        data = load(Data(target="y", imputation=imputation, **fields), given)
    except InputError as error:
        message = str(error)
        assert message.isprintable()
        assert len(message) < 700
        if not any(words in message for words in WHOLE):
            check_place(message, named, first=2 if form == "csv" else 0)
    else:
        check(data)
