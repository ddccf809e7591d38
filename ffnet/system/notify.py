"""Sends a message to a chat when a long command ends, through a webhook.

The environment variable FFNET_WEBHOOK has the webhook's URL. Everybody who knows the URL can write
into the chat, so it is a secret: it is never printed, and it is taken out of the environment while
the command runs, so that no process which the command starts gets it.
"""

import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from ffnet.errors import RunError, one_line

VARIABLE = "FFNET_WEBHOOK"
SECONDS = 5.0  # the longest time for which a command waits for the webhook
MOST = 4000  # characters of a message that every receiver takes


@contextmanager
def told(message: Callable[[], str], say: Callable[[str], None]) -> Iterator[None]:
    """Send a message when the block ends, or when it fails with a RunError.

    Nothing is sent when FFNET_WEBHOOK is not set, or when the block is interrupted or refuses its
    input. A failure to send never raises an error and takes at most SECONDS.

    Args:
        message: makes the message, in Markdown, after the block has ended.
        say: is called with one line if the message cannot be sent.

    Example:
        >>> with told(lambda: "**The study** has ended.", print):
        ...     train()
    """
    given = os.environ.pop(VARIABLE, "")
    url = given.strip()
    if not url:
        yield
        return
    try:
        if wrong := _wrong(url):
            say(f"warning: {VARIABLE} {wrong}; no message will be sent")
        try:
            yield
        except RunError as error:
            text = f"A study has ended with an error: {error}"
            _tell(url, lambda: text, say)
            raise
        _tell(url, message, say)
    finally:
        os.environ[VARIABLE] = given


def _wrong(url: str) -> str | None:
    """What is wrong with a URL, without a part of the URL; None if nothing is."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  raises ValueError if it is no number
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        valid = False
    if valid and url.isprintable() and " " not in url:
        return None
    return "must be a URL that begins with http:// or https:// (it is a secret and not shown)"


def _tell(url: str, message: Callable[[], str], say: Callable[[str], None]) -> None:
    if _wrong(url):
        return
    try:
        text = message()
    except Exception as error:  # for example, a store that does not answer any more
        text = f"A study has ended. Its headline cannot be read: {one_line(str(error), 300)}"
    if why := send(url, plain(text)):
        say(f"warning: the webhook of {VARIABLE} did not take the message: {why}")


def send(url: str, text: str, seconds: float = SECONDS) -> str | None:
    """Send a message to a webhook as {"text": …}, which Slack, Mattermost and Teams take.

    Args:
        url: the webhook's URL, http:// or https://. A proxy of the environment is used.
        text: the message, in Markdown.
        seconds: the longest time to wait.

    Returns:
        None if the webhook took the message, else the reason why it did not, without the URL.
    """
    found: list[str | None] = []
    thread = threading.Thread(target=lambda: found.append(_post(url, text, seconds)), daemon=True)
    thread.start()
    thread.join(seconds)  # the timeout of a socket is not enough: it begins again with each byte
    return found[0] if found else f"no answer within {seconds:g} s"


def plain(text: str) -> str:
    """A text for a message. Its characters are no markup of a chat, and it calls nobody's name.

    >>> plain("<!channel> a&b")
    '&lt;!channel&gt; a&amp;b'
    """
    shown = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return shown.replace("@", "@\u200b")  # a blank of no width


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, because the message would get lost: urllib repeats a POST as a GET."""

    def redirect_request(self, *_: Any) -> None:
        """Return None: the redirect is an error."""
        return


def _post(url: str, text: str, seconds: float) -> str | None:
    body = json.dumps({"text": text[:MOST]}).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "ffnet"}
    try:
        request = urllib.request.Request(url, body, headers)  # noqa: S310  `_wrong` looked at it
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=seconds):
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return f"its server answered with status {error.code}"
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except OSError as error:  # URLError is one, too; its reason is an OSError or a text
        reason = getattr(error, "reason", error)
        return one_line(str(getattr(reason, "strerror", None) or type(reason).__name__), 200)
    except Exception as error:  # a server that speaks no HTTP; its words may repeat the URL
        return type(error).__name__
