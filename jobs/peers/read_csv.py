"""Reads a CSV file in one way, and measures the time and the largest memory.

  python jobs/peers/read_csv.py write own.csv 100
  python jobs/peers/read_csv.py ffnet own.csv      (jobs/bench.py read runs both)

`write` makes a file of so many MB: 20 columns of numbers, and labels in words. ffnet reads it into
the arrays of a data set; pandas, pandas with PyArrow's engine, and PyArrow read it into a table. It
prints a line of JSON.
"""

import json
import resource
import sys
import time
from pathlib import Path

COLUMNS, LABELS = 20, ("low", "middle", "high")


def write(path: Path, megabytes: float) -> int:
    """Write the file, and return the number of its rows."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.csv

    random = np.random.default_rng(0)
    rows = 0
    with path.open("wb") as file:
        while file.tell() < megabytes * 1e6:
            numbers = random.normal(size=(10_000, COLUMNS)).round(4)
            columns = {f"x{i}": numbers[:, i] for i in range(COLUMNS)}
            columns["label"] = np.array(LABELS)[random.integers(0, len(LABELS), len(numbers))]
            options = pa.csv.WriteOptions(include_header=file.tell() == 0)
            pa.csv.write_csv(pa.table(columns), file, options)
            rows += len(numbers)
    return rows


def read(how: str, path: Path) -> int:
    """Read the file, and return the number of its rows."""
    if how == "ffnet":
        from ffnet.data import csv_table
        from ffnet.spec.sections import Data

        return len(csv_table.read({"train": [path]}, Data()).parts["train"][0])
    if how == "PyArrow":
        import pyarrow.csv

        return len(pyarrow.csv.read_csv(path))
    import pandas as pd  # type: ignore[import-untyped]

    return len(pd.read_csv(path, engine="pyarrow" if "PyArrow" in how else "c"))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    how, path = sys.argv[1], Path(sys.argv[2])
    begun = time.perf_counter()
    rows = write(path, float(sys.argv[3])) if how == "write" else read(how, path)
    seconds = time.perf_counter() - begun
    size = path.stat().st_size / 1e6
    print(json.dumps({"how": how, "seconds": seconds, "MiB": _peak(), "MB": size, "rows": rows}))
