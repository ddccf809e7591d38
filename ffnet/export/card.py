"""Chooses the trial to export, and writes the card that describes it. Needs no TensorFlow."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ffnet.data.encoding import Column
from ffnet.data.text_columns import GAPS
from ffnet.errors import InputError
from ffnet.export.signature import example, signature
from ffnet.export.weights import Finder, Weights
from ffnet.nets import layout
from ffnet.nets.inputs import Inputs, inputs_of
from ffnet.run import ranking, recorded, tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row, Status
from ffnet.spec.net import MUTABLE
from ffnet.spec.sections import METRICS, Tuning
from ffnet.spec.trial import TrialConfig

NEEDED = {"name", "sizes", "classes", "example_shape", "dtype", "mean", "std"}
"""The keys of study.json's "data" that an export needs."""
WEIGHTS = "a checkpoint with the weights of a report"
LISTED = 10  # a message names at most so many trials


@dataclass(frozen=True)
class Choice:
    """A trial to export.

    Attributes:
        run: the run of the trial.
        document: the content of the run's study.json.
        row: the trial's row of trials.parquet.
        weights: the trial's weights, and the report that belongs to them.
        why: how the trial was chosen.
        note: why this is not the best epoch of the run's best trial, or "" if it is.
    """

    run: RunFolder
    document: dict[str, Any]
    row: Row
    weights: Weights
    why: str
    note: str = ""

    @property
    def report(self) -> Row:
        """The report that belongs to the weights, with its epoch and its validation figures."""
        return self.weights.report

    @property
    def config(self) -> TrialConfig:
        """The trial's configuration. With pbt, the one with which the weights were trained."""
        then = {n: v for n, v in self.report.items() if n in MUTABLE and v is not None}
        return recorded.config(self.document["study"], self.row | then)

    @property
    def columns(self) -> tuple[Column, ...] | None:
        """The columns of a table with an encoding; None for other data."""
        encoding = self.document["data"].get("encoding")
        return tuple(map(Column.of, encoding)) if encoding else None

    @property
    def max_categories(self) -> int:
        """The study's field."""
        found: int = self.document["study"]["data"]["max_categories"]
        return found

    @property
    def missing(self) -> tuple[str, ...]:
        """The study's field: texts that stood for a gap in the data."""
        return tuple(self.document["study"]["data"].get("missing", ()))

    @property
    def inputs(self) -> Inputs:
        """What the net gets for an example."""
        features = math.prod(self.document["data"]["example_shape"])
        return inputs_of(features, self.columns, self.max_categories, self.config.net)

    def out(self, wanted: Path | None) -> Path:
        """Return the model's folder; its name is the model's name.

        Args:
            wanted: the folder that the user named. With None it is a folder of the run.

        Raises:
            InputError: the wanted folder's name cannot be part of a URL.
        """
        if wanted is None:
            name = self.document["study"].get("name") or self.document["data"]["name"]
            name = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.")
            return self.run.export(name or "net")
        name = wanted.resolve().name
        if not re.fullmatch(r"[\w.-]+", name, re.ASCII):
            raise InputError(
                f"--out names the model: only letters, digits, '.', '_' and '-'. Given: {name!r}"
            )
        return wanted


def kept(run: RunFolder) -> tuple[list[Choice], list[str]]:
    """(the trials of a run whose weights are kept, the best first; why others are left out).

    A trial's weights are those that `choose` takes for it. Damaged weights are left out, and those
    of a report that the tables do not have.

    Raises:
        InputError: no trial's weights are kept, all are damaged, or study.json lacks a key.
    """
    document, rows = _document(run), tables.read(run.trials)
    tuning = ranking.tuning_of(document["study"], str(run.study))
    finder, found, damages = Finder(run, tuning), {}, []
    for row in rows:
        try:
            if weights := finder.of(row):
                choice = Choice(run, document, row, weights, "kept by its study")
                _refuse_another_net(choice)
                found[row["trial"]] = choice
            elif run.checkpoint(row["trial"]).exists():
                raise InputError("its weights belong to no report of the tables")
        except InputError as error:
            damages.append(left_out(row["trial"], error))
    if not found:
        reason = f", and {damages[0]}" if damages else ""
        raise InputError(
            f"an ensemble needs a trial with {WEIGHTS}. Given: a run without any{reason}"
        )
    reports = [choice.report for choice in found.values()]
    best = ranking.best_first(reports, tuning, prefix="")
    return [found[report["trial"]] for report in best], damages


