"""Compare runs on the same data: which is better, and what it cost to get there.

  ffnet compare runs/asha runs/hyperband
  ffnet compare runs/a runs/b runs/c --accuracy 0.9,0.95
  ffnet compare runs/a runs/b --format markdown >> notes.md
  ffnet compare runs/a runs/b --out compared.html     also a page with figures

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
from collections.abc import Sequence

from ffnet.cli import command
from ffnet.errors import InputError
from ffnet.report import terminal
from ffnet.report.compare import compare
from ffnet.run.folder import RunFolder

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
    parser.add_argument(
        "--out", metavar="FILE", help="also write a page with figures into this HTML file [no page]"
    )
    flags = parser.parse_args(argv)
    levels = None if flags.accuracy is None else _levels(flags.accuracy)
    found = compare([RunFolder.existing(run) for run in flags.runs], levels)
    if flags.out:
        found.report(flags.out)
    if flags.format == "markdown":
        print(found.markdown())
        return 0
    most, names = terminal.width(), ["", *(run.name for run in found.runs)]
    print(terminal.wrapped(found.figures(), names, most), end="\n\n")
    print("\n".join(textwrap.fill(line, most or 10_000) for line in found.lines()))
    if flags.out:
        print(f"page: {flags.out}")
    return 0


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
