"""Starts a private Ray on this machine: only this process uses it, and it ends with the process."""

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import ray

from ffnet.errors import RunError
from ffnet.ray_cluster.private_host import OTHERS, SETTINGS, UMASK, Host
from ffnet.ray_cluster.ray_internals import on_loopback, read_token_again
from ffnet.system import scratch
from ffnet.system.signals import held_back

OnDeath = Callable[[str], None]
"""Called with the reason when Ray is dead."""

RAY_DIED = "processes of Ray were killed, perhaps because memory ran out"


def set_defaults(settings: dict[str, str]) -> None:
    """Set environment variables that are not set yet."""
    os.environ.update({k: v for k, v in settings.items() if k not in os.environ})


@contextmanager
def private_ray(
    host: Host, log_to_driver: bool = True, on_death: OnDeath | None = None
) -> Iterator[None]:
    """Connect this process to its private Ray, which begins to stop when the block ends.

    Args:
        host: holds Ray, which may still be starting. Who made it closes it: see `Host`.
        log_to_driver: whether this process prints what workers print.
        on_death: called in a thread when a process that Ray needs was killed. Then this process
            ends with exit status 1, because Ray would end it a little later and say nothing.

    Raises:
        RunError: Ray did not start.
    """
    with _environment(host):
        address = host.address()
        with watched(partial(_watch_host, host, on_death or _say)):
            try:
                with on_loopback():
                    connect(address, log_to_driver)
                yield
            finally:
                ray.shutdown()
        host.stop()


@contextmanager
def _environment(host: Host) -> Iterator[None]:
    """Set the environment of the driver; restore it after the block."""
    before, temporary = dict(os.environ), tempfile.tempdir
    for name in OTHERS:
        os.environ.pop(name, None)
    set_defaults(SETTINGS)
    os.environ |= host.environment
    tempfile.tempdir = host.environment["TMPDIR"]
    read_token_again()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        tempfile.tempdir = temporary
        read_token_again()


@contextmanager
def watched(watch: Callable[[threading.Event], None]) -> Iterator[None]:
    """Call `watch` in a new thread. It gets an event that is set when the block ends."""
    ends = threading.Event()
    threading.Thread(target=watch, args=(ends,), daemon=True).start()
    try:
        yield
    finally:
        ends.set()


def _watch_host(host: Host, on_death: OnDeath, ends: threading.Event) -> None:
    """End this process when Ray's host ends unexpectedly: see `private_ray`.

    Args:
        host: holds Ray.
        on_death: called before this process ends.
        ends: set when Ray stops as it should.
    """
    assert host.process.stdout
    host.process.stdout.read()
    if ends.is_set():
        return
    try:
        on_death(RAY_DIED)
    finally:
        scratch.clear(host.folder)
        os._exit(RunError.exit_status)


def _say(reason: str) -> None:
    print(f"error: {reason}", file=sys.stderr, flush=True)


def connect(address: str, log_to_driver: bool = True) -> None:
    """Connect to a running Ray, and keep the signal handlers as they are."""
    try:
        with held_back():
            ray.init(address=address, log_to_driver=log_to_driver, configure_logging=log_to_driver)
    except SystemExit:  # raised by the SIGTERM handler that Ray sets while it connects
        raise KeyboardInterrupt from None


def restore_umask() -> None:
    """On a worker, set the user's umask again, so that results have the usual file mode."""
    if UMASK in os.environ:
        os.umask(int(os.environ[UMASK], 8))
