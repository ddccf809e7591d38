"""Every scheduler with every end of a trial, before and after a resume: see mini_tune.py."""

import copy
import random
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from mini_tune import Checkpoints, FakeTrial, MiniTune, judged

from ffnet.data.load import load
from ffnet.errors import InputError
from ffnet.run.folder import RunFolder
from ffnet.run.past import Past
from ffnet.run.tables import Row
from ffnet.spec.sections import Data
from ffnet.spec.study import Study
from ffnet.spec.validation import validated
from ffnet.tuning.checks import check_memory, check_reports
from ffnet.tuning.hyperband import HyperBand, sizes
from ffnet.tuning.schedulers import Asha, Median, make_scheduler, replay
from ffnet.tuning.search import StudySearch, sample

SCHEDULERS = ("asha", "hyperband", "median", "pbt", "none")
SPACE = {"learning_rate": {"uniform": [0.01, 1.0]}, "hidden_sizes": {"choice": [8, [8, 4], [4, 4]]}}


def study(scheduler: str, search: str = "random", trials: int = 14, **tuning: Any) -> Study:
    space: dict[str, Any] = SPACE
    if search == "grid":
        rates = [0.1 * n for n in range(1, 8)]
        space = {"learning_rate": {"choice": rates}, "activation": {"choice": ["relu", "tanh"]}}
    values = {
        "space": space,
        "tuning": {"scheduler": scheduler, "search": search, **tuning},
        "budget": {"epochs": 9} | ({} if search == "grid" else {"trials": trials}),
    }
    return validated(Study, values, "test")


def plain(rows: dict[int, Row]) -> dict[int, Row]:
    """Return rows without the columns that a clock or a break changes."""
    changing = ("started_at", "ended_at", "queue_seconds", "setup_seconds", "report_seconds")
    return {
        n: {
            k: list(v) if isinstance(v, tuple) else v
            for k, v in row.items()
            if k not in changing and v is not None
        }
        for n, row in rows.items()
    }


def ends(seed: int, trials: int) -> dict[int, tuple[Any, ...]]:
    """Give about half of the trials an unusual end, at any epoch."""
    decide = random.Random(seed)
    kinds = [("diverge",), ("fail",), ("lose", 1), ("lose", 3), ("lose", 4)]
    drawn = {}
    for number in range(trials):
        kind, *times = decide.choice(kinds)
        if decide.random() < 0.5:
            drawn[number] = (kind, decide.choice([1.0, 2.0, 3.0, 5.0, 9.0]), *times)
    return drawn


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_trial_ends_and_as_it_should_whatever_happens_to_the_others(
    scheduler: str, seed: int, tmp_path: Path
) -> None:
    of, happens = study(scheduler), ends(seed, 14)
    tune = MiniTune(of, RunFolder.at(tmp_path), {}, slots=1 + seed % 4, ends=happens, seed=seed)
    rows = tune.run()
    assert sorted(rows) == list(range(14))
    for number, row in rows.items():
        kind, _, *left = tune.ends.get(number, ("done", 9.0))
        if row["status"] == "pruned":
            assert scheduler not in ("none", "pbt")
            assert row["epochs"] < 9
        elif kind == "diverge":
            assert (row["status"], row["reason"]) == ("diverged", "nan")
        elif kind == "fail":
            assert (row["status"], row["reason"]) == ("failed", "it raised")
        elif happens.get(number, ())[2:] == (4,) and left == [0]:
            assert row["status"] == "failed"
            assert row["reason"] == "its worker was lost 4 times: see ray.log"
        else:
            assert (row["status"], row["epochs"]) == ("done", 9)
    if scheduler != "pbt":  # the tables have each epoch once, and the rows count all
        reports = list(tune.recorder.writer.reports.values())
        for number, row in rows.items():
            own = [r["epoch"] for r in reports if r["trial"] == number]
            assert own == list(range(1, len(own) + 1))
            assert row["epochs"] == len(own)
            assert row.get("train_seconds", 0.0) == len(own)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median", "none"])
