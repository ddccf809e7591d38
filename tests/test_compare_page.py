"""`ffnet.compare` from Python, and the page of a comparison: plain queries find the same."""

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import ffnet
import made_runs
from conftest import Job
from ffnet.errors import InputError
from ffnet.report.comparison import Comparison
from ffnet.run import intervals, tables
from ffnet.run.folder import RunFolder
from made_runs import BEGAN
from pages import Parsed
from test_compare import drawn, run

CORES = 4  # two slots with two CPUs each
EVIL = "<b>a</b><script>alert(1)</script>\"'%{x} 試驗"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    """Write three runs: b has the seeds of a, and its trial 2 diverged after a high accuracy."""
    folder = tmp_path_factory.mktemp("runs")
    a = run(folder / "a", drawn(1, trials=8), slots=2)
    b = run(folder / "b", [0.7, 0.8, 0.99, 0.6], slots=2)
    rows = tables.read(b.trials)
    rows[2]["status"] = "diverged"
    metadata = pq.read_schema(b.trials.place).metadata
    table = pa.Table.from_pylist(rows, tables.TRIALS).replace_schema_metadata(metadata)
    pq.write_table(table, b.trials.place)
    return [a, b, run(folder / EVIL.replace("/", "|"), drawn(3), seed=3)]


@pytest.fixture(scope="module")
def found(runs: list[RunFolder]) -> Comparison:
    return ffnet.compare(runs[0].place, ffnet.Run(runs[1].place), Path(runs[2].place))


