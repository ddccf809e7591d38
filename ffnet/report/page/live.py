"""Shows the page of a run on this machine, and makes it anew when the run's tables change."""

import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from ffnet.errors import InputError
from ffnet.report.page.facts import Facts
from ffnet.report.page.page import Page, html, main_part, page_of
from ffnet.report.page.parts import Part
from ffnet.run.folder import RunFolder
from ffnet.run.storage import File

HOST = "127.0.0.1"
SHARE = 0.2  # the largest share of the time that making the page may take


def serve(folder: RunFolder, port: int, measure: Callable[[], Part] | None = None) -> int:
    """Serve the page until Ctrl-C. Returns the exit status, 0.

    Args:
        folder: the run.
        port: the port; 0 chooses a free port.
        measure: makes the section about the best net. With None, the page has no such section.

    Raises:
        InputError: the run cannot be read, or the port is not free.
    """
    with Server(folder, port, measure) as server:
        print(f"page: {server.address} (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


class BestNet:
    """The section about the best net. It is made in a thread, so that the page need not wait.

    It is made again only when another report is the best of the run.

    Attributes:
        parts: the section, once it is made.
        version: a number that changes with the section.
    """

    def __init__(self, measure: Callable[[], Part] | None) -> None:
        """Begin without a section. With None, there is never one."""
        self.parts: Sequence[Part] = ()
        self.version = 0
        self._measure, self._thread = measure, Thread()
        self._of: Any = None  # the best report, when the section was begun

    def follow(self, facts: Facts) -> None:
        """Begin to make the section if another report is now the best."""
        best = facts.best
        now = best and (best["trial"], best[f"best_{facts.metric}_epoch"], facts.value(best))
        if self._measure is None or now in (None, self._of) or self._thread.is_alive():
            return
        self._of = now
        self._thread = Thread(target=self._make, args=(self._measure,))
        self._thread.start()

    def _make(self, measure: Callable[[], Part]) -> None:
        try:
            part = measure()
        except OSError:  # the storage does not answer now
            self._of = None
            return
        if not part.images:  # the weights may be written only now
            self._of = None
        if [part] != self.parts:
            self.parts, self.version = [part], self.version + 1


class Server(ThreadingHTTPServer):
    """A server of one page, for browsers on this machine.

    It answers three paths: / with the page, /main with the part that changes, and /stamp with a
    text that changes when the page has changed.

    Attributes:
        address: the URL of the page.
    """

    daemon_threads = True

    def __init__(
        self, folder: RunFolder, port: int, measure: Callable[[], Part] | None = None
    ) -> None:
        """Make the page and begin to listen: see `serve`."""
        self._folder, self._lock, self._net = folder, Lock(), BestNet(measure)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise InputError(
                f"--port must be free to listen on. Given: {port} ({error.strerror})"
            ) from None
        self.address = f"http://{HOST}:{self.server_port}/"
        try:
            self._update()
        except BaseException:
            self.server_close()
            raise

    def answer(self, path: str) -> tuple[str, str] | None:
        """(content type, body) for a path; None for an unknown path."""
        with self._lock:
            self._refresh()
            if path == "/":
                return "text/html", html(self._page, self._stamp)
            if path == "/main":
                return "text/html", main_part(self._page)
            return ("text/plain", self._stamp) if path == "/stamp" else None

    def _refresh(self) -> None:
        """Make the page anew if the tables have changed, and not too soon after the last time."""
        if time.monotonic() - self._made_at < self._took / SHARE:
            return
        try:
            if self._stamp_now() != self._stamp:
                self._update()
        except (OSError, InputError):
            return  # the storage does not answer now: the page stays as it is

    def _update(self) -> None:
        stamp, begun = self._stamp_now(), time.monotonic()
        self._page: Page = page_of(self._folder, self._net.parts)
        self._net.follow(self._page.facts)
        self._stamp, self._made_at = stamp, time.monotonic()
        self._took = self._made_at - begun

    def _stamp_now(self) -> str:
        return f"{_stamp_of(self._folder)} {self._net.version}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        """Answer a request of a browser on this machine."""
        port = self.server.server_port
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            # A name that another site points to this address must not read the page.
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        answer = self.server.answer(self.path.partition("?")[0])
        if answer is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        kind, text = answer
        body = text.encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Print nothing: a browser asks every few seconds."""


def _stamp_of(folder: RunFolder) -> str:
    """A text that changes with each write of the run's files."""
    files: Sequence[File] = (
        folder.study, folder.trials, folder.epochs, folder.confirm, folder.ensembles,
        folder.audit,
    )  # fmt: skip
    return " ".join("-".join(map(str, file.stamp())) if file.exists() else "none" for file in files)
