"""The environment variables of this process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def ray_address(given: str | None) -> str | None:
    """The address of the Ray cluster to connect to; None for a private Ray on this machine.

    Args:
        given: the address that the user gives. With None, the value of RAY_ADDRESS, if it is set.
            "local" means a private Ray, as in Ray itself.
    """
    address = given or os.environ.get("RAY_ADDRESS")
    return None if address in ("", "local") else address


@contextmanager
def restored() -> Iterator[None]:
    """Restore the environment after the block. Ray and TensorFlow change it when imported."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
