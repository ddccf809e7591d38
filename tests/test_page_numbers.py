"""The page's figures over settings, its confirmation and its audit: plain queries of the tables."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from plotly.colors import sample_colorscale
from scipy import stats

import made_runs
from ffnet.report.page import page, words
from ffnet.report.page.charts import SCALE
from ffnet.run import audit, confirm, intervals, tables
from ffnet.run.folder import RunFolder
from pages import Parsed

SPACE = {
    "learning_rate": {"log_uniform": [1e-3, 1.0]},
    "momentum": {"uniform": [0.5, 0.9]},
    "batch_size": {"choice": [16, 32, 64]},
}
STATUSES = ["done"] * 6 + ["pruned"] * 12 + ["diverged"] * 2


def confirmed(winner: int, other: int) -> list[dict[str, Any]]:
    """Rows of confirm.parquet: two looks, of two and three seeds; both choose the winner."""
    return [
        {
            "look": look, "net": net, "trial": trial, "seed": seed, "status": "done",
            "best_epoch": 2.0, "val_loss": 0.3,
            "val_accuracy": 0.7 + 0.03 * seed if trial == other else 0.9 + seed / 1000,
            "epochs": 10.0, "chosen": trial == winner,
            "test_accuracy": 0.87 + seed / 1000 if trial == winner else None,
            "test_loss": 0.4 if trial == winner else None,
        }
        for look, seeds in ((1, (1, 2)), (2, (3, 5, 10)))
        for net, (seed, trial) in enumerate((s, t) for s in seeds for t in (winner, other))
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Write a run with confirm.parquet and audit.parquet."""
    study = made_runs.study_of(SPACE)
    rows, reports = made_runs.trials(study, STATUSES)
    folder = made_runs.write(tmp_path_factory.mktemp("runs") / "run", study, rows, reports)
    best = sorted(rows[:18], key=lambda row: -row["best_val_accuracy"])
    tables.write(folder.confirm, confirmed(best[0]["trial"], best[1]["trial"]), confirm.KIND.schema)
    again = [
        {
            "trial": n, "status": "done", "seed": 1000 + n, "pruned_epoch": rows[n]["epochs"],
            "matches": n != 8, "best_val_accuracy": best[0]["best_val_accuracy"] + gain,
            "winner": best[0]["trial"], "winner_figure": best[0]["best_val_accuracy"],
            "gain": gain, "epochs": 10.0,
        }
        for n, gain in ((8, -0.1), (6, 0.0125), (7, -0.03125))
    ]  # fmt: skip
    failed = {"trial": 9, "status": "failed", "pruned_epoch": rows[9]["epochs"], "winner": 0}
    tables.write(folder.audit, [*again, failed], audit.KIND.schema)
    return folder


@pytest.fixture(scope="module")
def seen(run: RunFolder) -> Parsed:
    path = Path(run.place) / "report.html"
    page.write(page.page_of(run), path)
    return Parsed(path)


def sound(run: RunFolder) -> pa.Table:
    """The trials whose figures count, the best first."""
    table = pq.read_table(run.trials.place)
    table = table.filter(pc.is_in(table["status"], pa.array(["done", "pruned"])))
    return table.sort_by([("best_val_accuracy", "descending"), ("trial", "ascending")])


def axes(seen: Parsed, key: str) -> tuple[str, str]:
    """The settings on the axes of a figure."""
    layout = seen.data["figures"][key]["layout"]
    return layout["xaxis"]["title"]["text"], layout["yaxis"]["title"]["text"]


def test_each_line_of_the_settings_together_is_a_trial_in_the_colour_of_its_figure(
    run: RunFolder, seen: Parsed
) -> None:
    *lines, _ = seen.traces("parallel")
    table = sound(run)
    values = np.array(table["best_val_accuracy"])
    assert len(lines) == len(values)
    expected = {}
    for row in table.to_pylist():
        height = (row["best_val_accuracy"] - values.min()) / (values.max() - values.min())
        expected[row["trial"]] = row, height
    left = dict(expected)
    for line in lines:
        (name, figure), *settings = line["customdata"]
        assert name == "validation accuracy"
        number, (row, height) = min(left.items(), key=lambda each: abs(each[1][1] - line["y"][0]))
        del left[number]
        assert line["y"][0] == pytest.approx(height)
        assert float(figure) == pytest.approx(row["best_val_accuracy"], rel=1e-3)
        assert line["line"]["color"] == sample_colorscale(SCALE, line["y"][0])[0]
        assert {name for name, _ in settings} == set(SPACE)
        for name, value in settings:
            assert float(value) == pytest.approx(row[name], rel=1e-2)


