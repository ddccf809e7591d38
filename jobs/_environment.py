"""Says what to do if ffnet's environment is missing. Each job imports `main` from here.

Pythons before 3.11 must be able to read this file. It imports only the standard library until it
has found the other packages.
"""

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

from ffnet.cli import main  # noqa: E402

__all__ = ["main"]
