"""The page's interactive figures: Optuna's plots on Plotly, in the page's colours.

Optuna draws most plots from finished trials only. Here, a trial that was pruned or stopped counts
with its best figure so far, because a scheduler prunes most trials. Points, lines and bars of
trials have the colour and the mark of the trial's status, so that the page can filter them.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna import visualization
from optuna.trial import FrozenTrial
from plotly.colors import sample_colorscale

from ffnet.report.page.rungs import rungs
from ffnet.report.page.views import (
    COLORS,
    MOST_CELLS,
    MOST_LINES,
    MOST_POINTS,
    SYMBOLS,
    NothingError,
    ReadStudy,
    Views,
    need,
    pair,
    params,
    quiet,
)
from ffnet.run.tables import Status
from ffnet.spec.base import Values

SCALE = [[0.0, "#0072B2"], [0.5, "#9a9a9a"], [1.0, "#E69F00"]]
"""Worse to better, visible on a light and on a dark page, for every kind of colour vision."""
QUIET = "rgba(128,128,128,0.3)"


@dataclass(frozen=True)
class Chart:
    """A figure of the page.

    Attributes:
        key: its name in the page.
        title: its heading.
        caption: what it shows, in a sentence or two.
        figure: Plotly's JSON; None if it cannot be drawn.
        missing: why it cannot be drawn.
        columns: number of plots side by side, which need a minimum width.
    """

    key: str
    title: str
    caption: str
    figure: Values | None = None
    missing: str = ""
    columns: float = 1


def charts(views: Views) -> list[Chart]:
    """All figures of the page, in its order."""
    makers: Sequence[tuple[str, str, Callable[[Views], tuple[go.Figure, str, float]]]] = (
        ("history", "Progress of the study", _history),
        ("rungs", "Who survived", _rungs),
        ("curves", "Learning curves", _curves),
        ("importance", "What mattered", _importance),
        ("edf", "How good the trials are", _edf),
        ("slice", "Each setting alone", _slice),
        ("parallel", "All settings together", _parallel),
        ("contour", "Two settings together", _contour),
        ("rank", "Ranks over two settings", _rank),
        ("timeline", "When each trial ran", _timeline),
    )
    made = []
    for key, title, make in makers:
        try:
            with quiet():
                figure, caption, columns = make(views)
                style(figure, key)
            made.append(Chart(key, title, caption, json.loads(figure.to_json()), "", columns))
        except NothingError as reason:
            made.append(Chart(key, title, "", missing=str(reason)))
    return made


# --- the plots -----------------------------------------------------------------------------------


def _history(views: Views) -> tuple[go.Figure, str, float]:
    need(views, 1)
    name = views.facts.metric_name
    figure = visualization.plot_optimization_history(views.complete, target_name=name)
    points, line = figure.data[0], figure.data[1]
    line.update(name="best so far", line={"color": "#767676", "width": 2, "shape": "hv"})
    _replace(figure, [line, *_by_status(points, list(points.x), views)])
    figure.update_xaxes(title="trial")
    how = "Each point is a trial with its best figure"
    return figure, f"{how}; the line is the best up to that trial.", 1


def _curves(views: Views) -> tuple[go.Figure, str, float]:
    study, left_out = views.curves()
    figure = visualization.plot_intermediate_values(study)
    steps = 1 if views.study.user_attrs["step"] == "epoch" else 1000
    lines = {int(trace.name.removeprefix("Trial")): trace for trace in figure.data}
    _replace(figure, list(_joined(lines, steps, views)))
    best = views.counted[0] if views.counted else None
    if best in lines:
        x, y = [x / steps for x in lines[best].x], lines[best].y
        style = {"color": "#767676", "width": 4}
        figure.add_trace(
            go.Scatter(x=x, y=y, mode="lines", line=style, name=f"trial {best}, the best")
        )
    figure.update_layout(showlegend=True)
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(title=views.facts.metric_name)
    note = f" {left_out:,} weaker trials are left out." if left_out else ""
    return figure, f"A line for each trial: the figure at each of its reports.{note}", 1


def _joined(lines: dict[int, Any], steps: int, views: Views) -> Iterator[go.Scatter]:
    """One trace for the lines of each status, with a gap between two trials."""
    for status in COLORS:
        numbers = [number for number in lines if views.status.get(number) == status]
        if not numbers:
            continue
        x: list[float | None] = []
        y: list[float | None] = []
        of: list[int] = []
        for number in numbers:
            x += [*(step / steps for step in lines[number].x), None]
            y += [*lines[number].y, None]
            of += [number] * (len(lines[number].x) + 1)
        single = any(len(lines[number].x) == 1 for number in numbers)
        yield go.Scatter(
            x=x, y=y, customdata=of, mode="lines+markers" if single else "lines",
            name=status, legendgroup=status, line={"color": COLORS[status], "width": 1.2},
            marker={"size": 4, "symbol": SYMBOLS[status]}, opacity=0.75,
            hovertemplate="trial %{customdata}<br>epoch %{x}: %{y}<extra></extra>",
        )  # fmt: skip


def _rungs(views: Views) -> tuple[go.Figure, str, float]:
    levels = rungs(views.facts)
    if not levels:
        raise NothingError("No trial was pruned.")
    names = [f"{level.epochs:.4g}" for level in levels]
    figure = go.Figure()
    parts = (
        ("reached", [r.reached for r in levels], COLORS[Status.DONE], ""),
        ("pruned here", [r.pruned for r in levels], COLORS[Status.PRUNED], "/"),
        ("ended here for another reason", [r.other for r in levels], COLORS[Status.FAILED], "x"),
    )
    for name, counts, color, shape in parts:
        if any(counts):
            pattern = {"shape": shape, "fillmode": "overlay"}
            marker = {"color": color, "pattern": pattern}
            figure.add_trace(go.Bar(x=names, y=counts, name=name, marker=marker))
    figure.update_layout(barmode="group")
    figure.update_xaxes(title="epochs trained", type="category")
    figure.update_yaxes(title="trials", rangemode="tozero")
    return figure, "How many trials reached each epoch at which the scheduler pruned.", 1


def _importance(views: Views) -> tuple[go.Figure, str, float]:
    need(views, 4)
    if not any(views.importances.values()):
        raise NothingError("The trials so far do not show which setting matters.")
    figure = visualization.plot_param_importances(
        views.complete, views.evaluator, views.params(), target_name="PED-ANOVA"
    )
    names = ["PED-ANOVA"]
    for name, evaluator in _forests().items():
        try:
            other = visualization.plot_param_importances(
                views.best(MOST_POINTS), evaluator=evaluator, target_name=name
            )
        except (ValueError, RuntimeError):
            continue
        if other.data:
            figure.add_trace(other.data[0])
            names.append(name)
    for trace, color in zip(figure.data, ("#0072B2", "#E69F00", "#009E73"), strict=False):
        trace.update(marker={"color": color}, hovertemplate="%{y}: %{x:.3f}<extra></extra>")
    figure.update_layout(showlegend=len(names) > 1)
    figure.update_yaxes(title=None)
    most = max(max(trace.x) for trace in figure.data)
    figure.update_xaxes(title="share of the importance", range=[0, 1.2 * most])
    return (
        figure,
        (
            f"How much each setting decides whether a trial is good ({', '.join(names)}). "
            f"PED-ANOVA compares the best tenth of the trials with all."
        ),
        1,
    )


def _forests() -> dict[str, Any]:
    """Optuna's other two evaluators. They need scikit-learn, which ffnet does not."""
    try:
        return {
            "fANOVA": optuna.importance.FanovaImportanceEvaluator(seed=0),
            "mean decrease impurity": optuna.importance.MeanDecreaseImpurityImportanceEvaluator(
                seed=0
            ),
        }
    except ImportError:
        return {}


