"""Figures: three formats, labelled axes, and pixels that match the numbers."""

import math
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from ffnet.errors import InputError
from ffnet.report import figures


def report(epoch: float, **values: Any) -> dict[str, Any]:
    return {"trial": 0, "epoch": epoch, "step": int(10 * epoch), **values}


def legend(axes: Axes) -> list[str]:
    shown = axes.get_legend()
    return [text.get_text() for text in shown.get_texts()] if shown else []


def pixels(figure: Figure, path: Path) -> npt.NDArray[np.uint8]:
    png, *_ = figures.save(figure, path)
    with Image.open(png) as image:
        return np.asarray(image.convert("RGB"))


# --- saving ------------------------------------------------------------------------------------


def test_a_figure_is_saved_as_png_of_300_dpi_pdf_and_svg(tmp_path: Path) -> None:
    figure = figures.curves([report(1, train_loss=1.0)], "a trial")
    paths = figures.save(figure, tmp_path / "figures" / "curves.of.it")
    names = [f"curves.of.it.{suffix}" for suffix in ("png", "pdf", "svg")]
    assert [path.name for path in paths] == names
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(names)
    with Image.open(paths[0]) as image:
        assert image.format == "PNG"
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        assert image.width >= 8 * 300
    assert paths[1].read_bytes().startswith(b"%PDF-")
    assert ET.parse(paths[2]).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_a_pdf_holds_truetype_fonts_and_an_svg_its_text(tmp_path: Path) -> None:
    figure = figures.confusion([[3, 1], [0, 2]], ["cat & dog", "<none>"], "test", "a net")
    _, pdf, svg = figures.save(figure, tmp_path / "confusion")
    assert b"/Subtype /Type3" not in pdf.read_bytes()
    assert b"/FontFile2" in pdf.read_bytes()
    texts = [text.text for text in ET.parse(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert {"cat & dog", "<none>", "a net", "confusion matrix, test part: 6 examples"} <= {*texts}
    assert [text for text in texts if text in ("0", "1", "2", "3")] == ["3", "1", "0", "2"]


def test_the_same_figure_gives_the_same_files(tmp_path: Path, monkeypatch: Any) -> None:
    files = []
    for day in ("1000000000", "1700000000"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", day)  # the date that matplotlib would write
        figure = figures.weight_grid(np.arange(16.0).reshape(4, 4), (2, 2))
        files.append([path.read_bytes() for path in figures.save(figure, tmp_path / day)])
    assert files[0] == files[1]


# --- curves ------------------------------------------------------------------------------------


def test_curves_are_the_reports_in_order_with_labelled_axes() -> None:
    rows = [
        report(2, train_loss=0.5, val_loss=0.6, val_accuracy=0.8),
        report(1, train_loss=1.0, val_loss=0.9, val_accuracy=0.7),
        report(3, train_loss=0.4, val_loss=0.7, val_accuracy=0.75),
    ]
    figure = figures.curves(rows, "a $title$ with a_name")
    loss, accuracy = figure.axes
    assert figure.get_suptitle() == "a $title$ with a_name"
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("epoch", "loss (mean cross-entropy, nats)")
    assert accuracy.get_xlabel() == "epoch"
    assert accuracy.get_ylabel() == "accuracy (share of the examples)"
    assert legend(loss) == ["train", "validation"]
    assert legend(accuracy) == ["validation", "best: 0.8000 at epoch 2"]
    train, validation = loss.lines
    assert np.asarray(train.get_xdata()).tolist() == [1, 2, 3]
    assert np.asarray(train.get_ydata()).tolist() == [1.0, 0.5, 0.4]
    assert np.asarray(validation.get_ydata()).tolist() == [0.9, 0.6, 0.7]
    assert train.get_linestyle() != validation.get_linestyle()  # not told apart by colour alone


@pytest.mark.parametrize(
    "lost",
    [{}, {"train_loss": math.inf, "val_loss": math.nan}, {"train_loss": math.nan}],
)
def test_a_diverged_trial_has_a_mark_and_no_accuracy(lost: dict[str, float]) -> None:
    rows = [report(1, train_loss=2.0, val_loss=2e9), report(2, **lost), report(3)]
    figure = figures.curves(rows, "diverged")
    loss, accuracy = figure.axes
    assert legend(loss) == ["train", "validation", "diverged"]
    assert np.asarray(loss.lines[-1].get_xdata()).tolist() == [2, 2]
    assert loss.get_yscale() == "log"
    assert legend(accuracy) == ["diverged"]
    assert [text.get_text() for text in accuracy.texts] == ["none reported"]
    figure.draw_without_rendering()


@pytest.mark.parametrize("rows", [[], [{"trial": 0, "step": 3}], [report(0.0)]])
def test_a_trial_without_figures_is_said_to_have_none(rows: Any) -> None:
    figure = figures.curves(rows, "nothing")
    for axes in figure.axes:
        assert [text.get_text() for text in axes.texts] == ["none reported"]
    figure.draw_without_rendering()


def test_the_first_step_does_not_flatten_the_curves() -> None:
    rows = [report(0.02, train_loss=6.25, val_loss=5.5, val_accuracy=0.125)]
    rows += [report(1, train_loss=0.5, val_loss=0.75, val_accuracy=0.75)]
    rows += [report(2, train_loss=0.25, val_loss=0.5, val_accuracy=0.875)]
    figure = figures.curves(rows, "a net")
    loss, accuracy = figure.axes
    assert loss.get_ylim() == pytest.approx((0.25 - 0.025, 0.75 + 0.025))
    assert accuracy.get_ylim() == pytest.approx((0.75 - 0.00625, 0.875 + 0.00625))
    # The first report is still drawn, and the figure says what lies outside.
    assert np.asarray(loss.lines[0].get_ydata()).tolist() == [6.25, 0.5, 0.25]
    assert loss.get_title("left") == "above the axis at epoch 0.02: train 6.25, validation 5.5"
    assert accuracy.get_title("left") == "below the axis at epoch 0.02: validation 0.125"
    figure.draw_without_rendering()


def test_a_first_loss_that_alone_lies_outside_is_named_alone() -> None:
    rows = [report(1, train_loss=9.0, val_loss=0.6), report(2, train_loss=0.5, val_loss=0.75)]
    loss, _ = figures.curves([*rows, report(3, train_loss=0.25, val_loss=0.5)], "a net").axes
    assert loss.get_title("left") == "above the axis at epoch 1: train 9"


@pytest.mark.parametrize(
    ("losses", "accuracies"),
    [
        ([1.0, 0.5, 0.25], [0.5, 0.75, 1.0]),  # the later reports fill a third
        ([6.0, 0.5], [0.1, 0.9]),  # two reports: a line from one to the other
        ([6.0], [0.1]),
        ([0.1, 6.0, 7.0], [0.9, 0.1, 0.2]),  # the first is the best: it must be seen
        ([6.0, math.nan, 0.5], [0.1, math.nan, 0.9]),
    ],
)
def test_otherwise_every_report_lies_within_the_axes(losses: Any, accuracies: Any) -> None:
    rows = [
        report(n, train_loss=loss, val_loss=loss, val_accuracy=accuracy)
        for n, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True), 1)
    ]
    for axes, values in zip(figures.curves(rows, "a net").axes, (losses, accuracies), strict=True):
        low, high = axes.get_ylim()
        assert low < np.nanmin(values) <= np.nanmax(values) < high
        assert axes.get_title("left") == ""


def test_later_losses_that_are_all_equal_have_an_axis_of_their_own() -> None:
    rows = [report(n, val_loss=6.0 if n == 1 else 0.5) for n in (1, 2, 3)]
    assert figures.curves(rows, "a net").axes[0].get_ylim() == pytest.approx((0.475, 0.525))


def test_losses_over_more_than_a_decade_stand_on_a_logarithmic_axis() -> None:
    rows = [report(n, train_loss=loss) for n, loss in enumerate((1e5, 50.0, 4.0, 2.0))]
    loss, _ = figures.curves(rows, "a net").axes
    low, high = loss.get_ylim()
    assert loss.get_yscale() == "log"
    assert low < 2.0 < 1e5 < high  # on it the first report flattens nothing
    assert loss.get_title("left") == ""


# --- weights -----------------------------------------------------------------------------------


def test_the_images_are_the_weights_of_the_largest_neurons_each_on_its_scale() -> None:
    weights = np.random.default_rng(0).normal(size=(6, 70)) * np.arange(1, 71)
    figure = figures.weight_grid(weights, (2, 3))
    cells = [axes for axes in figure.axes if axes.images and axes.get_title()]
    norms = np.linalg.norm(weights, axis=0)
    assert [int(axes.get_title()) for axes in cells] == list(np.argsort(-norms)[:64])
    assert figure.get_suptitle() == "First-layer weights of 64 of 70 neurons"
    for axes in cells:
        column = weights[:, int(axes.get_title())]
        shown = np.asarray(axes.images[0].get_array())
        assert shown == pytest.approx(column.reshape(2, 3) / np.abs(column).max())
        assert axes.images[0].get_clim() == (-1, 1)


def test_a_known_pattern_is_seen_in_the_png(tmp_path: Path) -> None:
    pattern = np.array([[1.0, 0.0], [-0.5, -1.0]])
    seen = pixels(figures.weight_grid(7 * pattern.reshape(4, 1), (2, 2)), tmp_path / "w")
    places = {}
    for value in pattern.flat:
        color = colormaps["RdBu_r"]((value + 1) / 2, bytes=True)[:3]
        rows, columns = np.nonzero((seen == color).all(axis=2))
        places[value] = np.median(rows), np.median(columns)
        assert len(rows) > 50 * 50
    side = places[0.0][1] - places[1.0][1]
    assert side > 50
    assert places[-0.5] == pytest.approx((places[1.0][0] + side, places[1.0][1]), abs=3)
    assert places[-1.0] == pytest.approx((places[0.0][0] + side, places[0.0][1]), abs=3)


def test_weights_of_colour_images_are_colours_about_grey() -> None:
    weights = np.zeros((2, 2, 3, 1))
    weights[0, 1] = [[4.0], [-2.0], [0.0]]
    (axes,) = figures.weight_grid(weights.reshape(12, 1), (2, 2, 3)).axes
    shown = np.asarray(axes.images[0].get_array())
    assert shown[0, 1].tolist() == [1.0, 0.25, 0.5]
    assert (shown[1] == 0.5).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 64), (3, 7), (5, 5, 1), (28, 28), (32, 32, 3)])
