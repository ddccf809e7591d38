"""`Run.confirm` and `Run.audit`, which train nets of a run again from Python."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ffnet.data.dataset import DataSet
from ffnet.run import ended
from ffnet.run.audit import Audited
from ffnet.run.confirm import Confirmed
from ffnet.run.ended import Ended
from ffnet.run.folder import RunFolder
from ffnet.run.hold import Hold, held
from ffnet.run.same_data import load_again
from ffnet.system import scratch
from ffnet.system.live import LiveLine
from ffnet.tuning import guests


def confirm(
    folder: RunFolder,
    wish: tuple[int | None, int, int | None, bool, int | None],
    data: Any,
    address: str | None,
) -> Confirmed:
    """Confirm a run: see `Run.confirm`. `wish` has the fields of `tuning.confirm.Wish`."""
    where = guests.ray_of(address)
    with _opened(folder, data) as (run, hold, loaded, live):
        from ffnet.tuning.confirm import Wish, run_confirm

        return run_confirm(run, hold, loaded, Wish(*wish), where, live, guest=True)


def audit(folder: RunFolder, trials: int | None, data: Any, address: str | None) -> Audited:
    """Audit a run: see `Run.audit`."""
    where = guests.ray_of(address)
    with _opened(folder, data) as (run, hold, loaded, live):
        from ffnet.tuning.audit import run_audit

        return run_audit(run, hold, loaded, trials, where, live, guest=True)


@contextmanager
def _opened(folder: RunFolder, data: Any) -> Iterator[tuple[Ended, Hold, DataSet, LiveLine]]:
    """Hold the run, and load its data. Afterwards the caller's process is as before."""
    scratch.clear_killed()
    with held(folder) as hold, LiveLine(sys.stdout) as live, guests.unchanged():
        run = ended.read(folder)
        yield run, hold, load_again(folder, run.document, given=data), live
