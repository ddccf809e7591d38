"""Figures for papers: the curves of a trial, first-layer weights as images, a confusion matrix.

Each function returns a Figure, and `save` writes it as PNG, PDF and SVG. The functions use
matplotlib's objects and not pyplot, so figures share no state. Lines and marks differ in more than
colour, and the colours are chosen for every kind of colour vision.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from ffnet.errors import InputError
from ffnet.run.storage import replacing
from ffnet.run.tables import Row

Floats = npt.NDArray[np.float64]

DPI = 300
MOST_NEURONS = 64  # maximum number of images in a grid of weights
MOST_COUNTS = 20  # a confusion matrix with more classes does not show its counts
MOST_MARKERS = 40  # a line with more points does not mark each point
FRAMED = 3  # with so many reports or more, the first report may lie outside the axis
MOST_LETTERS = 24  # a longer class name is shortened to so many characters

TRAIN, VALIDATION = "#0072B2", "#D55E00"  # from Okabe and Ito's palette
INK, QUIET, RULE = "#262626", "#767676", "#e4e4e4"

FORMATS: dict[str, dict[str, Any]] = {
    "png": {},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}
"""Suffix → metadata that matplotlib must leave out, so that the same figure gives the same file."""

FONTS: Any = {
    "pdf.fonttype": 42,  # TrueType fonts inside the file: journals refuse matplotlib's Type 3
    "svg.fonttype": "none",  # text stays text, which can be searched and edited
    "svg.hashsalt": "ffnet",  # without it, names inside the file are random
}


def save(figure: Figure, place: Path) -> list[Path]:
    """Write a figure as PNG (300 dpi), PDF and SVG. Each file is replaced in one piece.

    Args:
        figure: the figure.
        place: path of the files without a suffix, for example figures/curves.

    Returns:
        The paths of the files.
    """
    paths = [place.with_name(f"{place.name}.{suffix}") for suffix in FORMATS]
    for path, (suffix, metadata) in zip(paths, FORMATS.items(), strict=True):
        with rc_context(FONTS), replacing(path) as file:
            figure.savefig(
                file, format=suffix, dpi=DPI, facecolor="white", bbox_inches="tight",
                pad_inches=0.12, metadata=metadata,
            )  # fmt: skip
    return paths


# --- curves ------------------------------------------------------------------------------------


def curves(reports: Sequence[Row], title: str) -> Figure:
    """A figure of a trial's loss and accuracy over the epochs, side by side.

    A value that is missing or not finite leaves a gap. A dotted line marks where the trial
    diverged. See `_frame` for the first report.

    Args:
        reports: the trial's rows of epochs.parquet, in any order; the list may be empty.
        title: the figure's title, for example the trial's name.
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
    if not _spread(loss, reports):
        _frame(loss, reports, {"train_loss": "train", "val_loss": "validation"}, "above")
    _frame(accuracy, reports, {"val_accuracy": "validation"}, "below")
    for axes, label in (
        (loss, "loss (mean cross-entropy, nats)"),
        (accuracy, "accuracy (share of the examples)"),
    ):
        if not axes.lines:
            _say_none(axes)
        _mark_divergence(axes, reports)
        _finish_curves(axes, reports, label)
    return figure


def _column(reports: Sequence[Row], name: str) -> Floats:
    """A column's values; NaN if a report has no value."""
    return np.array([math.nan if row.get(name) is None else row[name] for row in reports])


def _line(
    axes: Axes, reports: Sequence[Row], name: str, label: str, color: str, style: str
) -> None:
    values = _column(reports, name)
    finite = np.isfinite(values)
    if finite.any():
        axes.plot(
            _column(reports, "epoch"), np.where(finite, values, math.nan), style, color=color,
            label=label, linewidth=1.6, marker="o" if finite.sum() <= MOST_MARKERS else "",
            markersize=3.5,
        )  # fmt: skip


def _mark_best(axes: Axes, reports: Sequence[Row]) -> None:
    values = _column(reports, "val_accuracy")
    if np.isfinite(values).any():
        best = int(np.nanargmax(values))
        epoch = reports[best]["epoch"]
        label = f"best: {values[best]:.4f} at epoch {epoch:.4g}"
        axes.plot(epoch, values[best], "o", color=INK, label=label, markersize=8, fillstyle="none")


