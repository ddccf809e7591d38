"""The common part of all commands: how they parse their arguments, and how they end."""

import argparse
import atexit
import difflib
import gc
import io
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from ffnet.errors import InputError, RunError, StorageError
from ffnet.system import output, signals

SETUP = "run `make setup` in ffnet's folder, and the command with .venv/bin/python there"


def run(
    main: Callable[[list[str]], int], words: list[str] | None = None, must_print: bool = True
) -> NoReturn:
    """Run a command's `main`. Bad input ends it with a message in one line and exit status 2.

    `--debug` also shows the traceback. After `--` it belongs to a submitted job. Signals that end a
    job raise KeyboardInterrupt, and the exit status is 130. When nobody reads the output any more
    (`ffnet table … | head`), the rest of it is dropped.

    Args:
        main: takes the arguments, and returns the exit status.
        words: the arguments. With None, the arguments of this process.
        must_print: whether it is an error if the output cannot be written, e.g. on a full disk.
    """
    output.open_standard_streams()
    output.forgive_readers(every_error=not must_print)
    atexit.register(signals.finish)  # the first that is registered runs last
    signals.interrupt()
    atexit.register(gc.freeze)  # else Python looks for garbage at exit: a second after a study
    argv = sys.argv[1:] if words is None else words
    at = argv.index("--") if "--" in argv else len(argv)
    debug = "--debug" in argv[:at]
    _print_in_any_encoding()
    try:
        try:
            status: Any = main([word for word in argv[:at] if word != "--debug"] + argv[at:])
        except SystemExit as end:  # after --help
            status = end.code
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
    """Print \\x… for a character that the terminal's encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fail(error: InputError) -> int:
    print("error:", " ".join(str(error).split()), file=sys.stderr)
    return error.exit_status


BOOLEANS = {"true", "false", "yes", "no", "on", "off", "1", "0", "t", "f", "y", "n"}
"""Values that a switch accepts."""

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
"""Name of a flag in other programs → its name here."""


class _Formatter(argparse.HelpFormatter):
    """Wraps text to the terminal's width; indented lines, which are examples, stay as they are."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        blocks = re.split(r"\n(?: *\n)+", text.strip("\n"))
        filled = (
            block if block.startswith(" ") else "\n".join(self._split_lines(block, width))
            for block in blocks
        )
        return textwrap.indent("\n\n".join(filled), indent) + "\n"


class Parser(argparse.ArgumentParser):
    """A parser that raises InputError. For an unknown name, the message has the nearest name.

    Attributes:
        switches: fields whose flags need no value: `--batch-norm` means `--batch-norm=true`, and
            `--no-batch-norm` means `--batch-norm=false`.
    """

    switches: frozenset[str] = frozenset()

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """The values of the flags. With `--help`, print the help and raise SystemExit.

        Raises:
            InputError: an argument is unknown, or a value is not valid.
        """
        self._add_help()
        words = with_values(sys.argv[1:] if args is None else args, self.switches)
        flags, unknown = self.parse_known_args(words, namespace)
        if unknown:
            self.error(self._unknown(unknown[0]))
        return flags

    def _add_help(self) -> None:
        """Add the flags that every command has. They come last, because users know them."""
        last = self.add_argument_group("help")
        last.add_argument("--debug", action="store_true", help="show the traceback of an error")
        last.add_argument("-h", "--help", action="help", help="show this text")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            from ffnet.spec.validation import did_you_mean, shown  # pydantic takes 0.1 s

            name = "/".join(action.option_strings) or action.metavar or action.dest
            raise InputError(
                f"{name} must be one of {', '.join(map(str, action.choices))}. "
                f"Given: {shown(value)}{did_you_mean(str(value), map(str, action.choices))}"
            )

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see --help")

    def _unknown(self, word: str) -> str:
        name = word.partition("=")[0]
        flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
        flags += ["--no-" + switch.replace("_", "-") for switch in sorted(self.switches)]
        meant = f"--{OTHER_NAMES.get(name.strip('-').replace('_', '-'), name.strip('-'))}"
        close = [meant] if meant in flags else difflib.get_close_matches(meant, flags, n=1)
        if not name.startswith("-"):
            return f"unexpected argument {name}"
        hint = f" (did you mean {close[0]}?)" if close else ""
        return f"unknown flag {name}{hint}"


def not_blank(text: str, kind: Callable[[str], Any] = str) -> Any:
    """A flag's value. Raises argparse.ArgumentTypeError if it is empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"needs a value, or leave it out. Given: {text!r}")
    return kind(text)


def with_values(words: Sequence[str], switches: Collection[str]) -> list[str]:
    """The words of a command line, with a value for each switch that has none.

    Args:
        words: the words. Words after `--` do not change.
        switches: names of boolean fields.

    Example:
        >>> with_values(["--batch-norm", "digits", "--no-bias"], {"batch_norm", "bias"})
        ['--batch-norm=true', 'digits', '--bias=false']
    """
    flags = {"--" + name.replace("_", "-") for name in switches}
    given = list(words[: words.index("--")] if "--" in words else words)
    for i, word in enumerate(given):
        following = given[i + 1].lower() if i + 1 < len(given) else ""
        if word in flags and not (following in BOOLEANS or following.startswith(("{", "["))):
            given[i] = f"{word}=true"
        elif "--" + word.removeprefix("--no-") in flags and word.startswith("--no-"):
            given[i] = f"--{word.removeprefix('--no-')}=false"
    return [*given, *words[len(given) :]]


def parser(usage: str, doc: str | None) -> Parser:
    """A parser whose help shows a command's docstring.

    Args:
        usage: the command and its required arguments, in one line.
        doc: the docstring of the command's module.
    """
    made = Parser(
        usage=f"ffnet {usage}",
        description=doc,
        formatter_class=_Formatter,
        allow_abbrev=False,
        add_help=False,
    )
    for kind in (None, Path):  # the type of every flag that is read as text
        made.register("type", kind, partial(not_blank, kind=kind or str))
    return made
