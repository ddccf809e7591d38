"""Run a job of jobs/ on a cluster, through Ray's Jobs API.

  ffnet submit --address http://127.0.0.1:8265 -- tune digits
  ffnet submit --address http://127.0.0.1:8265 list
  ffnet submit status [JOB]
  ffnet submit logs [JOB]
  ffnet submit stop JOB

Sends the working directory, without data, results and hidden files, and prints the job's log while
it runs. The exit status is that of the job: 75 when the job was stopped, 128 plus the signal's
number when it was killed. A study whose driver was lost is submitted again with --resume. Ctrl-C
asks whether the job goes on or stops.

Write a job and its arguments after --. A relative --out is a folder below the working directory; a
study without --out gets a new folder in runs/ there. On a cluster of other machines, name a place
that all of them reach. A study's file is sent with the job. A run on this machine is not sent: the
job reads it by its absolute path. Data are never sent: name them by a path that the cluster sees.

RAY_AUTH_TOKEN_PATH names the file with the cluster's token. `logs` prints until the job ends and
exits with its status. Without JOB, status and logs use the newest job.
"""

import argparse
import contextlib
import math
import os
import secrets
import shutil
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from ffnet.cli import command
from ffnet.cli.flags import switches
from ffnet.errors import InputError
from ffnet.ray_cluster import job, package
from ffnet.ray_cluster import job_server as connection
from ffnet.ray_cluster.named import Named
from ffnet.spec.study import OneNet, Study
from ffnet.system import notify, temporary

ACTIONS = ("status", "logs", "stop", "list")


def main(argv: list[str]) -> int:
    """Parse, then submit or look after a job."""
    own, words = _split(argv)
    words = command.with_values(words, switches(Study) | switches(OneNet))
    for word in own:
        if Path("jobs", f"{word}.py").is_file():
            raise InputError(f"write a job and its arguments after --, as in: -- {word} …")
    flags = _parser().parse_args(own)
    if words and flags.action:
        raise InputError(
            f"give either a job after -- or an action, not both. Given: {flags.action} and a job"
        )
    if not words and not flags.action:
        raise InputError("name a job after --, or status, logs, stop or list; see --help")
    for name, value in (("retries", flags.retries), ("driver-cpus", flags.driver_cpus)):
        if value is not None and not 0 <= value < math.inf:
            raise InputError(f"--{name} must be 0 or more. Given: {value}")
        if value is not None and flags.action:
            raise InputError(f"--{name} has an effect only with a job after --: leave it out")
    if flags.action == "list" and flags.job:
        raise InputError(f"list shows all jobs: leave {flags.job} out, or ask for its status")
    retries = 1 if flags.retries is None else flags.retries
    named = package.command_of(words, Path.cwd()) if words else Named([])
    client = connection.connect(flags.address)
    try:
        if words:
            return _run(client, named, retries, flags.driver_cpus or 0.0)
        return _look(client, flags.action, flags.job)
    except (OSError, RuntimeError) as error:  # no connection, or the server answered an error
        _note(f"error: {' '.join(str(error).split())[:500]}")
        return 1


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    at = argv.index("--") if "--" in argv else len(argv)
    return argv[:at], argv[at + 1 :]


def _parser() -> argparse.ArgumentParser:
    usage = "submit [options] (-- COMMAND… | list | status | logs | stop [JOB])"
    parser = command.parser(usage, __doc__)
    parser.add_argument(
        "action",
        nargs="?",
        metavar="ACTION",
        choices=ACTIONS,
        help=f"what to do with submitted jobs: {', '.join(ACTIONS)}",
    )
    parser.add_argument(
        "job", nargs="?", metavar="JOB", help="name of the job, as `list` shows it [the newest]"
    )
    parser.add_argument(
        "--address", metavar="URL", help="dashboard of the cluster [$RAY_API_SERVER_ADDRESS]"
    )
    parser.add_argument(
        "--retries",
        type=int,
        metavar="N",
        help="how many times a study is submitted again after its driver was lost [1]",
    )
    parser.add_argument(
        "--driver-cpus",
        type=float,
        metavar="N",
        help="run the driver on any node with N free CPUs [on the head]",
    )
    return parser


# --- submit ------------------------------------------------------------------------------------


def _run(client: Any, named: Named, retries: int, cpus: float) -> int:
    arguments = named.arguments
    if os.environ.get(notify.VARIABLE):
        _note(
            f"note: {notify.VARIABLE} is not sent, because Ray shows a job's environment: the job "
            f"uses the one of the cluster's head"
        )
    base = f"{Path(arguments[0]).stem}-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    with temporary.folder() as folder:
        code = folder / "code"
        package.copy_code(Path.cwd(), code)
        for place, file in named.sent.items():
            (code / place).parent.mkdir(exist_ok=True)
            shutil.copyfile(file, code / place)
        for attempt in range(retries + 1):
            name = f"{base}-{attempt + 1}" if attempt else base
            job.submit(client, arguments, code, name, cpus)
            _note(f"submitted: {name}")
            details = _attend(client, name)
            again = package.resumed(arguments)
            if details is None or again is None or not job.lost(details):
                break
            _note(f"{name}: its driver was lost ({_how(details)})")
            arguments = again
    return _end(name, details)


def _attend(client: Any, name: str) -> Any:
    """Follow a job to its end. Returns None when the user leaves the job running."""
    log = job.Log(client, name)
    while True:
        try:
            return log.follow()
        except KeyboardInterrupt:
            if (details := job.ended(client, name)) is not None:
                _note(f"{name} had ended already: {details.status}")
                return details
            if not _stop_wanted(name):
                return None
            client.stop_job(name)
            _note(f"stopping {name}; it has {job.STOP_SECONDS} s to save its state")


def _stop_wanted(name: str) -> bool:
    answer = ""
    if sys.stdin.isatty():
        with contextlib.suppress(EOFError, KeyboardInterrupt):
            answer = input(f"\n{name}: leave it running, or stop it? [leave/stop] ")
    return answer.strip().lower() in ("s", "stop")


def _end(name: str, details: Any) -> int:
    """Print how a job ended, or how to see and stop it. Returns the exit status."""
    if details is None:
        _note(
            f"{name} goes on. To see it: ffnet submit logs {name}; to stop it: ffnet submit stop "
            f"{name}"
        )
        return 130
    status = job.exit_status(details)
    if status:
        _note(f"{name}: {details.status} ({_how(details)})")
    return status


def _how(details: Any) -> str:
    if details.error_type and details.driver_exit_code is None and details.message:
        return f"{details.error_type}: {' '.join(details.message.split())[:500]}"
    return f"exit status {job.exit_status(details)}"


# --- look after a job --------------------------------------------------------------------------


def _look(client: Any, action: str, name: str | None) -> int:
    found = job.jobs(client)
    if action == "list":
        print("\n".join(map(job.line, found)) or "no jobs")
        return 0
    if action == "stop" and not name:
        raise InputError("stop needs the name of a job, as `list` shows it")
    details = next((each for each in found if name in (None, each.submission_id)), None)
    if not details:
        raise InputError(f"there is no job {name or 'yet'} on this cluster; see `list`")
    name = details.submission_id
    if action == "logs":
        return _end(name, _attend(client, name))
    if action == "stop" and client.stop_job(name):
        details = job.wait(client, name)
    print(job.line(details))
    return 0


def _note(text: str) -> None:
    """Print a line that is not part of the job's own output."""
    print(text, file=sys.stderr, flush=True)