def test_no_trial_waits_for_those_that_end_as_they_are_no_better(
    scheduler: str, seed: int, tmp_path: Path
) -> None:
    of, happens = study(scheduler, patience_epochs=2), ends(seed, 14) if seed else {}
    tune = MiniTune(of, RunFolder.at(tmp_path), {}, slots=1 + seed, ends=happens, seed=seed)
    rows = tune.run()
    assert sorted(rows) == list(range(14))
    early = [row for row in rows.values() if row["reason"] == "no better for 2 epochs"]
    assert early
    for row in early:
        assert row["status"] == "done"
        assert row["epochs"] == row["best_val_accuracy_epoch"] + 2 < 9


@pytest.mark.no_cover  # loops that take twice as long under coverage
@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_study_killed_at_any_moment_goes_on_to_its_end(
    scheduler: str, slots: int, tmp_path: Path
) -> None:
    of = study(scheduler)
    for kill_at in range(1, 90, 11):
        happens = ends(kill_at, 14)
        rows, steps, _ = killed(of, kill_at, slots, happens, tmp_path / str(kill_at))
        assert sorted(rows) == list(range(14))
        assert not {row["status"] for row in rows.values()} & {"running", "stopped"}
        if scheduler == "none":
            assert {n for n, row in rows.items() if row["status"] == "pruned"} == set()
        if scheduler != "pbt" and not any(end[0] == "lose" for end in happens.values()):
            assert len(steps) == len(set(steps))  # nothing is trained twice


def killed(
    of: Study, kill_at: int, slots: int, happens: dict[int, tuple[Any, ...]], place: Path
) -> tuple[dict[int, Row], list[tuple[int, float]], list[Row]]:
    """Kill a study's driver after some events, and resume it. The tables lack a few events.

    Returns:
        The rows after the resume, the epochs that workers trained, and the reports.
    """
    place.mkdir()
    checkpoints: Checkpoints = {}
    tune = MiniTune(of, RunFolder.at(place), checkpoints, slots=slots, ends=happens, seed=kill_at)
    behind = kill_at % 5  # events that the tables do not have yet
    tables: tuple[list[Row], list[Row]] = ([], [])
    kept: Checkpoints = {}
    for i in range(kill_at):
        if not tune.step():
            break
        kept |= {number: list(reports) for number, reports in checkpoints.items()}
        if i <= kill_at - behind:
            tables = (
                [*map(dict, tune.recorder.writer.rows.values())],
                [*tune.recorder.writer.reports.values()],
            )
            kept = {n: kept[n] for n in checkpoints}  # deleted only after the tables were written
    again = MiniTune(
        of, RunFolder.at(place), kept, judged(of, *tables), slots, tune.ends, seed=kill_at + 1
    )
    rows_after = again.run()
    return rows_after, tune.steps + again.steps, list(again.recorder.writer.reports.values())


@pytest.mark.no_cover  # loops that take twice as long under coverage
@pytest.mark.parametrize(
    ("scheduler", "search"),
    [
        *product(("asha", "hyperband", "median", "none"), ("random", "grid", "tpe")),
        ("asha", "cmaes"), ("hyperband", "cmaes"), ("asha", "qmc"),
    ],
)  # fmt: skip
def test_with_one_trial_at_a_time_a_killed_study_ends_as_if_it_had_not_been_killed(
    scheduler: str, search: str, tmp_path: Path
) -> None:
    of = study(scheduler, search)
    happens: dict[int, tuple[Any, ...]] = {2: ("diverge", 3.0), 6: ("fail", 1.0)}
    whole = MiniTune(of, RunFolder.at(tmp_path), {}, ends=happens)
    expected = plain(whole.run())
    statuses = {row["status"] for row in expected.values()}
    assert statuses >= {"done", "diverged", "failed"} | (
        {"pruned"} if scheduler != "none" else set()
    )
    for kill_at in range(1, len(whole.steps) + 10, 5):
        rows, _, reports = killed(of, kill_at, 1, happens, tmp_path / str(kill_at))
        assert plain(rows) == expected, kill_at
        assert len(reports) == len(whole.recorder.writer.reports)


