"""Checks before the first trial that every node of a cluster sees the run's folder."""

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ffnet.errors import InputError
from ffnet.run import storage
from ffnet.run.folder import RunFolder

PATIENCE = 60.0  # seconds within which all nodes must answer


def refuse_unseen(folder: RunFolder) -> None:
    """Refuse a run's folder if a node does not see it or cannot write into it.

    Args:
        folder: the run's folder; its study.json must exist.

    Raises:
        InputError: names the nodes and their reasons.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) == 1:
        return
    with folder.study.open() as file:
        expected = file.read()
    look = ray.remote(num_cpus=0)(_look)
    answers = {
        f"{node['NodeManagerHostname']}:{node['NodeID'][:8]}": look.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(folder, expected)
        for node in nodes
    }
    done, _ = ray.wait([*answers.values()], num_returns=len(answers), timeout=PATIENCE)
    wrong = {name: _answer(ref) if ref in done else "no answer" for name, ref in answers.items()}
    wrong = {name: reason for name, reason in wrong.items() if reason}
    if wrong:
        listed = "; ".join(f"{name} ({reason})" for name, reason in wrong.items())
        raise InputError(
            f"every node must see the results folder. Given: {folder}, which these nodes do not "
            f"see: {listed}; choose --out on a shared file system, s3:// or gs://"
        )


def _answer(ref: "ray.ObjectRef") -> str | None:
    try:
        reason: str | None = ray.get(ref)
    except ray.exceptions.RayError as error:
        reason = type(error).__name__
    return reason


def _look(folder: RunFolder, expected: bytes) -> str | None:
    """Runs on a node. Returns what is wrong with the folder there, or None."""
    try:
        storage.knock(folder.place)
        with folder.study.open() as file:
            if file.read() != expected:
                return "it holds another study there"
        folder.try_to_write()
    except InputError as error:
        return str(error)
    except OSError as error:
        return storage.reason(error)
    return None
