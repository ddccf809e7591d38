"""Connects to a cluster's Jobs server, and says what is wrong with the address or the token."""

import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ffnet.errors import InputError
from ffnet.system.signals import held_back


def connect(address: str | None) -> Any:
    """Ray's client of the Jobs server at `address`.

    Args:
        address: URL of the cluster's dashboard. With None, the value of RAY_API_SERVER_ADDRESS.

    Raises:
        InputError: no URL is given, nothing answers there, or the server refuses the token.
    """
    url = (address or os.environ.get("RAY_API_SERVER_ADDRESS") or "").rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(
            "--address must be the URL of a cluster's dashboard, like http://127.0.0.1:8265. "
            f"Given: {url or 'no --address, and RAY_API_SERVER_ADDRESS is not set'}"
        )
    source = _use_token()
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if local:  # use no proxy, which would see the token
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = parts.hostname
    elif source and parts.scheme == "http":
        print(
            f"warning: the token is sent to {parts.hostname} without encryption; use an SSH tunnel",
            file=sys.stderr,
        )
    # Ray prefers this variable to RAY_ADDRESS, but it prefers RAY_ADDRESS to its own argument.
    os.environ["RAY_API_SERVER_ADDRESS"] = url
    return _connect(url, source)


def _use_token() -> str | None:
    """Make Ray's clients send the token. Returns where the token is, None if there is none."""
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if os.environ.get("RAY_AUTH_TOKEN"):
        source = "RAY_AUTH_TOKEN"
    elif path:
        if not Path(path).is_file() or not os.access(path, os.R_OK):
            raise InputError(f"RAY_AUTH_TOKEN_PATH must be a file that you can read. Given: {path}")
        source = path
    elif (default := Path.home() / ".ray" / "auth_token").exists():
        source = str(default)
    else:
        os.environ.pop("RAY_AUTH_MODE", None)  # in the mode `token`, Ray's client would fail
        return None
    os.environ["RAY_AUTH_MODE"] = "token"
    return source


def _connect(url: str, source: str | None) -> Any:
    _knock(url)
    with held_back():  # a signal during an import of Ray leads to unclear errors
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient

    try:
        logging.disable(logging.INFO)  # Ray logs each request
        return JobSubmissionClient(url)
    except (OSError, RuntimeError, ValueError, LookupError) as error:
        raise _no_answer(url, error) from None
    except AuthenticationError:
        if source:
            raise InputError(f"the cluster at {url} refuses the token from {source}") from None
        raise InputError(
            f"the cluster at {url} asks for a token: set RAY_AUTH_TOKEN_PATH to the token's file"
        ) from None


def _knock(url: str) -> None:
    """Refuse an address where nothing listens; Ray itself would try for minutes."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((str(parts.hostname), port), timeout=10).close()
    except (OSError, ValueError) as error:
        raise _no_answer(url, error) from None


def _no_answer(url: str, error: Exception) -> InputError:
    reason = str(error).partition("\n")[0]
    return InputError(f"a running Ray cluster must answer at --address. Given: {url} ({reason})")