@pytest.mark.no_cover  # loops that take twice as long under coverage
@pytest.mark.parametrize("search", ["random", "grid"])
def test_hyperband_with_any_number_of_workers_and_any_kills_prunes_the_same_trials(
    search: str, tmp_path: Path
) -> None:
    of = study("hyperband", search, trials=20)
    happens: dict[int, tuple[Any, ...]] = {2: ("diverge", 3.0), 6: ("fail", 1.0)}
    expected = plain(MiniTune(of, RunFolder.at(tmp_path), {}, ends=happens).run())
    pruned = {n: row["epochs"] for n, row in expected.items() if row["status"] == "pruned"}
    assert set(pruned.values()) == {1, 3}
    for slots in (2, 5, 14):
        place = tmp_path / f"{slots}"
        place.mkdir()
        rows = MiniTune(of, RunFolder.at(place), {}, slots=slots, ends=happens, seed=slots).run()
        assert plain(rows) == expected
        for kill_at in range(1, 110, 12):
            rows, _, _ = killed(of, kill_at, slots, happens, place / str(kill_at))
            assert plain(rows) == expected, (slots, kill_at)


# --- the rules ---------------------------------------------------------------------------------


def tell(scheduler: Any, number: int, epoch: float, accuracy: float | None) -> str:
    trial = FakeTrial(str(number), {"trial": {"number": number}})
    report = {"epoch": epoch} | ({} if accuracy is None else {"val_accuracy": accuracy})
    return str(scheduler.on_trial_result(None, trial, report))


def test_asha_stops_what_is_below_the_best_third_of_those_before() -> None:
    asha = make_scheduler(study("asha"))
    assert isinstance(asha, Asha)
    assert [at for at, _ in asha.rungs] == [1, 3, 9]
    assert [tell(asha, n, 1, a) for n, a in enumerate([0.5, 0.6, 0.4, 0.7, 0.55])] == [
        "CONTINUE", "CONTINUE", "STOP", "CONTINUE", "STOP",
    ]  # fmt: skip
    assert asha.rungs[0][1] == {0: 0.5, 1: 0.6, 2: 0.4, 3: 0.7, 4: 0.55}


def test_a_trial_that_reports_rarely_is_judged_on_the_rung_that_it_has_reached_alone() -> None:
    asha = make_scheduler(study("asha"))
    assert isinstance(asha, Asha)
    for epoch in (4, 5, 8):
        assert tell(asha, 0, epoch, epoch / 10) == "CONTINUE"
    assert [rung for _, rung in asha.rungs] == [{}, {0: 0.4}, {}]


@pytest.mark.parametrize("scheduler", ["asha", "median"])
@pytest.mark.parametrize("grace", [0.3, 0.5, 2, 2.5])
def test_no_trial_stops_before_its_grace_is_over_and_weak_ones_stop_then(
    scheduler: str, grace: float
) -> None:
    judge = make_scheduler(study(scheduler, grace_epochs=grace))
    epochs = [n / 10 for n in range(1, 41)]
    for number in range(4):
        for epoch in epochs:
            assert tell(judge, number, epoch, 0.5 + 0.1 * number + epoch / 100) == "CONTINUE"
    decisions = [tell(judge, 9, epoch, 0.1) for epoch in epochs]
    stopped = epochs[decisions.index("STOP")]
    assert stopped == pytest.approx(grace)


def test_the_median_rule_compares_the_best_with_the_median_of_the_others_means() -> None:
    median = make_scheduler(study("median"))
    assert isinstance(median, Median)
    for number, score in enumerate((0.2, 0.4, 0.9)):
        assert tell(median, number, 1, score) == "CONTINUE"  # fewer than three others
        assert tell(median, number, 2, score + 0.2) == "CONTINUE"
    assert tell(median, 7, 1, 0.3) == "STOP"  # others at 1: 0.2, 0.4, 0.9
    assert tell(median, 8, 1, 0.4) == "CONTINUE"  # is not below 0.35
    assert tell(median, 8, 2, 0.45) == "STOP"  # others' means: 0.3, 0.5, 1.0
    assert tell(median, 5, 3, 0.0) == "CONTINUE"  # nobody has got as far


