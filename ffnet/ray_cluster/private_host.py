"""Starts the processes of a private Ray, without importing Ray: they start while data are read."""

import math
import os
import secrets
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from ffnet.errors import InputError, RunError
from ffnet.ray_cluster import ray_host
from ffnet.spec.sections import Resources
from ffnet.system import notify, scratch

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
LOWER = "lower --cpus or --gpus"  # what the user of a study can do if no node can hold a trial
LOG = "host.log"  # in the host's folder: what the host writes to its standard error


class Host:
    """The process that holds a private Ray: see `ray_host`. Ray starts when this is made.

    It is reachable only on loopback and only with a new token. Ray writes all its files into one
    temporary folder that other users cannot open. `private_ray` connects this process to it.
    This is a context manager: Ray stops when the block ends, or when this process ends for any
    reason.

    Attributes:
        folder: the folder with all files of Ray. It is removed when Ray stops.
        process: the host's process. Its standard output ends when the process ends.
        environment: environment variables that lead to this Ray, for the driver, too.
    """

    def __init__(self, cpus: int | None = None) -> None:
        """Begin to start Ray, and return at once.

        Args:
            cpus: number of CPUs that Ray gets. With None, all CPUs of this machine.

        Raises:
            InputError: there is no folder where Ray can write its files.
        """
        with ExitStack() as made:
            self.folder = made.enter_context(scratch.folder())
            self.environment = _environment(self.folder)
            self.process = self._started(cpus)
            made.callback(self._end)
            self._made = made.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def address(self) -> str:
        """Wait until Ray runs. Returns the address of its head. Raises RunError if it failed."""
        assert self.process.stdout
        state, _, word = self.process.stdout.readline().strip().partition(" ")
        sys.stderr.write((self.folder / LOG).read_text(errors="replace"))
        if state != "up":
            raise RunError(f"Ray did not start ({word or 'its host ended'})")
        return word

    def stop(self) -> None:
        """Kill all processes of Ray, which have nothing to save. Their ends may take a moment."""
        scratch.kill(self.folder)

    def close(self) -> None:
        """Stop Ray, and wait until its processes and its folder are gone. Once is enough."""
        self._made.close()

    def _started(self, cpus: int | None) -> "subprocess.Popen[str]":
        umask = os.umask(0)
        os.umask(umask)
        hidden = (*OTHERS, notify.VARIABLE)  # the webhook's URL is a secret
        environment = SETTINGS | {k: v for k, v in os.environ.items() if k not in hidden}
        own = {scratch.MARK: str(self.folder), UMASK: f"{umask:o}"}
        program = [sys.executable, "-P", ray_host.__file__, "start", str(self.folder)]
        (self.folder / LOG).touch(mode=0o600)
        with (self.folder / LOG).open("w") as log:
            return subprocess.Popen(
                [*program, *([str(cpus)] if cpus else [])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                env=environment | self.environment | own,
            )

    def _end(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        scratch.clear(self.folder)
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def _environment(folder: Path) -> dict[str, str]:
    """The variables that lead to the private Ray with this folder. Writes its token."""
    token, own = folder / "token", folder / "tmp"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    own.mkdir(mode=0o700)
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_TMPDIR": str(folder),
        "TMPDIR": str(own),
    }


def own_cpus(resources: Resources, concurrency: int | None, advice: str) -> int:
    """The number of CPUs that a private Ray gets.

    Args:
        resources: CPUs and GPUs of a trial.
        concurrency: maximum number of trials at a time. With None, as many as this machine holds.
        advice: what the user can do if this machine cannot hold a trial, for the error.

    Raises:
        InputError: a trial needs more CPUs than this machine has.
    """
    cpus = len(os.sched_getaffinity(0))
    if resources.cpus > cpus:  # refused here, before Ray takes seconds to start
        raise too_large(resources, [f"this machine: {cpus} CPUs"], advice)
    return min(cpus, math.ceil(concurrency * resources.cpus)) if concurrency else cpus


def too_large(resources: Resources, nodes: list[str], advice: str) -> InputError:
    """The error when no node can hold a trial: the text names the nodes and the advice."""
    return InputError(
        f"a trial must fit on one node. Given: {resources.cpus:g} CPUs, {resources.gpus:g} GPUs; "
        f"nodes: {'; '.join(nodes)}; {advice}"
    )
