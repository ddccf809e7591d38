"""`ffnet bench tables`: the test accuracy on six real tables, beside other programs' defaults.

Each set is a folder `tables/NAME` of the data folder, with train.csv and test.csv. For ffnet it is
one command, `ffnet tune table --dataset FOLDER --target COLUMN --confirm --ensemble 15`: validation
chooses the net and the ensemble, and the test file is looked at once.
"""

import math
import os
import statistics
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ffnet.cli.bench_programs import PEERS, last_line, run_python
from ffnet.errors import InputError
from ffnet.run import confirm, ended
from ffnet.run.folder import RunFolder

TARGETS = {
    "letter": "lettr",
    "satellite": "classes",
    "spam": "type",
    "income": "INCOME",
    "soybean": "Class",
    "pima": "diabetes",
}
"""Name of a set → the column of its labels."""
NETS = ("logistic regression", "MLPClassifier", "the same, early stopping")
"""The models of scikit-learn that are compared with ffnet in standard errors."""
DRAWS = 15  # as many as nets that `ffnet confirm` trains: three configurations, five seeds
ABOVE, SECONDS = "standard errors above the first three", "seconds of ffnet"


def rows(data_dir: str | None, seed: int) -> list[dict[str, Any]]:
    """Measure all sets.

    Args:
        data_dir: the data folder, in which the folder `tables` is. With None, $FFNET_DATA.
        seed: seed of the studies and of the other programs' models.

    Returns:
        A row for each set, with test accuracies and seconds, and a row with the mean accuracies.

    Raises:
        InputError: a file of a set or a package is not there, or a program failed.
    """
    root = Path(data_dir or os.environ.get("FFNET_DATA") or ".").expanduser() / "tables"
    for file in (root / name / f"{part}.csv" for name in TARGETS for part in ("train", "test")):
        if not file.is_file():
            raise InputError(f"bench tables needs {file}; --data-dir names the folder of `tables`")
    missing = [name for name in ("sklearn", "pandas") if find_spec(name) is None]
    if missing:
        raise InputError(
            "bench tables needs scikit-learn and pandas: pip install scikit-learn pandas. "
            f"Not installed: {' and '.join(missing)}"
        )
    found = []
    for name, target in TARGETS.items():
        print(f"{name}…", file=sys.stderr)
        found.append(_row(root / name, target, seed))
    return with_means(found)


def with_means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows, and one more: the mean of each accuracy over the sets.

    Example:
        >>> with_means([{"set": "a", "ffnet": 0.5, ABOVE: 1.0, SECONDS: 9.0}])[-1]["ffnet"]
        0.5
    """
    accuracies = [name for name in rows[0] if name not in ("set", ABOVE, SECONDS)]
    means = {name: statistics.mean(row[name] for row in rows) for name in accuracies}
    return [*rows, dict.fromkeys(rows[0]) | {"set": "mean"} | means]


def _row(folder: Path, target: str, seed: int) -> dict[str, Any]:
    peer = PEERS / "sklearn_tables.py"
    others = last_line(peer, folder / "train.csv", folder / "test.csv", target, seed)
    with TemporaryDirectory(prefix="ffnet-bench-") as temporary:
        begun, out = time.monotonic(), Path(temporary) / "run"
        run_python(
            "-m", "ffnet", "tune", "table", "--dataset", folder, "--target", target,
            "--seed", seed, "--confirm", "--ensemble", DRAWS, "--out", out,
        )  # fmt: skip
        seconds = time.monotonic() - begun
        run = ended.read(RunFolder.existing(out))
        found = confirm.last(run.folder, run.study.tuning, run.document["data"])
    assert found
    assert found.test
    assert found.ensemble
    assert found.test_examples
    best = max(others[name] for name in NETS)
    error = math.sqrt(best * (1 - best) / found.test_examples)
    return {
        "set": folder.name,
        "ffnet": found.test.mean,
        "ffnet, ensemble": found.ensemble.test_accuracy,
        **others,
        ABOVE: (found.test.mean - best) / error,
        SECONDS: seconds,
    }
