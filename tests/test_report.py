"""The page of a run: its numbers, its warnings, its safety, and the figures for papers."""

import base64
import io
import json
import math
import re
import warnings
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import matplotlib.pyplot as plt
import numpy as np
import optuna
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

import ffnet
import made_runs
from conftest import Job
from ffnet.api.best_net import looked_at
from ffnet.errors import InputError
from ffnet.report.optuna_study import study_of
from ffnet.report.page import advice, charts, page, papers, rungs, views, words
from ffnet.report.page.facts import Facts
from ffnet.report.page.headline import headline
from ffnet.report.page.net import Answers, figures_of, part_of
from ffnet.report.page.sure import error_of_difference
from ffnet.run import confirm, tables
from ffnet.run.folder import RunFolder
from ffnet.run.sessions import Session
from ffnet.spec.study import OneNet
from pages import Parsed

FIGURES = (
    "history", "curves", "rungs", "importance", "slice", "parallel", "contour", "rank", "edf",
    "timeline",
)  # fmt: skip
MIXED = ["done"] * 6 + ["pruned"] * 9 + ["diverged"] * 2 + ["failed", "stopped", "running"]


SOUND = pa.array(["done", "pruned", "stopped", "running"])
"""The statuses of trials whose figures count."""


def written(run: RunFolder) -> Parsed:
    path = Path(run.place) / "report.html"
    page.write(page.page_of(run), path)
    return Parsed(path)


def made(place: Path, statuses: list[str], **sections: Any) -> RunFolder:
    study = made_runs.study_of(**sections)
    return made_runs.write(place, study, *made_runs.trials(study, statuses))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return made(tmp_path_factory.mktemp("runs") / "mixed", MIXED)


@pytest.fixture(scope="module")
def seen(mixed: RunFolder) -> Parsed:
    return written(mixed)


def advised(run: RunFolder) -> dict[str, str]:
    """Key of a warning → its title and text."""
    found = advice.advice(Facts.read(run), study_of(run))
    return {one.key: f"{one.title}. {one.text}" for one in found}


# --- numbers -------------------------------------------------------------------------------------


def test_the_table_is_trials_parquet_with_the_best_trial_first(
    mixed: RunFolder, seen: Parsed
) -> None:
    table = pq.read_table(mixed.trials.place)
    columns, rows = seen.data["table"]["columns"], seen.data["table"]["rows"]
    by_trial = {row["trial"]: row for row in table.to_pylist()}
    assert len(rows) == table.num_rows == len(MIXED)
    for row in rows:
        assert row == [by_trial[row[0]][name] for name in columns]
    sound = table.filter(pc.is_in(table["status"], SOUND))
    best = sound.sort_by([("best_val_accuracy", "descending"), ("trial", "ascending")])
    assert rows[0][0] == seen.data["best"] == best["trial"][0].as_py()


def test_the_tiles_and_the_headline_are_sums_and_counts_of_the_tables(
    mixed: RunFolder, seen: Parsed
) -> None:
    trials, epochs = (pq.read_table(file.place) for file in (mixed.trials, mixed.epochs))
    sound = trials.filter(pc.is_in(trials["status"], SOUND))
    best = sound.sort_by([("best_val_accuracy", "descending")]).slice(0, 1).to_pylist()[0]
    text = seen.words()
    trained = pc.sum(trials["train_seconds"]).as_py()
    last = max(pc.max(trials["ended_at"]).as_py(), pc.max(epochs["reported_at"]).as_py())
    wall = (last - pc.min(trials["started_at"]).as_py()).total_seconds()
    for name, figure in (
        ("best validation accuracy", f"{best['best_val_accuracy']:.4f}"),
        ("trials", f"{trials.num_rows}"),
        ("epochs trained", f"{pc.sum(trials['epochs']).as_py():,.4g}"),
        ("of training", words.duration(trained)),
        ("from start to end", words.duration(wall)),
    ):
        assert f"{figure} {name}" in text
    counts = Counter(trials["status"].to_pylist())
    assert f"{counts['done']} done, {counts['pruned']} pruned" in text
    assert f"Trial {best['trial']} with validation accuracy {best['best_val_accuracy']:.4f}" in text
    assert f"after {best['best_val_accuracy_epoch']:.4g} of 10 epochs" in text


