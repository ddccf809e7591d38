"""Counts how often each trial lost its worker, and knows which trials are given up."""

from collections import Counter

LOST_RETRIES = 3
"""How often a trial continues on a new worker after its worker died."""


class Losses:
    """The only counter of lost workers. Ray Tune does not repeat trials (max_failures = 0).

    Attributes:
        reasons: trial number → why the trial is given up. Such a trial will not run again.
    """

    def __init__(self) -> None:
        self._lost: Counter[int] = Counter()
        self.reasons: dict[int, str] = {}

    def count(self, number: int) -> None:
        """Count that a trial's worker died. At the fourth death, give the trial up."""
        self._lost[number] += 1
        if self._lost[number] > LOST_RETRIES:
            self.give_up(number, f"its worker was lost {self._lost[number]} times: see ray.log")

    def give_up(self, number: int, reason: str) -> None:
        """Never run the trial again. If it was given up before, the first reason stays."""
        self.reasons.setdefault(number, reason)

    def gave_up(self, number: int) -> bool:
        """Whether a trial is given up."""
        return number in self.reasons
