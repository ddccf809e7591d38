"""`ffnet compare`: which run is better, how sure that is, what it cost, and what is refused."""

import json
import math
import random
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import made_runs
from conftest import Job
from ffnet.errors import InputError
from ffnet.report.compare import compare, sensible_levels
from ffnet.run import intervals, tables
from ffnet.run.folder import RunFolder
from ffnet.run.sessions import Session
from ffnet.spec.study import OneNet
from made_runs import BEGAN

SPACE = {"learning_rate": {"log_uniform": [1e-3, 1e-1]}}


def run(
    place: Path, bests: Sequence[float], seed: int = 1, slots: int | None = None,
    study: dict[str, Any] | None = None, **data: Any,
) -> RunFolder:  # fmt: skip
    """Write a run whose trials have these best accuracies after two epochs, 0.1 less after one.

    Trial n begins 10·n s after the study, and reports 1 s and 2 s later.
    """
    of = made_runs.study_of(SPACE, seed=seed, **(study or {}))
    made = [made_runs.trial(of, n, accuracies=[a - 0.1, a]) for n, a in enumerate(bests)]
    rows = [row | {"seed": 1000 * seed + row["trial"]} for row, _ in made]
    folder = made_runs.write(place, of, rows, [r for _, own in made for r in own], **data)
    if slots:
        end = BEGAN + timedelta(seconds=100)
        own = Session(begun_at=BEGAN, trials_at=BEGAN, written_at=end, slots=slots, cpus=2)
        tables.write(folder.trials, rows, tables.TRIALS, [own])
    return folder


def drawn(seed: int, low: float = 0.90, high: float = 0.97, trials: int = 20) -> list[float]:
    return [random.Random(1000 * seed + n).uniform(low, high) for n in range(trials)]


# --- statistics ---------------------------------------------------------------------------------


def test_the_interval_of_a_difference_is_newcombes() -> None:
    """His example (b) for method 10: 9/10 against 3/10 gives 0.1705 to 0.8090."""
    low, high = intervals.difference(0.9, 0.3, 10)
    assert (round(low, 4), round(high, 4)) == (0.1705, 0.8090)


def test_several_differences_together_have_wider_intervals() -> None:
    low, high = intervals.difference(0.9, 0.3, 10, comparisons=3)
    assert low < 0.1705
    assert high > 0.8090


def test_the_chance_of_a_lead_counts_the_ways_to_deal_trials_to_two_runs() -> None:
    assert intervals.chance_of_lead(2, 2, 2) == pytest.approx(2 / math.comb(4, 2))
    assert intervals.chance_of_lead(4, 4, 4) == pytest.approx(2 / math.comb(8, 4))
    assert intervals.chance_of_lead(1, 5, 5) == pytest.approx(1)
    assert intervals.chance_of_lead(3, 10, 2) == pytest.approx(math.comb(10, 3) / math.comb(12, 3))
    assert intervals.chance_of_lead(0, 5, 5) == pytest.approx(1)


@pytest.mark.parametrize(
    ("accuracies", "levels"),
    [
        ([0.8815, 0.9778], [0.85, 0.97]),
        ([0.9778, 0.9779], [0.97]),
        ([0.9951, 1.0], [0.995, 1.0]),
        ([0.1, 0.03], [0.1]),
        ([], []),
    ],
)
def test_levels_are_round_accuracies_that_all_runs_and_that_any_run_reached(
    accuracies: list[float], levels: list[float]
) -> None:
    assert sensible_levels(accuracies) == levels


# --- verdicts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("examples", [270, 1000, 10_000, 60_000])
def test_two_seeds_of_one_study_cannot_be_told_apart(tmp_path: Path, examples: int) -> None:
    sizes = {"train": 9, "validation": examples, "test": 0}
    runs = [run(tmp_path / f"seed{n}", drawn(n), seed=n, sizes=sizes) for n in (1, 2)]
    (verdict,) = compare(runs).verdicts
    assert not verdict.better_study
    assert "cannot be told apart" in verdict.line()


