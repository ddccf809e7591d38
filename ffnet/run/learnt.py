"""The trials of an earlier run from which a study learns (`learn_from`).

They are copied into the study's own folder, as learnt.parquet. So a resumed study suggests what it
would have without the break, even if the earlier run has gone.
"""

from collections import Counter
from collections.abc import Iterator

from ffnet.data.dataset import DataSet
from ffnet.errors import InputError
from ffnet.run import recorded, tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row, Status
from ffnet.spec.base import Values
from ffnet.spec.drawn import refuse_other
from ffnet.spec.study import Study
from ffnet.spec.trial import TrialConfig


def gather(study: Study, data: DataSet) -> tuple[list[Row], list[str]]:
    """The trials that a study learns from, and lines about them for the user.

    A trial is left out if the study could not draw its configuration, or if it has no figure.

    Args:
        study: the study; its `learn_from` names the earlier run.
        data: the study's data set.

    Raises:
        InputError: there is no such run, or none of its trials can be learnt.
    """
    place = str(study.tuning.learn_from)
    folder = RunFolder.existing(place)
    document = recorded.read_study_json(folder)
    rows = tables.read(folder.trials)
    learnt, reasons, example = [], Counter[str](), ""
    for row in rows:
        try:
            learnt.append(_learnable(study, document["study"], row))
        except InputError as error:
            reason, _, detail = str(error).partition(": ")
            reasons[reason] += 1
            example = example or (f"; trial {row['trial']}: {detail}" if detail else "")
    left_out = "; ".join(f"{count} {reason}" for reason, count in reasons.items()) + example
    if not learnt:
        raise InputError(
            f"learn_from {place}: none of its {len(rows)} trials can be learnt"
            f"{f' ({left_out})' if left_out else ''}: leave learn_from out, or name another run"
        )
    lines = [f"learns from {len(learnt)} of the {len(rows)} trials of {place}"]
    if left_out:
        lines[0] += f"; left out: {left_out}"
    return learnt, [*lines, *_differences(study, data, document)]


def read(folder: RunFolder) -> list[Row]:
    """The trials that a study that continues has learnt.

    Args:
        folder: the study's folder.

    Raises:
        InputError: learnt.parquet is missing or damaged.
    """
    if not folder.learnt.exists():
        raise InputError(
            f"{folder.learnt}: it is missing, and holds the trials of learn_from; without it the "
            f"study cannot continue: begin a new one with --out"
        )
    return tables.read(folder.learnt, kind=tables.OF_TRIALS)


def write(folder: RunFolder, learnt: list[Row]) -> None:
    """Write the trials into a study's folder."""
    tables.write(folder.learnt, learnt, tables.TRIALS)


def trials(study: Study, learnt: list[Row]) -> Iterator[tuple[TrialConfig, Row]]:
    """(configuration, row) of each learnt trial.

    A trial that trained fewer epochs than those of this study counts as one that was pruned there.
    """
    resolved = study.resolved()
    for row in learnt:
        config = recorded.config(resolved, {k: v for k, v in row.items() if v is not None})
        shorter = row["status"] == Status.DONE and row["epochs"] < study.budget.epochs
        yield config, row | ({"status": Status.PRUNED} if shorter else {})


def _learnable(study: Study, before: Values, row: Row) -> Row:
    """A trial's row with every hyper-parameter. Raises InputError if it cannot be learnt."""
    status = Status(row["status"])
    if not status.has_ended or status == Status.FAILED:
        raise InputError("failed or had not ended")
    if row["parent"] is not None:
        raise InputError("took over weights of another trial (pbt)")
    metric = study.tuning.metric
    if row[f"best_{metric}"] is None and status != Status.DIVERGED:
        raise InputError(f"had no {metric}")
    config = recorded.config(before, row)
    try:
        refuse_other(study, config)
    except InputError as error:
        raise InputError(f"had values that this study does not draw: {error}") from None
    return row | config.hyperparameters()


def _differences(study: Study, data: DataSet, document: Values) -> Iterator[str]:
    """Notes about what makes the earlier run's figures less fit to learn from."""
    place, before = study.tuning.learn_from, document["study"]
    if document["data"]["sha256"] != data.digest:
        yield f"note: the data of {place} are other data than this study's"
    epochs = before.get("epochs") or before["budget"]["epochs"]
    if epochs > study.budget.epochs:
        yield (
            f"note: the trials of {place} trained up to {epochs} epochs and those of this study "
            f"train {study.budget.epochs}, so its figures may be out of their reach"
        )