def _mark_divergence(axes: Axes, reports: Sequence[Row]) -> None:
    """Mark where the trial diverged: there, the loss is missing or not finite."""
    for row in reports:
        losses = [row.get(name) for name in ("train_loss", "val_loss")]
        known = [loss for loss in losses if loss is not None]
        if not known or not np.isfinite(known).all():
            axes.axvline(row["epoch"], color=INK, linestyle=":", linewidth=1.4, label="diverged")
            return


def _say_none(axes: Axes) -> None:
    axes.set_yticks([])
    axes.text(0.5, 0.5, "none reported", ha="center", color=QUIET, transform=axes.transAxes)


def _finish_curves(axes: Axes, reports: Sequence[Row], label: str) -> None:
    axes.set_xlabel("epoch", color=INK)
    axes.set_ylabel(label, color=INK)
    last = max((row["epoch"] for row in reports), default=0) or 1
    axes.set_xlim(0, last * 1.03)
    axes.xaxis.set_major_locator(MaxNLocator(integer=last >= 3, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=INK, labelsize=9)
    if axes.lines:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def _spread(axes: Axes, reports: Sequence[Row]) -> bool:
    """Use a logarithmic axis if the losses after the first report span a factor of more than 10.

    Returns whether the axis is logarithmic.
    """
    losses = np.array([_column(reports, name) for name in ("train_loss", "val_loss")])
    losses = losses[:, np.isfinite(losses).any(axis=0)]
    losses = losses[:, 1:] if losses.shape[1] >= FRAMED else losses
    losses = losses[np.isfinite(losses) & (losses > 0)]
    ratio = losses.max() / losses.min() if losses.size else 1.0
    if ratio > 10:
        axes.set_yscale("log")
    if 10 < ratio < 1e4:  # on larger axes, matplotlib's own labels (powers of ten) are good
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    return bool(ratio > 10)


def _frame(axes: Axes, reports: Sequence[Row], lines: dict[str, str], worse: str) -> None:
    """Prevent the first report from making the rest of the curve flat.

    The first report often comes after one step, when the net still guesses. Its loss is far above
    all others, or its accuracy far below. If the later reports would fill less than a third of the
    axis, the axis shows only their range. The line then leaves the axes towards the first report,
    and a note above the axes gives the values that lie outside.

    Args:
        axes: the axes with the lines.
        reports: the trial's reports, by epoch.
        lines: column → name of its line.
        worse: the side on which values are worse: "above" or "below".
    """
    values = np.array([_column(reports, name) for name in lines])
    finite = np.flatnonzero(np.isfinite(values).any(axis=0))
    if len(finite) < FRAMED:
        return
    first, later = values[:, finite[0]], values[:, finite[1:]]
    later = later[np.isfinite(later)]
    low, high = later.min(), later.max()
    with np.errstate(invalid="ignore"):
        beyond = first - high if worse == "above" else low - first
    if not np.nanmax(beyond) > 2 * (high - low):
        return
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    axes.set_ylim(low - margin, high + margin)
    outside = [
        f"{label} {value:.4g}"
        for label, value, distance in zip(lines.values(), first, beyond, strict=True)
        if distance > margin
    ]
    epoch = reports[finite[0]]["epoch"]
    note = f"{worse} the axis at epoch {epoch:.2g}: {', '.join(outside)}"
    axes.set_title(note, loc="left", fontsize=8, color=QUIET)


# --- weights -----------------------------------------------------------------------------------


def is_image(shape: Sequence[int]) -> bool:
    """Whether examples of a shape are images: (height, width) or (height, width, 1 or 3)."""
    return len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))


def weight_grid(weights: npt.ArrayLike, shape: Sequence[int]) -> Figure:
    """A figure of the weights of first-layer neurons as images: at most 64, largest norm first.

    Each image has its own scale, symmetric about 0. Weights of one channel go from blue over white
    (0) to red. Weights of three channels are colours, and grey is 0. Neurons whose weights are not
    finite are left out.

    Args:
        weights: [D, H], a column for each neuron.
        shape: shape of an example: (height, width), or (height, width, channels) with 1 or 3
            channels. Its product is D.

    Raises:
        InputError: examples are not images, their shape does not fit D, or no neuron has finite
            weights.
    """
    images = _images(np.asarray(weights, np.float64), tuple(shape))
    order = _largest(images)
    columns = math.ceil(math.sqrt(len(order)))
    rows = math.ceil(len(order) / columns)
    height, width = images.shape[1:3]
    tall, wide = (max(0.3, 0.8 * side / max(height, width)) for side in (height, width))  # inches
    size = max(3, columns * (wide + 0.1)), rows * (tall + 0.25) + 1.2
    figure = Figure(size, layout="constrained")
    count = f"{len(order)} of {len(images)}" if len(order) < len(images) else f"{len(images)}"
    title = f"First-layer weights of {count} neuron{'s' * (len(images) > 1)}"
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
    if not is_image(shape):
        raise InputError(
            "weights can be shown as images only if examples are: (height, width), or with 1 or 3 "
            f"channels. Given: examples of shape {shape}"
        )
    if weights.ndim != 2 or weights.shape[0] != math.prod(shape) or not weights.size:
        raise InputError(
            f"first-layer weights must be [{math.prod(shape)}, neurons] for examples of shape "
            f"{shape}. Given: {list(weights.shape)}"
        )
    return weights.T.reshape(-1, *shape[:2], shape[2] if len(shape) == 3 else 1)


