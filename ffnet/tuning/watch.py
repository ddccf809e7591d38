"""A Ray Tune callback that notices trials that do not report any more.

A worker can hang without dying, for example when its process is stopped, its disk does not answer
or its machine swaps. Ray then waits for it for ever.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import ray
from ray import tune

from ffnet.ray_cluster.ray_internals import worker_of
from ffnet.tuning.losses import Losses

LOOK_SECONDS = 1.0  # time between two looks at all trials
# A trial is noted when it is silent TIMES as long as the median interval between reports, and for
# LEAST_SECONDS or more. The median needs PEERS intervals.
TIMES, LEAST_SECONDS, PEERS = 10, 30.0, 5


@dataclass
class Heard:
    """When a running trial gave its last sign of life: its start or a report."""

    trial: Any
    at: float
    reported: bool = False
    noted: bool = False


class Watch(tune.Callback):  # type: ignore[misc]
    """Says which trials are silent for long, and ends a trial that is silent beyond the timeout."""

    def __init__(
        self,
        losses: Losses,
        timeout: float | None,
        say: Callable[[str], None],
        kill: Callable[[Any], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with no trial.

        Args:
            losses: is told which trials are given up.
            timeout: after so many seconds without a report, set-up included, a trial ends as
                failed. With None, no trial ends so.
            say: shows a line on the screen and writes it to the log.
            kill: ends the worker of a trial. With None, `kill_worker`.
            clock: gives the time in seconds.
        """
        self._losses, self._timeout, self._say = losses, timeout, say
        self._kill, self._clock = kill or kill_worker, clock
        self._heard: dict[int, Heard] = {}
        self._intervals: deque[float] = deque(maxlen=200)
        self._look_at = clock()

    def on_trial_start(self, trial: Any, **_: Any) -> None:
        """A worker begins the trial or continues it."""
        self._heard[_number(trial)] = Heard(trial, self._clock())

    def on_trial_result(self, trial: Any, **_: Any) -> None:
        """A trial reported."""
        heard, now = self._heard.get(_number(trial)), self._clock()
        if heard and heard.reported:  # the time before a first report includes the set-up
            self._intervals.append(now - heard.at)
        self._heard[_number(trial)] = Heard(trial, now, reported=True)

    def on_trial_complete(self, trial: Any, **_: Any) -> None:
        """The trial has ended."""
        self._heard.pop(_number(trial), None)

    def on_trial_error(self, trial: Any, **_: Any) -> None:
        """The trial's worker was lost."""
        self._heard.pop(_number(trial), None)

    def on_step_end(self, **_: Any) -> None:
        """Look at the running trials, once a second."""
        now = self._clock()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        for number, heard in list(self._heard.items()):
            if heard.trial.status == "RUNNING":  # a paused trial has nothing to report
                self._look(number, heard, now - heard.at)

    def _look(self, number: int, heard: Heard, silent: float) -> None:
        if self._timeout and silent > self._timeout:
            reason = f"it reported nothing for {silent:.0f} s (trial_timeout_seconds)"
            self._losses.give_up(number, reason)
            self._heard.pop(number)
            self._say(f"trial {number} is ended: {reason}")
            self._kill(heard.trial)
            return
        if heard.noted or len(self._intervals) < PEERS:
            return
        usual = median(self._intervals)
        if silent > max(TIMES * usual, LEAST_SECONDS):
            heard.noted = True
            advice = "" if self._timeout else "; --trial-timeout-seconds would end it"
            self._say(
                f"trial {number} has reported nothing for {silent:.0f} s, while reports take "
                f"{usual:.2g} s in the median{advice}"
            )


def kill_worker(trial: Any) -> None:
    """End the worker process of a trial; Ray Tune then learns that the worker was lost.

    Ray kills a process that does not end by itself, for example a frozen process, after 5 s.
    """
    if worker := worker_of(trial):
        ray.kill(worker)


def _number(trial: Any) -> int:
    return int(trial.config["trial"]["number"])
