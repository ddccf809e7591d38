"""The page's figures for papers, as PNG, PDF and SVG files: Optuna's plots on matplotlib."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from optuna.visualization import matplotlib as plots

from ffnet.errors import InputError
from ffnet.report import figures
from ffnet.report.optuna_study import as_optuna
from ffnet.report.page.facts import Facts
from ffnet.report.page.rungs import rungs
from ffnet.report.page.views import (
    COLORS,
    MOST_CELLS,
    MOST_LINES,
    MOST_POINTS,
    NothingError,
    Views,
    need,
    pair,
    params,
    quiet,
)
from ffnet.run import storage
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Status

SIZE = (7.0, 4.2)  # inches; a figure over the width of a page


def write(folder: RunFolder, place: Path, net: Mapping[str, Figure] | None = None) -> list[Path]:
    """Write each figure that can be drawn: history.png, history.pdf, history.svg, and so on.

    Args:
        folder: the run.
        place: the folder for the files; it is created.
        net: figures of the best net, by name. `confusion` becomes best-confusion.png, and so on.

    Returns:
        The paths of the files.

    Raises:
        InputError: the run cannot be read, or a file cannot be written.
    """
    facts = Facts.read(folder)
    study = as_optuna(facts.document, facts.rows, facts.reports, folder.name, str(folder.study))
    views, written = Views(facts, study), []
    try:
        for key, make in MAKERS.items():
            with drawn(make, views) as figure:
                written += figures.save(figure, place / key) if figure else []
        if (best := facts.best) and (reports := facts.of_trial.get(best["trial"])):
            title = f"{facts.name}, trial {best['trial']}"
            net = {"curves": figures.curves(reports, title), **(net or {})}
        for name, figure in (net or {}).items():
            written += figures.save(figure, place / f"best-{name}")
    except OSError as error:
        reason = storage.reason(error)
        raise InputError(
            f"the figures must be written to a folder. Given: {place} ({reason})"
        ) from None
    return written


@contextmanager
def drawn(make: Callable[[Views], Any], views: Views) -> Iterator[Figure | None]:
    """A figure, in the block. None if it cannot be drawn.

    The caller's settings of matplotlib stay, and pyplot forgets the figure after the block.
    """
    before = set(plt.get_fignums())
    with plt.rc_context(), quiet():
        try:
            axes = make(views)
        except NothingError:
            yield None
            return
        finally:
            new = set(plt.get_fignums()) - before
        figure = axes.figure if not isinstance(axes, np.ndarray) else axes.flat[0].figure
        _tidy(figure)
        try:
            yield figure
        finally:
            for number in new:
                plt.close(number)


def _history(views: Views) -> Any:
    need(views, 1)
    return _sized(
        plots.plot_optimization_history(views.complete, target_name=views.facts.metric_name)
    )


def _curves(views: Views) -> Any:
    """One line for each trial, in its status's colour; Optuna's plot gives each its own colour."""
    study, _ = views.curves()
    axes = plots.plot_intermediate_values(study)
    numbers = [trial.number for trial in study.trials if trial.intermediate_values]
    for line, number in zip(axes.lines, numbers, strict=True):
        status = views.status[number]
        line.set(color=COLORS[status], linewidth=0.8, alpha=0.8, label=status)
    if views.study.user_attrs["step"] != "epoch":
        axes.xaxis.set_major_formatter(lambda step, _: f"{step / 1000:g}")
    handles = {line.get_label(): line for line in axes.lines}
    axes.legend(handles=list(handles.values()))
    axes.set(title="Learning curves", xlabel="epoch", ylabel=views.facts.metric_name)
    return _sized(axes)


def _rungs(views: Views) -> Any:
    levels = rungs(views.facts)
    if not levels:
        raise NothingError("No trial was pruned.")
    _, axes = plt.subplots()
    at = np.arange(len(levels))
    axes.bar(at - 0.2, [r.reached for r in levels], 0.4, color=COLORS[Status.DONE], label="reached")
    axes.bar(
        at + 0.2, [r.pruned for r in levels], 0.4, color=COLORS[Status.PRUNED], hatch="//",
        label="pruned here",
    )  # fmt: skip
    axes.set_xticks(at, [f"{level.epochs:.4g}" for level in levels])
    axes.set(title="Who survived", xlabel="epochs trained", ylabel="trials")
    axes.legend()
    return _sized(axes)


def _importance(views: Views) -> Any:
    need(views, 4)
    if not any(views.importances.values()):
        raise NothingError("The trials so far do not show which setting matters.")
    axes = plots.plot_param_importances(
        views.complete, views.evaluator, views.params(), target_name="PED-ANOVA"
    )
    return _sized(axes)


def _slice(views: Views) -> Any:
    need(views, 1)
    names = params(views)
    name = views.facts.metric_name
    axes = plots.plot_slice(views.best(MOST_POINTS), names, target_name=name)
    return _sized(axes, columns=len(names))


def _parallel(views: Views) -> Any:
    need(views, 1)
    names = params(views)
    name = views.facts.metric_name
    axes = plots.plot_parallel_coordinate(views.best(MOST_LINES), names, target_name=name)
    return _sized(axes, columns=len(names) / 2)


def _contour(views: Views) -> Any:
    need(views, 4)
    name = views.facts.metric_name
    return _sized(plots.plot_contour(views.best(MOST_CELLS), pair(views), target_name=name))


def _rank(views: Views) -> Any:
    need(views, 2)
    name = views.facts.metric_name
    return _sized(plots.plot_rank(views.best(MOST_POINTS), pair(views), target_name=name))


def _edf(views: Views) -> Any:
    need(views, 2)
    return _sized(plots.plot_edf(views.complete, target_name=views.facts.metric_name))


def _timeline(views: Views) -> Any:
    if not views.trials:
        raise NothingError("No trial has begun.")
    return _sized(plots.plot_timeline(views.study))


def _tidy(figure: Figure) -> None:
    """White ground, and labels that do not overlap on logarithmic axes."""
    figure.set_facecolor("white")
    for axes in figure.axes:
        axes.set_facecolor("white")
        if axes.get_label() != "<colorbar>":
            axes.grid(color=figures.RULE, linewidth=0.8)
        axes.set_axisbelow(True)
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":
                _few_labels(axis)


def _few_labels(axis: Any) -> None:
    low, high = axis.get_view_interval()
    axis.set_minor_formatter(NullFormatter())
    if high < 1e3 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1, 3)))
        axis.set_major_formatter("{x:g}")


def _sized(axes: Any, columns: float = 1) -> Any:
    first = axes.flat[0] if isinstance(axes, np.ndarray) else axes
    first.figure.set_size_inches(max(SIZE[0], 2.4 * columns), SIZE[1])
    return axes


MAKERS: dict[str, Callable[[Views], Any]] = {
    "history": _history, "curves": _curves, "rungs": _rungs, "importance": _importance,
    "slice": _slice, "parallel": _parallel, "contour": _contour, "rank": _rank, "edf": _edf,
    "timeline": _timeline,
}  # fmt: skip
"""File name → what draws the figure; it raises NothingError if it cannot."""
