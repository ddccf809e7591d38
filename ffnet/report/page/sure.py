"""Whether two accuracies can be told apart: binomial standard errors on the validation part."""

import math

ADDED = 2  # right and wrong answers that are added, so that an accuracy of 1 is not taken for sure


def standard_error(accuracy: float, examples: int) -> float:
    """The binomial standard error of an accuracy, √(p (1 − p) / n).

    Two right and two wrong answers are added first (Agresti and Coull, 1998), because the formula
    gives 0 for an accuracy of 1.

    >>> round(standard_error(0.9, 900), 3)
    0.01
    """
    whole = examples + 2 * ADDED
    share = (accuracy * examples + ADDED) / whole
    return math.sqrt(share * (1 - share) / whole)


def error_of_difference(first: float, second: float, examples: int) -> float:
    """The standard error of the difference of two accuracies on as many examples each.

    Both nets see the same examples, so the true error is a little smaller; the tables do not hold
    which examples a net gets right.
    """
    return math.hypot(standard_error(first, examples), standard_error(second, examples))
