"""The files that a submitted job names: sent with it, taken from here, or refused.

A job runs in a copy of the working directory, without data, results and hidden files.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ffnet.errors import InputError

WRITTEN = ("--save-figures", "--tensorboard")
RUN = ("--from",)
DATA = ("--dataset", "--data-dir")
ALONE = ("--resume", "--retry-failed", "--convert-only", "--debug", "--help", "-h")
"""Flags by what stands after them: a folder to write, a run, data, or nothing."""

NAMES = ("digits", "mnist", "fashion-mnist", "cifar10")
"""Data sets that ffnet knows by name."""

FILES = (".toml", ".json")
SENT = "submitted"
"""Folder of the copy for files that are not in the working directory."""


@dataclass(frozen=True)
class Named:
    """A job's arguments as they hold on the cluster.

    Attributes:
        arguments: with places in this folder by their absolute path, and files that are sent by
            their place in the copy.
        sent: place in the copy → file here.
    """

    arguments: list[str]
    sent: Mapping[str, Path] = field(default_factory=dict)


def settle(job: str, arguments: list[str], here: Path, copied: Callable[[Path], bool]) -> Named:
    """What a job's arguments mean where it runs.

    Args:
        job: its name, `tune` for example.
        arguments: its words.
        here: the working directory, absolute.
        copied: whether a path is in the copy that is sent.

    Raises:
        InputError: a file that is not here, or data that are not sent.
    """
    settled, sent = list(arguments), dict[str, Path]()
    given: dict[str, str] = {}
    for index, flag, value in _values(arguments):
        if not value.strip():  # below it would mean this folder
            raise InputError(f"{flag or job}: needs a value, or leave it out. Given: {value!r}")
        means = value
        if flag in WRITTEN:
            means = _from_here(value, here)
        elif flag in RUN or (flag is None and job != "tune"):
            means = _run(value, here, copied)
        elif flag is None:
            means = _study(value, here, copied, sent)
            given = _data_of(here / value) | given
        elif flag in DATA:
            given[flag] = value
        settled[index] = f"{flag}={means}" if arguments[index].startswith("--") else means
    if "--data-dir" in given:  # the data set lies below it, whatever lies here
        given.pop("--dataset", None)
    for flag, value in given.items():
        _refuse_data(flag, value, here, copied)
    return Named(settled, sent)


def _values(arguments: list[str]) -> Iterator[tuple[int, str | None, str]]:
    """(index, flag or None, value) for each value among a job's words."""
    flag = None
    for index, word in enumerate(arguments):
        if word.startswith("-") and not _is_number(word):
            name, equals, value = word.partition("=")
            if equals:
                yield index, name, value
            flag = name if not equals and name not in ALONE else None
        else:
            yield index, flag, word
            flag = None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _from_here(value: str, here: Path) -> str:
    return value if "://" in value else str(here / value)


def _run(value: str, here: Path, copied: Callable[[Path], bool]) -> str:
    """A run or model that lies here: results are not in the copy."""
    path = here / value
    return str(path) if path.exists() and not copied(path) else value


def _study(value: str, here: Path, copied: Callable[[Path], bool], sent: dict[str, Path]) -> str:
    """A study's place in the copy; it is sent with it where it would not be there."""
    if "://" in value:
        return value
    path = here / value
    if not path.is_file():
        if Path(value).is_absolute() or path.suffix not in FILES:
            return value  # it may be there on the cluster
        raise InputError(f"the job's study must be a file here, to be sent. Given: {value}")
    if copied(path):
        return str(path.relative_to(here))
    place = f"{SENT}/{path.name}"
    sent[place] = path
    return place


def _data_of(study: Path) -> dict[str, str]:
    """The data that a study's file names."""
    from ffnet.run.study_files import read_study

    data = read_study(str(study)).get("data") if study.is_file() else None
    data = data if isinstance(data, dict) else {}
    names = {flag: data.get(flag.strip("-").replace("-", "_")) for flag in DATA}
    return {flag: value for flag, value in names.items() if isinstance(value, str)}


def _refuse_data(flag: str, value: str, here: Path, copied: Callable[[Path], bool]) -> None:
    """Refuse data by a path that means nothing where the job runs."""
    from ffnet.spec.study import GIVEN

    path = here / value
    if flag == "--dataset" and value == GIVEN:
        raise InputError(
            f"the data of a submitted job must be a name or a path: data that were given from "
            f"Python are not sent with a job. Given: {flag} {value}"
        )
    elsewhere = "://" in value or Path(value).is_absolute() or value.startswith("~")
    if elsewhere or (flag == "--dataset" and value in NAMES):
        return
    if flag == "--data-dir" or path.exists():
        if path.exists() and _whole(path, copied):
            return
        raise InputError(
            f"{flag} must be a path that the cluster sees, from /: data are not sent with a job. "
            f"Given: {value}"
        )


def _whole(path: Path, copied: Callable[[Path], bool]) -> bool:
    """Whether a file, or a folder with all that may be data in it, is in the copy."""
    if not copied(path):
        return False
    for folder, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not _is_no_data(name)]
        names = [*folders, *(name for name in files if not _is_no_data(name))]
        if not all(copied(Path(folder, name)) for name in names):
            return False
    return True


def _is_no_data(name: str) -> bool:
    """Whether a name is of a hidden file or of Python's cache."""
    return name.startswith(".") or name == "__pycache__"
