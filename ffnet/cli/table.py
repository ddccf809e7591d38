"""Print the table of a run's trials, while it runs or after. Several runs make one table.

  ffnet table                              the newest run in runs/
  ffnet table runs/digits-…                the best twenty by the study's metric
  ffnet table runs/digits-… --watch        updated until the study ends
  ffnet table runs/digits-… --format csv   all trials, for another program
  ffnet table runs/a runs/b --columns run,trial,reason --status failed
  ffnet table runs/digits-… --sort -train_seconds
  ffnet table runs/digits-… --where "status == 'done' and hidden_sizes[0] > 256"

A condition of --where has Python's syntax, with the names of columns: comparisons (also a < b < c),
and, or, not, in, + - * /, len(hidden_sizes), and hidden_sizes[0] for the first layer. Times are
texts: started_at > '2026-11-25 12:00' (UTC). A comparison with a missing value keeps no row;
momentum == None finds the rows without a value.

Exit status: 0; 2 for bad input.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ffnet.cli import command
from ffnet.errors import InputError, one_line
from ffnet.report import terminal
from ffnet.report.text import FORMATS, render
from ffnet.report.trials import Asked, Chosen, choose
from ffnet.report.where import Condition
from ffnet.run import storage, tables
from ffnet.run.folder import RunFolder
from ffnet.run.hold import driver_of
from ffnet.run.listing import runs
from ffnet.spec.validation import did_you_mean

if TYPE_CHECKING:
    from rich.console import Console

LOOK_SECONDS = 1.0  # time between two looks at the tables with --watch


def main(argv: list[str]) -> int:
    """Read, filter, sort, print."""
    flags = _parser().parse_args(_joined(argv))
    asked = Asked(
        statuses=_statuses(flags.status),
        where=None if flags.where is None else Condition(flags.where),
        sort=None if flags.sort is None else flags.sort.strip(),
        columns=None if flags.columns is None else _words("--columns", flags.columns),
        top=_count(flags.top, flags.format),
    )
    folders = [RunFolder.existing(run) for run in flags.runs] or [_newest()]
    if flags.watch and not (flags.format == "table" and sys.stdout.isatty()):
        raise InputError("--watch needs a terminal and the format table: leave it out")
    if flags.watch:
        return watch(folders, asked)
    if flags.format == "table":
        print(_text(choose(folders, asked), asked, terminal.width()))
    else:
        chosen = choose(folders, asked)
        print(render(chosen.rows, chosen.columns, flags.format))
    return 0


def watch(
    folders: Sequence[RunFolder],
    asked: Asked,
    console: "Console | None" = None,
    wait: Callable[[float], None] = time.sleep,
) -> int:
    """Show the table, and update it until no process runs a study of these runs, or Ctrl-C.

    While the table cannot be read, for example because a store does not answer, the last one stays
    with a line that says why.

    Args:
        folders: the runs.
        asked: what the user wants to see.
        console: the terminal. With None, standard output.
        wait: is called between two looks with their distance in seconds.

    Returns:
        The exit status, 0.
    """
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = console or Console(highlight=False)
    fits = replace(asked, top=min(asked.top or console.height, max(console.height - 6, 1)))

    def now(asked: Asked) -> str:
        if not all(folder.trials.exists() for folder in folders):
            return "no table yet"
        return _text(choose(folders, asked), asked, console.width)

    lives, table, note = any(map(driver_of, folders)), now(fits), ""
    try:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while lives:
                live.update(Text(table + note), refresh=True)
                wait(LOOK_SECONDS)
                try:
                    for folder in folders:
                        storage.knock(folder.place)  # PyArrow repeats requests, deaf to Ctrl-C
                    lives, table, note = any(map(driver_of, folders)), now(fits), ""
                except (InputError, OSError) as error:
                    note = f"\nnot up to date: {one_line(str(error), 300)}"
    except KeyboardInterrupt:
        console.print(Text(table + note))
        return 0
    console.print(Text(now(asked)))
    if choose(folders, Asked(statuses=[tables.Status.RUNNING])).found:
        console.print("no process runs this study any more: ffnet tune with --resume continues it")
    return 0


def _text(chosen: Chosen, asked: Asked, most: int | None) -> str:
    """The table as text of a width, and what it does not show."""
    rows, columns = chosen.rows, chosen.columns
    if asked.columns is not None:
        lines = [terminal.wrapped(rows, columns, most)]
    else:
        table, left_out = terminal.fitted(rows, columns, most)
        how = "--columns shows them, --format csv has all"
        lines = [table, *([terminal.left_out_line(left_out, how, most)] if left_out else [])]
    if not chosen.begun:
        lines.append("no trial yet")
    elif not chosen.found:
        lines.append("no trial of that status" if not asked.where else "no such trial")
    if len(rows) < chosen.found:
        lines.append(f"… {chosen.found - len(rows)} more: --top 0 shows all {chosen.found}")
    if asked.columns is None:
        lines += [terminal.wrapped_text(line, most) for line in chosen.core_times]
    return "\n".join(lines)


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
    parser = command.parser("table [RUN …] [options]", __doc__)
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="folder of a run, or its s3:// or gs:// URI [the newest in runs/]",
    )
    parser.add_argument("--where", metavar="CONDITION", help="only trials for which this is true")
    parser.add_argument(
        "--watch", action="store_true", help="update the table until the study ends, or Ctrl-C"
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
