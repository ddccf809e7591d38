"""Tables: written in one piece, read without Ray or TensorFlow, printed in every format."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import Job, command_line
from ffnet.errors import InputError
from ffnet.run import ranking, storage, tables
from ffnet.run.folder import RunFolder
from ffnet.run.storage import File


def row(trial: int, accuracy: float | None, status: str = "done") -> dict[str, Any]:
    return {
        "trial": trial, "status": status, "hidden_sizes": (8, trial), "learning_rate": 0.1,
        "best_val_accuracy": accuracy, "epochs": 2.0,
    }  # fmt: skip


@pytest.fixture
def run_folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder.create(tmp_path / "run")
    storage.write_json(folder.study, {"study": {}})
    rows = [row(0, 0.5), row(1, 0.9), row(2, None, "failed"), row(3, 0.7, "pruned")]
    tables.write(folder.trials, rows, tables.TRIALS)
    return folder


def test_rows_come_back_typed_and_missing_is_null(run_folder: RunFolder) -> None:
    rows = tables.read(run_folder.trials)
    assert rows[1]["hidden_sizes"] == [8, 1]
    assert rows[2]["best_val_accuracy"] is None
    assert rows[0]["worker"] is None
    assert list(rows[0]) == tables.TRIALS.names


def test_empty_tables_are_tables(tmp_path: Path, call: Job, run_folder: RunFolder) -> None:
    tables.write(run_folder.trials, [], tables.TRIALS)
    assert tables.read(run_folder.trials) == []
    for style in ("table", "csv", "json", "markdown"):
        done = call("table", run_folder.place, "--format", style)
        assert done.returncode == 0, done.stderr


def test_ranking_puts_rows_without_a_value_last() -> None:
    rows = [row(0, None), row(1, 0.1), row(2, 0.3)]
    for descending, expected in ((True, [2, 1, 0]), (False, [1, 2, 0])):
        ordered = ranking.ranked(rows, "best_val_accuracy", descending)
        assert [r["trial"] for r in ordered] == expected


def test_table_sorts_filters_and_cuts(call: Job, run_folder: RunFolder) -> None:
    def trials(*flags: object) -> list[str]:
        done = call("table", run_folder.place, "--format", "csv", "--columns", "trial", *flags)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[1:]

    assert trials() == ["1", "3", "0", "2"]
    assert trials("--sort", "trial") == ["0", "1", "2", "3"]
    assert trials("--sort=-trial", "--top", "2") == ["3", "2"]
    assert trials("--status", "failed,pruned") == ["3", "2"]


def test_table_formats_hold_the_same_rows(call: Job, run_folder: RunFolder) -> None:
    def printed(style: str) -> str:
        columns = "trial,hidden_sizes,best_val_accuracy"
        return call("table", run_folder.place, "--format", style, "--columns", columns).stdout

    assert list(json.loads(printed("json"))[0].values()) == [1, [8, 1], 0.9]
    parsed = list(csv.DictReader(io.StringIO(printed("csv"))))
    assert parsed[0] == {"trial": "1", "hidden_sizes": "8-1", "best_val_accuracy": "0.9"}
    assert parsed[3]["best_val_accuracy"] == ""
    assert "|     1 | 8-1          |            0.9000 |" in printed("markdown").splitlines()
    assert "0.9000" in printed("table").splitlines()[2]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ["--columns", "trial,loss"],
            "no column 'loss' (did you mean test_loss?); the columns are: trial, status",
        ),
        (["--sort", "loss"], "no column 'loss'"),
        (["--status", "dead"], "--status must be one or more of running, done"),
        (["--top", "-1"], "--top must be a number of rows"),
    ],
)
def test_table_refuses_what_is_not_there(
    call: Job, run_folder: RunFolder, flags: list[str], words: str
) -> None:
    done = call("table", run_folder.place, *flags)
    assert done.returncode == 2
    assert done.stdout == ""
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_that_is_no_run_is_refused(call: Job, tmp_path: Path) -> None:
    done = call("table", tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        f"error: {tmp_path} is not a run: it has no study.json\n",
    )


def test_reading_a_table_imports_neither_ray_nor_tensorflow(run_folder: RunFolder) -> None:
    assert_imports_neither(["table.py", str(run_folder.place)])


@pytest.mark.parametrize(
    "name", ["tune", "table", "runs", "train", "bench", "board", "export", "serve"]
)
def test_help_imports_neither_ray_nor_tensorflow(name: str) -> None:
    assert_imports_neither([f"{name}.py", "--help"])


def assert_imports_neither(argv: list[str]) -> None:
    code = f"""
import runpy, sys
sys.path.insert(0, "jobs")
sys.argv = {argv}
try:
    runpy.run_path("jobs/" + sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert end.code == 0
print("IMPORTED", sorted({{"ray", "tensorflow"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert done.stdout.endswith("IMPORTED []\n")


def test_a_reader_that_leaves_a_table_is_no_error_and_a_full_disk_is_one(
    run_folder: RunFolder,
) -> None:
    command = command_line("table", run_folder.place)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()  # before it prints
        assert (process.stderr.read(), process.wait(timeout=60)) == (b"", 0)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: the output cannot be written (No space left on device)\n"


# --- folders and writing -----------------------------------------------------------------------


def test_a_folder_that_holds_anything_is_refused_and_kept(tmp_path: Path) -> None:
    storage.write_json(RunFolder.create(tmp_path / "run").study, {})
    with pytest.raises(InputError, match="holds another study"):
        RunFolder.create(tmp_path / "run")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").touch()
    with pytest.raises(InputError, match="must be empty"):
        RunFolder.create(tmp_path / "notes")
    assert (tmp_path / "notes" / "mine.txt").exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "run", Path("/proc/run")):
        with pytest.raises(InputError, match="must be writable"):
            RunFolder.create(path)


def test_a_failed_write_leaves_the_file_before(tmp_path: Path) -> None:
    file = File(str(tmp_path / "a.json"))
    storage.write_json(file, 1)
    with pytest.raises(TypeError):
        storage.write_json(file, object())
    assert (tmp_path / "a.json").read_text() == "1\n"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_kill_while_writing_leaves_a_readable_table(tmp_path: Path) -> None:
    path = tmp_path / "trials.parquet"
    code = f"""
from ffnet.run import tables
from ffnet.run.storage import File
n = 0
while True:
    n += 1
    rows = [{{"trial": i, "status": "done"}} for i in range(n)]
    tables.write(File({str(path)!r}), rows, tables.TRIALS)
    print(n, flush=True)
"""
    for writes in range(1, 6):
        writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert writer.stdout
        for _ in range(writes):  # the kill comes while the next table is written
            writer.stdout.readline()
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        rows = tables.read(File(str(path)))
        assert [r["trial"] for r in rows] == list(range(len(rows)))
        assert rows
