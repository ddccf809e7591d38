"""The worker that trains trials: it connects Ray Tune with the training loop.

A `TrialWorker` lives as long as its process and trains one trial after another. It keeps the data
set and the compiled functions; only the weights change.
"""

import errno
import json
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from pathlib import Path as LocalPath
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from ffnet.data.dataset import DataSet
from ffnet.errors import InputError, StorageError, one_line
from ffnet.ray_cluster.private_ray import restore_umask
from ffnet.ray_cluster.ray_internals import agreed
from ffnet.run import storage
from ffnet.run.folder import RunFolder
from ffnet.run.improvement import Improvement
from ffnet.run.rows import place
from ffnet.run.storage import File
from ffnet.run.tables import Status
from ffnet.spec.net import PATH
from ffnet.spec.study import Study
from ffnet.spec.trial import TrialConfig
from ffnet.training import memory
from ffnet.tuning.lean import import_tensorflow
from ffnet.tuning.pulse import Pulse

if TYPE_CHECKING:  # TensorFlow takes seconds to import: a worker imports it at its first trial
    from ffnet.training.device_data import DeviceData
    from ffnet.training.loop import Report
    from ffnet.training.paths import Path
    from ffnet.training.trainer import Trainer

Result = dict[str, Any]

KEPT_TRAINERS = 8
"""For how many structures of nets a worker keeps the compiled trainer: the last ones used."""

KEPT_BYTES = 500_000_000
"""Maximum memory of the variables of trainers that are not in use."""

CHECKPOINT = "checkpoint.npy"  # the file's name in a folder that Ray Tune chooses


