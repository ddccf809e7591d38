"""Makes the content of a run's study.json: the study, its data, and the versions of packages."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ffnet.data.dataset import DataSet
from ffnet.data.raw import listed
from ffnet.errors import InputError

PACKAGES = ("ffnet", "tensorflow", "keras", "ray", "numpy", "pyarrow", "optuna")
OF_ANOTHER = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"}
"""Environment variables that make git use another checkout; git's hooks have them."""
GIT_SECONDS = 10.0  # a checkout on a slow file system takes seconds


def new_study_json(study: dict[str, Any], data: DataSet, threads: int) -> dict[str, Any]:
    """The content of study.json.

    Args:
        study: the study with all defaults, or the one net of `ffnet train`.
        data: its data set.
        threads: number of TensorFlow's threads in a trial. Rounding depends on it.
    """
    return {
        "study": study,
        "data": about(data),
        "threads": threads,
        "versions": versions(),
        "commit": commit(),
        "command": sys.argv,
        "started_at": datetime.now(UTC).isoformat(),
    }


def about(data: DataSet) -> dict[str, Any]:
    """The section of study.json about a data set."""
    return {
        "name": data.name,
        "description": data.describe(),
        "source": data.source,
        "sha256": data.digest,
        "sizes": {
            "train": len(data.train),
            "validation": len(data.validation),
            "test": len(data.test) if data.test else None,
        },
        "groups": _groups(data),
        "classes": data.classes,
        "example_shape": data.example_shape,
        "dtype": data.dtype,
        "columns": data.columns,
        "target": data.target,
        "unused": data.unused,
        "unlabelled": data.unlabelled,
        "encoding": data.encoding and [column.as_values() for column in data.encoding],
        "notes": data.notes,
        "normalized_in": data.mean.dtype.name,
        "mean": data.mean.tolist(),
        "std": data.std.tolist(),
    }


def _groups(data: DataSet) -> dict[str, int] | None:
    """The number of groups in each part, or None without groups."""
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    if data.train.group is None:
        return None
    return {
        name: len(np.unique(part.group))
        for name, part in parts.items()
        if part and part.group is not None
    }


def check_data(before: dict[str, Any], data: DataSet, run: str) -> None:
    """Refuse data that differ from the data of a run, or that are read in another way.

    Args:
        before: the data section of the run's study.json.
        data: the data as they are read now.
        run: the name of the run in messages.

    Raises:
        InputError: the files, parts, columns or classes differ. Or the run was begun by a version
            that standardised in float32, which made different values of a feature equal.
    """
    if before["sha256"] != data.digest:
        raise InputError(
            f"the data must be those of {run}, SHA-256 {before['sha256']}. Given: {data.digest} at "
            f"{data.source}"
        )
    now = json.loads(json.dumps(about(data)))
    for name in (
        "sizes",
        "example_shape",
        "classes",
        "columns",
        "target",
        "unlabelled",
        "groups",
        "encoding",
    ):
        then = before.get(name) if name == "encoding" else before.get(name, now[name])
        if then != now[name]:
            raise InputError(
                f"{run} read its data in another way: {name} {listed([then])}. Given: "
                f"{listed([now[name]])}; begin a new run"
            )
    if before.get("normalized_in") == now["normalized_in"]:
        for name in ("mean", "std"):
            if not np.allclose(before[name], now[name], rtol=1e-6, atol=1e-6 * data.std):
                raise InputError(
                    f"{run} had other examples in its training part: their {name} was "
                    f"{listed(before[name], 3)}. Given: {listed(now[name], 3)}; begin a new run"
                )
    if "mean" in before and "normalized_in" not in before and data.train.x.dtype != np.uint8:
        step = np.spacing(np.abs(np.float32(before["mean"])))
        lost = (step > 1e-3 * data.std) & ((data.std != 1) | (np.array(before["std"]) != 1))
        if lost.any():
            raise InputError(
                f"{run} was begun by an older ffnet, which rounded different values of feature "
                f"{lost.argmax()} to the same value; begin a new run"
            )


def versions() -> dict[str, str | None]:
    """Package → its installed version, or None if it is not installed; "python" → Python's."""
    return {name: _version(name) for name in PACKAGES} | {"python": platform.python_version()}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # ffnet itself, run from a copy of its folder
        return None


def commit() -> str | None:
    """The commit of ffnet's own code, with "-dirty" at the end if files were changed since.

    Without git or outside a checkout, it is the value of FFNET_COMMIT, which `ffnet submit` sets.
    None if neither is there.
    """
    here = Path(__file__)
    tracked = _git("ls-files", here.name)  # a checkout above ffnet may be another project's
    described = tracked and _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return described or os.environ.get("FFNET_COMMIT") or None


def _git(*arguments: str) -> str:
    """What git prints about the checkout with ffnet's code; an empty text if git fails."""
    environment = {name: v for name, v in os.environ.items() if name not in OF_ANOTHER}
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace").strip()