def in_five_minutes(run: RunFolder) -> RunFolder:
    """Let the tables say that one session wrote them, 30 s of which were the start of Ray."""
    session = Session(
        begun_at=made_runs.BEGAN - timedelta(seconds=30), trials_at=made_runs.BEGAN, slots=2,
        written_at=made_runs.BEGAN + timedelta(seconds=270),
    )  # fmt: skip
    tables.write(run.trials, tables.read(run.trials), tables.TRIALS, [session])
    return run


def test_the_page_of_one_net_says_where_its_core_time_went(tmp_path: Path) -> None:
    run = in_five_minutes(made(tmp_path / "run", ["done"]))
    path = Path(run.study.place)
    document = json.loads(path.read_text())
    alone = OneNet(epochs=10).model_dump(mode="json") | {"data": document["study"]["data"]}
    path.write_text(json.dumps(document | {"study": alone}))
    seen = written(run).words()
    assert "One net" in seen
    assert "of core time was training" in seen


def test_the_time_from_start_to_end_has_the_start_of_ray(tmp_path: Path) -> None:
    seen = written(in_five_minutes(made(tmp_path / "run", ["done", "pruned"]))).words()
    assert "5 min 0 s from start to end" in seen
    assert "2 trials (1 done, 1 pruned) in 5 min 0 s on" in seen


def test_the_points_of_the_figures_are_the_rows_of_the_tables(
    mixed: RunFolder, seen: Parsed
) -> None:
    trials, epochs = (pq.read_table(file.place) for file in (mixed.trials, mixed.epochs))
    sound = trials.filter(pc.is_in(trials["status"], SOUND))
    sound = sound.filter(pc.is_valid(sound["best_val_accuracy"])).to_pylist()
    best = {row["trial"]: row["best_val_accuracy"] for row in sound}
    assert {n: y for n, (_, y) in seen.points("history").items()} == best
    curves = {
        (number, x): y
        for trace in seen.traces("curves")
        if "legendgroup" in trace
        for number, x, y in zip(trace["customdata"], trace["x"], trace["y"], strict=True)
        if x is not None
    }
    reports = epochs.select(["trial", "epoch", "val_accuracy"]).to_pylist()
    assert curves == {(r["trial"], r["epoch"]): r["val_accuracy"] for r in reports}
    rates = {row["trial"]: (row["learning_rate"], best[row["trial"]]) for row in sound}
    slices = {
        (number, x, y)
        for trace in seen.traces("slice")
        for number, x, y in zip(trace["customdata"], trace["x"], trace["y"], strict=True)
    }
    assert {(number, *point) for number, point in rates.items()} <= slices
    shares = seen.traces("edf")[0]
    for x, y in zip(shares["x"], shares["y"], strict=True):
        below = sum(value <= x for value in best.values())
        assert y == pytest.approx(below / len(best))


def test_the_importance_is_what_optuna_says_about_the_same_trials(
    mixed: RunFolder, seen: Parsed
) -> None:
    told = study_of(mixed)
    sound = [t for t in told.trials if t.user_attrs["status"] in SOUND.to_pylist()]
    fresh = optuna.create_study(direction="maximize")
    for trial in sound:
        value = trial.user_attrs["best_val_accuracy"]
        fresh.add_trial(
            optuna.create_trial(value=value, params=trial.params, distributions=trial.distributions)
        )
    expected = optuna.importance.get_param_importances(fresh)
    (bars,) = seen.traces("importance")
    assert dict(zip(bars["y"], bars["x"], strict=True)) == pytest.approx(expected)
    assert max(expected, key=lambda name: expected[name]) == "learning_rate"


