"""Connects a study to Ray: to a running cluster, or to a private Ray on this machine."""

import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from ffnet.errors import InputError, RunError
from ffnet.ray_cluster.private_host import SETTINGS, Host, own_cpus, too_large
from ffnet.ray_cluster.private_ray import OnDeath, connect, private_ray, set_defaults, watched
from ffnet.ray_cluster.ray_internals import cluster_grows, no_node_can_hold, nodes_are_coming
from ffnet.spec.sections import Resources

TUNE = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the recorder writes the tables
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a diverged trial has no metric to report
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the driver handles signals itself
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output always prints a table of settings
}
"""Environment variables for Ray Tune in the driver. Values that the user has set stay."""

GROWING = 200
"""How many trials are handed to Ray at a time on a cluster that starts nodes for waiting trials."""

LOOK_SECONDS = 5.0  # time between two checks whether the cluster's head answers
HEAD_SECONDS = 45.0  # a head may be silent so long; after 60 s Ray ends this process silently

PATIENCE = 60.0  # seconds within which an autoscaler begins to start a node


@contextmanager
def connected(
    address: str | None,
    resources: Resources,
    concurrency: int | None,
    advice: str,
    on_death: OnDeath = lambda _: None,
    log_to_driver: bool = True,
    host: Host | None = None,
) -> Iterator[int]:
    """Connect to Ray. Yields how many trials are handed to Ray at a time.

    On a cluster that grows, this is `concurrency` or GROWING: trials without a node wait, and the
    cluster's autoscaler starts nodes for them, up to the cluster's maximum.

    Args:
        address: address of a running cluster. With None, the Ray that this process has initialised
            is used and left running. If there is none, a private Ray starts on this machine and
            stops when the block ends. It has a new token, so that other users of the machine cannot
            reach it, and it does not disturb other Rays.
        resources: CPUs and GPUs of a trial.
        concurrency: maximum number of trials at a time. With None, as many as the nodes hold.
        advice: what the user can do if no node can hold a trial, for the error.
        on_death: called in a thread, with the reason, when Ray is dead. Then this process ends with
            exit status 1, because Ray would end it a little later and say nothing.
        log_to_driver: whether this process prints what workers print and what Ray logs.
        host: a private Ray that is starting already, which is used if `address` is None.

    Raises:
        InputError: the cluster cannot be reached, or no node, present or future, can hold a trial.
    """
    set_defaults(SETTINGS | TUNE)
    if address is None and ray.is_initialized():
        yield _slots(resources, concurrency, cluster_grows(), advice)
        return
    if address is None:
        with (
            nullcontext(host) if host else Host(own_cpus(resources, concurrency, advice)) as own,
            private_ray(own, log_to_driver, on_death),
        ):
            yield _slots(resources, concurrency, False, advice)
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
            yield _slots(resources, concurrency, cluster_grows(), advice)
    finally:
        ray.shutdown()


def _watch_head(head: str, on_death: OnDeath, ends: threading.Event) -> None:
    """End this process when the cluster's head has not answered for HEAD_SECONDS."""
    answered = time.monotonic()
    while not ends.wait(LOOK_SECONDS):
        with suppress(OSError):
            _knock(head)
            answered = time.monotonic()
        if time.monotonic() - answered > HEAD_SECONDS:
            on_death(f"the cluster's head, {head}, has not answered for {HEAD_SECONDS:.0f} s")
            os._exit(RunError.exit_status)


def _knock(address: str) -> None:
    """Raise OSError if nothing listens at the address; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


def _slots(resources: Resources, concurrency: int | None, grows: bool, advice: str) -> int:
    """How many trials are handed to Ray at a time: see `connected`."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    slots = sum(_fit(node, resources) for node in nodes)
    shown = [f"{n.get('CPU', 0):g} CPUs, {n.get('GPU', 0):g} GPUs" for n in nodes]
    if not slots and grows and not _comes(resources):
        shown.append("the cluster cannot start a larger node")
        raise too_large(resources, shown, advice)
    if not slots and not grows:
        raise too_large(resources, shown, advice)
    return concurrency or GROWING if grows else min(slots, concurrency or slots)


def _fit(node: dict[str, float], resources: Resources) -> int:
    return min(math.floor(node.get(k, 0) / v + 1e-9) for k, v in _wanted(resources).items())


def _wanted(resources: Resources) -> dict[str, float]:
    """A trial's resources under Ray's names; resources of 0 are left out."""
    held = {"CPU": resources.cpus, "GPU": resources.gpus}
    return {name: amount for name, amount in held.items() if amount}


def _comes(resources: Resources) -> bool:
    """Ask for a node that holds a trial. Returns whether it is there or the cluster starts it."""
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
