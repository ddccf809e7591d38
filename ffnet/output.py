"""Sends a process's output elsewhere, C++ libraries' included."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def redirected(to: Path, *descriptors: int) -> Iterator[None]:
    """Append what is written to the descriptors (1 standard output, 2 errors) to the file `to`.

    Libraries write past `sys.stdout`, so the descriptors themselves are redirected.
    """
    _flush()
    saved = {number: os.dup(number) for number in descriptors}
    with to.open("ab") as file:
        for number in descriptors:
            os.dup2(file.fileno(), number)
        try:
            yield
        finally:
            _flush()
            for number, copy in saved.items():
                os.dup2(copy, number)
                os.close(copy)


@contextmanager
def screen() -> Iterator[TextIO]:
    """The standard output as it is now, which later redirections do not touch."""
    _flush()
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    with os.fdopen(os.dup(1), "w", encoding=encoding, errors="backslashreplace") as file:
        yield file


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
