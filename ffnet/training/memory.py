"""Estimates the memory of a trial without TensorFlow. A trial that cannot fit is never started.

The constants were measured on workers: see `docs/log.md`.
"""

from math import prod
from pathlib import Path

from ffnet.data.dataset import DataSet
from ffnet.errors import InputError
from ffnet.nets import layout
from ffnet.nets.inputs import Inputs, of_net
from ffnet.spec.net import AUGMENTING, NetSpec, Training
from ffnet.spec.trial import TrialConfig, may_be_blocked

FLOAT = 4  # bytes
WORKER = 700_000_000  # bytes of a worker with a tiny net: Python, Ray and TensorFlow
SEVERAL_STEPS = ("gelu", "mish")  # activations whose gradient needs intermediate results
SCORE, SCORED = 16, 50  # bytes of a score of an evaluated example, and of other numbers of it
EVALUATED = 256  # examples evaluated at a time: `trainer.EVALUATE_AT_ONCE`
MOST_STEPS = 8  # of a block whose path is chosen by measurement


def check(config: TrialConfig, data: DataSet, limit: int | None = None) -> None:
    """Refuse a trial that cannot fit into the memory of this machine.

    Args:
        config: the trial.
        data: the trial's data set.
        limit: bytes of memory; default: `machine_limit`.

    Raises:
        InputError: the estimate is above the limit; the message gives both.
    """
    needed, limit = worker_bytes(config, data), limit or machine_limit()
    if needed > limit:
        sizes = list(config.net.hidden_sizes)
        raise InputError(
            f"a trial must fit into the memory of a node. Given: hidden_sizes {sizes}, batch_size "
            f"{config.training.batch_size}, {config.training.optimizer}: about "
            f"{_gigabytes(needed)} of {_gigabytes(limit)}; it needs smaller nets, or a "
            f"machine with more memory"
        )


def worker_bytes(config: TrialConfig, data: DataSet) -> int:
    """Estimate the peak resident memory of a worker that runs a trial, in bytes, with the data."""
    parts = [part for part in (data.train, data.validation) if part]
    held = sum(part.x.nbytes + part.y.nbytes for part in parts)
    inputs = of_net(data, config.net)
    if data.encoding is not None:  # a batch before it is prepared, while it is, and after
        held += 3 * FLOAT * _rows(config, len(data.train)) * inputs.width
    if any(getattr(config.training, name) for name in ("mixup", "input_noise", *AUGMENTING)):
        changed = _in_a_block(config.net, config.training) * config.training.batch_size
        held += 3 * FLOAT * min(changed, len(data.train)) * inputs.width  # as above
    held += len(data.validation) * (SCORE * len(data.classes) + SCORED)
    return WORKER + held + trial_bytes(config, inputs, len(data.classes), len(data.train))


def trial_bytes(config: TrialConfig, inputs: Inputs, classes: int, examples: int) -> int:
    """Estimate the bytes that a trial adds to a worker's memory at its peak.

    They hold weights, the optimiser's slots, gradients, reordered copies of all kernels but the
    first, and the outputs of the layers.
    """
    net, training = config.net, config.training
    sizes = (inputs.width, *net.hidden_sizes, classes)
    weights = [
        (kind, FLOAT * prod(shape)) for kind, _, shape in layout.weights(inputs, classes, net)
    ]
    kernels = [size for kind, size in weights if kind in ("v", "w")]
    others = sum(size for kind, size in weights if kind == "vectors" or kind in layout.NUMBERS)
    rows = _rows(config, examples)
    each = 3.5 if net.activation in SEVERAL_STEPS else 1.5
    widths = each * sum(sizes[1:]) + max(sizes[1:]) + _of_parts(net, inputs)
    held: int = (sum(kernels) + others) * (1 + _slots(training) + 1) + sum(kernels[1:])
    if training.average_decay:  # the averages, and their difference from the weights
        held += sum(kernels) + others + max(kernels)
    blocks = _in_a_block(net, training) > 1
    if blocks and (training.weight_decay or training.momentum or training.average_decay):
        held += 2 * kernels[0]  # a block's changes of kernel, and of velocity or average
    if training.clip_norm:  # gradients before and after they are scaled
        held += sum(kernels) + others
    if training.precision == "bfloat16":  # copies of the first kernel and its change, 2 bytes each
        held += kernels[0]
    return held + int(FLOAT * rows * widths)


def _of_parts(net: NetSpec, inputs: Inputs) -> float:
    """How many numbers of an example are held for what a net has only if a field asks for it."""
    hidden = sum(net.hidden_sizes) * (2.5 * net.layer_norm + net.residual)
    narrow = net.bottleneck * max(0, len(net.hidden_sizes) - 1)
    of, each = net.number_vectors, 0
    if of:
        each = 3 * of.waves if of.kind == "periodic" else 5 * of.waves + of.size
    return hidden + 2 * narrow + inputs.numbers * each + 2 * inputs.width * net.scaling_layer


def _in_a_block(net: NetSpec, training: Training) -> int:
    """How many steps a block has, or may have if the path is not known yet."""
    if training.tiles or not may_be_blocked(net, training):
        return 1
    return training.steps_per_block or MOST_STEPS


def _rows(config: TrialConfig, examples: int) -> int:
    """How many examples the net computes at a time."""
    return max(EVALUATED, min(config.training.batch_size, examples))


def _slots(training: Training) -> int:
    """How many numbers the optimiser keeps for each weight."""
    if training.optimizer == "sgd":
        return 1 if training.momentum else 0
    return 2


def machine_limit() -> int:
    """Return the machine's memory in bytes, or the limit of the control group if that is lower."""
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