def test_the_brackets_of_hyperband_are_those_of_the_paper() -> None:
    """Table 1 of Li et al., 2018, for at most 81 epochs of which 1 in 3 trials goes on."""
    band = list(sizes(81, 3))
    assert [size for size, _ in band] == [5, 8, 15, 34, 81]
    assert band[-1][1] == ((1, 27), (3, 9), (9, 3), (27, 1))
    assert [rungs[0][0] for _, rungs in band[1:]] == [27, 9, 3, 1]
    for epochs, factor in ((1, 1.5), (2, 2), (8, 3), (30, 1.1), (100, 4)):
        for size, rungs in sizes(epochs, factor):
            milestones = [at for at, _ in rungs]
            assert milestones == sorted(milestones)
            assert all(1 <= at <= epochs for at in milestones)
            lefts = [size, *(left for _, left in rungs)]
            assert lefts == sorted(lefts, reverse=True)
            assert lefts[-1] >= 1


def test_hyperband_waits_for_its_bracket_and_then_lets_the_best_go_on() -> None:
    hyperband = make_scheduler(study("hyperband", trials=17))
    assert isinstance(hyperband, HyperBand)
    assert list(hyperband.bracket(3).members) == [3, 4, 5, 6, 7]  # wait at epoch 3 for 2 to go on
    assert hyperband.bracket(0).rungs == ()
    tune = MagicMock()
    tune.stop_trial.side_effect = lambda trial: hyperband.on_trial_remove(tune, trial)
    trials = {n: FakeTrial(str(n), {"trial": {"number": n}}) for n in range(17)}

    def report(number: int, epoch: float, accuracy: float) -> str:
        trials[number].status = "RUNNING"
        result = {"epoch": epoch, "val_accuracy": accuracy}
        said = str(hyperband.on_trial_result(tune, trials[number], result))
        trials[number].status = "PAUSED" if said == "PAUSE" else "RUNNING"
        return said

    for trial in trials.values():
        hyperband.on_trial_add(tune, trial)
    assert report(3, 2, 0.9) == "CONTINUE"
    assert [report(n, 3, n / 10) for n in (3, 4, 5)] == ["PAUSE"] * 3
    assert hyperband.choose_trial_to_run(tune) is trials[0]  # which has not begun
    hyperband.on_trial_complete(tune, trials[6], {"epoch": 1.0, "status": "diverged"})
    tune.stop_trial.assert_not_called()
    assert report(7, 4, 0.35) == "STOP"  # the best of 0.3, 0.4, 0.5, 0.35 are trials 4 and 5
    assert [call.args for call in tune.stop_trial.call_args_list] == [(trials[3],)]
    assert hyperband.choose_trial_to_run(tune) is trials[4]
    assert report(4, 4, 0.0) == "CONTINUE"
    assert report(4, 9, 0.0) == "CONTINUE"  # to the end, and not to a last milestone before it


def test_a_study_that_learns_under_hyperband_suggests_only_what_can_begin_soon(
    tmp_path: Path,
) -> None:
    for kind, most in (("tpe", 2), ("random", 14)):
        search = StudySearch(study("hyperband", kind), slots=2)
        suggested = [search.suggest(str(n)) for n in range(14)]
        assert sum(isinstance(one, dict) for one in suggested) == most


