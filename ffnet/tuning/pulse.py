"""Tells the driver how far a trial is between two reports.

The trial's worker writes the number of trained epochs into a small file, and the driver shows it.
The file is in the folder of Ray Tune's files, which is removed when the study ends. For a run in an
object store nothing is written, because each number would cost a request.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ffnet.run import storage
from ffnet.run.folder import RunFolder

SECONDS = 5.0
"""Time between two writes of a worker."""


class Pulse:
    """A thread in a worker that writes how far the worker's trial is."""

    def __init__(self) -> None:
        self._now: tuple[Path, Callable[[], float]] | None = None
        self._thread: threading.Thread | None = None

    @contextmanager
    def beating(self, folder: RunFolder, trial: int, epochs: Callable[[], float]) -> Iterator[None]:
        """In the block, write the number of trained epochs every SECONDS.

        Args:
            folder: the run's folder.
            trial: the trial's number.
            epochs: returns how many epochs the trial has trained. Another thread calls it.
        """
        if storage.is_remote(folder.place):
            yield
            return
        if not self._thread:
            self._thread = threading.Thread(target=self._beat, daemon=True)
            self._thread.start()
        self._now = _file(folder, trial), epochs
        try:
            yield
        finally:
            self._now = None

    def _beat(self) -> None:
        while True:
            time.sleep(SECONDS)
            if now := self._now:
                file, epochs = now
                # The disk may be full, or the folder may be gone; then it must not come back.
                with suppress(OSError):
                    file.write_text(f"{epochs():.6f}")


def read(folder: RunFolder, trial: int) -> float | None:
    """How many epochs a trial had trained at its worker's last write. None if there is none."""
    if storage.is_remote(folder.place):
        return None
    with suppress(OSError, ValueError):  # the file may not exist yet, or be half written
        return float(_file(folder, trial).read_text())
    return None


def _file(folder: RunFolder, trial: int) -> Path:
    return Path(folder.tune) / f"{trial:05d}.epochs"
