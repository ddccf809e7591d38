"""Temporary files and folders. If none can be created, an error says so in one line."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from ffnet.errors import InputError
from ffnet.system import scratch


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that is removed when the block ends, or at the next start if the process is killed.

    Raises:
        InputError: the folder cannot be created.
    """
    with ExitStack() as made:
        try:
            path = made.enter_context(scratch.folder(Path(tempfile.gettempdir())))
        except OSError as error:
            raise _no_room(error) from None
        yield path


def file() -> IO[bytes]:
    """Return a file without a name, which is gone once it is closed, or the process has ended.

    Raises:
        InputError: the file cannot be created.
    """
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise _no_room(error) from None


def _no_room(error: OSError) -> InputError:
    given = os.environ.get("TMPDIR", "/tmp")  # noqa: S108 - what Python itself tries
    return InputError(
        f"temporary files need a folder that can be written. Given: {given} ({error.strerror}); "
        f"set TMPDIR"
    )
