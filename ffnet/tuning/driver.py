"""Runs a study with Ray Tune and writes the run's folder."""

import errno
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
from ffnet.ray_cluster.private_host import LOWER, Host
from ffnet.ray_cluster.ray_internals import cluster_grows, stateless_tune
from ffnet.run import storage
from ffnet.run.folder import RunFolder
from ffnet.run.hold import Hold
from ffnet.run.past import Past
from ffnet.run.sessions import Session
from ffnet.run.study_files import read_run_json
from ffnet.spec.study import Study
from ffnet.system.live import LiveLine
from ffnet.system.signals import wanted
from ffnet.training import examples, metrics
from ffnet.tuning import bfloat16, checks
from ffnet.tuning.connection import connected
from ffnet.tuning.learner import refuse_missing
from ffnet.tuning.losses import Losses
from ffnet.tuning.progress import Progress
from ffnet.tuning.recorder import Recorder
from ffnet.tuning.schedulers import make_scheduler, replay
from ffnet.tuning.search import StudySearch
from ffnet.tuning.watch import Watch
from ffnet.tuning.worker import TrialWorker

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE}
"""Errors that Ray Tune raises when it cannot write its own state to the disk."""


class Signals(tune.Callback):  # type: ignore[misc]
    """Handles signals: the first stops the study cleanly, the second stops it at once.

    A third signal ends the process. This is a context manager around the run. It is also a callback
    that installs its handlers again at each step, because Tune replaces the handler of SIGUSR1.

    Attributes:
        recorder: is told of the first signal. While it is None, no study has begun, and the first
            signal stops at once.
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
        """Install the handlers."""
        for number in self._before:
            signal.signal(number, self._stop)

    def study_ends(self) -> None:
        """From now on ignore a second signal: the study ends anyway and must save its tables."""
        self._ending = True

    def _stop(self, number: int, _: Any) -> None:
        self._count += 1
        if self._count > 2 and not self._guest:
            with suppress(OSError):
                self._live.let_go()
            os._exit(130)  # the host of the private Ray notices this and stops Ray
        if self._ending:
            return
        if self.recorder is None or self._count == 2:
            self._ending = True
            self._live.note = "stopping now…"
            raise KeyboardInterrupt
        if not self.recorder.stopping:
            self.recorder.stopping = f"stopped by {signal.Signals(number).name}"
            self.recorder.interrupted = True


class Folders(tune.Callback):  # type: ignore[misc]
    """Removes the empty folder that Ray Tune made for a trial: see `TrialWorker.reset`."""

    def on_trial_complete(self, trial: Any, **_: Any) -> None:
        """Remove the folder on the driver's machine. A trial with an error keeps its own."""
        with suppress(OSError):
            Path(trial.local_path).rmdir()


class Silence(tune.ProgressReporter):  # type: ignore[misc]
    """Shows nothing, because Tune's own reporter clears the output of a notebook's cell."""

    def should_report(self, trials: Any, done: bool = False) -> bool:
        """Return False: there is never anything to show."""
        return False

    def report(self, trials: Any, done: bool, *sys_info: Any) -> None:
        """Show nothing."""


