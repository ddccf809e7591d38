"""Trains one net without a tuner, for `ffnet.train` and for the command `ffnet train`."""

import io
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ffnet.data.dataset import DataSet
from ffnet.run import checkpoints, provenance, storage
from ffnet.run.hold import Hold
from ffnet.run.improvement import Improvement
from ffnet.run.rows import Rows, place
from ffnet.run.sessions import Session
from ffnet.run.tables import Status
from ffnet.run.writer import Writer
from ffnet.spec.study import OneNet
from ffnet.spec.trial import TrialConfig

if TYPE_CHECKING:
    from ffnet.training.loop import Report
    from ffnet.training.trainer import Trainer

THEN = "export the net from there, or move the folder"


@contextmanager
def written(one: OneNet, data: DataSet, threads: int, hold: Hold | None) -> Iterator[Rows]:
    """Write the net's run into a folder, even if the block is interrupted.

    Args:
        one: the net.
        data: its data set.
        threads: number of TensorFlow's threads. Rounding depends on it, and the ledger counts so
            many cores.
        hold: gives this process the right to write into the folder, which must be empty. With
            None, nothing is written.

    Yields:
        The rows of the run, to be filled in the block.

    Raises:
        InputError: the folder is not empty, or cannot be written.
        RunError: the run could not be written into its folder at the end. It says where the run is.
    """
    if not hold:
        yield Rows(one.tuning)
        return
    folder = hold.folder
    folder.begin()
    document = provenance.new_study_json(one.model_dump(mode="json"), data, threads)
    storage.write_json(folder.study, document)
    session = Session.beginning(document, slots=1, cpus=threads)
    session.trials_at = datetime.now(UTC)  # the trainer is ready
    writer = Writer(hold, one.tuning, session=session)
    try:
        yield writer
    except BaseException:
        if writer.reports:
            writer.finish("stopped by a signal or an error", THEN)
        else:
            folder.discard()
        raise
    writer.finish("", THEN)


def trained(
    rows: Rows, one: OneNet, config: TrialConfig, trainer: "Trainer", reports: "Iterable[Report]"
) -> "Iterator[Report]":
    """Put each report into the rows, and then yield it. End early if the net becomes no better.

    Args:
        rows: the rows of the run. A `Writer` also saves the weights at each report, and apart from
            them those of the best report.
        one: the net.
        config: the net as a trial with its path.
        trainer: the net's trainer.
        reports: the reports that `training.loop.train` yields.
    """
    here, improvement = place(), Improvement(one.tuning)
    rows.begin(config)
    for report in reports:
        now = {"trial": config.number} | report.measured() | here
        rows.report(config.number, now)
        improvement.add(now)
        saving = time.perf_counter()
        if isinstance(rows, Writer):
            if not report.diverged:
                file = io.BytesIO()
                checkpoints.write(file, report.step, [now], trainer.variables)
                rows.checkpoint(config.number, file.getbuffer(), best=improvement.best is now)
            rows.write_when_due()
        spent = {"report_seconds": time.perf_counter() - saving}
        rows.spend(config.number, spent, ["report_seconds"])
        yield report
        if report.diverged:
            reason = f"loss {report.train_loss:g} after step {report.step}"
            rows.end(config.number, Status.DIVERGED, reason)
            return
        if report.epoch < config.epochs and improvement.ended:
            rows.end(config.number, Status.DONE, improvement.ended)
            return
    rows.end(config.number, Status.DONE)


def tested(rows: Rows, trainer: "Trainer") -> "tuple[float, float]":
    """Evaluate the net on the test part, and put the figures into its row.

    Returns:
        (accuracy from 0 to 1, loss in nats).
    """
    assert trainer.data.test  # every data set has three parts
    test = trainer.evaluate(trainer.data.test)
    rows.put(0, test.figures("test"))
    return test.accuracy, test.loss
