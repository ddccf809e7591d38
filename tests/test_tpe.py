"""Searches that learn: what they are told, and that a break does not change what they suggest."""

import random
from importlib.util import find_spec
from typing import Any

import pytest
from optuna.trial import TrialState

from ffnet.errors import InputError
from ffnet.run.past import Past
from ffnet.run.tables import Row
from ffnet.spec.drawn import refuse_other
from ffnet.spec.study import Study
from ffnet.spec.trial import TrialConfig
from ffnet.spec.validation import validated
from ffnet.tuning.samplers import Sampler, _point
from ffnet.tuning.search import StudySearch

SPACE = {
    "optimizer": {"choice": ["sgd", "adam"]},
    "momentum": {"choice": [None, 0.5, 0.9], "when": {"optimizer": "sgd"}},
    "hidden_sizes": {"choice": [4, [4, 8], [4, 4]]},
    "dropout": {"choice": [0.2, [0.2], [0.2, 0.4]], "when": {"hidden_sizes": [[4, 8]]}},
    "batch_norm": {"choice": [True, False]},
    "learning_rate": [
        {"log_uniform": [1e-2, 1.0], "when": {"optimizer": "sgd"}},
        {"log_uniform": [1e-4, 1e-2], "when": {"optimizer": "adam"}},
    ],
}
SPACE["dropout"] = {"choice": [0.2, [0.2, 0.4]], "when": {"hidden_sizes": [[4, 8]]}}


def study(search: str = "tpe", space: Any = SPACE, metric: str = "val_accuracy") -> Study:
    tuning = {"search": search, "metric": metric}
    return validated(Study, {"space": space, "tuning": tuning, "budget": {"trials": 40}}, "test")


def ended(config: TrialConfig) -> Row:
    """Return the row of a trial; its number decides how it ended."""
    decide = random.Random(config.number)
    score = 1 - abs(config.training.learning_rate - 0.3) - 0.1 * (config.training.momentum or 0)
    status = decide.choices(["done", "pruned", "diverged", "failed"], [4, 4, 1, 1])[0]
    values = {k: v for k, v in config.hyperparameters().items() if v is not None}
    lists = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    row = {"trial": config.number, "status": status, "seed": config.seed, **lists}
    epochs = 8.0 if status == "done" else decide.choice([1.0, 3.0])
    figures = {"best_val_accuracy": score, "best_val_loss": 1 - score, "epochs": epochs}
    return row | (figures if status != "failed" else {"epochs": 0.0})


def take(search: StudySearch, trial_id: str) -> TrialConfig:
    suggested = search.suggest(trial_id)
    assert isinstance(suggested, dict)
    return TrialConfig.model_validate(suggested["trial"])


GP = pytest.param(
    "gp",
    marks=[pytest.mark.skipif(not find_spec("torch"), reason="needs torch"), pytest.mark.slow],
)


@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss"])
@pytest.mark.parametrize("kind", ["tpe", "cmaes", GP, "random", "qmc"])
def test_a_search_stopped_anywhere_suggests_what_it_would_have_without_the_break(
    kind: str, metric: str
) -> None:
    of = study(kind, SPACE | {"weight_decay": {"uniform": [0.0, 0.1]}}, metric)
    rows: dict[int, Row] = {}
    whole = StudySearch(of, rows=rows)
    expected = []
    trials = 30 if kind != "gp" else 14  # a suggestion of gp takes seconds
    for n in range(trials):
        config = take(whole, str(n))
        expected.append(config)
        rows[n] = ended(config)
        whole.on_trial_complete(str(n), {})
    assert len({c.training.learning_rate for c in expected}) > 0.8 * trials
    for stopped in (1, 9, 10, 11, 13) if kind == "gp" else (1, 9, 10, 11, 17, 29):
        before = [row for n, row in rows.items() if n < stopped]
        assert take(StudySearch(of, Past(before)), "x") == expected[stopped]
        # The study stopped while the trial ran: this trial comes first, then the next suggestions.
        running = rows[stopped] | {"status": "running", "epochs": 1.0}
        live: dict[int, Row] = {r["trial"]: r for r in [*before, running]}
        again = StudySearch(of, Past(list(live.values())), rows=live)
        assert take(again, "x").hyperparameters() == expected[stopped].hyperparameters()
        live[stopped] = rows[stopped]
        again.on_trial_complete("x", {})
        if stopped < trials - 1:
            assert take(again, "y") == expected[stopped + 1]


def test_with_several_trials_at_a_time_nothing_is_suggested_twice_after_a_break() -> None:
    of = study()
    rows: dict[int, Row] = {}
    search = StudySearch(of, rows=rows)
    begun = [take(search, str(n)) for n in range(20)]
    for config in begun[:16]:
        rows[config.number] = ended(config)
        search.on_trial_complete(str(config.number), {})
    for config in begun[16:]:
        rows[config.number] = ended(config) | {"status": "running"}
    again = StudySearch(of, Past(list(rows.values())))
    later = [take(again, f"again{n}") for n in range(24)]
    assert [c.number for c in later] == [16, 17, 18, 19, *range(20, 40)]
    rates = [c.training.learning_rate for c in [*begun[:16], *later]]
    assert len(set(rates)) == 40


