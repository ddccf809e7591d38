"""The one exception for what a person can mend."""


class InputError(ValueError):
    """Bad input: a study, a flag, a data file or a folder that breaks a rule.

    The message is one line: the rule, the value received, and what to do. Command lines print it
    and exit with status 2 (`ffnet.command.main`).
    """
