"""Finds the runs in a folder of this machine."""

from collections.abc import Sequence
from pathlib import Path

from ffnet.errors import InputError
from ffnet.run.folder import RunFolder

HERE = "runs"
"""The folder for runs without `--out`."""


def labels(folders: Sequence[RunFolder]) -> list[str]:
    """A name for each run that tells the runs apart: the folder's name, else its whole place."""
    names = [folder.name for folder in folders]
    return [
        name if names.count(name) == 1 else folder.place
        for folder, name in zip(folders, names, strict=True)
    ]


def runs(place: str = HERE) -> list[RunFolder]:
    """The runs in a folder, newest first.

    Raises:
        InputError: the folder holds no run, or cannot be read.
    """
    try:
        studies = [(path.stat().st_mtime, path) for path in Path(place).glob("*/study.json")]
    except OSError as error:
        raise InputError(f"{place} cannot be read ({error.strerror})") from None
    if not studies and (Path(place) / "study.json").exists():
        raise InputError(f"{place} is a run itself: ffnet table shows it; name the folder above it")
    if not studies:
        raise InputError(
            f"{place} holds no run: start a study, such as ffnet tune digits, or name a folder"
        )
    return [RunFolder.at(path.parent) for _, path in sorted(studies, reverse=True)]
