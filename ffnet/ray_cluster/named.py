"""Decides for each file that a submitted job names how the job finds it on the cluster.

A job runs in a copy of the working directory that has no data, results or hidden files. So a file
is sent with the copy, or the job gets its absolute path, or ffnet refuses the job.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ffnet.errors import InputError

WRITTEN = ("--save-figures", "--tensorboard")
LEARNS = "--learn-from"
RUN = ("--from", LEARNS)
DATA = ("--dataset", "--data-dir")
ALONE = (
    "--resume", "--retry-failed", "--confirm", "--again", "--convert-only", "--debug", "--help",
    "-h",
)  # fmt: skip
"""Flags by their value: a folder to write, a run, data, or no value (ALONE)."""

NAMES = ("digits", "mnist", "fashion-mnist", "cifar10")
"""Data sets that ffnet knows by name."""

FILES = (".toml", ".json")
SENT = "submitted"
"""Folder inside the copy for files from outside the working directory."""


@dataclass(frozen=True)
class Named:
    """A job's arguments, changed so that they are right on the cluster.

    Attributes:
        arguments: the words of the command. Paths that the copy lacks are absolute; paths of sent
            files are relative to the copy.
        sent: path in the copy → file on this machine.
    """

    arguments: list[str]
    sent: Mapping[str, Path] = field(default_factory=dict)


def settle(job: str, arguments: list[str], here: Path, copied: Callable[[Path], bool]) -> Named:
    """Change a job's arguments so that they are right where the job runs.

    Args:
        job: the job's name, for example `tune`.
        arguments: the words after the name.
        here: the working directory, absolute.
        copied: says whether a path is in the copy that is sent.

    Raises:
        InputError: a study file does not exist here, or the job names data that are not sent.
    """
    settled, sent = list(arguments), dict[str, Path]()
    given, of_study = dict[str, str](), dict[str, str]()
    for index, flag, value in _values(arguments):
        if not value.strip():  # joined with `here`, it would mean the working directory
            raise InputError(f"{flag or job}: needs a value, or leave it out. Given: {value!r}")
        means = value
        if flag in WRITTEN:
            means = _from_here(value, here)
        elif flag in RUN or (flag is None and job != "tune"):
            means = _run(value, here, copied)
        elif flag is None:
            means = _study(value, here, copied, sent)
            of_study = _in_study(here / value)
        if flag in (*DATA, LEARNS):
            given[flag] = value
        settled[index] = f"{flag}={means}" if arguments[index].startswith("--") else means
    if LEARNS in of_study and LEARNS not in given:  # the job would look for it in the copy
        settled += [LEARNS, _run(of_study[LEARNS], here, copied)]
    given = of_study | given
    if "--data-dir" in given:  # then the data set lies in that folder, not here
        given.pop("--dataset", None)
    for flag in DATA:
        if flag in given:
            _refuse_data(flag, given[flag], here, copied)
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
    """The absolute path of a run or model that exists here, because the copy has no results."""
    path = here / value
    return str(path) if path.exists() and not copied(path) else value


def _study(value: str, here: Path, copied: Callable[[Path], bool], sent: dict[str, Path]) -> str:
    """A study's path in the copy. A study that the copy would lack is added to `sent`."""
    if "://" in value:
        return value
    path = here / value
    if not path.is_file():
        if Path(value).is_absolute() or path.suffix not in FILES:
            return value  # it may be there on the cluster
        raise InputError(
            f"the job's study must be a file on this machine, because ffnet sends it with the job. "
            f"Given: {value}, which does not exist"
        )
    if copied(path):
        return str(path.relative_to(here))
    place = f"{SENT}/{path.name}"
    sent[place] = path
    return place


def _in_study(study: Path) -> dict[str, str]:
    """Flag → value, for the data and the run that a study's file names."""
    from ffnet.run.study_files import read_study

    values = read_study(str(study)) if study.is_file() else {}
    names: dict[str, Any] = {}
    for section, flags in (("data", DATA), ("tuning", (LEARNS,))):
        given = values.get(section)
        given = given if isinstance(given, dict) else {}
        names |= {flag: given.get(flag.strip("-").replace("-", "_")) for flag in flags}
    return {flag: value for flag, value in names.items() if isinstance(value, str)}


def _refuse_data(flag: str, value: str, here: Path, copied: Callable[[Path], bool]) -> None:
    """Refuse data if the job would not find them where it runs."""
    from ffnet.spec.sections import GIVEN

    path = here / value
    if flag == "--dataset" and value == GIVEN:
        raise InputError(
            f"the data of a submitted job must be a name or a path: arrays and tables that Python "
            f"code passes to ffnet are not sent with a job. Given: {flag} {value}"
        )
    elsewhere = "://" in value or Path(value).is_absolute() or value.startswith("~")
    if elsewhere or (flag == "--dataset" and value in NAMES):
        return
    if flag == "--data-dir" or path.exists():
        if path.exists() and _whole(path, copied):
            return
        raise InputError(
            f"{flag} must be an absolute path that the cluster sees: data are not sent with a job. "
            f"Given: {value}"
        )


def _whole(path: Path, copied: Callable[[Path], bool]) -> bool:
    """Whether a file is in the copy, or a folder with all files that may be data."""
    if not copied(path):
        return False
    for folder, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not _is_no_data(name)]
        names = [*folders, *(name for name in files if not _is_no_data(name))]
        if not all(copied(Path(folder, name)) for name in names):
            return False
    return True


def _is_no_data(name: str) -> bool:
    """Whether a name belongs to a hidden file or to Python's cache."""
    return name.startswith(".") or name == "__pycache__"