def test_the_surface_over_two_settings_has_the_figures_of_the_trials(
    run: RunFolder, seen: Parsed
) -> None:
    surface, points, *_ = seen.traces("contour")
    x, y = axes(seen, "contour")
    table = sound(run)
    found = {
        (surface["x"][column], surface["y"][row]): value
        for row, values in enumerate(surface["z"])
        for column, value in enumerate(values)
        if value is not None and not np.isnan(value)
    }
    columns = [table[name].to_pylist() for name in (x, y)]
    figures = table["best_val_accuracy"].to_pylist()
    assert found == dict(zip(zip(*columns, strict=True), figures, strict=True))
    drawn = sorted(zip(points["x"], points["y"], strict=True))
    assert drawn == sorted(zip(*columns, strict=True))


def test_the_ranks_over_two_settings_are_the_order_of_the_table(
    run: RunFolder, seen: Parsed
) -> None:
    x, y = axes(seen, "rank")
    table = sound(run)
    order = {row["trial"]: at for at, row in enumerate(table.to_pylist())}
    points = {
        number: (at_x, at_y, color)
        for trace in seen.traces("rank")
        if "legendgroup" in trace
        for number, at_x, at_y, color in zip(
            trace["customdata"], trace["x"], trace["y"], trace["marker"]["color"], strict=True
        )
    }
    expected = {
        row["trial"]: (row[x], row[y], sample_colorscale(SCALE, 1 - order[row["trial"]] / 17)[0])
        for row in table.to_pylist()
    }
    assert points == expected


def test_the_confirmation_is_that_of_the_last_look(run: RunFolder, seen: Parsed) -> None:
    table = pq.read_table(run.confirm.place).filter(pc.field("look") == 2)
    cells = []
    for trial in (True, False):
        rows = table.filter(pc.field("chosen") == trial)
        values = rows["val_accuracy"].to_pylist()
        half = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / np.sqrt(3)
        mean = np.mean(values)
        cells += [
            str(rows["trial"][0].as_py()), "3", f"{mean:.4f}",
            f"{mean - half:.4f} to {min(1, mean + half):.4f}",
        ]  # fmt: skip
    assert mean + half > 1  # the last one is no accuracy
    assert " ".join(cells) in seen.text
    chosen = table.filter(pc.field("chosen"))
    test = pc.mean(chosen["test_accuracy"]).as_py()
    assert f"trial {cells[0]}: mean {test:.4f}" in seen.text
    assert f"Its test accuracy is {test:.4f}" in seen.text
    assert "This was look 2 at the test part" in seen.text


def test_the_audit_says_what_pruning_has_cost_and_saved(run: RunFolder, seen: Parsed) -> None:
    table = pq.read_table(run.audit.place).sort_by("trial")
    cells = [
        cell
        for row in table.to_pylist()
        for cell in (
            str(row["trial"]), row["status"], words.value(row["pruned_epoch"]),
            words.value(row["best_val_accuracy"]), words.value(row["gain"]),
        )
    ]  # fmt: skip
    at = seen.text.index("What pruning has cost")
    section = seen.text[at:]
    assert " ".join(cells) in section
    trained = table.filter(pc.field("status") != "failed")
    better = trained.filter(pc.field("gain") > 0)
    winner = trained["winner"][0].as_py()
    low, high = intervals.share(better.num_rows, trained.num_rows)
    assert (
        f"1 of 3 audited trials would have beaten trial {winner}; of all 12 pruned trials "
        f"{100 * low:.1f} to {100 * high:.1f} %"
    ) in section
    assert f"Regret: {pc.max(trained['gain']).as_py():.4f} val_accuracy" in section
    pruned = pq.read_table(run.trials.place).filter(pc.field("status") == "pruned")
    left = pc.sum(pc.subtract(10.0, pruned["epochs"])).as_py()
    spent = pc.add(pruned["train_seconds"], pruned["evaluate_seconds"])
    each = pc.divide(spent, pruned["epochs"])
    seconds = pc.sum(pc.multiply(pc.subtract(10.0, pruned["epochs"]), each)).as_py()
    assert f"Pruning saved {left:,.0f} epochs and {seconds:,.0f} core-seconds" in section
    assert "2 of 3 trained to the same bits; different: 8" in section
    assert "Not trained again, because of errors: 1" in section


def test_the_winner_has_a_note_if_the_confirmation_chose_another_trial(tmp_path: Path) -> None:
    study = made_runs.study_of(SPACE)
    run = made_runs.write(tmp_path / "run", study, *made_runs.trials(study, STATUSES))
    best, second, *_ = sound(run)["trial"].to_pylist()
    for chosen, other, said in ((best, second, False), (second, best, True)):
        tables.write(run.confirm, confirmed(chosen, other), confirm.KIND.schema)
        page.write(page.page_of(run), tmp_path / "page.html")
        text = Parsed(tmp_path / "page.html").text
        assert f"The winner: trial {best}" in text
        assert (f"trial {chosen} is the better choice" in text) == said