def _largest(images: Floats) -> npt.NDArray[np.int64]:
    """The numbers of at most 64 neurons with finite weights, largest norm first."""
    norms = np.sqrt((images**2).sum(axis=(1, 2, 3)))
    finite = np.flatnonzero(np.isfinite(norms))
    if not len(finite):
        raise InputError(
            f"weights must be finite to be shown. Given: {len(images)} neurons, all with NaN or "
            f"infinity"
        )
    return finite[np.argsort(-norms[finite], kind="stable")][:MOST_NEURONS]


def _scaled(image: Floats) -> Floats:
    """The image for `imshow`.

    With one channel: [height, width], from -1 to 1. With three: colours from 0 to 1, 0.5 for 0.
    """
    scaled = image / (np.abs(image).max() or 1)
    return scaled[..., 0] if image.shape[2] == 1 else (1 + scaled) / 2


def _bar(figure: Figure, shown: AxesImage, beside: Any, label: str, location: Any) -> Colorbar:
    bar = figure.colorbar(shown, ax=beside, location=location, aspect=30, shrink=0.7)
    bar.set_label(label, color=INK, fontsize=9)
    bar.ax.tick_params(colors=INK, labelsize=8)
    bar.outline.set_visible(False)
    return bar


# --- confusion ---------------------------------------------------------------------------------


def confusion(matrix: npt.ArrayLike, classes: Sequence[str], part: str, title: str = "") -> Figure:
    """A figure of a confusion matrix. A cell's colour is its count's share of the true class.

    Args:
        matrix: [C, C] counts, a row for each true class and a column for each predicted class.
        classes: the names of the C classes.
        part: the part of the data that was counted: "validation" or "test".
        title: the figure's title, for example the net's name.

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
    examples = "1 example" if counts.sum() == 1 else f"{counts.sum():,} examples"
    heading = f"{title}\n".lstrip() + f"confusion matrix, {part} part: {examples}"
    axes.set_title(heading, color=INK, fontsize=11, parse_math=False)
    # Colours follow the square root of the share, so that a good net's few errors are visible.
    shown = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
    if size <= MOST_COUNTS:
        _write_counts(axes, counts, shares, side / size)
    _name_classes(axes, classes)
    _bar(figure, shown, axes, "share of the true class", "right")
    return figure


def _write_counts(axes: Axes, counts: npt.NDArray[np.int64], shares: Floats, cell: float) -> None:
    """Write each count in its cell, which is `cell` inches wide; zeros are light grey."""
    size = min(10, 72 * cell * 0.85 / (0.62 * len(str(counts.max()))))
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if shares[row, column] > 0.36 else INK if count else "#b8b8b8"
        axes.text(column, row, str(count), ha="center", va="center", fontsize=size, color=color)


def _name_classes(axes: Axes, classes: Sequence[str]) -> None:
    """Name the classes on both axes. With more than 40, only each second (third, …) is named."""
    every = math.ceil(len(classes) / 40)
    places = range(0, len(classes), every)
    names = [_short(classes[place]) for place in places]
    size = 9 if len(names) <= MOST_COUNTS else 7
    slant = 45 if max(map(len, names)) > 3 else 0
    axes.set_xticks(
        places, names, rotation=slant, ha="right" if slant else "center", rotation_mode="anchor",
        fontsize=size, parse_math=False,
    )  # fmt: skip
    axes.set_yticks(places, names, fontsize=size, parse_math=False)
    note = f" (one name in {every} is shown)" if every > 1 else ""
    axes.set_xlabel(f"predicted class{note}", color=INK)
    axes.set_ylabel(f"true class{note}", color=INK)
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_color(RULE)


def _short(name: str) -> str:
    """A long name with … in its middle, because similar names often differ at their ends."""
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 9]}…{name[-8:]}"
