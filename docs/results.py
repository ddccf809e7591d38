"""Makes the README's tables of results: studies, their winners trained again, and audits.

make results        about an hour on two cores; $FFNET_DATA is the folder with MNIST and CIFAR-10

The runs are in runs/results/. A study, a confirmation or an audit that is there is not made again.
The breast cancer set is scikit-learn's: `pip install scikit-learn`.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sklearn.datasets import load_breast_cancer

import ffnet
from ffnet.report.page import words
from ffnet.run import audit, confirm, ended, ranking
from ffnet.run.ended import Ended
from ffnet.run.folder import RunFolder
from ffnet.run.intervals import Estimate

RUNS = Path("runs/results")
BREAST_CANCER = {
    "training": {"batch_size": 16},
    "space": {
        "hidden_sizes": {"each": {"log_integer": [8, 128]}, "depth": {"integer": [1, 2]}},
        "learning_rate": {"log_uniform": [1e-3, 1.0]},
        "dropout": {"uniform": [0.0, 0.5]},
    },
    "budget": {"trials": 24, "epochs": 30},
}


@dataclass(frozen=True)
class Work:
    """A data set of the tables.

    Attributes:
        title: its name in the tables.
        study: the study's name, or its sections.
        folds: folds of the confirmation.
        audited: how many pruned trials the audit trains; 0 for no audit.
    """

    title: str
    study: Any
    folds: int | None = None
    audited: int = 20

    def data(self) -> Any:
        """The data for `ffnet.tune`; None if the study names them."""
        if isinstance(self.study, str):
            return None
        return load_breast_cancer(return_X_y=True)


WORK = {
    "digits": Work("digits (embedded)", "digits"),
    "mnist": Work("MNIST", "mnist", audited=0),
    "cifar10": Work("CIFAR-10, a JPEG copy", "cifar10"),
    "breast-cancer": Work("breast cancer (569 × 30)", BREAST_CANCER, folds=5, audited=10),
}


def main(names: list[str]) -> None:
    """Print the rows of the named data sets, or of all, for each of the three tables."""
    runs = {name: made(name, WORK[name]) for name in names or WORK}
    tables: list[Callable[[Ended], list[str]]] = [study_row, confirmed_row, audited_row]
    for row_of in tables:
        for name, run in runs.items():
            if row_of is audited_row and not WORK[name].audited:
                continue
            print("| " + " | ".join([WORK[name].title, *row_of(run)]) + " |")
        print()


def made(name: str, work: Work) -> Ended:
    """The run of a data set. What is not there yet is made."""
    folder, data = RunFolder.at(RUNS / name), work.data()
    if not folder.trials.exists():
        ffnet.tune(work.study, out=folder.place, data=data)
    run = ffnet.Run(folder.place)
    if not folder.confirm.exists():
        print(*run.confirm(folds=work.folds, data=data).lines(), sep="\n")
    if work.audited and not folder.audit.exists():
        print(*run.audit(work.audited, data=data).lines(), sep="\n")
    return ended.read(folder)


def study_row(run: Ended) -> list[str]:
    """Best net, best validation accuracy, how the trials ended, wall time and commit."""
    best = ranking.best_first(run.rows, run.study.tuning)[0]
    counts = [
        f"{sum(row['status'] == status for row in run.rows)} {status}"
        for status in sorted({row["status"] for row in run.rows})
    ]
    wall = ffnet.Run(run.folder.place).ledger().wall_seconds
    return [
        net(run, best["trial"]), f"{best['best_val_accuracy']:.4f}", ", ".join(counts),
        words.duration(wall), run.document["commit"][:7],
    ]  # fmt: skip


def confirmed_row(run: Ended) -> list[str]:
    """Chosen net, its mean validation accuracy, its test accuracy, and the comparison."""
    found = confirm.summary(confirm.read(run.folder), run.study.tuning, run.document["data"])
    assert found
    assert found.test
    assert found.chosen is not None
    return [
        net(run, found.chosen), f"{found.validation[found.chosen].mean:.4f}",
        f"{interval(found.test)} ({found.test.count} nets)", "yes" if found.told_apart else "no",
    ]  # fmt: skip


def audited_row(run: Ended) -> list[str]:
    """How many pruned trials would have won, the regret, what pruning saved, and the same bits."""
    found = audit.summary(audit.read(run.folder), run.rows, run.document["study"])
    assert found
    (low, high), saved = found.share, found.saved
    percent = 100 * saved.share
    every = (
        "all" if found.audited == found.pruned else f"{100 * low:.1f} to {100 * high:.1f} % of all"
    )
    return [
        f"{len(found.beaten_by)} of {found.audited}; {every} {found.pruned} pruned",
        f"{found.regret:.4f}",
        f"{saved.epochs:,.0f} epochs, {saved.core_seconds:,.0f} core-seconds, {percent:.0f} %",
        f"{found.audited - len(found.different)} of {found.audited}",
    ]


def net(run: Ended, trial: int) -> str:
    """A trial's sizes, optimiser and learning rate."""
    row = next(row for row in run.rows if row["trial"] == trial)
    shape, classes = run.document["data"]["example_shape"], run.document["data"]["classes"]
    sizes = "-".join(map(str, [math.prod(shape), *row["hidden_sizes"], len(classes)]))
    return f"{sizes}, {row['optimizer']}, learning rate {row['learning_rate']:.3g}"


def interval(of: Estimate) -> str:
    """A mean with its 95 % interval."""
    assert of.low is not None
    assert of.high is not None
    return f"{of.mean:.4f}, {of.low:.4f} to {of.high:.4f}"


if __name__ == "__main__":
    main(sys.argv[1:])
