"""Figures as PNG: the curves of a trial, first-layer weights as images, a confusion matrix.

Each function returns a Figure and `save` writes it. Only matplotlib's objects are used, never
pyplot, so that figures share nothing. Lines and marks differ in more than colour, and the colours
can be told apart with any colour vision.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from ffnet.errors import InputError
from ffnet.run.storage import replacing
from ffnet.run.tables import Row

Floats = npt.NDArray[np.float64]

DPI = 300
MOST_NEURONS = 64  # of a grid of weights
MOST_COUNTS = 20  # classes up to which the cells of a confusion matrix hold their counts

TRAIN, VALIDATION = "#0072B2", "#D55E00"  # of Okabe and Ito's palette
INK, QUIET, RULE = "#262626", "#767676", "#e4e4e4"


def save(figure: Figure, path: Path) -> None:
    """The figure as a PNG of 300 dpi at `path`, put in place in one piece."""
    with replacing(path) as file:
        figure.savefig(
            file, format="png", dpi=DPI, facecolor="white", bbox_inches="tight", pad_inches=0.12
        )


# --- curves ------------------------------------------------------------------------------------


def curves(reports: Sequence[Row], title: str) -> Figure:
    """Loss and accuracy against the epoch, side by side.

    A value that is missing or not finite leaves a gap; a dotted line marks where the trial
    diverged.

    Args:
        reports: rows of epochs.parquet of one trial, in any order, possibly none.
        title: what the reports are of.
    """
    reports = sorted(
        (row for row in reports if row.get("epoch") is not None), key=lambda row: row["epoch"]
    )
    figure = Figure((8, 3.5), layout=ConstrainedLayoutEngine(wspace=0.06))
    figure.suptitle(title, color=INK, fontsize=11, parse_math=False)
    loss, accuracy = figure.subplots(1, 2)
    _line(loss, reports, "train_loss", "train", TRAIN, "-")
    _line(loss, reports, "val_loss", "validation", VALIDATION, "--")
    _line(accuracy, reports, "val_accuracy", "validation", VALIDATION, "--")
    _mark_best(accuracy, reports)
    _spread(loss, reports)
    for axes, label in ((loss, "loss (mean cross-entropy)"), (accuracy, "accuracy")):
        _mark_divergence(axes, reports)
        _finish_curves(axes, reports, label)
    return figure


def _column(reports: Sequence[Row], name: str) -> Floats:
    """The reports' values; NaN where there is none."""
    return np.array([math.nan if row.get(name) is None else row[name] for row in reports])


def _line(
    axes: Axes, reports: Sequence[Row], name: str, label: str, color: str, style: str
) -> None:
    values = _column(reports, name)
    finite = np.isfinite(values)
    if finite.any():
        axes.plot(
            _column(reports, "epoch"), np.where(finite, values, math.nan), style, color=color,
            label=label, linewidth=1.6, marker="o" if len(values) <= 40 else "", markersize=3.5,
        )  # fmt: skip


def _mark_best(axes: Axes, reports: Sequence[Row]) -> None:
    values = _column(reports, "val_accuracy")
    if np.isfinite(values).any():
        best = int(np.nanargmax(values))
        epoch = reports[best]["epoch"]
        label = f"best: {values[best]:.4f} at epoch {epoch:.4g}"
        axes.plot(epoch, values[best], "o", color=INK, label=label, markersize=8, fillstyle="none")


def _mark_divergence(axes: Axes, reports: Sequence[Row]) -> None:
    for row in reports:
        losses = [row.get(name) for name in ("train_loss", "val_loss")]
        if any(loss is not None and not math.isfinite(loss) for loss in losses):
            axes.axvline(row["epoch"], color=INK, linestyle=":", linewidth=1.4, label="diverged")
            return


def _finish_curves(axes: Axes, reports: Sequence[Row], label: str) -> None:
    axes.set_xlabel("epoch", color=INK)
    axes.set_ylabel(label, color=INK)
    last = max((row["epoch"] for row in reports), default=0) or 1
    axes.set_xlim(0, last * 1.03)
    axes.xaxis.set_major_locator(MaxNLocator(integer=last > 3, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=INK, labelsize=9)
    if axes.lines:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    else:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "none reported", ha="center", color=QUIET, transform=axes.transAxes)


def _spread(axes: Axes, reports: Sequence[Row]) -> None:
    """A logarithmic axis where the losses span more than two decades."""
    losses = np.concatenate([_column(reports, name) for name in ("train_loss", "val_loss")])
    losses = losses[np.isfinite(losses) & (losses > 0)]
    if losses.size and losses.max() > 100 * losses.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")


# --- weights -----------------------------------------------------------------------------------


