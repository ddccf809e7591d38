"""Starts a job on a cluster, follows its log, and says how it ended."""

import asyncio
import contextlib
import shlex
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

from ffnet.system.signals import held_back, interrupt, restored

STOPPED = 75  # `ffnet tune` ends with it, too, after a signal: --resume continues the study
STOP_SECONDS = 120
"""How long a job may take to save its work after it was asked to stop."""

QUIET_SECONDS = 60  # after so long without new text, the log's connection is opened again
LOST_SECONDS = 60  # a cluster that does not answer for so long is given up


def environment(folder: Path) -> dict[str, Any]:
    """The runtime environment of a job whose code is in `folder`."""
    from ffnet.ray_cluster.private_host import SETTINGS
    from ffnet.run import provenance

    # Ray's default waiting time is 3 s. No token is sent: the processes on the head have one.
    stop = {"RAY_JOB_STOP_SIGNAL": "SIGTERM", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}
    commit = {"FFNET_COMMIT": provenance.commit() or ""}  # the copy has no .git
    return {"working_dir": str(folder), "env_vars": SETTINGS | stop | commit}


def submit(client: Any, command: list[str], folder: Path, name: str, cpus: float) -> None:
    """Start a job. It runs Python with the arguments `command` in a copy of `folder`.

    Args:
        client: Ray's client of the Jobs server.
        command: the arguments of Python, beginning with a file.
        folder: the folder that is sent to the cluster.
        name: the job's name.
        cpus: the job's driver runs on any node with so many free CPUs. With 0, on the head.
    """
    client.submit_job(
        # `python` is the node's own. With `exec`, no shell hides signals or the exit status.
        entrypoint=f"exec python {shlex.join(command)}",
        runtime_env=environment(folder),
        submission_id=name,
        entrypoint_num_cpus=cpus,
    )


class Log:
    """Prints a job's log. No text is printed twice when the connection breaks."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name
        self._printed = 0  # characters

    def follow(self) -> Any:
        """Print the log as it grows. Returns Ray's details of the job when the job has ended.

        Raises:
            ConnectionError: the cluster has not answered for a minute.
            KeyboardInterrupt: a signal came. The job still runs.
        """
        while True:
            # If the log ends, breaks or is quiet, the job's details say whether the job has ended.
            with contextlib.suppress(Exception), held_back() as came:
                self._print(came)
            details = _details(self._client, self._name)
            if details.status.is_terminal():
                return details
            time.sleep(1)

    def _print(self, came: list[int]) -> None:
        """Print new text of the log until the log ends, is quiet for a minute, or a signal comes.

        Signals must be held back, because asyncio does not clean up when a signal interrupts it.

        Args:
            came: the signals that were held back; it grows when a signal comes.
        """
        passed = 0
        with contextlib.closing(asyncio.Runner()) as runner:
            pieces = self._client.tail_job_logs(self._name)
            while (text := runner.run(_next(pieces, came))) is not None:
                with restored():
                    interrupt()  # so that a signal ends `print` if the output is blocked
                    print(text[max(0, self._printed - passed) :], end="", flush=True)
                passed += len(text)
                self._printed = max(self._printed, passed)


async def _next(pieces: AsyncIterator[str], came: list[int]) -> str | None:
    """The next piece of a log. None at its end, after a quiet minute, or when a signal came.

    Args:
        pieces: the pieces of the log.
        came: the signals that were held back; it grows when a signal comes.
    """
    piece = asyncio.ensure_future(anext(pieces, None))
    end = time.monotonic() + QUIET_SECONDS
    while not piece.done() and not came and time.monotonic() < end:
        await asyncio.wait([piece], timeout=0.1)
    return piece.result() if piece.done() else None


def wait(client: Any, name: str) -> Any:
    """Wait until a job has ended. Returns Ray's details of the job.

    Raises:
        ConnectionError: the cluster has not answered for a minute.
    """
    while not (details := _details(client, name)).status.is_terminal():
        time.sleep(0.5)
    return details


def ended(client: Any, name: str) -> Any:
    """Ray's details of a job that has ended. None if it runs or the cluster does not answer."""
    with contextlib.suppress(OSError, RuntimeError):
        details = client.get_job_info(name)
        if details.status.is_terminal():
            return details
    return None


def _details(client: Any, name: str) -> Any:
    end = time.monotonic() + LOST_SECONDS
    while True:
        try:
            return client.get_job_info(name)
        except (OSError, RuntimeError) as error:
            if time.monotonic() > end:
                raise ConnectionError(f"the cluster does not answer any more ({error})") from None
            time.sleep(1)


def exit_status(details: Any) -> int:
    """A job's exit status as a shell gives it (128 + n after signal n); 75 if it was stopped."""
    if details.status == "STOPPED":
        return STOPPED
    code = details.driver_exit_code
    if details.status == "SUCCEEDED" or code is None:
        return int(details.status != "SUCCEEDED")
    return 128 - code if code < 0 else code or 1


def lost(details: Any) -> bool:
    """Whether a job's driver was killed or died with its supervisor, and so could save nothing."""
    if details.driver_exit_code is not None:
        return bool(details.driver_exit_code < 0)  # negative: the signal that killed the driver
    return details.error_type in (
        "JOB_SUPERVISOR_ACTOR_DIED",
        "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE",
    )


def jobs(client: Any) -> list[Any]:
    """Ray's details of all submitted jobs, newest first."""
    found = [details for details in client.list_jobs() if details.submission_id]
    return sorted(found, key=lambda details: -details.start_time)


def line(details: Any) -> str:
    """A line for a job: name, status, start, duration in seconds, command."""
    begun = datetime.fromtimestamp(details.start_time / 1000)
    end = details.end_time / 1000 if details.end_time else time.time()
    status = str(details.status)
    if details.status.is_terminal():
        status += f" ({exit_status(details)})"
    columns = (
        details.submission_id,
        f"{status:<15}",
        f"{begun:%m-%d %H:%M}",
        f"{end - begun.timestamp():6.0f} s",
        details.entrypoint.removeprefix("exec python "),
    )
    return "  ".join(columns)
