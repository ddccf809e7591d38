"""Trains nets with KerasTuner and Keras `fit`.

  python jobs/peers/kt_keras.py WORK.json        (jobs/bench.py runs this)

Settings: one process that trains one net after another with all threads, which is how KerasTuner
works on one machine; the weights of each trial's best epoch go to a temporary folder, which cannot
be switched off. Fixed nets are a grid over their numbers. A search is KerasTuner's Hyperband, whose
trials continue from the weights of the round before, with as many iterations as give it about as
many configurations as the other peers. Prints a line of JSON.
"""

import itertools
import sys
from tempfile import TemporaryDirectory
from typing import Any

import keras_tuner

import keras_net


def values(hp: Any, work: keras_net.Work) -> dict[str, Any]:
    """The values of a trial in KerasTuner's words."""
    if "configurations" in work:
        numbers = list(range(len(work["configurations"])))
        found: dict[str, Any] = work["configurations"][hp.Choice("number", numbers)]
        return found
    kinds = {
        "log_integer": lambda name, low, high: hp.Int(name, low, high, sampling="log"),
        "log_uniform": lambda name, low, high: hp.Float(name, low, high, sampling="log"),
        "uniform": hp.Float,
    }
    return {name: kinds[kind](name, *ends) for name, (kind, ends) in work["space"].items()}


def tuner(work: keras_net.Work, folder: str) -> Any:
    """The tuner for fixed nets, or for a search."""
    own = {
        "hypermodel": lambda hp: keras_net.build(work, values(hp, work)),
        "objective": keras_tuner.Objective("val_accuracy", "max"),
        "directory": folder,
        "seed": work["seed"],
    }
    if "space" not in work:
        return keras_tuner.GridSearch(max_trials=work["trials"], **own)
    hyperband = {"max_epochs": work["epochs"], "factor": work["reduction_factor"]}
    one = configurations(keras_tuner.oracles.HyperbandOracle(**hyperband))
    iterations = max(1, round(work["trials"] / one))
    return keras_tuner.Hyperband(hyperband_iterations=iterations, **hyperband, **own)


def configurations(oracle: Any) -> int:
    """How many configurations one iteration of Hyperband draws."""
    return sum(oracle._get_size(n, round_num=0) for n in range(oracle._get_num_brackets()))


def main(path: str) -> None:
    """Train all trials, one after another."""
    keras_net.threads(keras_net.CPUS)
    numbers = itertools.count()
    with TemporaryDirectory() as folder:
        work = keras_net.read(path, folder)
        x, y, x_val, y_val = keras_net.tensors(keras_net.arrays(work))
        search = tuner(work, folder)
        search.search(
            x,
            y,
            batch_size=work["batch_size"],
            **({} if "space" in work else {"epochs": work["epochs"]}),
            validation_data=(x_val, y_val),
            verbose=0,
            callbacks=[keras_net.reporter(work, lambda: next(numbers))],
        )
        print(keras_net.result(work, len(search.oracle.trials)))


if __name__ == "__main__":
    main(sys.argv[1])
