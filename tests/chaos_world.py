"""The folders and processes that chaos.py uses, and the reader of a run's tables."""

import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from chaos_ledger import Ledger
from conftest import ROOT, command_line
from ffnet.errors import InputError
from ffnet.run import checkpoints, storage, tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row

TAG = "FFNET_CHAOS"
"""Variable that marks a driver and all processes that it starts: the world and the life."""

WORKER = re.compile(rb"ray::(Trial|\w*Trainable)")
"""Title of a process that runs trials."""


ENVIRONMENT = dict(os.environ)  # the environment of this process at its start

UNCHANGED = 0.5  # seconds; then tables are read again even if nothing has changed


class World:
    """The folders of a run of chaos.py, and the processes that it has started.

    Attributes:
        folder: the folder of studies, data and runs.
        temporary: TMPDIR and RAY_TMPDIR of every driver.
    """

    def __init__(self, keep: Path | None = None) -> None:
        """Make the folders.

        Args:
            keep: at the end, runs and output of drivers are copied to this folder; None: not at
                all.
        """
        self._keep = keep
        # The path is short because Ray's sockets lie below it: a socket's path may have 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="ffc-", dir="/tmp"))
        self.temporary = self.folder / "t"
        self.temporary.mkdir()
        self.tag = secrets.token_hex(4)

    def environment(self, life: str) -> dict[str, str]:
        """Return the environment of a driver."""
        own = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("RAY_")}
        return own | {
            "PYTHONPATH": str(ROOT),  # this checkout, even if another ffnet is installed
            TAG: f"{self.tag}/{life}/",
            "TMPDIR": str(self.temporary),
            "RAY_TMPDIR": str(self.temporary),
            "FFNET_CACHE": str(self.folder / "cache"),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }

    def processes(self, life: str = "") -> list[int]:
        """Return the processes that drivers of this world have started, or only those of a life."""
        mark = f"{TAG}={self.tag}/{life}".encode()
        return [pid for pid, environment in _environments() if mark in environment]

    def workers(self, life: str) -> list[int]:
        """Return the worker processes of a life, also workers without a trial."""
        return [pid for pid in self.processes(f"{life}/") if WORKER.match(_read(pid, "cmdline"))]

    def left_behind(self) -> list[str]:
        """Return the processes and temporary files that are still there."""
        processes = [f"process {pid} {title(pid)}" for pid in self.processes()]
        return processes + [f"file {path}{_held(path)}" for path in self.temporary_files()]

    def temporary_files(self) -> list[Path]:
        """Return the files of the temporary folder. Ray's folder `ray` may stay if it is empty."""
        ray = self.temporary / "ray"
        found = [path for path in self.temporary.iterdir() if path != ray]
        return found + ([path for path in ray.glob("session_*") if not path.is_symlink()])

    def clear(self) -> None:
        """End processes and remove files, so that the next study begins in an empty world."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 10
        while self.processes() and time.monotonic() < end:
            time.sleep(0.05)
        for path in self.temporary.iterdir():
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """End all processes and remove all files."""
        self.clear()
        if self._keep:
            ignore = shutil.ignore_patterns("ray", "cache")
            shutil.copytree(self.folder, self._keep / self.folder.name, ignore=ignore)
        shutil.rmtree(self.folder, ignore_errors=True)


def _held(path: Path) -> str:
    """Return the names in a folder, to find out who left it behind."""
    names = sorted(held.name for held in path.iterdir()) if path.is_dir() else []
    return f" with {', '.join(names)}" if names else ""


def _environments() -> Iterator[tuple[int, bytes]]:
    for path in Path("/proc").glob("[0-9]*"):
        pid = int(path.name)
        if environment := _read(pid, "environ"):
            yield pid, environment


def _read(pid: int, name: str) -> bytes:
    """Read a file of a process in /proc; empty if the process has ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def title(pid: int) -> str:
    """Return the first words of a process's command line."""
    return _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace")[:80]


