"""`ffnet bench peers`: the sweep under ffnet and its peers, round after round."""

import argparse
import importlib.util
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from ffnet.cli import bench_sweep
from ffnet.cli.bench_programs import keep, machine, named, show
from ffnet.errors import InputError
from ffnet.run.tables import Row
from ffnet.spec.study import Study


class Program(NamedTuple):
    """A program of jobs/peers.

    Attributes:
        how: its name in the tables.
        script: its file, without .py.
        arguments: what follows the work's file on its command line.
        package: the package of the extra `peers` that it needs.
    """

    how: str
    script: str
    arguments: tuple[str, ...] = ()
    package: str | None = None


PROGRAMS = {
    "plain": Program(bench_sweep.FLOOR, "plain_loop"),
    "ray-stock": Program("Ray Tune + Keras fit, stock", "ray_keras", ("stock",)),
    "ray": Program(bench_sweep.PEER, "ray_keras"),
    "optuna": Program("Optuna + Keras fit", "optuna_keras"),
    "kerastuner": Program("KerasTuner + Keras fit", "kt_keras", package="keras-tuner"),
    "syne-tune": Program("Syne Tune + Keras fit", "syne_keras", package="syne-tune"),
}
"""Name for --only → the program."""
PRODUCTS = "float32 products alone, at the machine's rate"
FIGURES = ("startup_seconds", "fit_seconds", "whole_seconds", "best_val_accuracy", "lost")


def main(flags: argparse.Namespace) -> None:
    """Run all programs in turn, as many rounds as wanted, and show the medians."""
    from ffnet.data.load import load

    study = bench_sweep.of(flags)
    names, lines = chosen(flags.only, ("ffnet", *PROGRAMS))
    lines = [f"{study.trials} nets × {study.budget.epochs} epochs, {study.data.dataset}", *lines]
    lines += [machine("tensorflow", "keras", "ray", "optuna", *packages(names))]
    load(study.data)  # so that all programs find the decoded images in the cache
    single: list[Row] = []
    with TemporaryDirectory(prefix="ffnet-bench-") as folder:
        sweep = Path(folder) / "sweep.json"
        sweep.write_text(json.dumps(bench_sweep.work(study)))
        for number in range(flags.rounds or 3):
            for name in names:
                how = PROGRAMS[name].how if name in PROGRAMS else name
                figures = attempt(how, partial(_run, name, study, sweep, number), lines)
                found = {key: figures.get(key.removesuffix("_seconds")) for key in FIGURES}
                found["best_val_accuracy"] = figures.get("best")
                single.append({"round": number, "how": how, **found})
            seconds = bench_sweep.products(study)["float32"]
            empty = dict.fromkeys(FIGURES)
            single.append({"round": number, "how": PRODUCTS, **empty, "fit_seconds": seconds})
            rows = medians(single)
            keep(flags.out, "peers", lines, [rows], single)
    show(lines, [rows])


def chosen(only: str | None, known: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names of the programs to run, and a line for each that must be left out.

    Args:
        only: the value of --only: names with commas between them. With None, all.
        known: all names, in the order in which they run.

    Raises:
        InputError: a name is unknown, or no program is left.
    """
    wanted = named(only, known, "programs")
    missing = {
        name: PROGRAMS[name]
        for name in wanted
        if name in PROGRAMS and not installed(PROGRAMS[name].package)
    }
    lines = [
        f"left out: {program.how}, because {program.package} is not installed: "
        f"pip install --constraint constraints.txt --editable '.[peers]'"
        for program in missing.values()
    ]
    names = [name for name in known if name in wanted and name not in missing]
    if not names:
        raise InputError("; ".join(lines))
    return names, lines


def installed(package: str | None) -> bool:
    """Whether a package can be imported; True for None."""
    return package is None or importlib.util.find_spec(package.replace("-", "_")) is not None


def packages(names: Sequence[str]) -> list[str]:
    """The packages of the extra `peers` that these programs need."""
    found = (PROGRAMS[name].package for name in names if name in PROGRAMS)
    return [package for package in found if package]


def attempt(how: str, run: Callable[[], dict[str, Any]], lines: list[str]) -> dict[str, Any]:
    """What a program's run returns, with a line on standard error about it.

    If it fails, nothing is returned, and a line with the cause is appended to `lines`: hours of
    other measurements are not lost by it.
    """
    try:
        found = run()
    except InputError as error:
        lines.append(f"failed: {how}: {' '.join(str(error).split())[-300:]}")
        print(lines[-1], file=sys.stderr, flush=True)
        return {}
    print(f"{how}: {found['whole']:.1f} s", file=sys.stderr, flush=True)
    return found


def _run(name: str, study: Study, sweep: Path, number: int) -> dict[str, Any]:
    if name == "ffnet":
        return bench_sweep.ffnet(study, sweep.with_name(f"run-{number}"), watch_workers=False)
    return bench_sweep.program(sweep, PROGRAMS[name].script, *PROGRAMS[name].arguments)


def medians(single: Sequence[Row]) -> list[Row]:
    """A row for each program: the medians of its rounds, and its fit time relative to others.

    Args:
        single: a row for each round and program, with `how` and FIGURES. Failed rounds, which have
            no figures, do not count.
    """
    found = {
        how: {key: median(row[key] for row in single if row["how"] == how) for key in FIGURES}
        for how in dict.fromkeys(row["how"] for row in single)
    }

    def relative(how: str, to: str) -> float | None:
        own, other = (found.get(name, {}).get("fit_seconds") for name in (how, to))
        return own and other and round(own / other, 2)

    return [
        {
            "how": how,
            "start-up s": figures["startup_seconds"],
            "fit s": figures["fit_seconds"],
            "whole command s": figures["whole_seconds"],
            "fit ÷ ffnet": relative(how, "ffnet"),
            "fit ÷ products": relative(how, PRODUCTS),
            "best val_accuracy": figures["best_val_accuracy"],
            "lost": figures["lost"],
        }
        for how, figures in found.items()
    ]


def median(values: Any) -> float | None:
    """The median of the values that are not None; None if there are none."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
