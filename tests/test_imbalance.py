"""Studies of classes of different sizes: what chooses, what tables show, and tables without it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import made_runs
from conftest import Job, reports_of, rows_of
from data_files import savez
from ffnet.errors import InputError
from ffnet.report.page.facts import METRICS as NAMES
from ffnet.report.terminal import JOINED
from ffnet.run import confirm, ranking, recorded, tables
from ffnet.run.checks import LATEST_COLUMNS
from ffnet.run.folder import RunFolder
from ffnet.run.improvement import Improvement
from ffnet.spec.net import NEWEST, PATH
from ffnet.spec.sections import METRICS, Tuning
from ffnet.tuning.schedulers import Asha

NEW = [metric for metric in METRICS if metric not in ("val_accuracy", "val_loss")]
CHOICE = {"class_weight": {"choice": ["none", "balanced"]}}


def rare(path: Path) -> Path:
    """Write 1,000 vectors of two classes, of which one has 50, that overlap a little."""
    random = np.random.default_rng(3)
    y = random.permutation(np.arange(1000) < 50)
    x = random.normal(size=(1000, 5)) + 1.5 * y[:, None]
    np.savez(path, x=x, y=y.astype(int))
    return path


STUDY = """
[data]
dataset = "{dataset}"
[net]
hidden_sizes = 8
[training]
learning_rate = 0.3
[space]
class_weight = {{ choice = ["none", "balanced"] }}
batch_size = {{ choice = [16, 64] }}
[tuning]
search = "grid"
scheduler = "none"
metric = "val_balanced_accuracy"
[budget]
epochs = 3
"""


@pytest.mark.slow
def test_a_study_of_rare_classes_chooses_by_balanced_accuracy(
    tune: Job, call: Job, tmp_path: Path
) -> None:
    study, run = tmp_path / "rare.toml", tmp_path / "run"
    study.write_text(STUDY.format(dataset=rare(tmp_path / "rare.npz")))
    done = tune(study, "--out", run)
    assert done.returncode == 0, done.stderr
    rows = {row["trial"]: row for row in rows_of(run)}
    assert [row["class_weight"] for row in rows.values()].count("balanced") == 2
    best = max(rows.values(), key=lambda row: row["best_val_balanced_accuracy"])
    assert best["class_weight"] == "balanced"
    assert best["best_val_accuracy"] < max(row["best_val_accuracy"] for row in rows.values())
    first = json.loads(call("table", run, "--format", "json", "--top", 1).stdout)[0]
    assert first["trial"] == best["trial"]
    assert first["best_val_balanced_accuracy"] == best["best_val_balanced_accuracy"]
    printed = call("best", run).stdout
    assert f"# Trial {best['trial']} " in printed
    assert 'class_weight = "balanced"' in printed
    assert 'metric = "val_balanced_accuracy"' in printed
    for metric in NEW:
        for row in rows.values():
            of_trial = [r[metric] for r in reports_of(run) if r["trial"] == row["trial"]]
            assert row[f"best_{metric}"] == max(of_trial)
            assert row[f"last_{metric}"] == of_trial[-1]


def two_trials(metric: Any) -> list[dict[str, Any]]:
    """Reports of two trials: trial 0 is better by the metric, and trial 1 by all others."""
    better, worse = (0.2, 0.9) if metric == "val_loss" else (0.9, 0.2)
    others = {name: 0.9 if name == "val_loss" else 0.1 for name in METRICS}
    opposite = {name: 0.1 if name == "val_loss" else 0.9 for name in METRICS}
    shared = {"epoch": 1.0, "status": "done"}
    return [
        shared | others | {"trial": 0, metric: better},
        shared | opposite | {"trial": 1, metric: worse},
    ]


@pytest.mark.parametrize("metric", METRICS)
def test_each_metric_decides_everywhere_which_trial_is_better(metric: Any) -> None:
    good, bad = two_trials(metric)
    tuning = Tuning(metric=metric, patience_epochs=1)
    assert [row["trial"] for row in ranking.best_first([bad, good], tuning, prefix="")] == [0, 1]
    rows: list[dict[str, Any]] = [{}, {}]
    for row, first, second in ((rows[0], bad, good), (rows[1], good, bad)):
        tables.note_score(row, first | {"epoch": 1.0})
        tables.note_score(row, second | {"epoch": 2.0})
    assert [row[f"best_{metric}"] for row in rows] == [good[metric]] * 2
    assert [row[f"best_{metric}_epoch"] for row in rows] == [2.0, 1.0]
    improvement = Improvement(tuning, [good, bad | {"epoch": 2.0}])
    assert improvement.best is good
    assert improvement.ended
    study = made_runs.study_of(tuning={"metric": metric})
    asha = Asha(study)
    for number in range(2, 5):
        asha.note(number, good)
    assert asha.note(1, bad)
    assert asha.stops(1, bad)
    assert asha.note(0, good)
    assert not asha.stops(0, good)
    assert metric in NAMES
    assert JOINED[f"best_{metric}"][0] == f"best_{metric}_epoch"


@pytest.mark.parametrize("metric", METRICS)
def test_pages_tables_and_comparisons_take_each_metric(
    metric: Any, call: Job, tmp_path: Path
) -> None:
    study = made_runs.study_of(CHOICE, tuning={"metric": metric}, budget={"trials": 4})
    rows, reports = made_runs.trials(study, ["done", "done", "pruned", "failed"])
    for row in rows:
        for report in (report for report in reports if report["trial"] == row["trial"]):
            report |= dict.fromkeys(NEW, report["val_accuracy"] / (2 + row["trial"]))
            tables.note_score(row, report)
    runs = [made_runs.write(tmp_path / name, study, rows, reports).place for name in ("one", "two")]
    best = ranking.best(rows, study.tuning)
    assert best
    table = call("table", runs[0], "--format", "json")
    assert json.loads(table.stdout)[0][f"best_{metric}"] == best[f"best_{metric}"]
    page = call("report", runs[0], "--out", tmp_path / "page.html")
    assert page.returncode == 0, page.stderr
    assert NAMES[metric] in (tmp_path / "page.html").read_text()
    compared = call("compare", *runs)
    assert compared.returncode == 0, compared.stderr
    assert f"best {metric}" in compared.stdout
    if metric != "val_accuracy":
        assert f"{best[f'best_{metric}']:.4f}" in compared.stdout


def older(place: Path) -> RunFolder:
    """Write a run as it was before: without the latest columns and the field class_weight."""
    study = made_runs.study_of(budget={"trials": 4})
    rows, reports = made_runs.trials(study, ["done", "done", "pruned", "diverged"])
    run = made_runs.write(place, study, rows, reports)
    for file in (run.trials.place, run.epochs.place):
        table = pq.read_table(file)
        kept = [n for n in table.column_names if n not in {*LATEST_COLUMNS, *PATH, *NEWEST}]
        pq.write_table(table.select(kept), file)
    document = json.loads(Path(run.study.place).read_text())
    for section in (document["study"]["net"], document["study"]["training"]):
        for name in {"class_weight", *NEWEST} & section.keys():
            del section[name]
    Path(run.study.place).write_text(json.dumps(document))
    return run


def test_older_runs_are_read_by_every_command(call: Job, tmp_path: Path) -> None:
    run = older(tmp_path / "run")
    rows = tables.read(run.trials)
    assert {row["class_weight"] for row in rows} == {"none"}
    default = recorded.config(recorded.read_study_json(run)["study"], rows[0]).hyperparameters()
    for name in NEWEST:
        assert {row[name] for row in rows} == {default[name]}
    assert {(row["steps_per_block"], row["tiles"]) for row in rows} == {(0, False)}
    assert {row[f"{p}_{metric}"] for row in rows for p in ("best", "last") for metric in NEW} == {
        None
    }
    assert {report[metric] for report in tables.read(run.epochs) for metric in NEW} == {None}
    study = recorded.read_study_json(run)["study"]
    assert recorded.config(study, rows[0]).training.class_weight == "none"
    for command, *arguments in (
        ("table", "--columns", "trial,class_weight,best_val_auc"),
        ("best",),
        ("report", "--out", tmp_path / "page.html"),
        ("export-study", "--to-optuna", f"sqlite:///{tmp_path}/optuna.db"),
    ):
        done = call(command, run.place, *arguments)
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout
    made_runs.write(tmp_path / "now", made_runs.study_of(), *made_runs.trials(
        made_runs.study_of(), ["done"]))  # fmt: skip
    assert call("compare", run.place, tmp_path / "now").returncode == 0


def test_a_confirmation_shows_the_metric_of_the_test_part(tmp_path: Path) -> None:
    nets = [
        dict.fromkeys(confirm.KIND.schema.names)
        | {"look": 1, "net": seed, "trial": 4, "seed": seed, "status": "done", "chosen": True}
        | {"val_auc": 0.9, "test_accuracy": 0.8, "test_loss": 0.5, "test_auc": auc}
        for seed, auc in enumerate((0.7, 0.8))
    ]
    found = confirm.summary(nets, Tuning(metric="val_auc"), {})
    assert found
    assert "test_auc of trial 4: mean 0.7500, deviation 0.0707" in found.lines()
    run = RunFolder.at(tmp_path)
    table = pa.Table.from_pylist(nets, schema=confirm.KIND.schema)
    kept = [name for name in table.column_names if name not in LATEST_COLUMNS]
    pq.write_table(table.select(kept), run.confirm.place)  # as earlier versions wrote it
    older = confirm.summary(confirm.read(run), Tuning(), {})
    assert older
    assert older.test_metric
    assert not any("test_auc" in line for line in older.lines())


def test_a_table_with_only_some_of_the_latest_columns_is_refused(tmp_path: Path) -> None:
    run = older(tmp_path / "run")
    table = pq.read_table(run.trials.place)
    pq.write_table(table.append_column("best_val_auc", table["best_val_loss"]), run.trials.place)
    with pytest.raises(InputError, match=r"needs a column "):
        tables.read(run.trials)
    changed = older(tmp_path / "other")
    table = pq.read_table(changed.epochs.place).drop_columns(["val_loss"])
    pq.write_table(table, changed.epochs.place)
    with pytest.raises(InputError, match=r"needs a column 'val_loss'"):
        tables.read(changed.epochs)


def test_auc_cannot_be_the_metric_if_the_validation_part_lacks_a_class(
    call: Job, tmp_path: Path
) -> None:
    x, y = np.random.default_rng(0).normal(size=(90, 3)), np.arange(90) % 3
    parts = {"x_train": x, "y_train": y, "x_val": x[:9], "y_val": y[:9] % 2}
    savez(tmp_path / "own.npz", **parts, x_test=x, y_test=y)
    for command, *more in (("train",), ("tune", "digits", "--scheduler", "none")):
        refused = call(command, *more, "--dataset", tmp_path / "own.npz", "--metric", "val_auc")
        assert refused.returncode == 2
        assert "Given: a part without '2'" in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
