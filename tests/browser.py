"""Drives Chromium without a window, through the Chrome DevTools Protocol.

with Browser() as browser:
    browser.open("file:///…/report.html", width=1400, dark=True)
    browser.value("document.title")
"""

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest
from websockets.sync.client import connect

PROGRAM = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-port=0", "--hide-scrollbars",
)  # fmt: skip
SECONDS = 120.0  # maximum time of an answer; the machine may be busy


class Browser:
    """A Chromium with one page.

    Attributes:
        requests: the addresses that the page has asked for since `open`, without the page itself.
        errors: errors in the console, and exceptions that no code caught.
    """

    def __init__(self) -> None:
        if PROGRAM is None:
            pytest.skip("needs Debian's package chromium")
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._closes = stack.pop_all()
        return self

    def _start(self, stack: ExitStack) -> None:
        """Start Chromium, and open a tab. The stack ends both."""
        self._home = tempfile.mkdtemp(prefix="ffnet-browser-")
        stack.callback(shutil.rmtree, self._home, ignore_errors=True)
        assert PROGRAM
        self._process = subprocess.Popen(
            [PROGRAM, *FLAGS, f"--user-data-dir={self._home}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        stack.callback(self._process.wait, 30)
        stack.callback(self._process.terminate)
        port, path = self._address()
        self._socket = stack.enter_context(
            connect(
                f"ws://127.0.0.1:{port}{path}",
                max_size=None, open_timeout=SECONDS, compression=None,
            )
        )  # fmt: skip
        self._session: str | None = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def __exit__(self, *_: object) -> None:
        self._closes.close()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its result."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(timeout=SECONDS))
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def open(self, url: str, width: int = 1400, height: int = 900, dark: bool = False) -> None:
        """Open a page and wait until it has loaded."""
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[theme])
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        self.send("Page.navigate", url="about:blank")  # the page before asks for nothing more
        self.wait("location.href === 'about:blank'")
        self.requests.clear()
        self.errors.clear()
        self._url = url
        self.send("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        answer = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + SECONDS
        while not self.value(expression):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.05)

    def picture(self, path: Path, whole: bool = True) -> None:
        """Write a PNG of the whole page, or of what the window shows."""
        shown = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shown["data"]))

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                url = parameters["request"]["url"]
                if url != self._url and not url.startswith(("data:", "blob:", "about:")):
                    self.requests.append(url)
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(parameters["exceptionDetails"])[:500])
            case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning"):
                self.errors.append(json.dumps(parameters["args"])[:500])
            case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                self.errors.append(json.dumps(parameters["entry"])[:500])

    def _address(self) -> tuple[str, str]:
        """(port, path) at which Chromium listens, once it does."""
        file, end = Path(self._home) / "DevToolsActivePort", time.monotonic() + SECONDS
        while time.monotonic() < end:
            if file.exists() and len(lines := file.read_text().split()) == 2:
                return lines[0], lines[1]
            time.sleep(0.05)
        raise AssertionError("Chromium does not start")