def test_evaluators_that_need_scikit_learn_are_shown_and_named_if_they_work(
    mixed: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(optuna.importance.PedAnovaImportanceEvaluator):  # type: ignore[misc]
        def evaluate(self, *_: Any, **__: Any) -> NoReturn:
            raise RuntimeError("encountered zero total variance")

    works = optuna.importance.PedAnovaImportanceEvaluator()
    monkeypatch.setattr(charts, "_forests", lambda: {"fANOVA": works, "impurity": Broken()})
    facts = Facts.read(mixed)
    figure, caption, _ = charts._importance(views.Views(facts, study_of(mixed)))
    assert [trace.name for trace in figure.data] == ["PED-ANOVA", "fANOVA"]
    assert "(PED-ANOVA, fANOVA)" in caption


def test_bars_of_the_timeline_last_from_the_start_to_the_end(
    mixed: RunFolder, seen: Parsed
) -> None:
    rows = {row["trial"]: row for row in pq.read_table(mixed.trials.place).to_pylist()}
    bars = {
        number: ms
        for trace in seen.traces("timeline")
        for number, ms in zip(trace["customdata"], trace["x"], strict=True)
    }
    assert bars.keys() == rows.keys()
    for number, row in rows.items():
        if row["ended_at"]:
            assert bars[number] == (row["ended_at"] - row["started_at"]).total_seconds() * 1000


def test_the_rungs_count_who_reached_them_and_who_was_pruned_there(tmp_path: Path) -> None:
    study = made_runs.study_of({"learning_rate": {"log_uniform": [1e-3, 1.0]}})
    ends = [("pruned", 1)] * 4 + [("pruned", 3)] * 2 + [("done", 10)] * 2 + [("diverged", 2)]
    pairs = [
        made_runs.trial(study, n, status, [0.5 + n / 100] * epochs)
        for n, (status, epochs) in enumerate(ends)
    ]
    run = made_runs.write(
        tmp_path / "run", study, [row for row, _ in pairs], [r for _, rs in pairs for r in rs]
    )
    found = rungs.rungs(Facts.read(run))
    assert [(r.epochs, r.reached, r.pruned, r.other) for r in found] == [
        (1, 9, 4, 0), (3, 4, 2, 1), (10, 2, 0, 0),
    ]  # fmt: skip
    assert [r.best_pruned for r in found] == [0.53, 0.55, None]
    table = pq.read_table(run.trials.place)
    for level in found:
        assert level.reached == pc.sum(pc.greater_equal(table["epochs"], level.epochs)).as_py()
    assert "1 9 4 0 0.5300" in written(run).text


# --- strange runs --------------------------------------------------------------------------------

PBT = {"tuning": {"scheduler": "pbt"}, "space": {"learning_rate": {"log_uniform": [1e-3, 1.0]}}}
GRID = {
    "tuning": {"search": "grid"},
    "space": {"batch_size": {"choice": [16, 32]}, "hidden_sizes": {"choice": [[8], [8, 4]]}},
}


@pytest.mark.parametrize(
    ("statuses", "sections", "drawn"),
    [
        ([], {}, set()),
        (["done"], {}, {"history", "curves", "slice", "parallel", "timeline"}),
        (["running"], {}, {"history", "curves", "slice", "parallel", "timeline"}),
        (["failed"] * 5, {}, {"timeline"}),
        (["diverged"] * 5, {}, {"curves", "timeline"}),
        (["pruned"] * 20, {}, set(FIGURES)),
        (MIXED, {}, set(FIGURES)),
        (MIXED, {"tuning": {"metric": "val_loss"}}, set(FIGURES)),
        (["done"] * 4, GRID, set(FIGURES) - {"rungs"}),
        (["done"] * 8, PBT, set(FIGURES) - {"rungs", "contour", "rank"}),
    ],
)
def test_a_strange_run_has_the_figures_that_it_can_have(
    tmp_path: Path, statuses: list[str], sections: Any, drawn: set[str]
) -> None:
    run = made(tmp_path / "run", statuses, **sections)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = written(run)
    assert set(found.data["figures"]) == drawn
    assert len(found.data["table"]["rows"]) == len(statuses)
    assert "nan" not in found.text.lower().replace("<nan>", "").split()
    for key in drawn:
        assert found.traces(key), key


def test_all_trials_equal_is_no_error(tmp_path: Path) -> None:
    study = made_runs.study_of()
    pairs = [made_runs.trial(study, n, "done", [0.5] * 10) for n in range(6)]
    run = made_runs.write(
        tmp_path / "run", study, [row for row, _ in pairs], [r for _, rs in pairs for r in rs]
    )
    assert written(run).data["best"] == 0


def test_a_run_without_tables_has_a_page(tmp_path: Path) -> None:
    run = made(tmp_path / "run", [])
    for file in (run.trials, run.epochs):
        Path(file.place).unlink()
    assert "no trial has begun" in written(run).text


def test_trials_that_took_over_weights_are_listed_with_their_parents(tmp_path: Path) -> None:
    study = made_runs.study_of(**PBT)
    rows, reports = made_runs.trials(study, ["done"] * 4)
    rows[2]["parent"] = 0
    found = written(made_runs.write(tmp_path / "run", study, rows, reports))
    assert "Last takeovers trial took over from 2 0" in found.text
    assert "parent" in found.data["table"]["columns"]


EVIL = "</script><script>alert('x')</script><img src=x onerror=alert(1)>"


def test_names_with_markup_and_other_letters_are_shown_and_not_run(tmp_path: Path) -> None:
    study = made_runs.study_of(name="Ünïcødé-試驗")
    rows, reports = made_runs.trials(study, ["done"] * 5 + ["failed"])
    rows[5]["reason"] = EVIL
    rows[0]["reason"] = "{{ 7 * 7 }} ` \u202e"
    rows[0]["node"] = rows[1]["node"] = EVIL
    run = made_runs.write(
        tmp_path / "run", study, rows, reports, name=EVIL, description=EVIL, classes=["a", EVIL]
    )
    found = written(run)
    scripts = [attributes for tag, attributes in found.tags if tag == "script"]
    assert len(scripts) == 3  # Plotly, the page's own, and the data
    assert not [tag for tag, attributes in found.tags if tag == "img" or "onerror" in attributes]
    assert "Ünïcødé-試驗" in found.text
    assert EVIL in found.text
    at = found.data["table"]["columns"].index("reason")
    assert EVIL in [row[at] for row in found.data["table"]["rows"]]
    assert "{{ 7 * 7 }} ` \u202e" in [row[at] for row in found.data["table"]["rows"]]


def test_the_page_asks_for_nothing_from_elsewhere(seen: Parsed) -> None:
    policy = next(a["content"] for tag, a in seen.tags if tag == "meta" and "http-equiv" in a)
    assert policy
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    linked = [a.get("src") or a.get("href") or "" for _, a in seen.tags]
    assert {link.partition(":")[0] for link in linked if link} <= {"data", "#main"}


@pytest.mark.slow
def test_ten_thousand_trials_make_a_page_of_at_most_eight_megabytes(tmp_path: Path) -> None:
    study = made_runs.study_of(budget={"trials": 10_000, "epochs": 4})
    statuses = ["done", "pruned", "pruned", "diverged"] * 2500
    run = made_runs.write(tmp_path / "run", study, *made_runs.trials(study, statuses))
    found = written(run)
    assert (tmp_path / "run" / "report.html").stat().st_size < 8e6
    assert set(found.data["figures"]) == set(FIGURES)
    assert len(found.data["table"]["rows"]) == 10_000
    assert "10,000 trials (2,500 done, 5,000 pruned, 2,500 diverged)" in found.text


# --- warnings ------------------------------------------------------------------------------------

RATES = {"learning_rate": {"log_uniform": [1e-3, 1.0]}, "batch_size": {"choice": [16, 32, 64]}}


def with_best(
    place: Path, accuracies: list[float], status: str = "done", **values: Any
) -> RunFolder:
    """A run whose trial 0 has these accuracies, and a second trial that is much worse."""
    study = made_runs.study_of(RATES)
    row, reports = made_runs.trial(study, 0, status, accuracies)
    middle = {"learning_rate": 0.03, "batch_size": 32}
    other, others = made_runs.trial(study, 1, "done", [0.1] * 10)
    return made_runs.write(
        place, study, [row | middle | values, other | middle], [*reports, *others]
    )


RISING = [0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.93, 0.94, 0.95, 0.96]
FALLING = [*RISING[1:], 0.9]
TWO = {"hidden_sizes": [20, 20], "dropout": [0.0, 0.0]}
REPEATED = {"repeat": {"integer": [8, 32]}, "depth": {"integer": [2, 4]}}


def test_a_winner_in_the_middle_that_peaked_before_its_end_is_not_warned_about(
    tmp_path: Path,
) -> None:
    assert advised(with_best(tmp_path / "run", FALLING)) == {}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"learning_rate": 0.99}, r"upper bound of learning_rate.* 0.99.*0.001 to 1.*larger"),
        ({"learning_rate": 0.001}, "lower bound of learning_rate.* 0.001.*smaller"),
        ({"batch_size": 64}, "upper bound of batch_size.* 64.*16 to 64.*larger"),
        ({"batch_size": 16}, "lower bound of batch_size.* 16.*smaller"),
    ],
)
def test_a_winner_on_a_bound_of_the_space_is_warned_about(
    tmp_path: Path, values: Any, said: str
) -> None:
    found = advised(with_best(tmp_path / "run", FALLING, **values))
    assert found.keys() == {"bound"}
    assert re.search(said, found["bound"])


