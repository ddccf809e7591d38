"""The net, the data and the reports of the peers that train with Keras `fit`.

Each peer trains the same nets, as a careful user of Keras writes them:

- one thread for each of as many trials at a time as the machine has CPUs, or one trial with all
  threads, whichever is faster under that tuner (its script says which);
- the data set that ffnet has cached on disk, normalised once, and kept as tensors in a process;
- Keras' own loop, `fit`, on arrays: Keras shuffles and batches them inside TensorFlow's graph, and
  hands 16 steps at a time to TensorFlow (`steps_per_execution`), which makes an epoch of small nets
  twice as fast. XLA stays off, as Keras decides on CPUs;
- no checkpoints, no logs, no progress bar, unless the tuner cannot do without.

The work is a JSON file with the fields of a study: data, epochs, batch_size, and so on. It has
either `configurations`, which are trained one by one, or `space`, from which `trials` are drawn.
"""

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Work = dict[str, Any]
CPUS = len(os.sched_getaffinity(0))
STEPS = 16  # steps that Keras hands to TensorFlow at a time


def read(path: str, folder: str) -> Work:
    """The work in a file. Its reports go to a file in `folder`."""
    work: Work = json.loads(Path(path).read_text())
    work["reports"] = str(Path(folder) / "reports.jsonl")
    return work


def threads(count: int) -> None:
    """Make TensorFlow use so many threads in this process and those that it starts."""
    os.environ |= {"TF_NUM_INTRAOP_THREADS": str(count), "TF_NUM_INTEROP_THREADS": str(count)}


def arrays(work: Work) -> list[Any]:
    """Training examples [N, D], labels [N], validation examples and labels, normalised."""
    from ffnet.data.load import load
    from ffnet.spec.sections import Data

    data = load(Data.model_validate(work["data"]))
    work["classes"] = len(data.classes)
    found = []
    for part in (data.train, data.validation):
        found += [data.normalized(part.x).reshape(len(part), -1), part.y]
    return found


def tensors(arrays: list[Any]) -> list[Any]:
    """The arrays as tensors, so that `fit` does not copy them again for each net."""
    import tensorflow as tf

    if not KEPT:
        KEPT.extend(map(tf.constant, arrays))
    return KEPT


KEPT: list[Any] = []
"""The tensors of this process."""


def build(work: Work, values: dict[str, Any]) -> Any:
    """The compiled net of a configuration.

    Args:
        work: the fixed fields.
        values: learning_rate, perhaps dropout, and the sizes of the hidden layers in order, under
            names that begin with hidden_sizes.
    """
    from tensorflow import keras

    dense = {"use_bias": work.get("bias", False), "kernel_initializer": "he_normal"}
    layers: list[Any] = []
    for size in (value for name, value in values.items() if name.startswith("hidden_sizes")):
        layers.append(keras.layers.Dense(size, **dense))
        if work.get("batch_norm"):
            layers.append(keras.layers.BatchNormalization())
        layers.append(keras.layers.Activation("relu"))
        if "dropout" in values:
            layers.append(keras.layers.Dropout(values["dropout"]))
    net = keras.Sequential([*layers, keras.layers.Dense(work["classes"], **dense)])
    optimizers = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}
    net.compile(
        optimizers[work.get("optimizer", "sgd")](values["learning_rate"]),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=STEPS,
    )
    return net


def reporter(work: Work, number: Any, after: Callable[[int, float], object] | None = None) -> Any:
    """A callback for `fit` that writes a report at the end of each epoch.

    With the schedule `cosine`, it also sets the learning rate of each epoch. So a net that goes on
    from an earlier round of Hyperband has the rate of its epoch.

    Args:
        work: has the path of the reports.
        number: the trial's number, or a function that returns it when the training begins.
        after: is called with the epoch, from 1, and the validation accuracy.
    """
    from tensorflow import keras

    class Reporter(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_begin(self, logs: Any = None) -> None:
            self.number = number() if callable(number) else number
            self.begun = time.time()
            self.rate = float(self.model.optimizer.learning_rate)

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if work.get("schedule") == "cosine":
                middle = math.pi * (epoch + 0.5) / work["epochs"]
                self.model.optimizer.learning_rate = self.rate * (1 + math.cos(middle)) / 2

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            accuracy = float(logs["val_accuracy"])
            report = {"trial": self.number, "epoch": epoch + 1, "val_accuracy": accuracy}
            line = json.dumps(report | {"begun": self.begun, "at": time.time()})
            with Path(work["reports"]).open("a") as file:
                file.write(line + "\n")
            if after:
                after(epoch + 1, accuracy)

    return Reporter()


def fit(
    work: Work,
    number: int,
    values: dict[str, Any],
    arrays: list[Any],
    after: Callable[[int, float], object] | None = None,
) -> None:
    """Train the net of a trial: see `build` and `reporter`."""
    x, y, x_val, y_val = tensors(arrays)
    build(work, values).fit(
        x,
        y,
        batch_size=work["batch_size"],
        epochs=work["epochs"],
        validation_data=(x_val, y_val),
        verbose=0,
        callbacks=[reporter(work, number, after)],
    )


def result(work: Work, trials: int) -> str:
    """The line that a peer prints at its end.

    It has the time of the first step (`begun`), all reports, and how many trials were lost: these
    have no report, or not all of them where nothing is pruned.
    """
    path = Path(work["reports"])
    reports = [json.loads(line) for line in path.read_text().splitlines()]
    counts: dict[int, int] = {}
    for report in reports:
        counts[report["trial"]] = counts.get(report["trial"], 0) + 1
    wanted = 1 if "space" in work else work["epochs"]
    trained = sum(count >= wanted for count in counts.values())
    begun = min(report["begun"] for report in reports)
    return json.dumps({"begun": begun, "reports": reports, "lost": trials - trained})
