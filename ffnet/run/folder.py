"""A run's folder: the names of its files, and when it may be begun, cleared or removed."""

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
    "study.json", "learnt.parquet", "trials.parquet", "epochs.parquet", "ray.log", "ray",
    "checkpoints", "errors",
}  # fmt: skip
"""Files and folders that every study writes."""

HOLD = ".driver"
"""The file with which a driver marks a run as held; in a store, a prefix of it: see `hold`."""


@dataclass(frozen=True)
class RunFolder:
    """A run's folder.

    Attributes:
        place: its absolute path, or its URI in an object store.
        made: whether the folder did not exist before this command. Then the command may remove it.
    """

    place: str
    made: bool = field(default=False, compare=False, repr=False)

    @classmethod
    def at(cls, place: str | Path) -> "RunFolder":
        """The folder at a place; it need not exist. Raises InputError if a place is not allowed."""
        place = storage.checked(place)
        return cls(place, made=not storage.is_remote(place) and not Path(place).exists())

    @classmethod
    def create(cls, place: str | Path) -> "RunFolder":
        """A new, empty, writable folder. Raises InputError: see `begin`."""
        folder = cls.at(place)
        folder.begin()
        return folder

    @classmethod
    def existing(cls, place: str | Path) -> "RunFolder":
        """The folder of the run at a place. Raises InputError if there is no run."""
        folder = cls.at(place)
        storage.knock(folder.place)
        folder.must_have_study()
        return folder

    def __str__(self) -> str:
        return self.place

    def must_have_study(self) -> None:
        """Raise InputError if the folder has no study.json."""
        if not self.has_study():
            raise InputError(f"{self} is not a run: it has no study.json{self._hint()}")

    def _hint(self) -> str:
        """A hint what the user may have meant by a local folder that is not a run."""
        if storage.is_remote(self.place):
            return ""
        with suppress(OSError):
            if (Path("runs") / self.name / "study.json").exists():
                return f" (did you mean runs/{self.name}?)"
            if any(Path(self.place).glob("*/study.json")):
                return "; it holds runs: ffnet runs lists them"
        return ""

    def begin(self) -> None:
        """Check that the folder is empty and can be written.

        A study in it that ended before its first trial is removed.

        Raises:
            InputError: the folder holds something else, or cannot be created or written.
        """
        try:
            held = self._held()
            if "study.json" in held:
                if held - WRITTEN or not self._ended_before_its_first_trial():
                    raise InputError(f"{self} holds another study: name a new folder with --out")
                self._clear()
            elif held:
                raise InputError(
                    f"{self} must be empty. Given: {sorted(held)[0]} in it; name a new folder"
                )
            self.try_to_write()
        except OSError as error:
            raise self.cannot_be_written(error) from None

    def cannot_be_written(self, error: OSError) -> InputError:
        """The error for the user."""
        reason = storage.reason(error)
        return InputError(
            f"{self}: the results folder must be writable ({reason}); make it writable, or use "
            f"another folder"
        )

    def has_study(self) -> bool:
        """Whether the folder has a study.json. Raises InputError if the folder cannot be read."""
        try:
            return self.study.exists()
        except OSError as error:
            raise InputError(f"{self} cannot be read ({storage.reason(error)})") from None

    def try_to_write(self) -> int:
        """Write a file and remove it. Returns the file's time in ns, by the clock of the storage.

        Raises:
            OSError: the file could not be written.
        """
        probe = self._file(f".probe-{secrets.token_hex(4)}")  # several nodes may try at once
        try:
            with probe.replacing() as file:
                file.write(b"?")  # even a full disk accepts an empty file
            return probe.stamp()[0]
        finally:
            probe.delete()

    @property
    def name(self) -> str:
        """The last part of the folder's path."""
        remote = storage.is_remote(self.place)
        return Path(urlsplit(self.place).path if remote else self.place).name

    @property
    def local(self) -> Path:
        """Local folder for the run's exports: the run itself, or runs/NAME if it is in a store."""
        return Path("runs") / self.name if storage.is_remote(self.place) else Path(self.place)

    @property
    def study(self) -> File:
        """study.json: the study with all defaults, the data, versions and commit."""
        return self._file("study.json")

    @property
    def trials(self) -> File:
        """trials.parquet: a row for each trial that has begun."""
        return self._file("trials.parquet")

    @property
    def epochs(self) -> File:
        """epochs.parquet: a row for each report."""
        return self._file("epochs.parquet")

    @property
    def learnt(self) -> File:
        """learnt.parquet: a row for each trial of an earlier run that the study learns from."""
        return self._file("learnt.parquet")

    @property
    def confirm(self) -> File:
        """confirm.parquet: a row for each net that `ffnet confirm` trained."""
        return self._file("confirm.parquet")

    @property
    def ensembles(self) -> File:
        """ensembles.parquet: the ensemble of each look of `ffnet confirm --ensemble`."""
        return self._file("ensembles.parquet")

    @property
    def audit(self) -> File:
        """audit.parquet: a row for each pruned trial that `ffnet audit` trained to the end."""
        return self._file("audit.parquet")

    def checkpoint(self, trial: int) -> File:
        """A trial's checkpoint after its last report: see `run.checkpoints`.

        The name ends in .npy because earlier versions named it so, and their runs must be read.
        """
        return self._file(f"checkpoints/{trial:05d}.npy")

    def checkpoint_before(self, trial: int) -> File:
        """The checkpoint before the last. It stays until the trial ends, as a spare copy."""
        return self._file(f"checkpoints/{trial:05d}-before.npy")

    def checkpoint_best(self, trial: int) -> File:
        """A trial's checkpoint after its best report by the study's metric.

        It is there only if a later report was worse. Else `checkpoint` has the best weights, and
        this file is missing or has those of an earlier report that was the best before.
        """
        return self._file(f"checkpoints/{trial:05d}-best.npy")

    @property
    def errors(self) -> str:
        """The folder of the tracebacks."""
        return storage.below(self.place, "errors")

    def traceback(self, trial: int) -> File:
        """The traceback of a failed trial."""
        return self._file(f"errors/{trial:05d}.txt")

    @property
    def tune(self) -> str:
        """The folder of Ray Tune's own files, which is removed when the study ends."""
        return storage.below(self.place, "ray")

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's event files, which are made from the tables."""
        return self.local / "tensorboard"

    def export(self, name: str) -> Path:
        """The folder of an exported net: a folder for each version, and the newest one's card."""
        return self.local / "export" / name

    @contextmanager
    def log(self) -> Iterator[Path]:
        """A local file for everything that Ray and the workers print.

        After the block it is ray.log in the run's folder.
        """
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
        """Whether a trial has begun. Raises InputError if the table cannot be read."""
        return self.trials.exists() and bool(tables.read(self.trials, ["trial"]))

    def discard(self) -> None:
        """Remove the files of a study that ended before its first trial.

        If the folder did not exist before, `hold.held` removes it.
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
        """The names of the folder's files and folders, without the marks of drivers."""
        return {name for name in storage.names(self.place) if not name.startswith(HOLD)}

    def _file(self, name: str) -> File:
        return File(storage.below(self.place, name))
