"""How often each trial was lost with its worker, and which trials are given up."""

from collections import Counter

LOST_RETRIES = 3
"""How often a trial is begun again after its worker died."""


class Losses:
    """The one counter of lost workers. Ray Tune itself begins no trial again (max_failures = 0).

    Attributes:
        reasons: trial number → why it is given up, for trials that are not begun again.
    """

    def __init__(self) -> None:
        self._lost: Counter[int] = Counter()
        self.reasons: dict[int, str] = {}

    def count(self, number: int) -> None:
        """The worker of a trial died; after the fourth time the trial is given up."""
        self._lost[number] += 1
        if self._lost[number] > LOST_RETRIES:
            self.give_up(number, f"its worker was lost {self._lost[number]} times: see ray.log")

    def give_up(self, number: int, reason: str) -> None:
        """The trial is not begun again. The first reason stays."""
        self.reasons.setdefault(number, reason)

    def gave_up(self, number: int) -> bool:
        """Whether a trial is not begun again."""
        return number in self.reasons
