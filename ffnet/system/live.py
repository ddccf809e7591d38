"""A line that shows what a command does. A terminal updates it; elsewhere, new lines are printed.

with output.screen() as screen, LiveLine(screen) as live:
    live.begin("starting Ray")       # shown at once, with a clock
    ...
    live.show(lambda: "3/32 trials") # shown when the last update is long enough ago
    live.say("trial 3 has ended")    # a line that stays
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Self, TextIO, TypeVar

from rich.console import Console
from rich.live import Live
from rich.text import Text

Thing = TypeVar("Thing")

LIVE_SECONDS, PLAIN_SECONDS = 0.25, 10.0
"""Seconds between two updates: on a terminal, and elsewhere."""


class LiveLine:
    """Shows what a command does. A thread updates the line on a terminal.

    Attributes:
        note: a text that a terminal shows instead of the line. With None, it shows the line. A
            signal handler may set it, although it must not print.
    """

    def __init__(self, screen: TextIO) -> None:
        """Begin with an empty line.

        Args:
            screen: the stream of the line. Other output to it must wait for `clear`.
        """
        self.note: str | None = None
        self._screen = screen
        self._console = Console(file=screen, highlight=False)
        if self._console.is_jupyter:  # print plain lines, although its streams claim a terminal
            self._console = Console(
                file=screen, highlight=False, force_jupyter=False, force_terminal=False
            )
        self._live: Live | None = None
        self._text: Callable[[], str] = str
        self._due_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def begin(self, what: str) -> None:
        """Show at once what begins, such as "starting Ray". A terminal also shows for how long."""
        begun = time.monotonic()
        self._text = lambda: f"{what}… {clock(time.monotonic() - begun)}"
        if self._console.is_terminal:
            self._start()
        else:
            self._print(f"{what}…")
            self._due_at = time.monotonic() + PLAIN_SECONDS

    def show(self, text: Callable[[], str]) -> None:
        """Show a new state if an update is due. Only then is `text` called, in this thread."""
        now = time.monotonic()
        if now < self._due_at:
            return
        self._due_at = now + (LIVE_SECONDS if self._console.is_terminal else PLAIN_SECONDS)
        line = text()
        self._text = lambda: line
        if self._console.is_terminal:
            self._start()
        else:
            self._print(line)

    def counted(self, things: Iterable[Thing], count: int, what: str) -> Iterator[Thing]:
        """Yield things, and show how many of them have come: 3/15 nets trained, 0:12."""
        begun = time.monotonic()
        for done, thing in enumerate(things, 1):
            seconds = time.monotonic() - begun
            self.show(partial("{}/{} {}, {}".format, done, count, what, clock(seconds)))
            yield thing

    def watch(self, text: Callable[[], str]) -> None:
        """On a terminal, let a thread call `text` and show the result. Elsewhere, do nothing."""
        if self._console.is_terminal:
            self._text = text
            self._start()

    def say(self, line: str) -> None:
        """Print a line that stays, above the line that changes."""
        self._print(line)

    def clear(self) -> None:
        """Remove the line until the next `begin` or `show`."""
        if self._live:
            self._live.stop()
            self._live = None

    def let_go(self) -> None:
        """Show the terminal's cursor again before `os._exit`. A signal handler may call this."""
        if self._live:
            os.write(self._screen.fileno(), b"\x1b[?25h\n")

    def _start(self) -> None:
        if not self._live:
            self._live = Live(
                console=self._console,
                refresh_per_second=1 / LIVE_SECONDS,
                get_renderable=self._drawn,
                transient=True,
                redirect_stdout=False,  # other output goes to a log
                redirect_stderr=False,
            )
            self._live.start(refresh=True)

    def _drawn(self) -> Text:
        # Rich would ask the standard streams for the width, but they may be a log now.
        with suppress(OSError):  # the terminal may be gone
            self._console.width = os.get_terminal_size(self._screen.fileno()).columns or 80
        return Text(self.note or self._text())

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, markup=False)


def clock(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss.

    >>> clock(3671)
    '1:01:11'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
