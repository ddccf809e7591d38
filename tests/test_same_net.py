"""Table, export and `run.load` mean the same net: the best epoch of the best trial."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ffnet
from conftest import Job, reports_of, rows_of
from ffnet.data.load import load_raw
from ffnet.export.card import choose
from ffnet.run import recorded
from ffnet.run.folder import RunFolder
from ffnet.spec.sections import Data

STUDY = """
[training]
batch_size = 16
[net]
hidden_sizes = 24
dropout = 0.3
[space]
learning_rate = { log_uniform = [0.1, 2.0] }
[tuning]
SCHEDULER
[budget]
trials = 6
epochs = 9
keep_checkpoints = 1
"""
"""High rates make the accuracy rise and fall, so that the best epoch is not the last one."""

SCHEDULERS = {
    "asha": 'scheduler = "asha"\nsearch = "tpe"\nmetric = "val_loss"',
    "pbt": 'scheduler = "pbt"\nperturbation_epochs = 2',
    "hyperband": 'scheduler = "hyperband"',
    "extended": 'scheduler = "none"\npatience_epochs = 3',
}


def assert_the_same_net(run: str | Path, call: Job, out: Path) -> None:
    """Compare the first row of `ffnet table` with the exported SavedModel, and with run.load()."""
    import tensorflow as tf

    from ffnet.export.export import export

    shown = call("table", run, "--top", 1, "--format", "json")
    assert shown.returncode == 0, shown.stderr
    (first,) = json.loads(shown.stdout)
    study = recorded.read_study_json(RunFolder.at(run))["study"]
    metric = study.get("tuning", {}).get("metric", "val_accuracy")
    data, part = load_raw(Data.model_validate(study["data"]))

    choice = choose(RunFolder.at(run), None)
    card = export(choice, out)
    assert choice.note == ""
    assert (card["trial"], card[metric]) == (first["trial"], first[f"best_{metric}"])
    assert card["epochs"] == first[f"best_{metric}_epoch"]

    model = tf.saved_model.load(str(out / "1")).signatures["serving_default"]
    (inputs,) = card["signature"]["inputs"].items()
    x = part.x.astype(inputs[1]["dtype"])
    given = model(**{inputs[0]: tf.constant(x)})
    right = given["class"].numpy().astype(str) == np.array(data.classes)[part.y]
    assert right.mean() == card["val_accuracy"] == card["measured_again"]["val_accuracy"]
    if metric == "val_accuracy":
        assert right.mean() == first["best_val_accuracy"]

    net = ffnet.Run(run).load()
    assert net.trial == first["trial"]
    assert (net.probabilities(x) == given["probabilities"].numpy()).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["asha", "pbt", "hyperband", "extended"])
def test_the_exported_net_is_the_first_of_the_table(
    kind: str, tune: Job, call: Job, tmp_path: Path
) -> None:
    path, out = tmp_path / "study.toml", tmp_path / "run"
    path.write_text(STUDY.replace("SCHEDULER", SCHEDULERS[kind]))
    one = ("--cpus", 2)  # all of the shared Ray, so that one worker trains all trials
    done = tune(path, "--out", out, *one)
    assert done.returncode == 0, done.stderr
    if kind == "extended":
        early = {r["trial"]: r["epochs"] for r in rows_of(out) if r["reason"]}
        assert {r["status"] for r in rows_of(out)} == {"done"}
        assert {r["reason"] for r in rows_of(out)} == {None, "no better for 3 epochs"}
        done = tune(path, "--out", out, *one, "--resume", "--trials", 8, "--epochs", 30)
        assert done.returncode == 0, done.stderr
        after = {r["trial"]: r["epochs"] for r in rows_of(out)}
        assert early.items() <= after.items()  # they stay as they are
        assert all(after[n] > 9 for n in set(range(6)) - early.keys())
    kept = {path.name.removesuffix(".npy")[:5] for path in (out / "checkpoints").iterdir()}
    assert len(kept) == 1
    assert_the_same_net(out, call, tmp_path / "model")


def test_one_net_ends_when_it_is_no_better_and_is_exported_at_its_best(
    call: Job, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    fields: Any = {"hidden_sizes": 16, "learning_rate": 1.5, "batch_size": 16, "epochs": 60}
    ffnet.train(out=out, patience_epochs=2, **fields)
    (row,) = rows_of(out)
    assert (row["status"], row["reason"]) == ("done", "no better for 2 epochs")
    assert row["epochs"] == row["best_val_accuracy_epoch"] + 2 < 60
    assert row["epochs"] == max(report["epoch"] for report in reports_of(out))
    assert_the_same_net(out, call, tmp_path / "model")