def weight_grid(weights: npt.ArrayLike, shape: Sequence[int]) -> Figure:
    """The weights of first-layer neurons as images, at most 64, the largest norm first.

    Each neuron has its own scale, symmetric about 0: one channel from blue over white to red,
    three channels as colours about grey. Neurons whose weights are not finite are left out.

    Args:
        weights: [D, H], a column a neuron.
        shape: of an example: (height, width), or (height, width, channels) with 1 or 3 channels;
            D numbers in all.

    Raises:
        InputError: examples of that shape are no images or have not D numbers, or no neuron has
            finite weights.
    """
    images = _images(np.asarray(weights, np.float64), tuple(shape))
    order = _largest(images)
    columns = math.ceil(math.sqrt(len(order)))
    rows = math.ceil(len(order) / columns)
    height, width = images.shape[1:3]
    tall, wide = (max(0.3, 0.8 * side / max(height, width)) for side in (height, width))  # inches
    size = max(3, columns * (wide + 0.1)), rows * (tall + 0.25) + 1.2
    figure = Figure(size, layout="constrained")
    title = f"First-layer weights of {len(order)} of {len(images)} neurons"
    figure.suptitle(title, color=INK, fontsize=11)
    cells = figure.subplots(rows, columns, squeeze=False)
    for axes in cells.flat:
        axes.set_axis_off()
    for axes, neuron in zip(cells.flat, order, strict=False):
        axes.set_title(str(neuron), fontsize=7, color=QUIET, pad=2)
        shown = axes.imshow(_scaled(images[neuron]), cmap="RdBu_r", vmin=-1, vmax=1)
    if images.shape[3] == 1:
        bar = _bar(figure, shown, cells, "weight", "bottom")
        bar.set_ticks([-1, 0, 1], labels=["−max |w|", "0", "max |w|"])
    note = "Numbers: neurons, the largest norm first.\nEach image has its own scale"
    note += "." if images.shape[3] == 1 else "; grey is 0, brighter is positive."
    figure.supxlabel(note, color=QUIET, fontsize=8)
    return figure


def _images(weights: Floats, shape: tuple[int, ...]) -> Floats:
    """The weights as [H, height, width, channels]."""
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3)):
        raise InputError(
            "weights can be shown as images where an example is one: (height, width), or with 1 "
            f"or 3 channels. Given: examples of shape {shape}"
        )
    if weights.ndim != 2 or weights.shape[0] != math.prod(shape) or not weights.size:
        raise InputError(
            f"first-layer weights must be [{math.prod(shape)}, neurons] for examples of shape "
            f"{shape}. Given: {list(weights.shape)}"
        )
    return weights.T.reshape(-1, *shape[:2], shape[2] if len(shape) == 3 else 1)


def _largest(images: Floats) -> npt.NDArray[np.int64]:
    """The numbers of the neurons with the largest norm."""
    norms = np.sqrt((images**2).sum(axis=(1, 2, 3)))
    finite = np.flatnonzero(np.isfinite(norms))
    if not len(finite):
        raise InputError(
            f"weights must be finite to be shown. Given: {len(images)} neurons, none of them finite"
        )
    return finite[np.argsort(-norms[finite], kind="stable")][:MOST_NEURONS]


def _scaled(image: Floats) -> Floats:
    """One channel: [height, width] from -1 to 1. Three: colours from 0 to 1, grey for 0."""
    scaled = image / (np.abs(image).max() or 1)
    return scaled[..., 0] if image.shape[2] == 1 else (1 + scaled) / 2


def _bar(figure: Figure, shown: AxesImage, beside: Any, label: str, location: Any) -> Colorbar:
    bar = figure.colorbar(shown, ax=beside, location=location, aspect=30, shrink=0.7)
    bar.set_label(label, color=INK, fontsize=9)
    bar.ax.tick_params(colors=INK, labelsize=8)
    bar.outline.set_visible(False)
    return bar


# --- confusion ---------------------------------------------------------------------------------


def confusion(matrix: npt.ArrayLike, classes: Sequence[str]) -> Figure:
    """A confusion matrix: counts, coloured by their share of the true class.

    Args:
        matrix: [C, C] counts, a row a true class, a column a predicted one.
        classes: C names.

    Raises:
        InputError: the matrix is not [C, C], or a count is negative.
    """
    counts = np.asarray(matrix, np.int64)
    size = len(classes)
    if counts.shape != (size, size) or not size or counts.min() < 0:
        raise InputError(
            f"a confusion matrix of {size} classes must be [{size}, {size}] counts. Given: "
            f"{list(counts.shape)}"
        )
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.where(totals > 0, counts / np.maximum(totals, 1), math.nan)
    side = min(max(3, 0.45 * size), 9)  # inches
    figure = Figure((side + 2, side + 1), layout="constrained")
    axes = figure.subplots()
    # A square root, so that the few errors of a good net can be seen too.
    shown = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
    if size <= MOST_COUNTS:
        _write_counts(axes, counts, shares, side / size)
    _name_classes(axes, classes)
    _bar(figure, shown, axes, "share of the true class", "right")
    return figure


def _write_counts(axes: Axes, counts: npt.NDArray[np.int64], shares: Floats, cell: float) -> None:
    """The counts in cells of so many inches; zeros are quiet."""
    size = min(10, 72 * cell * 0.85 / (0.62 * len(str(counts.max()))))
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if shares[row, column] > 0.36 else INK if count else "#b8b8b8"
        axes.text(column, row, str(count), ha="center", va="center", fontsize=size, color=color)


def _name_classes(axes: Axes, classes: Sequence[str]) -> None:
    """Name both axes' classes, every so many where there is no room for all."""
    places = range(0, len(classes), math.ceil(len(classes) / 40))
    names = [_short(classes[place]) for place in places]
    size = 9 if len(names) <= MOST_COUNTS else 7
    slant = 45 if max(map(len, names)) > 3 else 0
    axes.set_xticks(
        places, names, rotation=slant, ha="right" if slant else "center", rotation_mode="anchor",
        fontsize=size, parse_math=False,
    )  # fmt: skip
    axes.set_yticks(places, names, fontsize=size, parse_math=False)
    axes.set_xlabel("predicted class", color=INK)
    axes.set_ylabel("true class", color=INK)
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_color(RULE)


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"
