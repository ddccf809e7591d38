"""An ensemble of a run's kept nets as one model: the mean of their probabilities.

This module imports TensorFlow.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from ffnet.data.dataset import Part
from ffnet.errors import InputError
from ffnet.export.card import Choice, card, kept, left_out
from ffnet.export.export import Served, ServedNet, publish
from ffnet.export.measured import (
    answers,
    figures,
    is_same,
    refuse_other_figures,
    validation_part,
)
from ffnet.run import ranking, tables
from ffnet.run.folder import RunFolder
from ffnet.spec.sections import METRICS
from ffnet.training.ensemble import Answers, check_draws, joined, select

OF_A_NET = ("trial", "seed", "epochs", "status", "parent", "hyperparameters")
"""Keys of a net's card that an ensemble's card has for each of its members."""
TOO_GOOD = (
    "the ensemble was chosen on the validation part, so its figures there are a little too good"
)


@dataclass(frozen=True)
class Member:
    """A net of an ensemble.

    Attributes:
        choice: the trial and its weights.
        net: the net that is exported.
        draws: how often the net was taken.
        found: what the exported net says about the validation part.
    """

    choice: Choice
    net: ServedNet
    draws: int
    found: Answers


@dataclass(frozen=True)
class Ensemble:
    """Nets whose probabilities are averaged.

    Attributes:
        members: the nets, those with the most draws first.
        nets: from how many nets they were chosen.
        most: how many draws were made.
        metric: the metric by which they were chosen.
        part: the validation part with raw examples.
        notes: which kept nets were left out, and why.
    """

    members: tuple[Member, ...]
    nets: int
    most: int
    metric: str
    part: Part
    notes: tuple[str, ...]

    @property
    def draws(self) -> int:
        """The sum of the members' draws."""
        return sum(member.draws for member in self.members)

    @property
    def weights(self) -> dict[int, float]:
        """Trial → the share of its probabilities in the mean. The sum is 1."""
        return {m.choice.row["trial"]: m.draws / self.draws for m in self.members}

    def out(self, wanted: Path | None) -> Path:
        """The model's folder: see `Choice.out`."""
        return self.members[0].choice.out(wanted)


class ServedEnsemble(Served):
    """Several nets that take the same raw examples."""

    def __init__(self, members: Sequence[Member]) -> None:
        """Join the nets. They share the first part, which reads and scales the raw examples."""
        super().__init__(members[0].choice, members[0].net.raw)
        self._nets = [member.net for member in members]
        self._draws = [float(member.draws) for member in members]

    def scores_of(self, examples: tf.Tensor) -> tf.Tensor:
        """Return the log of the mean probabilities, which has the same softmax."""
        logs = [
            tf.nn.log_softmax(net.scores_of(examples)) + math.log(draws)
            for net, draws in zip(self._nets, self._draws, strict=True)
        ]
        return tf.reduce_logsumexp(tf.stack(logs), axis=0) - math.log(sum(self._draws))


def choose(run: RunFolder, most: int, given: Any = None) -> Ensemble:
    """Choose an ensemble among the nets whose weights a run has kept: see `training.ensemble`.

    Each net is measured on the validation part. A net that has not the figures of its report is
    left out.

    Args:
        run: the run.
        most: number of draws, 2 or more.
        given: the data, if they were given from Python.

    Raises:
        InputError: no net can be used, or the data of the run are not on this machine.
    """
    check_draws(most)
    choices, notes = kept(run)
    try:
        part = validation_part(choices[0], given)
    except InputError as error:
        raise InputError(
            f"an ensemble is chosen on the validation part: it needs the data of the run; {error}"
        ) from None
    tuning = ranking.tuning_of(choices[0].document["study"], str(run.study))
    nets: list[Member] = []
    for choice in choices:
        try:
            net = ServedNet(choice, nets[0].net.raw if nets else None)
            found = answers(part, net.scores)
            refuse_other_figures(choice, found)
            nets.append(Member(choice, net, 0, found))
        except InputError as error:
            notes.append(left_out(choice.row["trial"], error))
    if not nets:
        raise InputError(f"an ensemble needs a net that can be exported. Given: none; {notes[0]}")
    draws = select([net.found for net in nets], tuning, most)
    taken = sorted(zip(nets, draws, strict=True), key=lambda pair: -pair[1])
    members = tuple(Member(n.choice, n.net, d, n.found) for n, d in taken if d)
    return Ensemble(members, len(nets), most, tuning.metric, part, tuple(notes))


def export(ensemble: Ensemble, out: Path) -> dict[str, Any]:
    """Write an ensemble as the next version of a model, and return its card: see `export.export`.

    Raises:
        InputError: the model has other figures on the validation part than the mean of its
            members' probabilities, or `out` cannot be written.
    """
    net = ServedEnsemble(ensemble.members)
    found = joined([m.found for m in ensemble.members], [m.draws for m in ensemble.members])
    measured = dict.fromkeys(METRICS) | found.score().figures("val")
    again = figures(answers(ensemble.part, net.scores))
    if not is_same(measured, again, len(ensemble.part)):
        raise InputError(
            f"the exported ensemble must have the figures of its nets: {figures(found)}. Given: "
            f"{again}"
        )
    return publish(net, _card(ensemble, measured) | {"measured_again": again}, out)


def _card(ensemble: Ensemble, measured: dict[str, Any]) -> dict[str, Any]:
    about = {
        name: value
        for name, value in card(ensemble.members[0].choice).items()
        if name not in OF_A_NET
    }
    return about | {
        **measured,
        **dict.fromkeys(tables.TEST),
        "members": [_of_member(member, ensemble.draws) for member in ensemble.members],
        "chosen": (
            f"{_count(ensemble.draws, 'draw')} with replacement from "
            f"{_count(ensemble.nets, 'kept net')}, the best by "
            f"{ensemble.metric} on the validation part after {ensemble.most} draws (greedy "
            f"selection, Caruana et al., 2004)"
        ),
        "note": "; ".join([TOO_GOOD, *ensemble.notes]),
    }


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _of_member(member: Member, draws: int) -> dict[str, Any]:
    own = card(member.choice)
    return {
        "trial": own["trial"],
        "weight": member.draws / draws,
        "draws": member.draws,
        **{name: own[name] for name in (*METRICS, *tables.TEST, *OF_A_NET[1:])},
        "measured_again": figures(member.found),
    }
