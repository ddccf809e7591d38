"""Sends a process's output elsewhere, C++ libraries' included."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO


@contextmanager
def redirected(to: Path, *descriptors: int) -> Iterator[None]:
    """Append what is written to the descriptors (1 standard output, 2 errors) to the file `to`.

    Libraries write past `sys.stdout`, so the descriptors themselves are redirected.
    """
    _flush()
    saved = {number: os.dup(number) for number in descriptors}
    streams = sys.stdout, sys.stderr
    with to.open("ab") as file:
        for number in descriptors:
            os.dup2(file.fileno(), number)
        if 1 in descriptors:
            sys.stdout = _unfailing(1)
        if 2 in descriptors:
            sys.stderr = _unfailing(2)
        try:
            yield
        finally:
            _flush()
            sys.stdout, sys.stderr = streams
            for number, copy in saved.items():
                os.dup2(copy, number)
                os.close(copy)


class _Unfailing(io.FileIO):
    """Writes what can be written: a log on a full disk must not end what it tells of."""

    def write(self, data: Any, /) -> int:
        with contextlib.suppress(OSError):
            return super().write(data) or 0
        return len(data)


def _unfailing(descriptor: int) -> TextIO:
    raw = _Unfailing(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )


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
