"""Handles the signals that end a job: delay them, ignore them, or let them interrupt."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@contextmanager
def held_back() -> Iterator[list[int]]:
    """Delay the signals that end a job until the block has ended, so that none interrupts it.

    Yields the list of the delayed signals. It grows when a signal comes; a long block looks at it.
    A signal mask would not work: a thread without the mask would receive the signal, and Python
    would then interrupt the main thread.
    """
    came: list[int] = []
    held = True
    before = {int(number): signal.getsignal(number) for number in wanted()}

    def hold(number: int, _: object) -> None:
        if held:
            came.append(number)
        else:  # the signal came while the handlers were being restored
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
    """From now on, signals that end a job raise KeyboardInterrupt. Ignored signals stay ignored.

    For example, `nohup` ignores SIGHUP.
    """
    for number in wanted():
        signal.signal(number, signal.default_int_handler)


def wanted() -> list[signal.Signals]:
    """The signals that end a job and are not ignored.

    Outside the main thread the list is empty, because only the main thread may set handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in ENDING if signal.getsignal(number) != signal.SIG_IGN]


def ignore() -> None:
    """From now on, signals that end a job do nothing, because the job is already ending."""
    for number in wanted():
        signal.signal(number, lambda *_: None)


def finish() -> None:
    """For the rest of the process, signals that end a job do nothing: its exit status is decided.

    As Python ends, it takes back all handlers but this one, and a signal would then kill the
    process. It must come last, because programs that are started later ignore these signals, too.
    """
    for number in wanted():
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def restored() -> Iterator[None]:
    """Restore the signal handlers after the block."""
    before = {number: signal.getsignal(number) for number in ENDING}
    try:
        yield
    finally:
        if threading.current_thread() is not threading.main_thread():
            before = {}
        for number, handler in before.items():
            signal.signal(number, handler)
