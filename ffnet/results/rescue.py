"""The tables of a run whose folder cannot be written: they are saved elsewhere, and taken back.

`jobs/tune.py --resume` looks where they were saved, so nothing has to be copied by hand on the same
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

from platformdirs import user_state_path

from ffnet.errors import RunError
from ffnet.results import storage
from ffnet.results.layout import RunFolder

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
        return RunError(
            f"{run}: could not be written ({reason}); its tables are saved in {folder}; {then}"
        )
    return RunError(
        f"{run}: could not be written ({reason}), and nowhere else: its last rows are lost"
    )


def take_back(run: RunFolder) -> RunFolder | None:
    """Bring saved tables back into their run; returns where they were, None when there are none.

    Raises OSError when the run cannot be written still.
    """
    for folder in _places(run):
        if not _same_state(run, folder):
            continue
        for name in ("epochs.parquet", "trials.parquet"):
            content = (Path(folder.place) / name).read_bytes()
            with storage.File(storage.below(run.place, name)).replacing(sync=True) as file:
                file.write(content)
        shutil.rmtree(folder.place, ignore_errors=True)
        return folder
    return None


def _places(run: RunFolder) -> Iterator[RunFolder]:
    """Where a run's tables may be saved, the best place first."""
    name = f"{run.name[:100]}-{hashlib.sha256(run.place.encode()).hexdigest()[:12]}"
    roots = [user_state_path("ffnet"), Path("/var/tmp"), Path("/dev/shm")]  # noqa: S108 - private
    with suppress(OSError):
        roots.insert(1, Path(tempfile.gettempdir()))
    for root in roots:
        own = root if root == roots[0] else root / f"ffnet-{os.getuid()}"
        yield RunFolder(str(own / "saved" / name))


def _make_private(folder: Path) -> None:
    """Make a folder for this user alone; raise OSError when another user has it already."""
    for part in (folder.parent.parent, folder.parent, folder):
        part.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(part):
            raise PermissionError(f"{part} belongs to another user")


def _is_private(folder: Path) -> bool:
    about = folder.lstat()
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid()


def _same_state(run: RunFolder, saved: RunFolder) -> bool:
    """Whether tables were saved by the driver that was the run's last."""
    parts = Path(saved.place)
    try:
        if not all(map(_is_private, (parts.parent.parent, parts.parent, parts))):
            return False
        with run.study.open() as now, saved.study.open() as then:
            documents = json.loads(now.read()), json.loads(then.read())
        states = [(d.get("started_at"), len(d.get("resumed", []))) for d in documents]
    except (OSError, ValueError, AttributeError, TypeError):
        return False
    return states[0] == states[1]
