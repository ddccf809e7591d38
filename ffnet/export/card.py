"""Chooses the trial to export, and writes the card that describes it. Needs no TensorFlow."""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ffnet.errors import InputError
from ffnet.run import checkpoints, ranking, recorded, tables
from ffnet.run.folder import RunFolder
from ffnet.run.storage import File
from ffnet.run.tables import Row
from ffnet.serving.rest import SIGNATURE
from ffnet.spec.net import MUTABLE
from ffnet.spec.sections import Tuning
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
        report: the trial's last row of epochs.parquet, which belongs to the weights. Its key
            `shapes` holds the shapes of the checkpoint's arrays.
        why: how the trial was chosen.
        note: why the first trial of the run's table was not chosen, or "" if it was.
    """

    run: RunFolder
    document: dict[str, Any]
    row: Row
    report: Row
    why: str
    note: str = ""

    @property
    def config(self) -> TrialConfig:
        """The trial's configuration."""
        return recorded.config(self.document["study"], self.row)

    @property
    def checkpoint(self) -> File:
        """The file with the trial's weights."""
        return self.run.checkpoint(self.row["trial"])

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
    """Choose the trial to export.

    Args:
        run: the run.
        trial: a trial's number. With None, the trial with the best last report is chosen, by the
            study's metric, among those that can be exported. The last report counts because a
            checkpoint holds the weights after it; those of a better, earlier epoch are lost.

    Raises:
        InputError: there is no such trial, its weights cannot be exported, or study.json lacks a
            key.
    """
    document = _document(run)
    rows = tables.read(run.trials)
    usable = _reports_of_weights(run, rows, trial)
    if trial is None:
        tuning = ranking.tuning_of(document["study"], str(run.study))
        report, why = _best(usable, tuning)
        note = _not_the_first(rows, usable, report, tuning)
    else:
        report = _named(recorded.trial(rows, trial)["trial"], usable)
        why, note = "named with --trial", ""
    choice = Choice(run, document, recorded.trial(rows, str(report["trial"])), report, why, note)
    _refuse_another_net(choice)
    return choice


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
    net, data, shapes = choice.config.net, choice.document["data"], choice.report["shapes"]
    last = len(net.hidden_sizes) * (1 + net.bias + 2 * net.batch_norm)
    kernels = [shapes[i] for i in (0, last) if i < len(shapes) and len(shapes[i]) == 2]
    if len(kernels) < 2:
        return
    inputs, outputs = kernels[0][0], kernels[1][1]
    features, classes = math.prod(data["example_shape"]), len(data["classes"])
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


def _reports_of_weights(run: RunFolder, rows: list[Row], wanted: str | None) -> list[Row]:
    """Return the report that belongs to each checkpoint's weights, sorted by trial.

    A checkpoint without a report is left out. Its weights are not finite, or are newer than the
    table, or belong to another trial (pbt copied them as the study ended).

    Raises:
        InputError: the checkpoint of the wanted trial is damaged, or any checkpoint is damaged and
            no trial is wanted.
    """
    saved = {r["trial"]: r for r in rows if run.checkpoint(r["trial"]).exists()}
    steps, shapes = {}, {}
    for trial in saved:
        try:
            loaded = checkpoints.load(run.checkpoint(trial))
            steps[trial], shapes[trial] = loaded.step, [array.shape for array in loaded.arrays]
        except InputError as error:
            if wanted in (None, str(trial)):
                raise InputError(f"{error}; name another trial with --trial") from None
    same = ("parent", *MUTABLE)
    columns = ["trial", "step", "epoch", "val_accuracy", "val_loss", *same]
    found = [
        report | {"status": saved[report["trial"]]["status"], "shapes": shapes[report["trial"]]}
        for report in tables.read(run.epochs, columns)
        if report["step"] == steps.get(report["trial"])
        and report["val_loss"] is not None
        and all(report[name] == saved[report["trial"]][name] for name in same)
    ]
    return sorted(found, key=lambda report: report["trial"])


def _best(usable: list[Row], tuning: Tuning) -> tuple[Row, str]:
    """Return the best report, and a sentence that says why it is the best."""
    if not usable:
        raise InputError(f"a run must have {WEIGHTS} to export. Given: a run without any")
    best = "highest" if tuning.mode == "max" else "lowest"
    return (
        ranking.best_first(usable, tuning, prefix="")[0],
        f"{best} last_{tuning.metric} of {len(usable)} trials that can be exported",
    )


def _not_the_first(rows: list[Row], usable: list[Row], chosen: Row, tuning: Tuning) -> str:
    """Say why the first trial of the table is not exported, or "" if it is."""
    first = ranking.best_first(rows, tuning)[0]
    if first["trial"] == chosen["trial"]:
        return ""
    metric, trial = tuning.metric, first["trial"]
    last = next((report[metric] for report in usable if report["trial"] == trial), None)
    why = "it has no checkpoint that can be exported"
    if last is not None:
        why = f"its weights are those after its last report, with {metric} {last:.4f}"
    return (
        f"trial {trial} is first in the table (best_{metric} {first[f'best_{metric}']:.4f}), but "
        f"{why}: exporting trial {chosen['trial']}, with {chosen[metric]:.4f}"
    )


def _named(trial: int, usable: list[Row]) -> Row:
    for report in usable:
        if report["trial"] == trial:
            return report
    others = [str(report["trial"]) for report in usable]
    listed = ", ".join(others if len(others) <= LISTED else [*others[:LISTED], "…"])
    raise InputError(
        f"--trial must have {WEIGHTS}; these trials do: {listed or 'none'}. Given: {trial}"
    )


def card(choice: Choice) -> dict[str, Any]:
    """Return the card of an exported net as JSON: what a person needs to know to use the net."""
    document, row, report = choice.document, choice.row, choice.report
    data, asked = document["data"], document["study"]["data"]
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "signature": _signature(data),
        "last_val_accuracy": report["val_accuracy"],
        "last_val_loss": report["val_loss"],
        "test_accuracy": row["test_accuracy"],
        "test_loss": row["test_loss"],
        "measured": "all four figures belong to these weights; null: not measured",
        "data": {n: v for n, v in data.items() if n not in ("source", "mean", "std")},
        "split": {n: v for n, v in asked.items() if n not in ("dataset", "data_dir")},
        "hyperparameters": choice.config.hyperparameters(),
        "seed": row["seed"],
        "epochs": report["epoch"],
        "run": choice.run.name,
        "trial": row["trial"],
        "parent": row["parent"],
        "status": row["status"],
        "chosen": choice.why,
        "commit": document["commit"],
        "versions": document["versions"],
    }


def input_name(dtype: str) -> str:
    """Return the signature's name for examples of a dtype."""
    return "images" if dtype == "uint8" else "features"


def _signature(data: dict[str, Any]) -> dict[str, Any]:
    """Return names, dtypes and shapes of inputs and outputs. None stands for any number."""
    dtype, shape = data["dtype"], [None, *data["example_shape"]]
    probabilities = {"dtype": "float32", "shape": [None, len(data["classes"])]}
    return {
        "name": SIGNATURE,
        "inputs": {input_name(dtype): {"dtype": dtype, "shape": shape}},
        "outputs": {
            "probabilities": probabilities,
            "class": {"dtype": "string", "shape": [None]},
        },
    }
