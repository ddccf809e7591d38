"""The program that holds a private Ray: it starts Ray, and stops Ray when the driver ends.

It runs as a separate process in a separate session. So a signal to the driver's terminal or process
group does not reach Ray, and Ray stops even when the driver is killed.
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

LOOK_SECONDS = 0.5  # time between two checks whether Ray is dead
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def main(folder: Path, cpus: int | None) -> None:
    """Start Ray, print the address of its head, and stay until standard input ends.

    Args:
        folder: the folder for all files of Ray; it is removed at the end.
        cpus: number of CPUs that Ray gets. With None, all CPUs of this machine.
    """
    os.umask(0o077)
    (folder / "host").write_text(str(os.getpid()))
    for number in ENDING:
        signal.signal(number, lambda *_: None)
    dead: list[Callable[[], bool]] = []
    end = threading.Thread(target=_end, args=(folder, dead))
    end.start()
    try:
        from ffnet.ray_cluster import ray_internals  # imports Ray, so after the handlers are set

        node = ray_internals.start_head(folder, cpus)
        dead.append(partial(ray_internals.is_dead, node))
        print("up", node.address, flush=True)
    except Exception as error:
        traceback.print_exc()
        print("error", " ".join(str(error).split()), flush=True)
    end.join()


def _end(folder: Path, dead: list[Callable[[], bool]]) -> None:
    """Wait until the driver ends or Ray is dead. Then kill Ray's processes and remove the folder.

    Ray's processes have nothing to save. For the cleaning, a new program replaces this process, so
    that the main thread cannot start more processes of Ray at the same time.

    Args:
        folder: the folder with all files of Ray.
        dead: when Ray has started, it contains a function that says whether Ray is dead.
    """
    while not select.select([sys.stdin], [], [], LOOK_SECONDS)[0]:
        if any(is_dead() for is_dead in dead):
            break
    program = [sys.executable, "-P", __file__, "clear", str(folder)]
    os.execv(program[0], program)  # noqa: S606


def clear(folder: Path) -> None:
    """Kill Ray's processes and remove Ray's folder, while signals are ignored."""
    from ffnet.system import scratch

    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    scratch.clear(folder)


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[2]))  # so that it imports the driver's ffnet
    if sys.argv[1] == "clear":
        clear(Path(sys.argv[2]))
    else:
        main(Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