def test_bounds_that_cannot_be_widened_are_not_warned_about(tmp_path: Path) -> None:
    study = made_runs.study_of(
        {"dropout": {"uniform": [0.0, 0.5]}, "hidden_sizes": {"choice": [8, 16]}}
    )
    row, reports = made_runs.trial(study, 0, "done", FALLING)
    row["dropout"] = [0.0]
    run = made_runs.write(tmp_path / "run", study, [row], reports)
    assert "bound" not in advised(run)


@pytest.mark.parametrize(
    ("space", "values", "widened"),
    [
        ({"batch_size": {"integer": [1, 8]}}, {"batch_size": 1}, False),
        ({"batch_size": {"integer": [2, 8]}}, {"batch_size": 2}, True),
        ({"number_embedding_size": {"integer": [2, 8]}}, {"number_embedding_size": 2}, False),
        ({"number_frequencies": {"integer": [1, 8]}}, {"number_frequencies": 1}, False),
        ({"augment_rotate": {"uniform": [0.0, 180.0]}}, {"augment_rotate": 180.0}, False),
        ({"augment_rotate": {"uniform": [0.0, 15.0]}}, {"augment_rotate": 15.0}, True),
        ({"hidden_sizes": REPEATED}, TWO, True),
        ({"hidden_sizes": REPEATED, "residual": True}, TWO, False),
        ({"hidden_sizes": REPEATED, "bottleneck": 4}, TWO, False),
    ],
)
def test_a_bound_is_named_only_if_a_space_may_offer_more(
    tmp_path: Path, space: Any, values: Any, widened: bool
) -> None:
    study = made_runs.study_of(space, net={"number_embedding": "pbld"})
    row, reports = made_runs.trial(study, 0, "done", FALLING)
    run = made_runs.write(tmp_path / "run", study, [row | values], reports)
    assert ("bound" in advised(run)) == widened


