"""What a run's study.json says: what was run, on which data, with which versions."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ffnet.data.dataset import DataSet

PACKAGES = ("ffnet", "tensorflow", "keras", "ray", "numpy", "pyarrow", "optuna")


def document(study: dict[str, Any], data: DataSet, threads: int) -> dict[str, Any]:
    """The content of study.json.

    Args:
        study: the resolved study, or the one net.
        data: its data set.
        threads: TensorFlow's of a trial; how numbers are summed depends on them.
    """
    return {
        "study": study,
        "data": {
            "name": data.name,
            "description": data.describe(),
            "source": data.source,
            "sha256": data.digest,
            "sizes": {
                "train": len(data.train),
                "validation": len(data.validation),
                "test": len(data.test) if data.test else None,
            },
            "classes": data.classes,
            "example_shape": data.example_shape,
            "dtype": data.train.x.dtype.name,
            "mean": data.mean.tolist(),
            "std": data.std.tolist(),
        },
        "threads": threads,
        "versions": versions(),
        "commit": commit(),
        "command": sys.argv,
        "started_at": datetime.now(UTC).isoformat(),
    }


def versions() -> dict[str, str]:
    """Package → its version here, and Python's."""
    return {name: importlib.metadata.version(name) for name in PACKAGES} | {
        "python": platform.python_version()
    }


def commit() -> str | None:
    """The commit that ffnet's own code is at, "-dirty" when changed.

    Outside a checkout it is $FFNET_COMMIT, which `ffnet.submit` sets for its copy, or None.
    """
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or os.environ.get("FFNET_COMMIT") or None
