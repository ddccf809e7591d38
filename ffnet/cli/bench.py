"""Measure how fast ffnet is, compared with a plain loop and other programs that do the same work.

  ffnet bench sweep --data-dir ~/data      16 nets × 2 epochs of CIFAR-10
  ffnet bench peers --out FOLDER           the sweep, beside six other programs
  ffnet bench search --out FOLDER          how long until an accuracy is reached
  ffnet bench scale --out FOLDER           1,000 to 10,000 trials of the digits
  ffnet bench dense --data-dir ~/data      the preset mnist-dense
  ffnet bench presets --data-dir ~/data    all presets, three seeds each
  ffnet bench ways --data-dir ~/data       an epoch, for each api of a net
  ffnet bench steps                        a step, for each width and path
  ffnet bench read                         large tables, beside pandas, PyArrow
  ffnet bench tables --data-dir ~/data     six tables in ~/data/tables
  ffnet bench ablation --out FOLDER        what each part of a net is worth

`sweep` compares ffnet with a plain TensorFlow loop in one warm process, and with its peer: Ray Tune
with Keras `fit` and reused actors (jobs/peers/). Only one of them runs at a time. Fit time is the
time from the start of the first trial's training to the end of the last trial. The start-up
(imports, data, Ray) is measured separately.

`peers` runs the sweep under every program, round after round, and shows medians: ffnet, the plain
loop, Ray Tune (stock, and with reused actors), Optuna, KerasTuner and Syne Tune, all with Keras
`fit`. `search` gives the same programs a space instead, each with its own way of pruning, and
shows when the first trial reached a validation accuracy: seconds since the command was typed, and
epochs of all trials. `scale` shows how many short trials a second ffnet runs, beside Ray Tune alone
with empty trials. KerasTuner and Syne Tune are in the extra `peers`; a program whose package is
missing is left out, with a line that says so. --out keeps the tables as Markdown, and all single
measurements as Parquet. Run these three while nothing else works on the machine.

`ablation` trains a base net, the base with each ingredient alone, and the base with several of them
together, each from five seeds, on MNIST, CIFAR-10 and the six tables, and compares validation
accuracies.
"""

import argparse
import statistics
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ffnet.cli import command
from ffnet.cli.bench_programs import CPUS, PEERS, last_line, print_rows, run_python
from ffnet.errors import InputError
from ffnet.run import tables
from ffnet.run.folder import RunFolder
from ffnet.spec import presets

HEEDED = {
    "sweep": ("dataset", "data_dir", "trials", "epochs", "seed"),
    "peers": ("dataset", "data_dir", "trials", "epochs", "seed", "rounds", "only", "out"),
    "search": ("dataset", "data_dir", "trials", "epochs", "seed", "seeds", "only", "out"),
    "scale": ("trials", "seed", "out"),
    "dense": ("data_dir", "seed"),
    "presets": ("data_dir", "seed"),
    "ways": ("data_dir",),
    "steps": (),
    "read": ("rows",),
    "tables": ("data_dir", "seed"),
    "ablation": ("dataset", "data_dir", "epochs", "seeds", "only", "out"),
}
"""What is measured → the flags that have an effect on it."""
FLAGS = tuple(dict.fromkeys(flag for flags in HEEDED.values() for flag in flags))
MODULES = ("sweep", "peers", "search", "scale", "ablation")
"""What is measured by a module of its own, ffnet/cli/bench_NAME.py."""


def main(argv: list[str]) -> int:
    """Parse, measure, and print a table."""
    flags = _parser().parse_args(argv)
    if not PEERS.is_dir():
        raise InputError(f"bench needs a clone of the repository. Given: no {PEERS}")
    for name in FLAGS:
        if getattr(flags, name) is not None and name not in HEEDED[flags.what]:
            raise InputError(
                f"--{name.replace('_', '-')} has no effect on {flags.what}: leave it out"
            )
    if flags.what in MODULES:
        import_module(f"ffnet.cli.bench_{flags.what}").main(flags)
    else:
        {
            "dense": _dense, "presets": _presets, "ways": _ways, "steps": _steps, "read": _read,
            "tables": _tables,
        }[flags.what](flags)  # fmt: skip
    return 0


def _steps(_: argparse.Namespace) -> None:
    for threads in (1, CPUS):
        for way, rows in last_line(PEERS / "steps.py", threads).items():
            print(f"ms a step, {way}, batches of 64, {threads} threads")
            print_rows(rows)


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
    print_rows(found)


def _ways(flags: argparse.Namespace) -> None:
    for threads in (1, CPUS):
        print(f"seconds an epoch of MNIST, batches of 64, {threads} threads")
        print_rows(last_line(PEERS / "ways.py", threads, *filter(None, [flags.data_dir])))


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
    print_rows(rows)


def _tables(flags: argparse.Namespace) -> None:
    from ffnet.cli import bench_tables

    print(f"test accuracy, {CPUS} CPUs")
    print_rows(bench_tables.rows(flags.data_dir, flags.seed or 0))


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
    print_rows(rows)


def _preset(name: str, seed: int, data_dir: str | None) -> tables.Row:
    """Train a preset's net with `ffnet train`. Returns its row."""
    place = ["--data-dir", data_dir] if data_dir else []
    with TemporaryDirectory(prefix="ffnet-bench-") as folder:
        out = Path(folder) / "run"
        run_python("-m", "ffnet", "train", "--preset", name, "--seed", seed, "--out", out, *place)
        (row,) = tables.read(RunFolder.existing(out).trials)
    return row


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("bench WHAT [options]", __doc__)
    parser.add_argument("what", metavar="WHAT", choices=list(HEEDED), help=", ".join(HEEDED))
    parser.add_argument(
        "--dataset",
        help="sweep, peers: data set [cifar10]; search: cifar10 or mnist [both]; ablation: mnist, "
        "cifar10 or a table's name [all]",
    )
    parser.add_argument("--data-dir", metavar="DIR", help="folder of the data set [$FFNET_DATA]")
    parser.add_argument(
        "--trials",
        type=_count,
        help="how many trials, 1 or more [16; search: 32; scale: 1000, then 3000, then 10000]",
    )
    parser.add_argument(
        "--epochs",
        type=_count,
        help="epochs of each net, 1 or more [2; ablation: 10, of tables 50]; search: epochs of a "
        "trial that is not pruned, 2 or more [9]",
    )
    parser.add_argument("--rows", type=int, help="read: rows of the tables [500000]")
    parser.add_argument(
        "--seed",
        type=int,
        help="seed of the sweep, of the tables, or of the first of several runs [0]",
    )
    parser.add_argument(
        "--rounds", type=_count, help="peers: how often each program runs, 1 or more [3]"
    )
    parser.add_argument(
        "--seeds",
        type=_count,
        help="search: from how many seeds each program searches [3]; ablation: seeds of each "
        "net [5]",
    )
    parser.add_argument(
        "--only",
        metavar="NAMES",
        help="peers, search: only these programs, separated by commas; ablation: only the base "
        "and these nets [all]",
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        help="peers, search, scale, ablation: folder for WHAT.md and WHAT.parquet",
    )
    return parser


def _count(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 10**9):
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more. Given: {text!r}")
    return int(text)