@pytest.mark.parametrize(
    ("status", "said"), [("done", "train longer"), ("pruned", "stop trials later"),
                         ("stopped", "Resume the study")],
)  # fmt: skip
def test_a_best_epoch_that_is_the_last_is_warned_about(
    tmp_path: Path, status: str, said: str
) -> None:
    found = advised(with_best(tmp_path / "run", RISING, status))
    assert found.keys() == {"last epoch"}
    assert said in found["last epoch"]


def test_a_training_loss_far_below_the_validation_loss_is_warned_about(tmp_path: Path) -> None:
    run = with_best(tmp_path / "run", FALLING)
    table = pq.read_table(run.epochs.place).to_pylist()
    for report in table:
        report |= {"train_loss": 0.1, "val_loss": 0.5}
    tables.write(run.epochs, table, tables.EPOCHS)
    found = advised(run)
    assert found.keys() == {"overfits"}
    assert "training loss 0.1000 and validation loss 0.5000" in found["overfits"]


def test_the_top_two_are_told_apart_only_beyond_two_standard_errors(tmp_path: Path) -> None:
    study = made_runs.study_of(RATES)
    apart = 2 * error_of_difference(0.9, 0.8, 270)
    for number, (second, tied) in enumerate(
        [(0.9 - 0.9 * apart, True), (0.9 - 1.2 * apart, False)]
    ):
        pairs = [made_runs.trial(study, n, "done", [a, 0.1]) for n, a in enumerate((0.9, second))]
        run = made_runs.write(
            tmp_path / str(number), study, [row for row, _ in pairs],
            [report for _, reports in pairs for report in reports],
        )  # fmt: skip
        assert ("tie" in advised(run)) == tied
        assert ("cannot be told apart" in headline(Facts.read(run))[2].text) == tied


