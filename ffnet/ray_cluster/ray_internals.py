"""Every private part of Ray that ffnet uses is in this file, under a plain name.

Ray may change these parts at any time. They were checked with Ray 2.60.0, and pyproject.toml allows
no other minor version. Each docstring says why Ray's public interface is not enough; each heading
names the tests that fail when Ray changes a part. `tests/test_ray_internals.py` checks that no
other module uses a private part.

The first half is about Ray itself. The second half changes one of Ray Tune's schedulers; it imports
nothing of Ray Tune, because the process that holds a private Ray needs this file and must start
quickly.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray._private import ray_constants, services
from ray._private.node import Node
from ray._private.parameter import RayParams
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply
from ray.experimental.internal_kv import internal_kv_get_gcs_client

LOOPBACK = "127.0.0.1"

NEEDED = ("gcs_server", "raylet")
"""Ray's names of the processes that it cannot work without."""

START_SECONDS = 120.0  # a private Ray that does not run after so long has failed to start


# --- a private Ray: tests/test_private.py, tests/test_ray_internals.py -------------------------


def start_head(folder: Path, cpus: int | None) -> Node:
    """Start Ray's processes on this machine, reachable on loopback only.

    `ray.init` has no arguments for these settings, and it ends Ray with the driver's process group.
    `ray start` has most of them, but it takes two seconds longer.

    Args:
        folder: where Ray puts all its files.
        cpus: CPUs of Ray; with None, all CPUs of this machine.

    Ray's processes inherit a variable that Ray has for laptops: with it, they use loopback.

    Returns:
        Ray's object for the processes. Its `address` is HOST:PORT.
    """
    parameters = RayParams(
        node_ip_address=LOOPBACK,  # then all of Ray's servers listen on loopback only
        num_cpus=cpus,
        include_dashboard=False,
        dashboard_agent_listen_port=0,  # with the fixed port, a second Ray would wait 3 s
        no_monitor=True,  # the monitor starts nodes, and a private Ray has one node only
        temp_dir=str(folder / "ray"),  # inside our folder, because Ray opens its own to all
        session_name="session",
        # These paths are short, because the length of a socket's path is limited.
        plasma_store_socket_name=str(folder / "ray" / "store"),
        raylet_socket_name=str(folder / "ray" / "raylet"),
    )
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    with patient(), on_loopback():
        return Node(parameters, head=True, shutdown_at_exit=False)


@contextmanager
def patient() -> Iterator[None]:
    """In the block, a new node of Ray may take START_SECONDS to start.

    Ray gives up after 30 s, for which it has no setting. Beside much other work a node needs
    longer: two private Rays did not start on two cores with a load of 20. Ray asks for the node
    again and again, and looks at the clock only when there is no answer, so the answer waits here.
    """
    ask, end = services.get_node, time.monotonic() + START_SECONDS

    def get_node(*arguments: Any) -> Any:
        while True:
            try:
                return ask(*arguments)
            except RuntimeError:  # the node is not there yet
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    services.get_node = get_node
    try:
        yield
    finally:
        services.get_node = ask


def is_dead(node: Node) -> bool:
    """Whether a process in NEEDED has ended."""
    return any(kind in NEEDED for kind, _ in node.dead_processes())


def read_token_again() -> None:
    """Make Ray read the authentication mode and the token from the environment again.

    Ray reads both once, when it is imported, and has no public way to change them afterwards.
    """
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def on_loopback() -> Iterator[None]:
    """In the block, Ray takes loopback as the address of this process.

    Ray reads its switch from the environment when it is imported, which may be long before. The
    argument `_node_ip_address` of `ray.init` does not help: Ray replaces loopback in it by an
    address that other machines reach.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


# --- Ray Serve: tests/test_serve.py --------------------------------------------------------------


def keep_replica_on_loopback() -> None:
    """On a replica of Ray Serve, before it starts: its gRPC server will listen on loopback only.

    Other deployments send their calls to that server. It runs what it receives and asks for no
    token. Ray Serve binds it to all addresses of the machine and has no setting for this.
    """
    from ray.serve._private import replica

    def add_port(server: Any, _: str) -> Any:
        return server.add_insecure_port(f"{LOOPBACK}:0")

    replica.add_port_to_grpc_server = add_port


# --- what all workers of a cluster agree on: tests/test_paths.py ---------------------------------


def agreed(name: str, choose: Callable[[], str]) -> str:
    """The text that all processes of a cluster have for a name: that of the first which chose one.

    An actor with a dictionary would do the same with a process of its own.

    Args:
        name: the name.
        choose: returns this process's choice, in ASCII. It is called only if there is no text yet.
    """
    store, key, namespace = internal_kv_get_gcs_client(), name.encode(), b"ffnet"
    if (known := store.internal_kv_get(key, namespace)) is None:
        store.internal_kv_put(key, choose().encode(), False, namespace)
        known = store.internal_kv_get(key, namespace)
    return bytes(known).decode()


# --- clusters that start nodes: tests/test_autoscaling.py ----------------------------------------
# No public function of Ray answers these questions. Ray has two autoscalers. The new autoscaler,
# which `ray up` and KubeRay use, sets a flag in Ray's key-value store. The old autoscaler, which
# `ray start --autoscaling-config` uses, writes a report into that store.


def cluster_grows() -> bool:
    """Whether the cluster starts nodes for tasks that wait; False through ray://."""
    head = internal_kv_get_gcs_client()
    if head is None:
        return False
    if head.internal_kv_get(b"__autoscaler_v2_enabled", b"__autoscaler") == b"1":
        return True
    # On a cluster that does not grow, the type of each node begins with node_.
    return any(not name.startswith("node_") for name in _old_report().get("active_nodes", {}))


