"""What the exports to other programs have in common: missing extras, passwords, and collisions."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ffnet.errors import InputError

Progress = Callable[[int, int], None]
"""Is called with the number of trials that have been exported, and the number of all trials."""


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """In the block, an import that fails becomes an InputError that names ffnet's extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(
            f"this export needs the package {error.name}, which is not installed: install ffnet's "
            f"extra with pip install 'ffnet[{extra}]'"
        ) from None


def already_there(name: str, where: str) -> InputError:
    """The error for a second export of the same run to the same place."""
    return InputError(
        f"{where} has {name} already: it is never changed; remove it there, or choose another "
        f"name with --name"
    )


def without_password(text: object) -> str:
    """A text in which the passwords of URLs are replaced.

    >>> without_password("no answer from https://ada:secret@mlflow.example/api")
    'no answer from https://ada:***@mlflow.example/api'
    """
    return re.sub(r"(://[^/\s:@]*):[^/\s]*@", r"\1:***@", str(text))
