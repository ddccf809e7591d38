"""`ffnet bench sweep` and the sweep itself: fixed nets, each trained for a few epochs, no pruning.

Fit time is the time from the start of the first trial's training to the end of the last trial. The
start-up (imports, data, Ray) is measured separately.
"""

import argparse
import itertools
import json
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ffnet.cli.bench_programs import CPUS, MEGABYTE, PEERS, last_line, print_rows, run_python
from ffnet.run import tables
from ffnet.run.folder import RunFolder
from ffnet.spec.study import Study
from ffnet.spec.validation import validated

FLOOR, PEER = "plain loop, one warm process", "Ray Tune + Keras fit, actors reused"
SWEEP = {
    "name": "sweep",
    "net": {"bias": False},
    "training": {"batch_size": 64},
    "space": {
        "hidden_sizes": {"log_integer": [32, 2048]},
        "learning_rate": {"log_uniform": [1e-3, 1e-1]},
    },
    "tuning": {"scheduler": "none"},
}


def main(flags: argparse.Namespace) -> None:
    """Run ffnet, the plain loop and Ray Tune with Keras, and print a table."""
    study = of(flags)
    with TemporaryDirectory(prefix="ffnet-bench-") as folder:
        sweep = Path(folder) / "sweep.json"
        sweep.write_text(json.dumps(work(study)))
        results = {
            FLOOR: program(sweep, "plain_loop"),
            "ffnet": ffnet(study, Path(folder) / "float32"),
            "ffnet, bfloat16 products": ffnet(
                study, Path(folder) / "bfloat16", "--precision", "bfloat16"
            ),
            PEER: program(sweep, "ray_keras"),
        }
    _print(study, results, products(study))


def of(flags: argparse.Namespace) -> Study:
    """The study that the flags of `bench` ask for."""
    return validated(
        Study,
        SWEEP
        | {
            "seed": flags.seed or 0,
            "data": {"dataset": flags.dataset or "cifar10", "data_dir": flags.data_dir},
            "budget": {
                "trials": 16 if flags.trials is None else flags.trials,
                "epochs": 2 if flags.epochs is None else flags.epochs,
            },
        },
        "flags",
    )


def work(study: Study) -> dict[str, Any]:
    """The work of the sweep, as JSON values for the other programs."""
    from ffnet.tuning.search import sample  # imports Ray: seconds

    configs = [sample(study, number) for number in range(study.trials)]
    return {
        "data": study.data.model_dump(),
        "batch_size": study.training.batch_size,
        "epochs": study.budget.epochs,
        "trials": study.trials,
        "seed": study.seed,
        "configurations": [
            {"hidden_sizes": c.net.hidden_sizes[0], "learning_rate": c.training.learning_rate}
            for c in configs
        ],
    }


def program(path: Path, name: str, *arguments: str) -> dict[str, Any]:
    """Run a program of jobs/peers on the work in a file. Returns its figures.

    `startup`, `fit` and `whole` are seconds; `best` is the best validation accuracy of all reports;
    `lost` is how many nets have not been trained to the end.
    """
    ran = run_python(PEERS / f"{name}.py", path, *arguments)
    result = json.loads(ran.line)
    return {
        "startup": result["begun"] - ran.launched,
        "fit": max(report["at"] for report in result["reports"]) - result["begun"],
        "whole": ran.ended - ran.launched,
        "best": max(report["val_accuracy"] for report in result["reports"]),
        "lost": result["lost"],
    }


def ffnet(study: Study, out: Path, *flags: str, watch_workers: bool = True) -> dict[str, Any]:
    """Run the study with `ffnet tune`. Returns the figures of `program`, and others."""
    document = out.with_name("study.json")
    document.write_text(json.dumps({"study": study.resolved()}))
    ran = run_python(
        "-m", "ffnet", "tune", document, "--out", out, *flags, watch_workers=watch_workers
    )
    folder = RunFolder.existing(out)
    trials, reports = tables.read(folder.trials), tables.read(folder.epochs)
    begun = min(r["started_at"] for r in reports).timestamp()
    weights = max(3072 * row["hidden_sizes"][0] * 4 for row in trials)
    return {
        "startup": begun - ran.launched,
        "fit": max(r["reported_at"] for r in reports).timestamp() - begun,
        "whole": ran.ended - ran.launched,
        "best": max(row["best_val_accuracy"] for row in trials),
        "lost": study.trials - sum(row["status"] == "done" for row in trials),
        "change": _change_seconds(reports),
        "memory": max(row["worker_memory"] for row in trials),
        "proportional": ran.worker_memory,
        "weights": weights,
    }


def products(study: Study) -> dict[str, float]:
    """Number type → seconds that the sweep's matrix products alone take on this machine."""
    from ffnet.data.load import load
    from ffnet.tuning.search import sample

    data = load(study.data)
    # For each example, a training step computes two products, a validation only one.
    examples = 2 * len(data.train) + len(data.validation)
    widths = sum(sample(study, n).net.hidden_sizes[0] for n in range(study.trials))
    work = 2 * data.features * widths * examples * study.budget.epochs / 1e9
    return {name: work / rate for name, rate in last_line(PEERS / "peak.py").items()}


def _change_seconds(reports: list[tables.Row]) -> float:
    """Median time from a trial's last report to the next trial's first step, on one worker.

    0 where no worker had a second trial.
    """
    gaps = []
    for worker in {r["worker"] for r in reports}:
        own = sorted((r for r in reports if r["worker"] == worker), key=lambda r: r["started_at"])
        gaps += [
            (after["started_at"] - before["reported_at"]).total_seconds()
            for before, after in itertools.pairwise(own)
            if before["trial"] != after["trial"]
        ]
    return float(statistics.median(gaps or [0]))


def _print(study: Study, results: dict[str, dict[str, Any]], products: dict[str, float]) -> None:
    floor, peer = results[FLOOR]["fit"], results[PEER]["fit"]
    rows = [
        _sweep_row(f"{dtype} products alone, at the machine's rate", {"fit": s}, floor, peer)
        for dtype, s in products.items()
    ]
    rows += [_sweep_row(name, result, floor, peer) for name, result in results.items()]
    print_rows(rows)
    own = results["ffnet"]
    print(f"change of trial on a warm worker: {1000 * own['change']:.0f} ms (median)")
    print(f"a worker's memory, largest: {own['memory'] / MEGABYTE:.0f} MB resident, ", end="")
    print(f"{own['proportional'] / MEGABYTE:.0f} MB with shared pages shared out ", end="")
    print(f"(largest weights {own['weights'] / MEGABYTE:.0f} MB)")
    print(f"{study.trials} nets × {study.budget.epochs} epochs, {study.data.dataset}, {CPUS} CPUs")


def _sweep_row(how: str, result: dict[str, Any], floor: float, peer: float) -> dict[str, Any]:
    startup, fit = result.get("startup"), result["fit"]
    return {
        "how": how,
        "start-up s": startup and round(startup, 1),
        "fit s": round(fit, 1),
        "time ÷ plain loop": round(fit / floor, 2),
        "times as fast as Ray Tune + Keras": round(peer / fit, 2),
        "best val_accuracy": result.get("best"),
        "lost": result.get("lost"),
    }
