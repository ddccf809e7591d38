"""Temporary folders for processes. The next start removes the folders of killed processes.

Each folder has a file `lock` that its process holds with flock. The kernel releases the lock when
the process ends for any reason, so a later start can see which processes are dead.
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
"""Disk space that Ray's own files need."""

KILL_SECONDS = 10.0
"""Killed processes must have ended within this time."""


def base() -> Path:
    """The folder for new folders: $RAY_TMPDIR, or Python's choice ($TMPDIR, /tmp, …).

    Raises:
        InputError: the folder cannot be written, has too little free space, or has a path that is
            too long for Ray's sockets.
    """
    name = "RAY_TMPDIR" if os.environ.get("RAY_TMPDIR") else "TMPDIR"
    try:
        path = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()).absolute()
        most = SOCKET_BYTES - len(LONGEST_NAME)
        if len(os.fsencode(path)) > most:
            raise InputError(
                f"{name} must have at most {most} bytes, because Ray puts its sockets below it. "
                f"Given: {path}; set RAY_TMPDIR to a shorter folder"
            )
        with tempfile.TemporaryFile(dir=path):  # raises OSError if the folder cannot be written
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
    """A new folder that other users cannot open. It is removed when the block ends.

    Folders of this user's killed processes are removed first.

    Args:
        where: the parent folder. With None, `base()`.

    Raises:
        InputError: see `base`.
        OSError: the folder cannot be created.
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
    """Remove the folders of this user's killed processes, in each possible parent folder."""
    places = {os.environ.get("RAY_TMPDIR")}
    with suppress(OSError):  # no folder can be written
        places.add(tempfile.gettempdir())
    for place in filter(None, places):
        clear_dead(Path(place))


def clear_dead(where: Path) -> None:
    """Remove the folders of dead processes, and kill the processes that belong to these folders."""
    for path in where.glob(f"{PREFIX}*"):
        with suppress(OSError):
            found = path.lstat()
            if found.st_uid != os.geteuid() or path.is_symlink():
                continue
            if not (path / LOCK).exists():  # it is being created, or its process was killed then
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
    """Kill the processes that belong to a folder, and remove the folder."""
    end = time.monotonic() + KILL_SECONDS
    while kill(path) and time.monotonic() < end:
        time.sleep(0.02)
    with suppress(OSError):
        for held in path.iterdir():
            if held.name != LOCK:  # removed last, so that the next start finds what is left
                shutil.rmtree(held) if held.is_dir() and not held.is_symlink() else held.unlink()
        shutil.rmtree(path)


def kill(path: Path) -> list[int]:
    """Kill the processes that belong to a folder, and return their ids at once."""
    pids = members(path)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return pids


def members(path: Path) -> list[int]:
    """The ids of the processes that belong to a folder, without this process.

    Such a process has MARK in its environment. In some processes, Ray overwrites the environment
    with a title. They are found by the title, ray::…, and by open files in the folder.
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
    """(a new folder, the descriptor of its lock, which this process holds)."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=where))
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        with suppress(OSError):  # without locks in the file system, no later start removes it
            fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(OSError):  # another start may have removed it before it was locked
            if os.path.samestat(os.fstat(lock), (path / LOCK).stat()):
                return path, lock
        os.close(lock)