def test_a_confirmation_answers_how_sure_and_replaces_the_warning(tmp_path: Path) -> None:
    study = made_runs.study_of(RATES)
    pairs = [made_runs.trial(study, n, "done", [a, 0.1]) for n, a in enumerate((0.9, 0.895))]
    run = made_runs.write(
        tmp_path / "run", study, [row for row, _ in pairs],
        [report for _, reports in pairs for report in reports],
    )  # fmt: skip
    assert "tie" in advised(run)
    rows = [
        {
            "look": 1, "net": n, "trial": trial, "seed": seed, "status": "done", "best_epoch": 2.0,
            "val_accuracy": 0.9 - 0.2 * trial + seed / 1000, "val_loss": 0.3, "epochs": 10.0,
            "chosen": trial == 0, "test_accuracy": 0.88 + seed / 1000 if trial == 0 else None,
            "test_loss": 0.4 if trial == 0 else None,
        }
        for n, (trial, seed) in enumerate((t, s) for t in (0, 1) for s in (1, 2, 3))
    ]  # fmt: skip
    tables.write(run.confirm, rows, confirm.KIND.schema)
    text = headline(Facts.read(run))[2].text
    assert "Trained again from 3 fresh seeds, trial 0 is the best" in text
    assert "Its test accuracy is 0.8820" in text  # the mean of 0.881, 0.882 and 0.883
    assert "cannot be told apart" not in text
    assert "tie" not in advised(run)
    assert "Chosen by validation: trial 0" in written(run).text


def test_the_standard_error_is_that_of_two_binomials() -> None:
    expected = math.sqrt(0.9 * 0.1 / 900 + 0.8 * 0.2 / 900)
    assert error_of_difference(0.9, 0.8, 900) == pytest.approx(expected, rel=0.02)
    assert error_of_difference(1.0, 1.0, 100) > 0


def test_when_over_half_of_the_trials_diverged_it_says_where(tmp_path: Path) -> None:
    study = made_runs.study_of(RATES)
    rates = [0.5, 0.6, 0.7, 0.8, 0.9, 0.01, 0.02, 0.03]
    rows, reports = made_runs.trials(study, ["diverged"] * 5 + ["done"] * 3)
    for row, rate in zip(rows, rates, strict=True):
        row["learning_rate"] = rate
    found = advised(made_runs.write(tmp_path / "run", study, rows, reports))["diverged"]
    assert "The loss of 5 of 8 ended trials" in found
    assert "With learning_rate 0.5 or more, 5 of 5 diverged; elsewhere 0 of 3." in found


def test_half_of_the_trials_may_diverge_without_a_warning(tmp_path: Path) -> None:
    assert "diverged" not in advised(made(tmp_path / "run", ["done", "diverged"] * 4))


def test_failed_trials_are_warned_about_with_the_first_reason(tmp_path: Path) -> None:
    found = advised(made(tmp_path / "run", ["done", "failed", "failed"]))
    assert "2 trials failed. The first is trial 1: reason of trial 1." in found["failed"]


# --- the best net --------------------------------------------------------------------------------


def answers(x: Any, kernel: Any) -> Answers:
    """Four examples of classes 0, 1, 1, 2; the net is right about the first and the third."""
    probabilities = [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.0, 0.9, 0.1]]
    return Answers(
        7, 3.0, "", ["cat", "<dog>", "$5"], np.asarray(x), np.array([0, 1, 1, 2]),
        np.array(probabilities), np.asarray(kernel, float),
    )  # fmt: skip


def test_the_mistakes_of_the_best_net_come_with_the_surest_first(tmp_path: Path) -> None:
    given = answers(np.zeros((4, 5)), np.ones((5, 2)))
    assert given.confusion().tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert given.mistakes().tolist() == [3, 1]
    part = part_of(given, figures_of(given))
    assert "takes 2 for another class: accuracy 0.5000" in part.texts[0]
    assert [table.rows for table in part.tables] == [
        [["3", "$5", "<dog>", "0.900"], ["1", "<dog>", "cat", "0.600"]]
    ]
    assert len(part.images) == 1  # features are no images


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (4, 4, 3)])
def test_mistakes_and_weights_of_image_nets_are_pictures(
    mixed: RunFolder, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    x = np.zeros((4, *shape), np.uint8)
    given = answers(x, np.ones((math.prod(shape), 2)))
    part = part_of(given, figures_of(given))
    path = tmp_path / "page.html"
    page.write(page.page_of(mixed, [part]), path)
    pictures = [attributes["src"] or "" for tag, attributes in Parsed(path).tags if tag == "img"]
    assert len(pictures) == 3
    for picture in pictures:
        kind, _, coded = picture.partition(",")
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(coded))) as image:
            assert min(image.size) > 100


