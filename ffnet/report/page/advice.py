"""Warnings that an expert would give, computed from the tables."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from ffnet.report.page import words
from ffnet.report.page.facts import Facts
from ffnet.report.page.headline import tied
from ffnet.report.page.parts import confirmed
from ffnet.report.page.sure import error_of_difference
from ffnet.run.tables import Row, Status

NEAR = 0.02  # a value in the first or last 2 % of its range lies on the range's bound
OVERFITS = 2.0  # a validation loss so many times the training loss …
NATS = 0.05  # … and so much above it, is far above it
SEPARATES = 0.75  # balanced accuracy from which a rule tells where trials diverged

LEAST = {"hidden_sizes": 1, "batch_size": 1, "number_embedding_size": 2, "number_frequencies": 1}
"""Field → its least value (number_embedding_size: of pbld), so its range cannot be widened below; 0
for all others."""
MOST = {"momentum": 1.0, "dropout": 1.0, "augment_rotate": 180.0}
"""Field → a value at or above which its range cannot be widened."""


class Advice(NamedTuple):
    """A warning: what is the case, and what to do about it."""

    key: str
    title: str
    text: str


def advice(facts: Facts, study: optuna.Study) -> list[Advice]:
    """The warnings that hold for a run, the most important first.

    Args:
        facts: the run.
        study: the same run as an Optuna study.
    """
    found: list[Advice] = [*_diverged(facts, study), *_failed(facts)]
    best = facts.best
    if best is not None:
        found += [
            *_tie(facts), *_on_bounds(best, study.trials[best["trial"]]), *_last_epoch(facts, best),
            *_overfits(facts, best),
        ]  # fmt: skip
    return found


def _tie(facts: Facts) -> Iterator[Advice]:
    second = tied(facts)
    if second is None or confirmed(facts) is not None:  # a confirmation knows better
        return
    first, other = (facts.value(row) or 0.0 for row in facts.sound[:2])
    examples = facts.validation_examples or 1
    apart = 2 * error_of_difference(first, other, examples)
    yield Advice(
        "tie",
        "The top two cannot be told apart",
        f"Trials {facts.sound[0]['trial']} and {second['trial']} reached {first:.4f} and "
        f"{other:.4f}. The difference, {first - other:.4f}, is not above two binomial "
        f"standard errors of it, {apart:.4f}, on {words.count(examples, 'validation example')}. "
        f"`ffnet confirm` trains both again from fresh seeds and compares them.",
    )


def _on_bounds(best: Row, trial: Any) -> Iterator[Advice]:
    for name, distribution in sorted(trial.distributions.items()):
        bound = _bound(name, trial.params[name], distribution, _least(name, best))
        if bound:
            side, low, high = bound
            given = words.value(trial.params[name])
            way = "smaller" if side == "lower" else "larger"
            yield Advice(
                "bound",
                f"The winner lies on the {side} bound of {name}",
                f"Trial {best['trial']} has {name} {given}, and the space offers "
                f"{words.of_range(low, high)}. The best value may lie outside: offer {way} values.",
            )


def _field(name: str) -> str:
    return name.partition(".")[0].partition("/")[0]


def _least(name: str, best: Row) -> int:
    """The least value of a parameter with which the best trial's configuration is possible."""
    if name.endswith(".depth") and (best["residual"] or best["bottleneck"]):
        return 2
    return LEAST.get(_field(name), 0)


def _bound(name: str, value: Any, distribution: Any, least: int) -> tuple[str, float, float] | None:
    """The bound on which a value lies, and the space's lowest and highest value."""
    if isinstance(distribution, CategoricalDistribution):
        choices = distribution.choices
        if len(choices) < 3 or not all(type(choice) in (int, float) for choice in choices):
            return None
        low, high, at = min(choices), max(choices), float("nan")
        at = {low: 0.0, high: 1.0}.get(value, 0.5)
    elif isinstance(distribution, FloatDistribution | IntDistribution):
        low, high = distribution.low, distribution.high
        if low == high:
            return None
        scale = math.log if distribution.log else float
        at = (scale(value) - scale(low)) / (scale(high) - scale(low))
        if isinstance(distribution, IntDistribution) and low < value < high:
            at = 0.5
    else:
        return None
    if at <= NEAR and low > least:
        return "lower", low, high
    most = MOST.get(_field(name), math.inf)
    return ("upper", low, high) if at >= 1 - NEAR and high < most else None


