"""Which nets an ensemble takes: greedy selection on a validation part. Needs no TensorFlow.

An ensemble answers with the mean of its nets' probabilities. `select` takes the best net first.
Then it takes, again and again, the net with which the mean becomes the best by the study's metric;
if values are equal, the one with the lower loss. A net may be taken several times: that is its
weight. In the end, the ensemble counts that was the best after any of the draws. This is Caruana,
Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of models", ICML 2004.

The validation part chooses the nets, so the ensemble's figures on it are a little too good.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ffnet.errors import InputError
from ffnet.spec.sections import Metric, Tuning
from ffnet.training import metrics
from ffnet.training.metrics import Score

Floats = npt.NDArray[np.float64]
MOST_DRAWS = 1000


@dataclass(frozen=True)
class Answers:
    """What a net, or an ensemble, says about the N examples of a part.

    Attributes:
        probabilities: of each class [N, C]. Those of an ensemble are a sum over its draws.
        of_label: log of the probability of each example's own class [N]. It is kept apart because
            a small probability may be rounded to 0.
        labels: the class of each example [N].
        draws: how many nets were summed.
    """

    probabilities: Floats
    of_label: Floats
    labels: metrics.Labels
    draws: int = 1

    @classmethod
    def of(cls, scores: metrics.Floats, labels: metrics.Labels) -> "Answers":
        """What a net says whose scores (logits) are [N, C]."""
        scores = np.asarray(scores, np.float64)
        logs = scores - scores.max(axis=1, keepdims=True)
        logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
        return cls(np.exp(logs), logs[np.arange(len(labels)), labels], labels)

    def __add__(self, other: "Answers") -> "Answers":
        """What an ensemble says that has the draws of both."""
        return Answers(
            self.probabilities + other.probabilities,
            np.logaddexp(self.of_label, other.of_label),
            self.labels,
            self.draws + other.draws,
        )

    def loss(self) -> float:
        """The mean cross-entropy, in nats."""
        return float(np.log(self.draws) - self.of_label.mean())

    def value(self, metric: Metric) -> float:
        """The value of a study's metric, as `Score` defines it."""
        if metric == "val_loss":
            return self.loss()
        predicted = self.probabilities.argmax(axis=1)
        if metric == "val_accuracy":
            return float((predicted == self.labels).mean())
        if metric == "val_balanced_accuracy":
            return metrics.balanced_accuracy(predicted, self.labels)
        if metric == "val_macro_f1":
            return metrics.macro_f1(predicted, self.labels)
        area = self._auc()
        assert area is not None  # a study with this metric has an example of each class
        return area

    def score(self) -> Score:
        """All figures."""
        predicted = self.probabilities.argmax(axis=1)
        return Score(
            int((predicted == self.labels).sum()),
            len(self.labels),
            self.loss(),
            metrics.balanced_accuracy(predicted, self.labels),
            metrics.macro_f1(predicted, self.labels),
            self._auc(),
        )

    def _auc(self) -> float | None:
        with np.errstate(divide="ignore"):  # the score of a probability 0 is -infinity
            return metrics.auc(np.log(self.probabilities), self.labels)


def joined(nets: Sequence[Answers], draws: Sequence[int]) -> Answers:
    """What an ensemble says that takes each net so often; at least one net is taken."""
    first, *others = [net for net, times in zip(nets, draws, strict=True) for _ in range(times)]
    return sum(others, first)


def check_draws(draws: int) -> None:
    """Refuse a number of draws for which `select` makes no ensemble. Raises InputError."""
    if not 2 <= draws <= MOST_DRAWS:
        raise InputError(
            f"an ensemble has from 2 to {MOST_DRAWS} draws (--ensemble). Given: {draws}"
        )


def select(nets: Sequence[Answers], tuning: Tuning, most: int) -> list[int]:
    """How often each net is taken; the sum is from 1 to `most`.

    Args:
        nets: what each net says about the validation part. Of equal nets, the first is taken.
        tuning: names the metric.
        most: number of draws. The best ensemble may have fewer.

    Example:
        >>> labels = np.array([0, 1])
        >>> sure, wrong = np.array([[2.0, 0.0], [0.0, 2.0]]), np.array([[0.0, 2.0], [2.0, 0.0]])
        >>> select([Answers.of(wrong, labels), Answers.of(sure, labels)], Tuning(), 3)
        [0, 1]
    """
    sign = 1 if tuning.mode == "max" else -1

    def key(answers: Answers) -> tuple[float, float]:
        # Rounded, because the same mean may differ in its last bits after other draws.
        return round(sign * answers.value(tuning.metric), 12), round(-answers.loss(), 12)

    draws, now, best = [0] * len(nets), None, None
    for _ in range(most):
        possible = [net if now is None else now + net for net in nets]
        keys = [key(answers) for answers in possible]
        at = keys.index(max(keys))
        draws[at], now = draws[at] + 1, possible[at]
        if best is None or keys[at] > best[0]:
            best = keys[at], [*draws]
    assert best
    return best[1]
