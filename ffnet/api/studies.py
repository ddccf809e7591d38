"""`ffnet.tune`, which runs a study from Python."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ffnet.api import notes
from ffnet.api.run import Run
from ffnet.data.given import as_given
from ffnet.data.load import load
from ffnet.errors import InputError, RunError
from ffnet.report.message import study_ended
from ffnet.run.begin import as_begun, begin, holds_a_study, new_place
from ffnet.run.folder import RunFolder
from ffnet.run.hold import held
from ffnet.run.study_files import found, is_of_run, name_of, read_study
from ffnet.spec.base import Values
from ffnet.spec.relevance import relevant
from ffnet.spec.sections import Data
from ffnet.spec.study import Study
from ffnet.spec.validation import validated
from ffnet.system import notify, scratch
from ffnet.system.live import LiveLine
from ffnet.tuning import guests


def tune(
    study: "str | Path | Mapping[str, Any] | Study",
    *,
    out: str | Path | None = None,
    data: Any = None,
    target: str | None = None,
    resume: bool = False,
    retry_failed: bool = False,
    address: str | None = None,
) -> Run:
    """Run a study until it ends, and return its run.

    A Ray that the process has initialised is used and left running. Otherwise a private Ray starts
    on this machine and stops when the study ends. Afterwards, the streams, signal handlers,
    environment and loggers of the process are as before.

    Ctrl-C stops the study cleanly: trials save their state, and then `KeyboardInterrupt` is raised.
    With `resume=True` the study continues. If Ray's processes are killed, this process ends too,
    after the tables are written. Notes about the data are given as warnings.

    Args:
        study: a TOML file, the study.json of a run, the name of one of ffnet's own studies
            ("digits"), a dict with the same values, or a `Study`.
        out: folder or URI (s3://, gs://) of the results. With None, a new folder in runs/.
        data: arrays (x, y), a DataFrame or Table, or a dict of parts, instead of the study's data
            set: see `ffnet.data.given`.
        target: the column of `data` that holds the labels.
        resume: whether to continue the study in `out`, if there is one.
        retry_failed: whether failed trials are trained again. It needs `resume`.
        address: address of a Ray cluster. With None, the value of RAY_ADDRESS, if it is set.

    Returns:
        The run.

    Raises:
        InputError: the study, the data or the folder break a rule; the message says which.
        RunError: no trial finished, or the run could not be written.
        KeyboardInterrupt: a signal stopped the study.

    Example:
        >>> run = ffnet.tune({"space": {"learning_rate": {"log_uniform": [1e-3, 1.0]}}})
        >>> run.best()["learning_rate"]
    """
    if resume and out is None:
        raise InputError("resume needs out, the folder of the run that continues")
    if retry_failed and not resume:
        raise InputError("retry_failed needs resume: a new study has no failed trials")
    whole = _validated(study, str(out) if resume else None)
    if target is not None:
        section = validated(Data, whole.data.model_dump() | {"target": target}, "data")
        whole = whole.model_copy(update={"data": section})
    if data is not None:
        whole = whole.model_copy(update={"data": as_given(whole.data)})
    where = guests.ray_of(address)
    if where is None:
        scratch.base()
    scratch.clear_killed()
    dataset = load(whole.data, data)
    notes.warn(dataset, frames=1)
    with held(RunFolder.at(out or new_place(whole.name))) as hold, LiveLine(sys.stdout) as live:
        folder = hold.folder
        past = begin(folder, whole, dataset, resume, retry_failed)
        for line in (dataset.describe(), *past.notes):
            live.say(line)
        live.say(f"{whole.trials} trials of up to {whole.budget.epochs} epochs → {folder}")
        with guests.unchanged(), notify.told(lambda: study_ended(folder), live.say):
            try:
                from ffnet.tuning.driver import run_study  # imports Ray: seconds

                recorder = run_study(whole, dataset, where, past, hold, live, guest=True)
            except RunError:
                raise
            except BaseException:
                folder.discard()
                raise
    if recorder.interrupted:
        advice = f"continue with out={folder.place!r}, resume=True"
        raise KeyboardInterrupt(f"{recorder.stopping}; {advice}")
    recorder.writer.refuse_given_up("resume=True")
    if not recorder.writer.finished():
        counts = recorder.writer.counts()
        states = ", ".join(f"{n} {status}" for status, n in counts.items()) or "none began"
        raise RunError(
            f"no trial finished: {states}; ffnet.Run({folder.place!r}).trials() has the reasons"
        )
    return Run(folder.place)


def _validated(study: Any, resumed: str | None) -> Study:
    """The validated study. For a resume, fields that are left out get the run's values."""
    values: Values
    if isinstance(study, Study):  # validate again: the newest rules apply to what a user gives
        study = study.model_dump(exclude_unset=True)
    if isinstance(study, Mapping):
        source, values, recorded = "the study", dict(study), False
    elif isinstance(study, str | os.PathLike):
        source = found(os.fspath(study))
        values, recorded = {"name": name_of(source), **read_study(source)}, is_of_run(source)
    else:
        raise InputError(
            f"a study is a path, a name, a dict or an ffnet.Study. Given: {type(study).__name__}"
        )
    if resumed is not None and holds_a_study(resumed):
        values, recorded = as_begun(relevant(values), resumed)[0], True
    return validated(Study, values, source, recorded=recorded)
