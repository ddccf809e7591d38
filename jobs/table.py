"""Print the table of a run's trials, while it runs or after.

python jobs/table.py runs/digits-…                         the best twenty
python jobs/table.py runs/digits-… --top 0 --format csv    all of them, for another program
python jobs/table.py runs/digits-… --status failed --columns trial,reason
"""

import argparse

from ffnet import command
from ffnet.errors import InputError
from ffnet.results import tables
from ffnet.results.layout import RunFolder
from ffnet.results.text import FORMATS, render, shown
from ffnet.validation import read_study


def main(argv: list[str]) -> int:
    """Read, filter, sort, print."""
    flags = _parser().parse_args(argv)
    statuses, top = _statuses(flags.status), _count(flags.top)
    folder = RunFolder.existing(flags.run)
    columns = _columns(flags.columns, folder)
    sort, descending = flags.sort.removeprefix("-"), flags.sort.startswith("-")
    rows = tables.read(folder.trials, list(dict.fromkeys([*columns, sort, "status"])))
    rows = [row for row in rows if row["status"] in statuses]
    shown = tables.ranked(rows, sort, descending)[: top or len(rows)]
    print(render(shown, columns, flags.format))
    if flags.format == "table" and len(shown) < len(rows):
        print(f"… {len(rows) - len(shown)} more: --top 0 shows all {len(rows)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(__doc__)
    parser.add_argument("run", help="folder of the run, or its s3:// or gs:// URI")
    parser.add_argument(
        "--sort",
        default="-best_val_accuracy",
        help="column; - before it for descending [%(default)s]",
    )
    parser.add_argument("--top", default="20", help="rows; 0 for all [%(default)s]")
    parser.add_argument(
        "--status",
        default=",".join(tables.STATUSES),
        help="only these, comma-separated [%(default)s]",
    )
    parser.add_argument(
        "--columns", help="comma-separated, or all [what the study searches, and its figures]"
    )
    parser.add_argument("--format", choices=FORMATS, default="table")
    return parser


def _columns(text: str | None, folder: RunFolder) -> list[str]:
    if text == "all":
        return list(tables.TRIALS.names)
    return text.split(",") if text else shown(read_study(str(folder.study)))


def _count(text: str) -> int:
    if not text.isdecimal():
        raise InputError(f"--top must be a number of rows, 0 for all. Given: {text}")
    return int(text)


def _statuses(text: str) -> list[str]:
    wanted = text.split(",")
    for status in wanted:
        if status not in tables.STATUSES:
            raise InputError(f"--status must be of {', '.join(tables.STATUSES)}. Given: {status}")
    return wanted


if __name__ == "__main__":
    command.run(main)
