"""Data of a run: a resumed run reads its data as before; what a failed download prints."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Job
from data_files import LABELS, N, loaded, savez, write
from ffnet.data.dataset import DataSet
from ffnet.errors import InputError
from ffnet.run import provenance

NEW = ("columns", "target", "unused", "unlabelled", "normalized_in")


def noted(data: DataSet) -> dict[str, Any]:
    """Write `data` of study.json, and read it back."""
    about: dict[str, Any] = json.loads(json.dumps(provenance.about(data)))
    return about


def by_the_version_before(data: DataSet) -> dict[str, Any]:
    """Return `data` as early versions wrote it: no columns, statistics and features in float32."""
    about = noted(data)
    mean, std = data.mean.astype(np.float32), data.std.astype(np.float32)
    if data.dtype != "uint8":
        std[std <= 1e-7 * np.abs(mean)] = 1
        about |= {"dtype": "float32", "mean": mean.tolist(), "std": std.tolist()}
    return {name: value for name, value in about.items() if name not in NEW}


def test_a_run_goes_on_with_its_own_data(tmp_path: Path) -> None:
    for data in (loaded("digits"), loaded(write(tmp_path / "own.parquet"))):
        provenance.check_data(noted(data), data, "RUN")
        provenance.check_data(by_the_version_before(data), data, "RUN")


def test_data_that_are_read_in_another_way_are_refused(tmp_path: Path) -> None:
    data = loaded(write(tmp_path / "own.parquet"))
    for change, words in (
        ({"sha256": "0" * 64}, "the data must be those of RUN, SHA-256 0000"),
        ({"columns": ["b", "a"]}, "RUN read its data in another way: columns"),
        ({"classes": ["0", "2", "1"]}, "RUN read its data in another way: classes"),
        ({"sizes": {"train": 1}}, "RUN read its data in another way: sizes"),
    ):
        with pytest.raises(InputError, match=words):
            provenance.check_data(noted(data) | change, data, "RUN")


def test_a_run_that_lost_differences_does_not_go_on(tmp_path: Path) -> None:
    x = np.stack([np.arange(N), 1_700_000_000 + 40 * LABELS, np.full(N, 1.7e9)], axis=1)
    data = loaded(savez(tmp_path / "own.npz", x=x, y=LABELS))
    with pytest.raises(InputError, match="rounded different values of feature 1 to the same value"):
        provenance.check_data(by_the_version_before(data), data, "RUN")
    data = loaded(savez(tmp_path / "own.npz", x=x[:, [0, 2]], y=LABELS))
    provenance.check_data(by_the_version_before(data), data, "RUN")  # a constant has none


@pytest.mark.slow
def test_a_failed_download_prints_one_line(job: Job, tmp_path: Path) -> None:
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("FFNET_DATA", "TF_"))}
    environment |= {"KERAS_HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9"}
    done = job("train", "--dataset", "mnist", env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: mnist was not found and could not be downloaded (URL")
    assert len(done.stderr.splitlines()) == 1
