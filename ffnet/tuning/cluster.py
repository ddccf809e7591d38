"""The Ray cluster that a study runs on: a private one on this machine, or one that is there."""

import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from ffnet.errors import InputError
from ffnet.private_ray import SETTINGS, private_ray, set_defaults
from ffnet.study import Resources

TUNE = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the recorder writes the tables
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a diverged trial has no metric to report
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the driver stops a study by its stopper
    "TUNE_GLOBAL_CHECKPOINT_S": "300",  # the tables are the record, Tune's state only a spare
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
"""Ray Tune's environment in the driver, where the user set nothing."""


@contextmanager
def connected(address: str | None, resources: Resources, concurrency: int | None) -> Iterator[int]:
    """Connect to Ray; yields how many trials run at a time.

    Args:
        address: of a running cluster; None starts a private one on this machine, which goes when
            the block ends. It is reachable only with a token that is made for it alone, so other
            Rays and users of the machine are not touched.
        resources: what a trial holds.
        concurrency: trials at a time at most; None for as many as the resources hold.

    Raises:
        InputError: no node can hold a trial, or the cluster cannot be reached.
    """
    set_defaults(SETTINGS | TUNE)
    if address is None:
        with private_ray(num_cpus=_own_cpus(resources, concurrency)):
            yield _slots(resources, concurrency)
        return
    try:
        _knock(address)
        ray.init(address=address)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"address must be a running Ray cluster. Given: {address} ({reason})"
        ) from None
    try:
        yield _slots(resources, concurrency)
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError when nothing listens there: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


def _own_cpus(resources: Resources, concurrency: int | None) -> int:
    """CPUs of a private cluster."""
    cpus = len(os.sched_getaffinity(0))
    if resources.cpus > cpus:  # said before Ray takes seconds to start
        raise _too_large(resources, [f"this machine: {cpus} CPUs"])
    return min(cpus, math.ceil(concurrency * resources.cpus)) if concurrency else cpus


def _slots(resources: Resources, concurrency: int | None) -> int:
    """Trials that the cluster's nodes hold at a time, at most `concurrency`."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    slots = sum(_fit(node, resources) for node in nodes)
    if not slots:
        shown = [f"{n.get('CPU', 0):g} CPUs, {n.get('GPU', 0):g} GPUs" for n in nodes]
        raise _too_large(resources, shown)
    return min(slots, concurrency or slots)


def _fit(node: dict[str, float], resources: Resources) -> int:
    wanted = {"CPU": resources.cpus, "GPU": resources.gpus}
    return min(math.floor(node.get(k, 0) / v + 1e-9) for k, v in wanted.items() if v)


def _too_large(resources: Resources, nodes: list[str]) -> InputError:
    return InputError(
        f"a trial must fit on one node. Given: {resources.cpus:g} CPUs, {resources.gpus:g} GPUs; "
        f"nodes: {'; '.join(nodes)}; lower --cpus or --gpus"
    )
