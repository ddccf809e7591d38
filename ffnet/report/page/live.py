"""Shows the page of a run on this machine, and makes it anew when the run's tables change."""

import time
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from ffnet.errors import InputError
from ffnet.report.page.page import Page, html, main_part, page_of
from ffnet.run.folder import RunFolder
from ffnet.run.storage import File

HOST = "127.0.0.1"
SHARE = 0.2  # the largest share of the time that making the page may take


def serve(folder: RunFolder, port: int) -> int:
    """Serve the page until Ctrl-C. Returns the exit status, 0.

    Args:
        folder: the run.
        port: the port; 0 chooses a free port.

    Raises:
        InputError: the run cannot be read, or the port is not free.
    """
    with Server(folder, port) as server:
        print(f"page: {server.address} (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


class Server(ThreadingHTTPServer):
    """A server of one page, for browsers on this machine.

    It answers three paths: / with the page, /main with the part that changes, and /stamp with a
    text that changes when the page has changed.

    Attributes:
        address: the URL of the page.
    """

    daemon_threads = True

    def __init__(self, folder: RunFolder, port: int) -> None:
        """Make the page and begin to listen: see `serve`."""
        self._folder, self._lock = folder, Lock()
        self._update()
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise InputError(
                f"--port must be free to listen on. Given: {port} ({error.strerror})"
            ) from None
        self.address = f"http://{HOST}:{self.server_port}/"

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
            if _stamp_of(self._folder) != self._stamp:
                self._update()
        except (OSError, InputError):
            return  # the storage does not answer now: the page stays as it is

    def _update(self) -> None:
        stamp, begun = _stamp_of(self._folder), time.monotonic()
        self._page: Page = page_of(self._folder)
        self._stamp, self._made_at = stamp, time.monotonic()
        self._took = self._made_at - begun


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
    files: Sequence[File] = (folder.study, folder.trials, folder.epochs)
    return " ".join("-".join(map(str, file.stamp())) if file.exists() else "none" for file in files)