@pytest.fixture(scope="module")
def seen(found: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Parsed:
    path = tmp_path_factory.mktemp("page") / "new" / "compared.html"
    assert found.report(str(path)) == path
    return Parsed(path)


def sound(folder: RunFolder) -> pa.Table:
    """epochs.parquet without the trials that diverged, in the order of time."""
    trials, epochs = (pq.read_table(file.place) for file in (folder.trials, folder.epochs))
    lost = trials.filter(pc.equal(trials["status"], "diverged"))["trial"]
    kept = pc.invert(pc.is_in(epochs["trial"], lost.combine_chunks()))
    return epochs.filter(kept).sort_by("reported_at")


def seconds(reports: pa.Table) -> list[float]:
    times = reports["reported_at"].to_pylist()
    return [(at - BEGAN).total_seconds() for at in times]


def test_the_table_is_what_pyarrow_finds_in_the_tables(
    runs: list[RunFolder], found: Comparison
) -> None:
    table = found.table()
    assert table.num_rows == 3
    assert table["run"].to_pylist() == [Path(folder.place).name for folder in runs]
    for folder, row in zip(runs, table.to_pylist(), strict=True):
        trials, reports = pq.read_table(folder.trials.place), sound(folder)
        best = pc.max(reports["val_accuracy"]).as_py()
        assert row["best_val_accuracy"] == best
        assert (row["low"], row["high"]) == intervals.accuracy(best, 270)
        assert row["epochs"] == pc.sum(trials["epochs"]).as_py()
        at = trials.filter(pc.equal(trials["trial"], row["best_trial"]))
        assert at["best_val_accuracy"].to_pylist() == [best]
        for level in found.levels:
            had = reports.filter(pc.greater_equal(reports["val_accuracy"], level))
            first = min(seconds(had), default=None)
            assert row[f"seconds_to_{level:g}"] == first
            cores = None if first is None or folder is runs[2] else CORES * first
            assert row[f"core_seconds_to_{level:g}"] == cores
    assert table["core_seconds"].to_pylist() == [400, 400, None]
    assert "b has" not in " ".join(found.lines())


def test_from_python_the_lines_and_the_markdown_are_those_of_the_command(
    runs: list[RunFolder], found: Comparison, call: Job, tmp_path: Path
) -> None:
    words = ["compare", *(folder.place for folder in runs)]
    assert call(*words, "--format", "markdown").stdout == f"{found.markdown()}\n"
    done = call(*words, "--out", tmp_path / "page.html")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"page: {tmp_path}/page.html"
    for line in found.lines():
        assert line in " ".join(done.stdout.split())
    assert Parsed(tmp_path / "page.html").data["figures"].keys() == {
        "accuracies", "differences", "time", "cores", "pairs",
    }  # fmt: skip


@pytest.mark.parametrize(("key", "factor"), [("time", 1), ("cores", CORES)])
def test_a_line_rises_where_a_report_is_better_than_all_before(
    runs: list[RunFolder], seen: Parsed, key: str, factor: int
) -> None:
    lines = [trace for trace in seen.traces(key) if "name" in trace]
    known = runs if key == "time" else runs[:2]  # an earlier version recorded no cores
    assert len(lines) == len(known)
    for folder, line in zip(known, lines, strict=True):
        reports = sound(folder)
        best, rises = 0.0, []
        for at, accuracy in zip(seconds(reports), reports["val_accuracy"].to_pylist(), strict=True):
            if accuracy > best:
                best = accuracy
                rises.append((at * factor, accuracy))
        assert [*zip(line["x"], line["y"], strict=True)][:-1] == rises
        assert line["y"][-1] == best
        assert line["x"][-1] == (100 * factor if folder is not runs[2] else line["x"][-2])
    areas = [trace for trace in seen.traces(key) if "name" not in trace]
    for low, high, line in zip(areas[::2], areas[1::2], lines, strict=True):
        expected = [intervals.accuracy(y, 270) for y in line["y"]]
        assert [*zip(low["y"], high["y"], strict=True)] == expected
    assert "Not known for" in seen.text


def test_points_of_the_same_configurations_are_the_joined_tables(
    runs: list[RunFolder], seen: Parsed
) -> None:
    ours, theirs = (
        pq.read_table(folder.epochs.place).filter(pc.field("epoch") == 2)
        .select(["trial", "val_accuracy"]) for folder in runs[:2]
    )  # fmt: skip
    joined = ours.join(theirs, "trial", right_suffix="_b", join_type="inner")  # the same seeds
    points = next(trace for trace in seen.traces("pairs") if trace["name"] == "b")
    assert sorted(zip(points["y"], points["x"], strict=True)) == sorted(
        zip(*(joined[n].to_pylist() for n in ("val_accuracy", "val_accuracy_b")), strict=True)
    )
    assert sorted(points["customdata"]) == [[n, n, 2.0] for n in range(4)]


def test_the_intervals_are_drawn_as_they_are_said(found: Comparison, seen: Parsed) -> None:
    ends = {
        trace["name"]: (
            trace["x"][0] - trace["error_x"]["arrayminus"][0],
            trace["x"][0] + trace["error_x"]["array"][0],
        )
        for key in ("accuracies", "differences")
        for trace in seen.traces(key)
    }
    assert ends["a"] == pytest.approx((found.runs[0].low, found.runs[0].high))
    for verdict in found.verdicts:
        name = f"{verdict.first} minus {verdict.second}".replace("<", "&lt;").replace(">", "&gt;")
        assert ends[name] == pytest.approx((verdict.low, verdict.high))
        assert any(f"{verdict.low:.4f} to {verdict.high:.4f}" in line for line in found.lines())
    mean = next(v.pairs.difference for v in found.verdicts if v.pairs)
    same = next(value for name, value in ends.items() if name.startswith("same configurations"))
    assert same == pytest.approx((mean.low, mean.high))


def test_names_with_markup_are_shown_and_not_run(runs: list[RunFolder], seen: Parsed) -> None:
    name = Path(runs[2].place).name
    assert len([tag for tag, _ in seen.tags if tag == "script"]) == 3
    assert name in seen.text
    for figure in seen.data["figures"].values():
        for trace in figure["data"]:
            assert "<" not in trace.get("name", "")  # Plotly takes tags for markup


@pytest.mark.parametrize("status", ["failed", "running", None])
def test_a_run_without_a_figure_has_a_page(tmp_path: Path, status: str | None) -> None:
    of = made_runs.study_of({"learning_rate": {"log_uniform": [1e-3, 1e-1]}})
    made_runs.write(tmp_path / "a", of, *made_runs.trials(of, [status] * 2 if status else []))
    made_runs.write(tmp_path / "b", of, [], [])
    path = ffnet.compare(tmp_path / "a", tmp_path / "b").report(tmp_path / "page.html")
    seen = Parsed(path)
    assert "b has no trial that has reported and neither diverged nor failed" in seen.text
    assert set(seen.data["figures"]) == ({"accuracies", "time"} if status == "running" else set())


@pytest.mark.parametrize("level", [0, 1.5, -1, math.nan])
def test_a_level_that_is_no_accuracy_is_refused(runs: list[RunFolder], level: float) -> None:
    with pytest.raises(InputError, match="an accuracy must be above 0 and at most 1"):
        ffnet.compare(runs[0].place, runs[1].place, levels=[level])


def test_a_page_that_cannot_be_written_is_refused_in_one_line(
    runs: list[RunFolder], call: Job
) -> None:
    places: list[Any] = [folder.place for folder in runs]
    done = call("compare", *places, "--out", "/dev/null/a.html")
    assert (done.returncode, done.stdout) == (2, "")
    assert "must be written to a file. Given: /dev/null/a.html" in done.stderr
    assert done.stderr.count("\n") == 1
