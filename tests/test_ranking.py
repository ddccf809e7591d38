"""All parts agree on the best trial: table, summary, progress, checkpoints, export and board."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import Job
from ffnet.export.card import choose
from ffnet.report import tensorboard, text
from ffnet.run import checkpoints, ranking, storage, tables
from ffnet.run.folder import RunFolder
from ffnet.run.past import Past
from ffnet.run.tables import Row
from ffnet.spec.sections import Tuning
from ffnet.spec.study import Study
from ffnet.spec.validation import validated
from ffnet.tuning.losses import Losses
from ffnet.tuning.progress import describe
from ffnet.tuning.recorder import Recorder

LOSS, ACCURACY = Tuning(metric="val_loss"), Tuning()


def row(trial: int, status: str = "done", **values: Any) -> Row:
    return {"trial": trial, "status": status, "epochs": 2.0, "learning_rate": 0.1} | values


def order(rows: list[Row], tuning: Tuning = LOSS) -> list[int]:
    return [row["trial"] for row in ranking.best_first(rows, tuning)]


# --- the rule ----------------------------------------------------------------------------------


def test_a_lower_loss_and_a_higher_accuracy_are_better() -> None:
    rows = [row(n, best_val_loss=v, best_val_accuracy=v) for n, v in enumerate((0.5, 0.2, 0.9))]
    assert order(rows) == [1, 0, 2]
    assert order(rows, ACCURACY) == [2, 0, 1]


def test_of_equal_trials_the_one_begun_first_is_better_whatever_their_order() -> None:
    rows = [row(n, best_val_loss=v, best_val_accuracy=1) for n, v in ((2, 0.0), (0, -0.0), (1, 0))]
    assert order(rows) == [0, 1, 2]
    assert order(rows, ACCURACY) == [0, 1, 2]


def test_what_is_no_finite_number_comes_last() -> None:
    odd = (math.nan, -math.inf, math.inf, None)
    rows = [row(n, best_val_loss=v) for n, v in enumerate(odd)]
    rows += [row(4, best_val_loss=7), row(5)]
    assert order(rows)[0] == 4
    assert sorted(order(rows)[1:]) == [0, 1, 2, 3, 5]


def test_a_trial_that_diverged_or_failed_is_better_than_none_only() -> None:
    rows = [
        row(0, "diverged", best_val_loss=0.1), row(1, "failed", best_val_loss=0.2), row(2, "done"),
        row(3, "pruned", best_val_loss=0.9), row(4, "running", best_val_loss=0.8),
        row(5, "stopped", best_val_loss=0.7),
    ]  # fmt: skip
    assert order(rows) == [5, 4, 3, 0, 1, 2]
    assert order(rows[:3]) == [0, 1, 2]


def test_a_column_that_is_asked_for_is_sorted_as_it_is() -> None:
    values = (0.3, None, math.nan, 0.1, 0.3)
    rows = [row(n, "failed", worker=v) for n, v in enumerate(values)]
    assert [r["trial"] for r in ranking.ranked(rows, "worker", True)] == [0, 4, 3, 1, 2]
    assert [r["trial"] for r in ranking.ranked(rows[::-1], "worker", False)] == [3, 0, 4, 1, 2]


# --- everywhere --------------------------------------------------------------------------------

SPACE = {"learning_rate": {"log_uniform": [1e-3, 1e-1]}}
LOSSES = {0: (0.5, 0.9), 1: (0.2, 0.6), 2: (0.2, 0.5), 3: (0.1, None), 4: (None, None)}
"""{trial: validation losses of its two reports}. Trial 1 has the best loss of all ended
trials, but not the best last loss."""


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Write a study with the metric val_loss. Accuracy would choose another trial; 3 diverged."""
    run = RunFolder.create(tmp_path / "run")
    study = {"space": SPACE, "tuning": {"metric": "val_loss"}, "net": {}, "training": {}}
    data = {"sha256": "0", "name": "x", "sizes": {}, "example_shape": [2], "dtype": "uint8",
            "mean": [0, 0], "std": [1, 1], "classes": ["a", "b"]}  # fmt: skip
    document = {"study": study | {"budget": {"epochs": 2}}, "data": data, "versions": {}}
    storage.write_json(run.study, document)
    rows, reports = [], []
    for trial, losses in LOSSES.items():
        made = row(trial, "diverged" if trial == 3 else "done", seed=1)
        for step, loss in enumerate(losses, 1):
            report = {"trial": trial, "step": step, "epoch": float(step), "learning_rate": 0.1}
            if loss is not None:
                report |= {"val_loss": loss, "val_accuracy": 0.5 + trial / 10}
                tables.note_score(made, report)
            reports.append(report)
        if steps := sum(loss is not None for loss in losses):
            with run.checkpoint(trial).replacing() as file:
                checkpoints.write(file, steps, [], [])
        rows.append(made)
    tables.write(run.trials, rows, tables.TRIALS)
    tables.write(run.epochs, reports, tables.EPOCHS)
    return run


