"""The progress of a study, as one line."""

import time
from typing import Any

from ray import tune

from ffnet.run.tables import Status
from ffnet.spec.study import Study
from ffnet.system.live import LiveLine, clock
from ffnet.tuning.recorder import Recorder


class Progress(tune.Callback):  # type: ignore[misc]
    """Shows how a study stands, as a Ray Tune callback."""

    def __init__(self, study: Study, recorder: Recorder, live: LiveLine) -> None:
        """Begin the study's time.

        Args:
            study: what is run.
            recorder: knows how it stands.
            live: where to show it.
        """
        self._study, self._recorder, self._live = study, recorder, live
        self._begun = time.monotonic()
        self._stopping = False

    def on_step_end(self, **_: Any) -> None:
        """Show the state, when it is time to; at once that a signal stops the study."""
        if self._recorder.interrupted and not self._stopping:
            self._stopping = True
            self.say("stopping: trials save their state; again to quit now")
        self._live.show(self._line)

    def say(self, line: str) -> None:
        """Show a line on the screen, above the live one, and write it into the log."""
        print(line, flush=True)
        self._live.say(line)

    def _line(self) -> str:
        return describe(self._study, self._recorder, time.monotonic() - self._begun)


def describe(study: Study, recorder: Recorder, seconds: float) -> str:
    """One line: trials by status, the best so far, epochs a second, time left."""
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
