"""The command `ffnet`: its subcommands, and a wheel that has all files it needs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, Job, rows_of
from ffnet.cli.main import COMMANDS
from ffnet.run import storage, tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row


def ffnet(*words: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "ffnet", *words]
    return subprocess.run(program, capture_output=True, text=True, check=False)


def test_help_lists_every_command_in_a_line() -> None:
    done = ffnet("--help")
    assert done.returncode == 0
    submitted = {path.stem for path in (ROOT / "jobs").glob("[!_]*.py")}
    assert submitted <= set(COMMANDS)  # the others only read runs
    modules = {path.stem for path in (ROOT / "ffnet" / "cli").glob("*.py")}
    assert {name.replace("-", "_") for name in COMMANDS} <= modules
    listed = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert listed[: len(COMMANDS)] == list(COMMANDS)
    assert all(len(line) <= 100 for line in done.stdout.splitlines())
    assert ffnet().stdout == done.stdout


def test_the_version_is_that_of_the_package() -> None:
    assert ffnet("--version").stdout.startswith("ffnet 0.")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["tabel"], "Given: tabel (did you mean table?)"),
        (["tune", "digit"], "Given: digit (did you mean digits?)"),
        (["tune", "digits", "--n-trials", "3"], "unknown flag --n-trials (did you mean --trials?)"),
        (["--trials"], "the first word must be a command: tune, train"),
    ],
)
def test_what_is_unknown_is_answered_with_the_nearest(words: list[str], answer: str) -> None:
    done = ffnet(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert answer in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_runs_are_listed_and_the_newest_is_shown_without_a_name(call: Job, tmp_path: Path) -> None:
    rows: list[Row] = [
        {"trial": 0, "status": "done", "best_val_accuracy": 0.7},
        {"trial": 1, "status": "pruned", "best_val_accuracy": 0.9},
    ]
    for hour, name in enumerate(("older", "newer", "empty")):
        run = RunFolder.at(tmp_path / "runs" / name)
        storage.write_json(run.study, {"study": {"tuning": {}}})
        os.utime(run.study.place, (hour, hour if name != "empty" else -1))
        if name != "empty":
            tables.write(run.trials, rows[: hour + 1], tables.TRIALS)
    done = call("runs", cwd=tmp_path)
    header, _, *lines = done.stdout.splitlines()
    assert header.split() == ["run", "begun", "trials", "best_trial", "metric", "best"]
    assert [line.split()[0] for line in lines] == ["newer", "older", "empty"]
    assert "1 done, 1 pruned" in lines[0]
    assert lines[0].endswith("1  val_accuracy   0.9")
    assert "no table yet" in lines[2]
    table = call("table", "--columns", "trial", "--format", "csv", cwd=tmp_path)
    assert table.stdout.split() == ["trial", "1", "0"]
    assert table.stderr == f"{tmp_path}/runs/newer:\n"
    assert "runs holds no run: start a study" in call("table", cwd=tmp_path / "runs").stderr
    inside = call("runs", tmp_path / "runs" / "newer")
    assert inside.returncode == 2
    assert "newer is a run itself: ffnet table shows it" in inside.stderr
    not_here = call("table", "newer", cwd=tmp_path).stderr
    assert not_here.endswith(
        "newer is not a run: it has no study.json (did you mean runs/newer?)\n"
    )
    assert "it holds runs: ffnet runs lists them" in call("table", "runs", cwd=tmp_path).stderr


def test_runs_on_a_terminal_of_80_columns_keep_their_names_and_a_damaged_one_says_why(
    call: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = ("digits-20261125-122844-738", "losses of 实验", "damaged", "with one net")
    rows: list[Row] = [
        {"trial": 3, "status": "pruned", "best_val_accuracy": 0.75, "best_val_loss": 0.5},
        {"trial": 4, "status": "done", "best_val_accuracy": 0.7, "best_val_loss": 0.25},
    ]
    for hour, name in enumerate(names):
        run = RunFolder.at(tmp_path / "runs" / name)
        tuning = {"metric": "val_loss"} if "losses" in name else {}
        study = {} if "one" in name else {"tuning": tuning}
        storage.write_json(run.study, {"study": study})
        os.utime(run.study.place, (hour, -hour))
        tables.write(run.trials, rows[-1:] if "one" in name else rows, tables.TRIALS)
    (tmp_path / "runs" / "damaged" / "trials.parquet").write_bytes(b"PAR1")
    done = call("runs", cwd=tmp_path)
    assert done.returncode == 0
    header, _, *lines = done.stdout.splitlines()
    assert header.split() == ["run", "begun", "trials", "metric", "best", "@trial"]
    assert [line.split("  ")[0] for line in lines[:4]] == list(names)
    assert lines[0].endswith("1 done, 1 pruned  val_accuracy  0.75 @3")
    assert lines[1].endswith("1 done, 1 pruned  val_loss      0.25 @4")
    assert lines[2].endswith("unreadable")
    assert lines[3].endswith("1 done            val_accuracy   0.7 @4")
    assert lines[4].startswith("damaged: ")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_line_is_written_when_it_ends(unbuffered: str) -> None:
    program = (
        "import os; from ffnet.system import output; output.forgive_readers(every_error=False);"
        "print('a line'); print('a half', end=''); os._exit(0)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed == "a line\n"


def test_a_run_without_a_figure_has_no_best_trial_in_the_list(call: Job, tmp_path: Path) -> None:
    for name, rows in (("failed", [{"trial": 0, "status": "failed"}]), ("none", [])):
        run = RunFolder.at(tmp_path / name)
        storage.write_json(run.study, {"study": {"tuning": {}}})
        tables.write(run.trials, rows, tables.TRIALS)
    _, _, *lines = call("runs", tmp_path).stdout.splitlines()
    assert sorted(" ".join(line.split()) for line in lines) == [
        "failed 1 failed val_accuracy", "none no trial yet val_accuracy",
    ]  # fmt: skip


def test_a_table_without_rows_says_so(call: Job, tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path / "run")
    storage.write_json(run.study, {"study": {}})
    tables.write(run.trials, [], tables.TRIALS)
    assert call("table", run.place).stdout.splitlines()[2:3] == ["no trial yet"]
    failed = call("table", run.place, "--status", "failed").stdout
    assert failed.splitlines()[2:3] == ["no trial yet"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install a wheel of this repository into a folder, without the packages that ffnet needs."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    for name in ("ffnet", "jobs"):
        shutil.copytree(ROOT / name, folder / "source" / name, symlinks=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    source = str(folder / "source")  # a build writes into the folder
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, source], check=True)
    (wheel,) = folder.glob("ffnet-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True)
    return folder / "site"


@pytest.mark.slow
def test_a_wheel_runs_a_study_by_name_to_its_table(installed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed)}

    def run(*words: str) -> str:
        program = [str(installed / "bin" / "ffnet"), *words]
        done = subprocess.run(
            program, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    short = ("--trials", "2", "--epochs", "4", "--concurrency", "1")
    printed = run("tune", "digits", *short, "--out", "runs/mine")
    assert "2 trials" in printed
    assert len(rows_of(tmp_path / "runs" / "mine")) == 2
    assert run("table", "runs/mine").splitlines()[0].split()[:2] == ["trial", "status"]
    assert "mnist-dense" in run("train", "--help")
    where = "import ffnet; print(ffnet.__file__)"
    found = subprocess.check_output([sys.executable, "-c", where], env=environment, cwd=tmp_path)
    assert Path(found.decode().strip()).is_relative_to(installed)
