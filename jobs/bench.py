"""Time ffnet beside its floor and its peer on the same work, in one run.

  python jobs/bench.py sweep --data-dir ~/data      16 nets × 2 epochs of CIFAR-10, no pruning
  python jobs/bench.py steps                        a training step by width and by way

Of the sweep, the floor is a plain TensorFlow loop in one warm process; the peer is Ray Tune with
Keras `fit` and reused actors (jobs/peers/). Each runs alone, one after another. Fit time runs
from the first trial's training to the last one's end; start-up (imports, data, Ray) stands apart.
"""

import argparse
import json
import os
import secrets
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tabulate import tabulate

from ffnet import command
from ffnet.errors import InputError
from ffnet.results import tables
from ffnet.results.layout import RunFolder
from ffnet.study import Study, validated

JOBS = Path(__file__).parent
PEERS = JOBS / "peers"
FLOOR, PEER = "plain loop, one warm process", "Ray Tune + Keras fit, actors reused"
SWEEP = {
    "name": "sweep",
    "training": {"batch_size": 64},
    "space": {
        "hidden_sizes": {"log_integer": [32, 2048]},
        "learning_rate": {"log_uniform": [1e-3, 1e-1]},
    },
    "tuning": {"scheduler": "none"},
}
MEGABYTE = 2**20


def main(argv: list[str]) -> int:
    """Run what is asked for and print its table."""
    flags = _parser().parse_args(argv)
    if flags.what == "steps":
        for threads in (1, len(os.sched_getaffinity(0))):
            rows = json.loads(_run(PEERS / "steps.py", threads)[1])
            print(f"ms a step, batches of 64, {threads} threads")
            print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3f"), end="\n\n")
        return 0
    study = validated(
        Study,
        SWEEP
        | {
            "seed": flags.seed,
            "data": {"dataset": flags.dataset, "data_dir": flags.data_dir},
            "budget": {"trials": flags.trials, "epochs": flags.epochs},
        },
        "flags",
    )
    with TemporaryDirectory(prefix="ffnet-bench-") as folder:
        sweep = Path(folder) / "sweep.json"
        sweep.write_text(json.dumps(_sweep(study)))
        results = {
            FLOOR: _peer("plain_loop", sweep),
            "ffnet": _ffnet(study, Path(folder) / "float32"),
            "ffnet, bfloat16 products": _ffnet(
                study, Path(folder) / "bfloat16", "--precision", "bfloat16"
            ),
            PEER: _peer("ray_keras", sweep),
        }
    _print(study, results)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(__doc__)
    parser.add_argument("what", choices=["sweep", "steps"])
    parser.add_argument("--dataset", default="cifar10", help="[%(default)s]")
    parser.add_argument("--data-dir", help="folder of the data set [$FFNET_DATA]")
    parser.add_argument("--trials", type=int, default=16, help="[%(default)s]")
    parser.add_argument("--epochs", type=int, default=2, help="[%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="draws the configurations [0]")
    return parser


def _sweep(study: Study) -> dict[str, Any]:
    """What the peers need to do the same work."""
    from ffnet.tuning.search import sample  # imports Ray: seconds

    configs = [sample(study, number) for number in range(study.trials)]
    return {
        "data": study.data.model_dump(),
        "batch_size": study.training.batch_size,
        "epochs": study.budget.epochs,
        "configurations": [(c.net.hidden_sizes[0], c.training.learning_rate) for c in configs],
    }


def _run(*arguments: object) -> tuple[float, str]:
    """When the command began, and the last line it printed."""
    with TemporaryDirectory() as folder:
        token = Path(folder) / "token"  # without one Ray would leave its own in the home folder
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        begun = time.time()
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "RAY_AUTH_TOKEN_PATH": str(token)},
        )
    if done.returncode:
        raise InputError(f"{arguments[0]} failed: {done.stderr.strip()[-2000:]}")
    return begun, done.stdout.strip().splitlines()[-1]


def _peer(name: str, sweep: Path) -> dict[str, Any]:
    launched, line = _run(PEERS / f"{name}.py", sweep)
    result: dict[str, Any] = json.loads(line)
    return {
        "startup": result["begun"] - launched,
        "fit": result["ended"] - result["begun"],
        "best": max(result["val_accuracy"]),
        "lost": result.get("lost", 0),
    }


def _ffnet(study: Study, out: Path, *flags: str) -> dict[str, Any]:
    document = out.with_name("study.json")
    document.write_text(json.dumps({"study": study.resolved()}))
    launched, _ = _run(JOBS / "tune.py", document, "--out", out, *flags)
    folder = RunFolder.existing(out)
    trials, reports = tables.read(folder.trials), tables.read(folder.epochs)
    begun = min(r["started_at"] for r in reports).timestamp()
    weights = max(3072 * row["hidden_sizes"][0] * 4 for row in trials)
    return {
        "startup": begun - launched,
        "fit": max(r["reported_at"] for r in reports).timestamp() - begun,
        "best": max(row["best_val_accuracy"] for row in trials),
        "lost": study.trials - sum(row["status"] == "done" for row in trials),
        "change": _change_seconds(reports),
        "memory": max(row["worker_memory"] for row in trials),
        "weights": weights,
    }


def _change_seconds(reports: list[tables.Row]) -> float:
    """Median time from a trial's last report to the next trial's first step, on one worker."""
    gaps = []
    for worker in {r["worker"] for r in reports}:
        own = sorted((r for r in reports if r["worker"] == worker), key=lambda r: r["started_at"])
        gaps += [
            (after["started_at"] - before["reported_at"]).total_seconds()
            for before, after in pairwise(own)
            if before["trial"] != after["trial"]
        ]
    return float(statistics.median(gaps))


def _print(study: Study, results: dict[str, dict[str, Any]]) -> None:
    floor, peer = results[FLOOR]["fit"], results[PEER]["fit"]
    rows = [
        [name, r["startup"], r["fit"], r["fit"] / floor, peer / r["fit"], r["best"], r["lost"]]
        for name, r in results.items()
    ]
    headers = ["how", "start-up s", "fit s", "/ floor", "peer /", "best val_accuracy", "lost"]
    formats = ("", ".1f", ".1f", ".2f", ".2f", ".3f")
    print(tabulate(rows, headers, tablefmt="github", floatfmt=formats))
    own = results["ffnet"]
    print(f"\nchange of trial on a warm worker: {1000 * own['change']:.0f} ms (median)")
    print(f"peak memory of a worker: {own['memory'] / MEGABYTE:.0f} MB", end="")
    print(f" (largest weights {own['weights'] / MEGABYTE:.0f} MB)")
    print(
        f"{study.trials} nets × {study.budget.epochs} epochs, {study.data.dataset}, "
        f"{os.cpu_count()} CPUs"
    )


if __name__ == "__main__":
    command.run(main)
