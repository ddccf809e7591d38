"""A temporary folder of this process; what a killed process left there goes at the next start.

Each folder has a file `lock` that its process holds with flock. The kernel gives the lock back when
the process ends, in whatever way, so a later start can tell the dead from the living.
"""

import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ffnet.errors import InputError

PREFIX = "ffnet-run-"
LOCK = "lock"
MARK = "FFNET_SCRATCH"
"""The environment variable that names the folder to which a process belongs."""

SOCKET_BYTES = 107
"""The longest path that a Unix socket can have."""

LONGEST_NAME = f"/{PREFIX}12345678/ray/raylet"

NEEDED_BYTES = 32 * 2**20
"""Room for Ray's own files."""

KILL_SECONDS = 10.0
"""Time for killed processes to be gone."""


def base() -> Path:
    """Where the folders are made: $RAY_TMPDIR, else Python's own choice ($TMPDIR, /tmp, …).

    Raises:
        InputError: nothing can be written there, or its path is too long for Ray's sockets.
    """
    name = "RAY_TMPDIR" if os.environ.get("RAY_TMPDIR") else "TMPDIR"
    try:
        path = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()).absolute()
        most = SOCKET_BYTES - len(LONGEST_NAME)
        if len(os.fsencode(path)) > most:
            raise InputError(
                f"{name} must have at most {most} bytes, as Ray's sockets lie below it. "
                f"Given: {path}; set RAY_TMPDIR to a shorter folder"
            )
        with tempfile.TemporaryFile(dir=path):  # whether one can
            free = shutil.disk_usage(path).free
    except OSError as error:
        raise InputError(
            f"{name} must be a folder that can be written to. "
            f"Given: {error.filename or os.environ.get(name)} ({error.strerror})"
        ) from None
    if free < NEEDED_BYTES:
        raise InputError(
            f"{name} must have {NEEDED_BYTES >> 20} MB free. Given: {path} with "
            f"{free / 2**20:.1f} MB; make room, or set RAY_TMPDIR to another folder"
        )
    return path


@contextmanager
def folder(where: Path | None = None) -> Iterator[Path]:
    """A new folder, closed to other users; it goes at the end of the block.

    First it clears what processes of this user left that were killed.

    Args:
        where: the folder to make it in; None for `base()`.

    Raises:
        InputError: see `base`.
        OSError: it cannot be made.
    """
    where = where or base()
    clear_dead(where)
    path, lock = _made(where)
    try:
        yield path
    finally:
        clear(path)
        os.close(lock)


def clear_killed() -> None:
    """Clear what killed processes of this user left, wherever a process could have put it."""
    places = {os.environ.get("RAY_TMPDIR")}
    with suppress(OSError):  # no place that can be written
        places.add(tempfile.gettempdir())
    for place in filter(None, places):
        clear_dead(Path(place))


def clear_dead(where: Path) -> None:
    """Remove the folders, with their processes, whose makers are dead."""
    for path in where.glob(f"{PREFIX}*"):
        with suppress(OSError):
            found = path.lstat()
            if found.st_uid != os.geteuid() or path.is_symlink():
                continue
            if not (path / LOCK).exists():  # just being made, or killed in that moment
                if time.time() - found.st_mtime > 60:
                    path.rmdir()
                continue
            lock = os.open(path / LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                clear(path)
            finally:
                os.close(lock)


def clear(path: Path) -> None:
    """Kill the processes that belong to a folder, and remove it."""
    end = time.monotonic() + KILL_SECONDS
    while (pids := members(path)) and time.monotonic() < end:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    with suppress(OSError):
        for held in path.iterdir():
            if held.name != LOCK:  # last: what cannot be removed now is found by the next start
                shutil.rmtree(held) if held.is_dir() and not held.is_symlink() else held.unlink()
        shutil.rmtree(path)


def members(path: Path) -> list[int]:
    """The processes that belong to a folder, without this one.

    MARK in a process's environment tells. Ray writes titles over it in some of its processes: these
    are known by their title, ray::…, and by the files of the folder that they have open.
    """
    mark = os.fsencode(f"{MARK}={path}")
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int(process.name) == os.getpid():
                continue
            if mark in (process / "environ").read_bytes().split(b"\0"):
                pids.append(int(process.name))
            elif (process / "cmdline").read_bytes().startswith(b"ray::"):
                opened = (file.readlink() for file in (process / "fd").iterdir())
                if any(path in name.parents for name in opened):
                    pids.append(int(process.name))
    return pids


def _made(where: Path) -> tuple[Path, int]:
    """A new folder and its lock, held."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=where))
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        with suppress(OSError):  # a file system without locks: then no start ever clears it
            fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(OSError):  # another start may have cleared it before it was locked
            if os.path.samestat(os.fstat(lock), (path / LOCK).stat()):
                return path, lock
        os.close(lock)
