"""Runs a study: maps it to Ray Tune, starts it, and leaves the run's folder behind."""

import errno
import logging
import os
import signal
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TextIO

from ray import tune
from ray.tune.schedulers import TrialScheduler

from ffnet.data.dataset import DataSet
from ffnet.errors import InputError, RunError
from ffnet.ray_cluster import cluster, shared_folder
from ffnet.run import storage
from ffnet.run.folder import RunFolder
from ffnet.run.hold import Hold
from ffnet.run.past import Past
from ffnet.spec.study import Study
from ffnet.system import output
from ffnet.system.live import LiveLine
from ffnet.system.signals import wanted
from ffnet.tuning import checks, guests
from ffnet.tuning.losses import Losses
from ffnet.tuning.progress import Progress
from ffnet.tuning.recorder import Recorder
from ffnet.tuning.schedulers import make_scheduler, replay
from ffnet.tuning.search import StudySearch
from ffnet.tuning.watch import Watch
from ffnet.tuning.worker import TrialWorker

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE}
"""Errors of a disk, on which Ray Tune writes its own state."""


class Signals(tune.Callback):  # type: ignore[misc]
    """A first signal ends the study in order, a second one at once, a third one the process.

    A context, for the time that they do; a callback too, as Tune sets its own handler of SIGUSR1.

    Attributes:
        recorder: learns of the first signal. Before it is set there is no study to end in order.
    """

    def __init__(self, live: LiveLine, guest: bool = False) -> None:
        self.recorder: Recorder | None = None
        self._live, self._guest = live, guest
        self._count = 0
        self._ending = False

    def __enter__(self) -> Self:
        self._before = {number: signal.getsignal(number) for number in wanted()}
        self.on_step_begin()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def on_step_begin(self, **_: Any) -> None:
        """See that the handlers are these."""
        for number in self._before:
            signal.signal(number, self._stop)

    def study_ends(self) -> None:
        """The study ends now: a second signal has nothing to add, and must not disturb it."""
        self._ending = True

    def _stop(self, number: int, _: Any) -> None:
        self._count += 1
        if self._count > 2 and not self._guest:
            with suppress(OSError):
                self._live.let_go()
            os._exit(130)  # the private Ray's host sees it, and takes Ray away
        if self._ending:
            return
        if self.recorder is None or self._count == 2:
            self._ending = True
            self._live.note = "stopping now…"
            raise KeyboardInterrupt
        if not self.recorder.stopping:
            self.recorder.stopping = f"stopped by {signal.Signals(number).name}"
            self.recorder.interrupted = True


class Silence(tune.ProgressReporter):  # type: ignore[misc]
    """Shows nothing. In a notebook Tune's own reporter clears what the cell has shown before."""

    def should_report(self, trials: Any, done: bool = False) -> bool:
        """Never."""
        return False

    def report(self, trials: Any, done: bool, *sys_info: Any) -> None:
        """Nothing."""


class StudyStopper(tune.Stopper):  # type: ignore[misc]
    """Ends a study when its wall time is over or a signal came."""

    def __init__(self, recorder: Recorder, wall_seconds: float | None) -> None:
        self._recorder = recorder
        self._wall_seconds = wall_seconds
        self._end = time.monotonic() + wall_seconds if wall_seconds else None

    def __getstate__(self) -> dict[str, Any]:
        """Nothing for Tune's own state, which is never read again: a hold cannot be pickled."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped alone."""
        return False

    def stop_all(self) -> bool:
        """Whether the study ends now; the recorder learns why."""
        if self._end and time.monotonic() > self._end and not self._recorder.stopping:
            self._recorder.stopping = f"wall_seconds ({self._wall_seconds:g}) were over"
        return self._recorder.stopping is not None


