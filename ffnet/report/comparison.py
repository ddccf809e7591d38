"""What a comparison of runs has found, as figures and in plain words. `compare` computes it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from ffnet.report.text import escaped, render
from ffnet.run import intervals
from ffnet.run.tables import Row
from ffnet.spec.base import Values

CHANCE = 1 - intervals.CONFIDENCE
"""A lead that luck alone gives with a higher probability is no evidence."""


@dataclass(frozen=True)
class Better:
    """A report with a higher validation accuracy than all earlier reports of its run.

    Attributes:
        seconds, core_seconds: from the run's beginning until the report; core_seconds is None if
            it is not known.
        accuracy: the validation accuracy.
    """

    seconds: float
    core_seconds: float | None
    accuracy: float


@dataclass(frozen=True)
class Compared:
    """One run in a comparison.

    Attributes:
        name: the run's name, or its place if names are not unique.
        accuracy: validation accuracy of its best net; None if no trial has reported.
        low, high: the accuracy's 95 % interval.
        metric: the study's metric, by which its best net was chosen.
        value: the best net's figure by this metric; None like `accuracy`.
        trial: number of its best trial.
        counts: number of trials by status, in words.
        epochs: epochs that all trials together have trained.
        wall_seconds, core_seconds: what the run cost, as in its ledger; None if not known.
        reached: accuracy → (seconds, core-seconds) from the run's beginning until a report had it.
            None if no report had it, or if a time is not known. Trials that diverged or failed do
            not count.
        progress: the reports that were better than all before, in the order of time.
        note: why the cost is not known; None if it is.
        runs: whether the study has not ended.
    """

    name: str
    accuracy: float | None
    low: float | None
    high: float | None
    metric: str
    value: float | None
    trial: int | None
    counts: str
    epochs: float
    wall_seconds: float | None
    core_seconds: float | None
    reached: Mapping[float, tuple[float | None, float | None] | None]
    progress: Sequence[Better]
    note: str | None
    runs: bool


@dataclass(frozen=True)
class Pair:
    """A trial of the first run and a trial of the second run with the same configuration.

    Attributes:
        trials: their numbers.
        epoch: the last epoch that both have reported.
        accuracies: their validation accuracies at this epoch.
    """

    trials: tuple[int, int]
    epoch: float
    accuracies: tuple[float, float]


@dataclass(frozen=True)
class Pairs:
    """The trials with the same seed and the same values of all searched fields in two runs.

    Attributes:
        difference: validation accuracy in the first run minus that in the second run, each at the
            last epoch that both trials have reported: the mean and its 95 % t interval.
        higher, lower: how many trials are better in the first run, and in the second run.
        each: the pairs, by the number of the first run's trial.
    """

    difference: intervals.Estimate
    higher: int
    lower: int
    each: Sequence[Pair]


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


@dataclass(frozen=True)
class Comparison:
    """Runs side by side, as `ffnet.compare` returns them.

    Example:
        >>> found = ffnet.compare("runs/asha", "runs/hyperband")
        >>> found.verdicts[0].better_study
        True
        >>> found.report("compared.html")

    Attributes:
        runs: the runs, in the order in which they were given.
        verdicts: the run with the best net against each of the others. Empty if fewer than two runs
            have a figure.
        data: the section `data` of the first run's study.json.
        examples: number of examples in the validation part.
        levels: the accuracies of `Compared.reached`.
    """

    runs: Sequence[Compared]
    verdicts: Sequence[Verdict]
    data: Values
    examples: int
    levels: Sequence[float]

    def table(self) -> pa.Table:
        """A row for each run. A value that is not known, or not reached, is null.

        Columns: run, best_val_accuracy with its 95 % interval low to high, best_trial, trials by
        status in words, epochs, wall_seconds, core_seconds, and for each level of accuracy
        seconds_to_… and core_seconds_to_….
        """
        times = [
            (f"{figure}_to_{level:g}", level, at)
            for level in self.levels
            for at, figure in enumerate(("seconds", "core_seconds"))
        ]
        schema = pa.schema(
            [
                ("run", pa.string()), ("best_val_accuracy", pa.float64()), ("low", pa.float64()),
                ("high", pa.float64()), ("best_trial", pa.int32()), ("trials", pa.string()),
                ("epochs", pa.float64()), ("wall_seconds", pa.float64()),
                ("core_seconds", pa.float64()), *((name, pa.float64()) for name, *_ in times),
            ]
        )  # fmt: skip
        rows = [
            {
                "run": run.name, "best_val_accuracy": run.accuracy, "low": run.low,
                "high": run.high, "best_trial": run.trial, "trials": run.counts,
                "epochs": run.epochs, "wall_seconds": run.wall_seconds,
                "core_seconds": run.core_seconds,
            }
            | {name: (run.reached[level] or (None, None))[at] for name, level, at in times}
            for run in self.runs
        ]  # fmt: skip
        return pa.Table.from_pylist(rows, schema)

    def markdown(self) -> str:
        """The figures as a table in Markdown, and the lines as a list."""
        names = ["", *(run.name for run in self.runs)]
        table = render(self.figures(), names, "markdown")
        return "\n".join([table, "", *(f"- {escaped(line)}" for line in self.lines())])

    def report(self, out: str | Path) -> Path:
        """Write the page of the comparison: one HTML file, which needs no network.

        Args:
            out: the file.

        Returns:
            The page's path.

        Raises:
            InputError: the file cannot be written.
        """
        from ffnet.report.page import page, several  # here, because Plotly takes a second

        path = Path(out)
        page.write(several.SeveralRuns(self), path)
        return path

    def figures(self) -> list[Row]:
        """A row for each figure, with a text for each run.

        The name of the figure is under the key "".
        """
        rows: list[Row] = [
            {"": "best val_accuracy"} | {run.name: _text(run.accuracy, 4) for run in self.runs},
            {"": "95 % interval"} | {run.name: _interval(run) for run in self.runs},
            *self._other_metrics(),
            {"": "best trial"} | {run.name: _number(run.trial) for run in self.runs},
            {"": "trials"} | {run.name: run.counts for run in self.runs},
            {"": "epochs"} | {run.name: _text(run.epochs, 1) for run in self.runs},
            {"": "wall seconds"} | {run.name: _text(run.wall_seconds, 1) for run in self.runs},
            {"": "core-seconds"} | {run.name: _text(run.core_seconds, 1) for run in self.runs},
        ]
        for level in self.levels:
            reached = {run.name: run.reached[level] for run in self.runs}
            for figure, at in (("seconds", 0), ("core-seconds", 1)):
                texts = {n: _text(v[at], 1) if v else "never" for n, v in reached.items()}
                rows.append({"": f"{figure} to {level:g}"} | texts)
        return rows

    def _other_metrics(self) -> Iterator[Row]:
        """A row for each metric besides val_accuracy by which a run has chosen its best net."""
        for metric in dict.fromkeys(run.metric for run in self.runs):
            if metric != "val_accuracy":
                texts = {
                    run.name: _text(run.value if run.metric == metric else None, 4)
                    for run in self.runs
                }
                yield {"": f"best {metric}"} | texts

    def lines(self) -> list[str]:
        """What the comparison shows, a line each."""
        about = f"accuracies are those on the {self.examples:,} validation examples"
        return [*self.notes(), *self._verdicts(), about]

    def notes(self) -> Iterator[str]:
        """What is missing, a line each."""
        for run in self.runs:
            if run.accuracy is None:
                yield f"{run.name} has no trial that has reported and neither diverged nor failed"
            elif run.runs:
                yield f"{run.name} has not ended: its figures are those until now"
            if run.note:
                yield f"the cost of {run.name} is not known: {run.note}"

    def _verdicts(self) -> Iterator[str]:
        for verdict in self.verdicts:
            yield verdict.line()
            yield verdict.pairs_line()


def _number(trial: int | None) -> str:
    return "" if trial is None else str(trial)


def _text(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _interval(run: Compared) -> str:
    return "" if run.low is None else f"{run.low:.4f} to {run.high:.4f}"
