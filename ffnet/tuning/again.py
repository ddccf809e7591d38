"""Trains chosen configurations again, each to its end, in parallel under Ray and without Tune.

`confirm` and `audit` use it. The training data go to each node once, through Ray's object store.
The test part goes to a worker only when `evaluate` is called with it.
"""

import time
from collections import Counter, deque
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import numpy.typing as npt
import ray

from ffnet.data.dataset import DataSet, Part
from ffnet.data.folds import Fold, folded
from ffnet.errors import RunError, one_line
from ffnet.ray_cluster.private_ray import restore_umask
from ffnet.run.ended import Ended
from ffnet.run.improvement import Improvement
from ffnet.run.rows import place
from ffnet.run.tables import Row, Status, note_score
from ffnet.spec.study import Study
from ffnet.spec.trial import TrialConfig
from ffnet.system.live import LiveLine
from ffnet.training import memory
from ffnet.tuning.connection import connected
from ffnet.tuning.lean import import_tensorflow

if TYPE_CHECKING:  # only workers import TensorFlow
    from ffnet.training.device_data import DeviceData
    from ffnet.training.trainer import Trainer

Weights = list[npt.NDArray[Any]]
Tested = tuple[Row, npt.NDArray[np.float32]]

MOST_LOSSES = 3  # how often a net is trained again after its worker was lost
LARGER_NODE = "nets get what the study's trials got: use a cluster with a larger node (--address)"
NO_CALL = -1  # asks a worker only whether it has begun
LOOK_SECONDS = 1.0  # time between two looks for workers that report nothing
KEPT_TRAINERS = 8  # for how many structures of nets, and folds, a worker keeps the compiled trainer


@dataclass(frozen=True)
class Job:
    """A net to train.

    Attributes:
        config: its configuration, seed and epochs.
        fold: which examples are the validation part; None for the study's own split.
    """

    config: TrialConfig
    fold: Fold | None = None


@dataclass(frozen=True)
class Trained:
    """A net that was trained.

    Attributes:
        row: the columns that confirm.parquet and audit.parquet share, and `best_val_accuracy`, …
        reports: the net's reports, as in `Report.measured`.
        best: the report after the best epoch by the study's metric; None if there is none.
    """

    row: Row
    reports: list[Row]
    best: Row | None


class _Worker:
    """Trains nets in a process of its own, one after another. Runs as an actor of Ray.

    Each method yields its result last. What it yields before is a sign of life.
    """

    def __init__(self, data: DataSet, study: Study, threads: int) -> None:
        restore_umask()
        import_tensorflow()
        from ffnet.training.devices import configure

        configure(threads, study.resources.gpus)
        self._data, self._study = data, study
        self._parts: dict[Fold | None, DeviceData] = {}
        self._trainers: dict[Hashable, Trainer] = {}

    def ready(self) -> Iterator[None]:
        """End when the worker has begun."""
        yield None

    def train(self, job: Job) -> Iterator[Weights | Trained | None]:
        """Train a net to its end. An error of the net ends it with the status `failed`.

        Yields:
            None after each report, then the net's weights after the best epoch, and its figures.
        """
        begun = datetime.now(UTC)
        reports: list[Row] = []
        weights: Weights | None = None
        status, reason = Status.DONE, None
        improvement = Improvement(self._study.tuning)
        try:
            for report in self._reports(job):
                reports.append(report.measured())
                yield None
                improvement.add(reports[-1])
                if report.diverged:
                    status, reason = Status.DIVERGED, f"loss {report.train_loss:g}"
                elif improvement.best is reports[-1]:
                    weights = self._weights(job)
                if report.epoch < job.config.epochs and improvement.ended:
                    reason = improvement.ended
                    break
        except Exception as error:
            message = str(error).splitlines()[0] if str(error) else ""
            status, reason = Status.FAILED, f"{type(error).__name__}: {message}"[:500]
        row = _row(job, status, reason) | {"started_at": begun, "ended_at": datetime.now(UTC)}
        row["node"] = place(ray.get_runtime_context().get_node_id()[:8])["node"]
        yield weights
        yield Trained(_with_reports(row, reports), reports, improvement.best)

    def evaluate(self, job: Job, weights: Weights, test: Part | None) -> Iterator[Tested]:
        """Evaluate a trained net on the test part; with None, on its validation part.

        Yields:
            Its figures, test_accuracy, … or val_accuracy, …, and its class scores [N, C].
        """
        from ffnet.training.device_data import DeviceData

        trainer = self._trainer(job)
        trainer.initialize(job.config)
        variables = [*trainer.net.weights, *trainer.net.state]
        for variable, value in zip(variables, weights, strict=True):
            variable.assign(value)
        part, name = trainer.data.validation, "val"
        if test is not None:
            of_test = DeviceData(self._part(job, replace(self._data, test=test))).test
            assert of_test
            part, name = of_test, "test"
        yield trainer.evaluate(part).figures(name), trainer.scores(part)

    def _reports(self, job: Job) -> Iterator[Any]:
        from ffnet.training import loop, paths

        memory.check(job.config, self._data)
        trainer = self._trainer(job)
        trainer.initialize(job.config)
        return loop.train(trainer, paths.chosen(job.config, trainer.features))

    def _weights(self, job: Job) -> Weights:
        net = self._trainer(job).net
        return [np.array(variable.read_value()) for variable in (*net.weights, *net.state)]

    def _part(self, job: Job, data: DataSet) -> DataSet:
        asked = self._study.data
        return folded(data, job.fold, asked.scaling, asked.imputation) if job.fold else data

    def _trainer(self, job: Job) -> "Trainer":
        """The trainer for the job's structure of net and its data."""
        from ffnet.training.device_data import DeviceData
        from ffnet.training.trainer import Trainer, structure

        key = structure(job.config), job.fold
        if key not in self._trainers:
            if len(self._trainers) >= KEPT_TRAINERS:
                self._trainers.clear()
                self._parts.clear()
            if job.fold not in self._parts:
                self._parts[job.fold] = DeviceData(self._part(job, self._data))
            self._trainers[key] = Trainer(self._parts[job.fold], job.config)
        return self._trainers[key]