def _last_epoch(facts: Facts, best: Row) -> Iterator[Advice]:
    epoch, trained = best[f"best_{facts.metric}_epoch"], best["epochs"]
    if epoch is None or trained is None or epoch < trained or len(facts.of_trial) == 0:
        return
    status = Status(best["status"])
    so_far = f"Trial {best['trial']} was best at its last report, epoch {epoch:.4g}"
    what = {
        Status.DONE: ", the end of its training. It may still improve: train longer (--epochs).",
        Status.STOPPED: ", when the study was stopped. Resume the study.",
        Status.PRUNED: ", and the scheduler then stopped it. It may still improve: stop trials "
        "later (--grace-epochs), or train it alone.",
    }
    if status in what:
        yield Advice("last epoch", "The best epoch is the last", so_far + what[status])


def _overfits(facts: Facts, best: Row) -> Iterator[Advice]:
    report = facts.best_report(best)
    if report is None or report["train_loss"] is None or report["val_loss"] is None:
        return
    train, validation = report["train_loss"], report["val_loss"]
    if validation >= OVERFITS * train and validation - train >= NATS:
        yield Advice(
            "overfits",
            "The winner fits the training part far better",
            f"At its best epoch, trial {best['trial']} has training loss {train:.4f} and "
            f"validation loss {validation:.4f}. It learns the training examples by heart: try more "
            f"dropout, more weight decay, smaller nets or more data.",
        )


def _failed(facts: Facts) -> Iterator[Advice]:
    failed = sorted(
        (row for row in facts.rows if row["status"] == Status.FAILED), key=lambda r: r["trial"]
    )
    if failed:
        first = failed[0]
        reason = (first["reason"] or "no reason is recorded").rstrip(".: ")
        yield Advice(
            "failed",
            f"{words.count(len(failed), 'trial')} failed",
            f"The first is trial {first['trial']}: {reason}. "
            f"The folder errors of the run has the tracebacks.",
        )


def _diverged(facts: Facts, study: optuna.Study) -> Iterator[Advice]:
    ended = [row for row in facts.rows if Status(row["status"]).has_ended]
    lost = {row["trial"] for row in ended if row["status"] == Status.DIVERGED}
    if not ended or len(lost) * 2 <= len(ended):
        return
    others = {row["trial"] for row in ended} - lost
    where = _where([t for t in study.trials if t.number in lost | others], lost)
    yield Advice(
        "diverged",
        "Over half of the trials diverged",
        f"The loss of {len(lost):,} of {words.count(len(ended), 'ended trial')} became infinite or "
        f"not a number. {where}",
    )


def _where(trials: Sequence[Any], lost: set[int]) -> str:
    """Where in the space trials diverged: the one rule on one parameter that tells it best."""
    rules = [
        rule
        for name in sorted({name for trial in trials for name in trial.params})
        for rule in _rules(name, [t for t in trials if name in t.params], lost)
    ]
    best = max(rules, key=lambda rule: rule[0], default=None)
    if best is None or best[0] < SEPARATES:
        return "They are spread over the space: lower the learning rate of all."
    return best[1]


def _rules(name: str, trials: Sequence[Any], lost: set[int]) -> Iterator[tuple[float, str]]:
    """(balanced accuracy, sentence) for each rule: one side of a threshold, or one choice."""
    bad = [t.params[name] for t in trials if t.number in lost]
    good = [t.params[name] for t in trials if t.number not in lost]
    if not bad or not good:
        return
    if all(type(value) in (int, float) for value in (*bad, *good)):
        for limit in sorted(set(bad)):
            for sign, side in ((1, "or more"), (-1, "or less")):
                inside = [[sign * v >= sign * limit for v in values] for values in (bad, good)]
                yield _rule(f"{name} {limit:.4g} {side}", *inside)
        return
    for choice in dict.fromkeys(bad):
        inside = [[v == choice for v in values] for values in (bad, good)]
        yield _rule(f"{name} {words.value(choice)}", *inside)


def _rule(where: str, bad: Sequence[bool], good: Sequence[bool]) -> tuple[float, str]:
    balanced = (sum(bad) / len(bad) + 1 - sum(good) / len(good)) / 2
    inside, outside = sum(bad) + sum(good), len(bad) + len(good) - sum(bad) - sum(good)
    return balanced, (
        f"With {where}, {sum(bad):,} of {inside:,} diverged; elsewhere "
        f"{len(bad) - sum(bad):,} of {outside:,}. Leave that part of the space out."
    )