def left_out(trial: int, why: InputError) -> str:
    """Say that an ensemble cannot have a trial. The error's advice for one net is not repeated."""
    return f"trial {trial} is left out: {str(why).partition('; ')[0]}"


def choose(run: RunFolder, trial: str | None) -> Choice:
    """Choose the weights to export: those of the best epoch of the best trial.

    The best trial is the first row of `ffnet table`, by the study's metric. If the weights of its
    best report were not kept, as in runs of earlier versions, the best report counts among the
    weights that were kept, which are those after a trial's last report.

    Args:
        run: the run.
        trial: a trial's number. With None, the best trial.

    Raises:
        InputError: there is no such trial, its weights are not kept or are damaged, or study.json
            lacks a key.
    """
    document = _document(run)
    rows = tables.read(run.trials)
    tuning = ranking.tuning_of(document["study"], str(run.study))
    finder = Finder(run, tuning)
    if trial is not None:
        row, why = recorded.trial(rows, trial), "named with --trial"
        weights = finder.of(row)
        if weights is None:
            raise _without_weights(row["trial"], rows, finder)
        note = "" if weights.best else _not_its_best(row, weights, tuning)
    else:
        row, weights, why, note = _best(rows, finder, tuning)
    choice = Choice(run, document, row, weights, why, note)
    _refuse_another_net(choice)
    return choice


def _best(rows: list[Row], finder: Finder, tuning: Tuning) -> tuple[Row, Weights, str, str]:
    """Return the trial to export, its weights, how it was chosen, and the note."""
    best = "highest" if tuning.mode == "max" else "lowest"
    first = ranking.best(rows, tuning)
    if first and (weights := _found(finder.best, first)):
        return first, weights, f"{best} best_{tuning.metric} of {_trials(len(rows))}", ""
    found = {row["trial"]: weights for row in rows if (weights := _found(finder.of, row))}
    if not found:
        raise InputError(f"a run must have {WEIGHTS} to export. Given: a run without any")
    reports = [weights.report for weights in found.values()]
    number = ranking.best_first(reports, tuning, prefix="")[0]["trial"]
    why = f"{best} {tuning.metric} of {_trials(len(found))} with weights that can be exported"
    row, weights = recorded.trial(rows, str(number)), found[number]
    return row, weights, why, _not_the_first(first, found, weights, tuning) if first else ""


def _trials(count: int) -> str:
    return f"{count} trial{'' if count == 1 else 's'}"


def _found(find: Callable[[Row], Weights | None], row: Row) -> Weights | None:
    try:
        return find(row)
    except InputError as error:
        raise InputError(f"{error}; name another trial with --trial") from None


def _document(run: RunFolder) -> dict[str, Any]:
    document = recorded.read_study_json(run)
    if missing := NEEDED - document["data"].keys():
        raise InputError(
            f'{run.study}: "data" must have {", ".join(sorted(missing))}, which early versions of '
            f"ffnet did not write; run the study again"
        )
    return document


def _refuse_another_net(choice: Choice) -> None:
    """Raise InputError unless the weights have as many inputs and outputs as study.json says.

    Weights that do not fit the trial's layers are refused later, when the net takes them.
    """
    net, data = choice.config.net, choice.document["data"]
    features, classes = choice.inputs.width, len(data["classes"])
    shapes = [array.shape for array in choice.weights.saved.arrays]
    names = [each.name for each in layout.weights(choice.inputs, classes, net)]
    ends = [names.index(name) for name in ("w1", f"w{len(net.hidden_sizes) + 1}")]
    kernels = [shapes[i] for i in ends if i < len(shapes) and len(shapes[i]) == 2]
    if len(kernels) < 2:
        return
    inputs, outputs = kernels[0][0], kernels[1][1]
    where = f"the net of trial {choice.row['trial']}"
    if features != inputs:
        raise InputError(
            f"{choice.run.study}: data.example_shape: must be {inputs} numbers, as {where} "
            f"has so many inputs. Given: {data['example_shape']}"
        )
    if classes != outputs:
        raise InputError(
            f"{choice.run.study}: data.classes: must be {outputs} names, as {where} has so "
            f"many outputs. Given: {classes}"
        )


