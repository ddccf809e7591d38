"""Times a training step for several widths on each path, and says which path ffnet chooses.

  python jobs/peers/steps.py THREADS        (ffnet bench steps runs this)

Prints JSON: for SGD, SGD with momentum, Adam and bfloat16, a row for each width with milliseconds
of a step: plain steps, steps in tiles, blocks of 2, 4 and 8 steps. Each is the least of ROUNDS
rounds, in which the paths alternate; with one thread it is the time of the core. The data are
random bytes of CIFAR-10's shape in batches of 64. "chosen" is the path that ffnet measures and
chooses; "chosen / best" compares it.
"""

import json
import sys
import time
from typing import Any

import numpy as np

from ffnet.data.dataset import DataSet, Part
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.trial import TrialConfig
from ffnet.training import paths
from ffnet.training.device_data import DeviceData
from ffnet.training.devices import configure, threads
from ffnet.training.paths import Path
from ffnet.training.trainer import Trainer

WIDTHS = (32, 64, 128, 256, 512, 1024, 2048, 4096)
WAYS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "momentum": {"momentum": 0.9},
    "adam": {"optimizer": "adam"},
    "bfloat16": {"precision": "bfloat16"},
}
NAMES = {
    Path(1, False): "plain",
    Path(1, True): "tiles",
    Path(2, False): "2 steps",
    Path(4, False): "4 steps",
    Path(8, False): "8 steps",
}
STEPS, ROUNDS = 64, 3


def main(count: int) -> None:
    """Measure and print."""
    configure(count, gpus=0)
    data = _data()
    print(json.dumps({way: [_row(data, way, width) for width in WIDTHS] for way in WAYS}))


def _data() -> DeviceData:
    random = np.random.default_rng(0)
    part = Part(
        random.integers(0, 256, (8192, 32, 32, 3), dtype=np.uint8),
        random.integers(0, 10, 8192).astype(np.int32),
    )
    three = np.full(3, 100, np.float32)
    classes = tuple("0123456789")
    data = DataSet("random", part, part.take(slice(99)), None, classes, three, three, "", "")
    return DeviceData(data)


_trainers: dict[str, Trainer] = {}


def _row(data: DeviceData, way: str, width: int) -> dict[str, Any]:
    net = NetSpec(hidden_sizes=(width,), bias=False)
    training = Training(learning_rate=1e-4, **WAYS[way])
    config = TrialConfig(number=0, net=net, training=training, epochs=1, seed=0)
    if way not in _trainers:
        _trainers[way] = Trainer(data, config)
    trainer = _trainers[way]
    chosen = Path(**paths.chosen(config, trainer.features, _measured).path())
    blocked = config.training.optimizer == "sgd"
    clock = time.process_time if threads() == 1 else time.perf_counter
    found = {path: 9e9 for path in NAMES if blocked or path.steps_per_block == 1}
    for round_ in range(-1, ROUNDS):  # the first round compiles
        for path in found:
            of = config.on_path(path._asdict())
            trainer.initialize(of)
            begun = clock()
            trainer.run(of, 0, range(STEPS))
            if round_ >= 0:
                found[path] = min(found[path], 1000 * (clock() - begun) / STEPS)
    return {
        "hidden size": width,
        **{NAMES[path]: ms for path, ms in found.items()},
        "chosen": NAMES[chosen],
        "chosen / best": found[chosen] / min(found.values()),
    }


def _measured(_: str, measure: Any) -> Path:
    """Measure anew, whatever the cache knows."""
    path: Path = measure()
    return path


if __name__ == "__main__":
    main(int(sys.argv[1]))