def nodes_are_coming() -> bool:
    """Whether the autoscaler has asked for nodes that have not joined the cluster yet."""
    state, report = _status().autoscaling_state, _old_report()
    return bool(
        state.pending_instance_requests
        or state.pending_instances
        or report.get("pending_launches")
        or report.get("pending_nodes")
    )


def no_node_can_hold(group: Any) -> bool:
    """Whether the new autoscaler says that it cannot start nodes for a placement group."""
    refused = _status().autoscaling_state.infeasible_gang_resource_requests
    return any(group.id.hex() in request.details for request in refused)


def _status() -> Any:
    return GetClusterStatusReply.FromString(internal_kv_get_gcs_client().get_cluster_status())


def _old_report() -> dict[str, Any]:
    """The report of the old autoscaler; empty where the old autoscaler does not run."""
    status = internal_kv_get_gcs_client().internal_kv_get(b"__autoscaling_status", None)
    report: dict[str, Any] = json.loads(status or "{}").get("autoscaler_report", {})
    return report


# --- Ray Tune: tests/test_schedulers.py, tests/test_watch.py, tests/test_ray_internals.py --------


@contextmanager
def stateless_tune() -> Iterator[None]:
    """In the block, `tune.run` neither saves its own state nor collects result files at the end.

    ffnet resumes a study from its tables, and never reads what Tune saves. For 6,000 trials Tune
    needs about ten seconds for each of its snapshots, of which the last one comes after the last
    trial, and then it looks for two files of each trial, on a store with two requests. It has a
    setting for the time between snapshots only. Through ray://, Tune runs in another process, which
    does as Tune does by default.
    """
    import importlib

    from ray.tune.execution.tune_controller import TuneController

    class Stateless(TuneController):  # type: ignore[misc]
        def checkpoint(self, force: bool = False, wait: bool = False) -> None:
            """Save nothing."""

    module: Any = importlib.import_module("ray.tune.tune")
    before = module.TuneController, module.ExperimentAnalysis
    module.TuneController, module.ExperimentAnalysis = Stateless, dict
    try:
        yield
    finally:
        module.TuneController, module.ExperimentAnalysis = before


def worker_of(trial: Any) -> Any:
    """The handle of the actor that runs a trial; None when no actor runs it.

    Ray Tune's callbacks receive the trial only, and no public attribute leads to its actor.
    """
    return trial.temporary_state.ray_actor


class ExploresItself:
    """A base class that changes Ray Tune's PopulationBasedTraining; it must come before that class.

    Ray's public hook for a new configuration does not know the trials, but `explored` must know
    both. Ray's scheduler refuses to work with a searcher, but ffnet's searcher hands out trials.
    And it has no way to learn what an earlier process of the study knew of a trial.
    """

    def explored(self, trial: Any, better: Any, epoch: float) -> dict[str, Any]:
        """The configuration with which a trial continues from the weights of a better trial.

        Args:
            trial: Ray's trial.
            better: Ray's trial whose weights it takes over.
            epoch: the epoch at which the two were compared.
        """
        raise NotImplementedError

    def know(self, trial: Any, since: float, score: float) -> None:
        """Take over from an earlier process what is known of a trial that was added.

        Args:
            trial: Ray's trial.
            since: the epoch from which the epochs to its next comparison are counted.
            score: its figure at its last comparison; higher is better.
        """
        state = self._trial_state[trial]  # type: ignore[attr-defined]
        state.last_perturbation_time = state.last_train_time = since
        state.last_score = score

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Add a trial. Ray looks for a searcher in the controller and finds none here.

        Ray refuses searchers because a searcher could learn from a configuration that has changed
        since. ffnet's searcher does not.
        """
        super().on_trial_add(_NoSearcher, trial)  # type: ignore[misc]

    def waits(self, trial: Any) -> float:
        """The epoch from which a waiting trial trains on."""
        return float(self._trial_state[trial].last_train_time)  # type: ignore[attr-defined]

    def _get_new_config(self, trial: Any, trial_to_clone: Any) -> tuple[dict[str, Any], Any]:
        compared = self._trial_state[trial].last_train_time  # type: ignore[attr-defined]
        return self.explored(trial, trial_to_clone, compared), {}


class _NoSearcher:
    """Stands in for Ray Tune's controller and has no searcher."""

    search_alg = None
