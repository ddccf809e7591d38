"""ensembles.parquet: the ensemble of a confirmation, with a row for each look at the test part.

`ffnet confirm RUN --ensemble N` writes it beside confirm.parquet. The members are nets of the same
look: the validation part has chosen them (`ffnet.training.ensemble`), and their mean is evaluated
on the test part once, in that look.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from ffnet.errors import InputError
from ffnet.run import intervals, tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Kind, Row
from ffnet.spec.sections import METRICS, Metric, on_test

KIND = Kind(
    pa.schema(
        {
            "look": pa.int32(),  # of confirm.parquet
            "nets": pa.int32(),  # how many nets could be taken
            "most": pa.int32(),  # how many draws were made
            "members": pa.list_(pa.int32()),  # numbers of nets in confirm.parquet
            "draws": pa.list_(pa.int32()),  # how often each of them was taken
            **dict.fromkeys(METRICS, pa.float64()),  # of the mean of the members' probabilities
            **tables.TEST,
        }
    ),
    ["look"],
)


@dataclass(frozen=True)
class Member:
    """A net of an ensemble, how often it was taken, and its own metric on the validation part."""

    trial: int
    seed: int
    draws: int
    value: float


@dataclass(frozen=True)
class Ensemble:
    """What a confirmation says about an ensemble of its nets.

    Attributes:
        metric: the study's metric, which has chosen the nets.
        nets: from how many nets they were chosen.
        folds: number of folds, of which the nets are taken together; None for the study's own
            split.
        members: the nets, those with the most draws first.
        value: the metric on the validation part. It is a little too good, because it has chosen.
        test_accuracy, test_loss, test_metric: figures of the ensemble on the test part. None if the
            test part was not evaluated; `test_metric` also if the metric is not defined there.
        test_examples: number of examples in the test part; None if study.json does not say it.
    """

    metric: Metric
    nets: int
    folds: int | None
    members: tuple[Member, ...]
    value: float
    test_accuracy: float | None
    test_loss: float | None
    test_metric: float | None
    test_examples: int | None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval (Wilson) of the test accuracy for other examples of the same kind."""
        if self.test_accuracy is None or not self.test_examples:
            return None
        return intervals.accuracy(self.test_accuracy, self.test_examples)

    def lines(self) -> list[str]:
        """The result in sentences."""
        draws = sum(member.draws for member in self.members) // (self.folds or 1)
        each = f" of {self.folds} folds each" if self.folds else ""
        first = (
            f"ensemble of {len(self.members)} of the {self.nets} nets, in {draws} "
            f"draw{'s' * (draws > 1)}{each}: "
            f"{self.metric} {self.value:.4f}, a little too good because it chose the nets"
        )
        if self.test_accuracy is None:
            return [first, "the ensemble was not evaluated on the test part"]
        interval = ""
        if found := self.interval:
            interval = (
                f", 95 % interval {found[0]:.4f} to {found[1]:.4f} (Wilson, "
                f"{self.test_examples:,} test examples)"
            )
        second = f"test accuracy of the ensemble: {self.test_accuracy:.4f}{interval}; loss "
        lines = [first, f"{second}{self.test_loss:.4f}"]
        if self.metric not in ("val_accuracy", "val_loss") and self.test_metric is not None:
            lines.append(f"{on_test(self.metric)} of the ensemble: {self.test_metric:.4f}")
        return lines


def read(folder: RunFolder) -> list[Row]:
    """The rows of ensembles.parquet; none if the file does not exist.

    Raises:
        InputError: the table cannot be read, or has a value that is not possible.
    """
    rows = tables.read(folder.ensembles, kind=KIND) if folder.ensembles.exists() else []
    for at, row in enumerate(rows, 1):
        members, draws, nets = row["members"] or [], row["draws"] or [], row["nets"] or 0
        wrong = len(members) != len(draws) or min(draws, default=0) < 1
        if wrong or len({*members}) < len(members) or nets < len(members):
            raise InputError(
                f"{folder.ensembles}, row {at}: members must be different ones of the nets, each "
                f"with a number of draws. Given: members {members}, draws {draws}, nets {nets}"
            )
    return rows


def of_look(
    ensembles: Sequence[Row], rows: Sequence[Row], metric: Metric, test_examples: int | None
) -> Ensemble | None:
    """The ensemble of a look; None if the look has none.

    Args:
        ensembles: rows of ensembles.parquet.
        rows: the rows of confirm.parquet of that look.
        metric: the study's metric.
        test_examples: number of examples in the test part, if it is known.

    Raises:
        InputError: a member is not among the nets of the look, or a figure is missing.
    """
    row = next((row for row in ensembles if row["look"] == rows[0]["look"]), None)
    if row is None:
        return None
    nets = {net["net"]: net for net in rows if net[metric] is not None}
    missing = {*row["members"]} - nets.keys()
    if missing or row[metric] is None:
        given = f"net {min(missing)}" if missing else f"no {metric}"
        raise InputError(
            f"ensembles.parquet: look {row['look']} must have nets of confirm.parquet with a "
            f"{metric}, and its own. Given: {given}"
        )
    pairs = sorted(zip(row["draws"], row["members"], strict=True), key=lambda pair: -pair[0])
    members = [
        Member(nets[at]["trial"], nets[at]["seed"], draws, nets[at][metric]) for draws, at in pairs
    ]
    return Ensemble(
        metric=metric,
        nets=row["nets"],
        folds=rows[0]["folds"],
        members=tuple(members),
        value=row[metric],
        test_accuracy=row["test_accuracy"],
        test_loss=row["test_loss"],
        test_metric=row[on_test(metric)],
        test_examples=test_examples,
    )
