"""Print the table of a run's trials, while it runs or after.

  ffnet table                              the newest run in runs/
  ffnet table runs/digits-…                the best twenty by the study's metric
  ffnet table runs/digits-… --format csv   all trials, for another program
  ffnet table runs/digits-… --status failed --columns trial,reason
  ffnet table runs/digits-… --sort -train_seconds

Exit status: 0; 2 for bad input.
"""

import argparse
import sys

import pyarrow as pa

from ffnet.cli import command
from ffnet.errors import InputError
from ffnet.report import terminal
from ffnet.report.text import FORMATS, default_columns, render
from ffnet.run import ledger, tables
from ffnet.run.folder import RunFolder
from ffnet.run.listing import runs
from ffnet.run.ranking import best_first, ranked, tuning_of
from ffnet.run.study_files import read_study
from ffnet.spec.base import Values
from ffnet.spec.validation import did_you_mean


def main(argv: list[str]) -> int:
    """Read, filter, sort, print."""
    flags = _parser().parse_args(_joined(argv))
    statuses, top = _statuses(flags.status), _count(flags.top, flags.format)
    folder = RunFolder.existing(flags.run) if flags.run else _newest()
    if not folder.trials.exists():
        raise InputError(f"{folder} has no table yet: its study has not written one")
    study = read_study(str(folder.study))
    tuning, columns = tuning_of(study, str(folder.study)), _columns(flags.columns, study)
    sort = (flags.sort or f"best_{tuning.metric}").strip().removeprefix("-").strip()
    wanted = list(dict.fromkeys([*columns, sort, "trial", "status"]))
    table = tables.read_table(folder.trials, list(dict.fromkeys([*wanted, *ledger.COLUMNS])))
    rows = [row for row in table.select(wanted).to_pylist() if row["status"] in statuses]
    if flags.sort:
        ordered = ranked(rows, sort, descending=flags.sort.strip().startswith("-"))
    else:
        ordered = best_first(rows, tuning)
    kept = ordered[: top or len(rows)]
    if flags.format != "table":
        print(render(kept, columns, flags.format))
        return 0
    _print_table(kept, columns, chosen=flags.columns is not None)
    if not rows:
        print("no trial yet" if set(statuses) == set(tables.Status) else "no trial of that status")
    if len(kept) < len(rows):
        print(f"… {len(rows) - len(kept)} more: --top 0 shows all {len(rows)}")
    if "budget" in study and flags.columns is None:  # a study, not one net
        print(_core_time(folder, table))
    return 0


def _core_time(folder: RunFolder, trials: pa.Table) -> str:
    """The line that says where the study's core time went."""
    try:
        return ledger.read(folder, trials).line()
    except InputError as error:  # epochs.parquet or the metadata are damaged; the table is not
        return f"core time: not known ({error})"


def _print_table(rows: list[tables.Row], columns: list[str], chosen: bool) -> None:
    """Print the columns that fit the terminal, or all columns if the user has chosen them."""
    most = terminal.width()
    if chosen:
        print(terminal.wrapped(rows, columns, most))
        return
    table, left_out = terminal.fitted(rows, columns, most)
    print(table)
    if left_out:
        how = "--columns shows them, --format csv has all"
        print(terminal.left_out_line(left_out, how, most))


def _newest() -> RunFolder:
    folder = runs()[0]
    print(f"{folder}:", file=sys.stderr)
    return folder


def _joined(argv: list[str]) -> list[str]:
    """The words, with `--sort -column` joined, because argparse would take -column for a flag."""
    words: list[str] = []
    for word in argv:
        descending = word.startswith("-") and not word.startswith("--")
        if words[-1:] == ["--sort"] and descending:
            words[-1] = f"--sort={word}"
        else:
            words.append(word)
    return words


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("table [RUN] [options]", __doc__)
    parser.add_argument(
        "run",
        nargs="?",
        metavar="RUN",
        help="folder of the run, or its s3:// or gs:// URI [the newest in runs/]",
    )
    parser.add_argument(
        "--sort", help="column, with - before it for descending order [the best trial first]"
    )
    parser.add_argument(
        "--top", metavar="ROWS", help="how many rows; 0 for all [20; with csv and json all]"
    )
    parser.add_argument(
        "--status",
        default=",".join(tables.Status),
        help="only trials with one of these, separated by commas [%(default)s]",
    )
    parser.add_argument(
        "--columns",
        help="names, separated by commas, or all [the searched fields and the main figures]",
    )
    parser.add_argument("--format", choices=FORMATS, default="table", help="[%(default)s]")
    return parser


def _columns(text: str | None, study: Values) -> list[str]:
    if text is None:
        return default_columns(study)
    return list(tables.TRIALS.names) if text.strip() == "all" else _words("--columns", text)


def _count(text: str | None, style: str) -> int:
    if text is None:
        return 0 if style in ("csv", "json") else 20
    if not text.isdecimal():
        raise InputError(f"--top must be a number of rows, 0 for all. Given: {text}")
    return int(text[:18])  # more digits than there can be rows


def _statuses(text: str) -> list[str]:
    wanted = _words("--status", text)
    for status in wanted:
        if status not in tuple(tables.Status):
            raise InputError(
                f"--status must be one or more of {', '.join(tables.Status)}. "
                f"Given: {status}{did_you_mean(status, tables.Status)}"
            )
    return wanted


def _words(flag: str, text: str) -> list[str]:
    """The names in a text with commas, without blanks."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise InputError(f"{flag} needs a name, or names separated by commas. Given: {text!r}")
    return words