def _row(job: Job, status: Status, reason: str | None) -> Row:
    return {
        "trial": job.config.number,
        "seed": job.config.seed,
        "fold": job.fold.number if job.fold else None,
        "folds": job.fold.of if job.fold else None,
        "status": status,
        "reason": reason and one_line(reason, 500),
        "epochs": 0.0,
        "train_seconds": 0.0,
        "evaluate_seconds": 0.0,
    }


def _with_reports(row: Row, reports: Sequence[Row]) -> Row:
    """The row with the sums of the reports' seconds, and the best figures."""
    for report in reports:
        note_score(row, report)
        row["epochs"] = report["epoch"]
        for name in ("train_seconds", "evaluate_seconds"):
            row[name] += report[name]
    return row


@dataclass
class _Call:
    """A call of a worker's method.

    Attributes:
        worker: the worker.
        at: the place of the call's arguments in the list of all calls, or NO_CALL.
        heard_at: when the call began, or when the worker gave the last sign of life.
        last: references to the last two things that the worker has yielded.
        silent: why the worker was ended because it reported nothing for too long; else None.
    """

    worker: Any
    at: int
    heard_at: float = field(default_factory=time.monotonic)
    last: deque[Any] = field(default_factory=lambda: deque(maxlen=2))
    silent: str | None = None


