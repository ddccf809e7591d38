"""The progress of a study: one live line on a terminal, a plain line every so often elsewhere."""

import time
from typing import Any, TextIO

from ray import tune
from rich.console import Console
from rich.live import Live

from ffnet.run.tables import Status
from ffnet.spec.study import Study
from ffnet.tuning.recorder import Recorder

LIVE_SECONDS, PLAIN_SECONDS = 0.25, 10.0


class Progress(tune.Callback):  # type: ignore[misc]
    """Shows how a study stands, as a Ray Tune callback."""

    def __init__(self, study: Study, recorder: Recorder, screen: TextIO) -> None:
        """Begin the display.

        Args:
            study: what is run.
            recorder: knows how it stands.
            screen: where to show it.
        """
        self._study, self._recorder = study, recorder
        self._console = Console(file=screen, highlight=False)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,  # what else is printed goes to the log, not above the line
            redirect_stderr=False,
        )
        self._begun = time.monotonic()
        self._shown = self._begun
        self._stopping = False
        if self._console.is_terminal:
            self._live.start()

    def on_step_end(self, **_: Any) -> None:
        """Show the state, when it is time to; at once that a signal stops the study."""
        if self._recorder.interrupted and not self._stopping:
            self._stopping = True
            self.say("stopping: trials save their state; another signal ends the study now")
        live, now = self._console.is_terminal, time.monotonic()
        if now - self._shown < (LIVE_SECONDS if live else PLAIN_SECONDS):
            return
        self._shown = now
        line = describe(self._study, self._recorder, now - self._begun)
        if live:
            self._live.update(line, refresh=True)
        else:
            self._console.print(line, soft_wrap=True)

    def say(self, line: str) -> None:
        """Show a line on the screen, above the live one, and write it into the log."""
        print(line, flush=True)
        self._console.print(line, soft_wrap=True)

    def close(self) -> None:
        """End the display."""
        self._live.stop()


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
    parts.append(f"{_clock(seconds)} gone")
    if now:
        parts.append(f"about {_clock(seconds / now * (study.trials - ended))} left")
    return " · ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
