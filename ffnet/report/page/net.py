"""The page's section about the best net: its confusion matrix, its mistakes and its weights."""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ffnet.report import figures
from ffnet.report.page import words
from ffnet.report.page.parts import Image, Part, Table, sentences

MOST_MISTAKES = 24  # maximum number of examples in the picture of mistakes
MOST_LINES = 10  # maximum number of examples in the table of mistakes
DPI = 110

Array = npt.NDArray[Any]

ABOUT = {
    "confusion": (
        "Confusion matrix of the best net on the validation part",
        "Rows are true classes and columns are the net's answers.",
    ),
    "mistakes": (
        "Examples that the best net takes for another class",
        "The mistakes of which the net is surest: true class → its answer, and how sure it is.",
    ),
    "weights": (
        "First-layer weights of the best net as images",
        "What the neurons of the first layer look for.",
    ),
}
"""Figure → (what it is, for readers who do not see it; its caption)."""


@dataclass(frozen=True)
class Answers:
    """What the best net says about the validation part.

    Attributes:
        trial: number of its trial.
        epoch: epochs after which it had these weights.
        note: why these are not the weights of the table's best report; "" if they are.
        classes: names of the C classes.
        x: the raw examples [N, …].
        y: their classes [N].
        probabilities: [N, C].
        kernel: weights of the first layer [D, H].
    """

    trial: int
    epoch: float
    note: str
    classes: Sequence[str]
    x: Array
    y: Array
    probabilities: Array
    kernel: Array

    @property
    def predicted(self) -> Array:
        """The most probable class of each example [N]."""
        found: Array = self.probabilities.argmax(axis=1)
        return found

    def confusion(self) -> Array:
        """[C, C] counts, a row for each true class and a column for each predicted class."""
        counts = np.zeros((len(self.classes),) * 2, np.int64)
        np.add.at(counts, (self.y, self.predicted), 1)
        return counts

    def mistakes(self) -> Array:
        """Indices of the examples with another class than the net says, its surest first."""
        wrong = np.flatnonzero(self.predicted != self.y)
        sure = self.probabilities[wrong, self.predicted[wrong]]
        found: Array = wrong[np.argsort(-sure, kind="stable")]
        return found


def part_of(answers: Answers, drawn: Mapping[str, Figure]) -> Part:
    """The section of the page, with the figures of `figures_of`."""
    wrong, count = answers.mistakes(), len(answers.y)
    result = (
        f"Trial {answers.trial} after {answers.epoch:.4g} epochs. Of "
        f"{words.count(count, 'validation example')}, it takes {len(wrong):,} for another class: "
        f"accuracy {1 - len(wrong) / count:.4f}."
    )
    texts = [result, *sentences([answers.note] if answers.note else [])]
    images = [_image(figure, *ABOUT[name]) for name, figure in drawn.items()]
    return Part("net", "The best net", texts, [*_listed(answers)], images)


def part_without(reason: str) -> Part:
    """The section if the net cannot be looked at."""
    return Part("net", "The best net", [f"It is not shown here: {reason}."])


def figures_of(answers: Answers) -> dict[str, Figure]:
    """The figures of the net, by the names in ABOUT. Only nets for images have all three."""
    found = {"confusion": figures.confusion(answers.confusion(), answers.classes, "validation")}
    shape = answers.x.shape[1:]
    if not figures.is_image(shape):
        return found
    if len(answers.mistakes()):
        found["mistakes"] = _mistakes(answers)
    of_pixels = len(answers.kernel) == np.prod(shape)  # else number_embedding made its inputs
    if of_pixels and np.isfinite(answers.kernel).all(axis=0).any():
        found["weights"] = figures.weight_grid(answers.kernel, shape)
    return found


def _listed(answers: Answers) -> Iterator[Table]:
    """The surest mistakes as a table, where examples are not images."""
    wrong = answers.mistakes()[:MOST_LINES]
    if figures.is_image(answers.x.shape[1:]) or not len(wrong):
        return
    rows = [
        [
            f"{index:,}", answers.classes[answers.y[index]],
            answers.classes[answers.predicted[index]], f"{answers.probabilities[index].max():.3f}",
        ]
        for index in wrong
    ]  # fmt: skip
    head = ["validation example, from 0", "true class", "the net's answer", "its probability"]
    yield Table("The mistakes of which the net is surest", head, rows)


def _mistakes(answers: Answers) -> Figure:
    chosen = answers.mistakes()[:MOST_MISTAKES]
    columns = min(6, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = Figure((1.35 * columns + 0.3, 1.6 * rows + 0.2), layout="constrained")
    cells = figure.subplots(rows, columns, squeeze=False)
    for axes in cells.flat:
        axes.set_axis_off()
    for axes, index in zip(cells.flat, chosen, strict=False):
        image = answers.x[index]
        image = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
        axes.imshow(image, cmap="gray")
        true, said = (answers.classes[n] for n in (answers.y[index], answers.predicted[index]))
        sure = answers.probabilities[index].max()
        title = f"{true[:10]} → {said[:10]}\n{sure:.3f}"
        axes.set_title(title, fontsize=8, color=figures.INK, pad=2, parse_math=False)
    return figure


def _image(figure: Figure, alt: str, caption: str) -> Image:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, facecolor="white", bbox_inches="tight")
    coded = base64.b64encode(file.getvalue()).decode()
    return Image(f"data:image/png;base64,{coded}", alt, caption)