def _slice(views: Views) -> tuple[go.Figure, str, float]:
    need(views, 1)
    names = params(views)
    figure = visualization.plot_slice(
        views.best(MOST_POINTS), names, target_name=views.facts.metric_name
    )
    traces, named = [], set()
    for trace in figure.data:
        for part in _by_status(trace, list(trace.marker.color), views):
            part.update(showlegend=part.name not in named)
            part.x = [_unquoted(value) for value in part.x]
            named.add(part.name)
            traces.append(part)
    _replace(figure, traces)
    figure.for_each_xaxis(
        lambda axis: axis.update(categoryarray=[*map(_unquoted, axis.categoryarray or ())])
    )
    return (
        figure,
        f"The trials' figures over each setting.{_cut(views, MOST_POINTS)}",
        1.3 * len(names),
    )


def _parallel(views: Views) -> tuple[go.Figure, str, float]:
    need(views, 1)
    names = params(views)
    figure = visualization.plot_parallel_coordinate(
        views.best(MOST_LINES), names, target_name=views.facts.metric_name
    )
    worst = 1.0 if views.facts.tuning.mode == "min" else 0.0
    for trace in figure.data:
        if trace.mode == "lines":
            trace.line.color = sample_colorscale(SCALE, abs(trace.y[0] - worst))[0]
        else:
            trace.marker.update(colorscale=SCALE, reversescale=worst == 1.0)
    text = "A line for each trial, through its settings; the better, the more orange."
    return figure, text + _cut(views, MOST_LINES), len(names) // 2 + 1


