"""Show a run in TensorBoard, while it runs or after.

  ffnet board runs/digits-…                  http://127.0.0.1:6006, until Ctrl-C
  ffnet board runs/digits-… --convert-only   only write the event files

Shows the curves of every trial, and the HParams dashboard with the hyper-parameters that the study
varies and the best and last figures. The event files are made from the run's tables and are updated
every few seconds while TensorBoard runs. They are in RUN/tensorboard; for a run in an object store,
in runs/NAME/tensorboard.

Exit status: 0 when Ctrl-C, SIGTERM or SIGHUP ended it; 1 when TensorBoard ended by itself; 2 for
bad input.
"""

import argparse
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import IO

from ffnet.cli import command
from ffnet.errors import InputError
from ffnet.run.folder import RunFolder
from ffnet.system import temporary

EVERY = 5.0  # seconds between conversions; TensorBoard looks for new events as often
SHARE = 0.1  # the largest share of the time that conversions may take

Process = subprocess.Popen[bytes]


def main(argv: list[str]) -> int:
    """Write the event files, start TensorBoard, and update the files while it runs."""
    flags = _parser().parse_args(argv)
    run = RunFolder.existing(flags.run)
    if flags.convert_only and (flags.port is not None or flags.host is not None):
        raise InputError("--port and --host have no effect with --convert-only: leave them out")
    host, port = flags.host or "127.0.0.1", 6006 if flags.port is None else flags.port
    if not 0 <= port < 2**16:
        raise InputError(f"--port must be from 0 (any free port) to 65535. Given: {port}")
    if not run.trials.exists():
        raise InputError(f"{run} has no table yet: its study has not written one")
    converted, took = _tables(run), _convert(run)
    print(f"event files: {run.tensorboard} ({took:.1f} s)", flush=True)
    if flags.convert_only:
        return 0
    try:
        with _tensorboard(run, host, port) as (board, log):
            print(f"TensorBoard: {_address(board, log)} (Ctrl-C ends it)", flush=True)
            while not _ends(board, within=max(EVERY, took / SHARE)):
                if (now := _tables(run)) != converted:
                    converted, took = now, _convert(run)
            print(f"error: TensorBoard ended: {_last_line(log)}", file=sys.stderr)
            return 1
    except KeyboardInterrupt:
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("board RUN [options]", __doc__)
    parser.add_argument("run", metavar="RUN", help="folder of the run, or its s3:// or gs:// URI")
    parser.add_argument("--convert-only", action="store_true", help="only write the event files")
    parser.add_argument("--port", type=int, help="port of the page; 0 for any free port [6006]")
    parser.add_argument("--host", help="address to listen on; there is no password [127.0.0.1]")
    return parser


def _convert(run: RunFolder) -> float:
    """Bring the event files up to the tables, and return the seconds that it took."""
    from ffnet.report.tensorboard import convert

    begun = time.monotonic()
    convert(run)
    return time.monotonic() - begun


def _tables(run: RunFolder) -> list[tuple[int, int]]:
    """The stamps of the tables' files, which change with every write."""
    return [file.stamp() for file in (run.trials, run.epochs)]


@contextlib.contextmanager
def _tensorboard(run: RunFolder, host: str, port: int) -> Iterator[tuple[Process, IO[bytes]]]:
    """Run TensorBoard in the block. Yields its process and the file with its output."""
    # With -P, Python does not take a folder `tensorboard` in the current folder for the program.
    program = [sys.executable, "-P", "-m", "tensorboard.main"]
    flags = [f"--logdir={run.tensorboard}", f"--host={host}", f"--port={port}"]
    with temporary.file() as log:
        board = subprocess.Popen(
            [*program, *flags, f"--window_title={run.name}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield board, log
        finally:
            board.terminate()
            try:
                board.wait(10)
            except subprocess.TimeoutExpired:
                board.kill()
                board.wait()


def _address(board: Process, log: IO[bytes]) -> str:
    """Wait until TensorBoard serves. Returns its address. Raises InputError if it ends instead."""
    while board.poll() is None:
        if found := re.search(r"TensorBoard \S+ at (\S+)", _printed(log)):
            return found[1]
        time.sleep(0.1)
    raise InputError(f"TensorBoard does not start: {_last_line(log)}")


def _ends(board: Process, within: float) -> bool:
    """Whether TensorBoard ends within `within` seconds."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        board.wait(within)
    return board.poll() is not None


def _printed(log: IO[bytes]) -> str:
    # `read` would move the position at which the process writes next.
    return os.pread(log.fileno(), 2**20, 0).decode(errors="replace")


def _last_line(log: IO[bytes]) -> str:
    lines = _printed(log).strip().splitlines() or ["without a message"]
    return lines[-1].removeprefix("ERROR: ")
