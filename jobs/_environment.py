"""Says what to do where ffnet's environment is missing. Each job takes `command` from here.

This file is read by Pythons before 3.11 too, and imports only the standard library until it is
known that the rest is there.
"""

import signal
import sys
from importlib.util import find_spec
from pathlib import Path

NEEDED = ("ffnet", "numpy", "pyarrow", "pydantic")


def _what_is_wrong() -> str:
    if sys.version_info < (3, 11):
        return "ffnet needs Python 3.11 or later, and {} is {}.{}".format(
            sys.executable, *sys.version_info[:2]
        )
    missing = [name for name in NEEDED if find_spec(name) is None]
    return f"{missing[0]} is not installed for {sys.executable}" if missing else ""


def _what_to_do() -> str:
    root = Path(__file__).resolve().parent.parent
    python = root / ".venv" / "bin" / "python"
    if python.exists() and Path(sys.prefix) != root / ".venv":
        return f"run the job with {python}"
    return f"run `make setup` in {root}, and the job with {python}"


_wrong = _what_is_wrong()
if _wrong:
    print(f"error: {_wrong}; {_what_to_do()}", file=sys.stderr)
    sys.exit(2)

_is_a_job = Path(sys.argv[0]).resolve().parent == Path(__file__).resolve().parent
if _is_a_job and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until `command.run`, Ctrl-C ends a job without the traceback of an import.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from ffnet.cli import command  # noqa: E402

__all__ = ["command"]