class Driver:
    """A running `jobs/tune.py` in its own session. Its output goes to files."""

    def __init__(
        self, world: World, life: str, arguments: list[str], extra: dict[str, str]
    ) -> None:
        """Start the driver.

        Args:
            world: the folders to use.
            life: the driver's name; drivers of a world have different names.
            arguments: arguments of jobs/tune.py.
            extra: variables to add to the environment.
        """
        self.life, self._world = life, world
        self._out, self._err = (world.folder / f"{life}.{name}" for name in ("out", "err"))
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                command_line("tune", *arguments), stdout=out, stderr=err, cwd=world.folder,
                env=world.environment(life) | extra, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Return the exit status, or None while the driver runs."""
        return self._process.poll()

    def errors(self) -> str:
        """Return the driver's standard error so far."""
        return self._err.read_text(errors="replace")

    def printed(self) -> str:
        """Return the driver's standard output so far."""
        return self._out.read_text(errors="replace")

    def kill(self, group: bool) -> None:
        """Send SIGKILL to the driver's process group, or to the driver alone."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL) if group else self._process.kill()
        self._process.wait()

    def workers(self) -> list[int]:
        """Return the driver's worker processes."""
        return self._world.workers(self.life)


class Watch(Thread):
    """Reads the tables and checkpoints of a run again and again, as another process would.

    Attributes:
        ledger: gets each reading.
        readings: how often both tables were read.
        checkpoints: how many checkpoints were read.
    """

    def __init__(self, place: str, ledger: Ledger, pause: float) -> None:
        """Start reading.

        Args:
            place: folder or URI of the run.
            ledger: gets each reading.
            pause: seconds between two readings.
        """
        super().__init__(daemon=True)
        self.run_folder, self.ledger = RunFolder.at(place), ledger
        self.readings = self.checkpoints = 0
        self._pause, self._ended, self._blind = pause, Event(), Event()
        self._failure: Exception | None = None
        self._there: set[str] = set()
        self._stamp, self._due = ((0, 0), (0, 0)), 0.0
        self._stamps: dict[str, tuple[int, int]] = {}
        self.start()

    def run(self) -> None:
        try:
            while not self._ended.wait(self._pause):
                if not self._blind.is_set():
                    self._look()
        except Exception as error:
            self._failure = error

    def close(self) -> None:
        """Stop reading. Raises the error that stopped the reading before, if there is one."""
        self._ended.set()
        self.join()
        if self._failure:
            raise self._failure

    def blind(self, yes: bool) -> None:
        """Pause while chaos.py has stopped the storage."""
        if yes:
            self._blind.set()
        else:
            self._blind.clear()

    def read(self) -> tuple[list[Row], list[Row]]:
        """Read both tables, trials first, because a run writes its reports first."""
        trials = self._table(self.run_folder.trials)
        return trials, self._table(self.run_folder.epochs)

    def last(self) -> tuple[list[Row], list[Row]]:
        """Return both tables at the end; a table that cannot be read has no rows."""
        try:
            return self.read()
        except (InputError, OSError) as error:
            self.ledger.findings["unreadable moments"].add(f"at the end: {error}")
            return [], []

    def _look(self) -> None:
        try:
            self._read_checkpoints()
            stamp = self.run_folder.trials.stamp(), self.run_folder.epochs.stamp()
            if stamp == self._stamp and time.monotonic() < self._due:
                return
            self._stamp, self._due = stamp, time.monotonic() + UNCHANGED
            trials, reports = self.read()
        except (InputError, OSError) as error:
            if not self._blind.is_set():
                self.ledger.findings["unreadable moments"].add(f"{time.time():.3f}: {error}")
            return
        self.ledger.take(trials, reports)
        self.readings += 1

    def _table(self, file: storage.File) -> list[Row]:
        if str(file) not in self._there:  # before the first table there is none
            if not file.exists():
                return []
            self._there.add(str(file))
        return tables.read(file)

    def _read_checkpoints(self) -> None:
        if self.ledger.shares:  # a checkpoint may be another trial's
            return
        folder = Path(self.run_folder.checkpoint(0).place).parent
        for path in folder.glob("[0-9]*[0-9].npy"):  # in an object store the tables alone are read
            with suppress(FileNotFoundError):  # the trial has ended
                stamp = path.stat().st_mtime_ns, path.stat().st_ino
                if self._stamps.get(path.name) == stamp:
                    continue
                self._stamps[path.name] = stamp
                for report in checkpoints.load(storage.File(str(path))).reports:
                    self.ledger.note(int(path.stem), report)
                self.checkpoints += 1


def wait(condition: Callable[[], Any], driver: Driver, seconds: float, pause: float = 0.01) -> bool:
    """Wait for a condition. Returns False if the driver ends first.

    Raises:
        TimeoutError: neither happens in time.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        if driver.status is not None:
            return False
        if pause:
            time.sleep(pause)
    raise TimeoutError(f"nothing came of it within {seconds:g} s")
