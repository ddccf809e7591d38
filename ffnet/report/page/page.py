"""Writes the page of a run: one HTML file that needs no network, and the same page for a server."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Protocol

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ffnet.errors import InputError
from ffnet.report.optuna_study import as_optuna
from ffnet.report.page import words
from ffnet.report.page.advice import advice
from ffnet.report.page.charts import Chart, charts
from ffnet.report.page.facts import Facts
from ffnet.report.page.headline import headline
from ffnet.report.page.parts import Part, confirmed, parts
from ffnet.report.page.views import COLORS, Views
from ffnet.report.text import default_columns
from ffnet.run import storage, tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row, Status
from ffnet.spec.base import Values

TEMPLATES = "ffnet.report.page"
WIDE = ("curves", "slice", "parallel", "timeline")
"""Figures over the whole width of the page."""
FIRST = ("confirmed",)
"""Sections above the figures; the others are below."""
UNFILTERED = ("rungs", "importance", "parallel", "contour", "edf")
"""Figures that the filter by status does not change."""


class Whole(Protocol):
    """A page: `Page` of a run, or `SeveralRuns`.

    Attributes:
        main: the template of the part below the bar.
    """

    main: ClassVar[str]

    def values(self) -> Values:
        """The template's variables."""


@dataclass(frozen=True)
class Page:
    """All that the template needs."""

    main: ClassVar[str] = "main.html"

    facts: Facts
    parts: Sequence[Part] = ()
    charts: Sequence[Chart] = ()
    advice: Sequence[Any] = ()
    made_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def values(self) -> Values:
        """The template's variables."""
        facts = self.facts
        return {
            "title": facts.name,
            "kind": _kind(facts),
            "tiles": _tiles(facts),
            "headline": headline(facts),
            "advice": self.advice,
            "winner": _winner(facts),
            "searched": facts.searched,
            "first": [part for part in self.parts if part.key in FIRST],
            "rest": [part for part in self.parts if part.key not in FIRST],
            "statuses": [
                {"name": status.value, "count": facts.counts[status]}
                for status in COLORS
                if facts.counts[status]
            ],
            "charts": self.charts,
            "wide": WIDE,
            "unfiltered": UNFILTERED,
            "table": _table(facts),
            "made": _made(facts, self.made_at),
            "data": {
                "name": facts.name,
                "best": facts.best["trial"] if facts.best else None,
                "figures": {chart.key: chart.figure for chart in self.charts if chart.figure},
                "table": _table(facts),
            },
        }


def page_of(folder: RunFolder, extra: Sequence[Part] = ()) -> Page:
    """Read a run and make its page.

    Args:
        folder: the run. It may be running, and it may have no trial yet.
        extra: sections that need more than the tables, such as the best net's mistakes.

    Raises:
        InputError: the run cannot be read.
    """
    facts = Facts.read(folder)
    source = str(folder.study)
    study = as_optuna(facts.document, facts.rows, facts.reports, folder.name, source)
    return Page(
        facts,
        parts=[*parts(facts), *extra],
        charts=charts(Views(facts, study)),
        advice=advice(facts, study),
    )


def html(page: Whole, stamp: str | None = None) -> str:
    """The whole page as one text.

    Args:
        page: its content.
        stamp: for a page that a server refreshes: the state of the tables. None for a file.
    """
    return (
        _environment()
        .get_template("page.html")
        .render(
            **page.values(),
            main=page.main,
            live=stamp is not None,
            stamp=stamp,
            css=Markup(_template("page.css")),  # noqa: S704 - ffnet's own text
            page_js=Markup(_template("page.js")),  # noqa: S704
            plotly_js=Markup(get_plotlyjs()),  # noqa: S704
        )
    )


def main_part(page: Whole) -> str:
    """The part of the page that changes while a study runs."""
    return _environment().get_template(page.main).render(**page.values())


