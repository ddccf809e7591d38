"""Train one net without a tuner: a preset, a net of your own, or a trial of a run again.

  ffnet train --preset mnist-dense --data-dir ~/data
  ffnet train --preset cifar10-barebones --save-figures figures
  ffnet train --hidden-sizes '[256, 128]' --epochs 20 --out runs/mine
  ffnet train best.toml --out runs/best    what `ffnet best` printed
  ffnet train --from runs/digits-… --trial 17

Prints the loss of the batch and the validation accuracy after the first step, and then after every
report_steps or every epoch. With --from, a trial of a run is trained again and compared with its
reports. It needs the same data as the run; --data-dir or --dataset say where these data are now.

Exit status: 0; 1 when the loss diverged, or when a trial of a run did not match; 2 for bad input.
"""

import argparse
import itertools
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ffnet.cli import command
from ffnet.cli.flags import add_flags, given, override
from ffnet.errors import InputError
from ffnet.run.folder import RunFolder
from ffnet.run.hold import Hold, held
from ffnet.run.same_data import MOVED
from ffnet.run.study_files import read_toml
from ffnet.spec import presets
from ffnet.spec.base import Values
from ffnet.spec.study import OneNet
from ffnet.spec.trial import TrialConfig
from ffnet.spec.validation import did_you_mean, validated
from ffnet.system.output import redirected, screen

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ffnet.data.dataset import DataSet
    from ffnet.run.tables import Row
    from ffnet.training.loop import Report
    from ffnet.training.trainer import Trainer

COMPARED = ("train_loss", "val_loss", "val_accuracy")


def main(argv: list[str]) -> int:
    """Parse, then train one net or a trial again."""
    flags = _parser().parse_args(argv)
    if (flags.run is None) != (flags.trial is None):
        raise InputError("--from RUN and --trial ID need each other")
    if flags.file and flags.preset:
        raise InputError(
            f"name a net by a file or by --preset, not by both. Given: {flags.file} and "
            f"--preset {flags.preset}"
        )
    if flags.run:
        _refuse_changes(flags)
    for folder in (flags.save_figures, flags.tensorboard):
        _must_be_writable(folder)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return _train_again(flags) if flags.run else _train_one(flags)


def _train_one(flags: argparse.Namespace) -> int:
    source, values = _source(flags)
    one = validated(OneNet, override(values, flags, OneNet), source, given(flags, OneNet))

    from ffnet.data.load import load
    from ffnet.training import memory, metrics

    data, config = load(one.data), one.trial_config()
    metrics.refuse_undefined(one.metric, data.classes, [data.validation.y])
    memory.check(config, data)
    if not flags.out:
        return _train(flags, one, data, config, None)
    with held(RunFolder.at(flags.out)) as hold:
        return _train(flags, one, data, config, hold)


def _source(flags: argparse.Namespace) -> tuple[str, Values]:
    """(name of the net's source, the net's values without the flags)."""
    if flags.preset:
        return f"preset {flags.preset}", read_toml(presets.nets()[flags.preset])
    if not flags.file:
        return "one net", {}
    if not Path(flags.file).suffix and not Path(flags.file).exists():
        raise InputError(
            f"FILE must be a TOML file; ffnet's own nets are named with --preset: "
            f"{', '.join(presets.nets())}. Given: {flags.file}"
            f"{did_you_mean(flags.file, presets.nets())}"
        )
    if not (values := read_toml(Path(flags.file))):
        raise InputError(f"{flags.file}: a file of one net must have fields. Given: none")
    if "space" in values:
        raise InputError(
            f"{flags.file}: one net has no search space; `ffnet tune` runs a study. Given: [space]"
        )
    return flags.file, values


