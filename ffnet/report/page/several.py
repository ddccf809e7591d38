"""The page that compares several runs: what `ffnet compare` says, with figures."""

import html
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar

import plotly.graph_objects as go

from ffnet.errors import one_line
from ffnet.report.comparison import Better, Compared, Comparison
from ffnet.report.page import words
from ffnet.report.page.charts import Chart, style
from ffnet.report.page.headline import Answer
from ffnet.report.page.parts import Part, Table, sentences
from ffnet.report.page.views import NothingError
from ffnet.run import intervals
from ffnet.spec.base import Values

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Colours of the runs, from Okabe and Ito's palette."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "diamond", "square", "x", "triangle-up", "cross", "star")
LETTERS = 24  # a longer name of a run is shortened on an axis
SHADE = 0.15  # opacity of the intervals' areas


@dataclass(frozen=True)
class SeveralRuns:
    """The page of a comparison: see `page.Whole`."""

    main: ClassVar[str] = "several.html"

    found: Comparison
    made_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def values(self) -> Values:
        """The template's variables."""
        found, names = self.found, [run.name for run in self.found.runs]
        drawn = charts(found)
        rows = [[figure[""], *(figure[name] for name in names)] for figure in found.figures()]
        return {
            "title": words.listed(names),
            "kind": f"Comparison of {len(names)} runs on the same data",
            "tiles": [
                {
                    "figure": "none" if run.accuracy is None else words.figure(run.accuracy),
                    "name": f"best validation accuracy of {run.name}",
                }
                for run in found.runs
            ],
            "headline": [*_answers(found)],
            "charts": drawn,
            "wide": ("time", "cores"),
            "parts": [Part("figures-of-runs", "The runs side by side",
                           tables=[Table("Figures of the runs", ["", *names], rows)])],
            "made": [
                ("data", found.data.get("description") or words.sizes(found.data)),
                ("SHA-256 of the data", found.data["sha256"]),
                ("page made", self.made_at.isoformat(timespec="seconds")),
            ],
            "data": {
                "name": "comparison",
                "figures": {chart.key: chart.figure for chart in drawn if chart.figure},
            },
        }  # fmt: skip


def _answers(found: Comparison) -> Iterator[Answer]:
    verdicts = [f"{verdict.line()}." for verdict in found.verdicts]  # each begins with a name
    yield Answer("What is better", " ".join(verdicts) or "Two runs with a figure are needed.")
    if found.verdicts:
        pairs = sentences([verdict.pairs_line() for verdict in found.verdicts])
        yield Answer("The same nets", " ".join(pairs))
    yield Answer(
        "How sure",
        f"Accuracies are those on the {found.examples:,} validation examples. The best of many "
        f"trials is a little too good on the part that chose it: `ffnet confirm` measures it "
        f"again.",
    )
    if notes := [f"{note}." for note in found.notes()]:
        yield Answer("What is missing", " ".join(notes))


# --- figures -------------------------------------------------------------------------------------


def charts(found: Comparison) -> list[Chart]:
    """All figures of the page, in its order."""
    makers: Sequence[tuple[str, str, Callable[[Comparison], tuple[go.Figure, str]]]] = (
        ("accuracies", "The best nets", _accuracies),
        ("differences", "How far the runs are apart", _differences),
        ("time", "The best accuracy over wall time", _over_time),
        ("cores", "The best accuracy over core-seconds", _over_cores),
        ("pairs", "The same configurations in two runs", _pairs),
    )
    made = []
    for key, title, make in makers:
        try:
            figure, caption = make(found)
        except NothingError as reason:
            made.append(Chart(key, title, "", missing=str(reason)))
            continue
        style(figure)
        if not figure.layout.showlegend:
            figure.update_layout(margin={"t": 30})
        made.append(Chart(key, title, caption, json.loads(figure.to_json())))
    return made


def _accuracies(found: Comparison) -> tuple[go.Figure, str]:
    figure = go.Figure()
    for at, run in enumerate(found.runs):
        if run.accuracy is not None and run.low is not None and run.high is not None:
            bar = _bar(run.accuracy, run.low, run.high)
            figure.add_trace(_point(at, run.accuracy, _plain(run.name), bar))
    if not figure.data:
        raise NothingError("No run has a trial that has reported and neither diverged nor failed.")
    _name_rows(figure, [run.name for run in found.runs])
    figure.update_xaxes(title="validation accuracy")
    return figure, (
        f"The best validation accuracy of each run, with the 95 % interval (Wilson) that "
        f"{words.count(found.examples, 'validation example')} leave."
    )


def _differences(found: Comparison) -> tuple[go.Figure, str]:
    figure = go.Figure()
    names: list[str] = []
    for verdict in found.verdicts:
        bar = _bar(verdict.difference, verdict.low, verdict.high)
        at = _number(found, verdict.second)
        name = f"{verdict.first} minus {verdict.second}"
        figure.add_trace(_point(at, verdict.difference, _plain(name), bar, row=len(names)))
        names.append(verdict.second)
        mean = verdict.pairs.difference if verdict.pairs else None
        if mean is not None and mean.low is not None and mean.high is not None:
            bar = _bar(mean.mean, mean.low, mean.high)
            name = f"same configurations: {name}"
            figure.add_trace(_point(at, mean.mean, _plain(name), bar, row=len(names)))
            names.append(f"same nets, {verdict.second}")
    if not names:
        raise NothingError("Needs two runs with a figure.")
    figure.add_vline(x=0, line={"color": "#767676", "width": 1, "dash": "dot"})
    _name_rows(figure, names)
    figure.update_xaxes(title="difference of the accuracies")
    return figure, (
        f"The best run, {found.verdicts[0].first}, minus each other run: the best nets (Newcombe's "
        f"95 % interval), and the mean over the trials with the same configuration (t interval). "
        f"An interval that holds 0 tells nothing apart."
    )


