"""Where a process's output goes: to another file, or to a reader that may leave."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from ffnet.errors import RunError

READER_LEFT = (errno.EPIPE, errno.EIO)
"""Errors of a pipe without a reader, and of a terminal that is gone."""


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
            sys.stdout = _log(1)
        if 2 in descriptors:
            sys.stderr = _log(2)
        try:
            yield
        finally:
            _flush()
            sys.stdout, sys.stderr = streams
            for number, copy in saved.items():
                os.dup2(copy, number)
                os.close(copy)


@contextmanager
def screen(number: int = 1) -> Iterator[TextIO]:
    """The standard output (1) or errors (2) as they are now; later redirections do not touch it.

    What cannot be written there is dropped: no study ends because nobody reads its progress.
    """
    _flush()
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    raw = _Forgiving(os.dup(number), None)
    with _stream(raw, encoding=encoding, errors="backslashreplace") as file:
        yield file


def open_standard_streams() -> None:
    """Open what a parent closed (`job >&-`), so that no other file gets the number of a stream."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number


def forgive_readers(every_error: bool) -> None:
    """Drop what is written to standard output and errors when nobody reads any longer.

    A stream that somebody put in the place of the process's own is left as it is.

    Args:
        every_error: drop it too when it cannot be written for another reason, as a full disk.
    """
    errors = None if every_error else READER_LEFT
    for number, name in ((1, "stdout"), (2, "stderr")):
        old = getattr(sys, name)
        if old is not None and not _is_descriptor(old, number):
            continue
        options: dict[str, Any] = {"line_buffering": True}
        if old is not None:
            with suppress(OSError):
                old.flush()
            options = {"encoding": old.encoding, "errors": old.errors}
            options["line_buffering"] = old.line_buffering
        setattr(sys, name, _stream(_Forgiving(number, errors, closefd=False), **options))


def finish() -> None:
    """Write what is left of the standard output. Raises RunError where that cannot be written."""
    try:
        sys.stdout.flush()
    except OSError as error:
        forgive_readers(every_error=True)
        raise RunError(f"the output cannot be written ({error.strerror})") from None


def _is_descriptor(stream: TextIO, number: int) -> bool:
    try:
        return stream.fileno() == number
    except (OSError, ValueError):  # a text in memory, or a stream that is closed
        return False


class _Forgiving(io.FileIO):
    """A descriptor that drops what cannot be written for the given reasons; None: for any."""

    def __init__(self, number: int, errors: tuple[int, ...] | None, closefd: bool = True) -> None:
        super().__init__(number, "w", closefd)
        self._errors = errors

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if self._errors and error.errno not in self._errors:
                raise
            return len(data)


def _log(number: int) -> TextIO:
    """A log: on a full disk it must not end what it tells of."""
    raw = _Forgiving(number, None, closefd=False)
    return _stream(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _stream(raw: io.FileIO, **options: Any) -> TextIO:
    return io.TextIOWrapper(io.BufferedWriter(raw), **options)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
