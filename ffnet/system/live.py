"""A line that says what is being done: it changes on a terminal, elsewhere lines come now and then.

with output.screen() as screen, LiveLine(screen) as live:
    live.begin("starting Ray")       # at once, and a clock beside it
    ...
    live.show(lambda: "3/32 trials") # as often as it is due
    live.say("trial 3 has ended")    # a line that stays
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

LIVE_SECONDS, PLAIN_SECONDS = 0.25, 10.0
"""Seconds between two states that are shown: on a terminal, and elsewhere."""


class LiveLine:
    """Shows what a command does. A thread keeps the line of a terminal moving.

    Attributes:
        note: a text that takes the line's place on a terminal; None for none. To set it is safe in
            a handler of signals, in which nothing may be printed.
    """

    def __init__(self, screen: TextIO) -> None:
        """Nothing is shown yet.

        Args:
            screen: where to show it; what else goes there must wait for `clear`.
        """
        self.note: str | None = None
        self._screen = screen
        self._console = Console(file=screen, highlight=False)
        if self._console.is_jupyter:  # its streams say that they are terminals: plain lines there
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
        """Say at once what begins, such as "starting Ray"; a terminal also shows for how long."""
        begun = time.monotonic()
        self._text = lambda: f"{what}… {clock(time.monotonic() - begun)}"
        if self._console.is_terminal:
            self._start()
        else:
            self._print(f"{what}…")
            self._due_at = time.monotonic() + PLAIN_SECONDS

    def show(self, text: Callable[[], str]) -> None:
        """Show a state when it is time to: `text` is called in this thread, and only then."""
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

    def say(self, line: str) -> None:
        """Show a line that stays, above the one that changes."""
        self._print(line)

    def clear(self) -> None:
        """Take the line away, until the next `begin` or `show`."""
        if self._live:
            self._live.stop()
            self._live = None

    def let_go(self) -> None:
        """Give the terminal its cursor back before `os._exit`; safe in a handler of signals."""
        if self._live:
            os.write(self._screen.fileno(), b"\x1b[?25h\n")

    def _start(self) -> None:
        if not self._live:
            self._live = Live(
                console=self._console,
                refresh_per_second=1 / LIVE_SECONDS,
                get_renderable=self._drawn,
                transient=True,
                redirect_stdout=False,  # what else is printed goes to a log
                redirect_stderr=False,
            )
            self._live.start(refresh=True)

    def _drawn(self) -> Text:
        with suppress(OSError):  # the terminal is gone; Rich asks streams that may be a log now
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
