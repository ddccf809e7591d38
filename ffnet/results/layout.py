"""The one place that spells the name of a run's files."""

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ffnet.errors import InputError
from ffnet.results import storage
from ffnet.results.storage import File


@dataclass(frozen=True)
class RunFolder:
    """A run's folder.

    Attributes:
        place: its absolute path, or its URI in an object store.
    """

    place: str

    @classmethod
    def at(cls, place: str | Path) -> "RunFolder":
        """A run's folder that may not be there. Raises InputError where none can be."""
        return cls(storage.checked(place))

    @classmethod
    def create(cls, place: str | Path) -> "RunFolder":
        """A new, empty, writable folder.

        Raises:
            InputError: it holds something, or cannot be made or written.
        """
        folder = cls.at(place)
        try:
            held = storage.names(folder.place)
            if "study.json" in held:
                raise InputError(f"{folder} holds another study: name a new folder with --out")
            if held:
                raise InputError(
                    f"{folder} must be empty. Given: a folder with files; name a new one"
                )
            folder.try_to_write()
        except OSError as error:
            reason = storage.reason(error)
            raise InputError(
                f"{folder}: the results folder must be writable ({reason}); choose --out"
            ) from None
        return folder

    @classmethod
    def existing(cls, place: str | Path) -> "RunFolder":
        """The run at a place. Raises InputError when there is none."""
        folder = cls.at(place)
        if not folder.has_study():
            raise InputError(f"{folder} is not a run: it has no study.json")
        return folder

    def __str__(self) -> str:
        return self.place

    def has_study(self) -> bool:
        """Whether a study was begun here. Raises InputError when it cannot be seen."""
        try:
            return self.study.exists()
        except OSError as error:
            raise InputError(f"{self} cannot be read ({storage.reason(error)})") from None

    def try_to_write(self) -> None:
        """Raise OSError when nothing can be written here."""
        probe = self._file(f".probe-{secrets.token_hex(4)}")  # several nodes try at once
        with probe.replacing():
            pass
        probe.delete()

    @property
    def name(self) -> str:
        """The folder's own name."""
        remote = storage.is_remote(self.place)
        return Path(urlsplit(self.place).path if remote else self.place).name

    @property
    def here(self) -> Path:
        """For what must be files of this machine: the run, or runs/NAME of one in a store."""
        return Path("runs") / self.name if storage.is_remote(self.place) else Path(self.place)

    @property
    def study(self) -> File:
        """The resolved study with versions and commit."""
        return self._file("study.json")

    @property
    def trials(self) -> File:
        """One row a trial started."""
        return self._file("trials.parquet")

    @property
    def epochs(self) -> File:
        """One row a report."""
        return self._file("epochs.parquet")

    def checkpoint(self, trial: int) -> File:
        """A trial after its last report: the step and the weights, npy arrays one after another."""
        return self._file(f"checkpoints/{trial:05d}.npy")

    @property
    def errors(self) -> str:
        """Folder of the tracebacks."""
        return storage.below(self.place, "errors")

    def traceback(self, trial: int) -> File:
        """Traceback of a failed trial."""
        return self._file(f"errors/{trial:05d}.txt")

    @property
    def tune(self) -> str:
        """Folder of Ray Tune's own files, gone when the study ends."""
        return storage.below(self.place, "ray")

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files, made from the tables."""
        return self.here / "tensorboard"

    def export(self, name: str) -> Path:
        """A net handed on: a folder for each version, and the card of the newest."""
        return self.here / "export" / name

    @contextmanager
    def log(self) -> Iterator[Path]:
        """A file of this machine for all that Ray and the workers print; it ends as ray.log."""
        if not storage.is_remote(self.place):
            yield Path(self.place) / "ray.log"
            return
        with tempfile.TemporaryDirectory(prefix="ffnet-") as folder:
            path = Path(folder) / "ray.log"
            try:
                yield path
            finally:
                with suppress(OSError), self._file("ray.log").replacing() as file:
                    file.write(path.read_bytes())

    def discard(self) -> None:
        """Remove the folder: for a study refused before its first trial."""
        with suppress(OSError):
            storage.delete_folder(self.place)

    def _file(self, name: str) -> File:
        return File(storage.below(self.place, name))