class TrialWorker(tune.Trainable):  # type: ignore[misc]
    """Trains trials for Ray Tune. Each call of `step` trains until the next report.

    No error of a trial may reach Ray Tune, which would stop the worker and lose the message.
    Instead, an error ends the trial with the status `failed`, a reason and a traceback.
    """

    def setup(self, config: Result, data: DataSet, study: Study, folder: RunFolder) -> None:
        """Prepare the worker for its first trial. Ray Tune calls this once for each worker.

        Args:
            config: {"trial": a TrialConfig as a dict}.
            data: the data set. Its arrays are in Ray's object store, shared by a node's workers.
            study: the study.
            folder: the run's folder, which every node sees.
        """
        restore_umask()
        self._data, self._resources, self._folder = data, study.resources, folder
        self._tuning = study.tuning
        self._device_data: DeviceData | None = None
        self._trainers: OrderedDict[Hashable, Trainer] = OrderedDict()
        self._paths: dict[str, Path] = {}
        self._pulse = Pulse()
        self.reset_config(config)

    def reset(self, new_config: Result, storage: Any = None) -> bool:
        """Go over to another trial, and remove the empty folder that Ray Tune made for the last.

        To remove thousands of folders at the end of a study would take seconds.
        """
        before = LocalPath(self.logdir)
        done: bool = super().reset(new_config, storage)
        if before != LocalPath(self.logdir):
            with suppress(OSError):
                before.rmdir()
        return done

    def reset_config(self, new_config: Result) -> bool:
        """Prepare the worker for another trial. Ray Tune calls this for each further trial."""
        self._config = TrialConfig.model_validate(new_config["trial"])
        self._reports: Iterator[Report] | None = None
        self._earlier: list[Result] = []
        self._improvement = Improvement(self._tuning)
        self._best_is_last = False  # whether the last checkpoint has the trial's best weights
        self._unwritable: StorageError | None = None
        self._note: str | None = None  # a text that is added to the reason in the trial's row
        self._idle_since = time.perf_counter()
        return True

    def step(self) -> Result:
        """Train until the next report. Returns the report for the recorder; the last has `done`."""
        try:
            return self._step()
        except StorageError as error:  # not the trial's fault: it can be resumed, so not `failed`
            reason = one_line(f"{error.filename}: {error.strerror}", 500)
            return {
                **self._place(),
                "status": Status.STOPPED,
                "reason": reason,
                "unwritable": reason,
                "done": True,
            }
        except Exception as error:
            message = str(error).splitlines()[0] if str(error) else ""
            return {
                **self._place(),
                "status": Status.FAILED,
                "reason": f"{type(error).__name__}: {message}"[:500],
                "traceback": traceback.format_exc(),
                "done": True,
            }

    def save_checkpoint(self, checkpoint_dir: str) -> Result | None:
        """Save the trial before a pause. Its checkpoint in the run's folder is already there.

        Only PBT needs a copy, because another trial may load it.
        """
        if not self._shares:
            return {}
        try:
            with self._checkpoint.open() as file:
                (LocalPath(checkpoint_dir) / CHECKPOINT).write_bytes(file.read())
        except OSError as error:  # raised here, it would stop the worker again and again
            self._unwritable = storage.named(error, checkpoint_dir)
            return {}
        return None

    def load_checkpoint(self, checkpoint: Result | str | None) -> None:
        """Continue from where the trial was paused, or from another trial's checkpoint (PBT)."""
        if isinstance(checkpoint, str):
            try:
                keep = self._best if self._must_keep_last() else None
                with self._checkpoint.replacing(keep=keep) as file:
                    file.write((LocalPath(checkpoint) / CHECKPOINT).read_bytes())
            except OSError as error:
                self._unwritable = storage.named(error, self._checkpoint)
        self._reports = None

    @property
    def _shares(self) -> bool:
        """Whether trials take over weights of other trials."""
        return self._tuning.scheduler == "pbt"

    @property
    def _checkpoint(self) -> File:
        return self._folder.checkpoint(self._config.number)

    @property
    def _before(self) -> File:
        return self._folder.checkpoint_before(self._config.number)

    @property
    def _best(self) -> File:
        return self._folder.checkpoint_best(self._config.number)

    def _step(self) -> Result:
        if self._unwritable:
            raise self._unwritable
        begun = time.perf_counter()
        waited = begun - self._idle_since
        row: Result = {}
        if self._reports is None:
            waited = 0.0  # the wait before the first report is queue time: the driver counts it
            self._reports = self._start()
            row["setup_seconds"] = time.perf_counter() - begun
            row["note"] = self._note
            if self._own() and self._own()[-1] is self._earlier[-1]:
                return row | self._again()
        with self._pulse.beating(self._folder, self._config.number, self._epochs_now):
            report = next(self._reports, None)
        row |= self._taken_over() if report is None else self._reported(report)
        saving = time.perf_counter()
        if row["status"] != Status.DIVERGED:
            self._save(row["step"])
        row["report_seconds"] = waited + time.perf_counter() - saving
        self._idle_since = time.perf_counter()
        return row

    def _epochs_now(self) -> float:
        latest = next(reversed(self._trainers.values()))
        return latest.epochs_now

    def _own(self) -> list[Result]:
        """The reports in the checkpoint that are this trial's. With PBT, some may be another's."""
        unknown = None if self._shares else self._config.number
        return [r for r in self._earlier if r.get("trial", unknown) == self._config.number]

    def _again(self) -> Result:
        """The last report again, with all earlier reports, before the trial trains further.

        The tables may lack some of them, and the scheduler may not have judged the last report,
        because the worker or the driver died.
        """
        *earlier, last = self._own()
        self._idle_since = time.perf_counter()
        return last | self._outlook() | {"earlier": earlier, "again": True}

    def _taken_over(self) -> Result:
        """The last report of weights that another trial had trained to the end (PBT)."""
        return self._noted(self._earlier[-1] | {"trial": self._config.number} | self._place())

    def _reported(self, report: "Report") -> Result:
        """A report for the recorder. It is also kept for the trial's checkpoints."""
        now = self._noted(
            {
                "trial": self._config.number,
                **report.measured(),
                **self._place(),
                **self._config.path(),
            }
        )
        if report.diverged:
            reason = f"loss {report.train_loss:g} after step {report.step}"
            return now | {"status": Status.DIVERGED, "reason": reason, "done": True}
        return now

    def _noted(self, report: Result) -> Result:
        self._earlier.append(report)
        self._improvement.add(report)
        return report | self._outlook()

    def _outlook(self) -> Result:
        """Whether the trial ends with its last report. With its last epoch it needs no reason."""
        if self._earlier[-1]["epoch"] >= self._config.epochs:
            return {"status": Status.RUNNING, "done": True}
        if reason := self._improvement.ended:
            return {"status": Status.DONE, "reason": reason, "done": True}
        return {"status": Status.RUNNING, "done": False}

    def _place(self) -> Result:
        return place(ray.get_runtime_context().get_node_id()[:8])

    def _start(self) -> "Iterator[Report]":
        import_tensorflow()
        from ffnet.training.loop import train

        try:
            there = self._folder.study.exists()  # this node may have joined later: it must see it
        except OSError as error:
            raise storage.named(error, self._folder.study) from error
        if not there:
            raise StorageError(errno.ENOENT, "the run's folder is gone", self._folder.place)
        memory.check(self._config, self._data)
        trainer = self._trainer()
        trainer.initialize(self._config)
        step = self._restore(trainer)
        self._config = self._on_path(trainer)
        return train(trainer, self._config, step)

    def _on_path(self, trainer: "Trainer") -> TrialConfig:
        """The trial with the path of its checkpoint, or the fastest on this node."""
        from ffnet.training import paths

        for report in reversed(self._own()):
            if known := {name: report[name] for name in PATH if name in report}:
                return self._config.on_path(known)
        return paths.chosen(self._config, trainer.features, self._agreed)

    def _agreed(self, kind: str, measure: "Callable[[], Path]") -> "Path":
        """The path for a kind that all workers of this study use: the first one's choice."""
        from ffnet.training.paths import Path, remembered

        if kind not in self._paths:
            name = f"{self._folder} {kind}"
            found = agreed(name, lambda: json.dumps(remembered(kind, measure)))
            self._paths[kind] = Path(*json.loads(found))
        return self._paths[kind]

    def _restore(self, trainer: "Trainer") -> int:
        """Restore the trial's last state. Returns the number of steps trained until then."""
        from ffnet.run import checkpoints

        try:
            for file in self._checkpoints():
                try:
                    saved = checkpoints.load(file)
                    saved.assign(trainer.variables)
                except InputError as error:  # damaged: try the next one
                    self._note = one_line(str(error), 500)
                    continue
                if file != self._checkpoint:
                    self._put_back(file)
                self._know(saved.reports)
                return saved.step
        except OSError as error:
            raise storage.named(error, error.filename or self._checkpoint) from error
        self._know([])
        return 0

    def _checkpoints(self) -> Iterator[File]:
        """The trial's checkpoints that exist: the last one, and then the others, newest first."""
        if self._checkpoint.exists():
            yield self._checkpoint
        stamps = {file: file.stamp() for file in (self._before, self._best)}
        newest_first = sorted(stamps, key=lambda file: stamps[file], reverse=True)
        yield from (file for file in newest_first if any(stamps[file]))

    def _put_back(self, file: File) -> None:
        """Replace a missing or damaged checkpoint, so that it never becomes the best weights."""
        with file.open() as opened:
            content = opened.read()
        with self._checkpoint.replacing() as opened:
            opened.write(content)

    def _know(self, reports: list[Result]) -> None:
        """Take the reports of the checkpoint from which the trial continues.

        With PBT, the checkpoint may lack the report of the trial's best weights.
        """
        best = self._last_report(self._best) if self._shares else []
        self._earlier = [*(report for report in best if report not in reports), *reports]
        self._improvement = Improvement(self._tuning, self._own())
        self._best_is_last = bool(reports) and self._improvement.best is self._earlier[-1]

    def _must_keep_last(self) -> bool:
        """Whether the checkpoint has the trial's best weights, before another trial's replaces it.

        Only PBT asks this. No report of the trial may be in this worker's memory.
        """
        last, best = self._last_report(self._checkpoint), self._last_report(self._best)
        found = Improvement(self._tuning, [*best, *last])
        return bool(last) and found.best is last[0]

    def _last_report(self, file: File) -> list[Result]:
        """The last report in a checkpoint of this trial; empty if there is none of this trial."""
        from ffnet.run import checkpoints

        try:
            reports = checkpoints.peek(file) if file.exists() else []
        except InputError:  # damaged
            return []
        return [report for report in reports[-1:] if report.get("trial") == self._config.number]

    def _trainer(self) -> "Trainer":
        """The trainer for this trial's structure of net. A worker compiles a structure once."""
        from ffnet.training.device_data import DeviceData
        from ffnet.training.devices import configure
        from ffnet.training.trainer import Trainer, structure

        if self._device_data is None:
            configure(self._resources.threads, self._resources.gpus)
            self._device_data = DeviceData(self._data)
        key = structure(self._config)
        if key not in self._trainers:
            self._trainers[key] = Trainer(self._device_data, self._config)
        self._trainers.move_to_end(key)
        self._forget_trainers()
        return self._trainers[key]

    def _forget_trainers(self) -> None:
        """Remove old trainers beyond KEPT_TRAINERS and KEPT_BYTES. The latest trainer stays."""
        *before, _ = self._trainers
        held = sum(self._trainers[key].held_bytes() for key in before)
        for key in before:
            if len(self._trainers) > KEPT_TRAINERS or held > KEPT_BYTES:
                held -= self._trainers.pop(key).held_bytes()

    def _save(self, step: int) -> None:
        """Save the trial after its last report. The replaced checkpoint stays as the best weights
        if a worse report follows, else as a spare copy.
        """
        from ffnet.run import checkpoints

        better = self._improvement.best is self._earlier[-1]
        keep = self._best if self._best_is_last and not better else self._before
        reports = checkpoints.to_keep(self._earlier, self._improvement.needed())
        with self._checkpoint.replacing(keep=keep) as file:
            checkpoints.write(file, step, reports, self._trainer().variables)
        self._best_is_last = better
