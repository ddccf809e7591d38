"""The headline: what was searched, what won, how sure that is, and what it cost."""

from typing import NamedTuple

from ffnet.report.page import words
from ffnet.report.page.facts import Facts
from ffnet.report.page.parts import confirmed
from ffnet.report.page.sure import error_of_difference
from ffnet.run import intervals
from ffnet.run.confirm import Confirmed
from ffnet.run.tables import Row, Status


class Answer(NamedTuple):
    """A question and its answer in a sentence or two."""

    question: str
    text: str


def headline(facts: Facts) -> list[Answer]:
    """The four answers at the top of the page, in words that need no knowledge of the field."""
    return [
        Answer("What was searched", _searched(facts)),
        Answer("What won", _won(facts)),
        Answer("How sure", _sure(facts)),
        Answer("What it cost", _cost(facts)),
    ]


def _searched(facts: Facts) -> str:
    begun = len(facts.rows)
    if facts.study is None:
        return f"One net was trained on {words.sizes(facts.data)}; nothing was searched."
    tuning = facts.study.tuning
    ways = {
        "random": "at random",
        "grid": "from a grid",
        "qmc": "by Sobol points",
        "tpe": "by the TPE sampler",
        "gp": "by a Gaussian process",
        "cmaes": "by CMA-ES",
    }
    fields = facts.searched
    return (
        f"{words.count(begun, 'net')} of {facts.study.trials:,} planned, on "
        f"{words.sizes(facts.data)}. They differ in {words.count(len(fields), 'setting')}: "
        f"{words.listed(fields)}, chosen {ways[tuning.search]}."
    )


def _won(facts: Facts) -> str:
    best = facts.best
    if best is None:
        return "No net yet: " + (
            "no trial has begun." if not facts.rows else "no trial has a figure that counts."
        )
    value = facts.value(best)
    assert value is not None
    epoch = best[f"best_{facts.metric}_epoch"]
    names = facts.searched or ["hidden_sizes", "learning_rate"]
    figure = f"{facts.metric_name} {words.figure(value)}"
    at = f" after {epoch:.4g} of {facts.epochs:,} epochs" if epoch is not None else ""
    return f"Trial {best['trial']} with {figure}{at}: {words.configuration(best, names)}."


def _sure(facts: Facts) -> str:
    best, examples = facts.best, facts.validation_examples
    if best is None:
        return "There is nothing to be sure of yet."
    if (found := confirmed(facts)) is not None and found.chosen is not None:
        return _confirmed(found, best)
    accuracy = _accuracy_of(best, facts)
    if accuracy is None or examples is None:
        how = " `ffnet confirm` trains the best configurations again." if facts.study else ""
        return f"The run does not say how many validation examples there are.{how}"
    low, high = intervals.accuracy(accuracy, examples)
    text = (
        f"Validation accuracy {accuracy:.4f}; {words.count(examples, 'validation example')} leave "
        f"{low:.4f} to {high:.4f} for other examples of the same kind (Wilson, 95 %)."
    )
    tie = tied(facts)
    if tie is not None:
        text += f" It cannot be told apart from trial {tie['trial']}, the second best."
    if len(facts.sound) > 1:
        text += (
            " The best of many trials looks a little better than it is, because it was chosen by "
            "this figure."
        )
    return text + (" `ffnet confirm` measures it on the test part." if facts.study else "")


def _confirmed(found: Confirmed, best: Row) -> str:
    """The result of `ffnet confirm`, which is surer than the study's own figures."""
    text = f"Trained again from {words.count(found.seeds, 'fresh seed')}, "
    if found.chosen != best["trial"]:
        text += f"not trial {best['trial']} but "
    text += f"trial {found.chosen} is the best on the validation part."
    if found.test is not None:
        text += f" Its test accuracy is {found.test.mean:.4f}"
        if interval := found.test.within():
            text += f", 95 % interval {interval[0]:.4f} to {interval[1]:.4f}"
        text += "."
    if found.runner_up is not None and not found.told_apart:
        text += f" It cannot be told apart from trial {found.runner_up}."
    if found.ensemble and found.ensemble.test_accuracy is not None:
        nets = words.count(len(found.ensemble.members), "net")
        text += f" An ensemble of {nets} has {found.ensemble.test_accuracy:.4f}"
        if interval := found.ensemble.interval:
            text += f", {interval[0]:.4f} to {interval[1]:.4f}"
        text += " on the test part."
    return text


def tied(facts: Facts) -> Row | None:
    """The second best trial, if the best cannot be told apart from it; otherwise None.

    It cannot if their validation accuracies differ by less than two binomial standard errors of
    the difference. With another metric, nothing is said: the tables hold no deviation of it.
    """
    if len(facts.sound) < 2 or facts.metric != "val_accuracy" or not facts.validation_examples:
        return None
    first, second = (facts.value(row) or 0.0 for row in facts.sound[:2])
    error = error_of_difference(first, second, facts.validation_examples)
    return facts.sound[1] if first - second <= 2 * error else None


def _accuracy_of(row: Row, facts: Facts) -> float | None:
    """The validation accuracy of a trial's best report by the study's metric."""
    if facts.metric == "val_accuracy":
        return facts.value(row)
    report = facts.best_report(row)
    accuracy: float | None = report["val_accuracy"] if report else None
    return accuracy


def _cost(facts: Facts) -> str:
    if not facts.rows:
        return "Nothing yet."
    each = [f"{n:,} {status}" for status in Status if (n := facts.counts[status])]
    trained = sum(row["train_seconds"] or 0.0 for row in facts.rows)
    epochs = sum(row["epochs"] or 0.0 for row in facts.rows)
    nodes = len({row["node"] for row in facts.rows if row["node"]})
    where = f" on {words.count(nodes, 'machine')}" if nodes else ""
    return (
        f"{words.count(len(facts.rows), 'trial')} ({', '.join(each)}) in "
        f"{words.duration(facts.wall_seconds())}{where}: {epochs:,.4g} epochs, "
        f"{words.duration(trained)} of training."
    )
