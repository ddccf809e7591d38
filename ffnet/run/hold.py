"""One driver a run: a mark in the run's folder, with the process that holds the run.

In a folder the mark is one file, `.driver`, under a lock of the operating system, which ends with
the process however it ends. The lock is enough on one machine, and on file systems that tell
their locks to every machine.

An object store has no locks. There each driver first writes a mark of its own, `.driver-TOKEN`, and
then lists the marks: of two drivers at least one sees the other, and whoever sees another gives up.
Two that start in the same moment may so both give up, but never both go on. This needs a store
whose lists show all that was written before, as those of S3 and of Google do.

A mark is written again every few seconds. A mark of a machine that cannot be asked, which has not
been written for a minute by the store's own clock, is of a dead driver and is taken over.
"""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ffnet.errors import InputError, RunError
from ffnet.run import storage
from ffnet.run.folder import HOLD, RunFolder
from ffnet.run.storage import File

BEAT = 10.0  # seconds between two writes of a mark
DEAD_AFTER = 60.0  # seconds without a write after which its driver is taken for dead
NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


@dataclass(frozen=True)
class Driver:
    """The process that holds a run.

    Attributes:
        host: name of its machine.
        pid: its number there.
        boot: the machine's start, a random name of it; another one after each start.
        namespace: in which its number counts: containers have their own.
        ticks: when the process began, in the machine's clock ticks.
        since: when it took the run, as text.
    """

    host: str
    pid: int
    boot: str
    namespace: str
    ticks: int
    since: str

    @classmethod
    def this(cls) -> "Driver":
        """The process that asks."""
        return cls(
            socket.gethostname(),
            os.getpid(),
            _boot(),
            _namespace(),
            _ticks(os.getpid()) or 0,
            f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        )

    @classmethod
    def read(cls, text: bytes) -> "Driver | None":
        """What a mark says; None for one that was not written whole."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None

    def written(self) -> bytes:
        """What a mark holds."""
        return json.dumps(asdict(self)).encode()

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"

    def lives(self) -> bool | None:
        """Whether the process is there; None where this one cannot know."""
        if (self.boot, self.namespace) != (_boot(), _namespace()):
            return None
        return _ticks(self.pid) == self.ticks


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _namespace() -> str:
    return str(Path("/proc/self/ns/pid").readlink())


def _now() -> float:
    """Seconds by a clock that goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _ticks(pid: int) -> int | None:
    """When a process began; None when there is none, or it has ended."""
    try:
        # After the name, which may hold blanks and brackets itself: the state is the first.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in b"ZX" else int(fields[19])


class Hold:
    """A run held by this process, until `release`.

    Attributes:
        folder: the run's.
        lost: whether another driver took the run over, or removed it.
    """

    def __init__(self, folder: RunFolder) -> None:
        """Take the run, or raise InputError: see `held`."""
        self.folder, self.lost = folder, False
        self._mark: _Objects | _LockedFile = (
            _Objects(folder) if storage.is_remote(folder.place) else _LockedFile(folder)
        )
        self._mark.take()
        self._beaten = _now()
        self._ended, self._busy = threading.Event(), threading.Lock()
        threading.Thread(target=self._beat_on, daemon=True).start()

    def release(self) -> None:
        """Let another driver have the run."""
        self._ended.set()
        with self._busy, contextlib.suppress(OSError):
            self._mark.remove()

    def check(self) -> None:
        """Look whether the run is still held; in a store only if no look has succeeded for long.

        Raises:
            RunError: it is not.
        """
        long = 0.0 if isinstance(self._mark, _LockedFile) else DEAD_AFTER / 2
        if _now() - self._beaten > long:
            self._beat()
        if self.lost:
            raise RunError(
                f"{self.folder} was removed, moved, or taken over by another driver while this one "
                f"did not answer: this one ends and writes nothing more"
            )

    def _beat_on(self) -> None:
        while not self._ended.wait(BEAT):
            self._beat()

    def _beat(self) -> None:
        with self._busy:
            if self._ended.is_set() or self.lost:
                return
            try:
                self.lost = not self._mark.renew()
                self._beaten = _now()
            except OSError:  # the store does not answer: the next beat may come through
                pass


