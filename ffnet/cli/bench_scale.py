"""`ffnet bench scale`: many short trials, under ffnet and under Ray Tune alone.

ffnet trains real nets: the study `digits`. Ray Tune runs empty trials, which report three random
numbers each, under its own ASHA, with reused actors and without log files. So Ray Tune's rate is
what ffnet could reach if training, tables and weights took no time.
"""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ffnet.cli.bench_programs import MEGABYTE, PEERS, keep, machine, run_python, show
from ffnet.run import tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row

SIZES = (1000, 3000, 10_000)
LOOKS = 3  # how often `ffnet table` runs; the quickest counts, as other work only delays it


def main(flags: argparse.Namespace) -> None:
    """Run as many trials as wanted, under ffnet and then under Ray Tune alone."""
    lines = [machine("ray", "tensorflow"), "ffnet: digits, real trials; Ray Tune: empty trials"]
    rows: list[Row] = []
    for trials in [flags.trials] if flags.trials else SIZES:
        own, bare = _ffnet(trials, flags.seed or 0), _bare(trials, flags.seed or 0)
        rows += [row(own, bare), row(bare, bare)]
        keep(flags.out, "scale", lines, [rows], rows)
    show(lines, [rows])


def row(own: Mapping[str, Any], bare: Mapping[str, Any]) -> Row:
    """The row of a program, with its rate relative to bare Ray Tune with as many trials."""
    rate = own["trials"] / own["seconds"]
    return {
        "how": own["how"],
        "trials": own["trials"],
        "seconds": own["seconds"],
        "trials a second": rate,
        "÷ bare Ray Tune": rate * bare["seconds"] / bare["trials"],
        "reports": own["reports"],
        "whole command s": own["whole"],
        "driver's peak MiB": own["memory"] / MEGABYTE,
        "trials.parquet MiB": own.get("trials_size"),
        "epochs.parquet MiB": own.get("epochs_size"),
        "ffnet table s": own.get("table"),
    }


def _ffnet(trials: int, seed: int) -> dict[str, Any]:
    with TemporaryDirectory(prefix="ffnet-bench-") as folder:
        out = Path(folder) / "run"
        ran = run_python(
            "-m", "ffnet", "tune", "digits", "--trials", trials, "--seed", seed, "--out", out
        )
        run = RunFolder.existing(out)
        rows = tables.read(run.trials, ["trial", "started_at", "ended_at"])
        looks = [_table(out) for _ in range(LOOKS)]
        begun, ended = min(r["started_at"] for r in rows), max(r["ended_at"] for r in rows)
        return {
            "how": "ffnet",
            "trials": len(rows),
            "reports": len(tables.read(run.epochs, ["trial"])),
            "seconds": (ended - begun).total_seconds(),
            "whole": ran.ended - ran.launched,
            "memory": ran.memory,
            "trials_size": (out / run.trials.name).stat().st_size / MEGABYTE,
            "epochs_size": (out / run.epochs.name).stat().st_size / MEGABYTE,
            "table": min(looks),
        }


def _table(out: Path) -> float:
    begun = time.perf_counter()
    run_python("-m", "ffnet", "table", out)
    return time.perf_counter() - begun


def _bare(trials: int, seed: int) -> dict[str, Any]:
    ran = run_python(PEERS / "bare_tune.py", trials, seed)
    return {
        "how": "Ray Tune alone",
        "trials": trials,
        "whole": ran.ended - ran.launched,
        "memory": ran.memory,
        **json.loads(ran.line),
    }
