"""Trains one net after another, each from several seeds, for `ffnet bench ablation`.

  python jobs/peers/ablation.py WORK.json

WORK.json has `data`, `seeds`, `epochs` and `nets`: {name: fields of a net and its training}.
Prints JSON, a row for each net and seed: the validation accuracy after the last epoch, seconds, and
in the row of the last seed the accuracy of the mean of the probabilities of all seeds.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ffnet.data.load import load
from ffnet.spec.sections import Data
from ffnet.spec.trial import TrialConfig
from ffnet.training import paths
from ffnet.training.device_data import DeviceData
from ffnet.training.devices import configure
from ffnet.training.loop import train
from ffnet.training.trainer import Trainer


def main(file: str) -> None:
    """Train and print."""
    work = json.loads(Path(file).read_text())
    configure(1, gpus=0)
    data = DeviceData(load(Data(**work["data"])))
    rows = []
    for name, fields in work["nets"].items():
        rows += _rows(data, name, fields, work["epochs"], work["seeds"])
        print(f"{name}: {rows[-1]['together']:.4f}", file=sys.stderr, flush=True)
    print(json.dumps(rows))


def _rows(
    data: DeviceData, name: str, fields: dict[str, Any], epochs: int, seeds: int
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    labels, probabilities = data.validation[1].numpy(), []
    trainer: Trainer | None = None
    for seed in range(seeds):
        config = TrialConfig.of(fields, 0, epochs, seed)
        trainer = trainer or Trainer(data, config)
        trainer.initialize(config)
        config = paths.chosen(config, trainer.features)
        begun = time.perf_counter()
        *_, last = train(trainer, config)
        seconds = time.perf_counter() - begun
        probabilities.append(np.asarray(tf.nn.softmax(trainer.scores(data.validation))))
        rows.append(
            {"net": name, "seed": seed, "accuracy": last.validation.accuracy, "seconds": seconds}
            | {"together": None}
        )
    mean = np.mean(probabilities, axis=0)
    rows[-1]["together"] = float((mean.argmax(axis=1) == labels).mean())
    return rows


if __name__ == "__main__":
    main(*sys.argv[1:])
