"""TensorBoard: the standard program reads each figure of the tables once, also of a live run."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import Job, command_line, wait_for
from ffnet.report import tensorboard
from ffnet.run import storage, tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row
from ffnet.spec.sections import METRICS, Tuning
from ffnet.spec.study import Study

START = 1_700_000_000
SPACE = {
    "hidden_sizes": {"integer": [8, 64]},
    "learning_rate": {"log_uniform": [0.01, 1.0]},
    "batch_size": {"choice": [32, 33, 34, 35, 36, 37, 512]},
    "momentum": {"uniform": [0.5, 0.9]},
    "weight_decay": 0.001,
}


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(START + seconds, UTC)


def trial(number: int, status: str, **values: Any) -> Row:
    row = {"trial": number, "status": status, "learning_rate": 0.1, "batch_size": 32 + number}
    ended = None if status == "running" else at(number + 9)
    return row | {"started_at": at(number), "ended_at": ended} | values


def report(number: int, step: int, **values: Any) -> Row:
    losses = {"train_loss": 2 / step, "val_loss": 3 / step, "val_accuracy": 1 - 1 / (step + 1)}
    row = {"trial": number, "epoch": step / 10, "step": step, "reported_at": at(number + step)}
    return row | losses | values


def write_tables(run: RunFolder, trials: list[Row], reports: list[Row]) -> None:
    tables.write(run.trials, trials, tables.TRIALS)
    tables.write(run.epochs, reports, tables.EPOCHS)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Write a running study: a trial in each state, one of them without a report."""
    run = RunFolder.create(tmp_path / "a run")
    study = Study.model_validate({"space": SPACE, "net": {"activation": "tanh"}})
    storage.write_json(run.study, {"study": study.resolved()})
    trials = [
        trial(n, status, hidden_sizes=[8 + n], activation="tanh", learning_rate=0.1)
        for n, status in enumerate(tables.Status)
    ]
    reports = [report(n, step) for n in (0, 1, 2, 3) for step in (20, 10)]
    reports.append(report(3, 30, train_loss=None, val_loss=None, val_accuracy=None))
    write_tables(run, trials, reports)
    return run


