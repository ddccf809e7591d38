"""Shows the progress of a study in one line."""

import time
from dataclasses import dataclass
from typing import Any

from ray import tune

from ffnet.run.folder import RunFolder
from ffnet.run.tables import Status
from ffnet.spec.study import Study
from ffnet.system.live import LiveLine, clock
from ffnet.tuning import pulse
from ffnet.tuning.recorder import Recorder

LONG_SECONDS = 10.0
"""The line also names trials that have not reported for so long."""

SHOWN = 2
"""How many such trials the line names. The trials with the oldest reports come first."""


@dataclass
class Interval:
    """The time of a running trial since its start or its last report.

    Attributes:
        trial: Ray Tune's trial.
        since: when the interval began, by `time.monotonic`.
        epochs: how many epochs the trial had trained then.
        before: duration of the interval before, in seconds; None for the first interval.
    """

    trial: Any
    since: float
    epochs: float = 0.0
    before: float | None = None


class Progress(tune.Callback):  # type: ignore[misc]
    """A Ray Tune callback that shows the progress of a study."""

    def __init__(self, study: Study, recorder: Recorder, live: LiveLine, folder: RunFolder) -> None:
        """Start the study's clock.

        Args:
            study: the study.
            recorder: has the rows of the study's trials.
            live: shows the line.
            folder: the run's folder, where workers write how far their trials are.
        """
        self._study, self._recorder, self._live = study, recorder, live
        self._folder = folder
        self._intervals: dict[int, Interval] = {}
        self._begun = time.monotonic()
        self._stopping = False

    def on_trial_start(self, trial: Any, **_: Any) -> None:
        """A worker begins the trial or continues it."""
        self._intervals[_number(trial)] = Interval(trial, time.monotonic())

    def on_trial_result(self, trial: Any, result: dict[str, Any], **_: Any) -> None:
        """A trial reported: its next interval begins."""
        now = time.monotonic()
        ended = self._intervals.get(_number(trial))
        seconds = now - ended.since if ended else None
        self._intervals[_number(trial)] = Interval(trial, now, result.get("epoch", 0.0), seconds)

    def on_trial_complete(self, trial: Any, **_: Any) -> None:
        """The trial has ended."""
        self._intervals.pop(_number(trial), None)

    def on_trial_error(self, trial: Any, **_: Any) -> None:
        """The trial's worker was lost."""
        self._intervals.pop(_number(trial), None)

    def on_step_end(self, **_: Any) -> None:
        """Show the progress if an update is due. If a signal stops the study, say so at once."""
        if self._recorder.interrupted and not self._stopping:
            self._stopping = True
            self.say("stopping: trials save their state; again to quit now")
        self._live.show(self._line)

    def say(self, line: str) -> None:
        """Show a line on the screen, above the line of the progress, and write it into the log."""
        print(line, flush=True)
        self._live.say(line)

    def _line(self) -> str:
        now = time.monotonic()
        return " · ".join(
            [describe(self._study, self._recorder, now - self._begun), *self._long(now)]
        )

    def _long(self, now: float) -> list[str]:
        """How far the trials are that have not reported for LONG_SECONDS."""
        running = [
            (interval.since, number)
            for number, interval in self._intervals.items()
            if now - interval.since > LONG_SECONDS and interval.trial.status == "RUNNING"
        ]
        return [
            where(number, self._intervals[number], pulse.read(self._folder, number), now)
            for _, number in sorted(running)[:SHOWN]
        ]


def where(number: int, interval: Interval, epochs: float | None, now: float) -> str:
    """How far a trial is in its epoch. If this is not known, how long it has not reported.

    Args:
        number: the trial's number.
        interval: the trial's present interval.
        epochs: how many epochs the trial has trained; None if its worker has not written this.
        now: the time by `time.monotonic`.
    """
    if epochs is not None and epochs > interval.epochs:
        return f"trial {number}: {100 * (epochs % 1):.0f} % of epoch {int(epochs) + 1}"
    text = f"trial {number}: no report for {clock(now - interval.since)}"
    return text + (f", the one before took {clock(interval.before)}" if interval.before else "")


def describe(study: Study, recorder: Recorder, seconds: float) -> str:
    """The line: trials by status, the best trial so far, epochs per second, time left.

    Args:
        study: the study.
        recorder: has the rows of the study's trials.
        seconds: how long this process has run the study.
    """
    counts = recorder.writer.counts()
    ended = counts.total() - counts[Status.RUNNING] - len(recorder.waiting)
    now = ended - recorder.ended_before
    states = ", ".join(f"{n} {status}" for status, n in counts.items())
    parts = [f"{ended}/{study.trials} trials ({states or 'starting'})"]
    for best in recorder.writer.best(1):
        metric = study.tuning.metric
        parts.append(f"best {metric} {best[f'best_{metric}']:.4f} (trial {best['trial']})")
    parts.append(f"{recorder.writer.epochs_run() / seconds:.2f} epochs/s")
    parts.append(f"{clock(seconds)} gone")
    if now:
        parts.append(f"about {clock(seconds / now * (study.trials - ended))} left")
    return " · ".join(parts)


def _number(trial: Any) -> int:
    return int(trial.config["trial"]["number"])