@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss"])
def test_pbt_compares_the_first_report_after_a_resume_with_what_all_trials_had_reached(
    metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = study("pbt", metric=metric, trials=8, perturbation_epochs=2)
    pbt = make_scheduler(of)
    quality = {n: n / 10 if metric == "val_accuracy" else 1 - n / 10 for n in range(8)}
    past = [
        {"trial": n, "epoch": float(e), metric: quality[n]}
        for n in range(8)
        for e in range(1, 6 - n % 2)  # odd trials have just been compared, at epoch 4
    ]
    replay(pbt, Past([], past[::-1]))
    tune = MagicMock(get_trials=list)
    trials = []
    for number in range(8):
        config = sample(of, number).model_dump()
        trials.append(FakeTrial(str(number), {"trial": config}))
        pbt.on_trial_add(tune, trials[-1])
        trials[-1].status = "RUNNING"

    def again(number: int) -> str:
        report = {"epoch": 5.0 - number % 2, metric: quality[number], "again": True}
        return str(pbt.on_trial_result(tune, trials[number], report))

    assert again(7) == "CONTINUE"  # one of the best two: its weights are saved for others
    assert [call.args[0] for call in tune._schedule_trial_save.call_args_list] == [trials[7]]
    assert again(4) == "CONTINUE"  # it was compared at epoch 4 already
    again(3)  # neither good nor weak
    monkeypatch.setattr("random.choice", lambda best: trials[6])
    again(1)  # weak, but nothing is saved of trial 6, which comes to its comparison at epoch 6
    assert "parent" not in trials[1].config
    monkeypatch.setattr("random.choice", lambda best: trials[7])
    again(0)  # weak, but compared at epoch 4 already
    tune.pause_trial.assert_not_called()
    pbt.on_trial_result(tune, trials[0], {"epoch": 6.0, metric: quality[0]})
    assert trials[0].config["parent"] == 7
    assert trials[0].config["trial"]["seed"] == sample(of, 0).seed


@pytest.mark.parametrize("scheduler", ["asha", "median"])
def test_a_metric_to_minimise_is_minimised(scheduler: str) -> None:
    judge: Any = make_scheduler(study(scheduler, metric="val_loss"))

    def loss(number: int, value: float) -> str:
        trial = FakeTrial("x", {"trial": {"number": number}})
        return str(judge.on_trial_result(None, trial, {"epoch": 1, "val_loss": value}))

    for number, value in enumerate((0.5, 0.4, 0.3)):
        assert loss(number, value) == "CONTINUE"
    assert loss(3, 0.9) == "STOP"
    assert loss(4, 0.1) == "CONTINUE"


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("last", [{"epoch": 2.0, "status": "diverged"}, {"status": "failed"}, {}])
def test_a_last_result_without_the_metric_harms_nobody(scheduler: str, last: Row) -> None:
    tune = MagicMock(get_trials=list)
    of = make_scheduler(study(scheduler))
    trials = [FakeTrial(str(n), {"trial": {"number": n}}) for n in range(5)]
    for trial in trials:
        of.on_trial_add(tune, trial)
        trial.status = "RUNNING"
    of.on_trial_complete(tune, trials[0], last)
    for trial in trials[1:]:
        report = {"epoch": 1.0, "val_accuracy": 0.5}
        assert of.on_trial_result(tune, trial, report) in ("CONTINUE", "PAUSE", "NOOP")


@pytest.mark.parametrize("scheduler", ["asha", "median"])
def test_a_trial_begun_again_neither_counts_twice_nor_competes_with_itself(scheduler: str) -> None:
    judge = make_scheduler(study(scheduler))
    past = [{"trial": n, "epoch": e, "val_accuracy": 0.9} for n in range(4) for e in (1.0, 2.0)]
    past.append({"trial": 4, "epoch": 1.0, "val_accuracy": 0.9})
    replay(judge, Past([], past[::-1]))
    before = copy.deepcopy(judge.__dict__)
    assert tell(judge, 4, 1.0, 0.1) == "CONTINUE"  # a decision is not taken again
    if scheduler == "asha":
        assert judge.__dict__ == before
    assert tell(judge, 4, 2.0, 0.9) == "CONTINUE"
    assert tell(judge, 5, 1.0, 0.1) == "STOP"


@pytest.mark.parametrize("scheduler", ["asha", "median"])
def test_of_a_trial_that_comes_again_at_its_end_every_report_is_known(scheduler: str) -> None:
    judge = make_scheduler(study(scheduler))
    for number in range(4):  # Tune asks no decision of a last result
        earlier = [{"epoch": float(e), "val_accuracy": 0.9} for e in range(1, 9)]
        trial: Any = FakeTrial("x", {"trial": {"number": number}})
        last = {"epoch": 9.0, "val_accuracy": 0.9, "again": True, "earlier": earlier}
        judge.on_trial_complete(MagicMock(), trial, last)
    assert tell(judge, 4, 1.0, 0.1) == "STOP"


@pytest.mark.parametrize(
    ("scheduler", "training", "tuning", "possible"),
    [
        ("asha", {}, {}, True),
        ("asha", {"report_steps": 16 * 9}, {}, False),  # a single report, at the end
        ("asha", {"report_steps": 16 * 8}, {}, True),
        ("median", {"report_steps": 1000}, {}, False),
        ("hyperband", {"report_steps": 1000}, {}, False),
        ("pbt", {"report_steps": 1000}, {}, False),
        ("none", {"report_steps": 1000}, {}, True),
        ("asha", {}, {"grace_epochs": 8.5}, False),
        ("median", {"report_steps": 8}, {"grace_epochs": 8.5}, True),
        ("median", {"report_steps": 8}, {"grace_epochs": 8.6}, False),
        ("pbt", {"report_steps": 8}, {"perturbation_epochs": 8.5}, True),
    ],
)
def test_a_scheduler_that_could_stop_nothing_is_refused(
    scheduler: str, training: Any, tuning: Any, possible: bool
) -> None:
    values = {
        "space": SPACE, "training": training, "tuning": {"scheduler": scheduler, **tuning},
        "budget": {"epochs": 9, "trials": 9},
    }  # fmt: skip
    of = validated(Study, values, "test")  # 1,000 examples in batches of 64: 16 steps an epoch
    with nullcontext() if possible else pytest.raises(InputError, match="no trial would report"):
        check_reports(of, examples=1000)


def test_a_grid_whose_first_trials_report_late_is_accepted() -> None:
    rates = [(n + 1) / 1000 for n in range(64)]
    values = {
        "space": {"batch_size": {"choice": [512, 32]}, "learning_rate": {"choice": rates}},
        "training": {"report_steps": 100}, "tuning": {"search": "grid"}, "budget": {"epochs": 8},
    }  # fmt: skip
    check_reports(validated(Study, values, "test"), examples=5000)


def test_a_grid_whose_first_trials_are_too_large_is_accepted() -> None:
    rates = [(n + 1) / 1000 for n in range(64)]
    values: dict[str, Any] = {
        "space": {"hidden_sizes": {"choice": [10**12, 32]}, "learning_rate": {"choice": rates}},
        "tuning": {"search": "grid"}, "budget": {"epochs": 8},
    }  # fmt: skip
    check_memory(validated(Study, values, "test"), load(Data()))
    values["space"]["hidden_sizes"]["choice"] = [10**12, 10**11]
    with pytest.raises(InputError, match="must fit into the memory"):
        check_memory(validated(Study, values, "test"), load(Data()))


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("weak", range(6))
def test_pbt_ends_when_a_trial_is_weak_whatever_it_takes_over(
    weak: int, slots: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = study("pbt", trials=6, perturbation_epochs=2)
    tune = MiniTune(of, RunFolder.at(tmp_path / "run"), {}, slots=slots)
    report = tune._report

    def weak_or_good(trial: FakeTrial, epoch: float) -> dict[str, Any]:
        found = report(trial, epoch)
        found["val_accuracy"] = 0.1 if trial.number == weak else 0.8 + trial.number / 100
        return found

    monkeypatch.setattr(tune, "_report", weak_or_good)
    for _ in range(500):
        if not tune.step():
            break
    assert [row["status"] for _, row in sorted(tune.recorder.writer.rows.items())] == ["done"] * 6
    # Epochs are repeated only by a trial that takes over one with fewer epochs.
    assert len(tune.steps) < 1.5 * 6 * 9
