"""Ray clusters of several nodes on this machine, for tests. Each node is a real raylet."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from conftest import processes_with, wait_for

HOST = """
import grpc, json, sys
from ray._private.internal_api import node_stats
from ray.cluster_utils import Cluster

def nodes():
    for node in cluster.global_state.node_table():
        if node["Alive"]:
            place = node["NodeManagerAddress"], node["NodeManagerPort"]
            try:
                stored = node_stats(*place, include_memory_info=False).store_stats
            except grpc.RpcError:  # it has just ended, and the head does not know yet
                continue
            yield {"id": node["NodeID"], "cpus": node["Resources"].get("CPU", 0),
                   "stored": stored.cumulative_created_bytes}

def add(**arguments):
    node = cluster.add_node(include_dashboard=False, **arguments)
    added[node.node_id] = node
    return node.node_id

def kill(id):  # SIGKILL
    cluster.remove_node(added.pop(id), allow_graceful=False)

cluster, added = Cluster(), {}
answers = {"nodes": lambda: list(nodes()), "add": add, "kill": kill}
for line in sys.stdin:
    name, arguments = json.loads(line)
    print(json.dumps(answers[name](**arguments)), flush=True)
cluster.shutdown()
"""
"""A program: obeys each line and answers. Ray reads its settings at import, so it is a process."""


class RayNodes:
    """A cluster with a token.

    Attributes:
        address: address of the head, HOST:PORT.
        environment: variables that clients need.
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        """Prepare the cluster; no node starts yet.

        Args:
            folder: the folder of the token.
            environment: variables for the nodes.
        """
        self._token = folder / "token"
        self._token.touch(mode=0o600)
        self._token.write_text(secrets.token_hex(32))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self._token)}
        settings = {"RAY_USAGE_STATS_ENABLED": "0", **environment}
        self._host = subprocess.Popen(
            [sys.executable, "-c", HOST], env=os.environ | self.environment | settings,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def head(self, **arguments: object) -> str:
        """Start the head with arguments of Ray's RayParams, and return its id."""
        return str(self._ask("add", gcs_server_port=self.port, **arguments))

    def add(self, **arguments: object) -> str:
        """Start another node with arguments of Ray's RayParams, and return its id."""
        return str(self._ask("add", **arguments))

    def kill(self, node: str) -> None:
        """Kill a node's processes with SIGKILL, its raylet first."""
        self._ask("kill", id=node)

    def nodes(self) -> dict[str, dict[str, float]]:
        """Return {id of a living node: its `cpus` and `stored`}.

        `stored` counts the bytes of all objects that were ever in the node's object store, also
        deleted objects and objects from other nodes. The raylet counts them.
        """
        return {node.pop("id"): node for node in self._ask("nodes")}

    def close(self) -> None:
        """End all processes that have the token, and check that none is left."""
        assert self._host.stdin
        assert self._host.stdout
        self._host.stdin.close()
        self._host.wait(timeout=60)
        self._host.stdout.close()
        for pid in processes_with(str(self._token)):  # an autoscaler may have started some
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        wait_for(lambda: not processes_with(str(self._token)), seconds=20)

    def _ask(self, name: str, **arguments: object) -> Any:
        assert self._host.stdin
        assert self._host.stdout
        self._host.stdin.write(f"{json.dumps([name, arguments])}\n")
        self._host.stdin.flush()
        for line in self._host.stdout:
            with suppress(ValueError):  # what Ray prints
                return json.loads(line)
        raise AssertionError("the cluster's process has ended")


@contextmanager
def ray_nodes(folder: Path, **environment: str) -> Iterator[RayNodes]:
    """A context manager: the cluster ends with its block."""
    nodes = RayNodes(folder, **environment)
    try:
        yield nodes
    finally:
        nodes.close()
