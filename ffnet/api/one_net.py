"""One net, trained without a tuner: what `ffnet.train` and the command `ffnet train` share."""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ffnet.data.dataset import DataSet
from ffnet.run import checkpoints, provenance, storage
from ffnet.run.hold import Hold
from ffnet.run.rows import Rows, place
from ffnet.run.tables import Status
from ffnet.run.writer import Writer
from ffnet.spec.sections import Tuning
from ffnet.spec.study import OneNet

if TYPE_CHECKING:
    from ffnet.training.loop import Report
    from ffnet.training.trainer import Trainer

THEN = "export it from there, or move it"


@contextmanager
def written(one: OneNet, data: DataSet, threads: int, hold: Hold | None) -> Iterator[Rows]:
    """Keep the net's run in the folder that is held, also when the block is interrupted.

    Args:
        one: what is trained.
        data: its data set.
        threads: TensorFlow's threads; how numbers are summed depends on them.
        hold: this process's hold on the folder, which must be empty; with None nothing is kept.

    Yields:
        The rows of the run.

    Raises:
        InputError: the folder is not empty, or cannot be written.
        RunError: the run could not be written into its folder at the end; it says where it is.
    """
    if not hold:
        yield Rows(Tuning())
        return
    folder = hold.folder
    folder.begin()
    document = provenance.new_study_json(one.model_dump(mode="json"), data, threads)
    storage.write_json(folder.study, document)
    writer = Writer(hold, Tuning())
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
    rows: Rows, one: OneNet, trainer: "Trainer", reports: "Iterable[Report]"
) -> "Iterator[Report]":
    """Pass a net's reports on, each when it stands in the rows and its weights are kept.

    Args:
        rows: get the reports; a `Writer` gets the weights too.
        one: what is trained.
        trainer: trains it.
        reports: what `training.loop.train` yields.
    """
    config, here = one.trial_config(), place()
    rows.begin(config)
    for report in reports:
        rows.report(config.number, report.measured() | here)
        if isinstance(rows, Writer):
            if not report.diverged:
                file = io.BytesIO()
                checkpoints.write(file, report.step, [], trainer.variables)
                rows.checkpoint(config.number, file.getbuffer())
            rows.write_when_due()
        yield report
    if report.diverged:
        reason = f"loss {report.train_loss:g} after step {report.step}"
        rows.end(config.number, Status.DIVERGED, reason)
    else:
        rows.end(config.number, Status.DONE)


def tested(rows: Rows, trainer: "Trainer") -> "tuple[float, float]":
    """Evaluate the net on the test part and put the figures into its row: accuracy and loss."""
    assert trainer.data.test  # every data set has three parts
    test = trainer.evaluate(trainer.data.test)
    rows.put(0, {"test_accuracy": test.accuracy, "test_loss": test.loss})
    return test.accuracy, test.loss
