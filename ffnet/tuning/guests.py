"""Leaves the process of a script or a notebook unchanged after it has called ffnet."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ffnet.errors import InputError
from ffnet.system import environment


@contextmanager
def unchanged() -> Iterator[None]:
    """Restore the environment and `sys.excepthook` after the block.

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
    """In the block, Ray's loggers of this process write to the file `log`, not to the screen.

    After the block, the loggers are as before.
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
    """The names of the existing loggers below the logger `name`."""
    return [other for other in logging.root.manager.loggerDict if other.startswith(f"{name}.")]


def ray_of(address: str | None) -> str | None:
    """The address of Ray. None for the Ray of this process, or for a private Ray."""
    initialised = "ray" in sys.modules and sys.modules["ray"].is_initialized()
    if initialised and address:
        raise InputError(
            f"this process is connected to a Ray already: leave address out, or call "
            f"ray.shutdown() first. Given: {address}"
        )
    return None if initialised else environment.ray_address(address)