def test_the_table_shows_and_follows_the_studys_metric(run: RunFolder, call: Job) -> None:
    lines = call("table", run.place).stdout.splitlines()
    assert lines[0].split()[2:5] == ["learning_rate", "best_val_loss", "best_val_loss_epoch"]
    assert [line.split()[0] for line in lines[2:-1]] == ["1", "2", "0", "3", "4"]
    assert lines[-1].startswith("core time: ")
    by_accuracy = call("table", run.place, "--sort", "-best_val_accuracy", "--columns", "trial")
    assert by_accuracy.stdout.split()[2:] == ["3", "2", "1", "0", "4"]
    blanks = call("table", run.place, "--sort", " - best_val_accuracy ", "--columns", "trial")
    assert blanks.stdout == by_accuracy.stdout


def test_summary_progress_and_checkpoints_follow_the_table(run: RunFolder) -> None:
    rows = [{k: v for k, v in r.items() if v is not None} for r in tables.read(run.trials)]
    study = validated(Study, {"space": SPACE, "tuning": {"metric": "val_loss"}}, "x")
    hold: Any = SimpleNamespace(check=lambda: None, folder=run)
    recorder = Recorder(study, hold, Losses(), Past(rows[::-1], []))
    assert [r["trial"] for r in recorder.writer.best(5)] == [1, 2, 0, 3]
    assert "momentum" in text.render(
        recorder.writer.best(5), ["trial", "momentum"], "table"
    )  # all null
    assert "best val_loss 0.2000 (trial 1)" in describe(study, recorder, 1.0)
    assert text.default_columns(study.resolved())[3:5] == ["best_val_loss", "best_val_loss_epoch"]


def test_export_names_the_first_of_the_table_where_it_takes_another(run: RunFolder) -> None:
    """An earlier version kept only the weights after a trial's last report."""
    choice = choose(run, None)
    assert (choice.row["trial"], choice.weights.best) == (2, False)
    assert choice.why == "lowest val_loss of 4 trials with weights that can be exported"
    assert choice.note == (
        "trial 1 is first in the table (best_val_loss 0.2000), but only its weights after its "
        "last report are kept, with val_loss 0.6000: exporting trial 2, with val_loss 0.5000"
    )
    assert choose(run, "1").note == (
        "the weights of trial 1 at its best report (best_val_loss 0.2000) are not kept (earlier "
        "versions of ffnet kept none): exporting those after its last report, with val_loss 0.6000"
    )
    run.checkpoint(1).delete()
    assert "has no checkpoint that can be exported: exporting trial 2" in choose(run, None).note
    rows = tables.read(run.trials)
    rows[1]["status"] = "running"
    tables.write(run.trials, rows, tables.TRIALS)
    assert "(its study runs, or was killed: --resume): exporting trial 2" in choose(run, None).note


def test_export_takes_the_best_epoch_of_the_first_of_the_table(run: RunFolder) -> None:
    with run.checkpoint_best(1).replacing() as file:
        checkpoints.write(file, LOSSES[1].index(0.2) + 1, [], [])
    choice = choose(run, None)
    assert (choice.row["trial"], choice.report["val_loss"], choice.note) == (1, 0.2, "")
    assert choice.why == "lowest best_val_loss of 5 trials"
    assert choice.weights.file == run.checkpoint_best(1)


