"""Metrics of a classifier for classes of different sizes, as scikit-learn defines them.

Each is a share from 0 to 1, and higher is better. This module does not import TensorFlow.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ffnet.errors import InputError
from ffnet.spec.sections import Metric

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Score:
    """A net's score on a part of the data.

    Attributes:
        correct: number of correct predictions.
        count: number of examples.
        loss: mean cross-entropy, in nats.
        balanced_accuracy, macro_f1, auc: see the functions of these names. auc is None if it is
            not defined.
    """

    correct: int
    count: int
    loss: float
    balanced_accuracy: float
    macro_f1: float
    auc: float | None

    @property
    def accuracy(self) -> float:
        """The share of correct predictions, 0 to 1."""
        return self.correct / self.count

    def figures(self, part: str) -> dict[str, float]:
        """The figures that are defined, named as columns: val_accuracy, … for the part "val"."""
        found = {
            "loss": self.loss,
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
            "auc": self.auc,
        }
        return {f"{part}_{name}": value for name, value in found.items() if value is not None}


def balanced_accuracy(predicted: Labels, labels: Labels) -> float:
    """The mean over the classes of the share of their examples that are predicted right.

    Classes without an example do not count, as in scikit-learn's `balanced_accuracy_score`.

    Args:
        predicted, labels: predicted and true class of each example [N], N > 0.
    """
    hits, of_class, _ = _counts(predicted, labels)
    present = of_class > 0
    return float(np.mean(hits[present] / of_class[present]))


def macro_f1(predicted: Labels, labels: Labels) -> float:
    """The mean over the classes of F1 = 2 · hits / (examples + predictions) of the class.

    Classes that are neither true nor predicted do not count, as in scikit-learn's `f1_score` with
    `average="macro"`.

    Args:
        predicted, labels: predicted and true class of each example [N], N > 0.
    """
    hits, of_class, of_prediction = _counts(predicted, labels)
    both = of_class + of_prediction
    return float(np.mean(2 * hits[both > 0] / both[both > 0]))


def auc(scores: Floats, labels: Labels) -> float | None:
    """The area under the ROC curve of the softmax probabilities.

    With two classes, it is that of class 1. With more, it is the mean over the classes, each
    against all others, as in scikit-learn's `roc_auc_score` with `multi_class="ovr"`. Equal
    probabilities count half.

    Args:
        scores: a score for each example and class [N, C].
        labels: the true class of each example [N].

    Returns:
        None if a class has no example, or if there is only one class: then a curve is not defined.
    """
    classes = scores.shape[1]
    if classes < 2 or not np.bincount(labels, minlength=classes).all():
        return None
    with np.errstate(invalid="ignore"):  # a diverged net has NaN as scores
        highest = scores.max(axis=1)
        of_classes = [np.exp((scores[:, c] - highest).astype(np.float64)) for c in range(classes)]
        total = sum(of_classes[1:], of_classes[0])
        chosen = [1] if classes == 2 else range(classes)
        return float(np.mean([_area(of_classes[c] / total, labels == c) for c in chosen]))


def refuse_undefined(metric: Metric, classes: Sequence[str], parts: Iterable[Labels]) -> None:
    """Refuse a metric that a validation part does not define.

    Args:
        metric: the metric.
        classes: the names of the classes.
        parts: the labels of the validation part, or of each fold's validation part.

    Raises:
        InputError: the metric is val_auc, and a class has no example in a part.
    """
    for labels in parts if metric == "val_auc" else ():
        counts = np.bincount(labels, minlength=len(classes))
        if not counts.all():
            raise InputError(
                f"metric val_auc needs an example of each class in each validation part. Given: a "
                f"part without {classes[int(np.argmin(counts))]!r}; use another metric, such as "
                f"val_balanced_accuracy, or more validation examples"
            )


def _counts(predicted: Labels, labels: Labels) -> tuple[Labels, Labels, Labels]:
    """Of each class: right predictions, examples, predictions."""
    size = int(max(predicted.max(), labels.max())) + 1
    found = (labels[predicted == labels], labels, predicted)
    hits, of_class, of_prediction = (np.bincount(each, minlength=size) for each in found)
    return hits, of_class, of_prediction


def _area(values: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """The share of pairs of a positive and a negative example in which the positive is higher.

    It is computed from ranks (Mann and Whitney); equal values have the mean of their ranks.
    """
    ordered, own = np.sort(values), np.sort(values[positive])
    before, until = (np.searchsorted(ordered, own, side) for side in ("left", "right"))
    ranks = (before + until + 1) / 2
    count = len(own)
    above = ranks.sum() - count * (count + 1) / 2
    return float(above / (count * (len(values) - count)))
