"""How much memory a trial takes, without TensorFlow, so that one that cannot fit is never begun.

The parts were measured on workers: see `docs/log.md`.
"""

from itertools import pairwise
from pathlib import Path

from ffnet.data.dataset import DataSet
from ffnet.errors import InputError
from ffnet.spec.net import Training
from ffnet.spec.trial import TrialConfig

FLOAT = 4  # bytes
WORKER = 700_000_000  # a worker's own: Python, Ray and TensorFlow, with little trained
SEVERAL_STEPS = ("gelu", "mish")  # activations whose gradient needs what lies between
EVALUATED = 256  # examples at a time: `trainer.EVALUATE_AT_ONCE`


def check(config: TrialConfig, data: DataSet, limit: int | None = None) -> None:
    """Refuse a trial that cannot fit into the memory of this machine.

    Args:
        config: the trial.
        data: its data set, whose parts all workers of a node share.
        limit: bytes of memory; default: `machine_limit`.

    Raises:
        InputError: with the estimate and the limit.
    """
    needed, limit = worker_bytes(config, data), limit or machine_limit()
    if needed > limit:
        sizes = list(config.net.hidden_sizes)
        raise InputError(
            f"a trial must fit into the memory of a node. Given: hidden_sizes {sizes}, batch_size "
            f"{config.training.batch_size}, {config.training.optimizer}: about "
            f"{_gigabytes(needed)} of {_gigabytes(limit)}; choose smaller nets"
        )


def worker_bytes(config: TrialConfig, data: DataSet) -> int:
    """Estimate of the peak resident memory of a worker that runs a trial, its data included."""
    parts = [part for part in (data.train, data.validation) if part]
    held = sum(part.x.nbytes + part.y.nbytes for part in parts)
    return WORKER + held + trial_bytes(config, data.features, len(data.classes), len(data.train))


def trial_bytes(config: TrialConfig, features: int, classes: int, examples: int) -> int:
    """Estimate of what a trial adds to a worker at its peak: weights, slots of the optimiser,
    gradients, reordered copies of all kernels but the first, and what the layers give out."""
    net, training = config.net, config.training
    sizes = (features, *net.hidden_sizes, classes)
    kernels = [FLOAT * inputs * outputs for inputs, outputs in pairwise(sizes)]
    rows = max(EVALUATED, min(training.batch_size, examples))
    each = 3.5 if net.activation in SEVERAL_STEPS else 1.5
    widths = each * sum(sizes[1:]) + max(sizes[1:])
    held = sum(kernels) * (1 + _slots(training) + 1) + sum(kernels[1:])
    if training.precision == "bfloat16":  # the first kernel and what it changes by, rounded
        held += kernels[0]
    return held + int(FLOAT * rows * widths)


def _slots(training: Training) -> int:
    """Arrays that the optimiser keeps for each weight."""
    if training.optimizer == "sgd":
        return 1 if training.momentum else 0
    return 2


def machine_limit() -> int:
    """Bytes that the processes of this machine may hold: its memory, or less in a control group."""
    limits = [_total()]
    for line in _lines("/proc/self/cgroup"):
        _, _, group = line.split(":", 2)
        for folder in (Path(group), *Path(group).parents):
            for root, name in (("", "memory.max"), ("memory", "memory.limit_in_bytes")):
                place = Path("/sys/fs/cgroup", root, *folder.parts[1:], name)
                limits += [int(text) for text in _lines(str(place)) if text.isdecimal()]
    return min(limits)


def _total() -> int:
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 2**63  # not Linux


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
