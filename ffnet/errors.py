"""The exceptions for errors that a user can repair."""

LONGEST = 2000
"""Maximum number of characters in an error's message. A longer message loses its middle."""


class InputError(ValueError):
    """Bad input: a study, a flag, a data file or a folder that breaks a rule.

    The message is one line with the rule, the value received, and what to do. A command prints it
    and exits with status 2. Values in it can neither break the line nor control a terminal, because
    characters that cannot be printed are replaced.

    Attributes:
        exit_status: the exit status of a command that ends with this error.
    """

    exit_status = 2

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message, LONGEST))


class RunError(InputError):
    """A run failed although its input was right, for example on a full disk. Exit status 1."""

    exit_status = 1


class StorageError(OSError):
    """A file of a run could not be read or written. The error has the file's name."""


def one_line(text: str, most: int) -> str:
    """A text as one line of printable characters. A text longer than `most` loses its middle."""
    plain = "".join(c if c.isprintable() else _replaced(c) for c in _shortened(text, most))
    return _shortened(plain, most)


def _shortened(text: str, most: int) -> str:
    tail = most // 4
    return text if len(text) <= most else f"{text[: most - tail - 1]}…{text[-tail:]}"


def _replaced(character: str) -> str:
    return " " if character.isspace() else character.encode("unicode_escape").decode()
