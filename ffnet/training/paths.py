"""Chooses how the steps of a trial are computed, by measuring on this CPU.

Several paths give the same net up to rounding: plain steps, steps in tiles (`tiles`), and blocks of
2, 4 or 8 steps (`blocked`). Which one is the fastest depends on the CPU, its threads, the width of
the first layer, the batch size and the optimizer. The choice is kept in the user's cache folder for
each kind of CPU and net, so that it is measured only once, and each trial records its path.
"""

import fcntl
import hashlib
import json
import math
import platform
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path as File
from typing import NamedTuple

import tensorflow as tf

from ffnet.data import cache
from ffnet.spec.net import PATH, NetSpec, Training
from ffnet.spec.trial import TrialConfig, may_be_blocked, may_be_tiled
from ffnet.system.atomic import atomic_write
from ffnet.training.devices import threads
from ffnet.training.memory import MOST_STEPS
from ffnet.training.speed import MOST_INPUTS, Bench

SMALL = 2**16
"""A first layer with fewer weights trains plain steps: a step takes about as long as a call of
TensorFlow's operations, and nothing is measured for it."""
LARGE = 2**20  # a kernel with fewer weights than this (4 MB) is near the caches anyway: no tiles

CACHE = "paths-2.json"
IDENTIFYING = ("model name", "cpu family", "model", "stepping", "flags", "CPU implementer",
               "CPU part", "CPU variant", "Features")  # fmt: skip
"""Fields of /proc/cpuinfo that say which kind of CPU this is."""


class Path(NamedTuple):
    """How steps are computed: see the fields of [training] with these names."""

    steps_per_block: int
    tiles: bool


class Kind(NamedTuple):
    """A kind of CPU and net. Neurons and batch size are rounded to powers of two.

    All trials of a kind train on the same path.
    """

    cpu: str
    threads: int
    features: int
    neurons: int
    batch_size: int
    precision: str
    optimizer: str
    momentum: bool
    nesterov: bool
    weight_decay: bool
    average: bool

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self._asdict().items())


Agree = Callable[[str, Callable[[], Path]], Path]
"""Returns the path for a kind, by its text. The function measures it, if it is not known."""


def chosen(config: TrialConfig, features: int, agree: Agree | None = None) -> TrialConfig:
    """Return the trial with a path. A path that the trial has already stays.

    Call this after `devices.configure`, because the path depends on the threads.

    Args:
        config: the trial.
        features: inputs of the first layer.
        agree: knows the paths. With None, the user's cache does: `remembered`.
    """
    possible = _possible(config, features)
    path = possible[0]
    if len(possible) > 1 and not tf.config.list_logical_devices("GPU"):
        kind = _kind(config, features)
        path = (agree or remembered)(str(kind), lambda: _measured(kind, possible))
        path = path if path in possible else possible[0]
    return config.on_path(dict(zip(PATH, path, strict=True)))


def _possible(config: TrialConfig, features: int) -> list[Path]:
    """The paths that a trial may take. The first one needs the least from the CPU."""
    net, training = config.net, config.training
    size = features * first_width(net)
    steps = [1, 2, 4, 8] if size >= SMALL and may_be_blocked(net, training) else [1]
    tiles = [False, True] if size >= LARGE and may_be_tiled(net, training) else [False]
    if training.steps_per_block:
        steps = [training.steps_per_block]
    if training.tiles is not None:
        tiles = [training.tiles]
    if training.tiles:
        steps = [1]
    return [Path(k, tile) for k in steps for tile in tiles if k == 1 or not tile] or [
        Path(steps[0], False)
    ]


def first_width(net: NetSpec) -> int:
    """The neurons of the first hidden layer; 0 for a net without hidden layers."""
    return next(iter(net.hidden_sizes), 0)


def _kind(config: TrialConfig, features: int) -> Kind:
    training = config.training
    return Kind(
        cpu(),
        threads(),
        features,
        _rounded(first_width(config.net)),
        _rounded(training.batch_size),
        training.precision,
        training.optimizer,
        training.momentum is not None,
        training.nesterov,
        training.weight_decay > 0,
        training.average_decay is not None,
    )


def _rounded(number: int) -> int:
    return int(2 ** round(math.log2(number)))


def cpu() -> str:
    """The kind of this machine's CPU and of its TensorFlow, as a text."""
    first = platform.machine()
    with suppress(OSError):  # not Linux
        first = File("/proc/cpuinfo").read_text(errors="replace").split("\n\n")[0]
    fields = dict(line.split(":", 1) for line in first.splitlines() if ":" in line)
    found = {name.strip(): value.strip() for name, value in fields.items()}
    kind = [f"{name} {found[name]}" for name in IDENTIFYING if name in found]
    digest = hashlib.sha256("\n".join(kind).encode()).hexdigest()[:8]
    return f"{found.get('model name', 'CPU')} {digest}, TensorFlow {tf.__version__}"


def _measured(kind: Kind, possible: list[Path]) -> Path:
    """The fastest path."""
    training = Training(
        optimizer=kind.optimizer,
        learning_rate=1e-6,
        momentum=0.9 if kind.momentum else None,
        nesterov=kind.nesterov,
        weight_decay=1e-4 if kind.weight_decay else 0.0,
        average_decay=0.99 if kind.average else None,
        precision=kind.precision,
    )
    features = min(kind.features, max(1, MOST_INPUTS // (MOST_STEPS * kind.batch_size)))
    found: Path = _bench(features, training).fastest(possible, kind.neurons, kind.batch_size)
    return found


_bench = lru_cache(maxsize=4)(Bench)  # trials of a study differ in width and optimizer, above all


def remembered(kind: str, measure: Callable[[], Path]) -> Path:
    """Return a kind's path from the user's cache; if it is not there, measure it.

    Only one process of a node measures at a time. The others wait for it.
    """
    file = cache.folder() / CACHE
    if path := _known(file).get(kind):
        return path
    with suppress(OSError):  # without the right to write there, it is measured in every process
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with file.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = _known(file)
            if kind not in known:
                known[kind] = measure()
                with atomic_write(file) as opened:
                    opened.write(json.dumps(known, indent=1).encode())
            return known[kind]
    return measure()


def _known(file: File) -> dict[str, Path]:
    """Kind → path. Empty if there is no such file or it is damaged."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        found = {kind: Path(*path) for kind, path in json.loads(file.read_bytes()).items()}
        if all(k in (1, 2, 4, 8) and isinstance(tiles, bool) for k, tiles in found.values()):
            return found
    return {}
