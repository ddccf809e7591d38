"""One table of several runs; a table that is updated while a study runs."""

import errno
import io
import json
import os
from pathlib import Path
from typing import Any, NoReturn

import pytest
from rich.console import Console

import made_runs
from conftest import Job
from ffnet.cli.table import watch
from ffnet.report.trials import Asked
from ffnet.run import tables
from ffnet.run.folder import RunFolder
from ffnet.run.hold import Driver, driver_of, held

RATE = {"learning_rate": {"log_uniform": [1e-3, 1e-1]}}
SIZES = {"hidden_sizes": {"log_integer": [8, 64]}}


def run(place: Path, bests: list[float], space: Any = RATE, **sections: Any) -> RunFolder:
    of = made_runs.study_of(space, **sections)
    made = [made_runs.trial(of, n, accuracies=[best]) for n, best in enumerate(bests)]
    return made_runs.write(place, of, [row for row, _ in made], [r for _, own in made for r in own])


# --- several runs -------------------------------------------------------------------------------


def test_several_runs_make_one_table_the_best_trial_first(tmp_path: Path, call: Job) -> None:
    run(tmp_path / "a", [0.5, 0.9])
    run(tmp_path / "b", [0.7, 0.9, 0.6])
    words = ["table", tmp_path / "a", tmp_path / "b"]
    rows = json.loads(call(*words, "--format", "json").stdout)
    assert [(row["run"], row["trial"]) for row in rows] == [
        ("a", 1), ("b", 1), ("b", 0), ("b", 2), ("a", 0),
    ]  # fmt: skip
    lines = call(*words, "--top", 2).stdout.splitlines()
    assert lines[0].split()[:4] == ["run", "trial", "status", "learning_rate"]
    assert lines[4] == "… 3 more: --top 0 shows all 5"
    assert [line.partition(":")[0] for line in lines[5:]] == ["a", "b"]  # where core time went
    only = call(*words, "--where", "run == 'b' and trial > 0", "--format", "csv", "--columns",
                "run,trial", "--sort", "-trial")  # fmt: skip
    assert only.stdout.split() == ["run,trial", "b,2", "b,1"]
    every = call(*words, "--columns", "all", "--format", "csv").stdout.splitlines()
    assert every[0].split(",") == ["run", *tables.TRIALS.names]


def test_runs_of_different_spaces_show_all_searched_fields(tmp_path: Path, call: Job) -> None:
    run(tmp_path / "a", [0.5])
    run(tmp_path / "b", [0.6], SIZES)
    head = call("table", tmp_path / "a", tmp_path / "b").stdout.splitlines()[0].split()
    assert head == [
        "run", "trial", "status", "learning_rate", "hidden_sizes", "best_val_accuracy",
        "best_val_accuracy_epoch", "last_val_loss", "epochs", "train_seconds",
    ]  # fmt: skip


def test_the_lowest_loss_comes_first_in_runs_of_the_loss(tmp_path: Path, call: Job) -> None:
    for name, bests in {"a": [0.5, 0.9], "b": [0.7]}.items():
        run(tmp_path / name, bests, tuning={"metric": "val_loss"})
    done = call("table", tmp_path / "a", tmp_path / "b", "--format", "csv")
    assert done.stdout.splitlines()[0].split(",")[4] == "best_val_loss"
    found = [tuple(line.split(",")[:2]) for line in done.stdout.splitlines()[1:]]
    assert found == [("a", "1"), ("b", "0"), ("a", "0")]


def test_runs_of_different_metrics_need_an_order(tmp_path: Path, call: Job) -> None:
    words = ["table", tmp_path / "a", tmp_path / "b"]
    run(tmp_path / "a", [0.5])
    run(tmp_path / "b", [0.7], tuning={"metric": "val_loss"})
    done = call(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: runs with different metrics have no best trial in common: give an order with "
        "--sort. Given: val_accuracy in a, val_loss in b\n"
    )
    done = call(*words, "--sort=-best_val_accuracy", "--format", "csv", "--columns", "run")
    assert done.stdout.split() == ["run", "b", "a"]


@pytest.mark.parametrize("status", [None, "failed", "pruned", "diverged", "running"])
def test_a_strange_run_beside_a_good_one(tmp_path: Path, call: Job, status: str | None) -> None:
    run(tmp_path / "good", [0.5])
    of = made_runs.study_of()
    made = made_runs.trials(of, [status] * 2) if status else ([], [])
    made_runs.write(tmp_path / "<b>'|\"实", of, *made)
    for style in ("table", "csv", "json", "markdown"):
        words = ["table", tmp_path / "good", tmp_path / "<b>'|\"实", "--format", style]
        done = call(*words)
        assert (done.returncode, done.stderr) == (0, "")
        if style == "markdown":
            assert "<b>" not in done.stdout
            assert {line.replace("\\|", "").count("|") for line in done.stdout.splitlines()} == {
                done.stdout.splitlines()[0].count("|")
            }