@pytest.mark.parametrize(
    ("name", "choices", "others"),
    [
        ("hidden_sizes", [4, [4, 8], [8, 4], [], [4, 4]], {}),
        ("dropout", [0.2, [0.2, 0.4], [0.4, 0.2]], {"hidden_sizes": [4, 8]}),
        ("momentum", [None, 0.5, 0.9], {}),
        ("batch_norm", [False, True], {}),
        ("warmup_epochs", [0, 1, 1.5], {}),
        ("batch_size", [64, 8, 1], {}),
        ("activation", ["relu", "tanh"], {}),
        ("weight_decay", [0, 1, 0.1], {}),
    ],
)
def test_every_choice_is_told_to_the_sampler_as_itself(
    name: str, choices: list[Any], others: dict[str, Any]
) -> None:
    space = {name: {"choice": choices}, "learning_rate": {"uniform": [0.1, 0.2]}, **others}
    of = study(space=space)
    for position, choice in enumerate(choices):
        config = of.trial_config(0, {"learning_rate": 0.15, **others, name: choice}, 0)
        params, _ = _point(of, config)
        assert params == {name: position, "learning_rate": 0.15}
        recorded = ended(config)
        search = StudySearch(of, Past([recorded]))  # read back from the tables
        assert isinstance(search._learner, Sampler)
        assert search._learner._points[0][0] == params


def test_layers_are_told_one_by_one_and_conditions_hold_as_they_did() -> None:
    space = {
        "hidden_sizes": {"each": {"choice": [8, 4]}, "depth": {"integer": [1, 3]}},
        "dropout": {"uniform": [0.0, 0.5]},
        "weight_decay": {"choice": [0.1, 0.2], "when": {"hidden_sizes": [[4, 8]]}},
    }
    of = study(space=space)
    drawn = {"hidden_sizes": [4, 8], "dropout": 0.25, "weight_decay": 0.2}
    params, _ = _point(of, of.trial_config(0, drawn, 0))
    assert params == {
        "hidden_sizes.depth": 2, "hidden_sizes.1": 1, "hidden_sizes.2": 0,
        "dropout": 0.25, "weight_decay": 1,
    }  # fmt: skip


def test_a_width_of_all_layers_is_told_once_and_unequal_widths_are_not_of_the_study() -> None:
    sizes = {"repeat": {"choice": [8, 4]}, "depth": {"integer": [0, 3]}}
    of = study(space={"hidden_sizes": sizes})
    equal, unequal, none = (
        of.trial_config(0, {"hidden_sizes": each}, 0) for each in ([4, 4], [4, 8], [])
    )
    assert _point(of, equal)[0] == {"hidden_sizes.depth": 2, "hidden_sizes.1": 1}
    assert _point(of, none)[0] == {"hidden_sizes.depth": 0}
    with pytest.raises(InputError, match=r"hidden_sizes is .4, 4. in this study. Given: .4, 8."):
        refuse_other(of, unequal)


def test_what_tpe_is_told_follows_from_the_row_alone() -> None:
    of = study(space={"learning_rate": {"uniform": [0.1, 0.2]}})
    config = of.trial_config(0, {"learning_rate": 0.15}, 0)
    tpe, point = Sampler(of), _point(of, config)

    def told(status: str, **figures: float) -> Any:
        return tpe._told(point, {"status": status, "epochs": 2.5, **figures})

    done = told("done", best_val_accuracy=0.9, last_val_accuracy=0.1)
    assert (done.state, done.value) == (TrialState.COMPLETE, 0.9)
    pruned = told("pruned", best_val_accuracy=0.8, last_val_accuracy=0.1)
    assert (pruned.state, pruned.intermediate_values) == (TrialState.PRUNED, {2500: 0.8})
    diverged = told("diverged", best_val_accuracy=0.8)
    assert (diverged.state, diverged.intermediate_values) == (TrialState.PRUNED, {})
    assert told("failed").state == TrialState.FAIL
    for status in ("running", "stopped"):
        assert told(status, best_val_accuracy=0.8).state == TrialState.RUNNING
    assert tpe._told(point, {}).state == TrialState.RUNNING  # handed out, not begun


def test_a_value_outside_the_space_is_named() -> None:
    of = study(space={"batch_size": {"choice": [8, 16]}})
    config = of.trial_config(0, {"batch_size": 32}, 0)
    with pytest.raises(InputError, match=r"trial 0: .*batch_size = 32; choices: 8, 16"):
        StudySearch(of, Past([ended(config)]))
