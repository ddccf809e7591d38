"""The signals that end a job, and how they wait."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@contextmanager
def held_back() -> Iterator[list[int]]:
    """Signals that end a job wait until the block has ended: for code that none may interrupt.

    Gives the list of the signals that wait, which grows as they come: long code looks at it.
    A signal mask would not do: a thread without it takes the signal, and Python then interrupts
    the main thread.
    """
    came: list[int] = []
    held = True
    before = {int(number): signal.getsignal(number) for number in wanted()}

    def hold(number: int, _: object) -> None:
        if held:
            came.append(number)
        else:  # a signal that came while the handlers were set back has left this one
            signal.signal(number, before[number])
            signal.raise_signal(number)

    try:
        with restored():
            try:
                for number in before:
                    signal.signal(number, hold)
                yield came
            finally:
                held = False
    finally:
        for sign in came:
            signal.raise_signal(sign)


def interrupt() -> None:
    """From now on, signals that end a job raise KeyboardInterrupt, but for those that are ignored.

    A parent ignores some for good: `nohup` ignores SIGHUP.
    """
    for number in wanted():
        signal.signal(number, signal.default_int_handler)


def wanted() -> list[signal.Signals]:
    """The signals that end a job and that are not ignored; none outside the main thread.

    Python allows handlers of signals to be set in the main thread alone.
    """
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in ENDING if signal.getsignal(number) != signal.SIG_IGN]


def ignore() -> None:
    """From now on, signals that end a job do nothing: it ends already."""
    for number in wanted():
        signal.signal(number, lambda *_: None)


@contextmanager
def restored() -> Iterator[None]:
    """After the block, the handlers are as before it."""
    before = {number: signal.getsignal(number) for number in ENDING}
    try:
        yield
    finally:
        if threading.current_thread() is not threading.main_thread():
            before = {}
        for number, handler in before.items():
            signal.signal(number, handler)
