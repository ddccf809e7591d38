"""A run as an Optuna study: the same trials, values, curves and domains as in the tables."""

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

import made_runs
from ffnet.errors import InputError
from ffnet.report.optuna_study import study_of
from ffnet.run.tables import Status
from made_runs import study_of as study


def test_each_status_has_its_state_and_pruned_trials_keep_their_curves(tmp_path: Path) -> None:
    made = study()
    rows, reports = made_runs.trials(made, [str(status) for status in Status])
    found = study_of(made_runs.write(tmp_path / "run", made, rows, reports))
    assert found.study_name == "run"
    assert found.direction == optuna.study.StudyDirection.MAXIMIZE
    assert [trial.state for trial in found.trials] == [
        TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL,
        TrialState.FAIL, TrialState.PRUNED,
    ]  # fmt: skip
    assert found.user_attrs["step"] == "epoch"
    for trial, row in zip(found.trials, rows, strict=True):
        assert trial.user_attrs["status"] == row["status"]
        assert trial.user_attrs["seed"] == row["seed"]
        assert trial.intermediate_values == {
            round(r["epoch"]): r["val_accuracy"] for r in reports if r["trial"] == trial.number
        }
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            assert trial.value == row["best_val_accuracy"]


def test_conditional_fields_are_absent_where_they_were_not_drawn(tmp_path: Path) -> None:
    made = study()
    rows, reports = made_runs.trials(made, ["done"] * 20)
    found = study_of(made_runs.write(tmp_path / "run", made, rows, reports))
    assert {row["optimizer"] for row in rows} == {"sgd", "adam"}
    for trial, row in zip(found.trials, rows, strict=True):
        expected = {"hidden_sizes.depth": len(row["hidden_sizes"])}
        expected |= {f"hidden_sizes.{i}": n for i, n in enumerate(row["hidden_sizes"], 1)}
        expected |= {name: row[name] for name in ("optimizer", "learning_rate")}
        expected |= {"momentum": row["momentum"]} if row["optimizer"] == "sgd" else {}
        assert trial.params == expected
    spaces = {name: d for trial in found.trials for name, d in trial.distributions.items()}
    assert spaces["hidden_sizes.2"] == IntDistribution(16, 64, log=True)
    assert spaces["hidden_sizes.depth"] == IntDistribution(1, 3)
    assert spaces["optimizer"] == CategoricalDistribution(["sgd", "adam"])
    assert spaces["learning_rate"] == FloatDistribution(1e-4, 1.0, log=True)  # both alternatives


@pytest.mark.parametrize(
    ("domains", "names"),
    [
        ([{"log_uniform": [1e-2, 1.0]}, {"uniform": [1e-4, 1e-2]}], {"/0", "/1"}),
        ([{"log_uniform": [1e-2, 1.0]}, {"choice": [0.1, 0.5]}], {"/0", "/1"}),
        ([{"choice": [0.5, 0.1]}, {"choice": [0.1, 0.2]}], {""}),
        ([{"uniform": [0.1, 1.0]}, {"fixed": 0.2}], {""}),
    ],
)
def test_alternatives_are_one_parameter_only_if_they_are_of_one_kind(
    tmp_path: Path, domains: list[dict[str, Any]], names: set[str]
) -> None:
    when = ({"optimizer": "sgd"}, {"optimizer": "adam"})
    pairs = zip(domains, when, strict=True)
    rates = [domain | {"when": condition} for domain, condition in pairs]
    made = study({"optimizer": {"choice": ["sgd", "adam"]}, "learning_rate": rates})
    found = study_of(made_runs.write(tmp_path / "run", made, *made_runs.trials(made, ["done"] * 9)))
    params = {name for trial in found.trials for name in trial.params}
    assert params == {"optimizer", *(f"learning_rate{end}" for end in names)}


def test_choices_among_lists_are_texts(tmp_path: Path) -> None:
    space = {"hidden_sizes": {"choice": [[], 64, [64, 32]]}, "dropout": {"choice": [0.0]}}
    made = study(space, tuning={"search": "grid"}, net={"batch_norm": False})
    found = study_of(made_runs.write(tmp_path / "run", made, *made_runs.trials(made, ["done"] * 3)))
    assert [trial.params["hidden_sizes"] for trial in found.trials] == ["none", "64", "64-32"]


def test_the_loss_is_minimised_and_diverged_reports_leave_no_value(tmp_path: Path) -> None:
    made = study(tuning={"metric": "val_loss"})
    rows, reports = made_runs.trials(made, ["diverged", "done"])
    lost = [r for r in reports if r["trial"] == 0][-1]
    lost |= {"val_accuracy": None, "val_loss": None, "epoch": 9.5}
    found = study_of(made_runs.write(tmp_path / "run", made, rows, reports))
    assert found.direction == optuna.study.StudyDirection.MINIMIZE
    assert found.user_attrs["step"] == "epoch / 1000"
    assert 9500 not in found.trials[0].intermediate_values
    assert found.best_trial.value == rows[1]["best_val_loss"]
    assert math.isfinite(found.best_trial.intermediate_values[10_000])


def test_trials_that_have_not_begun_wait_so_that_numbers_stay(tmp_path: Path) -> None:
    made = study()
    rows, reports = made_runs.trials(made, ["done"] * 4)
    rows = [rows[3], rows[0]]
    reports = [r for r in reports if r["trial"] in (0, 3)]
    found = study_of(made_runs.write(tmp_path / "run", made, rows, reports))
    states = [TrialState.COMPLETE, TrialState.WAITING, TrialState.WAITING, TrialState.COMPLETE]
    assert [trial.state for trial in found.trials] == states
    assert found.trials[3].value == rows[0]["best_val_accuracy"]


def test_a_number_far_beyond_the_rows_is_refused(tmp_path: Path) -> None:
    made = study()
    row, reports = made_runs.trial(made, 2_000_000, "done", [0.5])
    run = made_runs.write(tmp_path / "run", made, [row], reports)
    with pytest.raises(InputError, match=r"nearly all trials.* Given: 1 rows, and trial 2000000"):
        study_of(run)


def test_an_empty_run_is_an_empty_study(tmp_path: Path) -> None:
    assert study_of(made_runs.write(tmp_path / "run", study(), [], [])).trials == []


def test_a_value_that_pbt_moved_out_of_its_condition_leaves_no_parameters(tmp_path: Path) -> None:
    made = study()
    row, reports = made_runs.trial(made, 0, "done", [0.5])
    row["learning_rate"] = 5.0
    found = study_of(made_runs.write(tmp_path / "run", made, [row], reports))
    assert found.trials[0].params == {}
    assert found.trials[0].user_attrs["learning_rate"] == 5.0