def _not_the_first(first: Row, found: dict[int, Weights], chosen: Weights, tuning: Tuning) -> str:
    """Say why the best epoch of the table's first trial is not exported."""
    metric, trial, number = tuning.metric, first["trial"], chosen.report["trial"]
    if trial == number:
        return _not_its_best(first, chosen, tuning)
    why = "it has no checkpoint that can be exported"
    if not Status(first["status"]).has_ended:
        why += " (its study runs, or was killed: --resume)"
    if own := found.get(trial):
        why = f"only its weights after its last report are kept, with {_figure(own, metric)}"
    return (
        f"trial {trial} is first in the table ({_best_of(first, metric)}), but {why}: exporting "
        f"trial {number}, with {_figure(chosen, metric)}"
    )


def _not_its_best(row: Row, weights: Weights, tuning: Tuning) -> str:
    """Say that a trial's last weights are exported, not those of its best report."""
    return (
        f"the weights of trial {row['trial']} at its best report ({_best_of(row, tuning.metric)}) "
        f"are not kept (earlier versions of ffnet kept none): exporting those after its last "
        f"report, with {_figure(weights, tuning.metric)}"
    )


def _best_of(row: Row, metric: str) -> str:
    value = row[f"best_{metric}"]
    return f"best_{metric} {'null' if value is None else format(value, '.4f')}"


def _figure(weights: Weights, metric: str) -> str:
    value = weights.report[metric]
    return f"{metric} {'null' if value is None else format(value, '.4f')}"


def _without_weights(trial: int, rows: list[Row], finder: Finder) -> InputError:
    others = sorted(row["trial"] for row in rows if _can_be_found(finder, row))
    listed = ", ".join(map(str, others if len(others) <= LISTED else [*others[:LISTED], "…"]))
    return InputError(
        f"--trial must have {WEIGHTS}; these trials do: {listed or 'none'}. Given: {trial}"
    )


def _can_be_found(finder: Finder, row: Row) -> bool:
    try:
        return finder.of(row) is not None
    except InputError:  # damaged
        return False


def card(choice: Choice) -> dict[str, Any]:
    """Return the card of an exported net as JSON: what a person needs to know to use the net."""
    document, row, report = choice.document, choice.row, choice.report
    tested = report["epoch"] == row["epochs"]  # the test part is evaluated after the last report
    data, asked = document["data"], document["study"]["data"]
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "signature": signature(data, choice.columns),
        **(_of_rows(choice, choice.columns) if choice.columns else {}),
        **{metric: report.get(metric) for metric in METRICS},
        **{name: row[name] if tested else None for name in tables.TEST},
        "measured": "all these figures belong to these weights; null: not measured",
        "data": {n: v for n, v in data.items() if n not in ("source", "mean", "std")},
        "split": {n: v for n, v in asked.items() if n not in ("dataset", "data_dir")},
        "hyperparameters": choice.config.hyperparameters(),
        "seed": row["seed"],
        "epochs": report["epoch"],
        "run": choice.run.name,
        "trial": row["trial"],
        "parent": report.get("parent", row["parent"]),
        "status": row["status"],
        "chosen": choice.why,
        "note": choice.note or None,
        "commit": document["commit"],
        "versions": document["versions"],
    }


def _of_rows(choice: Choice, columns: tuple[Column, ...]) -> dict[str, Any]:
    """Return what the card of a table with an encoding says about rows."""
    centres = choice.document["data"]["mean"]
    return {"example": example(columns, centres), "gap_texts": [*GAPS, *choice.missing]}
