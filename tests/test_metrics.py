"""Metrics for classes of different sizes, compared with scikit-learn and with their definitions.

scikit-learn's values were computed by its version 1.9.1. It is not among the packages of the tests,
because pages would then draw more figures, and the tests would take longer.
"""

from typing import Any

import numpy as np
import pytest

from ffnet.data import folds
from ffnet.data.dataset import DataSet, Part
from ffnet.errors import InputError
from ffnet.training import metrics

SHARES = {2: [0.97, 0.03], 3: [0.6, 0.3, 0.1], 10: [0.4, 0.3, *[0.3 / 8] * 8]}


def examples(classes: int, whole: bool) -> tuple[Any, Any]:
    """Scores of 700 examples that know something of the labels, and the labels.

    With `whole`, the scores are whole numbers, so that many probabilities are equal.
    """
    random = np.random.default_rng(classes)
    labels = random.choice(classes, 700, p=SHARES[classes])
    scores = random.normal(size=(700, classes)) + 1.5 * np.eye(classes)[labels]
    return (np.round(scores) if whole else scores).astype(np.float32), labels


@pytest.mark.parametrize(
    ("classes", "whole", "expected"),
    [
        (2, False, (0.8926470588235293, 0.5805916256183755, 0.9642647058823529)),
        (2, True, (0.9044117647058824, 0.6553846153846155, 0.957610294117647)),
        (3, False, (0.7733988782760797, 0.6966503992901508, 0.9171711892289177)),
        (3, True, (0.7641304273373347, 0.739372902812713, 0.9060783918159707)),
        (10, False, (0.5063097857810066, 0.40546029742043643, 0.8873457839359137)),
        (10, True, (0.4227163672242136, 0.38559718296893447, 0.8800968487069516)),
    ],
)
def test_metrics_are_those_of_scikit_learn(
    classes: int, whole: bool, expected: tuple[float, ...]
) -> None:
    """balanced_accuracy_score, f1_score(average="macro"), roc_auc_score(multi_class="ovr")."""
    scores, labels = examples(classes, whole)
    predicted = scores.argmax(axis=1)
    ours = (
        metrics.balanced_accuracy(predicted, labels),
        metrics.macro_f1(predicted, labels),
        metrics.auc(scores, labels),
    )
    assert ours == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("whole", [False, True])
def test_metrics_have_their_definitions(whole: bool) -> None:
    scores, labels = examples(3, whole)
    predicted = scores.argmax(axis=1)
    odds = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    chances = odds / odds.cumsum(axis=1)[:, -1:]
    recalls, f1s, areas = [], [], []
    for own in range(3):
        hits = int(((predicted == own) & (labels == own)).sum())
        recall, precision = hits / (labels == own).sum(), hits / (predicted == own).sum()
        recalls.append(recall)
        f1s.append(2 * recall * precision / (recall + precision))
        high, low = chances[labels == own, own][:, None], chances[labels != own, own]
        areas.append(np.mean((high > low) + (high == low) / 2))
    assert metrics.balanced_accuracy(predicted, labels) == pytest.approx(np.mean(recalls))
    assert metrics.macro_f1(predicted, labels) == pytest.approx(np.mean(f1s))
    assert metrics.auc(scores, labels) == pytest.approx(np.mean(areas))


def test_a_class_without_examples_counts_as_in_scikit_learn() -> None:
    """Classes 2 and 4 have no example; class 2 is predicted, class 4 is not.

    scikit-learn's AUC is then NaN.
    """
    random = np.random.default_rng(0)
    scores = random.normal(size=(400, 5)).astype(np.float32)
    scores[:, 4] = -9
    labels = random.choice([0, 1, 3], 400)
    predicted = scores.argmax(axis=1)
    assert {*predicted} == {0, 1, 2, 3}
    assert metrics.balanced_accuracy(predicted, labels) == pytest.approx(0.2640512210716962)
    assert metrics.macro_f1(predicted, labels) == pytest.approx(0.22560405659788668)
    assert metrics.auc(scores, labels) is None


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 0, 0]])
def test_a_single_class_has_no_curve(labels: list[int]) -> None:
    scores = np.zeros((3, 2), np.float32)
    assert metrics.auc(scores, np.array(labels)) is None
    assert metrics.auc(scores[:, :1], np.zeros(3, int)) is None


def test_the_area_is_the_share_of_pairs_in_the_right_order() -> None:
    """Ties count half. The large scores would overflow without the subtraction of the highest."""
    margins, labels = np.array([-900, 2, 2, 900, 0, 2]), np.array([0, 0, 1, 1, 1, 0])
    scores = np.stack([-margins, margins], axis=1).astype(np.float32)
    pairs = [(p > n) + (p == n) / 2 for p in margins[labels == 1] for n in margins[labels == 0]]
    assert metrics.auc(scores, labels) == pytest.approx(np.mean(pairs)) == 6 / 9


def test_a_net_that_diverged_has_metrics_without_a_warning() -> None:
    scores = np.full((4, 3), np.nan, np.float32)
    labels = np.array([0, 1, 2, 0])
    assert metrics.balanced_accuracy(scores.argmax(axis=1), labels) == pytest.approx(1 / 3)
    metrics.auc(scores, labels)


def test_an_area_needs_each_class_in_each_validation_part() -> None:
    classes, whole, without = ("ant", "bee", "cat"), np.array([2, 0, 1]), np.array([2, 0, 2])
    metrics.refuse_undefined("val_auc", classes, [whole, whole])
    metrics.refuse_undefined("val_macro_f1", classes, [without])
    with pytest.raises(InputError, match=r"val_auc needs .* Given: a part without 'bee'"):
        metrics.refuse_undefined("val_auc", classes, [whole, without])


def test_the_validation_parts_of_folds_are_those_that_nets_are_measured_on() -> None:
    labels = np.array([0] * 20 + [1] * 3, np.int32)
    parts = Part(np.zeros((23, 2), np.uint8), labels), Part(np.zeros((4, 2), np.uint8), labels[:4])
    data = DataSet(
        name="own", train=parts[0], validation=parts[1], test=None, classes=("a", "b"),
        mean=np.zeros(1, np.float32), std=np.ones(1, np.float32), source="", digest="",
    )  # fmt: skip
    found = [*folds.validation_labels(data, 4, [7, 8])]
    expected = [folds.Fold(number, 4, seed) for seed in (7, 8) for number in range(4)]
    assert len(found) == 8
    for ours, fold in zip(found, expected, strict=True):
        assert (ours == folds.folded(data, fold, "unit").validation.y).all()
    with pytest.raises(InputError, match="a part without 'b'"):
        metrics.refuse_undefined("val_auc", data.classes, found)
