"""What the command lines in jobs/ share: a parser, and how errors end."""

import argparse
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
    try:
        sys.exit(main([word for word in argv[:at] if word != "--debug"] + argv[at:]))
    except InputError as error:
        if debug:
            traceback.print_exc()
        sys.exit(_fail(str(error)))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `jobs/table.py … | head`
        sys.stderr.close()
        sys.exit(0)


def _fail(message: str) -> int:
    print("error:", " ".join(message.split()), file=sys.stderr)
    return 2


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
