"""A Ray of this process alone on this machine: no one else reaches it, and it goes with it."""

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
"""Environment of the driver and of workers, where the user set nothing."""

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
"""Variables that point to another Ray than the private one."""

UMASK = "FFNET_UMASK"

OnDeath = Callable[[str], None]
"""Called with the reason when Ray is dead."""

RAY_DIED = "processes of Ray were killed, perhaps for want of memory"


def set_defaults(settings: dict[str, str]) -> None:
    """Put settings into the environment where it has none."""
    os.environ.update({k: v for k, v in settings.items() if k not in os.environ})


@contextmanager
def private_ray(
    cpus: int | None = None, log_to_driver: bool = True, on_death: OnDeath | None = None
) -> Iterator[None]:
    """Start Ray, reachable on loopback only and with a token of its own; it ends with the block.

    All that Ray writes lies in one temporary folder that is closed to other users.

    Args:
        cpus: CPUs of Ray; None for all of this machine.
        log_to_driver: whether what workers print is printed here too.
        on_death: called in a thread when a process that Ray needs was killed. After it this process
            ends with exit status 1: Ray would end it a little later without a word.

    Raises:
        InputError: Ray has no place for its files.
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
    """The environment of the driver, the host and the workers."""
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
    """Ray's processes, held by a process of their own; yields the address of the head."""
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
    """Call `watch` in a thread of its own. It gets an event, which is set when the block ends."""
    ends = threading.Event()
    threading.Thread(target=watch, args=(ends,), daemon=True).start()
    try:
        yield
    finally:
        ends.set()


def _watch_host(host: IO[str], folder: Path, on_death: OnDeath, ends: threading.Event) -> None:
    """End this process when Ray's host ends: see `private_ray`.

    Args:
        host: the host's standard output, which ends with it.
        folder: of all that is Ray's.
        on_death: what to do before.
        ends: set when Ray ends in order.
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
    """Connect to a running Ray; the handlers of signals stay as they are."""
    try:
        with held_back():
            ray.init(address=address, log_to_driver=log_to_driver, configure_logging=log_to_driver)
    except SystemExit:  # Ray's own handler of SIGTERM, which it sets at once
        raise KeyboardInterrupt from None


def restore_umask() -> None:
    """On a worker: files that are results have the mode that the user's files have."""
    if UMASK in os.environ:
        os.umask(int(os.environ[UMASK], 8))
