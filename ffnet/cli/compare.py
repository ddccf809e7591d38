"""Compare runs on the same data: which is better, and what it cost to get there.

  ffnet compare runs/asha runs/hyperband
  ffnet compare runs/a runs/b runs/c --accuracy 0.9,0.95
  ffnet compare runs/a runs/b --format markdown >> notes.md

A run's best net has a 95 % interval over the validation examples (Wilson). The run with the best
net is compared with each of the others: the difference has a 95 % interval (Newcombe), and p is the
chance of such a lead if both runs were the same study. Without evidence, the runs "cannot be told
apart". The best of many trials is a little too good on the part that chose it: ffnet confirm
measures it again.

Seconds and core-seconds to an accuracy count from the beginning of the study, Ray's start included.
Common configurations are trials with the same seed and the same values of all searched fields;
fixed fields may differ. They are compared at the last epoch that both have reported.

Exit status: 0; 2 for bad input, for example if the runs do not have the same validation part.
"""

import textwrap
from collections.abc import Iterator, Sequence

from ffnet.cli import command
from ffnet.errors import InputError
from ffnet.report import terminal
from ffnet.report.compare import Compared, Comparison, compare
from ffnet.report.text import escaped, render
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row

FORMATS = ("table", "markdown")


def main(argv: list[str]) -> int:
    """Read the runs, compare, print."""
    parser = command.parser("compare RUN RUN [RUN …] [options]", __doc__)
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="folder of a run, or its s3:// or gs:// URI"
    )
    parser.add_argument(
        "--accuracy",
        metavar="LEVELS",
        help="validation accuracies, separated by commas, e.g. 0.9,0.95 [the highest round ones "
        "that all runs and that any run reached]",
    )
    parser.add_argument("--format", choices=FORMATS, default="table", help="[%(default)s]")
    flags = parser.parse_args(argv)
    levels = None if flags.accuracy is None else _levels(flags.accuracy)
    found = compare([RunFolder.existing(run) for run in flags.runs], levels)
    rows, names = figures(found), ["", *(run.name for run in found.runs)]
    if flags.format == "markdown":
        print(render(rows, names, "markdown"), end="\n\n")
        print("\n".join(f"- {escaped(line)}" for line in sentences(found)))
        return 0
    most = terminal.width()
    print(terminal.wrapped(rows, names, most), end="\n\n")
    print("\n".join(textwrap.fill(line, most or 10_000) for line in sentences(found)))
    return 0


def sentences(found: Comparison) -> Iterator[str]:
    """What a comparison shows, a sentence each."""
    for run in found.runs:
        if run.accuracy is None:
            yield f"{run.name} has no figure yet"
        elif run.runs:
            yield f"{run.name} has not ended: its figures are those until now"
        if run.note:
            yield f"the cost of {run.name} is not known: {run.note}"
    for verdict in found.verdicts:
        yield verdict.line()
        yield verdict.pairs_line()
    yield f"accuracies are those on the {found.examples:,} validation examples"


def figures(found: Comparison) -> list[Row]:
    """The figures of a comparison: a row for each figure, with a text for each run.

    The name of the figure is under the key "".
    """
    rows: list[Row] = [
        {"": "best val_accuracy"} | {run.name: _text(run.accuracy, 4) for run in found.runs},
        {"": "95 % interval"} | {run.name: _interval(run) for run in found.runs},
        {"": "best trial"} | {run.name: _text(run.trial) for run in found.runs},
        {"": "trials"} | {run.name: run.counts for run in found.runs},
        {"": "epochs"} | {run.name: _text(run.epochs, 1) for run in found.runs},
        {"": "wall seconds"} | {run.name: _text(run.wall_seconds, 1) for run in found.runs},
        {"": "core-seconds"} | {run.name: _text(run.core_seconds, 1) for run in found.runs},
    ]
    for level in found.levels:
        reached = {run.name: run.reached[level] for run in found.runs}
        for figure, at in (("seconds", 0), ("core-seconds", 1)):
            texts = {n: _text(v[at], 1) if v else "never" for n, v in reached.items()}
            rows.append({"": f"{figure} to {level:g}"} | texts)
    return rows


def _text(value: float | None, digits: int = 0) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _interval(run: Compared) -> str:
    return "" if run.low is None else f"{run.low:.4f} to {run.high:.4f}"


def _levels(text: str) -> Sequence[float]:
    """The accuracies in a text with commas."""
    levels = []
    for word in text.split(","):
        try:
            level = float(word)
        except ValueError:
            level = 0.0
        if not 0 < level <= 1:
            raise InputError(
                f"--accuracy needs numbers above 0 and at most 1, separated by commas, e.g. "
                f"0.9,0.95. Given: {text}"
            )
        levels.append(level)
    return sorted(set(levels))