def write(page: Whole, path: Path) -> None:
    """Write the page to a file, in one piece.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with storage.replacing(path) as file:
            file.write(html(page).encode())
    except OSError as error:
        raise InputError(
            f"the page must be written to a file. Given: {path} ({storage.reason(error)}); "
            f"choose --out"
        ) from None


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return made


def _template(name: str) -> str:
    return (resources.files(TEMPLATES) / "templates" / name).read_text("utf-8")


# --- what the page says --------------------------------------------------------------------------


def _kind(facts: Facts) -> str:
    if facts.study is None:
        return "One net"
    if not facts.rows:
        return "Study that has no trial yet"
    if facts.ended:
        return "Study that has ended"
    left = max(0, facts.study.trials - len(facts.rows))
    running = facts.counts[Status.RUNNING]
    return f"Study that has not ended: {words.count(running, 'trial')} running, {left:,} not begun"


def _tiles(facts: Facts) -> list[dict[str, str]]:
    if not facts.rows:
        return []
    best = facts.best
    value = facts.value(best) if best else None
    trained = sum(row["train_seconds"] or 0.0 for row in facts.rows)
    return [
        {"name": f"best {facts.metric_name}", "figure": words.figure(value) if value is not None
         else "none"},
        {"name": "trials", "figure": f"{len(facts.rows):,}"},
        {"name": "epochs trained", "figure": f"{sum(r['epochs'] or 0.0 for r in facts.rows):,.4g}"},
        {"name": "of training", "figure": words.duration(trained)},
        {"name": "from start to end", "figure": words.duration(facts.wall_seconds())},
    ]  # fmt: skip


def _winner(facts: Facts) -> Values | None:
    best = facts.best
    if best is None:
        return None
    figures = [name for name in best if name.startswith(("best_", "last_", "test_"))]
    figures += ["epochs", "train_seconds", "seed", "parent"]
    known = [name for name in figures if best[name] is not None]
    run = _address(facts.folder)
    trial = best["trial"]
    return {
        "trial": trial,
        "settings": [
            (name, words.value(best[name]))
            for name in tables.HYPERPARAMETERS
            if best[name] is not None
        ],
        "figures": [(name, _figure(name, best[name])) for name in known],
        "note": _chosen_instead(facts, trial, run),
        "commands": [
            ("Write it for TensorFlow alone", f"ffnet export {run} --trial {trial}"),
            ("Train it again from its settings", f"ffnet train --from {run} --trial {trial}"),
        ],
    }


def _chosen_instead(facts: Facts, winner: int, run: str) -> str:
    """A sentence if `ffnet confirm` has chosen another trial than the winner."""
    found = confirmed(facts)
    if found is None or found.chosen in (None, winner):
        return ""
    return (
        f"Trained again from fresh seeds, trial {found.chosen} is the better choice: "
        f"`ffnet export {run} --trial {found.chosen}`."
    )


def _address(folder: RunFolder) -> str:
    """The run for a command line: seen from this folder, or without the folders above it.

    The page may be sent to others, so it does not name the user's folders.
    """
    place = Path(folder.place)
    if "://" in folder.place:
        return folder.place
    return str(place.relative_to(Path.cwd())) if place.is_relative_to(Path.cwd()) else folder.name


def _figure(name: str, value: Any) -> str:
    if name.endswith(("accuracy", "loss", "f1", "auc")):
        return words.figure(value)
    return words.duration(value) if name.endswith("seconds") else words.value(value)


def _table(facts: Facts) -> Values:
    """The table of all trials: names of columns, and rows with the best trial first."""
    columns = default_columns(facts.document["study"])
    columns += [name for name in ("parent", "reason") if _any(facts.rows, name)]
    return {"columns": columns, "rows": [[row[name] for name in columns] for row in facts.rows]}


def _any(rows: Sequence[Row], name: str) -> bool:
    return any(row[name] is not None for row in rows)


def _made(facts: Facts, at: datetime) -> list[tuple[str, str]]:
    document, whole = facts.document, facts.document["study"]
    resumed = document.get("resumed")
    sections = [
        (f"{section}.{name}", words.value(value))
        for section in ("tuning", "budget", "resources")
        for name, value in whole.get(section, {}).items()
        if value is not None
    ]
    versions = ", ".join(f"{n} {v}" for n, v in document["versions"].items() if v)
    known = [
        ("data", facts.data.get("description") or words.sizes(facts.data)),
        ("SHA-256 of the data", facts.data["sha256"]),
        ("seed", str(whole.get("seed", ""))),
        *sections,
        ("started", document.get("started_at") or ""),
        ("resumed", words.count(len(resumed), "time") if resumed else ""),
        ("versions", versions),
        ("ffnet's commit", document.get("commit") or ""),
        ("page made", at.isoformat(timespec="seconds")),
    ]
    return [(name, value) for name, value in known if value]
