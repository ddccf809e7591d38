"""A job that runs outside ffnet's environment says what to do."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, Job

JOBS = sorted(path for path in (ROOT / "jobs").glob("[!_]*.py"))


def said(command: list[str], cwd: Path) -> str:
    """Run a command that must fail, and return its only line on the standard error."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


@pytest.mark.parametrize("job", JOBS, ids=lambda path: path.stem)
def test_without_ffnet_a_job_says_what_to_run(job: Path, tmp_path: Path) -> None:
    bare = [sys.executable, "-S", "-E", str(job)]  # without site-packages
    words = said([*bare, "runs/x"], tmp_path)
    assert words.startswith(f"error: ffnet is not installed for {sys.executable}; run ")
    assert re.search(r"\.venv/bin/python$", words.rstrip())
    assert said([*bare, "--help"], tmp_path) == words


def test_an_old_python_is_named(tmp_path: Path) -> None:
    code = """
import runpy, sys
sys.version_info = (3, 9, 6, "final", 0)
sys.path.insert(0, sys.argv[1].rpartition("/")[0])
runpy.run_path(sys.argv[1], run_name="__main__")
"""
    words = said([sys.executable, "-c", code, str(ROOT / "jobs" / "table.py")], tmp_path)
    assert words.startswith("error: ffnet needs Python 3.11 or later, and ")
    assert "is 3.9; run " in words


def test_a_package_that_is_missing_later_is_named(
    call: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from ffnet.run import storage
    from ffnet.run.folder import RunFolder

    run = RunFolder.create(tmp_path / "run")
    storage.write_json(run.study, {"study": {}})
    (tmp_path / "run" / "trials.parquet").touch()
    monkeypatch.delitem(sys.modules, "ffnet.report.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    done = call("board", run.place, "--convert-only")
    assert done.returncode == 2
    assert done.stderr.startswith("error: tensorboard.compat.proto.event_pb2 is not installed: run")
