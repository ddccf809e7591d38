"""Redirects a process's output, and keeps the process alive when nobody reads its output."""

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
"""Errors of a write to a pipe without a reader, and to a terminal that is gone."""


@contextmanager
def redirected(to: Path, *descriptors: int) -> Iterator[None]:
    """In the block, append to the file `to` what this process writes to the descriptors.

    Some libraries do not use `sys.stdout`, so the descriptors themselves are redirected.

    Args:
        to: the file.
        descriptors: 1 for standard output, 2 for standard error.
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
    """A copy of standard output (1) or standard error (2) that later redirections do not change.

    Output that cannot be written is dropped, so that a study goes on when nobody reads its
    progress.
    """
    _flush()
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    raw = _Forgiving(os.dup(number), None)
    with _stream(raw, encoding=encoding, errors="backslashreplace") as file:
        yield file


def open_standard_streams() -> None:
    """Open the streams that a parent closed (`job >&-`), so that no file gets their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number


def forgive_readers(every_error: bool) -> None:
    """From now on, drop output to standard output and standard error if nobody reads it.

    What cannot be written for another reason is an error at the end: see `finish`.
    Each line is written when it ends, also into a pipe or a file: a log shows how far a job is.
    If somebody has replaced `sys.stdout` or `sys.stderr`, it does not change.

    Args:
        every_error: whether to drop output also after other errors, for example on a full disk.
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
            options |= {"encoding": old.encoding, "errors": old.errors}
        setattr(sys, name, _stream(_Forgiving(number, errors, closefd=False), **options))


def finish() -> None:
    """Flush standard output. Raises RunError if a part of the output could not be written."""
    sys.stdout.flush()
    file = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(file, _Forgiving) and file.error:
        raise RunError(f"the output cannot be written ({file.error.strerror})")


def _is_descriptor(stream: TextIO, number: int) -> bool:
    try:
        return stream.fileno() == number
    except (OSError, ValueError):  # a text in memory, or a stream that is closed
        return False


class _Forgiving(io.FileIO):
    """A file that drops what cannot be written, so that no command ends in the middle of its work.

    Attributes:
        error: the first error besides those that are forgiven, which `finish` raises at the end.
    """

    def __init__(self, number: int, errors: tuple[int, ...] | None, closefd: bool = True) -> None:
        super().__init__(number, "w", closefd)
        self._forgiven = errors
        self.error: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if self._forgiven and error.errno not in self._forgiven:
                self.error = self.error or error
            return len(data)


def _log(number: int) -> TextIO:
    """The stream of a log. It ignores errors, so that a full disk does not end a study."""
    raw = _Forgiving(number, None, closefd=False)
    return _stream(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _stream(raw: io.FileIO, **options: Any) -> TextIO:
    return io.TextIOWrapper(io.BufferedWriter(raw), **options)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
