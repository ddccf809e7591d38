"""Runs the server: replicas of a model under Ray Serve, on a private Ray, until a signal."""

import http.client
import json
import os
import re
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import serve

from ffnet.errors import InputError
from ffnet.export.folder import ModelFolder, card_beside
from ffnet.ray_cluster.private_host import Host
from ffnet.ray_cluster.private_ray import private_ray
from ffnet.serving.replica import JOINED, Options, Replica
from ffnet.serving.rest import SIGNATURE
from ffnet.system import output
from ffnet.system.signals import ignore, restored

QUIET = {"enable_access_log": False}


def run(folder: ModelFolder, options: Options) -> None:
    """Serve a model until a signal. When the server is ready, print how to call it.

    Raises:
        InputError: the model cannot be loaded or served.
    """
    try:
        with (
            restored(),
            output.screen() as screen,
            output.redirected(Path(os.devnull), 1, 2),
            Host() as host,
            private_ray(host, log_to_driver=False),
            _deployed(folder, options),
        ):
            try:
                print(_ready(folder, options), file=screen, flush=True)
                signal.pause()
            finally:
                ignore()  # further signals: shutting down takes seconds
    except KeyboardInterrupt:
        return


@contextmanager
def _deployed(folder: ModelFolder, options: Options) -> Iterator[None]:
    """Start the replicas under Ray Serve, without its HTTP proxy: each replica listens itself."""
    deployment = serve.deployment(
        Replica,
        num_replicas=options.replicas,
        max_ongoing_requests=JOINED,  # serve.batch warns if this is below its batch size
        max_constructor_retry_count=1,
        graceful_shutdown_wait_loop_s=0.1,
        ray_actor_options={"num_cpus": 0},
    )
    try:
        serve.start(proxy_location="Disabled", logging_config=QUIET)
        try:
            serve.run(deployment.bind(folder, options), name=folder.name, route_prefix=None)
        except RuntimeError as error:
            raise _reason() or error from error
        yield
    finally:
        serve.shutdown()


def _reason() -> InputError | None:
    """Return the InputError that a replica raised, or None."""
    deployments = [
        d for app in serve.status().applications.values() for d in app.deployments.values()
    ]
    found = re.search(rf"{InputError.__name__}: (.+)", "".join(d.message for d in deployments))
    return InputError(found[1]) if found else None


def _ready(folder: ModelFolder, options: Options) -> str:
    """Ask the server for its metadata; return its address and a command that calls the model."""
    host = f"[{options.host}]" if ":" in options.host else options.host
    path = f"/v1/models/{folder.name}"
    connection = http.client.HTTPConnection(options.host, options.port, timeout=30)
    connection.request("GET", f"{path}/metadata")
    answer = json.load(connection.getresponse())
    connection.close()
    url = f"http://{host}:{options.port}{path}"
    return f"{folder.name}, version {folder.version}: {url}\ntry: {_example(folder, answer, url)}"


def _example(folder: ModelFolder, answer: Any, url: str) -> str:
    """Return a command that calls the model: with the typical row of its card, or with zeros."""
    row = card_beside(folder.path).get("example")
    if isinstance(row, dict):
        return f"curl -d {shlex.quote(json.dumps({'instances': [row]}))} {url}:predict"
    inputs = answer["metadata"]["signature_def"]["signature_def"][SIGNATURE]["inputs"]
    zeros = {name: _zeros(info) for name, info in inputs.items()}
    example = ", ".join(f'"{name}": {value}' for name, value in zeros.items())
    python = f'import json; print(json.dumps({{"instances": [{{{example}}}]}}))'
    return f"python3 -c {shlex.quote(python)} | curl -d @- {url}:predict"


def _zeros(info: Any) -> str:
    """Return Python code for a row of zeros, or for an empty text."""
    text = "''" if info["dtype"] == "DT_STRING" else "0"
    for dim in reversed(info["tensor_shape"]["dim"][1:]):
        text = f"[{text}] * {dim['size']}"
    return text
