"""Measure how fast ffnet is, compared with a plain loop and other programs that do the same work.

  ffnet bench sweep --data-dir ~/data      16 nets × 2 epochs of CIFAR-10
  ffnet bench dense --data-dir ~/data      the preset mnist-dense
  ffnet bench presets --data-dir ~/data    all presets, three seeds each
  ffnet bench ways --data-dir ~/data       an epoch, for each api of a net
  ffnet bench steps                        a step, for each width and api
  ffnet bench read                         large tables, beside pandas, PyArrow
  ffnet bench tables --data-dir ~/data     six tables in ~/data/tables

`sweep` compares ffnet with a plain TensorFlow loop in one warm process, and with its peer: Ray Tune
with Keras `fit` and reused actors (jobs/peers/). Only one of them runs at a time. Fit time is the
time from the start of the first trial's training to the end of the last trial. The start-up
(imports, data, Ray) is measured separately.
"""

import argparse
import itertools
import json
import os
import secrets
import statistics
import sys
import time
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from tempfile import TemporaryDirectory
from typing import Any

from ffnet.cli import command
from ffnet.errors import InputError
from ffnet.report import terminal
from ffnet.run import tables
from ffnet.run.folder import RunFolder
from ffnet.spec import presets
from ffnet.spec.study import Study
from ffnet.spec.validation import validated

PEERS = presets.PACKAGE.parent / "jobs" / "peers"  # only a clone has them
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
HEEDED = {
    "sweep": ("dataset", "data_dir", "trials", "epochs", "seed"),
    "dense": ("data_dir", "seed"),
    "presets": ("data_dir", "seed"),
    "ways": ("data_dir",),
    "steps": (),
    "read": ("rows",),
    "tables": ("data_dir", "seed"),
}
"""What is measured → the flags that have an effect on it."""
MEGABYTE = 2**20
WATCH_SECONDS = 2.0  # time between two measurements of memory; each takes about 20 ms
CPUS = len(os.sched_getaffinity(0))


def main(argv: list[str]) -> int:
    """Parse, measure, and print a table."""
    flags = _parser().parse_args(argv)
    if not PEERS.is_dir():
        raise InputError(f"bench needs a clone of the repository. Given: no {PEERS}")
    for name in ("dataset", "data_dir", "trials", "epochs", "seed", "rows"):
        if getattr(flags, name) is not None and name not in HEEDED[flags.what]:
            raise InputError(
                f"--{name.replace('_', '-')} has no effect on {flags.what}: leave it out"
            )
    {
        "sweep": _sweep, "dense": _dense, "presets": _presets, "ways": _ways, "steps": _steps,
        "read": _read,
        "tables": _tables,
    }[flags.what](flags)  # fmt: skip
    return 0


def _steps(_: argparse.Namespace) -> None:
    for threads in (1, CPUS):
        print(f"ms a step, batches of 64, {threads} threads")
        _print_rows(last_line(PEERS / "steps.py", threads))


def _read(flags: argparse.Namespace) -> None:
    """Read tables, each in a process of its own, and print time and largest memory."""
    rows = 500_000 if flags.rows is None else flags.rows
    if rows < 100:
        raise InputError(f"--rows must be 100 or more. Given: {rows}")
    found = []
    for kind, name in (
        ("numbers", "own.csv"),
        ("numbers", "own.parquet"),
        ("mixed", "own.parquet"),
    ):
        with TemporaryDirectory(prefix="ffnet-bench-") as folder:
            path = Path(folder) / name
            size = last_line(PEERS / "read_table.py", "write", kind, path, rows)["MB"]
            peers = ("PyArrow", "pandas", "pandas, PyArrow's engine") * (path.suffix == ".csv")
            for way in ("ffnet", *peers):
                read = last_line(PEERS / "read_table.py", way, path)
                held = read.get("held MiB")
                found.append(
                    {
                        "table": f"{kind}, {path.suffix[1:]}, {size:,.0f} MB",
                        "how": way,
                        "seconds": read["seconds"],
                        "MiB": round(read["MiB"]),
                        "training holds MiB": held and round(held),
                        "ratio": held and read["MiB"] / held,
                    }
                )
    print(f"{rows:,} rows of 30 columns and a label; {CPUS} CPUs; MiB of the process at its peak")
    _print_rows(found)


