"""What the command lines in jobs/ share: a parser, and how errors end."""

import argparse
import io
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from ffnet.errors import InputError


def run(main: Callable[[list[str]], int]) -> NoReturn:
    """Run a command line's `main`; bad input ends in one line and exit status 2.

    `--debug` shows the traceback too. After `--` it belongs to a job that is submitted.
    """
    argv = sys.argv[1:]
    at = argv.index("--") if "--" in argv else len(argv)
    debug = "--debug" in argv[:at]
    _print_in_any_encoding()
    try:
        sys.exit(main([word for word in argv[:at] if word != "--debug"] + argv[at:]))
    except InputError as error:
        if debug:
            traceback.print_exc()
        sys.exit(_fail(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `jobs/table.py … | head`
        sys.stderr.close()
        sys.exit(0)


def _print_in_any_encoding() -> None:
    """Have characters that the terminal's encoding lacks printed as \\x… instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fail(error: InputError) -> int:
    print("error:", " ".join(str(error).split()), file=sys.stderr)
    return error.exit_status


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see --help")


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser that shows a job's docstring, its commands included."""
    made = _Parser(
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return made
