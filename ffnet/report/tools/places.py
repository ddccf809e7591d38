"""What the exports to other programs have in common: their errors, databases, and passwords."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ffnet.errors import InputError, RunError

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


@contextmanager
def in_one_line(place: str) -> Iterator[None]:
    """In the block, every error of another program's client becomes a RunError in one line.

    The clients raise errors of many kinds: their own, and those of databases and of networks. The
    flag --debug shows the original error.

    Args:
        place: where the export goes, for the message. Its password is not shown.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = getattr(error, "orig", None) or error  # the database's own words
        raise RunError(f"{without_password(place)}: {without_password(reason)}") from error


def check_database(flag: str, url: str) -> None:
    """Check that a database can be opened. The clients themselves would try for minutes.

    Args:
        flag: the flag with the URL, for messages.
        url: the database's URL, such as sqlite:///study.db.

    Raises:
        InputError: it is no URL of a database, the database's driver is not installed, or the
            database would be in memory and lost at once.
        RunError: the database cannot be opened.
    """
    import sqlalchemy

    rule, given = f"{flag} must be a URL such as sqlite:///study.db", without_password(url)
    try:
        parsed = sqlalchemy.make_url(url)
        in_memory = parsed.database in (None, "", ":memory:")
        if parsed.get_backend_name() == "sqlite" and in_memory:
            raise InputError(f"{rule}: a database in memory would be lost. Given: {given}")
        engine = sqlalchemy.create_engine(parsed)
    except ImportError as error:
        raise InputError(
            f"{flag} needs the database's driver {error.name}: install it. Given: {given}"
        ) from None
    except sqlalchemy.exc.ArgumentError as error:
        raise InputError(f"{rule}. Given: {given} ({without_password(error)})") from None
    with in_one_line(url), engine.connect():
        pass
    engine.dispose()


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
