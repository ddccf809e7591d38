"""A study from Python: `ffnet.tune`."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ffnet.api.run import Run
from ffnet.data.given import as_given
from ffnet.data.load import load
from ffnet.errors import InputError, RunError
from ffnet.run.begin import as_begun, begin, holds_a_study, new_place
from ffnet.run.folder import RunFolder
from ffnet.run.hold import held
from ffnet.run.study_files import found, is_of_run, name_of, read_study
from ffnet.spec.base import Values
from ffnet.spec.relevance import relevant
from ffnet.spec.sections import Data
from ffnet.spec.study import Study
from ffnet.spec.validation import validated
from ffnet.system import scratch
from ffnet.system.environment import ray_address
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
    """Run a study to its end, and give its run back.

    A Ray that the process has initialised is used and left running. Otherwise a private Ray starts
    on this machine and stops with the study. Streams, signal handlers, environment and loggers of
    the process are afterwards as they were. Ctrl-C stops the study in order: trials save their
    state, and `KeyboardInterrupt` is raised when all of it is written; `resume=True` goes on.
    When Ray's own processes are killed, Ray ends this process too; the tables are written before.

    Args:
        study: a TOML file, the study.json of a run, the name of a study that comes with ffnet
            ("digits"), the same values as a dict, or a `Study`.
        out: folder or URI (s3://, gs://) of the results. With None, a new folder in runs/.
        data: arrays (x, y), a DataFrame or Table, or a dict of parts, instead of the study's data
            set: see `ffnet.data.given`.
        target: the column of `data` that holds the labels.
        resume: whether to go on with the study in `out`, if it holds one.
        retry_failed: whether trials of it that failed are trained again.
        address: address of a Ray cluster to connect to. With None, `$RAY_ADDRESS` if it is set.

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
        raise InputError("resume needs out: the folder of the run to go on with")
    if retry_failed and not resume:
        raise InputError("retry_failed goes with resume: a new study has no failed trials")
    whole = _validated(study, str(out) if resume else None)
    if target is not None:
        section = validated(Data, whole.data.model_dump() | {"target": target}, "data")
        whole = whole.model_copy(update={"data": section})
    if data is not None:
        whole = whole.model_copy(update={"data": as_given(whole.data)})
    where = _address(address)
    if where is None:
        scratch.base()
    scratch.clear_killed()
    dataset = load(whole.data, data)
    with held(RunFolder.at(out or new_place(whole.name))) as hold, LiveLine(sys.stdout) as live:
        folder = hold.folder
        past = begin(folder, whole, dataset, resume, retry_failed)
        live.say(dataset.describe())
        live.say(f"{whole.trials} trials of up to {whole.budget.epochs} epochs → {folder}")
        with guests.unchanged():
            try:
                from ffnet.tuning.driver import run_study  # imports Ray: seconds

                recorder = run_study(whole, dataset, where, past, hold, live, guest=True)
            except RunError:
                raise
            except BaseException:
                folder.discard()
                raise
    if recorder.interrupted:
        advice = f"go on with out={folder.place!r}, resume=True"
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
    """The study; for a run that goes on, as the run means it."""
    values: Values
    if isinstance(study, Study):  # what a person gives is also held by the newest rules
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


def _address(address: str | None) -> str | None:
    """Where Ray is; None for the Ray of this process, or a private one."""
    initialised = "ray" in sys.modules and sys.modules["ray"].is_initialized()
    if initialised and address:
        raise InputError(
            f"this process is connected to a Ray already: leave address out, or call "
            f"ray.shutdown() before. Given: {address}"
        )
    return None if initialised else ray_address(address)
