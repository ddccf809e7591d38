"""The page's sections beside the figures: confirmation, ledger, rungs, takeovers and audit."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ffnet.report.page import words
from ffnet.report.page.facts import Facts
from ffnet.report.page.rungs import rungs, takeovers
from ffnet.run import audit, confirm
from ffnet.run.confirm import Confirmed
from ffnet.run.ensembles import Ensemble
from ffnet.run.intervals import Estimate
from ffnet.spec.sections import LOWER_IS_BETTER

MOST_ROWS = 50  # a small table has at most so many rows


@dataclass(frozen=True)
class Table:
    """A small table of the page; the cells are texts."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Image:
    """A picture of the page; `uri` is a data URI."""

    uri: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Part:
    """A section of the page: texts, tables and pictures. ` marks code in a text."""

    key: str
    title: str
    texts: Sequence[str] = ()
    tables: Sequence[Table] = ()
    images: Sequence[Image] = ()


def parts(facts: Facts) -> list[Part]:
    """The sections that a run has.

    Raises:
        InputError: confirm.parquet or audit.parquet cannot be read.
    """
    makers = (_confirmed, _ledger, _survivors, _taken_over, _audited)
    return [part for make in makers for part in make(facts)]


def confirmed(facts: Facts) -> Confirmed | None:
    """What the last `ffnet confirm` found; None if there was none."""
    return confirm.last(facts.folder, facts.tuning, facts.data)


def _confirmed(facts: Facts) -> Iterator[Part]:
    found = confirmed(facts)
    if found is None:
        return
    most = math.inf if facts.metric in LOWER_IS_BETTER else 1.0
    rows = [
        [str(trial), str(estimate.count), words.figure(estimate.mean), _interval(estimate, most)]
        for trial, estimate in found.validation.items()
    ]
    head = ["trial", "nets", f"mean {facts.metric_name}", "95 % interval of the mean"]
    tables = [Table("Trained again, on the validation part", head, rows)]
    if found.ensemble:
        tables.append(_members(found.ensemble, facts.metric_name))
    yield Part("confirmed", "Confirmed", sentences(found.lines()), tables)


def _members(ensemble: Ensemble, metric_name: str) -> Table:
    rows = [
        [str(net.trial), str(net.seed), str(net.draws), words.figure(net.value)]
        for net in ensemble.members[:MOST_ROWS]
    ]
    head = ["trial", "seed", "draws", f"{metric_name} of the net alone"]
    return Table("The nets of the ensemble", head, rows)


def _interval(estimate: Estimate, most: float) -> str:
    found = estimate.within(most)
    return f"{words.figure(found[0])} to {words.figure(found[1])}" if found else ""


def sentences(lines: Sequence[str]) -> list[str]:
    """Lines of a command's output as sentences: a capital first, and a full stop."""
    return [f"{line[0].upper()}{line[1:]}." for line in lines]


def _ledger(facts: Facts) -> Iterator[Part]:
    if not facts.rows:
        return
    found = facts.ledger
    line = found.line()
    tables = []
    if found.total:
        rows = [
            [name, words.duration(seconds), f"{100 * (found.share(name) or 0.0):.1f} %"]
            for name, seconds in found.parts.items()
            if seconds
        ]
        tables = [Table("Core time", ["part", "core time", "share"], rows)]
    yield Part("ledger", "Where the core time went", sentences([line]), tables)


def _survivors(facts: Facts) -> Iterator[Part]:
    levels = rungs(facts)
    if not levels:
        return
    rows = [
        [
            f"{level.epochs:.4g}", f"{level.reached:,}", f"{level.pruned:,}", f"{level.other:,}",
            "" if level.best_pruned is None else words.figure(level.best_pruned),
        ]
        for level in levels
    ]  # fmt: skip
    head = [
        "epochs", "trials that reached them", "pruned here", "ended for another reason",
        f"best {facts.metric_name} of a pruned trial",
    ]  # fmt: skip
    text = (
        "The scheduler compares trials at these epochs and stops the weaker ones. `ffnet audit` "
        "trains some of the pruned trials to the end, and says what pruning has cost."
    )
    yield Part("survivors", "Who survived", [text], [Table("Epochs of pruning", head, rows)])


def _taken_over(facts: Facts) -> Iterator[Part]:
    taken = takeovers(facts)
    if not taken:
        return
    text = (
        f"{words.count(len(taken), 'trial')} took over the weights of a better trial. Their "
        f"figures rest on more than one configuration."
    )
    rows = [[str(trial), str(parent)] for trial, parent in taken[:MOST_ROWS]]
    table = Table("Last takeovers", ["trial", "took over from"], rows)
    yield Part("takeovers", "Who took over from whom", [text], [table])


def _audited(facts: Facts) -> Iterator[Part]:
    rows = audit.read(facts.folder)
    found = audit.summary(rows, facts.rows, facts.document["study"]) if rows else None
    if found is None:
        return
    cells = [
        [
            str(row["trial"]), row["status"], words.value(row["pruned_epoch"]),
            words.value(row[f"best_{facts.metric}"]), words.value(row["gain"]),
        ]
        for row in sorted(rows, key=lambda row: row["trial"])[:MOST_ROWS]
    ]  # fmt: skip
    head = ["trial", "status", "pruned at epoch", f"best {facts.metric_name}", "above the winner"]
    table = Table("Pruned trials that were trained to the end", head, cells)
    yield Part("audit", "What pruning has cost", sentences(found.lines()), [table])
