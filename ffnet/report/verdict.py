"""Says which of two runs is better, and in plain words how sure that is."""

from dataclasses import dataclass

from ffnet.run import intervals

CHANCE = 1 - intervals.CONFIDENCE
"""A lead that luck alone gives with a higher probability is no evidence."""


@dataclass(frozen=True)
class Pairs:
    """The trials with the same seed and the same values of all searched fields in two runs.

    Attributes:
        difference: validation accuracy in the first run minus that in the second run, each at the
            last epoch that both trials have reported: the mean and its 95 % t interval.
        higher, lower: how many trials are better in the first run, and in the second run.
    """

    difference: intervals.Estimate
    higher: int
    lower: int


@dataclass(frozen=True)
class Verdict:
    """Which of two runs is better. The best of the first run is at least as good.

    Attributes:
        first, second: the runs' names.
        difference: accuracy of the first run's best minus that of the second run's best.
        low, high: the difference's interval.
        ahead, trials: how many of the first run's trials are better than the second run's best, and
            how many trials it has.
        chance: the probability p of such a lead if both runs were the same study: see `compare`.
        pairs: their common configurations; None if there are none.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    ahead: int
    trials: int
    chance: float
    pairs: Pairs | None

    @property
    def better_net(self) -> bool:
        """Whether the first run's best net is better, beyond the chance of the examples."""
        return self.low > 0

    @property
    def better_study(self) -> bool:
        """Whether the first run is better, beyond the chance of the examples and of the search."""
        return self.better_net and self.chance < CHANCE

    def line(self) -> str:
        """The verdict in a sentence."""
        a, b, lead = self.first, self.second, f"higher by {self.difference:.4f}"
        if self.difference == 0:
            lead = "equal to that of the other"
        size = f"95 % interval {self.low:.4f} to {self.high:.4f}"
        ahead = f"{self.ahead} of its {self.trials} trials beat the best of {b}"
        if self.better_study:
            return (
                f"{a} is better than {b}: its best is {lead} ({size}), and {ahead} (p = {self.p})"
            )
        if self.better_net:
            return (
                f"{a} and {b} cannot be told apart as studies: the best net of {a} is better, "
                f"{lead} ({size}), but {ahead}, which luck alone does with p = {self.p}"
            )
        return f"{a} and {b} cannot be told apart: the best of {a} is {lead} ({size})"

    @property
    def p(self) -> str:
        """The chance as text."""
        return f"{self.chance:.2g}" if self.chance >= 0.0001 else "below 0.0001"

    def pairs_line(self) -> str:
        """What the common configurations show, in a sentence."""
        pair = f"{self.first} and {self.second}"
        if not self.pairs:
            return f"common configurations of {pair}: none"
        found = self.pairs.difference
        equal = found.count - self.pairs.higher - self.pairs.lower
        begin = f"common configurations of {pair}: {found.count}"
        if equal == found.count:
            return f"{begin}, with equal accuracies"
        size = (
            "" if found.low is None else f" (95 % t interval {found.low:.4f} to {found.high:.4f})"
        )
        return (
            f"{begin}, mean difference {found.mean:+.4f}{size}: {self.pairs.higher} better in "
            f"{self.first}, {self.pairs.lower} better in {self.second}, {equal} equal"
        )
