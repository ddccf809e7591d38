"""Times a training step for several widths: plain, in blocks, and in blocks with bfloat16.

  python jobs/peers/steps.py THREADS        (jobs/bench.py steps runs this)

Prints JSON: milliseconds, the least of three repeats, with random bytes of CIFAR-10's shape in
batches of 64.
"""

import json
import sys
import time
from typing import Literal

import numpy as np

from ffnet.data.dataset import DataSet, Part
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.trial import TrialConfig
from ffnet.training import trainer as module
from ffnet.training.device_data import DeviceData
from ffnet.training.devices import configure

WIDTHS = (32, 128, 256, 512, 1024, 2048, 4096)
Precision = Literal["float32", "bfloat16"]
WAYS: dict[str, tuple[Precision, int]] = {
    "plain": ("float32", 10**9),
    "blocked": ("float32", 0),
    "bfloat16": ("bfloat16", 0),
}
STEPS = 32


def main(threads: int) -> None:
    """Measure and print."""
    configure(threads, gpus=0)
    random = np.random.default_rng(0)
    part = Part(
        random.integers(0, 256, (8192, 32, 32, 3), dtype=np.uint8),
        random.integers(0, 10, 8192).astype(np.int32),
    )
    three = np.full(3, 100, np.float32)
    classes = tuple("0123456789")
    data = DataSet("random", part, part.take(slice(99)), None, classes, three, three, "", "")
    on_device = DeviceData(data)
    rows = [
        {"hidden size": width} | {way: _step(on_device, width, way) for way in WAYS}
        for width in WIDTHS
    ]
    print(json.dumps(rows))


def _step(data: DeviceData, width: int, way: str) -> float:
    precision, start = WAYS[way]
    module.BLOCKED_FROM[precision] = start
    training = Training(learning_rate=1e-4, precision=precision)
    net = NetSpec(hidden_sizes=(width,), bias=False)
    config = TrialConfig(number=0, net=net, training=training, epochs=1, seed=0)
    trainer = module.Trainer(data, config)
    trainer.initialize(config)
    seconds = []
    for _ in range(4):  # the first one compiles
        begun = time.perf_counter()
        trainer.run(config, 0, range(STEPS))
        seconds.append(time.perf_counter() - begun)
    return 1000 * min(seconds[1:]) / STEPS


if __name__ == "__main__":
    main(int(sys.argv[1]))
