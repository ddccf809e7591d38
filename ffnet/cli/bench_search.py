"""`ffnet bench search`: how long ffnet and its peers search until they reach an accuracy.

All search the same space with the same budget: trials, epochs of a trial, and rungs. Each prunes in
its own way. The time runs from the command to the first report at or above the accuracy. The epochs
are those of all trials until then; each report is the end of an epoch.
"""

import argparse
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from ffnet.cli.bench_peers import PROGRAMS, attempt, chosen, median, packages
from ffnet.cli.bench_programs import PEERS, Ran, keep, machine, run_python, show
from ffnet.errors import InputError
from ffnet.run import tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row, Status
from ffnet.spec.study import Study
from ffnet.spec.validation import did_you_mean, validated

OWN = {"ffnet": (), "ffnet-tpe": ("--search", "tpe"), "ffnet-qmc": ("--search", "qmc")}
"""Name for --only → flags of `ffnet tune`. Without flags, it searches as it does by default."""
OTHERS = ("ray", "optuna", "kerastuner", "syne-tune")


class Search(NamedTuple):
    """What is searched, and the validation accuracies that are waited for."""

    targets: tuple[float, ...]
    net: dict[str, Any]
    training: dict[str, Any]
    space: dict[str, Any]


SEARCHES = {
    "cifar10": Search(
        (0.50, 0.52, 0.54),
        {"bias": False},
        {"batch_size": 64, "optimizer": "sgd"},
        {
            "hidden_sizes": {"log_integer": [32, 2048]},
            "learning_rate": {"log_uniform": [1e-3, 1e-1]},
        },
    ),
    "mnist": Search(
        (0.985,),
        {"bias": False, "batch_norm": True},
        {"batch_size": 128, "optimizer": "adam", "schedule": "cosine"},
        {
            "hidden_sizes": {"each": {"log_integer": [256, 1024]}, "depth": 3},
            "learning_rate": {"log_uniform": [5e-4, 5e-3]},
            "dropout": {"uniform": [0.1, 0.5]},
        },
    ),
}
"""Data set → what is searched. The number of hidden layers is fixed."""


def main(flags: argparse.Namespace) -> None:
    """Search with every program from every seed, and show the medians."""
    from ffnet.data.load import load

    names, lines = chosen(flags.only, (*OWN, *OTHERS))
    lines = [machine("tensorflow", "keras", "ray", "optuna", *packages(names)), *lines]
    single: list[Row] = []
    wanted = _datasets(flags.dataset)
    load(_study(flags, wanted[0], 0).data)  # a wrong folder is told before anything runs
    for dataset in wanted:
        load(_study(flags, dataset, 0).data)  # so that all programs find images in the cache
        for seed in range(flags.seed or 0, (flags.seed or 0) + (flags.seeds or 3)):
            for name in names:
                how = PROGRAMS[name].how if name in PROGRAMS else name
                study = _study(flags, dataset, seed)
                found = attempt(f"{dataset}, seed {seed}: {how}", partial(_run, name, study), lines)
                single += rows_of(found, dataset, how, seed)
            shown = [medians(single, each) for each in wanted[: wanted.index(dataset) + 1]]
            keep(flags.out, "search", lines, shown, single)
    show(lines, shown)


def _datasets(asked: str | None) -> list[str]:
    if asked is None:
        return list(SEARCHES)
    if asked not in SEARCHES:
        raise InputError(
            f"--dataset must be one of {', '.join(SEARCHES)} for search. "
            f"Given: {asked}{did_you_mean(asked, SEARCHES)}"
        )
    return [asked]


def _study(flags: argparse.Namespace, dataset: str, seed: int) -> Study:
    search = SEARCHES[dataset]
    return validated(
        Study,
        {
            "name": "search",
            "seed": seed,
            "data": {"dataset": dataset, "data_dir": flags.data_dir},
            "net": search.net,
            "training": search.training,
            "space": search.space,
            "budget": {"trials": flags.trials or 32, "epochs": flags.epochs or 9},
        },
        "flags",
    )


def work(study: Study) -> dict[str, Any]:
    """The work of a search, as JSON values for the other programs: see jobs/peers/keras_net.py."""
    space: dict[str, Any] = {}
    for name, (domain,) in study.space.root.items():  # there are no conditions
        if domain.each and domain.depth:
            layers = range(domain.depth.value)
            space |= {f"{name}_{n}": (domain.each.kind, domain.each.value) for n in layers}
        else:
            space[name] = (domain.kind, domain.value)
    return {
        "data": study.data.model_dump(),
        "batch_size": study.training.batch_size,
        "optimizer": study.training.optimizer,
        "schedule": study.training.schedule,
        "batch_norm": study.net.batch_norm,
        "bias": study.net.bias,
        "epochs": study.budget.epochs,
        "trials": study.trials,
        "seed": study.seed,
        "grace_epochs": round(study.tuning.grace_epochs),
        "reduction_factor": round(study.tuning.reduction_factor),
        "space": space,
    }


