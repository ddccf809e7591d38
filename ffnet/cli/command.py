"""What all commands share: a parser, and how errors end."""

import argparse
import difflib
import io
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from ffnet.errors import InputError, RunError, StorageError
from ffnet.system import output, signals

SETUP = "run `make setup` in ffnet's folder, and the command with .venv/bin/python there"


def run(
    main: Callable[[list[str]], int], words: list[str] | None = None, must_print: bool = True
) -> NoReturn:
    """Run a command's `main`; bad input ends in one line and exit status 2.

    `--debug` shows the traceback too. After `--` it belongs to a job that is submitted.
    Signals that end a job raise KeyboardInterrupt, and the exit status is 130. A reader of the
    output may leave (`ffnet table … | head`): the rest of the output is dropped.

    Args:
        main: takes the arguments, returns the exit status.
        words: the arguments; None for those of this process.
        must_print: whether it is an error when the output cannot be written, on a full disk.
    """
    output.open_standard_streams()
    output.forgive_readers(every_error=not must_print)
    signals.interrupt()
    argv = sys.argv[1:] if words is None else words
    at = argv.index("--") if "--" in argv else len(argv)
    debug = "--debug" in argv[:at]
    _print_in_any_encoding()
    try:
        status = main([word for word in argv[:at] if word != "--debug"] + argv[at:])
        output.finish()
        sys.exit(status)
    except InputError as error:
        if debug:
            traceback.print_exc()
        sys.exit(_fail(error))
    except ModuleNotFoundError as error:
        if debug or (error.name or "").startswith("ffnet"):
            raise
        sys.exit(_fail(InputError(f"{error.name} is not installed: {SETUP}")))
    except StorageError as error:
        if debug:
            traceback.print_exc()
        message = f"{error.filename}: could not be written ({error.strerror})"
        sys.exit(_fail(RunError(message)))
    except KeyboardInterrupt:
        sys.exit(130)


def _print_in_any_encoding() -> None:
    """Have characters that the terminal's encoding lacks printed as \\x… instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fail(error: InputError) -> int:
    print("error:", " ".join(str(error).split()), file=sys.stderr)
    return error.exit_status


OTHER_NAMES = {
    "lr": "learning-rate", "batch": "batch-size", "bs": "batch-size", "wd": "weight-decay",
    "optim": "optimizer", "bn": "batch-norm", "dropout-rate": "dropout", "width": "hidden-sizes",
    "layers": "hidden-sizes", "hidden-layers": "hidden-sizes", "units": "hidden-sizes",
    "n-trials": "trials", "num-samples": "trials", "samples": "trials", "n-epochs": "epochs",
    "max-epochs": "epochs", "num-epochs": "epochs", "n-jobs": "concurrency",
    "workers": "concurrency", "max-concurrent": "concurrency", "timeout": "wall-seconds",
    "time-limit": "wall-seconds", "sampler": "search", "pruner": "scheduler",
    "objective": "metric", "monitor": "metric", "random-state": "seed", "data": "dataset",
    "data-path": "data-dir", "output": "out", "output-dir": "out", "limit": "top", "n": "top",
    "order-by": "sort", "filter": "status",
}  # fmt: skip
"""What other programs call a flag → what it is called here."""


class _Parser(argparse.ArgumentParser):
    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        flags, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(self._unknown(unknown[0]))
        return flags

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see --help")

    def _unknown(self, word: str) -> str:
        name = word.partition("=")[0]
        flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
        meant = f"--{OTHER_NAMES.get(name.strip('-').replace('_', '-'), name.strip('-'))}"
        close = [meant] if meant in flags else difflib.get_close_matches(meant, flags, n=1)
        if not name.startswith("-"):
            return f"unexpected argument {name}"
        hint = f" (did you mean {close[0]}?)" if close else ""
        return f"unknown flag {name}{hint}"


def not_blank(text: str, kind: Callable[[str], Any] = str) -> Any:
    """A flag's value. Raises argparse.ArgumentTypeError when it is empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"needs a value, or leave it out. Given: {text!r}")
    return kind(text)


def parser(usage: str, doc: str | None) -> argparse.ArgumentParser:
    """A parser that shows a command's docstring, its examples included.

    Args:
        usage: the command and what it must be given, in one line.
        doc: the docstring of its module.
    """
    made = _Parser(
        usage=f"ffnet {usage}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for kind in (None, Path):  # of all that is given as text, the study's fields included
        made.register("type", kind, partial(not_blank, kind=kind or str))
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return made