def scalars(folder: Path) -> dict[str, list[tuple[float, int, Any]]]:
    """Return {tag: (wall time, step, value) of each event}, read by TensorBoard's reader."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [(event.wall_time, event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def event_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*tfevents*"))


# --- event files -------------------------------------------------------------------------------


def test_scalars_are_the_reports_by_step_at_the_time_they_were_made(run: RunFolder) -> None:
    tensorboard.convert(run)
    tags = {"train_loss": "loss/train", "val_loss": "loss/validation"}
    tags["val_accuracy"] = "accuracy/validation"
    reports = tables.read(run.epochs)
    for number, status in enumerate([*tables.Status][:3]):
        own = sorted((r for r in reports if r["trial"] == number), key=lambda r: r["step"])
        seen = scalars(run.tensorboard / f"0000{number}-{status}")
        assert set(seen) == {*tags.values(), "best/val_accuracy", "best/val_loss"}
        for column, tag in tags.items():
            expected = [(r["reported_at"].timestamp(), r["step"], r[column]) for r in own]
            assert [point[:2] for point in seen[tag]] == [point[:2] for point in expected]
            values = [value for _, _, value in expected]
            assert [value for _, _, value in seen[tag]] == pytest.approx(
                values, rel=1e-7
            )  # float32


def test_a_diverged_trial_has_no_figures_of_its_last_report(run: RunFolder) -> None:
    tensorboard.convert(run)
    seen = scalars(run.tensorboard / "00003-diverged")
    for tag in ("accuracy/validation", "loss/train", "loss/validation"):
        assert [step for _, step, _ in seen[tag]] == [10, 20]


def test_converting_again_adds_only_what_is_new(run: RunFolder) -> None:
    tensorboard.convert(run)
    before = {path: path.read_bytes() for path in event_files(run.tensorboard)}
    tensorboard.convert(run)
    assert {path: path.read_bytes() for path in event_files(run.tensorboard)} == before
    write_tables(
        run, tables.read(run.trials), [*tables.read(run.epochs), report(0, 30), report(4, 10)]
    )
    tensorboard.convert(run)
    assert set(event_files(run.tensorboard)) == set(before)  # the same files,
    for path, content in before.items():
        assert path.read_bytes().startswith(content)  # longer
    seen = scalars(run.tensorboard / "00000-running")["loss/train"]
    assert [step for _, step, _ in seen] == [10, 20, 30]
    assert len(scalars(run.tensorboard / "00004-failed")["loss/train"]) == 1


def test_a_conversion_that_was_cut_off_is_completed(run: RunFolder) -> None:
    tensorboard.convert(run)
    path = next(path for path in event_files(run.tensorboard) if "00001" in str(path))
    whole = path.read_bytes()
    for size in (0, 5, len(whole) - 3):
        path.write_bytes(whole[:size])
        tensorboard.convert(run)
        assert path.read_bytes() == whole


def test_steps_that_were_measured_again_take_the_place_of_the_first(run: RunFolder) -> None:
    tensorboard.convert(run)
    folder = run.tensorboard / "00000-running"
    events = EventAccumulator(str(folder))  # continues to read, as the program does
    events.Reload()
    again = [report(0, 10), report(0, 20, val_loss=7.0), report(0, 30)]
    write_tables(run, tables.read(run.trials), again)
    tensorboard.convert(run)
    events.Reload()
    assert [e.step for e in events.Scalars("loss/validation")] == [10, 20, 30]
    assert events.Scalars("loss/validation")[1].value == 7.0
    assert len(event_files(folder)) == 1


def test_a_trial_that_ends_moves_to_a_folder_that_says_so(run: RunFolder) -> None:
    tensorboard.convert(run)
    (run.tensorboard / "notes").mkdir()
    rows = [
        row | {"status": "pruned"} if not row["trial"] else row for row in tables.read(run.trials)
    ]
    write_tables(run, rows, tables.read(run.epochs))
    tensorboard.convert(run)
    names = [path.name for path in run.tensorboard.iterdir() if path.name.startswith("00000")]
    assert names == ["00000-pruned"]
    assert len([p for p in run.tensorboard.iterdir() if p.name.startswith("hparams-")]) == 1
    assert (run.tensorboard / "notes").exists()  # not a file of ffnet


def test_best_and_last_of_both_metrics_are_those_of_the_table(tmp_path: Path) -> None:
    row, rows = trial(0, "done"), []
    for step, accuracy, loss in ((10, 0.5, 0.9), (20, 0.75, 0.7), (30, 0.625, 0.8)):
        rows.append(report(0, step, val_accuracy=accuracy, val_loss=loss))
        tables.note_score(row, rows[-1])
    rows.append(report(0, 40, train_loss=None, val_loss=None, val_accuracy=None))  # diverged
    tensorboard.write_run(tmp_path, [row], rows, Tuning())
    seen = {tag: points[-1][2] for tag, points in scalars(tmp_path / "00000-done").items()}
    for name, tag, value in (
        ("best_val_accuracy", "best/val_accuracy", 0.75),
        ("last_val_accuracy", "accuracy/validation", 0.625),
        ("best_val_loss", "best/val_loss", 0.7),
        ("last_val_loss", "loss/validation", 0.8),
    ):
        assert (row[name], seen[tag]) == (value, pytest.approx(value, rel=1e-7))


@pytest.mark.parametrize("metric", METRICS)
def test_the_metric_that_the_study_judges_by_comes_first(metric: Any) -> None:
    names = [info.display_name for info in tensorboard._metric_infos(Tuning(metric=metric))]
    assert names[0] == f"best_{metric}"
    assert sorted(names) == sorted(p + name for p in ("best_", "last_") for name in METRICS)


def test_a_single_run_needs_no_study(tmp_path: Path) -> None:
    row = {"trial": 0, "status": "done", "hidden_sizes": (64,), "learning_rate": 0.1}
    rows: list[Row] = [{"trial": 0, "step": 10, "train_loss": 0.5}, {"trial": 0, "step": 5}]
    tensorboard.write_run(tmp_path / "board", [row], rows, Tuning())
    assert scalars(tmp_path / "board" / "00000-done") == {"loss/train": [(0.0, 10, 0.5)]}
    tensorboard.write_run(tmp_path / "none", [], [], Tuning())
    assert scalars(tmp_path / "none") == {}


def test_every_status_has_one_of_tensorboards() -> None:
    assert tuple(tensorboard.STATUS) == tuple(tables.Status)


def test_a_thousand_trials_take_seconds(tmp_path: Path) -> None:
    trials = [trial(n, "done", hidden_sizes=[n]) for n in range(1000)]
    reports = [report(n, step) for n in range(1000) for step in range(10, 310, 10)]
    begun = time.process_time()
    tensorboard.write_run(tmp_path, trials, reports, Tuning())
    assert time.process_time() - begun < 10  # about 1.5 on a quiet machine
    assert len(event_files(tmp_path)) == 1001


def test_converting_imports_neither_ray_nor_tensorflow(run: RunFolder) -> None:
    code = """
