"""The progress: lines in a log, a line that changes on a terminal."""

import io
import os
import pty
from collections.abc import Iterator
from contextlib import suppress

import pytest

from conftest import wait_for
from ffnet.system import live
from ffnet.system.live import LiveLine, clock


def test_elsewhere_a_beginning_is_a_line_at_once_and_a_state_waits_until_it_is_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = io.StringIO()
    with LiveLine(screen) as line:
        line.begin("starting Ray")
        line.show(lambda: "1/8 trials")
        assert screen.getvalue() == "starting Ray…\n"
        monkeypatch.setattr(live, "PLAIN_SECONDS", 0.0)
        line.begin("starting [red]Ray")  # no markup of Rich
        line.show(lambda: f"{'2/8 trials':>200}")
        line.say("trial 3 is ended")
    assert screen.getvalue().splitlines()[1:] == [
        "starting [red]Ray…", f"{'2/8 trials':>200}", "trial 3 is ended",
    ]  # fmt: skip


class Terminal:
    """A terminal whose output the test reads."""

    def __init__(self) -> None:
        self.other, number = pty.openpty()
        os.set_blocking(self.other, False)
        self.file = os.fdopen(number, "w")
        self.seen = ""

    def shows(self, text: str) -> bool:
        with suppress(BlockingIOError):
            self.seen += os.read(self.other, 65536).decode()
        return text in self.seen


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm")
    made = Terminal()
    yield made
    made.file.close()
    os.close(made.other)


def test_a_terminal_shows_what_was_begun_a_note_of_a_signal_and_lines_that_stay(
    terminal: Terminal,
) -> None:
    with LiveLine(terminal.file) as line:
        line.begin("starting Ray")
        wait_for(lambda: terminal.shows("starting Ray… 0:00"))
        wait_for(lambda: terminal.shows("starting Ray… 0:01"))  # by its own thread
        line.show(lambda: "1/8 trials")
        wait_for(lambda: terminal.shows("1/8 trials"))
        line.say("trial 3 is ended")
        wait_for(lambda: terminal.shows("trial 3 is ended\r\n"))
        line.note = "stopping now…"
        wait_for(lambda: terminal.shows("stopping now…"))
    wait_for(lambda: terminal.shows("\x1b[?25h"))  # the cursor is back


def test_a_process_that_ends_at_once_gives_the_cursor_back(terminal: Terminal) -> None:
    line = LiveLine(terminal.file)
    line.let_go()
    line.begin("starting Ray")
    wait_for(lambda: terminal.shows("starting Ray…"))
    assert "\x1b[?25h" not in terminal.seen
    line.let_go()
    wait_for(lambda: terminal.shows("\x1b[?25h\r\n"))
    line.clear()


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3671, "1:01:11")])
def test_a_clock_counts_minutes_then_hours(seconds: float, text: str) -> None:
    assert clock(seconds) == text