def _ways(flags: argparse.Namespace) -> None:
    for threads in (1, CPUS):
        print(f"seconds an epoch of MNIST, batches of 64, {threads} threads")
        _print_rows(last_line(PEERS / "ways.py", threads, *filter(None, [flags.data_dir])))


def _dense(flags: argparse.Namespace) -> None:
    """Train the preset mnist-dense with `ffnet train`, then with Keras `fit`."""
    preset = presets.nets()["mnist-dense"]
    place = [flags.data_dir] if flags.data_dir else []
    rows = []
    for seed in _seeds(flags):
        row = _preset(preset.stem, seed, flags.data_dir)
        peer = last_line(PEERS / "keras_dense.py", preset, seed, *place)
        seconds = row["train_seconds"] + row["evaluate_seconds"]
        rows.append(
            {
                "seed": seed,
                "ffnet s": seconds,
                "Keras fit s": peer["seconds"],
                "Keras / ffnet": peer["seconds"] / seconds,
                "ffnet test accuracy": row["test_accuracy"],
                "Keras test accuracy": peer["test_accuracy"],
            }
        )
    print(f"five epochs of MNIST, 784-512-10, dropout, Adam, batches of 32; {CPUS} CPUs")
    _print_rows(rows)


def _tables(flags: argparse.Namespace) -> None:
    from ffnet.cli import bench_tables  # it uses functions of this module

    print(f"test accuracy, {CPUS} CPUs")
    _print_rows(bench_tables.rows(flags.data_dir, flags.seed or 0))


def _seeds(flags: argparse.Namespace) -> range:
    first = flags.seed or 0
    return range(first, first + 3)


def _presets(flags: argparse.Namespace) -> None:
    """Train all presets. The two on CIFAR-10 do not use the test part."""
    rows: list[dict[str, Any]] = []
    for preset in presets.nets():
        runs = [_preset(preset, seed, flags.data_dir) for seed in _seeds(flags)]
        for name in ("last_val_accuracy", "test_accuracy"):
            values = [run[name] for run in runs if run[name] is not None]
            if values:
                seeds = {f"seed {run['seed']}": run[name] for run in runs}
                rows.append({"preset": preset, "": name, **seeds, "mean": statistics.mean(values)})
    _print_rows(rows)


def _preset(name: str, seed: int, data_dir: str | None) -> tables.Row:
    """Train a preset's net with `ffnet train`. Returns its row."""
    place = ["--data-dir", data_dir] if data_dir else []
    with TemporaryDirectory(prefix="ffnet-bench-") as folder:
        out = Path(folder) / "run"
        run_python("-m", "ffnet", "train", "--preset", name, "--seed", seed, "--out", out, *place)
        (row,) = tables.read(RunFolder.existing(out).trials)
    return row


