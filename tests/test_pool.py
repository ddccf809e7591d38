"""Nets that are trained again: what a worker reports, and what happens when workers are lost.

Without Ray and without training: `test_again.py` has both.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from ffnet.errors import RunError
from ffnet.run.tables import Status
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.sections import Budget, Resources, Tuning
from ffnet.spec.trial import TrialConfig
from ffnet.training.loop import Report
from ffnet.training.metrics import Score
from ffnet.tuning import again
from ffnet.tuning.again import MOST_LOSSES, Job, Pool, Trained

NOW = datetime(2026, 11, 25, tzinfo=UTC)
EPOCHS = 6


def job(number: int = 3) -> Job:
    config = TrialConfig(number=number, net=NetSpec(), training=Training(), epochs=EPOCHS, seed=5)
    return Job(config)


def report(epoch: int, correct: int, diverged: bool = False) -> Report:
    score = Score(correct, 100, 1 - correct / 100, correct / 100, correct / 100, None)
    return Report(epoch * 10, epoch, 0.5, 0.5, score, diverged, 2.0, 0.5, NOW, NOW)


def trained(
    monkeypatch: pytest.MonkeyPatch, reports: Iterator[Report], **tuning: Any
) -> tuple[Trained, Any]:
    """Return what a worker reports, and the weights that it keeps: the epoch they are from."""
    worker: Any = again._Worker.__new__(again._Worker)
    worker._study = SimpleNamespace(tuning=Tuning(**tuning))
    now = [0.0]

    def of(_: Job) -> Iterator[Report]:
        for one in reports:
            now[0] = one.epoch
            yield one

    worker._reports, worker._weights = of, lambda _: [now[0]]
    node = SimpleNamespace(get_node_id=lambda: "a-node")
    monkeypatch.setattr("ray.get_runtime_context", lambda: node)
    *_, weights, net = worker.train(job())
    return net, weights


def test_the_weights_of_the_best_epoch_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = [50, 70, 90, 80, 90, 60]
    net, weights = trained(monkeypatch, (report(e, a) for e, a in enumerate(accuracies, 1)))
    assert weights == [3]
    assert net.best is not None
    assert (net.best["epoch"], net.best["val_accuracy"]) == (3, 0.9)
    row = net.row
    assert (row["status"], row["epochs"], row["reason"]) == (Status.DONE, 6, None)
    assert (row["train_seconds"], row["evaluate_seconds"]) == (12.0, 3.0)
    assert (row["best_val_accuracy"], row["best_val_loss_epoch"]) == (0.9, 3)


def test_patience_ends_a_net_as_it_ends_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = [50, 70, 60, 60, 60, 60]
    reports = (report(e, a) for e, a in enumerate(accuracies, 1))
    net, weights = trained(monkeypatch, reports, patience_epochs=2)
    assert (net.row["status"], net.row["epochs"]) == (Status.DONE, 4)
    assert net.row["reason"] == "no better for 2 epochs"
    assert weights == [2]


def test_a_net_that_diverges_keeps_its_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    net, _ = trained(monkeypatch, iter([report(1, 50), report(2, 0, diverged=True)]))
    assert (net.row["status"], net.row["epochs"]) == (Status.DIVERGED, 2)
    assert len(net.reports) == 2


def test_an_error_ends_the_net_and_not_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def reports() -> Iterator[Report]:
        yield report(1, 50)
        raise MemoryError("no room\nfor it")

    net, _ = trained(monkeypatch, reports())
    assert (net.row["status"], net.row["reason"]) == (Status.FAILED, "MemoryError: no room")


# --- workers that are lost -----------------------------------------------------------------------


class FakeRay:
    """Runs the workers' methods at once. Workers are lost as a list says, one entry a call."""

    class exceptions:  # noqa: N801
        """Ray's errors."""

        RayError = ConnectionError

    def __init__(self, lost: list[bool]) -> None:
        self.lost, self.workers = lost, 0

    def put(self, value: Any) -> Any:
        return value

    def kill(self, worker: Any) -> None:
        self.workers -= 1

    def remote(self, **_: Any) -> Any:
        def begin(*_: Any) -> Any:
            self.workers += 1
            return SimpleNamespace(ready=self._method("ready"), train=self._method("train"))

        return lambda _: SimpleNamespace(remote=begin)

    def _method(self, name: str) -> Any:
        def call(*arguments: Any) -> Iterator[Any]:
            is_lost = name != "ready" and bool(self.lost) and self.lost.pop(0)
            error = ConnectionError("the worker died")
            result = [error] if is_lost else ["weights", ("trained", *arguments)]
            return iter(["sign of life", *result])

        return SimpleNamespace(remote=call)

    def wait(self, streams: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return streams[:1], streams[1:]

    def get(self, ref: Any) -> Any:
        if isinstance(ref, Exception):
            raise ref
        return ref


def pool(monkeypatch: pytest.MonkeyPatch, lost: list[bool]) -> tuple[Pool, FakeRay]:
    ray = FakeRay(lost)
    monkeypatch.setattr(again, "ray", ray)
    data = SimpleNamespace(without_test=lambda: None)
    study: Any = SimpleNamespace(resources=Resources(), budget=Budget())
    return Pool(data, study, threads=1, slots=2), ray  # type: ignore[arg-type]


def test_every_net_comes_once_and_the_workers_end(monkeypatch: pytest.MonkeyPatch) -> None:
    workers, ray = pool(monkeypatch, [])
    jobs = [job(number) for number in range(5)]
    found: dict[int, Any] = {at: result for at, *result in workers.train(jobs)}
    assert found == {at: [("trained", one), "weights"] for at, one in enumerate(jobs)}
    assert ray.workers == 2
    workers.close()
    assert ray.workers == 0


def test_a_net_whose_worker_was_lost_is_trained_again(monkeypatch: pytest.MonkeyPatch) -> None:
    workers, _ = pool(monkeypatch, [True, False, True])
    jobs = [job(number) for number in range(4)]
    found: dict[int, Any] = {at: result for at, result, _ in workers.train(jobs)}
    assert found == {at: ("trained", one) for at, one in enumerate(jobs)}


def test_a_net_that_loses_every_worker_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    workers, _ = pool(monkeypatch, [True] * (MOST_LOSSES + 1))
    ((at, net, _),) = workers.train([job()])
    assert at == 0
    assert net.row["status"] == Status.FAILED
    assert net.row["reason"] == "its worker was lost 4 times: the worker died"


def test_workers_that_can_never_begin_end_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    workers, ray = pool(monkeypatch, [])

    def get(ref: int) -> Any:
        raise ConnectionError("no GPU\nno GPU is there")

    monkeypatch.setattr(ray, "get", get)
    with pytest.raises(RunError, match="a worker was lost 4 times: no GPU is there"):
        list(workers.train([job(n) for n in range(9)]))