def run_study(
    study: Study,
    data: DataSet,
    address: str | None,
    past: Past,
    hold: Hold,
    live: LiveLine,
    guest: bool = False,
) -> Recorder:
    """Run a study to its end, its budget or a signal.

    Args:
        study: what to run.
        data: its data set.
        address: address of a running Ray cluster. With None the Ray is used that this process has
            initialised, else a private Ray starts on this machine and stops with the study.
        past: what the study did before.
        hold: this process's hold on the folder for the tables, the log and the checkpoints.
        live: shows the progress.
        guest: whether the process belongs to somebody else, as that of a notebook: then nothing of
            it is redirected or left changed, and no signal ends it.

    Returns:
        The rows of the tables, every trial ended.

    Raises:
        InputError: the cluster cannot be reached, cannot hold a trial, has a node that does not
            see the run's folder, or grows without a bound for a search that learns; or the tables
            could not be written at the end.
        KeyboardInterrupt: a signal came before the study could begin, or a second one.
    """
    folder = hold.folder
    if past.trials and not past.left(study):  # said before Ray takes seconds to start
        return Recorder(study, hold, Losses(), past)
    if not past.trials:
        checks.check_reports(study, len(data.train))
    if not address:  # on a cluster each node answers for itself
        checks.check_memory(study, data)
    with (
        Signals(live, guest) as signals,
        folder.log() as log,
        output.screen(2) as errors,
        guests.logged(log) if guest else output.redirected(log, 1, 2),
        cluster.connected(
            address,
            study.resources,
            study.budget.concurrency,
            lambda reason: _keep_after_death(signals.recorder, reason, errors),
            log_to_driver=not guest,
        ) as slots,
    ):
        _check_learns(study, slots)
        shared_folder.refuse_unseen(folder)
        past.accept(folder)
        losses = Losses()
        recorder = signals.recorder = Recorder(study, hold, losses, past)
        search = StudySearch(study, past, recorder.writer.rows, losses)
        progress = Progress(study, recorder, live)
        try:
            scheduler = make_scheduler(study)
            replay(scheduler, past)
            watch = Watch(losses, study.budget.trial_timeout_seconds, progress.say)
            callbacks = (recorder, progress, signals, watch)
            _fit(study, data, folder, search, scheduler, callbacks, slots)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            traceback.print_exc()  # into ray.log
            recorder.end_unwritable(f"{error.filename or 'Ray'}: {storage.reason(error)}")
        finally:
            signals.study_ends()
            live.note = live.note or "the study has ended: Ray stops…"
            recorder.finish()
    return recorder


def _keep_after_death(recorder: Recorder | None, reason: str, errors: TextIO) -> None:
    """Ray is dead, and this process ends with it: write the tables, and say what there is."""
    what = f"{reason}; no trial had begun"
    if recorder:
        recorder.stopping = recorder.stopping or reason
        try:
            recorder.finish()
            what = f"{reason}; the tables are whole: go on with --resume"
        except RunError as error:
            what = str(error)
    print(f"error: {what}", file=errors, flush=True)


def _check_learns(study: Study, slots: int) -> None:
    if slots == cluster.GROWING and study.tuning.search == "tpe" and not study.budget.concurrency:
        raise InputError(
            f"tpe learns from trials that have ended. Given: a cluster that grows, where {slots} "
            f"may run or wait at a time; say how many with --concurrency"
        )


def _fit(
    study: Study,
    data: DataSet,
    folder: RunFolder,
    search: StudySearch,
    scheduler: TrialScheduler,
    callbacks: tuple[Recorder, Progress, Signals, Watch],
    slots: int,
) -> None:
    file_system, path = storage.located(folder.tune)
    trainable = tune.with_parameters(
        TrialWorker, data=data.without_test(), study=study, folder=folder
    )
    # At the end Ray Tune looks for its own loggers' files, a warning a trial; there are none.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    # `Tuner` would pickle the callbacks to restore them later; the tables are what a study keeps.
    tune.run(
        tune.with_resources(trainable, {"cpu": study.resources.cpus, "gpu": study.resources.gpus}),
        name=Path(path).name,
        storage_path=str(Path(path).parent),
        storage_filesystem=file_system,
        search_alg=search,
        scheduler=scheduler,
        num_samples=-1,  # the search says when it is finished: lost trials come again
        # Paused trials count too, and these two judge trials of which most are paused.
        max_concurrent_trials=study.trials
        if study.tuning.scheduler in ("hyperband", "pbt")
        else slots,
        reuse_actors=True,
        max_failures=0,  # the search begins lost trials again: one counter
        raise_on_failed_trial=False,
        callbacks=list(callbacks),
        stop=StudyStopper(callbacks[0], study.budget.wall_seconds),
        trial_dirname_creator=lambda trial: trial.trial_id,
        verbose=0,
        progress_reporter=Silence(),
    )
    with suppress(OSError):
        storage.delete(folder.tune)  # Tune's state: nothing that the tables lack