def _sweep(flags: argparse.Namespace) -> None:
    study = validated(
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
    with TemporaryDirectory(prefix="ffnet-bench-") as folder:
        sweep = Path(folder) / "sweep.json"
        sweep.write_text(json.dumps(_work(study)))
        results = {
            FLOOR: _peer("plain_loop", sweep),
            "ffnet": _ffnet(study, Path(folder) / "float32"),
            "ffnet, bfloat16 products": _ffnet(
                study, Path(folder) / "bfloat16", "--precision", "bfloat16"
            ),
            PEER: _peer("ray_keras", sweep),
        }
    _print(study, results, _products(study))


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("bench WHAT [options]", __doc__)
    parser.add_argument("what", metavar="WHAT", choices=list(HEEDED), help=", ".join(HEEDED))
    parser.add_argument("--dataset", help="sweep: data set [cifar10]")
    parser.add_argument("--data-dir", metavar="DIR", help="folder of the data set [$FFNET_DATA]")
    parser.add_argument("--trials", type=int, help="sweep: how many nets, 1 or more [16]")
    parser.add_argument("--epochs", type=int, help="sweep: epochs of each net, 1 or more [2]")
    parser.add_argument("--rows", type=int, help="read: rows of the tables [500000]")
    parser.add_argument(
        "--seed",
        type=int,
        help="seed of the sweep, of the tables, or of the first of three runs [0]",
    )
    return parser


def _work(study: Study) -> dict[str, Any]:
    """The work of the sweep, as JSON values for the other programs."""
    from ffnet.tuning.search import sample  # imports Ray: seconds

    configs = [sample(study, number) for number in range(study.trials)]
    return {
        "data": study.data.model_dump(),
        "batch_size": study.training.batch_size,
        "epochs": study.budget.epochs,
        "configurations": [(c.net.hidden_sizes[0], c.training.learning_rate) for c in configs],
    }


def _products(study: Study) -> dict[str, float]:
    """Number type → seconds that the sweep's matrix products alone take on this machine."""
    from ffnet.data.load import load
    from ffnet.tuning.search import sample

    data = load(study.data)
    # For each example, a training step computes two products, a validation only one.
    examples = 2 * len(data.train) + len(data.validation)
    widths = sum(sample(study, n).net.hidden_sizes[0] for n in range(study.trials))
    work = 2 * data.features * widths * examples * study.budget.epochs / 1e9
    return {name: work / rate for name, rate in last_line(PEERS / "peak.py").items()}


def last_line(*arguments: object) -> Any:
    """Run a program. Returns its last line, read as JSON."""
    return json.loads(run_python(*arguments)[1])


def run_python(*arguments: object) -> tuple[float, str, float]:
    """Run Python. Returns (when it began, its last line, its largest worker's memory in bytes)."""
    with TemporaryDirectory() as folder:
        token = Path(folder) / "token"  # without it, Ray would write a token into the home folder
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        begun = time.time()
        with Popen(
            [sys.executable, *map(str, arguments)],
            stdout=PIPE,
            stderr=PIPE,
            text=True,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "RAY_AUTH_TOKEN_PATH": str(token)},
        ) as process:
            largest = 0.0
            while True:
                try:
                    printed, errors = process.communicate(timeout=WATCH_SECONDS)
                    break
                except TimeoutExpired:
                    workers = _descendants(process.pid)
                    largest = max([largest, *map(_proportional_memory, workers)])
    if process.returncode:
        raise InputError(f"{arguments[0]} failed: {errors.strip()[-2000:]}")
    return begun, printed.strip().splitlines()[-1], largest


def _descendants(pid: int) -> list[int]:
    try:
        children = [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    except OSError:  # the process has ended
        return []
    return children + [below for child in children for below in _descendants(child)]


def _proportional_memory(pid: int) -> float:
    """Memory of a process in bytes; a page of n processes counts 1/n. 0 if it has ended."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return next(
        (1024.0 * int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")),
        0.0,
    )


def _peer(name: str, sweep: Path) -> dict[str, Any]:
    launched, line, _ = run_python(PEERS / f"{name}.py", sweep)
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
    launched, _, proportional = run_python("-m", "ffnet", "tune", document, "--out", out, *flags)
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
        "proportional": proportional,
        "weights": weights,
    }


def _change_seconds(reports: list[tables.Row]) -> float:
    """Median time from a trial's last report to the next trial's first step, on one worker."""
    gaps = []
    for worker in {r["worker"] for r in reports}:
        own = sorted((r for r in reports if r["worker"] == worker), key=lambda r: r["started_at"])
        gaps += [
            (after["started_at"] - before["reported_at"]).total_seconds()
            for before, after in itertools.pairwise(own)
            if before["trial"] != after["trial"]
        ]
    return float(statistics.median(gaps))


def _print(study: Study, results: dict[str, dict[str, Any]], products: dict[str, float]) -> None:
    floor, peer = results[FLOOR]["fit"], results[PEER]["fit"]
    rows = [
        _sweep_row(f"{dtype} products alone, at the machine's rate", {"fit": s}, floor, peer)
        for dtype, s in products.items()
    ]
    rows += [_sweep_row(name, result, floor, peer) for name, result in results.items()]
    _print_rows(rows)
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


def _print_rows(rows: list[dict[str, Any]]) -> None:
    print(terminal.wrapped(rows, list(rows[0]), terminal.width()), end="\n\n")