def _contour(views: Views) -> tuple[go.Figure, str, float]:
    need(views, 4)
    names = pair(views)
    figure = visualization.plot_contour(
        views.best(MOST_CELLS), names, target_name=views.facts.metric_name
    )
    if not any(trace.type == "contour" and trace.z is not None for trace in figure.data):
        raise NothingError(f"Too few different values of {names[0]} and {names[1]}.")
    lower_is_better = views.facts.tuning.mode == "min"
    figure.update_traces(selector={"type": "contour"}, colorscale="Cividis",
                         reversescale=lower_is_better)  # fmt: skip
    figure.update_traces(
        selector={"type": "scatter"},
        marker={"color": "#ffffff", "size": 5, "line": {"color": "#000000", "width": 1}},
        hovertemplate="%{x}, %{y}<extra></extra>",
    )
    text = "The figure over the two most important settings, smoothed between the trials (points)."
    return figure, text + _cut(views, MOST_CELLS), 1


def _rank(views: Views) -> tuple[go.Figure, str, float]:
    need(views, 2)
    names = pair(views)
    study = views.best(MOST_POINTS)
    figure = visualization.plot_rank(study, names, target_name=views.facts.metric_name)
    shown = views.counted[:MOST_POINTS]
    better = {number: 1 - i / max(1, len(shown) - 1) for i, number in enumerate(shown)}
    traces, named = [], set()
    for trace in figure.data:
        if trace.hovertext is None:  # the colour bar
            trace.marker.update(colorscale=SCALE, reversescale=views.facts.tuning.mode == "min")
            traces.append(trace)
            continue
        numbers = [int(text.partition("<br>")[0].removeprefix("Trial #"))
                   for text in trace.hovertext]  # fmt: skip
        for part in _by_status(trace, numbers, views):
            colors = sample_colorscale(SCALE, [better[n] for n in part.customdata])
            part.marker.color = colors
            part.update(showlegend=part.name not in named)
            named.add(part.name)
            traces.append(part)
    _replace(figure, traces)
    text = "The trials over the two most important settings; the better the rank, the more orange."
    return figure, text + _cut(views, MOST_POINTS), 1


def _edf(views: Views) -> tuple[go.Figure, str, float]:
    need(views, 2)
    figure = visualization.plot_edf(views.complete, target_name=views.facts.metric_name)
    figure.update_traces(line={"color": "#0072B2", "width": 2.5}, showlegend=False)
    figure.update_yaxes(title="share of the trials")
    return figure, "The share of the trials whose figure is at most the value on the axis.", 1