def _over_time(found: Comparison) -> tuple[go.Figure, str]:
    figure, left_out = _progress(found, lambda at: at.seconds, lambda run: run.wall_seconds)
    figure.update_xaxes(title="seconds from the beginning", rangemode="tozero")
    return figure, _about_progress(left_out)


def _over_cores(found: Comparison) -> tuple[go.Figure, str]:
    figure, left_out = _progress(found, lambda at: at.core_seconds, lambda run: run.core_seconds)
    figure.update_xaxes(title="core-seconds from the beginning", rangemode="tozero")
    return figure, _about_progress(left_out)


def _about_progress(left_out: Sequence[str]) -> str:
    note = f" Not known for {words.listed(left_out)}." if left_out else ""
    return (
        f"The best validation accuracy until then; the area is its 95 % interval (Wilson) over the "
        f"validation examples. A click on a name hides the run.{note}"
    )


def _progress(
    found: Comparison,
    x_of: Callable[[Better], float | None],
    end_of: Callable[[Compared], float | None],
) -> tuple[go.Figure, list[str]]:
    """(the figure, the names of the runs that it cannot show)."""
    figure, left_out = go.Figure(), []
    for at, run in enumerate(found.runs):
        known = [(x, each.accuracy) for each in run.progress if (x := x_of(each)) is not None]
        if not known:
            left_out.append(run.name)
            continue
        last = max(known[-1][0], end_of(run) or 0.0)
        xs, ys = zip(*known, (last, known[-1][1]), strict=True)
        low, high = zip(*(intervals.accuracy(y, found.examples) for y in ys), strict=True)
        common: Values = {"x": xs, "legendgroup": str(at), "mode": "lines"}
        shade: Values = {"line": {"width": 0, "shape": "hv"}, "showlegend": False}
        color = COLORS[at % len(COLORS)]
        figure.add_trace(go.Scatter(y=low, hoverinfo="skip", **common, **shade))
        figure.add_trace(
            go.Scatter(y=high, hoverinfo="skip", fill="tonexty", fillcolor=_clear(color), **common,
                       **shade)
        )  # fmt: skip
        line = {"color": color, "width": 2.5, "dash": DASHES[at % len(DASHES)], "shape": "hv"}
        figure.add_trace(go.Scatter(y=ys, name=_plain(run.name), line=line, **common))
    if not figure.data:
        raise NothingError("Not known for any of the runs.")
    figure.update_layout(showlegend=True)
    figure.update_yaxes(title="validation accuracy")
    return figure, left_out


def _pairs(found: Comparison) -> tuple[go.Figure, str]:
    figure = go.Figure()
    values: list[float] = []
    for verdict in found.verdicts:
        if not verdict.pairs:
            continue
        at, each = _number(found, verdict.second), verdict.pairs.each
        first, second = zip(*(pair.accuracies for pair in each), strict=True)
        values += [*first, *second]
        figure.add_trace(
            go.Scatter(
                x=second, y=first, mode="markers", name=_plain(verdict.second),
                customdata=[[*pair.trials, pair.epoch] for pair in each],
                marker={"color": COLORS[at % len(COLORS)], "symbol": SYMBOLS[at % len(SYMBOLS)],
                        "size": 8, "line": {"width": 0.5, "color": "#5a5a5a"}},
                hovertemplate="trial %{customdata[0]} and trial %{customdata[1]}, epoch "
                "%{customdata[2]}<br>%{y:.4f} and %{x:.4f}",
            )
        )  # fmt: skip
    if not values:
        raise NothingError("No two trials have the same configuration.")
    ends = [min(values), max(values)]
    line = {"color": "#767676", "width": 1, "dash": "dot"}
    figure.add_trace(
        go.Scatter(x=ends, y=ends, mode="lines", line=line, name="equal", hoverinfo="skip")
    )
    first_name = found.verdicts[0].first
    figure.update_layout(showlegend=True)
    figure.update_xaxes(title="validation accuracy in the other run")
    figure.update_yaxes(title=f"in {_plain(one_line(first_name, LETTERS))}")
    return figure, (
        f"Each point is a trial with the same seed and the same values in two runs, at the last "
        f"epoch that both have reported. Above the line, it is better in {first_name}."
    )


# --- parts of figures ----------------------------------------------------------------------------


def _number(found: Comparison, name: str) -> int:
    """A run's place in the comparison, which decides its colour and its mark."""
    return next(at for at, run in enumerate(found.runs) if run.name == name)


def _plain(name: str) -> str:
    """A run's name for Plotly, which would take tags in it for markup."""
    return html.escape(name, quote=False)


def _bar(value: float, low: float, high: float) -> Values:
    return {"array": [high - value], "arrayminus": [value - low], "thickness": 2, "width": 6}


def _point(at: int, value: float, name: str, bar: Values, row: int | None = None) -> go.Scatter:
    """A point with its interval, in the colour and with the mark of a run."""
    color = COLORS[at % len(COLORS)]
    return go.Scatter(
        x=[value], y=[at if row is None else row], name=name, mode="markers", showlegend=False,
        error_x=bar | {"color": color}, hovertemplate="%{x:.4f}",
        marker={"color": color, "symbol": SYMBOLS[at % len(SYMBOLS)], "size": 10},
    )  # fmt: skip


def _name_rows(figure: go.Figure, names: Sequence[str]) -> None:
    """Name the rows 0, 1, … from the top."""
    texts = [_plain(one_line(name, LETTERS)) for name in names]
    figure.update_yaxes(
        tickvals=[*range(len(names))], ticktext=texts, range=[len(names) - 0.5, -0.5]
    )


def _clear(color: str) -> str:
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{SHADE})"
