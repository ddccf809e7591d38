"""The process that holds a private Ray: it starts Ray, and takes it down when its driver ends.

It is a program of its own, in a session of its own, so that a signal to the driver's terminal or
process group does not reach Ray, and so that a driver that is killed leaves nothing behind.

Here are the private parts of Ray that a private Ray needs; `ray.init` has no arguments for them.
"""

import os
import select
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"
NEEDED = ("gcs_server", "raylet")  # what Ray cannot do without
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
    nodes: list[Any] = []
    end = threading.Thread(target=_end, args=(folder, nodes))
    end.start()
    try:
        nodes.append(_start(folder, cpus))
        print("up", nodes[0].address, flush=True)
    except Exception as error:
        traceback.print_exc()
        print("error", " ".join(str(error).split()), flush=True)
    end.join()


def _start(folder: Path, cpus: int | None) -> Any:
    """Start Ray's processes; returns Ray's object for them."""
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    return Node(
        RayParams(
            node_ip_address=LOOPBACK,  # all of Ray's servers then listen there alone
            num_cpus=cpus,
            include_dashboard=False,
            dashboard_agent_listen_port=0,  # at its fixed port a second Ray waits 3 s
            no_monitor=True,  # it starts nodes: here are none to start
            temp_dir=str(folder / "ray"),  # a folder in ours, for Ray opens its own to all
            session_name="session",
            # Short, as a socket's path is limited.
            plasma_store_socket_name=str(folder / "ray" / "store"),
            raylet_socket_name=str(folder / "ray" / "raylet"),
        ),
        head=True,
        shutdown_at_exit=False,
    )


def _end(folder: Path, nodes: list[Any]) -> None:
    """Wait for the end of the driver, or of a process that Ray cannot do without; then take all
    away. No process of Ray has anything to save.

    This process becomes a new program for it, so that it starts no more of Ray meanwhile.
    """
    while not select.select([sys.stdin], [], [], LOOK_SECONDS)[0]:
        if any(kind in NEEDED for node in nodes for kind, _ in node.dead_processes()):
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
    sys.path.append(str(Path(__file__).parent.parent))  # where its driver found ffnet
    if sys.argv[1] == "clear":
        clear(Path(sys.argv[2]))
    else:
        main(Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
