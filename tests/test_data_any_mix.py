"""Any mix of kinds, gaps, categories and labels is loaded, or refused in a line that says where."""

import json
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
        if kind in ("word", "text") and draw(st.booleans()):
            columns[f"{kind} {i}"] = columns[f"{kind} {i}"].dictionary_encode()
    labels = draw(st.sampled_from(LABELS))
    columns["y"] = pa.array(draw(st.lists(labels, min_size=rows, max_size=rows)))
    return pa.table(columns)


def written(table: pa.Table, form: str, folder: Path) -> str:
    """Write a table, and return its path."""
    path = folder / f"own.{form}"
    if form == "parquet":
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


@pytest.mark.parametrize("form", ["python", "parquet", "csv"])
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(table=tables(), imputation=st.sampled_from(["mean", "median"]))
def test_any_table_is_loaded_or_refused_in_a_line(
    tmp_path_factory: pytest.TempPathFactory, form: str, table: pa.Table, imputation: Any
) -> None:
    folder = tmp_path_factory.mktemp("any", numbered=True)
    try:
        if form == "python":
            data = load(Data(target="y", imputation=imputation), table)
        else:
            place = written(table, form, folder)
            data = load(Data(dataset=place, target="y", imputation=imputation))
    except InputError as error:
        message = str(error)
        assert message.isprintable()
        assert len(message) < 600
        of_split = ("validation must", "test must", "features must")
        assert "own." in message or "data" in message or message.startswith(of_split), message
    else:
        check(data)
