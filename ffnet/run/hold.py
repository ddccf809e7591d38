"""Makes sure that only one process, the driver, writes to a run: a mark in the run's folder.

In a folder, the mark is the file `.driver`. The driver locks it, and the operating system releases
the lock when the process ends for any reason. The lock is enough on one machine, and on file
systems that share locks between machines.

An object store has no locks. There each driver first writes its mark, `.driver-TOKEN`, and then
lists all marks. So of two drivers at least one sees the other's mark, and it gives up. If two start
at the same moment, both may give up, but never do both continue. This needs a store whose lists
show everything that was written before; S3 and Google Cloud Storage have such lists.

A driver writes its mark again every few seconds. If another machine's mark has not been written for
a minute by the storage's clock, its driver counts as dead, and the next driver takes over the run.
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
DEAD_AFTER = 60.0  # a driver counts as dead after so many seconds without a write
NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


@dataclass(frozen=True)
class Driver:
    """The process that holds a run.

    Attributes:
        host: name of the process's machine.
        pid: the process id.
        boot: a random text that the machine gets at each start.
        namespace: the pid namespace of the process; each container has another.
        ticks: when the process began, in clock ticks since the machine's start.
        since: when the process took the run, as text.
    """

    host: str
    pid: int
    boot: str
    namespace: str
    ticks: int
    since: str

    @classmethod
    def this(cls) -> "Driver":
        """This process."""
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
        """The driver in a mark; None if the mark is incomplete."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None

    def written(self) -> bytes:
        """The content of the driver's mark."""
        return json.dumps(asdict(self)).encode()

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"

    def lives(self) -> bool | None:
        """Whether the process is running; None if it is on another machine or in a container."""
        if (self.boot, self.namespace) != (_boot(), _namespace()):
            return None
        return _ticks(self.pid) == self.ticks


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _namespace() -> str:
    return str(Path("/proc/self/ns/pid").readlink())


def _now() -> float:
    """Seconds of a clock that also counts while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _ticks(pid: int) -> int | None:
    """When a process began, in clock ticks; None if there is no such process."""
    try:
        # The first field after the name is the state. The name itself may hold blanks and brackets.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in b"ZX" else int(fields[19])


class Hold:
    """This process's right to write to a run, until `release`.

    Attributes:
        folder: the run's folder.
        lost: whether another driver has taken over the run, or the run was removed.
    """

    def __init__(self, folder: RunFolder) -> None:
        """Take the run. Raises InputError or OSError: see `held`."""
        self.folder, self.lost = folder, False
        self._mark: _Objects | _LockedFile = (
            _Objects(folder) if storage.is_remote(folder.place) else _LockedFile(folder)
        )
        self._mark.take()
        self._beaten = _now()
        self._ended, self._busy = threading.Event(), threading.Lock()
        threading.Thread(target=self._beat_on, daemon=True).start()

    def release(self) -> None:
        """Give the run up, so that another driver may take it."""
        self._ended.set()
        with self._busy, contextlib.suppress(OSError):
            self._mark.remove()

    def check(self) -> None:
        """Check that this process still holds the run.

        In an object store, a check is skipped if one succeeded during the last 30 seconds.

        Raises:
            RunError: this process does not hold the run any more.
        """
        long = 0.0 if isinstance(self._mark, _LockedFile) else DEAD_AFTER / 2
        if _now() - self._beaten > long:
            self._beat()
        if self.lost:
            raise RunError(
                f"{self.folder} was removed, moved, or taken over by another driver while this "
                f"driver did not answer: this driver ends and writes nothing more"
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
            except OSError:  # the store does not answer now; the next write may succeed
                pass


@contextlib.contextmanager
def held(folder: RunFolder) -> Iterator[Hold]:
    """Hold a run while the block runs. The folder is created if it does not exist.

    Raises:
        InputError: another driver holds the run, or the folder cannot be written.
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
        if folder.made:
            with contextlib.suppress(OSError):  # a folder with files in it stays
                Path(folder.place).rmdir()


def driver_of(folder: RunFolder) -> Driver | None:
    """The process that holds a run, as far as a reader can see; None if there is none.

    A process on another machine counts as alive if its mark is younger than a minute.

    Raises:
        OSError: the storage does not answer.
    """
    for name in storage.names(folder.place):
        mark = File(storage.below(folder.place, name))
        if name.startswith(HOLD) and (driver := _living(mark)):
            return driver
    return None


def _living(mark: File) -> Driver | None:
    """The driver that wrote a mark, if it is alive."""
    with contextlib.suppress(OSError):  # its driver has released the run meanwhile
        with mark.open() as file:
            driver = Driver.read(file.read())
        lives = driver.lives() if driver else False
        if lives or (lives is None and time.time() - mark.stamp()[0] / 1e9 < DEAD_AFTER):
            return driver
    return None


class _LockedFile:
    """The mark in a folder: a locked file."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder, self._path = folder, Path(folder.place) / HOLD

    def take(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                self._lock()
                if self._is_there():  # the driver before may have removed it meanwhile
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
            return  # the lock is free, so no process of this machine holds the run
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
    """The marks in an object store: an object for each driver."""

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
        """Remove another driver's mark if the driver is dead, else raise InputError."""
        try:
            with other.open() as file:
                holder = Driver.read(file.read())
        except OSError:
            if other.exists():
                raise
            return  # its driver has released the run meanwhile
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
    """Whether a driver is alive. If it runs on another machine, wait and see if it writes its mark.

    Args:
        folder: the run's folder.
        driver: the driver that wrote the mark.
        stamp: when the mark was last written, in ns of the storage's clock; 0 if it was removed.
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
        f"one driver at a time may write to a run. Given: {folder}, which "
        f"{driver or 'another driver'} holds; wait until it ends, or use another folder"
    )
