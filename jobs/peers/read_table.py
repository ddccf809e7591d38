"""Reads a table in one way, and measures the time and the largest memory.

  python jobs/peers/read_table.py write numbers own.csv 1000000
  python jobs/peers/read_table.py ffnet own.csv      (jobs/bench.py read runs both)

`write` makes a CSV or Parquet file of so many rows of 30 columns, and labels in words: `numbers`,
or `mixed`, 24 columns of numbers, half of them with gaps, and 6 of texts. `ffnet` loads a data set,
ready to train on; pandas, pandas with PyArrow's engine, and PyArrow read a CSV file into a table.
It prints a line of JSON.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COLUMNS, TEXTS, AT_ONCE, LABELS = 30, 6, 100_000, ("low", "middle", "high")


def tables(kind: str, rows: int) -> Iterator[Any]:
    """Yield the rows as tables of PyArrow."""
    import numpy as np
    import pyarrow as pa

    random = np.random.default_rng(0)
    for start in range(0, rows, AT_ONCE):
        count = min(AT_ONCE, rows - start)
        numbers = random.normal(size=(count, COLUMNS)).round(4)
        columns = {f"x{i}": pa.array(numbers[:, i]) for i in range(COLUMNS)}
        if kind == "mixed":
            for i in range(TEXTS):
                words = pa.array([f"word {n}" for n in range(3 * 5**i)])
                columns[f"x{i}"] = words.take(pa.array(random.integers(0, len(words), count)))
            for i in range(TEXTS, COLUMNS, 2):
                columns[f"x{i}"] = pa.array(numbers[:, i], mask=random.random(count) < 0.05)
        columns["label"] = pa.array(np.array(LABELS)[random.integers(0, len(LABELS), count)])
        yield pa.table(columns)


def write(kind: str, path: Path, rows: int) -> None:
    """Write the file."""
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    first = next(tables(kind, 1))
    writer = csv.CSVWriter if path.suffix == ".csv" else pq.ParquetWriter
    with writer(path, first.schema) as file:
        for table in tables(kind, rows):
            file.write_table(table)


def read(how: str, path: Path) -> dict[str, float]:
    """Read the file. Return the rows and, for ffnet, the MiB that training holds."""
    if how == "ffnet":
        from ffnet.data.load import load
        from ffnet.spec.sections import Data

        data = load(Data(dataset=str(path)))
        parts = [part for part in (data.train, data.validation, data.test) if part]
        held = sum(part.x.nbytes + part.y.nbytes for part in parts) / 2**20
        return {"rows": sum(map(len, parts)), "held MiB": held}
    if how == "PyArrow":
        import pyarrow.csv

        return {"rows": len(pyarrow.csv.read_csv(path))}
    import pandas as pd  # type: ignore[import-untyped]

    return {"rows": len(pd.read_csv(path, engine="pyarrow" if "PyArrow" in how else "c"))}


if __name__ == "__main__":
    how, *words = sys.argv[1:]
    begun = time.perf_counter()
    if how == "write":
        write(words[0], Path(words[1]), int(words[2]))
        found: dict[str, float] = {"MB": Path(words[1]).stat().st_size / 1e6}
    else:
        found = read(how, Path(words[0]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = time.perf_counter() - begun
    print(json.dumps({"how": how, "seconds": seconds, "MiB": peak} | found))
