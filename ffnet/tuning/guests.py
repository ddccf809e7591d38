"""A study in a process that belongs to somebody else: a script or a notebook that calls ffnet."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ffnet.system import environment


@contextmanager
def unchanged() -> Iterator[None]:
    """After the block the environment and the hook for exceptions are as before.

    Ray changes both when it is imported.
    """
    hook = sys.excepthook
    with environment.restored():
        try:
            yield
        finally:
            sys.excepthook = hook


@contextmanager
def logged(log: Path) -> Iterator[None]:
    """In the block, what Ray logs in this process goes to a file, and nothing of it to the screen.

    Afterwards its loggers are as before.
    """
    loggers = [logging.getLogger(name) for name in ("ray", *_below("ray"))]
    before = [(logger.level, logger.handlers[:], logger.propagate) for logger in loggers]
    to_file = logging.FileHandler(log, encoding="utf-8", errors="backslashreplace", delay=True)
    for logger in loggers:
        logger.handlers[:] = []
        logger.propagate = True
    loggers[0].addHandler(to_file)
    loggers[0].propagate = False
    try:
        yield
    finally:
        to_file.close()
        for logger, (level, handlers, propagate) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.handlers[:], logger.propagate = handlers, propagate


def _below(name: str) -> list[str]:
    """The names of the loggers below one, as far as they exist."""
    return [other for other in logging.root.manager.loggerDict if other.startswith(f"{name}.")]
