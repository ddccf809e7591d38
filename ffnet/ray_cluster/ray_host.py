"""The process that holds a private Ray: it starts Ray, and takes it down when its driver ends.

It is a program of its own, in a session of its own, so that a signal to the driver's terminal or
process group does not reach Ray, and so that a driver that is killed leaves nothing behind.
"""

import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

LOOK_SECONDS = 0.5  # between looks whether it is there
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def main(folder: Path, cpus: int | None) -> None:
    """Start Ray, print the address of its head, and stay until standard input ends.

    Args:
        folder: for all that Ray writes; removed at the end.
        cpus: CPUs of Ray; None for all of this machine.
    """
    os.umask(0o077)
    (folder / "host").write_text(str(os.getpid()))
    for number in ENDING:
        signal.signal(number, lambda *_: None)
    dead: list[Callable[[], bool]] = []
    end = threading.Thread(target=_end, args=(folder, dead))
    end.start()
    try:
        from ffnet.ray_cluster import ray_internals  # Ray: only now that the handlers are set

        node = ray_internals.start_head(folder, cpus)
        dead.append(partial(ray_internals.is_dead, node))
        print("up", node.address, flush=True)
    except Exception as error:
        traceback.print_exc()
        print("error", " ".join(str(error).split()), flush=True)
    end.join()


def _end(folder: Path, dead: list[Callable[[], bool]]) -> None:
    """Wait until the driver ends or Ray is dead; then kill Ray's processes and remove the folder.

    No process of Ray has anything to save. This process becomes a new program for the work, so that
    it cannot start more of Ray at the same time.

    Args:
        folder: where Ray has its files.
        dead: gets the question whether Ray is dead, once Ray has started.
    """
    while not select.select([sys.stdin], [], [], LOOK_SECONDS)[0]:
        if any(is_dead() for is_dead in dead):
            break
    program = [sys.executable, "-P", __file__, "clear", str(folder)]
    os.execv(program[0], program)  # noqa: S606


def clear(folder: Path) -> None:
    """Kill Ray's processes and remove its folder, undisturbed by signals."""
    from ffnet.system import scratch

    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    scratch.clear(folder)


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[2]))  # where its driver found ffnet
    if sys.argv[1] == "clear":
        clear(Path(sys.argv[2]))
    else:
        main(Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
