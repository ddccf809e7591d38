"""The tables of a run whose folder cannot be written: they are saved elsewhere, and taken back.

`ffnet tune --resume` looks where they were saved, so nothing has to be copied by hand on the same
machine.
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

RESUME = "mend that, and go on with --resume, which takes them back"


def save(
    run: RunFolder, write: Callable[[RunFolder], None], why: OSError | str, then: str = RESUME
) -> RunError:
    """Write what a run has to keep to the first place where that can be done.

    Args:
        run: the run, whose own folder cannot be written.
        write: writes into a folder; raises OSError where it cannot.
        why: what became of the run's own folder.
        then: what a person does next.

    Returns:
        The error to raise: where it was saved, and what to do.
    """
    reason = storage.reason(why) if isinstance(why, OSError) else why
    for folder in _places(run):
        try:
            _make_private(Path(folder.place))
            write(folder)
        except OSError:
            continue
        if _is_of_another(run, folder):
            then = "they are not taken back, as another driver has the run since"
        return RunError(
            f"{run}: could not be written ({reason}); its tables are saved in {folder}; {then}"
        )
    return RunError(
        f"{run}: could not be written ({reason}), and nowhere else: its last rows are lost"
    )


def found(run: RunFolder) -> RunFolder | None:
    """Where tables of a run are saved; None when there are none, or another driver has the run."""
    return next((f for f in _saved(run) if not _is_of_another(run, f)), None)


def followed(run: RunFolder) -> RunFolder | None:
    """Where tables of a run are saved that another driver has gone on without; None if nowhere."""
    return next((f for f in _saved(run) if _is_of_another(run, f)), None)


def take_back(run: RunFolder) -> RunFolder | None:
    """Bring saved tables back into their run; returns where they were, None when there are none.

    A run whose folder was removed gets its study.json back, too.

    Raises OSError when the run cannot be written still.
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
    beginning = run.name.encode()[:100].decode(errors="ignore")  # a name has 255 bytes at most
    # A folder has several names where there are links; the URI of a store has one.
    place = run.place if storage.is_remote(run.place) else os.path.realpath(run.place)
    name = f"{beginning}-{hashlib.sha256(os.fsencode(place)).hexdigest()[:12]}"
    roots = [user_state_path("ffnet"), Path("/var/tmp"), Path("/dev/shm")]  # noqa: S108 - private
    with suppress(OSError):
        roots.insert(1, Path(tempfile.gettempdir()))
    for root in roots:
        own = root if root == roots[0] else root / f"ffnet-{os.getuid()}"
        yield RunFolder(str(own / "saved" / name))


def _make_private(folder: Path) -> None:
    """Make a folder for this user alone; raise OSError when others can write there."""
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
    """Whether this user's tables lie in one of the places."""
    place = Path(folder.place)
    try:
        parts = (place.parent.parent, place.parent, place)
        return all(map(_is_private, parts)) and folder.study.exists()
    except OSError:
        return False


def _is_of_another(run: RunFolder, saved: RunFolder) -> bool:
    """Whether another driver than the one that saved the tables has begun or gone on in the run.

    A run that cannot be read has had no other driver.
    """
    try:
        with run.study.open() as file:
            now = file.read()
        with saved.study.open() as file:
            return bool(_state(now) != _state(file.read()))
    except OSError:
        return False


def _state(content: bytes) -> Any:
    """What of a study.json is new each time that a driver takes the run."""
    try:
        document = json.loads(content)
        return document["started_at"], len(document.get("resumed", []))
    except (ValueError, LookupError, AttributeError, TypeError):
        return content
