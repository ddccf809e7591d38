"""Starts a private Ray on this machine: only this process uses it, and it ends with the process."""

import os
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import ray

from ffnet.errors import RunError
from ffnet.ray_cluster import ray_host
from ffnet.ray_cluster.ray_internals import (
    LOOPBACK_SWITCH,
    driver_on_loopback,
    read_token_again,
)
from ffnet.system import scratch
from ffnet.system.signals import held_back

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
"""Environment variables for the driver and the workers. Values that the user has set stay."""

OTHERS = (
    "RAY_ADDRESS",
    "RAY_API_SERVER_ADDRESS",
    "RAY_AUTH_TOKEN",
    "RAY_GCS_SERVER_PORT",
    "RAY_JOB_CONFIG_JSON_ENV_VAR",
    "RAY_NAMESPACE",
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING",
    "RAY_REDIS_ADDRESS",
    "RAY_RUNTIME_ENV_HOOK",
    "RAY_USE_TLS",
    "RAY_gcs_storage",
)
"""Environment variables that would point to another Ray than the private one."""

UMASK = "FFNET_UMASK"

OnDeath = Callable[[str], None]
"""Called with the reason when Ray is dead."""

RAY_DIED = "processes of Ray were killed, perhaps because memory ran out"


def set_defaults(settings: dict[str, str]) -> None:
    """Set environment variables that are not set yet."""
    os.environ.update({k: v for k, v in settings.items() if k not in os.environ})


@contextmanager
def private_ray(
    cpus: int | None = None, log_to_driver: bool = True, on_death: OnDeath | None = None
) -> Iterator[None]:
    """Start a private Ray, which stops when the block ends.

    It is reachable only on loopback and only with a new token. Ray writes all its files into one
    temporary folder that other users cannot open.

    Args:
        cpus: number of CPUs that Ray gets. With None, all CPUs of this machine.
        log_to_driver: whether this process prints what workers print.
        on_death: called in a thread when a process that Ray needs was killed. Then this process
            ends with exit status 1, because Ray would end it a little later and say nothing.

    Raises:
        InputError: there is no folder where Ray can write its files.
        RunError: Ray did not start.
    """
    with scratch.folder() as folder, _environment(folder), _host(folder, cpus, on_death) as address:
        try:
            with driver_on_loopback():
                connect(address, log_to_driver)
            yield
        finally:
            ray.shutdown()


@contextmanager
def _environment(folder: Path) -> Iterator[None]:
    """Set the environment of the driver, the host and the workers; restore it after the block."""
    before, temporary = dict(os.environ), tempfile.tempdir
    token, own = folder / "token", folder / "tmp"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    own.mkdir(mode=0o700)
    for name in OTHERS:
        os.environ.pop(name, None)
    set_defaults(SETTINGS)
    os.environ |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_TMPDIR": str(folder),
        "TMPDIR": str(own),
    }
    tempfile.tempdir = str(own)
    read_token_again()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        tempfile.tempdir = temporary
        read_token_again()


@contextmanager
def _host(folder: Path, cpus: int | None, on_death: OnDeath | None) -> Iterator[str]:
    """Start the process that holds Ray: see `ray_host`. Yields the address of Ray's head."""
    umask = os.umask(0)
    os.umask(umask)
    host = subprocess.Popen(
        [
            sys.executable,
            "-P",
            ray_host.__file__,
            "start",
            str(folder),
            *([str(cpus)] if cpus else []),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | LOOPBACK_SWITCH | {scratch.MARK: str(folder), UMASK: f"{umask:o}"},
    )
    assert host.stdin
    assert host.stdout
    try:
        state, _, word = host.stdout.readline().strip().partition(" ")
        if state != "up":
            raise RunError(f"Ray did not start ({word or 'its host ended'})")
        with watched(partial(_watch_host, host.stdout, folder, on_death or _say)):
            yield word
    finally:
        host.stdin.close()
        host.wait()
        host.stdout.close()


@contextmanager
def watched(watch: Callable[[threading.Event], None]) -> Iterator[None]:
    """Call `watch` in a new thread. It gets an event that is set when the block ends."""
    ends = threading.Event()
    threading.Thread(target=watch, args=(ends,), daemon=True).start()
    try:
        yield
    finally:
        ends.set()


def _watch_host(host: IO[str], folder: Path, on_death: OnDeath, ends: threading.Event) -> None:
    """End this process when Ray's host ends unexpectedly: see `private_ray`.

    Args:
        host: the host's standard output, which ends when the host ends.
        folder: the folder with all files of Ray.
        on_death: called before this process ends.
        ends: set when Ray stops as it should.
    """
    host.read()
    if ends.is_set():
        return
    try:
        on_death(RAY_DIED)
    finally:
        scratch.clear(folder)
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
