"""Signals: the first stops a study cleanly, the second at once, the third ends the process."""

import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from ffnet.system.live import LiveLine
from ffnet.system.signals import ENDING, restored
from ffnet.tuning.driver import Signals


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    with restored():
        yield


def recorder() -> Any:
    return SimpleNamespace(stopping=None, interrupted=False)


@pytest.mark.parametrize("sign", ENDING)
def test_the_first_signal_is_the_reason_why_the_study_ends(sign: signal.Signals) -> None:
    with Signals(LiveLine(io.StringIO())) as signals:
        signals.recorder = recorder()
        signal.raise_signal(sign)
        assert signals.recorder.stopping == f"stopped by {sign.name}"
        assert signals.recorder.interrupted


def test_a_study_that_ends_for_another_reason_keeps_it() -> None:
    with Signals(LiveLine(io.StringIO())) as signals:
        signals.recorder = recorder()
        signals.recorder.stopping = "wall_seconds (5) were over"
        signal.raise_signal(signal.SIGTERM)
        assert signals.recorder.stopping == "wall_seconds (5) were over"
        assert not signals.recorder.interrupted


def test_a_second_signal_interrupts_the_study_and_a_third_ends_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Ended(Exception):  # noqa: N818 - stands for the end of the process
        pass

    def end(status: int) -> NoReturn:
        assert status == 130
        raise Ended

    monkeypatch.setattr("os._exit", end)
    with Signals(LiveLine(io.StringIO())) as signals:
        signals.recorder = recorder()
        signal.raise_signal(signal.SIGUSR1)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Ended):
            signal.raise_signal(signal.SIGINT)
        assert signals.recorder.stopping == "stopped by SIGUSR1"


def test_before_there_is_a_study_to_end_in_order_a_signal_interrupts() -> None:
    with Signals(LiveLine(io.StringIO())), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_while_the_study_ends_anyway_changes_nothing() -> None:
    with Signals(LiveLine(io.StringIO())) as signals:
        signals.recorder = recorder()
        signals.study_ends()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert signals.recorder.stopping is None


def test_signals_that_a_parent_ignores_stay_ignored_and_all_handlers_are_put_back() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    before = [signal.getsignal(sign) for sign in ENDING]
    with Signals(LiveLine(io.StringIO())) as signals:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)  # as Ray Tune does
        signals.on_step_begin()
        signals.recorder = recorder()
        signal.raise_signal(signal.SIGHUP)
        assert signals.recorder.stopping is None
        signal.raise_signal(signal.SIGUSR1)
        assert signals.recorder.stopping == "stopped by SIGUSR1"
    assert [signal.getsignal(sign) for sign in ENDING] == before


LATE = """
import atexit, os, signal, sys
from ffnet.cli.command import run

sign = int(sys.argv[1])
atexit.register(lambda: print(signal.getsignal(sign).name))  # it runs last
atexit.register(os.kill, os.getpid(), sign)
run(lambda _: 3, [])
"""


@pytest.mark.parametrize("sign", ENDING)
def test_a_signal_as_the_process_ends_leaves_its_exit_status(sign: signal.Signals) -> None:
    """Python takes back all handlers as it ends, but a signal that is ignored stays ignored."""
    command = [sys.executable, "-c", LATE, str(int(sign))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "SIG_IGN\n", "")
