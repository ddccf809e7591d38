"""learn_from: a study learns from the trials of an earlier run, whose space may differ."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ffnet.data.dataset import DataSet
from ffnet.data.load import load
from ffnet.errors import InputError
from ffnet.run import learnt, provenance, storage, tables
from ffnet.run.begin import begin
from ffnet.run.folder import RunFolder
from ffnet.run.past import Past
from ffnet.spec.base import Values
from ffnet.spec.sections import Data
from ffnet.spec.study import Study
from ffnet.spec.validation import validated
from ffnet.tuning.search import StudySearch, sample

SPACE = {
    "learning_rate": {"uniform": [0.01, 1.0]},
    "weight_decay": {"uniform": [0.0, 0.5]},
    "batch_size": {"choice": [16, 32]},
}


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(Data())


def study(search: str, learn_from: Path | None = None, **sections: Any) -> Study:
    tuning = {"search": search} | ({"learn_from": str(learn_from)} if learn_from else {})
    tuning |= sections.pop("tuning", {})
    budget = {"epochs": 8, "trials": 40}
    return validated(Study, {"space": SPACE, "budget": budget, "tuning": tuning} | sections, "test")


def made(place: Path, of: Study, data: DataSet, *changed: Values) -> Path:
    """Write a run whose trials are the better, the nearer their rate is to 0.8."""
    folder = RunFolder.at(place)
    folder.begin()
    storage.write_json(folder.study, provenance.new_study_json(of.resolved(), data, 1))
    rows = []
    for number in range(of.trials):
        config = sample(of, number)
        figure = 1 - abs(config.training.learning_rate - 0.8)
        row = {"trial": number, "status": "done", "seed": config.seed, "epochs": 8.0}
        row |= config.hyperparameters() | {"best_val_accuracy": figure, "best_val_loss": 1 - figure}
        rows.append(row | (changed[number] if number < len(changed) else {}))
    tables.write(folder.trials, rows, tables.TRIALS)
    return place


def rates(of: Study, past: Past, count: int = 12) -> list[float]:
    """Return the rates of the study's first trials, none of which has ended."""
    search = StudySearch(of, past)
    suggested = [search.suggest(str(n)) for n in range(count)]
    return [s["trial"]["training"]["learning_rate"] for s in suggested if isinstance(s, dict)]


@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss"])
@pytest.mark.parametrize("search", ["tpe", "cmaes"])
def test_the_first_trials_are_where_the_earlier_run_was_good(
    search: str, metric: str, digits: DataSet, tmp_path: Path
) -> None:
    run = made(tmp_path / "run", study("random"), digits)
    of = study(search, run, tuning={"metric": metric})
    past = begin(RunFolder.at(tmp_path / "new"), of, digits)
    assert past.notes == [f"learns from 40 of the 40 trials of {run}"]
    near = np.median(np.abs(np.array(rates(of, past)) - 0.8))
    far = np.median(np.abs(np.array(rates(study(search), Past())) - 0.8))
    assert near < 0.15
    assert near < 0.8 * far


@pytest.mark.parametrize("search", ["tpe", "cmaes"])
def test_a_study_that_is_resumed_learns_the_same_when_the_earlier_run_has_gone(
    search: str, digits: DataSet, tmp_path: Path
) -> None:
    run = made(tmp_path / "run", study("random"), digits)
    of, folder = study(search, run), RunFolder.at(tmp_path / "new")
    before = rates(of, begin(folder, of, digits))
    shutil.rmtree(run)
    again = begin(folder, of, digits, resume=True)
    assert rates(of, again) == before
    assert json.loads((tmp_path / "new" / "study.json").read_text())["learnt"] == [
        f"learns from 40 of the 40 trials of {run}"
    ]
    (tmp_path / "new" / "learnt.parquet").unlink()
    with pytest.raises(InputError, match=r"learnt.parquet: it is missing.*--out"):
        begin(folder, of, digits, resume=True)


def test_trials_that_the_space_does_not_offer_are_left_out_and_counted(
    digits: DataSet, tmp_path: Path
) -> None:
    changed: list[Values] = [
        {"status": "failed"},
        {"status": "running"},
        {"parent": 7},
        {"best_val_accuracy": None},
        {"status": "diverged", "best_val_accuracy": None},  # which is learnt
        {"batch_size": 64},
        {"learning_rate": 2.0},
        {"activation": "tanh"},
    ]
    run = made(tmp_path / "run", study("random"), digits, *changed)
    past = begin(RunFolder.at(tmp_path / "new"), study("tpe", run), digits)
    (line,) = past.notes
    assert line == (
        f"learns from 33 of the 40 trials of {run}; left out: 2 failed or had not ended; 1 took "
        "over weights of another trial (pbt); 1 had no val_accuracy; 3 had values that this study "
        "does not draw; trial 5: [space] does not offer batch_size = 64; choices: 16, 32"
    )
    assert sorted(row["trial"] for row in past.learnt) == [4, *range(8, 40)]