def _train(
    flags: argparse.Namespace, one: OneNet, data: "DataSet", config: TrialConfig, hold: Hold | None
) -> int:
    from ffnet.api import one_net
    from ffnet.report import terminal
    from ffnet.run import ledger
    from ffnet.training import examples

    print(data.describe(), *data.notes, *examples.notes(data, [config.net]), sep="\n")
    threads = len(os.sched_getaffinity(0))
    trainer, config = _trainer(data, config, threads, flags.device)
    begun = time.monotonic()
    try:
        with one_net.written(one, data, threads, hold) as rows:
            reports = _reports(trainer, config, lesson=not flags.file)
            for report in one_net.trained(rows, one, config, trainer, reports):
                _print_report(report)
            if reason := rows.rows[config.number]["reason"]:
                print(f"the training ended: {reason}")
            print(f"validation accuracy {report.validation.accuracy:.4f}", end=" ")
            print(f"after {report.epoch:g} epochs in {time.monotonic() - begun:.1f} s")
            if one.evaluate_test:
                accuracy, loss = one_net.tested(rows, trainer)
                print(f"test accuracy {accuracy:.4f}, loss {loss:.4f}")
    except KeyboardInterrupt:
        if hold and hold.folder.has_study():
            print(f"stopped: the reports and the last weights are kept in {hold.folder}")
        raise
    if hold:
        with suppress(InputError, OSError):  # the store may not answer any more
            print(terminal.wrapped_text(ledger.read(hold.folder).line(), terminal.width()))
        print(f"results: {hold.folder}")
    row = rows.rows[config.number]
    _show(flags, one, data, trainer, row, list(rows.reports.values()))
    if report.diverged:
        print("the loss is no longer finite: lower the learning rate")
    return int(report.diverged)


def _trainer(
    data: "DataSet", config: TrialConfig, threads: int, device: str
) -> "tuple[Trainer, TrialConfig]":
    """The net's trainer, with initial weights, and the trial with its path."""
    with redirected(Path(os.devnull), 2):  # TensorFlow's greetings
        from ffnet.training import paths
        from ffnet.training.device_data import DeviceData
        from ffnet.training.devices import configure
        from ffnet.training.trainer import Trainer

        configure(threads, gpus=int(device == "gpu"))
        trainer = Trainer(DeviceData(data), config)
    trainer.initialize(config)
    return trainer, paths.chosen(config, trainer.features)


def _reports(trainer: "Trainer", config: TrialConfig, lesson: bool) -> "Iterator[Report]":
    """A trial's reports. With `lesson`, as in the lesson: after steps 1, 101, 201, … for 100."""
    from ffnet.spec.trial import report_points
    from ffnet.training.loop import train

    points = report_points(config, trainer.examples)
    if lesson:
        first = 1 if config.training.report_steps else 0
        points = sorted({1, *(point + first for point in points[:-1]), points[-1]})
    return _watched(train(trainer, config, points=points), trainer)


def _watched(reports: "Iterator[Report]", trainer: "Trainer") -> "Iterator[Report]":
    """Yield the reports. Before each report, a terminal shows how far the epoch is."""
    if not sys.stdout.isatty():
        yield from reports
        return
    from ffnet.system.live import LiveLine

    def now() -> str:
        epochs = trainer.epochs_now
        return f"epoch {int(epochs) + 1}: {100 * (epochs % 1):.0f} %"

    with screen() as terminal, LiveLine(terminal) as live:
        while True:
            live.watch(now)
            report = next(reports, None)
            live.clear()
            if report is None:
                return
            yield report


def _print_report(report: "Report") -> None:
    score = report.validation
    print(f"Iteration {report.step - 1}, loss = {report.batch_loss:.4f}")
    print(f"Got {score.correct} / {score.count} correct ({100 * score.accuracy:.2f}%)\n")


# --- results -----------------------------------------------------------------------------------


def _show(
    flags: argparse.Namespace, one: OneNet, data: "DataSet", trainer: "Trainer", row: "Row",
    reports: "list[Row]",
) -> None:  # fmt: skip
    """Write figures and TensorBoard's files if the flags ask for them."""
    if flags.tensorboard:
        from ffnet.report.tensorboard import write_run

        write_run(flags.tensorboard, [row], reports, one.tuning)
        print(f"events: tensorboard --logdir {flags.tensorboard}")
    if not flags.save_figures:
        return
    from ffnet.report import figures

    sizes = "-".join(map(str, row["hidden_sizes"])) or "no hidden layer"
    name = f"{data.name}: {sizes}, {row['optimizer']}"
    drawn = {"curves": figures.curves(reports, name)}
    if row["status"] == "diverged":
        print("the net diverged, so its confusion matrix and weights are not drawn")
    else:
        drawn |= _net_figures(data, trainer, name, one.evaluate_test)
    for stem, figure in drawn.items():
        files = figures.save(figure, flags.save_figures / stem)
        print(f"figure: {', '.join(map(str, files))}")


def _net_figures(
    data: "DataSet", trainer: "Trainer", name: str, use_test: bool
) -> "dict[str, Figure]":
    """The confusion matrix and the first layer's weights, if its inputs are pixels."""
    from ffnet.report import figures

    part = "test" if use_test and trainer.data.test else "validation"
    counts = trainer.confusion(getattr(trainer.data, part))
    drawn = {"confusion": figures.confusion(counts, data.classes, part, name)}
    if figures.is_image(data.example_shape) and trainer.features == data.features:
        weights = trainer.net.weights[0].numpy()
        drawn["weights"] = figures.weight_grid(weights, data.example_shape)
    return drawn


