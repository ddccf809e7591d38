"""A Ray of this process alone on this machine: no one else reaches it, and it goes with it."""

import atexit
import functools
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import ray
from ray._private import parameter

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
"""Environment of the driver and of workers, where the user set nothing."""

ANY_AGENT_PORT = functools.partial(parameter.RayParams, dashboard_agent_listen_port=0)
"""`ray.init` has no argument for it. At its fixed port a second Ray on the machine waits 3 s."""


def set_defaults(settings: dict[str, str]) -> None:
    """Put settings into the environment where it has none."""
    os.environ.update({k: v for k, v in settings.items() if k not in os.environ})


@contextmanager
def private_ray(**options: Any) -> Iterator[None]:
    """Start Ray, reachable only with a token that is made for it alone, and take it down again.

    Args:
        options: of `ray.init`.
    """
    before = dict(os.environ)
    set_defaults(SETTINGS)
    # Ray itself turns the token mode on where the mode is not set, and finds this token.
    os.environ.pop("RAY_AUTH_MODE", None)
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(_token())
    try:
        with mock.patch.object(parameter, "RayParams", ANY_AGENT_PORT):
            ray.init(address="local", include_dashboard=False, **options)
        yield
    finally:
        ray.shutdown()
        os.environ.clear()
        os.environ.update(before)


@functools.cache
def _token() -> Path:
    """A file with the token of this process's private clusters, gone when the process ends.

    Ray reads a token once a process, so each further private cluster has the same.
    """
    folder = tempfile.mkdtemp(prefix="ffnet-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "token"
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    return path
