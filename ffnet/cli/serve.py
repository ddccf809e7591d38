"""Serve an exported model by TensorFlow Serving's REST API, on Ray Serve.

  ffnet serve models/mnist
  ffnet serve models/mnist --port 0 --replicas 2

MODEL_DIR is a folder that `ffnet export` wrote, or any SavedModel with a signature serving_default.
The highest version is served. Requests that arrive while the model runs form the next batch.

A request is POSTed to /v1/models/NAME:predict. Its examples are rows or columns. A model of a table
takes its columns by name, and null is a gap:

  {"instances": [{"age": 39, "workclass": "Private", "hours": null}]}
  {"inputs": {"age": [39, 5], "workclass": ["Private", null], "hours": [9, 3]}}

The server has no password. Without --host, only this machine can reach it. A SavedModel is a
program: serve only models that you trust. Ctrl-C, SIGTERM or SIGHUP stops the server cleanly. Exit
status: 0; 2 for bad input.
"""

import argparse
import os
from pathlib import Path

from ffnet.cli import command
from ffnet.errors import InputError
from ffnet.export.folder import ModelFolder
from ffnet.serving.listen import reserved
from ffnet.system import scratch


def main(argv: list[str]) -> int:
    """Find the model, then serve it until a signal."""
    flags = _parser().parse_args(argv)
    scratch.base()  # refuses a folder that Ray's files cannot use
    cpus = len(os.sched_getaffinity(0))
    port = _number("--port", flags.port, 0, 65535)
    replicas = _number("--replicas", flags.replicas, 1, cpus)
    max_bytes = _number("--max-bytes", flags.max_bytes, 1, 2**31)
    folder = ModelFolder.find(flags.model_dir, flags.name)
    with reserved(flags.host, port) as held:
        try:
            from ffnet.serving.replica import Options
            from ffnet.serving.server import run  # imports Ray: seconds
        except ModuleNotFoundError as error:
            raise InputError(f"install ffnet with its extra serve, .[serve] ({error})") from None

        run(folder, Options(flags.host, held.getsockname()[1], replicas, max_bytes))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("serve MODEL_DIR [options]", __doc__)
    parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR", help="folder of the model")
    parser.add_argument("--name", help="name of the model in the URL [the card's, or the folder's]")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on [%(default)s]")
    parser.add_argument("--port", default="8501", help="port; 0 for any free port [%(default)s]")
    parser.add_argument(
        "--replicas",
        default="1",
        help="number of processes that answer, each on another CPU [%(default)s]",
    )
    parser.add_argument(
        "--max-bytes",
        metavar="BYTES",
        default=str(16 * 2**20),
        help="maximum size of a request's body, in bytes [%(default)s]",
    )
    return parser


def _number(flag: str, text: str, low: int, high: int) -> int:
    if not text.isdecimal() or not low <= int(text) <= high:
        raise InputError(f"{flag} must be a number from {low} to {high}. Given: {text}")
    return int(text)
