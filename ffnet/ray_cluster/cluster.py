"""The Ray cluster that a study runs on: a private one on this machine, or one that is there."""

import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from ffnet.errors import InputError, RunError
from ffnet.ray_cluster.private_ray import (
    SETTINGS,
    OnDeath,
    connect,
    private_ray,
    set_defaults,
    watched,
)
from ffnet.ray_cluster.ray_internals import cluster_grows, no_node_can_hold, nodes_are_coming
from ffnet.spec.study import Resources

TUNE = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the recorder writes the tables
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a diverged trial has no metric to report
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the driver stops a study by its stopper
    "TUNE_GLOBAL_CHECKPOINT_S": "300",  # the tables are the record, Tune's state only a spare
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints a table of settings whatever it is told
}
"""Ray Tune's environment in the driver, where the user set nothing."""

GROWING = 200
"""Trials at a time, running or waiting for nodes, on a cluster that grows with those that wait."""

LOOK_SECONDS = 5.0  # between looks whether the cluster's head answers
HEAD_SECONDS = 45.0  # for which it may be away; after 60 Ray ends this process without a word

PATIENCE = 60.0  # seconds for an autoscaler to start, look, and begin to start a node


@contextmanager
def connected(
    address: str | None,
    resources: Resources,
    concurrency: int | None,
    on_death: OnDeath = lambda _: None,
    log_to_driver: bool = True,
) -> Iterator[int]:
    """Connect to Ray; yields how many trials run at a time.

    Args:
        address: address of a running cluster. With None, a Ray that this process has initialised
            is used and left running. Where there is none, a private Ray starts on this machine and
            stops when the block ends. It is reachable only with a token that is made for it alone,
            so other Rays and users of the machine are not touched.
        resources: what a trial holds.
        concurrency: trials at a time at most; None for as many as the resources hold.
        on_death: called in a thread, with the reason, when Ray is dead. After it this process ends
            with exit status 1: Ray would end it a little later without a word.
        log_to_driver: whether what workers print, and what Ray logs, is printed here too.

    On a cluster that grows, Ray Tune is given as many as `concurrency`, or GROWING: those for which
    there is no node yet wait, and for them the cluster's autoscaler starts nodes, up to its own
    maximum.

    Raises:
        InputError: no node can hold a trial, and none that could may come; or the cluster cannot
            be reached.
    """
    set_defaults(SETTINGS | TUNE)
    if address is None and ray.is_initialized():
        yield _slots(resources, concurrency, grows=cluster_grows())
        return
    if address is None:
        with private_ray(_own_cpus(resources, concurrency), log_to_driver, on_death):
            yield _slots(resources, concurrency, grows=False)
        return
    try:
        _knock(address)
        connect(address, log_to_driver)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"address must be a running Ray cluster. Given: {address} ({reason})"
        ) from None
    try:
        with watched(partial(_watch_head, ray.get_runtime_context().gcs_address, on_death)):
            yield _slots(resources, concurrency, grows=cluster_grows())
    finally:
        ray.shutdown()


def _watch_head(head: str, on_death: OnDeath, ends: threading.Event) -> None:
    """End this process when the cluster's head does not answer for long."""
    answered = time.monotonic()
    while not ends.wait(LOOK_SECONDS):
        with suppress(OSError):
            _knock(head)
            answered = time.monotonic()
        if time.monotonic() - answered > HEAD_SECONDS:
            on_death(f"the cluster's head, {head}, has not answered for {HEAD_SECONDS:.0f} s")
            os._exit(RunError.exit_status)


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


def _slots(resources: Resources, concurrency: int | None, grows: bool) -> int:
    """Trials at a time: what the nodes hold, or more where nodes come; at most `concurrency`."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    slots = sum(_fit(node, resources) for node in nodes)
    shown = [f"{n.get('CPU', 0):g} CPUs, {n.get('GPU', 0):g} GPUs" for n in nodes]
    if not slots and grows and not _comes(resources):
        raise _too_large(resources, [*shown, "the cluster starts none that could"])
    if not slots and not grows:
        raise _too_large(resources, shown)
    return concurrency or GROWING if grows else min(slots, concurrency or slots)


def _fit(node: dict[str, float], resources: Resources) -> int:
    return min(math.floor(node.get(k, 0) / v + 1e-9) for k, v in _wanted(resources).items())


def _wanted(resources: Resources) -> dict[str, float]:
    """What a trial holds, in Ray's words."""
    held = {"CPU": resources.cpus, "GPU": resources.gpus}
    return {name: amount for name, amount in held.items() if amount}


def _too_large(resources: Resources, nodes: list[str]) -> InputError:
    return InputError(
        f"a trial must fit on one node. Given: {resources.cpus:g} CPUs, {resources.gpus:g} GPUs; "
        f"nodes: {'; '.join(nodes)}; lower --cpus or --gpus"
    )


def _comes(resources: Resources) -> bool:
    """Ask for a node that holds a trial; whether such a node is there or on its way."""
    asked = placement_group([_wanted(resources)])
    end = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < end:
            if asked.wait(0.5) or nodes_are_coming():
                return True
            if no_node_can_hold(asked):
                return False
        return False
    finally:
        remove_placement_group(asked)