def test_the_board_shows_the_best_value_of_the_metric(run: RunFolder) -> None:
    tensorboard.convert(run)
    shown = {}
    for folder in run.tensorboard.glob("0000*"):
        events = EventAccumulator(str(folder))
        events.Reload()
        if "best/val_loss" in events.Tags()["scalars"]:
            shown[int(folder.name[:5])] = events.Scalars("best/val_loss")[-1].value
    assert shown == pytest.approx({0: 0.5, 1: 0.2, 2: 0.2, 3: 0.1})


@pytest.mark.parametrize("value", [["a"], [1], [], 7, "text", None, True])
def test_a_section_that_is_no_table_is_refused_with_the_runs_path(
    run: RunFolder, call: Job, value: Any
) -> None:
    for section in ("data", "net", "training", "space", "tuning", "budget", "resources"):
        storage.write_json(run.study, {"study": {section: value}})
        done = call("table", run.place)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{run.study}: " in done.stderr
        assert f"{section} must be a table. Given: {value!r}" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_study_without_a_section_has_the_defaults(run: RunFolder, call: Job) -> None:
    storage.write_json(run.study, {"study": {}})
    assert "best_val_accuracy" in call("table", run.place).stdout


@pytest.mark.parametrize("metric", ["val_f1", 3, None, ["val_loss"]])
def test_a_metric_that_nobody_knows_is_one_line(run: RunFolder, call: Job, metric: Any) -> None:
    storage.write_json(run.study, {"study": {"tuning": {"metric": metric}}})
    done = call("table", run.place)
    assert done.returncode == 2
    assert (
        f"{run.study}: tuning.metric: input should be 'val_accuracy', 'val_loss', " in done.stderr
    )
    assert len(done.stderr.splitlines()) == 1


def test_a_run_judged_by_nothing_is_judged_by_accuracy() -> None:
    assert ranking.tuning_of({}) == ranking.tuning_of({"tuning": []}) == ACCURACY


# --- the table's flags -------------------------------------------------------------------------


def test_a_run_without_a_table_yet_says_so(run: RunFolder, call: Job) -> None:
    run.trials.delete()
    for job in ("table", "board"):
        done = call(job, run.place)
        assert done.returncode == 2
        assert done.stderr == f"error: {run} has no table yet: its study has not written one\n"


def test_blanks_and_a_dash_in_what_is_sorted_and_listed(run: RunFolder, call: Job) -> None:
    def trials(*flags: str) -> list[str]:
        done = call("table", run.place, "--format", "csv", *flags)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[1:]

    expected = ["4", "3", "2", "1", "0"]
    assert trials("--columns", "trial", "--sort", "-trial") == expected
    assert trials("--columns", " trial ,", "--sort=-trial") == expected
    assert trials("--columns", "trial", "--sort", " -trial") == expected
    assert trials("--columns", "trial", "--status", "done, diverged", "--sort", "trial") == [
        "0", "1", "2", "3", "4",
    ]  # fmt: skip
    assert call("table", run.place, "--columns", " , ").stderr.startswith("error: --columns needs")
    assert call("table", run.place, "--status", "").stderr.startswith(
        "error: argument --status: needs"
    )
    assert call("table", run.place, "--sort").stderr.startswith("error: argument --sort")


def test_csv_and_json_have_all_rows_and_a_table_says_how_many_more(
    run: RunFolder, call: Job
) -> None:
    rows = [row(n, best_val_loss=n / 100) for n in range(30)]
    tables.write(run.trials, rows, tables.TRIALS)
    assert len(call("table", run.place, "--format", "csv").stdout.splitlines()) == 31
    assert len(call("table", run.place, "--format", "csv", "--top", 3).stdout.splitlines()) == 4
    shown = call("table", run.place).stdout.splitlines()
    assert len(shown) == 24
    assert shown[-2] == "… 10 more: --top 0 shows all 30"