def test_of_a_study_and_its_crippled_twin_the_better_one_is_named(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", drawn(1))
    twin = run(tmp_path / "twin", drawn(2, 0.5, 0.85), seed=2)
    for order in ([whole, twin], [twin, whole]):
        (verdict,) = compare(order).verdicts
        assert (verdict.first, verdict.ahead, verdict.trials) == ("whole", 20, 20)
        assert verdict.better_study
        assert verdict.line().startswith("whole is better than twin: its best is higher by 0.1")
        assert "20 of its 20 trials beat the best of twin (p = below 0.0001)" in verdict.line()


def test_one_net_may_be_better_while_two_trials_say_nothing_of_the_studies(tmp_path: Path) -> None:
    runs = [run(tmp_path / "a", [0.97, 0.96]), run(tmp_path / "b", [0.3, 0.2])]
    (verdict,) = compare(runs).verdicts
    assert verdict.better_net
    assert not verdict.better_study
    assert verdict.line().startswith(
        "a and b cannot be told apart as studies: the best net of a is better, higher by 0.6700"
    )
    assert verdict.line().endswith("but 2 of its 2 trials beat the best of b, which luck alone "
                                   "does with p = 0.33")  # fmt: skip


def test_the_best_run_is_compared_with_each_of_the_others(tmp_path: Path) -> None:
    a, b, c = (run(tmp_path / n, drawn(i), seed=i + 1) for i, n in enumerate("abc"))
    found = compare([a, b, c])
    best = max(found.runs, key=lambda one: one.accuracy or 0)
    assert {v.first for v in found.verdicts} == {best.name}
    assert {v.second for v in found.verdicts} == {"a", "b", "c"} - {best.name}
    alone = {v.second: v for v in compare([a, b]).verdicts}
    for verdict in found.verdicts:
        if verdict.second in alone and alone[verdict.second].first == best.name:
            assert verdict.low < alone[verdict.second].low


# --- figures of a run ---------------------------------------------------------------------------


def test_a_run_has_its_best_net_with_wilsons_interval_and_its_cost(tmp_path: Path) -> None:
    runs = [run(tmp_path / "a", [0.9, 0.95], slots=2), run(tmp_path / "b", [0.8], seed=2)]
    a, b = compare(runs, [0.8, 0.9, 0.99]).runs
    assert (a.accuracy, a.trial, a.counts, a.epochs) == (0.95, 1, "2 done", 4)
    assert (a.low, a.high) == intervals.accuracy(0.95, 270)
    assert (a.wall_seconds, a.core_seconds) == (100, 400)
    # Trial 0 reports 0.8 after 1 s and 0.9 after 2 s; four cores.
    assert a.reached == {0.8: (1, 4), 0.9: (2, 8), 0.99: None}
    assert b.reached == {0.8: (2, None), 0.9: None, 0.99: None}  # an earlier version
    assert b.note == "an earlier version of ffnet did not record it"


def test_a_break_between_two_sessions_is_not_counted(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a", [0.9, 0.95]), run(tmp_path / "b", [0.9])
    sessions = [
        Session(
            begun_at=BEGAN + timedelta(seconds=begun), trials_at=BEGAN, slots=1,
            written_at=BEGAN + timedelta(seconds=written),
        )
        for begun, written in ((0, 5), (10, 20))
    ]  # fmt: skip
    tables.write(a.trials, tables.read(a.trials), tables.TRIALS, sessions)
    assert compare([a, b], [0.95]).runs[0].reached == {0.95: (5 + 2, 7)}


def test_the_best_net_of_a_study_of_the_loss_is_that_of_the_lowest_loss(tmp_path: Path) -> None:
    of = made_runs.study_of(SPACE, tuning={"metric": "val_loss"})
    row, reports = made_runs.trial(of, 0, accuracies=[0.7, 0.8, 0.9])
    reports[1]["val_loss"] = 0.01
    row |= {"best_val_loss": 0.01, "best_val_loss_epoch": 2.0}
    a = made_runs.write(tmp_path / "a", of, [row], reports)
    assert compare([a, run(tmp_path / "b", [0.5])]).runs[0].accuracy == 0.8


def test_common_configurations_are_paired_at_their_last_common_epoch(tmp_path: Path) -> None:
    a = run(tmp_path / "a", [0.9, 0.8, 0.7])
    b = run(tmp_path / "b", [0.88, 0.79, 0.7])
    (verdict,) = compare([b, a]).verdicts
    assert verdict.pairs
    assert (verdict.pairs.higher, verdict.pairs.lower) == (2, 0)
    assert verdict.pairs.difference == intervals.mean([0.9 - 0.88, 0.8 - 0.79, 0.0])
    assert verdict.pairs_line() == (
        "common configurations of a and b: 3, mean difference +0.0100 (95 % t interval -0.0148 to "
        "0.0348): 2 better in a, 0 better in b, 1 equal"
    )
    reports = [r for r in tables.read(b.epochs) if r["epoch"] == 1 or r["trial"] == 0]
    tables.write(b.epochs, reports, tables.EPOCHS)
    (verdict,) = compare([a, b]).verdicts
    assert verdict.pairs
    assert verdict.pairs.difference.mean == pytest.approx((0.02 + 0.01 + 0.0) / 3)
    (verdict,) = compare([a, run(tmp_path / "c", [0.9], seed=3)]).verdicts
    assert verdict.pairs_line() == "common configurations of a and c: none"
    (verdict,) = compare([a, run(tmp_path / "d" / "a", [0.9, 0.8, 0.7])]).verdicts
    assert verdict.pairs_line().endswith(": 3, with equal accuracies")


def test_a_fixed_field_may_differ_in_common_configurations_and_a_searched_one_may_not(
    tmp_path: Path,
) -> None:
    whole = run(tmp_path / "whole", [0.9, 0.8])
    twin = run(tmp_path / "twin", [0.7, 0.6], study={"training": {"batch_size": 7}})
    rows = [row | {"batch_size": 7} for row in tables.read(twin.trials)]
    tables.write(twin.trials, rows, tables.TRIALS)
    (verdict,) = compare([whole, twin]).verdicts
    assert verdict.pairs
    assert verdict.pairs.difference.mean == pytest.approx(0.2)
    tables.write(twin.trials, [r | {"learning_rate": 0.5} for r in rows], tables.TRIALS)
    (verdict,) = compare([whole, twin]).verdicts
    assert verdict.pairs is None


def test_the_table_has_a_line_for_each_figure(tmp_path: Path, call: Job) -> None:
    run(tmp_path / "a", [0.9, 0.95], slots=2)
    run(tmp_path / "b", [0.8], seed=2)
    lines = call("compare", tmp_path / "a", tmp_path / "b", "--accuracy", "0.9").stdout.splitlines()
    assert [line.rstrip() for line in lines[:12]] == [
        "                     a                 b",
        "-------------------  ----------------  ----------------",
        "best val_accuracy    0.9500            0.8000",
        "95 % interval        0.9149 to 0.9689  0.7482 to 0.8434",
        "best trial           1                 0",
        "trials               2 done            1 done",
        "epochs               4.0               2.0",
        "wall seconds         100.0",
        "core-seconds         400.0",
        "seconds to 0.9       2.0               never",
        "core-seconds to 0.9  8.0               never",
        "",
    ]


# --- refusals and strange runs ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"sha256": "1" * 64}, "differ in data (SHA-256)"),
        ({"sizes": {"train": 1437, "validation": 271, "test": 0}}, "differ in split"),
        ({"study": {"data": {"split_seed": 7}}}, "differ in split"),
    ],
)
def test_other_data_and_another_split_are_refused(
    tmp_path: Path, call: Job, changed: Any, words: str
) -> None:
    run(tmp_path / "a", [0.9])
    run(tmp_path / "b", [0.8], **changed)
    done = call("compare", tmp_path / "a", tmp_path / "b")
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_same_set_in_another_place_or_scaling_is_compared(tmp_path: Path) -> None:
    data = {"dataset": "/elsewhere/digits.npz", "scaling": "unit"}
    runs = [run(tmp_path / "a", [0.9]), run(tmp_path / "b", [0.8], study={"data": data})]
    assert len(compare(runs).verdicts) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "compare needs two runs or more. Given: 0"),
        (["a"], "compare needs two runs or more. Given: 1"),
        (["a", "b", "a/"], "each run must come once. Given:"),
        (["a", "b", "--accuracy", "90"], "--accuracy needs numbers above 0 and at most 1"),
        (["a", "b", "--accuracy", "0.9,nan"], "Given: 0.9,nan"),
        (["a", "b", "--accuracy", ","], "--accuracy needs numbers"),
        (["a", "nowhere"], "is not a run"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(
    tmp_path: Path, call: Job, words: list[str], message: str
) -> None:
    for name in "ab":
        run(tmp_path / name, [0.9])
    done = call("compare", *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("status", ["failed", "diverged", "pruned", "running", "stopped", None])
def test_strange_runs_are_compared(tmp_path: Path, call: Job, status: str | None) -> None:
    """None stands for a study without a trial."""
    run(tmp_path / "a", [0.9, 0.8])
    of = made_runs.study_of(SPACE)
    made = made_runs.trials(of, [status] * 3) if status else ([], [])
    made_runs.write(tmp_path / "b", of, *made)
    found = compare([RunFolder.at(tmp_path / name) for name in "ab"])
    done = call("compare", tmp_path / "a", tmp_path / "b")
    assert (done.returncode, done.stderr) == (0, "")
    if status in ("failed", "diverged", None):
        assert found.verdicts == []
        assert (
            "b has no trial that has reported and neither diverged nor failed"
            in done.stdout.splitlines()
        )
    else:
        assert len(found.verdicts) == 1
        assert ("b has not ended" in done.stdout) == (status == "running")


def test_a_net_that_was_trained_alone_is_compared_with_a_study(tmp_path: Path, call: Job) -> None:
    run(tmp_path / "study", drawn(1, trials=5))
    alone = run(tmp_path / "alone", [0.3])
    path = Path(alone.study.place)
    study = json.loads(path.read_text())
    of = OneNet(epochs=2).model_dump(mode="json")
    path.write_text(json.dumps(study | {"study": of | {"data": study["study"]["data"]}}))
    lines = call("compare", tmp_path / "study", alone.place).stdout.splitlines()
    words = "the cost of alone is not known: an earlier version of ffnet did not record it"
    assert words in lines
    assert any("the best net of study is better" in line for line in lines)


def test_markdown_has_a_table_and_a_list_and_names_are_shown_as_they_are(
    tmp_path: Path, call: Job
) -> None:
    names = ["<script>alert(1)|", "ünï'\"码"]
    for n, name in enumerate(names):
        run(tmp_path / name, drawn(n), seed=n + 1, slots=2)
    paths = [tmp_path / name for name in names]
    lines = call("compare", *paths, "--format", "markdown").stdout.splitlines()
    assert "| &lt;script&gt;alert(1)\\| " in lines[0]
    assert lines[2].startswith("| best val_accuracy ")
    end = lines.index("")
    assert {line.replace("\\|", "").count("|") for line in lines[:end]} == {4}
    assert all(line.startswith("- ") for line in lines[end + 1 :])
    assert "<script>" not in "\n".join(lines)
    plain = call("compare", *paths, "--accuracy", "0.9").stdout
    assert "<script>alert(1)| and ünï'\"码 cannot be told apart" in plain.replace(
        f"{names[1]} and {names[0]}", f"{names[0]} and {names[1]}"
    )
    assert "core-seconds to 0.9 " in plain


def test_runs_of_the_same_name_are_called_by_their_places(tmp_path: Path) -> None:
    runs = [run(tmp_path / name / "run", [0.9]) for name in "ab"]
    assert [one.name for one in compare(runs).runs] == [folder.place for folder in runs]


def test_a_run_that_does_not_know_its_validation_part_is_refused(tmp_path: Path) -> None:
    runs = [run(tmp_path / name, [0.9]) for name in "ab"]
    for folder in runs:
        path = Path(folder.study.place)
        document = json.loads(path.read_text())
        document["data"]["sizes"] = {}
        path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="must say how many validation examples"):
        compare(runs)


def test_comparing_imports_neither_ray_nor_tensorflow(tmp_path: Path) -> None:
    runs = [run(tmp_path / name, [0.9]).place for name in "ab"]
    code = f"""
import sys
from ffnet.cli.compare import main
assert main({runs!r}) == 0
print("IMPORTED", sorted({{"ray", "tensorflow"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("IMPORTED []\n")
