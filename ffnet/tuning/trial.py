"""A trial on a worker: what Ray Tune calls, around the one training loop.

One `Trial` object lives as long as its worker process and serves one trial after another: the
data set and the compiled functions stay, the weights change.
"""

import os
import platform
import resource
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from ray import tune

from ffnet.data.dataset import DataSet
from ffnet.results.layout import RunFolder, replacing
from ffnet.study import Resources, TrialConfig

if TYPE_CHECKING:  # TensorFlow takes seconds to import: on workers, at their first trial
    from ffnet.training.device_data import DeviceData
    from ffnet.training.loop import Report
    from ffnet.training.trainer import Trainer

Result = dict[str, Any]


class Trial(tune.Trainable):  # type: ignore[misc]
    """Trains what it is given, a report interval a step.

    Nothing that a trial does may raise into Ray Tune, which would take its worker down and drop
    the message: an error ends the trial with the status `failed`, its message and its traceback.
    """

    def setup(self, config: Result, data: DataSet, resources: Resources, folder: RunFolder) -> None:
        """Ray Tune calls this once a worker.

        Args:
            config: {"trial": a TrialConfig as a dict}.
            data: arrays in Ray's object store, shared by the workers of a node.
            resources: what a trial holds.
            folder: the run's, on storage that every node sees.
        """
        self._data, self._resources, self._folder = data, resources, folder
        self._device_data: DeviceData | None = None
        self._trainers: dict[tuple[int, str], Trainer] = {}
        self.reset_config(config)

    def reset_config(self, new_config: Result) -> bool:
        """Ray Tune calls this for each further trial on the worker."""
        self._config = TrialConfig.model_validate(new_config["trial"])
        self._reports: Iterator[Report] | None = None
        self._idle_since = time.perf_counter()
        return True

    def step(self) -> Result:
        """One report interval, as a row for the tables; the last one says `done`."""
        try:
            return self._step()
        except Exception as error:
            message = str(error).splitlines()[0] if str(error) else ""
            return {
                **self._place(),
                "status": "failed",
                "reason": f"{type(error).__name__}: {message}"[:500],
                "traceback": traceback.format_exc(),
                "done": True,
            }

    def save_checkpoint(self, checkpoint_dir: str) -> Result:
        """For schedulers that pause: nothing to add, each report has left a checkpoint."""
        return {}

    def load_checkpoint(self, checkpoint: Result | None) -> None:
        """Likewise: a trial begins from its own checkpoint wherever there is one."""

    def _step(self) -> Result:
        begun = time.perf_counter()
        waited = begun - self._idle_since
        row: Result = {}
        if self._reports is None:
            waited = 0.0  # for a first report that is queueing, counted by the driver
            self._reports = self._start()
            row["setup_seconds"] = time.perf_counter() - begun
        row["started_at"] = datetime.now(UTC)
        report = next(self._reports)
        row |= {
            "status": "diverged" if report.diverged else "running",
            "step": report.step,
            "epoch": report.epoch,
            "train_seconds": report.train_seconds,
            "evaluate_seconds": report.evaluate_seconds,
            "reported_at": datetime.now(UTC),
            "done": report.diverged or report.epoch >= self._config.epochs,
        }
        if report.diverged:
            row["reason"] = f"loss {report.train_loss:g} after step {report.step}"
        else:  # a scheduler never judges a net whose loss is NaN
            row |= {
                "train_loss": report.train_loss,
                "val_loss": report.validation.loss,
                "val_accuracy": report.validation.accuracy,
            }
            saving = time.perf_counter()
            self._save(report.step)
            waited += time.perf_counter() - saving
        row |= self._place() | {"report_seconds": waited}
        self._idle_since = time.perf_counter()
        return row

    def _place(self) -> Result:
        node = ray.get_runtime_context().get_node_id()
        return {
            "node": f"{platform.node()}:{node[:8]}",
            "worker": os.getpid(),
            "worker_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }

    def _start(self) -> "Iterator[Report]":
        from ffnet.training.loop import train

        trainer, net = self._trainer(), self._config.net
        path = self._folder.checkpoint(self._config.number)
        trainer.net.initialize(net, self._config.seed)
        after = 0
        if path.exists():  # lost with its worker, or paused: go on
            with path.open("rb") as file:
                after = int(np.load(file))
                for weight in trainer.net.weights:
                    weight.assign(np.load(file))
        return train(trainer, self._config, after)

    def _trainer(self) -> "Trainer":
        """The worker's trainer for this structure of net, compiled at most once."""
        from ffnet.training.device_data import DeviceData
        from ffnet.training.devices import configure
        from ffnet.training.trainer import Trainer

        if self._device_data is None:
            configure(self._resources.cpus, self._resources.gpus)
            self._device_data = DeviceData(self._data)
        structure = (len(self._config.net.hidden_sizes), self._config.net.activation)
        if structure not in self._trainers:
            self._trainers[structure] = Trainer(self._device_data, self._config.net)
        return self._trainers[structure]

    def _save(self, step: int) -> None:
        weights = self._trainer().net.weights
        with replacing(self._folder.checkpoint(self._config.number)) as file:
            np.save(file, step)
            for weight in weights:  # as memory views: `.numpy()` would copy
                np.save(file, np.asarray(memoryview(weight.read_value())))
