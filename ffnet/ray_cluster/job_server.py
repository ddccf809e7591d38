"""The way to a cluster's Jobs server: its address, its token, and what is wrong with them."""

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
        address: URL of the cluster's dashboard; None for $RAY_API_SERVER_ADDRESS.

    Raises:
        InputError: nothing answers there, or it does not take the token.
    """
    url = (address or os.environ.get("RAY_API_SERVER_ADDRESS") or "").rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(
            "--address must be the URL of a cluster's dashboard, like http://127.0.0.1:8265. "
            f"Given: {url or 'none, nor RAY_API_SERVER_ADDRESS'}"
        )
    source = _use_token()
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if local:  # a proxy would see the token
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = parts.hostname
    elif source and parts.scheme == "http":
        print(
            f"warning: the token travels to {parts.hostname} in clear; a tunnel hides it",
            file=sys.stderr,
        )
    os.environ["RAY_API_SERVER_ADDRESS"] = url  # goes before RAY_ADDRESS, as the argument would not
    return _connect(url, source)


def _use_token() -> str | None:
    """Where the token is, if anywhere; Ray's clients send it in the mode `token` only."""
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
        os.environ.pop("RAY_AUTH_MODE", None)  # else Ray's client ends before it asks
        return None
    os.environ["RAY_AUTH_MODE"] = "token"
    return source


def _connect(url: str, source: str | None) -> Any:
    _knock(url)
    with held_back():  # an import that is interrupted fails in ways of its own
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient

    try:
        logging.disable(logging.INFO)  # Ray tells of each request
        return JobSubmissionClient(url)
    except (OSError, RuntimeError, ValueError, LookupError) as error:
        raise _no_answer(url, error) from None
    except AuthenticationError:
        if source:
            raise InputError(f"the cluster at {url} refuses the token of {source}") from None
        raise InputError(
            f"the cluster at {url} asks for a token: set RAY_AUTH_TOKEN_PATH to a file with it"
        ) from None


def _knock(url: str) -> None:
    """Refuse an address where nothing listens: Ray itself would try for minutes."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((str(parts.hostname), port), timeout=10).close()
    except (OSError, ValueError) as error:
        raise _no_answer(url, error) from None


def _no_answer(url: str, error: Exception) -> InputError:
    reason = str(error).partition("\n")[0]
    return InputError(f"a running Ray cluster must answer at --address. Given: {url} ({reason})")