import sys
from pathlib import Path
from ffnet.run.folder import RunFolder
from ffnet.report.tensorboard import convert
convert(RunFolder.existing(Path(sys.argv[1])))
print(sorted({"ray", "tensorflow"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, run.place], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


# --- the stock program -------------------------------------------------------------------------


class Board:
    """Runs the job as a process, and asks TensorBoard's HTTP interface."""

    def __init__(self, run: RunFolder) -> None:
        self.process = subprocess.Popen(
            command_line("board", run.place, "--port", 0),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout
        lines = iter(self.process.stdout.readline, "")
        self.url = next(line.split()[1] for line in lines if line.startswith("TensorBoard:"))

    def data(self, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(
            f"{self.url}data/plugin/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def sessions(self) -> dict[str, Row]:
        """Return {session group: its hyper-parameters, status, start, end and last metrics}."""
        statuses = [f"STATUS_{name}" for name in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
        body = {"allowedStatuses": statuses, "colParams": [], "startIndex": 0, "sliceSize": 99}
        groups = self.data("hparams/session_groups", body)["sessionGroups"]
        return {
            group["name"]: group["sessions"][0] | {"hparams": group["hparams"]} for group in groups
        }

    def program(self) -> int:
        """Return the process of TensorBoard."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(children.read_text().split()[0])

    def end(self, sign: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(sign)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@pytest.fixture
def board(run: RunFolder) -> Iterator[Board]:
    board = Board(run)
    yield board
    board.process.terminate()
    board.process.communicate(timeout=30)


@pytest.mark.slow
def test_the_program_shows_a_study_live_and_ends_with_the_job(run: RunFolder, board: Board) -> None:
    wait_for(lambda: len(board.sessions()) == len(tables.Status))
    assert "00004-failed" not in board.data("scalars/tags")  # it has no report
    tags = {"accuracy/validation", "best/val_accuracy", "loss/validation", "best/val_loss"}
    assert set(board.data("scalars/tags")["00001-done"]) == tags | {"loss/train"}
    experiment = board.data("hparams/experiment", {})
    shown = {m["displayName"]: m["name"]["tag"] for m in experiment["metricInfos"]}
    assert shown == {
        **{f"best_{metric}": f"best/{metric}" for metric in METRICS},
        **{f"last_{metric}": f"{metric.removeprefix('val_')}/validation" for metric in METRICS},
    }
    infos = {info["name"]: info for info in experiment["hparamInfos"]}
    assert infos["learning_rate"]["type"] == "DATA_TYPE_FLOAT64"
    assert infos["batch_size"]["domainInterval"] == {"minValue": 32.0, "maxValue": 37.0}
    assert infos["hidden_sizes"]["type"] == "DATA_TYPE_FLOAT64"
    assert infos["hidden_sizes"]["domainInterval"] == {"minValue": 8.0, "maxValue": 13.0}
    # No trial has a momentum; activation and weight_decay are the same in all. The learning rate
    # is the same so far, but the space says that it varies.
    assert set(infos) == {"learning_rate", "batch_size", "hidden_sizes"}
    sessions = board.sessions()
    assert {name: session["status"] for name, session in sessions.items()} == {
        "00000-running": "STATUS_RUNNING",
        "00001-done": "STATUS_SUCCESS",
        "00002-pruned": "STATUS_SUCCESS",
        "00003-diverged": "STATUS_FAILURE",
        "00004-failed": "STATUS_FAILURE",
        "00005-stopped": "STATUS_UNKNOWN",
    }
    done = sessions["00001-done"]
    assert done["hparams"] == {"learning_rate": 0.1, "batch_size": 33.0, "hidden_sizes": 9.0}
    assert (done["startTimeSecs"], done["endTimeSecs"]) == (START + 1, START + 10)
    last = {metric["name"]["tag"]: metric["value"] for metric in done["metricValues"]}
    assert last == pytest.approx(
        {
            "loss/validation": 0.15,
            "best/val_loss": 0.15,
            "accuracy/validation": 20 / 21,
            "best/val_accuracy": 20 / 21,
        }
    )

    rows = tables.read(run.trials)
    rows[0] |= {"status": "done", "ended_at": at(60), "batch_size": 512}
    write_tables(run, rows, [*tables.read(run.epochs), report(0, 30)])
    wait_for(lambda: "00000-done" in board.sessions() and "00000-running" not in board.sessions())
    assert board.sessions()["00000-done"]["status"] == "STATUS_SUCCESS"
    points = board.data("scalars/scalars?run=00000-done&tag=loss/train")
    assert [step for _, step, _ in points] == [10, 20, 30]
    infos = {info["name"]: info for info in board.data("hparams/experiment", {})["hparamInfos"]}
    assert infos["batch_size"]["domainInterval"]["maxValue"] == 512

    program = board.program()
    assert board.end(signal.SIGTERM) == (0, "")
    assert not Path(f"/proc/{program}").exists()


@pytest.mark.slow
def test_ctrl_c_ends_both_programs(board: Board) -> None:
    program = board.program()
    assert board.end(signal.SIGINT) == (0, "")
    assert not Path(f"/proc/{program}").exists()


def test_the_job_ends_with_the_program(board: Board) -> None:
    os.kill(board.program(), signal.SIGKILL)
    _, errors = board.process.communicate(timeout=30)
    assert board.process.returncode == 1
    assert errors.startswith("error: TensorBoard ended: ")
    assert len(errors.splitlines()) == 1


def test_only_the_event_files_when_asked(call: Job, run: RunFolder) -> None:
    done = call("board", run.place, "--convert-only")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"event files: {run.tensorboard} (")
    assert len(event_files(run.tensorboard)) == 1 + len(tables.Status)


@pytest.mark.slow
def test_bad_input_is_one_line(call: Job, run: RunFolder, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, words in (
            ([tmp_path], "is not a run: it has no study.json"),
            ([run.place, "--port", 70000], "--port must be from 0"),
            (
                [run.place, "--port", port],
                f"does not start: TensorBoard could not bind to port {port}",
            ),
        ):
            done = call("board", *arguments)
            assert done.returncode == 2
            assert words in done.stderr
            assert len(done.stderr.splitlines()) == 1
    run.epochs.delete()
    assert (
        "epochs.parquet: not there: its run has not written it yet"
        in call("board", run.place).stderr
    )
