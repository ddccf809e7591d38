"""Runs the sweep with Ray Tune and Keras `fit`, as Ray's examples do, with reused actors.

  python jobs/peers/ray_keras.py SWEEP.json        (jobs/bench.py writes the file and runs this)

Prints a line of JSON.
"""

import json
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = "60"  # with the default, 2 s, trials are lost
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"

import ray
from ray import tune

from ffnet.data.load import load
from ffnet.spec.sections import Data


def train(config: dict[str, Any], arrays: list[Any], sweep: dict[str, Any]) -> None:
    """Train a trial's net."""
    from tensorflow import keras

    x, y, x_val, y_val = arrays
    hidden_size, learning_rate = sweep["configurations"][config["number"]]
    model = keras.Sequential(
        [
            keras.layers.Dense(hidden_size, "relu", use_bias=False, kernel_initializer="he_normal"),
            keras.layers.Dense(sweep["classes"], use_bias=False, kernel_initializer="he_normal"),
        ]
    )
    model.compile(
        keras.optimizers.SGD(learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    begun = time.time()

    class Report(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            tune.report(
                {"val_accuracy": logs["val_accuracy"], "begun": begun, "ended": time.time()}
            )

    model.fit(
        x,
        y,
        batch_size=sweep["batch_size"],
        epochs=sweep["epochs"],
        validation_data=(x_val, y_val),
        verbose=0,
        callbacks=[Report()],
    )


def main(path: str) -> None:
    """Run the sweep, two trials at a time."""
    sweep = json.loads(Path(path).read_text())
    data = load(Data.model_validate(sweep["data"]))
    sweep["classes"] = len(data.classes)
    arrays = [
        a
        for part in (data.train, data.validation)
        for a in (
            data.normalized(part.x).reshape(len(part), -1),
            part.y,
        )
    ]
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    with TemporaryDirectory() as folder:
        results = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(train, arrays=arrays, sweep=sweep), {"cpu": 1}
            ),
            param_space={"number": tune.grid_search(list(range(len(sweep["configurations"]))))},
            tune_config=tune.TuneConfig(metric="val_accuracy", mode="max", reuse_actors=True),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
        metrics = [r.metrics for r in results if not r.error]
    print(
        json.dumps(
            {
                "begun": min(m["begun"] for m in metrics),
                "ended": max(m["ended"] for m in metrics),
                "val_accuracy": [m["val_accuracy"] for m in metrics],
                "lost": len(sweep["configurations"]) - len(metrics),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