class StudyStopper(tune.Stopper):  # type: ignore[misc]
    """Ends a study when its wall time is over or when the recorder has a reason to stop."""

    def __init__(self, recorder: Recorder, wall_seconds: float | None) -> None:
        self._recorder = recorder
        self._wall_seconds = wall_seconds
        self._end = time.monotonic() + wall_seconds if wall_seconds else None

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune an empty state: Tune pickles it, a hold cannot be pickled, nobody reads it."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: this stopper stops all trials together, never a single trial."""
        return False

    def stop_all(self) -> bool:
        """Return whether the study ends now. If the wall time is over, tell the recorder."""
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
    host: Host | None = None,
) -> Recorder:
    """Run a study until all trials have ended, its wall time is over, or a signal comes.

    Args:
        study: the study.
        data: its data set.
        address: address of a running Ray cluster. With None, the study uses the Ray that this
            process has initialised. If there is none, a private Ray starts on this machine and
            stops when the study ends.
        past: what an earlier process of this study did; empty for a new study.
        hold: gives this process the right to write into the run's folder.
        live: shows the progress.
        guest: True if the process belongs to a caller, for example a notebook. Then its streams
            are not redirected, everything that changes is restored, and a third signal does not
            end the process.
        host: a private Ray that is starting already: see `cluster.connected`.

    Returns:
        The recorder, whose writer has the rows of the tables. Every trial that began has ended.

    Raises:
        InputError: the cluster cannot be reached, no node can hold a trial, a node does not see
            the run's folder, the search needs a package that is not installed, or it learns and
            would run on a growing cluster without `concurrency`.
        RunError: the tables could not be written at the end.
        KeyboardInterrupt: a signal came before the study began, or a second signal came.
    """
    folder = hold.folder
    if past.trials and not past.left(study):  # nothing to do: Ray need not start
        return Recorder(study, hold, Losses(), past)
    refuse_missing(study)
    if not past.trials:
        checks.check_reports(study, len(data.train))
    checks.check_images(study, data)
    for note in examples.notes(data, (config.net for config in checks.looked_at(study))):
        live.say(note)
    if not address:  # on a cluster, each worker checks the memory of its node
        checks.check_memory(study, data)
        metrics.refuse_undefined(study.tuning.metric, data.classes, [data.validation.y])
    with (
        Signals(live, guest) as signals,
        connected(
            study,
            folder,
            address,
            guest,
            LOWER,
            lambda reason, errors: _keep_after_death(signals.recorder, reason, errors),
            host,
        ) as slots,
    ):
        _check_learns(study, slots)
        shared_folder.refuse_unseen(folder)
        past.accept(folder)
        losses = Losses()
        document = read_run_json(folder.study, folder.study)
        known = None if cluster_grows() else slots
        session = Session.beginning(document, known, study.resources.cpus)
        recorder = signals.recorder = Recorder(study, hold, losses, past, session)
        search = StudySearch(study, past, recorder.writer.rows, losses, slots)
        progress = Progress(study, recorder, live, folder)
        for line in bfloat16.warnings(study):
            live.say(line)
        try:
            scheduler = make_scheduler(study, losses)
            replay(scheduler, past)
            watch = Watch(losses, study.budget.trial_timeout_seconds, progress.say)
            callbacks = (recorder, progress, signals, watch, Folders())
            _fit(study, data, folder, search, scheduler, callbacks, slots)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            traceback.print_exc()  # goes to ray.log
            recorder.end_unwritable(f"{error.filename or 'Ray'}: {storage.reason(error)}")
        finally:
            signals.study_ends()
            live.note = live.note or "the study has ended: Ray stops…"
            recorder.finish()
    return recorder


def _keep_after_death(recorder: Recorder | None, reason: str, errors: TextIO) -> None:
    """Write the tables and print the reason: Ray is dead and this process will end."""
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
    if slots == cluster.GROWING and study.tuning.learns and not study.budget.concurrency:
        pauses = study.tuning.scheduler == "hyperband"  # it takes no concurrency
        remedy = "use another scheduler" if pauses else "set a lower number with --concurrency"
        raise InputError(
            f"{study.tuning.search} learns from trials that have ended. Given: a cluster that "
            f"grows, where {slots} trials may run or wait at a time; {remedy}"
        )


@stateless_tune()
def _fit(
    study: Study,
    data: DataSet,
    folder: RunFolder,
    search: StudySearch,
    scheduler: TrialScheduler,
    callbacks: tuple[Recorder, Progress, Signals, Watch, Folders],
    slots: int,
) -> None:
    file_system, path = storage.located(folder.tune)
    trainable = tune.with_parameters(
        TrialWorker, data=data.without_test(), study=study, folder=folder
    )
    # `Tuner` would pickle the callbacks to restore them later; `--resume` needs only the tables.
    tune.run(
        tune.with_resources(trainable, {"cpu": study.resources.cpus, "gpu": study.resources.gpus}),
        name=Path(path).name,
        storage_path=str(Path(path).parent),
        storage_filesystem=file_system,
        search_alg=search,
        scheduler=scheduler,
        num_samples=-1,  # no limit: `StudySearch` ends the study and repeats lost trials
        # Tune counts paused trials against this limit. With `slots`, hyperband and pbt would wait
        # for ever, because they pause most trials.
        max_concurrent_trials=study.trials
        if study.tuning.scheduler in ("hyperband", "pbt")
        else slots,
        reuse_actors=True,
        max_failures=0,  # Tune repeats no trial: `StudySearch` does it, and `Losses` counts
        raise_on_failed_trial=False,
        callbacks=list(callbacks),
        stop=StudyStopper(callbacks[0], study.budget.wall_seconds),
        trial_dirname_creator=lambda trial: trial.trial_id,
        verbose=0,
        progress_reporter=Silence(),
    )
    with suppress(OSError):
        storage.delete(folder.tune)  # Tune's folders of trials, which nobody needs
