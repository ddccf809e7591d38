"""Connects a study, or nets that are trained again, to Ray; what Ray prints goes to ray.log."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from ffnet.ray_cluster import cluster
from ffnet.ray_cluster.private_host import Host
from ffnet.run.folder import RunFolder
from ffnet.spec.study import Study
from ffnet.system import output
from ffnet.tuning import guests


@contextmanager
def connected(
    study: Study,
    folder: RunFolder,
    address: str | None,
    guest: bool,
    advice: str,
    on_death: Callable[[str, TextIO], None],
    host: Host | None = None,
) -> Iterator[int]:
    """Connect to Ray. Yields how many trials are handed to Ray at a time.

    Args:
        study: says which CPUs and GPUs a trial gets, and how many trials may run at a time.
        folder: the run's folder, which gets ray.log.
        address: address of a running Ray cluster: see `cluster.connected`.
        guest: whether the process belongs to a caller, for example a notebook. Then its streams
            are not redirected.
        advice: what the user can do if no node can hold a trial: see `cluster`.
        on_death: called with the reason and the process's errors when Ray is dead: see `cluster`.
        host: a private Ray that is starting already: see `cluster.connected`.

    Raises:
        InputError: the cluster cannot be reached, or no node can hold a trial.
    """
    with (
        folder.log() as log,
        output.screen(2) as errors,
        guests.logged(log) if guest else output.redirected(log, 1, 2),
        cluster.connected(
            address,
            study.resources,
            study.budget.concurrency,
            advice,
            lambda reason: on_death(reason, errors),
            log_to_driver=not guest,
            host=host,
        ) as slots,
    ):
        yield slots
