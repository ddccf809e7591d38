"""What the modules of `ffnet bench` share: running a program, and showing and keeping figures."""

import json
import os
import platform
import secrets
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from ffnet.errors import InputError
from ffnet.report import terminal
from ffnet.report.text import render
from ffnet.run import provenance
from ffnet.run.tables import Row
from ffnet.spec import presets
from ffnet.spec.validation import did_you_mean

PEERS = presets.PACKAGE.parent / "jobs" / "peers"  # only a clone has them
CPUS = len(os.sched_getaffinity(0))
MEGABYTE = 2**20
WATCH_SECONDS = 1.0  # time between two looks at the memory of a program


class Ran(NamedTuple):
    """A program that has run.

    Attributes:
        launched, ended: when it was launched and when it ended, as Unix times.
        line: the last line that it printed.
        memory: its own peak memory in bytes, as of the last look.
        worker_memory: the memory of its largest descendant in bytes; a page of n processes counts
            1/n. 0 unless it was asked for.
    """

    launched: float
    ended: float
    line: str
    memory: float
    worker_memory: float


def run_python(*arguments: object, watch_workers: bool = False) -> Ran:
    """Run Python with these arguments, and wait until it ends.

    Args:
        arguments: what follows `python` on the command line.
        watch_workers: whether to measure the memory of its descendants. It takes about 20 ms of a
            CPU for each of them and each look.

    Raises:
        InputError: the program failed. The message has the end of its standard error.
    """
    with TemporaryDirectory() as folder:
        token = Path(folder) / "token"  # without it, Ray would write a token into the home folder
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        launched = time.time()
        with Popen(
            [sys.executable, *map(str, arguments)],
            stdout=PIPE,
            stderr=PIPE,
            text=True,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "RAY_AUTH_TOKEN_PATH": str(token)},
        ) as process:
            memory = largest = 0.0
            while True:
                try:
                    printed, errors = process.communicate(timeout=WATCH_SECONDS)
                    break
                except TimeoutExpired:
                    memory = max(memory, _kilobytes(process.pid, "status", "VmHWM:"))
                    workers = _descendants(process.pid) if watch_workers else []
                    sizes = [_kilobytes(worker, "smaps_rollup", "Pss:") for worker in workers]
                    largest = max([largest, *sizes])
        ended = time.time()
    if process.returncode:
        program = " ".join(map(str, arguments[:3]))
        raise InputError(f"{program} failed: {errors.strip()[-2000:]}")
    return Ran(launched, ended, printed.strip().splitlines()[-1], 1024 * memory, 1024 * largest)


def last_line(*arguments: object) -> Any:
    """Run a program of Python. Returns its last line, read as JSON."""
    return json.loads(run_python(*arguments).line)


def _descendants(pid: int) -> list[int]:
    try:
        children = [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    except OSError:  # the process has ended
        return []
    return children + [below for child in children for below in _descendants(child)]


def _kilobytes(pid: int, file: str, name: str) -> float:
    """A figure of a process in a file of /proc, in kilobytes. 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) for line in lines if line.startswith(name)), 0.0)


def print_rows(rows: Sequence[Row]) -> None:
    """Print rows as a table that fits the terminal, and an empty line."""
    print(terminal.wrapped(rows, list(rows[0]), terminal.width()), end="\n\n")


def named(only: str | None, known: Sequence[str], what: str) -> list[str]:
    """The names in the value of --only, with commas between them; with None, all that are known.

    Raises:
        InputError: a name is unknown. The message calls the names those of `what`.
    """
    wanted = [word.strip() for word in only.split(",")] if only is not None else list(known)
    for name in wanted:
        if name not in known:
            raise InputError(
                f"--only must have names of {what}: {', '.join(known)}. "
                f"Given: {name}{did_you_mean(name, known)}"
            )
    return wanted


def show(lines: Sequence[str], tables: Sequence[Sequence[Row]]) -> None:
    """Print what was measured: first the lines, then the tables."""
    print(*lines, sep="\n", end="\n\n")
    for rows in filter(None, tables):  # none are left where all programs failed
        print_rows(rows)


def keep(
    out: str | None,
    name: str,
    lines: Sequence[str],
    tables: Sequence[Sequence[Row]],
    single: Sequence[Row],
) -> None:
    """Write NAME.md, the lines and the tables, and NAME.parquet, the single measurements.

    Args:
        out: the folder, which is made if it is not there. With None, nothing is written.
        name: what was measured, for example `peers`.
        lines: what is said before the tables.
        tables: rows with the figures as they are shown.
        single: a row for each single measurement. All have the same keys.

    Raises:
        InputError: the files cannot be written.
    """
    if out is None:
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    shown = [render(rows, list(rows[0]), "markdown") for rows in tables if rows]
    text = "\n\n".join(["\n".join(f"- {line}" for line in lines), *shown])
    try:
        folder = Path(out).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.md").write_text(f"# ffnet bench {name}\n\n{text}\n")
        pq.write_table(pa.Table.from_pylist(list(single)), folder / f"{name}.parquet")
    except OSError as error:
        raise InputError(f"--out must be a folder that can be written. Given: {error}") from None


def machine(*packages: str) -> str:
    """The line that says where and with which versions it was measured."""
    found = [f"{name} {metadata.version(name)}" for name in packages]
    commit = provenance.commit() or "unknown"
    short = commit[:7] + commit[40:]  # what follows says whether files were changed since
    return f"{CPUS} CPUs, {_processor()}; commit {short}; {', '.join(found)}"


def _processor() -> str:
    """The CPU's model name; on systems without /proc/cpuinfo, the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