@contextlib.contextmanager
def held(folder: RunFolder) -> Iterator[Hold]:
    """Hold a run while the block runs. The folder is made where there is none.

    Raises:
        InputError: a live driver holds it, or nothing can be written there.
    """
    storage.knock(folder.place)
    try:
        hold = Hold(folder)
    except OSError as error:
        raise folder.cannot_be_written(error) from None
    try:
        yield hold
    finally:
        hold.release()
        if folder.made:  # nothing came of it
            with contextlib.suppress(OSError):
                Path(folder.place).rmdir()


class _LockedFile:
    """The mark of a run in a folder."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder, self._path = folder, Path(folder.place) / HOLD

    def take(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                self._lock()
                if self._is_there():  # its driver may have removed it meanwhile
                    os.pwrite(self._file, Driver.this().written().ljust(512), 0)
                    return
            except BaseException:
                os.close(self._file)
                raise
            os.close(self._file)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = True
        except BlockingIOError:
            raise _refusal(self._folder, self._holder()) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            locked = False
        holder = self._holder()
        if holder is None or (locked and holder.boot == _boot()):
            return  # the lock tells of every process of this machine
        if _lives(self._folder, holder, lambda: os.fstat(self._file).st_mtime_ns):
            raise _refusal(self._folder, holder)

    def _holder(self) -> Driver | None:
        return Driver.read(os.pread(self._file, 4096, 0))

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file), self._path.stat())
        except FileNotFoundError:
            return False

    def renew(self) -> bool:
        if self._is_there():
            os.utime(self._file)
            return True
        return False

    def remove(self) -> None:
        if self._is_there():
            self._path.unlink()
        os.close(self._file)


class _Objects:
    """The mark of a run in an object store."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder, self._driver = folder, Driver.this()
        self._name = f"{HOLD}-{secrets.token_hex(8)}"
        self._file = self._other(self._name)

    def _other(self, name: str) -> File:
        return File(storage.below(self._folder.place, name))

    def take(self) -> None:
        self._write()
        try:
            for name in storage.names(self._folder.place):
                if name.startswith(HOLD) and name != self._name:
                    self._judge(self._other(name))
        except BaseException:
            with contextlib.suppress(OSError):
                self._file.delete()
            raise

    def _judge(self, other: File) -> None:
        """Remove the mark of a dead driver, or raise InputError."""
        try:
            with other.open() as file:
                holder = Driver.read(file.read())
        except OSError:
            if other.exists():
                raise
            return  # released meanwhile
        if holder and _lives(self._folder, holder, lambda: other.stamp()[0]):
            raise _refusal(self._folder, holder)
        other.delete()

    def _write(self) -> None:
        with self._file.replacing() as file:
            file.write(self._driver.written())

    def renew(self) -> bool:
        if not self._file.exists():
            return False
        self._write()
        return True

    def remove(self) -> None:
        self._file.delete()


def _lives(folder: RunFolder, driver: Driver, stamp: Callable[[], int]) -> bool:
    """Whether a driver lives: asked of this machine, or seen by its mark.

    Args:
        folder: the run's.
        driver: who wrote the mark.
        stamp: when the mark was last written, in ns of the store's clock; 0 when it is gone.
    """
    lives = driver.lives()
    if lives is not None:
        return lives
    first = stamp()
    silent = max(0.0, (folder.try_to_write() - first) / 1e9)
    if silent < DEAD_AFTER:
        print(f"waiting until it is clear whether {driver} still runs", file=sys.stderr, flush=True)
    end = time.monotonic() + DEAD_AFTER - silent
    while time.monotonic() < end:
        if (now := stamp()) != first:
            return now != 0
        time.sleep(1)
    return False


def _refusal(folder: RunFolder, driver: Driver | None) -> InputError:
    return InputError(
        f"one driver at a time may write to a run. Given: {folder}, which {driver or 'another'} "
        f"holds; wait for its end, or name another folder with --out"
    )
