"""The common part of `ffnet confirm` and `ffnet audit`, which train nets of a run again."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ffnet.run import ended
from ffnet.run.folder import RunFolder
from ffnet.run.hold import Hold, held
from ffnet.run.same_data import MOVED
from ffnet.system import output, scratch
from ffnet.system.environment import ray_address

if TYPE_CHECKING:
    from ffnet.data.dataset import DataSet
    from ffnet.run.ended import Ended
    from ffnet.system.live import LiveLine


class Given(NamedTuple):
    """What a command has to train nets again.

    Attributes:
        run: the run.
        hold: gives this process the right to write into the run's folder.
        data: the run's data set.
        address: address of a running Ray cluster; None for a private Ray.
        live: shows the progress.
    """

    run: "Ended"
    hold: Hold
    data: "DataSet"
    address: str | None
    live: "LiveLine"


class Result(Protocol):
    """What the nets say."""

    def lines(self) -> list[str]:
        """The result in sentences."""


def with_run(
    flags: argparse.Namespace,
    check: Callable[["Ended"], object],
    work: Callable[[Given], Result],
) -> int:
    """Hold the run that the flags name, load its data, do the work, and print its result.

    Args:
        flags: the flags of `add_common_flags`.
        check: refuses a run before its data are loaded.
        work: trains the nets.
    """
    folder = RunFolder.existing(flags.run)
    address = ray_address(flags.address)
    if address is None:
        scratch.base()  # refuses a folder that Ray's files cannot use
    scratch.clear_killed()

    from ffnet.run.same_data import load_again
    from ffnet.system.live import LiveLine

    with held(folder) as hold, output.screen() as screen, LiveLine(screen) as live:
        run = ended.read(folder)
        check(run)
        data = load_again(folder, run.document, {name: getattr(flags, name) for name in MOVED})
        print(data.describe(), *data.notes, sep="\n")
        show(Given(run, hold, data, address, live), work)
    return 0


def show(given: Given, work: Callable[[Given], Result]) -> None:
    """Do the work, and print its result."""
    try:
        found = work(given)
    finally:
        given.live.clear()
    print("\n".join(found.lines()))


def add_common_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that both commands have."""
    parser.add_argument("run", metavar="RUN", help="folder of the run, or its s3:// or gs:// URI")
    parser.add_argument(
        "--address", help="Ray cluster to use [$RAY_ADDRESS, else a private Ray here]"
    )
    parser.add_argument("--dataset", help="where the run's data are now [as in the run]")
    parser.add_argument("--data-dir", help="folder that holds the run's data now [as in the run]")