def test_a_space_may_have_more_or_fewer_fields_than_that_of_the_earlier_run(
    digits: DataSet, tmp_path: Path
) -> None:
    run = made(tmp_path / "run", study("random"), digits)
    fewer = {name: SPACE[name] for name in ("learning_rate", "weight_decay")}
    of = study("tpe", run, space=fewer, training={"batch_size": 16})
    past = begin(RunFolder.at(tmp_path / "fewer"), of, digits)
    sixteen = [n for n in range(40) if sample(study("random"), n).training.batch_size == 16]
    assert [row["trial"] for row in past.learnt] == sixteen
    assert "batch_size is 16 in this study. Given: 32" in past.notes[0]
    more = SPACE | {
        "optimizer": {"choice": ["sgd", "adam"]},
        "momentum": {"choice": [None, 0.9], "when": {"optimizer": "sgd"}},
    }
    of = study("tpe", run, space=more)
    past = begin(RunFolder.at(tmp_path / "more"), of, digits)
    assert past.notes == [f"learns from 40 of the 40 trials of {run}"]  # sgd without momentum
    rates(of, past)
    more["momentum"] = {"uniform": [0.5, 0.9], "when": {"optimizer": "sgd"}}
    with pytest.raises(InputError, match=r"none of its 40 trials can be learnt.*momentum = None"):
        begin(RunFolder.at(tmp_path / "lacking"), study("tpe", run, space=more), digits)
    assert not (tmp_path / "lacking").exists()


def test_other_data_and_more_epochs_are_noted_and_shorter_trials_count_as_pruned(
    digits: DataSet, tmp_path: Path
) -> None:
    run = made(tmp_path / "run", study("random"), digits)
    longer = study("tpe", run, budget={"epochs": 20, "trials": 4})
    past = begin(RunFolder.at(tmp_path / "longer"), longer, digits)
    assert {row["status"] for _, row in learnt.trials(longer, past.learnt)} == {"pruned"}
    shorter = study("tpe", run, budget={"epochs": 4, "trials": 4})
    document = json.loads((run / "study.json").read_text())
    document["data"]["sha256"] = "0" * 64
    (run / "study.json").write_text(json.dumps(document))
    past = begin(RunFolder.at(tmp_path / "shorter"), shorter, digits)
    assert {row["status"] for _, row in learnt.trials(shorter, past.learnt)} == {"done"}
    _, of_data, of_epochs = past.notes
    assert of_data == f"note: the data of {run} are other data than this study's"
    assert "trained up to 8 epochs and those of this study train 4" in of_epochs


@pytest.mark.parametrize("search", ["tpe", "cmaes"])
@pytest.mark.parametrize("trials", [1, 2, 3, 49])
def test_a_run_of_any_size_can_be_learnt(
    search: str, trials: int, digits: DataSet, tmp_path: Path
) -> None:
    budget = {"epochs": 8, "trials": trials}
    run = made(tmp_path / "run", study("random", budget=budget), digits)
    of = study(search, run)
    assert len(set(rates(of, begin(RunFolder.at(tmp_path / "new"), of, digits)))) == 12


def test_what_is_no_run_and_what_does_not_learn_is_refused(digits: DataSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a run"):
        begin(RunFolder.at(tmp_path / "new"), study("tpe", tmp_path / "nothing"), digits)
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match="learn_from has an effect only with search tpe or gp"):
        study("random", tmp_path / "nothing")


def test_a_study_goes_on_if_its_path_of_the_earlier_run_starts_elsewhere(
    digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made(tmp_path / "runs" / "a", study("random"), digits)
    monkeypatch.chdir(tmp_path)
    folder = RunFolder.at(tmp_path / "new")
    first = begin(folder, study("tpe", Path("runs/a")), digits)
    shutil.rmtree(run)
    for same in (run, Path("../elsewhere/../runs/a"), Path("a")):  # `ffnet submit` gives the first
        again = begin(folder, study("tpe", same), digits, resume=True)
        assert len(again.learnt) == len(first.learnt) == 40
    for other in (None, tmp_path / "runs" / "b", Path("other/a"), Path("..")):
        with pytest.raises(InputError, match=r"tuning\.learn_from is 'runs/a' there"):
            begin(folder, study("tpe", other), digits, resume=True)
