"""Times an epoch for each way (`api`) of writing a net. ffnet's loop trains all of them.

  python jobs/peers/ways.py THREADS [DATA_DIR]        (jobs/bench.py ways runs this)

Prints JSON: seconds of the second epoch on MNIST with batches of 64. The first epoch compiles.
"""

import json
import sys
from typing import Any, get_args

from ffnet.data.load import load
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.sections import Data
from ffnet.spec.trial import TrialConfig
from ffnet.training.device_data import DeviceData
from ffnet.training.devices import configure
from ffnet.training.loop import train
from ffnet.training.trainer import Trainer

NETS: dict[str, dict[str, Any]] = {
    "128": {"hidden_sizes": (128,), "bias": False},
    "512, dropout": {"hidden_sizes": (512,), "dropout": 0.2, "bias": True},
    "512-256, batch norm": {"hidden_sizes": (512, 256), "batch_norm": True, "bias": False},
}


def main(threads: str, data_dir: str | None = None) -> None:
    """Measure and print."""
    configure(int(threads), gpus=0)
    data = DeviceData(load(Data(dataset="mnist", data_dir=data_dir)))
    ways = get_args(NetSpec.model_fields["api"].annotation)
    rows = [
        {"net": name} | {way: _epoch(data, NetSpec(api=way, **net)) for way in ways}
        for name, net in NETS.items()
    ]
    print(json.dumps(rows))


def _epoch(data: DeviceData, net: NetSpec) -> float:
    config = TrialConfig(number=0, net=net, training=Training(), epochs=2, seed=0)
    trainer = Trainer(data, config)
    trainer.initialize(config)
    *_, last = train(trainer, config)
    return last.train_seconds


if __name__ == "__main__":
    main(*sys.argv[1:])