class Pool:
    """Workers that train nets. Each has the CPUs and GPUs of a trial of the study.

    A worker that reports nothing for the study's `trial_timeout_seconds` is ended, and its net
    fails.
    """

    def __init__(self, data: DataSet, study: Study, threads: int, slots: int) -> None:
        """Begin without a worker: see `opened`."""
        resources = study.resources
        self._slots = slots
        self._actor = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus)(_Worker)
        self._arguments = ray.put(data.without_test()), study, threads
        self._timeout = study.budget.trial_timeout_seconds
        self._workers: list[Any] = []

    def train(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Trained, Any]]:
        """Train nets, and yield each when it has ended.

        Yields:
            The net's place in `jobs`, its figures, and a reference to its weights for `evaluate`,
            which stay in Ray's object store.

        Raises:
            RunError: workers are lost before they can begin.
        """
        return self._run("train", [(job,) for job in jobs])

    def fetch(self, weights: Sequence[Any]) -> None:
        """Copy weights to this node, where they stay until the references are gone.

        Raises:
            RunError: the weights were lost with their node.
        """
        try:
            ray.get([*weights])
        except ray.exceptions.RayError as error:
            raise RunError(f"weights of nets were lost: {one_line(str(error), 300)}") from None

    def evaluate(
        self, jobs: Sequence[Job], weights: Sequence[Any], test: Part | None
    ) -> list[Tested]:
        """(figures, class scores [N, C]) of trained nets, in the order of `jobs`.

        Args:
            jobs: the nets.
            weights: the references that `train` has yielded for them.
            test: the test part, which is sent to the workers; None for each net's validation part.

        Raises:
            RunError: a worker was lost too often.
        """
        part = ray.put(test)
        calls = [(job, ref, part) for job, ref in zip(jobs, weights, strict=True)]
        found = {at: result for at, result, _ in self._run("evaluate", calls)}
        return [found[at] for at in range(len(jobs))]

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            with suppress(Exception):
                ray.kill(worker)

    def _run(self, method: str, calls: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any, Any]]:
        """Call the workers' method with each tuple of arguments. A lost call is made again."""
        waiting, left, losses = deque(range(len(calls))), len(calls), Counter[int]()
        while len(self._workers) < min(self._slots, len(calls)):
            self._workers.append(self._actor.remote(*self._arguments))
        busy: dict[Any, _Call] = {}

        def give(worker: Any, at: int) -> None:
            call = worker.ready if at == NO_CALL else getattr(worker, method)
            busy[call.remote(*(() if at == NO_CALL else calls[at]))] = _Call(worker, at)

        for worker in self._workers:  # on a cluster that grows, a worker may never begin
            give(worker, NO_CALL)
        while left:
            call = self._ended(busy)
            at = call.at
            result, lost = _result(call.last[-1])
            if lost:
                losses[at] += 1
                if call.silent and method == "train":
                    result = _failed(calls[at][0], call.silent)
                elif losses[at] > MOST_LOSSES:
                    result = _given_up(method, at, calls, call.silent or lost)
                elif at != NO_CALL:
                    waiting.appendleft(at)
                give(self._replaced(call.worker), NO_CALL)
            else:
                losses[NO_CALL] = 0
                if waiting:
                    give(call.worker, waiting.popleft())
            if at != NO_CALL and result is not None:
                left -= 1
                yield at, result, call.last[0]

    def _ended(self, busy: dict[Any, _Call]) -> _Call:
        """Wait until a call has ended, or its worker was lost, and take it out of `busy`."""
        while True:
            seconds = LOOK_SECONDS if self._timeout else None
            for stream in ray.wait([*busy], timeout=seconds, fetch_local=False)[0]:
                call = busy.pop(stream)
                if (ref := next(stream, None)) is None:
                    return call
                call.last.append(ref)
                call.heard_at = time.monotonic()
                busy[stream] = call  # it is the last now, so that ray.wait prefers the others
            self._end_silent(busy)

    def _end_silent(self, busy: dict[Any, _Call]) -> None:
        """End the workers that have reported nothing for too long. Their calls are then lost."""
        for stream, call in busy.items():
            silent = time.monotonic() - call.heard_at
            if not self._timeout or silent <= self._timeout or call.at == NO_CALL or call.silent:
                continue
            if not ray.wait([stream], timeout=0, fetch_local=False)[0]:  # no report is on its way
                call.silent = f"it reported nothing for {silent:.0f} s (trial_timeout_seconds)"
                ray.kill(call.worker)

    def _replaced(self, lost: Any) -> Any:
        self._workers.remove(lost)
        self._workers.append(self._actor.remote(*self._arguments))
        return self._workers[-1]


def _result(ref: Any) -> tuple[Any, str | None]:
    """(what a worker has returned, None), or (None, why the worker was lost)."""
    try:
        return ray.get(ref), None
    except ray.exceptions.RayError as error:
        return None, one_line(str(error).splitlines()[-1] if str(error) else repr(error), 300)


def _given_up(method: str, at: int, calls: Sequence[tuple[Any, ...]], why: str) -> Trained:
    """The result of a net whose worker was lost too often. Raises RunError if no net was lost."""
    if method != "train" or at == NO_CALL:
        raise RunError(f"a worker was lost {MOST_LOSSES + 1} times: {why}")
    return _failed(calls[at][0], f"its worker was lost {MOST_LOSSES + 1} times: {why}")


def _failed(job: Job, reason: str) -> Trained:
    return Trained(_row(job, Status.FAILED, reason), [], None)


@contextmanager
def opened(
    run: Ended, data: DataSet, address: str | None, live: LiveLine, guest: bool
) -> Iterator[Pool]:
    """Connect to Ray, and yield a pool of workers, which end with the block.

    What Ray and the workers print goes to ray.log in the run's folder.

    Args:
        run: the run, whose study says which CPUs and GPUs a net gets.
        data: the data set. Its test part stays in this process.
        address: address of a running Ray cluster: see `cluster.connected`.
        live: shows that Ray starts.
        guest: whether the process belongs to a caller. Then its streams are not redirected.

    Raises:
        InputError: the cluster cannot be reached, or no node can hold a trial.
    """
    study = run.study
    live.begin(f"connecting to {address}" if address else "starting Ray")
    with connected(study, run.folder, address, guest, LARGER_NODE, _say_death) as slots:
        pool = Pool(data, study, run.document["threads"], slots)
        try:
            yield pool
        finally:
            pool.close()


def _say_death(reason: str, errors: TextIO) -> None:
    print(f"error: {reason}; nothing is written", file=errors, flush=True)
