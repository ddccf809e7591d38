"""Milliseconds of a training step by width: plain, in blocks, and in blocks of bfloat16 products.

  python jobs/peers/steps.py THREADS        (jobs/bench.py steps runs this)

The least of three repeats on random bytes of CIFAR-10's shape, batches of 64. Prints JSON.
"""

import json
import sys
import time

import numpy as np

from ffnet.data.dataset import DataSet, Part
from ffnet.study import NetSpec, Training
from ffnet.training import trainer as module
from ffnet.training.device_data import DeviceData
from ffnet.training.devices import configure

WIDTHS = (32, 128, 256, 512, 1024, 2048, 4096)
WAYS = {"plain": ("float32", 10**9), "blocked": ("float32", 0), "bfloat16": ("bfloat16", 0)}
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
    trainer = module.Trainer(DeviceData(data), NetSpec())
    rows = []
    for width in WIDTHS:
        trainer.net.initialize(NetSpec(hidden_sizes=(width,)), 0)
        rows.append({"hidden size": width} | {way: _step(trainer, way) for way in WAYS})
    print(json.dumps(rows))


def _step(trainer: module.Trainer, way: str) -> float:
    precision, start = WAYS[way]
    module.BLOCKED_FROM[precision] = start
    training = Training(learning_rate=1e-4, precision=precision)
    seconds = []
    for _ in range(4):  # the first one compiles
        begun = time.perf_counter()
        trainer.run(0, 0, range(STEPS), training)
        seconds.append(time.perf_counter() - begun)
    return 1000 * min(seconds[1:]) / STEPS


if __name__ == "__main__":
    main(int(sys.argv[1]))