def test_a_run_without_weights_says_so_and_needs_no_tensorflow(mixed: RunFolder) -> None:
    part, drawn = looked_at(mixed)
    assert part.texts[0].startswith("It is not shown here: a run must have a checkpoint")
    assert drawn == {}


@pytest.mark.slow
def test_the_page_of_a_trained_run_shows_the_accuracy_of_its_table(
    tmp_path: Path, call: Job, call_tensorflow: Job
) -> None:
    run = tmp_path / "run"
    done = call_tensorflow("train", "--dataset", "digits", "--epochs", 2, "--out", run)
    assert done.returncode == 0, done.stderr
    assert call("report", run, "--figures", tmp_path / "figures").returncode == 0
    assert len([*(tmp_path / "figures").glob("best-confusion.*")]) == 3
    best = pq.read_table(run / "trials.parquet")["best_val_accuracy"][0].as_py()
    found = Parsed(run / "report.html")
    assert f"for another class: accuracy {best:.4f}" in found.text
    assert len([tag for tag, _ in found.tags if tag == "img"]) == 3


# --- command, Python, papers ---------------------------------------------------------------------


def test_the_command_writes_the_page_beside_the_run_or_where_it_is_told(
    mixed: RunFolder, call: Job, tmp_path: Path
) -> None:
    done = call("report", mixed.place, "--out", tmp_path / "new" / "a page.html")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"page: {tmp_path}/new/a page.html\n"
    assert Parsed(tmp_path / "new" / "a page.html").data["best"] is not None
    assert call("report", mixed.place).stdout == f"page: {mixed.place}/report.html\n"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--port", 8000], "--port has an effect only with --serve"),
        (["--serve", "--out", "a.html"], "--out has no effect with --serve"),
        (["--serve", "--port", 70000], "--port must be from 0 .* Given: 70000"),
        (["--out", "/dev/null/a.html"], "must be written to a file. Given: /dev/null/a.html"),
        (["--figures", "/dev/null/a"], "must be written to a folder. Given: /dev/null/a"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    mixed: RunFolder, call: Job, flags: list[Any], said: str
) -> None:
    done = call("report", mixed.place, *flags)
    assert done.returncode == 2
    assert re.search(said, done.stderr)
    assert done.stderr.count("\n") == 1


def test_from_python_report_returns_the_path(mixed: RunFolder, tmp_path: Path) -> None:
    path = ffnet.Run(mixed.place).report(tmp_path / "page.html")
    assert path == tmp_path / "page.html"
    assert Parsed(path).data["name"] == "study"


@pytest.mark.slow
def test_every_figure_is_written_for_papers_and_pyplot_keeps_none(
    mixed: RunFolder, tmp_path: Path
) -> None:
    before = plt.get_fignums(), dict(plt.rcParams)
    net = figures_of(answers(np.zeros((4, 8, 8), np.uint8), np.ones((64, 2))))
    paths = papers.write(mixed, tmp_path, net)
    of_best = [f"best-{name}" for name in ("curves", "confusion", "mistakes", "weights")]
    assert {path.name for path in paths} == {
        f"{name}.{suffix}" for name in (*FIGURES, *of_best) for suffix in ("png", "pdf", "svg")
    }
    assert (plt.get_fignums(), dict(plt.rcParams)) == before
    for name in FIGURES:
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.size[0] >= 1200
        assert "<svg" in (tmp_path / f"{name}.svg").read_text()


def test_a_run_without_trials_has_no_figures_for_papers(tmp_path: Path) -> None:
    assert papers.write(made(tmp_path / "run", []), tmp_path / "figures") == []


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    run = made(tmp_path / "run", ["done"])
    Path(run.epochs.place).write_bytes(b"not parquet")
    with pytest.raises(InputError, match="not a readable table"):
        page.page_of(run)
