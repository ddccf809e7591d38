"""How far a trial is between two reports: its worker writes a number, the driver shows it.

The number is the epochs trained until now, in a small file among those of Ray Tune, which the study
removes at its end. In an object store each number would be a request: there is none.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ffnet.run import storage
from ffnet.run.folder import RunFolder

SECONDS = 5.0
"""Time between two numbers of a worker."""


class Pulse:
    """A thread of a worker that writes how far its trial is."""

    def __init__(self) -> None:
        self._now: tuple[Path, Callable[[], float]] | None = None
        self._thread: threading.Thread | None = None

    @contextmanager
    def beating(self, folder: RunFolder, trial: int, epochs: Callable[[], float]) -> Iterator[None]:
        """While the block trains, write now and then what `epochs` gives."""
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
                with suppress(
                    OSError
                ):  # a full disk; or the folder is gone, and must not come back
                    file.write_text(f"{epochs():.6f}")


def read(folder: RunFolder, trial: int) -> float | None:
    """The epochs that a trial had trained when its worker wrote last; None where it did not."""
    if storage.is_remote(folder.place):
        return None
    with suppress(OSError, ValueError):  # none yet, or half of it
        return float(_file(folder, trial).read_text())
    return None


def _file(folder: RunFolder, trial: int) -> Path:
    return Path(folder.tune) / f"{trial:05d}.epochs"