def _timeline(views: Views) -> tuple[go.Figure, str, float]:
    if not views.trials:
        raise NothingError("No trial has begun.")
    study = ReadStudy.of([_without_attributes(trial) for trial in views.trials], views.study)
    figure = visualization.plot_timeline(study)
    traces = [part for trace in figure.data for part in _by_status(trace, list(trace.y), views)]
    _replace(figure, traces)
    figure.update_layout(barmode="overlay", bargap=0.1)
    figure.update_xaxes(title="time on this machine's clock")
    last = max(trial.number for trial in views.trials)
    figure.update_yaxes(title="trial", range=[last + 0.5, -0.5], autorange=None)
    return figure, "A bar for each trial, from its start to its end.", 1


# --- parts of plots ------------------------------------------------------------------------------


def _cut(views: Views, most: int) -> str:
    whole = len(views.counted)
    return f" Shown: the best {most:,} of {whole:,} trials." if whole > most else ""


def _without_attributes(trial: FrozenTrial) -> FrozenTrial:
    """The trial with its times only: the hover text of Optuna's timeline repeats all else."""
    return FrozenTrial(
        number=trial.number, trial_id=trial.number, state=trial.state, value=trial.value,
        values=None, params={}, distributions={}, user_attrs={}, system_attrs={},
        intermediate_values={}, datetime_start=trial.datetime_start,
        datetime_complete=trial.datetime_complete,
    )  # fmt: skip


def _replace(figure: go.Figure, traces: Sequence[Any]) -> None:
    figure.data = []
    figure.add_traces(list(traces))


def _by_status(trace: Any, numbers: Sequence[int], views: Views) -> Iterator[Any]:
    """A trace of trials as one trace for each status, in its colour and with its mark.

    Args:
        trace: Optuna's trace, with a point or a bar for each trial.
        numbers: the trials' numbers, in the order of the points.
        views: the run.
    """
    for status in COLORS:
        at = [i for i, number in enumerate(numbers) if views.status.get(number) == status]
        if not at:
            continue
        part = type(trace)(trace)
        for name in ("x", "y", "base", "hovertext", "text"):
            values = getattr(trace, name, None)
            if values is not None and not isinstance(values, str):
                part[name] = [values[i] for i in at]
        part.update(
            name=status, legendgroup=status, showlegend=True, customdata=[numbers[i] for i in at]
        )
        if part.type == "bar":
            part.update(marker={"color": COLORS[status]}, text=None, width=0.8)
            part.hovertemplate = "trial %{customdata}<br>from %{base}<extra></extra>"
        else:
            part.marker = {
                "color": COLORS[status], "symbol": SYMBOLS[status], "size": 8,
                "line": {"width": 0.5, "color": "#5a5a5a"},
            }  # fmt: skip
            if part.hovertext is None:
                part.hovertemplate = "trial %{customdata}<br>%{x}: %{y}<extra></extra>"
        yield part


def _unquoted(value: Any) -> Any:
    """A choice as the user writes it: Optuna's plot has Python's 'sgd'."""
    return value.strip("'") if isinstance(value, str) else value


def style(figure: go.Figure, key: str = "") -> None:
    """No title (the page has a heading), no background, quiet lines; room for long labels."""
    clear = "rgba(0,0,0,0)"
    figure.update_layout(
        template="none", title=None, width=None, paper_bgcolor=clear, plot_bgcolor=clear,
        margin={"l": 60, "r": 20, "t": 64, "b": 50}, hovermode="closest",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        font={"family": "system-ui, sans-serif", "size": 12},
    )  # fmt: skip
    figure.update_annotations(font={"color": None, "size": 11})
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(selector={"type": "log"}, tickformat="~g", nticks=5)
    figure.update_xaxes(gridcolor=QUIET, zeroline=False, linecolor=QUIET, automargin=True)
    figure.update_yaxes(gridcolor=QUIET, zeroline=False, linecolor=QUIET, automargin=True)
    if key == "parallel":
        figure.update_xaxes(showgrid=False)
        figure.update_yaxes(showgrid=False)
