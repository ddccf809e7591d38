"""The names of a run's files, and what may become of its folder."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ffnet.errors import InputError
from ffnet.run import storage, tables
from ffnet.run.storage import File
from ffnet.system import temporary

WRITTEN = {
    "study.json", "trials.parquet", "epochs.parquet", "ray.log", "ray", "checkpoints", "errors",
}  # fmt: skip
"""What a study writes into its folder by itself."""

HOLD = ".driver"
"""Name of the file that marks a run as held by a driver, or how such names begin: see `hold`."""


@dataclass(frozen=True)
class RunFolder:
    """A run's folder.

    Attributes:
        place: its absolute path, or its URI in an object store.
        made: whether the folder was not there before this command, which may then remove it.
    """

    place: str
    made: bool = field(default=False, compare=False, repr=False)

    @classmethod
    def at(cls, place: str | Path) -> "RunFolder":
        """A run's folder that may not be there. Raises InputError where none can be."""
        place = storage.checked(place)
        return cls(place, made=not storage.is_remote(place) and not Path(place).exists())

    @classmethod
    def create(cls, place: str | Path) -> "RunFolder":
        """A new, empty, writable folder. Raises InputError as `begin` does."""
        folder = cls.at(place)
        folder.begin()
        return folder

    @classmethod
    def existing(cls, place: str | Path) -> "RunFolder":
        """The run at a place. Raises InputError when there is none."""
        folder = cls.at(place)
        storage.knock(folder.place)
        folder.must_have_study()
        return folder

    def __str__(self) -> str:
        return self.place

    def must_have_study(self) -> None:
        """Raise InputError when no study was begun here."""
        if not self.has_study():
            raise InputError(f"{self} is not a run: it has no study.json{self._hint()}")

    def _hint(self) -> str:
        """What somebody may have meant by a folder of this machine that is no run."""
        if storage.is_remote(self.place):
            return ""
        with suppress(OSError):
            if (Path("runs") / self.name / "study.json").exists():
                return f" (did you mean runs/{self.name}?)"
            if any(Path(self.place).glob("*/study.json")):
                return "; it holds runs, which ffnet runs lists"
        return ""

    def begin(self) -> None:
        """See that the folder is empty and can be written.

        It may hold a study that ended before its first trial: that study is removed.

        Raises:
            InputError: it holds something else, or cannot be made or written.
        """
        try:
            held = self._held()
            if "study.json" in held:
                if held - WRITTEN or not self._ended_before_its_first_trial():
                    raise InputError(f"{self} holds another study: name a new folder with --out")
                self._clear()
            elif held:
                raise InputError(
                    f"{self} must be empty. Given: {sorted(held)[0]} in it; name a new one"
                )
            self.try_to_write()
        except OSError as error:
            raise self.cannot_be_written(error) from None

    def cannot_be_written(self, error: OSError) -> InputError:
        """The error for a person."""
        reason = storage.reason(error)
        return InputError(f"{self}: the results folder must be writable ({reason}); choose --out")

    def has_study(self) -> bool:
        """Whether a study was begun here. Raises InputError when it cannot be seen."""
        try:
            return self.study.exists()
        except OSError as error:
            raise InputError(f"{self} cannot be read ({storage.reason(error)})") from None

    def try_to_write(self) -> int:
        """Write a file and remove it; its time in ns, by the clock of the storage.

        Raises OSError when nothing can be written here.
        """
        probe = self._file(f".probe-{secrets.token_hex(4)}")  # several nodes try at once
        try:
            with probe.replacing() as file:
                file.write(b"?")  # a full disk still takes empty files
            return probe.stamp()[0]
        finally:
            probe.delete()

    @property
    def name(self) -> str:
        """The folder's own name."""
        remote = storage.is_remote(self.place)
        return Path(urlsplit(self.place).path if remote else self.place).name

    @property
    def local(self) -> Path:
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
        """A trial after its last report: see `run.checkpoints`.

        The file holds a line and several arrays in NumPy's format. Its name ends in .npy as in
        earlier versions, whose runs are read too.
        """
        return self._file(f"checkpoints/{trial:05d}.npy")

    def checkpoint_before(self, trial: int) -> File:
        """The checkpoint before, kept until the trial ends, in case that the last is damaged."""
        return self._file(f"checkpoints/{trial:05d}-before.npy")

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
        return self.local / "tensorboard"

    def export(self, name: str) -> Path:
        """A net handed on: a folder for each version, and the card of the newest."""
        return self.local / "export" / name

    @contextmanager
    def log(self) -> Iterator[Path]:
        """A file of this machine for all that Ray and the workers print; it ends as ray.log."""
        if not storage.is_remote(self.place):
            yield Path(self.place) / "ray.log"
            return
        with temporary.folder() as folder:
            path = folder / "ray.log"
            try:
                yield path
            finally:
                with suppress(OSError), self._file("ray.log").replacing() as file:
                    file.write(path.read_bytes())

    def begun(self) -> bool:
        """Whether the tables have a trial. Raises InputError when they cannot be read."""
        return self.trials.exists() and bool(tables.read(self.trials, ["trial"]))

    def discard(self) -> None:
        """Remove what a study wrote, if it ended before its first trial.

        The folder itself is removed by `hold.held`, if it was not there before.
        """
        with suppress(OSError, InputError):
            if not self.begun():
                self._clear()

    def _ended_before_its_first_trial(self) -> bool:
        try:
            with self.study.open() as file:
                ours = {"study", "data", "versions"} <= json.loads(file.read()).keys()
        except (ValueError, AttributeError, RecursionError):
            return False
        return ours and not self.begun()

    def _clear(self) -> None:
        for name in self._held() & WRITTEN:
            storage.delete(storage.below(self.place, name))

    def _held(self) -> set[str]:
        """The names of what lies here, but for a driver's own mark."""
        return {name for name in storage.names(self.place) if not name.startswith(HOLD)}

    def _file(self, name: str) -> File:
        return File(storage.below(self.place, name))