@pytest.mark.parametrize("neurons", [1, 3])
def test_odd_shapes_and_dead_neurons_are_drawn(shape: tuple[int, ...], neurons: int) -> None:
    figure = figures.weight_grid(np.zeros((math.prod(shape), neurons)), shape)
    assert len([axes for axes in figure.axes if axes.get_title()]) == neurons
    figure.draw_without_rendering()


def test_neurons_that_are_not_finite_are_left_out() -> None:
    weights = np.ones((4, 3))
    weights[0, 1], weights[0, 2] = math.nan, math.inf
    figure = figures.weight_grid(weights, (2, 2))
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["0"]


@pytest.mark.parametrize(
    ("weights", "shape", "words"),
    [
        (np.ones((20, 5)), (20,), r"only if examples are: .* Given: examples of shape \(20,\)"),
        (np.ones((8, 5)), (2, 2, 2), "1 or 3 channels"),
        (np.ones((63, 5)), (8, 8), r"must be \[64, neurons\].* Given: \[63, 5\]"),
        (np.ones(64), (8, 8), r"Given: \[64\]"),
        (np.ones((64, 0)), (8, 8), r"Given: \[64, 0\]"),
        (np.full((64, 2), math.nan), (8, 8), "weights must be finite"),
    ],
)
def test_what_is_no_image_is_refused(
    weights: npt.NDArray[np.float64], shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        figures.weight_grid(weights, shape)


def test_only_examples_of_one_or_three_channels_are_images() -> None:
    shapes = [(8, 8), (8, 8, 1), (8, 8, 3), (64,), (8, 8, 2), (8, 8, 4), ()]
    assert [figures.is_image(shape) for shape in shapes] == [True] * 3 + [False] * 4


# --- confusion ---------------------------------------------------------------------------------


def test_confusion_shows_counts_and_the_share_of_each_row() -> None:
    figure = figures.confusion(
        [[8, 2, 0], [1, 0, 3], [0, 0, 0]], ["cat", "$5", "x_1"], "test", "a $net$"
    )
    axes = figure.axes[0]
    assert axes.get_title() == "a $net$\nconfusion matrix, test part: 14 examples"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "$5", "x_1"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cat", "$5", "x_1"]
    assert [text.get_text() for text in axes.texts] == list("820103000")
    shown: npt.NDArray[Any] = np.ma.filled(np.ma.asarray(axes.images[0].get_array()), math.nan)
    assert shown[:2].tolist() == [[0.8, 0.2, 0.0], [0.25, 0.0, 0.75]]
    assert np.isnan(shown[2]).all()  # no example of that class: no share
    assert figure.axes[1].get_ylabel() == "share of the true class"
    figure.draw_without_rendering()


def test_many_classes_and_long_names_are_drawn_without_counts() -> None:
    names = [f"class {n} of a data set with long names" for n in range(100)]
    figure = figures.confusion(20 * np.eye(100, dtype=int), names, "validation")
    assert not figure.axes[0].texts
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert len(labels) <= 40
    assert labels[1] == "class 3 of a da…ng names"
    assert figure.axes[0].get_title() == "confusion matrix, validation part: 2,000 examples"
    assert figure.axes[0].get_ylabel() == "true class (one name in 3 is shown)"
    figure.draw_without_rendering()  # a layout that does not fit would warn


@pytest.mark.parametrize(
    ("matrix", "classes"),
    [([[1, 2]], ["a"]), ([[1, 2], [3, 4]], ["a"]), ([[-1]], ["a"]), (np.zeros((0, 0)), [])],
)
def test_what_is_no_confusion_matrix_is_refused(matrix: Any, classes: list[str]) -> None:
    with pytest.raises(InputError, match="a confusion matrix of"):
        figures.confusion(matrix, classes, "test")
