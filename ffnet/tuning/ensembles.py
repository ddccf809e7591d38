"""An ensemble of the nets of a confirmation: chosen on the validation part, then tested.

Every sound net of a confirmation may be a member, also those of the configurations that are not
chosen: nets of different structures and seeds are wrong about different examples. The validation
part alone chooses the members, so the test accuracy of the ensemble is as honest as that of the
chosen configuration, and it is one more figure of the same look. It is a single figure, so its
interval says what other examples would change, and not what other seeds would.

With folds, the nets of a configuration and a seed are taken together, with equal weights. Each of
them answers for the examples of its own fold, on which it was not trained; so together they answer
for all examples, and can be compared with those of another seed. On the test part, all of them
answer.

The nets' scores are computed again from their weights, which stay in Ray's object store until the
command ends. Nothing else is kept of the nets.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ffnet.data.dataset import DataSet
from ffnet.data.folds import held_out
from ffnet.run.tables import Row, Status
from ffnet.spec.sections import Tuning
from ffnet.training.ensemble import Answers, joined, select
from ffnet.training.metrics import Floats, Labels
from ffnet.tuning.again import Tested

Group = tuple[int, ...]
"""Numbers of the nets that are taken together, in the order of their folds."""


def groups(rows: Iterable[Row]) -> list[Group]:
    """The nets of each configuration and seed; only the groups whose nets are all sound.

    Args:
        rows: rows of confirm.parquet, of one look.
    """
    found: dict[tuple[int, int], list[Row]] = defaultdict(list)
    for row in rows:
        found[row["trial"], row["seed"]].append(row)
    return [
        tuple(row["net"] for row in sorted(nets, key=lambda row: row["fold"] or 0))
        for nets in found.values()
        if all(row["status"] == Status.DONE for row in nets)
    ]


def chosen(
    rows: Sequence[Row], nets: Mapping[int, Tested], data: DataSet, tuning: Tuning, most: int
) -> Row:
    """Choose an ensemble. Returns its row of ensembles.parquet, without the test figures.

    Args:
        rows: rows of confirm.parquet, of one look.
        nets: number of a net of `groups` → what `Pool.evaluate` says of it on its validation part.
        data: the data set.
        tuning: names the metric.
        most: number of draws.
    """
    possible = groups(rows)
    scores = {group: [nets[number][1] for number in group] for group in possible}
    if rows[0]["folds"]:
        answers = _of_folds(rows, scores, data)
    else:
        answers = [Answers.of(each, data.validation.y) for (each,) in scores.values()]
    draws = select(answers, tuning, most)
    taken = {n: times for group, times in zip(possible, draws, strict=True) for n in group if times}
    return {
        "look": rows[0]["look"],
        "nets": len(nets),
        "most": most,
        "members": [*taken],
        "draws": [*taken.values()],
        **joined(answers, draws).score().figures("val"),
    }


def _of_folds(
    rows: Sequence[Row], scores: Mapping[Group, Sequence[Floats]], data: DataSet
) -> list[Answers]:
    """What each group says about the examples that are in a fold for all of them."""
    of_groups = []
    for group, of_folds in scores.items():
        first = rows[group[0]]
        held, labels = held_out(data, first["folds"], first["seed"])
        of_all = np.full((len(labels), len(data.classes)), np.nan)
        of_all[np.concatenate(held)] = np.concatenate(of_folds)
        of_groups.append(of_all)
    known = ~np.isnan(of_groups).any(axis=(0, 2))
    return [Answers.of(each[known], labels[known]) for each in of_groups]


def tested(row: Row, nets: Mapping[int, Tested], labels: Labels) -> Row:
    """The test figures of an ensemble: test_accuracy, …

    Args:
        row: the ensemble's row.
        nets: number of a net → what `Pool.evaluate` says of it on the test part.
        labels: the classes of the test part [N].
    """
    answers = [Answers.of(nets[number][1], labels) for number in row["members"]]
    return joined(answers, row["draws"]).score().figures("test")
