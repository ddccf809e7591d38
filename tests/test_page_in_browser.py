"""The page in Chromium: all figures are drawn, nothing is requested, and its controls work."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ffnet
import made_runs
from browser import Browser
from ffnet.report.page import live, page
from ffnet.report.page.parts import Image, Part
from ffnet.run import audit, tables
from pages import Parsed, serving

STATUSES = ["done"] * 12 + ["pruned"] * 40 + ["diverged"] * 6 + ["failed"] * 2 + ["stopped"] * 4


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


def write(place: Path, statuses: list[str], **sections: Any) -> Path:
    study = made_runs.study_of(**sections)
    run = made_runs.write(place, study, *made_runs.trials(study, statuses))
    path = place / "report.html"
    page.write(page.page_of(run), path)
    return path


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("runs") / "run", STATUSES, budget={"trials": 64})


def marks(browser: Browser, key: str) -> int:
    """Number of points, lines, bars and surfaces that a figure shows."""
    drawn = ".points path, .js-line, .bars path, .contourbg path, .contourfill path, .hm image"
    found = browser.value(
        f"document.querySelector('#chart-{key} .plot').querySelectorAll('{drawn}').length"
    )
    assert isinstance(found, int)
    return found


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_every_figure_is_drawn_without_an_error_or_a_request(
    browser: Browser, report: Path, width: int, dark: bool
) -> None:
    browser.open(report.as_uri(), width, dark=dark)
    browser.value("ffnetDrawAll()")
    for key in Parsed(report).data["figures"]:
        assert marks(browser, key) > 0, key
    assert browser.errors == []
    assert browser.requests == []
    # Nothing is wider than the window: wide parts scroll by themselves.
    assert browser.value("document.documentElement.scrollWidth") == width
    background = browser.value("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
    ink = browser.value("document.querySelector('#chart-history .plot').layout.font.color")
    assert ink == ("#e8ebee" if dark else "#1b1f24")


def test_a_figure_is_drawn_when_the_reader_comes_to_it(browser: Browser, report: Path) -> None:
    browser.open(report.as_uri())
    last = "document.querySelector('#chart-timeline .plot')"
    assert browser.value(f"{last}.dataset.drawn") is None
    browser.value(f"{last}.scrollIntoView()")
    browser.wait(f"{last}.dataset.drawn === 'yes'")


@pytest.mark.slow
def test_on_paper_every_figure_is_as_wide_as_the_paper(browser: Browser, report: Path) -> None:
    browser.open(report.as_uri(), dark=True)
    widths = "[...document.querySelectorAll('.plot')].map((plot) => plot._fullLayout?.width)"
    browser.value("dispatchEvent(new Event('beforeprint'))")
    assert set(browser.value(widths)) == {620}
    assert len(rows(browser)) == len(STATUSES)
    background = "getComputedStyle(document.body).backgroundColor"
    assert browser.value(background) == "rgb(255, 255, 255)"
    browser.value("dispatchEvent(new Event('afterprint'))")
    assert max(browser.value(widths)) > 1000
    assert browser.value(background) == "rgb(20, 23, 27)"
    assert browser.errors == []


def rows(browser: Browser) -> list[list[str]]:
    """The cells of the table of trials as they are shown."""
    text = browser.value(
        "JSON.stringify([...document.querySelectorAll('#table tbody tr')]"
        ".map((row) => [...row.cells].map((cell) => cell.textContent)))"
    )
    found: list[list[str]] = json.loads(text)
    return found


def test_the_filter_leaves_trials_out_of_the_table_and_of_the_figures(
    browser: Browser, report: Path
) -> None:
    browser.open(report.as_uri())
    browser.value("ffnetDrawAll()")
    before, points = rows(browser), marks(browser, "history")
    browser.value("document.querySelector('#filter input[value=pruned]').click()")
    after = rows(browser)
    assert [row for row in before if row[1] != "pruned"] == after
    assert len(before) - len(after) == 40
    assert points - marks(browser, "history") == 40
    shown = browser.value("document.querySelector('.unfiltered').checkVisibility()")
    assert shown
    browser.value("document.querySelector('#filter input[value=pruned]').click()")
    assert rows(browser) == before
    assert marks(browser, "history") == points
    assert browser.errors == []


def test_the_table_sorts_by_each_column_in_both_directions(browser: Browser, report: Path) -> None:
    browser.open(report.as_uri())
    columns = Parsed(report).data["table"]["columns"]
    for at, name in enumerate(columns):
        if name not in ("trial", "best_val_accuracy", "optimizer"):
            continue
        for _ in range(2):
            browser.value(f"document.querySelectorAll('#table th button')[{at}].click()")
            shown = [row[at] for row in rows(browser)]
            direction = browser.value(
                f"document.querySelectorAll('#table th')[{at}].getAttribute('aria-sort')"
            )
            given = [cell for cell in shown if cell]
            key: Any = str if name == "optimizer" else float
            assert [key(c) for c in given] == sorted(
                map(key, given), reverse=direction == "descending"
            )
            assert shown[: len(given)] == given  # missing values come last


def test_the_search_finds_trials(browser: Browser, report: Path) -> None:
    browser.open(report.as_uri())
    browser.value(
        "(() => { const find = document.getElementById('find'); find.value = 'reason of trial 53';"
        "find.dispatchEvent(new Event('input')); })()"
    )
    assert [row[0] for row in rows(browser)] == ["53"]


def test_the_switch_changes_the_colours_and_the_keyboard_reaches_it(
    browser: Browser, report: Path
) -> None:
    browser.open(report.as_uri(), dark=True)
    browser.value("document.getElementById('theme').focus()")
    for key in ("keyDown", "keyUp"):
        browser.send("Input.dispatchKeyEvent", type=key, key="Enter", code="Enter", text="\r",
                     windowsVirtualKeyCode=13)  # fmt: skip
    assert browser.value("document.documentElement.dataset.theme") == "light"
    background = browser.value("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(255, 255, 255)"
    browser.value("document.getElementById('theme').click()")  # dark
    browser.value("document.getElementById('theme').click()")  # as the system


def test_a_page_with_markup_in_its_names_runs_none_of_it(browser: Browser, tmp_path: Path) -> None:
    evil = "</script><script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"
    study = made_runs.study_of()
    found, reports = made_runs.trials(study, ["done"] * 5 + ["failed"])
    found[5]["reason"] = found[0]["reason"] = evil
    run = made_runs.write(
        tmp_path / "run", study, found, reports, name=evil, description=evil, classes=["a", evil]
    )
    path = tmp_path / "report.html"
    page.write(page.page_of(run), path)
    browser.open(path.as_uri())
    browser.value("ffnetDrawAll()")
    assert browser.value("window.ran") is None
    assert evil in browser.value("document.getElementById('table').textContent")
    assert browser.errors == []
    assert browser.requests == []


@pytest.mark.parametrize("statuses", [[], ["done"], ["failed"] * 3, ["diverged"] * 3])
def test_a_strange_run_has_a_page_without_errors(
    browser: Browser, tmp_path: Path, statuses: list[str]
) -> None:
    path = write(tmp_path / "run", statuses)
    browser.open(path.as_uri())
    browser.value("ffnetDrawAll()")
    assert browser.errors == []
    assert len(rows(browser)) == len(statuses)


@pytest.mark.slow
def test_a_thousand_trials_open_in_a_page_of_at_most_eight_megabytes(
    browser: Browser, tmp_path: Path
) -> None:
    statuses = ["done", "pruned", "pruned", "pruned"] * 250
    path = write(tmp_path / "run", statuses, budget={"trials": 1000})
    assert path.stat().st_size < 8e6
    browser.open(path.as_uri())
    browser.value("ffnetDrawAll()")
    for key in Parsed(path).data["figures"]:
        assert marks(browser, key) > 0, key
    assert browser.errors == []
    assert len(rows(browser)) == 100
    browser.value("document.getElementById('more').click()")
    assert len(rows(browser)) == 1000


DOT = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
FAST = "const set = window.setTimeout; window.setTimeout = (call, ms) => set(call, ms / 50);"
"""A script: what a page does every three seconds happens every 60 ms."""


def test_the_open_page_shows_what_changes_on_the_disk(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "SHARE", 1e9)  # no pause between two pages
    study = made_runs.study_of()
    run = made_runs.write(tmp_path / "run", study, *made_runs.trials(study, ["running"]))
    images = [Image(DOT, f"of net {n}", "") for n in range(3)]
    seen: list[Part] = []

    def measure() -> Part:
        seen.append(Part("net", "The best net", [f"Net {len(seen)}."], (), [images[len(seen)]]))
        return seen[-1]

    script = browser.send("Page.addScriptToEvaluateOnNewDocument", source=FAST)
    with serving(run, measure) as server:
        browser.open(server.address)
        browser.wait("document.querySelector('#net img')?.alt === 'of net 0'")
        rows, reports = made_runs.trials(study, ["done"] * 5 + ["pruned"])
        tables.write(run.epochs, reports, tables.EPOCHS)
        tables.write(run.trials, rows, tables.TRIALS)
        browser.wait("document.querySelectorAll('#table tbody tr').length === 6")
        browser.wait("document.querySelector('#net img').alt === 'of net 1'")
        assert "What pruning has cost" not in browser.value("document.body.textContent")
        audited = {"trial": 5, "status": "done", "winner": 0, "gain": 0.25, "pruned_epoch": 1.0}
        tables.write(run.audit, [audited], audit.KIND.schema)
        browser.wait("document.querySelector('#audit')?.textContent.includes('Regret: 0.2500')")
        assert len(seen) == 2  # the audit does not change which net is the best
        assert browser.errors == []
    browser.send("Page.removeScriptToEvaluateOnNewDocument", identifier=script["identifier"])


@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_of_a_comparison_shows_names_and_figures(
    browser: Browser, tmp_path: Path, width: int
) -> None:
    evil = "<img src=x onerror='window.ran = 1'>\"<b>試驗</b> ${1} %{x}".replace("/", "|")
    places = []
    for n, name in enumerate(["plain", evil, "a-name-that-is-longer-than-an-axis-has-room-for"]):
        study = made_runs.study_of(seed=1 + n // 2)
        places.append(made_runs.write(tmp_path / name, study, *made_runs.trials(
            study, ["done"] * 5 + ["pruned"] * 5, seed=n)).place)  # fmt: skip
    path = ffnet.compare(*places).report(tmp_path / "page.html")
    browser.open(path.as_uri(), width)
    browser.value("ffnetDrawAll()")
    for key in ("accuracies", "differences", "time", "pairs"):
        assert marks(browser, key) > 0, key
    assert browser.value("document.querySelectorAll('#chart-accuracies .errorbar').length") == 3
    assert "Not known" in browser.value("document.querySelector('#chart-cores').textContent")
    legend = browser.value("document.querySelector('#chart-time .legend').textContent")
    assert evil in legend
    assert evil in browser.value("document.querySelector('h1').textContent")
    assert browser.value("window.ran") is None
    assert browser.errors == []
    assert browser.requests == []
    assert browser.value("document.documentElement.scrollWidth") == width
