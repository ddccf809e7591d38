"""Chooses the trial to export, and writes the card that describes it. Needs no TensorFlow."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from ffnet.data.encoding import Column
from ffnet.data.text_columns import GAPS
from ffnet.errors import InputError
from ffnet.export.weights import Finder, Weights
from ffnet.nets import layout
from ffnet.nets.inputs import Inputs, inputs_of
from ffnet.run import ranking, recorded, tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row, Status
from ffnet.serving.rest import SIGNATURE
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
        "signature": _signature(choice),
        **(_of_rows(choice) if choice.columns else {}),
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


def input_name(dtype: str) -> str:
    """Return the signature's name for examples of a dtype."""
    return "images" if dtype == "uint8" else "features"


def example(choice: Choice) -> dict[str, Any]:
    """Return a typical row for a table with an encoding: {name of a column: its value in JSON}.

    It has the centre of each column of numbers or dates, and the most frequent categories.
    """
    centres = choice.document["data"]["mean"]
    return {
        column.name: _typical(column, centre)
        for column, centre in zip(choice.columns or (), centres, strict=True)
    }


def _of_rows(choice: Choice) -> dict[str, Any]:
    """Return what the card of a table with an encoding says about rows."""
    return {"example": example(choice), "gap_texts": [*GAPS, *choice.missing]}


def _typical(column: Column, centre: float) -> float | str | None:
    if column.kind == "number":
        return float(f"{centre:.6g}")
    if column.kind == "date":
        return (date(1970, 1, 1) + timedelta(days=round(centre))).isoformat()
    return column.categories[0] if column.categories else None


def _signature(choice: Choice) -> dict[str, Any]:
    """Return names, dtypes and shapes of inputs and outputs. None stands for any number.

    The inputs of a table with an encoding are its columns, with what they hold.
    """
    data = choice.document["data"]
    dtype, shape = data["dtype"], [None, *data["example_shape"]]
    inputs: dict[str, Any] = {input_name(dtype): {"dtype": dtype, "shape": shape}}
    if columns := choice.columns:
        names = input_names(column.name for column in columns)
        inputs = {names[column.name]: _input(column) for column in columns}
    probabilities = {"dtype": "float32", "shape": [None, len(data["classes"])]}
    return {
        "name": SIGNATURE,
        "inputs": inputs,
        "outputs": {
            "probabilities": probabilities,
            "class": {"dtype": "string", "shape": [None]},
        },
    }


def _input(column: Column) -> dict[str, Any]:
    """Return what the card says of the input for a column."""
    number = column.kind == "number"
    gap = "NaN" if number else '""'
    about: dict[str, Any] = {
        "dtype": "float64" if number else "string",
        "shape": [None],
        "column": column.name,
        "kind": column.kind,
        "gap": f"{gap}; null in a request to the server",
    }
    if column.kind == "date":
        about["format"] = "ISO 8601, such as 2024-02-29 or 2024-02-29T12:30:00; UTC"
    if column.kind == "category":
        about["known"] = len(column.categories)
    return about


def input_names(columns: Iterable[str]) -> dict[str, str]:
    """{name of a column: name of its input}.

    They are equal, except where TensorFlow cannot have the column's name: then other characters
    than letters, digits and _ become _. Two inputs never have the same name.
    """
    found: dict[str, str] = {}
    taken = {"self"}
    for column in columns:
        name = plain = re.sub(r"\W", "_", column, flags=re.ASCII)
        if not plain[:1].isalpha():
            name = plain = f"column_{plain}"
        number = 1
        while name.lower() in taken:
            number += 1
            name = f"{plain}_{number}"
        taken.add(name.lower())
        found[column] = name
    return found
