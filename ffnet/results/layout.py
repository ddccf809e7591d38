"""The one place that spells the name of a run's files."""

import json
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ffnet.errors import InputError


@dataclass(frozen=True)
class RunFolder:
    """A run's folder.

    Attributes:
        path: absolute.
    """

    path: Path

    @classmethod
    def create(cls, path: Path) -> "RunFolder":
        """A new, empty, writable folder at `path`.

        Raises:
            InputError: it holds something, or cannot be made or written.
        """
        path = path.absolute()
        if (path / "study.json").exists():
            raise InputError(f"{path} holds another study: name a new folder with --out")
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise InputError(
                    f"{path} must be empty. Given: a folder with files; name a new one"
                )
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            raise InputError(
                f"{path}: the results folder must be writable ({error.strerror}); choose --out"
            ) from None
        return cls(path)

    @classmethod
    def existing(cls, path: Path) -> "RunFolder":
        """The run at `path`. Raises InputError when there is none."""
        if not (path / "study.json").exists():
            raise InputError(f"{path} is not a run: it has no study.json")
        return cls(path.absolute())

    @property
    def study(self) -> Path:
        """The resolved study with versions and commit."""
        return self.path / "study.json"

    @property
    def trials(self) -> Path:
        """One row a trial started."""
        return self.path / "trials.parquet"

    @property
    def epochs(self) -> Path:
        """One row a report."""
        return self.path / "epochs.parquet"

    @property
    def log(self) -> Path:
        """All that Ray and the workers print."""
        return self.path / "ray.log"

    @property
    def ray(self) -> Path:
        """Ray Tune's own files."""
        return self.path / "ray"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files, made from the tables."""
        return self.path / "tensorboard"

    def export(self, name: str) -> Path:
        """A net handed on: a folder for each version, and the card of the newest."""
        return self.path / "export" / name

    def checkpoint(self, trial: int) -> Path:
        """A trial after its last report: the step and the weights, npy arrays one after another."""
        return self.path / "checkpoints" / f"{trial:05d}.npy"

    def traceback(self, trial: int) -> Path:
        """Traceback of a failed trial."""
        return self.path / "errors" / f"{trial:05d}.txt"

    def discard(self) -> None:
        """Remove the folder: for a study refused before its first trial."""
        shutil.rmtree(self.path, ignore_errors=True)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` when complete, never before.

    Whoever reads `path` meanwhile, or after a kill, sees the file before or the file after.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON, in one piece."""
    with replacing(path) as file:
        file.write(json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n")
