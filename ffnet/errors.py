"""The exceptions for what a person can mend."""

LONGEST = 2000
"""Characters of an error's message; a longer one loses its middle."""


class InputError(ValueError):
    """Bad input: a study, a flag, a data file or a folder that breaks a rule.

    The message is one line: the rule, the value received, and what to do. Command lines print it
    and exit with status 2. What a file or a flag put into the message can neither break the line
    nor command a terminal.

    Attributes:
        exit_status: of a command that ends with the error.
    """

    exit_status = 2

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message, LONGEST))


class RunError(InputError):
    """A run that could not go on although its input was right, as when its disk is full."""

    exit_status = 1


class StorageError(OSError):
    """A file of a run could not be read or written; the error has its name."""


def one_line(text: str, most: int) -> str:
    """A text as one line of printable characters; what is longer than `most` loses its middle."""
    plain = "".join(c if c.isprintable() else _replaced(c) for c in _shortened(text, most))
    return _shortened(plain, most)


def _shortened(text: str, most: int) -> str:
    tail = most // 4
    return text if len(text) <= most else f"{text[: most - tail - 1]}…{text[-tail:]}"


def _replaced(character: str) -> str:
    return " " if character.isspace() else character.encode("unicode_escape").decode()
