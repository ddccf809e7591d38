"""Trials that stop reporting: they are noted, and ended if the study has a timeout."""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from conftest import wait_for
from ffnet.ray_cluster.private_host import Host
from ffnet.ray_cluster.private_ray import private_ray
from ffnet.tuning.driver import StudyStopper
from ffnet.tuning.losses import Losses
from ffnet.tuning.watch import Watch, kill_worker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def trial(number: int, status: str = "RUNNING") -> Any:
    return SimpleNamespace(config={"trial": {"number": number}}, status=status)


def watched(timeout: float | None) -> tuple[Watch, Clock, list[str], list[int], Losses]:
    clock, said, killed, losses = Clock(), list[str](), list[int](), Losses()

    def kill(silent: Any) -> None:
        killed.append(silent.config["trial"]["number"])

    return Watch(losses, timeout, said.append, kill, clock), clock, said, killed, losses


def test_a_trial_silent_ten_times_longer_than_the_others_is_noted_once() -> None:
    watch, clock, said, killed, losses = watched(None)
    hung, lively = trial(0), trial(1)
    watch.on_trial_start(hung)
    watch.on_trial_start(lively)
    watch.on_trial_result(hung)
    for clock.now in range(0, 200, 5):
        watch.on_trial_result(lively)
        watch.on_step_end()
        assert bool(said) == (clock.now > 50)
    note = "trial 0 has reported nothing for 55 s, while reports take 5 s in the median"
    assert said == [f"{note}; --trial-timeout-seconds would end it"]
    assert (killed, losses.reasons) == ([], {})


def test_quick_trials_may_be_silent_for_half_a_minute() -> None:
    watch, clock, said, _, _ = watched(None)
    watch.on_trial_start(trial(0))
    watch.on_trial_start(trial(1))
    for step in range(295):
        clock.now = step / 10
        watch.on_trial_result(trial(1))
        watch.on_step_end()
    assert said == []


def test_a_trial_silent_beyond_its_time_is_given_up_and_its_worker_killed_once() -> None:
    watch, clock, said, killed, losses = watched(60)
    for number in range(3):
        watch.on_trial_start(trial(number))
    watch.on_trial_complete(trial(2))
    for clock.now in range(0, 100, 2):
        watch.on_trial_result(trial(1))
        watch.on_step_end()
    watch.on_trial_result(trial(0))  # the report was already on its way
    watch.on_trial_error(trial(0))
    watch.on_step_end()
    assert killed == [0]
    reason = "it reported nothing for 62 s (trial_timeout_seconds)"
    assert losses.reasons == {0: reason}
    assert said[-1] == f"trial 0 is ended: {reason}"


def test_a_paused_trial_is_not_silent() -> None:
    watch, clock, said, killed, _ = watched(60)
    watch.on_trial_start(trial(0, status="PAUSED"))
    clock.now = 1000
    watch.on_step_end()
    assert (said, killed) == ([], [])


@pytest.mark.slow
def test_a_frozen_worker_is_killed_and_ray_told() -> None:
    with Host(cpus=1) as host, private_ray(host):

        @ray.remote
        class Worker:
            def pid(self) -> int:
                return os.getpid()

            def train(self) -> None:
                time.sleep(600)

        worker: Any = Worker.remote()  # type: ignore[attr-defined]
        pid = ray.get(worker.pid.remote())
        training = worker.train.remote()
        os.kill(pid, signal.SIGSTOP)
        kill_worker(SimpleNamespace(temporary_state=SimpleNamespace(ray_actor=worker)))
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(training, timeout=60)
        wait_for(lambda: not Path(f"/proc/{pid}").exists())


def test_a_study_stops_when_its_wall_time_is_over_and_keeps_the_first_reason() -> None:
    recorder: Any = SimpleNamespace(stopping=None)
    assert not StudyStopper(recorder, None).stop_all()
    assert not StudyStopper(recorder, 3600).stop_all()
    assert StudyStopper(recorder, 1e-9).stop_all()
    assert recorder.stopping == "wall_seconds (1e-09) were over"
    recorder.stopping = "stopped by SIGINT"
    assert StudyStopper(recorder, 1e-9).stop_all()
    assert recorder.stopping == "stopped by SIGINT"