def test_a_run_that_comes_twice_or_has_no_table_is_refused(tmp_path: Path, call: Job) -> None:
    a = run(tmp_path / "a", [0.5])
    done = call("table", a.place, f"{a.place}/")
    assert done.stderr == f"error: each run must come once. Given: {a.place}, twice\n"
    (tmp_path / "a" / "trials.parquet").unlink()
    assert "has no table yet" in call("table", a.place).stderr


# --- while a study runs -------------------------------------------------------------------------


def screen() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100, height=20)


def shown(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_a_watched_table_grows_until_the_driver_gives_the_run_up(tmp_path: Path) -> None:
    folder, console, looks = RunFolder.at(tmp_path / "run"), screen(), 0
    hold = held(folder)
    hold.__enter__()

    def wait(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            assert shown(console).count("no table yet") == 1
            made = run(tmp_path / "made", [0.1234])
            for name in ("study.json", "trials.parquet", "epochs.parquet"):
                (tmp_path / "run" / name).write_bytes((Path(made.place) / name).read_bytes())
        elif looks == 2:
            assert "0.1234" in shown(console)
            rows = tables.read(folder.trials)
            tables.write(
                folder.trials, [r | {"best_val_accuracy": 0.7} for r in rows], tables.TRIALS
            )
            hold.__exit__(None, None, None)

    assert watch([folder], Asked(), console, wait) == 0
    assert looks == 2
    assert "0.7000" in shown(console).rpartition("0.1234")[2]


def test_a_watched_study_that_has_ended_is_shown_once_with_all_rows(tmp_path: Path) -> None:
    folder, console = run(tmp_path / "run", [n / 100 for n in range(30)]), screen()
    assert watch([folder], Asked(top=25), console, wait=lambda _: pytest.fail("it has ended")) == 0
    assert shown(console).count(" done ") == 25
    assert "… 5 more" in shown(console)


def test_a_watched_study_that_was_killed_says_how_it_goes_on(tmp_path: Path) -> None:
    of, console = made_runs.study_of(), screen()
    made = made_runs.write(tmp_path / "run", of, *made_runs.trials(of, ["done", "running"]))
    killed = Driver(**{**vars(Driver.this()), "ticks": 1})
    (tmp_path / "run" / ".driver").write_bytes(killed.written())
    assert watch([made], Asked(), console, wait=lambda _: pytest.fail("it was killed")) == 0
    last = shown(console).splitlines()[-1]
    assert last == "no process runs this study any more: ffnet tune with --resume continues it"


def test_a_watched_table_stays_while_its_store_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, console, looks = run(tmp_path / "run", [0.5]), screen(), iter(range(3))
    hold = held(folder)
    hold.__enter__()

    def fail(_: str) -> NoReturn:
        raise OSError(errno.EIO, "no answer")

    def wait(_: float) -> None:
        look = next(looks)
        assert shown(console).count("not up to date: [Errno 5] no answer") == (look == 1)
        assert shown(console).count("0.5000") == look + 1
        if look == 0:
            monkeypatch.setattr("ffnet.run.storage.names", fail)
        else:
            monkeypatch.undo()
            hold.__exit__(None, None, None)

    assert watch([folder], Asked(), console, wait) == 0
    assert list(looks) == [2]


def test_ctrl_c_ends_a_watched_table_and_leaves_it(tmp_path: Path) -> None:
    def wait(_: float) -> None:
        raise KeyboardInterrupt

    with held(RunFolder.at(tmp_path / "held")):
        made = run(tmp_path / "run", [0.5])
        mark = (tmp_path / "held" / ".driver").read_bytes()
        (tmp_path / "run" / ".driver").write_bytes(mark)
        console = screen()
        assert watch([made], Asked(), console, wait) == 0
    assert "0.5000" in shown(console)


def test_watch_needs_a_terminal(tmp_path: Path, call: Job) -> None:
    made = run(tmp_path / "run", [0.5])
    done = call("table", made.place, "--watch")
    assert done.stderr == "error: --watch needs a terminal and the format table: leave it out\n"


def test_a_driver_that_was_killed_or_is_silent_holds_nothing(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", [0.5])
    mark = tmp_path / "run" / ".driver"
    this = Driver.this()
    for content, holds in (
        (this.written(), True),
        (b"{", False),
        (Driver(**{**vars(this), "ticks": 1}).written(), False),  # the process id is reused
        (Driver(**{**vars(this), "boot": "another machine"}).written(), True),
    ):
        mark.write_bytes(content)
        assert bool(driver_of(folder)) == holds
    os.utime(mark, (1e9, 1e9))  # written long ago, on another machine
    assert driver_of(folder) is None
    mark.unlink()
    assert driver_of(folder) is None