# --- a trial again -----------------------------------------------------------------------------


def _train_again(flags: argparse.Namespace) -> int:
    """Train a trial of a run again, and print whether each of its reports is the same."""
    from ffnet.run import recorded, tables
    from ffnet.run.same_data import load_again
    from ffnet.training import examples, memory

    folder = RunFolder.existing(flags.run)
    document = recorded.read_study_json(folder)
    row = recorded.trial(tables.read(folder.trials), flags.trial)
    recorded.refuse_follower(row)
    config = recorded.config(document["study"], row)
    reports = sorted(
        (r for r in tables.read(folder.epochs) if r["trial"] == config.number),
        key=lambda r: r["step"],
    )
    if not reports:
        raise InputError(
            f"trial {config.number} has no report to compare with (status {row['status']})"
        )
    data = load_again(folder, document, {name: getattr(flags, name) for name in MOVED})
    memory.check(config, data)
    if "normalized_in" not in document["data"] and data.dtype != "uint8":
        print(
            "the run standardised its features in float32, ffnet now does in float64: last digits "
            "may differ"
        )
    print(data.describe(), *data.notes, *examples.notes(data, [config.net]), sep="\n")
    trainer, config = _trainer(data, config, document["threads"], flags.device)
    first = reports[0]["step"] == 1
    again = itertools.islice(_reports(trainer, config, first), len(reports))
    for report, expected in zip(again, reports, strict=True):
        _print_report(report)
        measured: dict[str, Any] = report.measured()
        for name in COMPARED:
            if measured.get(name) != expected[name]:
                print(
                    f"no match: {name} at epoch {report.epoch:g} is {measured.get(name)}, "
                    f"in the table {expected[name]}"
                )
                _print_differences(document["versions"])
                return 1
    print(f"match: all {len(reports)} reports of trial {config.number}, bit for bit")
    return 0


def _refuse_changes(flags: argparse.Namespace) -> None:
    """Refuse flags that would change a trial, or that have no effect with --from."""
    fields = [name for name in given(flags, OneNet) if name not in MOVED]
    others = ("file", "preset", "out", "save_figures", "tensorboard")
    for name in (*fields, *(name for name in others if getattr(flags, name) is not None)):
        word = "FILE" if name == "file" else f"--{name.replace('_', '-')}"
        raise InputError(
            f"{word} has no effect with --from, which trains a trial again without changes: leave "
            f"it out. Only --data-dir or --dataset may say where the data are now"
        )


def _must_be_writable(folder: Path | None) -> None:
    """Refuse a folder that cannot be written before a net is trained for it."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise InputError(f"{folder} must be a folder that can be written: name another folder")


def _print_differences(versions: dict[str, str]) -> None:
    from ffnet.run.provenance import versions as installed

    now = installed()
    other = [f"{n} {v}, here {now.get(n)}" for n, v in versions.items() if now.get(n) != v]
    print(f"the run had other versions: {'; '.join(other)}" if other else "the versions are equal")


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("train [FILE] [options]", __doc__)
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="TOML file of a net, such as `ffnet best` prints"
    )
    run = parser.add_argument_group("run")
    run.add_argument(
        "--preset",
        metavar="NAME",
        choices=list(presets.nets()),
        help=f"one of ffnet's own nets: {', '.join(presets.nets())}",
    )
    run.add_argument(
        "--from", dest="run", metavar="RUN",
        help="run whose trial is trained again, on the run's data",
    )  # fmt: skip
    run.add_argument("--trial", help="with --from: number of the trial in the table")
    run.add_argument(
        "--device",
        metavar="cpu|gpu",
        choices=["cpu", "gpu"],
        default="cpu",
        help="device that trains the net [%(default)s]",
    )
    out = parser.add_argument_group("output")
    out.add_argument(
        "--out", help="folder or URI of a new run with tables and weights [no run is written]"
    )
    out.add_argument(
        "--save-figures", type=Path, metavar="DIR",
        help="folder for figures as PNG, PDF and SVG: curves, confusion matrix and, for images, "
        "first-layer weights [no figures]",
    )  # fmt: skip
    out.add_argument(
        "--tensorboard", type=Path, metavar="DIR", help="folder for event files [no event files]"
    )
    add_flags(parser, OneNet)
    return parser