def _run(name: str, study: Study) -> dict[str, Any]:
    """Search with a program. Returns its reports, when it was launched, and how long it took."""
    with TemporaryDirectory(prefix="ffnet-bench-") as folder:
        if name in OWN:
            return _ffnet(study, Path(folder), *OWN[name])
        path = Path(folder) / "work.json"
        path.write_text(json.dumps(work(study)))
        ran = run_python(PEERS / f"{PROGRAMS[name].script}.py", path, *PROGRAMS[name].arguments)
    result = json.loads(ran.line)
    return _found(ran, result["reports"], result["lost"])


def _ffnet(study: Study, folder: Path, *flags: str) -> dict[str, Any]:
    document, out = folder / "study.json", folder / "run"
    document.write_text(json.dumps({"study": study.resolved()}))
    ran = run_python("-m", "ffnet", "tune", document, "--out", out, *flags)
    run = RunFolder.existing(out)
    reports = [
        row | {"at": row["reported_at"].timestamp()}
        for row in tables.read(run.epochs, ["trial", "epoch", "val_accuracy", "reported_at"])
    ]
    lost = sum(row["status"] == Status.FAILED for row in tables.read(run.trials))
    return _found(ran, reports, lost)


def _found(ran: Ran, reports: list[Row], lost: int) -> dict[str, Any]:
    return {
        "launched": ran.launched, "whole": ran.ended - ran.launched, "reports": reports,
        "lost": lost,
    }  # fmt: skip


def reached(reports: Sequence[Mapping[str, Any]], target: float) -> tuple[float, int] | None:
    """When the first report had an accuracy, and how many epochs all trials had trained by then.

    Args:
        reports: rows with `at`, a Unix time, and `val_accuracy`, which is None if a trial diverged.
            They may be in any order. Each is the end of an epoch.
        target: the validation accuracy.

    Returns:
        (Unix time, epochs); None if no report has it.

    Example:
        >>> reached([{"at": 7.0, "val_accuracy": 0.6}, {"at": 5.0, "val_accuracy": 0.4}], 0.5)
        (7.0, 2)
    """
    for epochs, report in enumerate(sorted(reports, key=lambda report: report["at"]), 1):
        accuracy = report["val_accuracy"]
        if accuracy is not None and accuracy >= target:
            return report["at"], epochs
    return None


def rows_of(found: Mapping[str, Any], dataset: str, how: str, seed: int) -> list[Row]:
    """A row for each target of a data set, from what a search returned; none if it failed."""
    if not found:
        return []
    accuracies = [r["val_accuracy"] for r in found["reports"] if r["val_accuracy"] is not None]
    rows = []
    for target in SEARCHES[dataset].targets:
        when = reached(found["reports"], target)
        rows.append(
            {
                "dataset": dataset,
                "how": how,
                "seed": seed,
                "target": target,
                "seconds": when and when[0] - found["launched"],
                "epochs": when and when[1],
                "best_val_accuracy": max(accuracies, default=None),
                "all_seconds": found["whole"],
                "all_epochs": len(found["reports"]),
                "trials": len({report["trial"] for report in found["reports"]}),
                "lost": found["lost"],
            }
        )
    return rows


def medians(single: Sequence[Row], dataset: str) -> list[Row]:
    """A row for each program with the medians over the seeds: see `rows_of`.

    A seed that did not reach a target counts as infinitely late. If the median is infinite, there
    is a text instead, which says how many seeds reached it.
    """
    own = [row for row in single if row["dataset"] == dataset]
    rows = []
    for how in dict.fromkeys(row["how"] for row in own):
        row: Row = {"how": how, "data set": dataset}
        for target in SEARCHES[dataset].targets:
            found = [r for r in own if r["how"] == how and r["target"] == target]
            for name, unit in (("seconds", "s"), ("epochs", "epochs")):
                row[f"{target:.4g}: {unit}"] = _median_or_count([r[name] for r in found])
        row |= {
            "best val_accuracy": median(r["best_val_accuracy"] for r in found),
            "whole command s": median(r["all_seconds"] for r in found),
            "all epochs": median(r["all_epochs"] for r in found),
            "lost": median(r["lost"] for r in found),
        }
        rows.append(row)
    return rows


def _median_or_count(values: Sequence[float | None]) -> float | str:
    late = statistics.median(math.inf if value is None else value for value in values)
    if math.isfinite(late):
        return late
    return f"{sum(value is not None for value in values)} of {len(values)} seeds"
