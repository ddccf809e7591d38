"""Saves a run's tables in another place when its folder cannot be written, and brings them back.

`ffnet tune --resume` on the same machine finds the saved tables and brings them back.
"""

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from platformdirs import user_state_path

from ffnet.errors import RunError
from ffnet.run import storage
from ffnet.run.folder import RunFolder

RESUME = "repair the folder, and continue with --resume, which brings them back"


def save(
    run: RunFolder, write: Callable[[RunFolder], None], why: OSError | str, then: str = RESUME
) -> RunError:
    """Save a run's tables in the first other place that can be written.

    Args:
        run: the run whose folder cannot be written.
        write: writes the tables into a folder. It raises OSError if it cannot.
        why: why the run's folder cannot be written.
        then: what the user should do next.

    Returns:
        The error to raise. It says where the tables are and what to do.
    """
    reason = storage.reason(why) if isinstance(why, OSError) else why
    for folder in _places(run):
        try:
            _make_private(Path(folder.place))
            write(folder)
        except OSError:
            continue
        if _is_of_another(run, folder):
            then = "--resume will not use them, because another driver has continued the run since"
        return RunError(
            f"{run}: could not be written ({reason}); its tables are saved in {folder}; {then}"
        )
    return RunError(
        f"{run}: could not be written ({reason}), nor could any other place: its last rows are lost"
    )


def found(run: RunFolder) -> RunFolder | None:
    """Where a run's tables are saved. None if nowhere, or if another driver continued the run."""
    return next((f for f in _saved(run) if not _is_of_another(run, f)), None)


def followed(run: RunFolder) -> RunFolder | None:
    """Where tables are saved that lost their use as another driver continued the run; or None."""
    return next((f for f in _saved(run) if _is_of_another(run, f)), None)


def take_back(run: RunFolder) -> RunFolder | None:
    """Bring saved tables, and study.json, back into their run.

    Returns:
        The folder where they were. None if no tables are saved.

    Raises:
        OSError: the run still cannot be written.
    """
    folder = found(run)
    if folder:
        for name in ("epochs.parquet", "trials.parquet", "study.json"):
            content = (Path(folder.place) / name).read_bytes()
            with storage.File(storage.below(run.place, name)).replacing(sync=True) as file:
                file.write(content)
        shutil.rmtree(folder.place, ignore_errors=True)
    return folder


def _saved(run: RunFolder) -> Iterator[RunFolder]:
    return filter(_is_saved, _places(run))


def _places(run: RunFolder) -> Iterator[RunFolder]:
    """Where a run's tables may be saved, the best place first."""
    beginning = run.name.encode()[:100].decode(errors="ignore")  # a name may have 255 bytes
    # With links, a folder has several paths. An object store has no links.
    place = run.place if storage.is_remote(run.place) else os.path.realpath(run.place)
    name = f"{beginning}-{hashlib.sha256(os.fsencode(place)).hexdigest()[:12]}"
    roots = [user_state_path("ffnet"), Path("/var/tmp"), Path("/dev/shm")]  # noqa: S108 - private
    with suppress(OSError):
        roots.insert(1, Path(tempfile.gettempdir()))
    for root in roots:
        own = root if root == roots[0] else root / f"ffnet-{os.getuid()}"
        yield RunFolder(str(own / "saved" / name))


def _make_private(folder: Path) -> None:
    """Create a folder for this user alone. Raises OSError if other users can write there."""
    for part in (folder.parent.parent, folder.parent, folder):
        part.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(part):
            raise PermissionError(f"{part} can be written by another user")
    folder.chmod(0o700)


def _is_private(folder: Path) -> bool:
    about = folder.lstat()
    own = about.st_uid == os.getuid() and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(about.st_mode) and own


def _is_saved(folder: RunFolder) -> bool:
    """Whether a folder holds saved tables, and only this user can write there."""
    place = Path(folder.place)
    try:
        parts = (place.parent.parent, place.parent, place)
        return all(map(_is_private, parts)) and folder.study.exists()
    except OSError:
        return False


def _is_of_another(run: RunFolder, saved: RunFolder) -> bool:
    """Whether another driver has begun or continued the run since the tables were saved.

    If the run cannot be read, the answer is no.
    """
    try:
        with run.study.open() as file:
            now = file.read()
        with saved.study.open() as file:
            return bool(_state(now) != _state(file.read()))
    except OSError:
        return False


def _state(content: bytes) -> Any:
    """The part of study.json that changes each time a driver begins or continues the run."""
    try:
        document = json.loads(content)
        return document["started_at"], len(document.get("resumed", []))
    except (ValueError, LookupError, AttributeError, TypeError):
        return content
