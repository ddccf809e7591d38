"""Trains nets with Ray Tune and Keras `fit`, as Ray's examples do.

  python jobs/peers/ray_keras.py WORK.json [stock]        (jobs/bench.py runs this)

Settings: one trial with one thread on each CPU; the data lie once in Ray's object store. Actors are
reused, because otherwise every trial is a new process that imports TensorFlow; the time-out of a
reset is 60 s, because with the default, 2 s, trials are lost; Tune's log files are off. With
`stock`, these three are as Tune has them by default. A search is random, pruned by Tune's ASHA with
one bracket. Prints a line of JSON.
"""

import os
import sys
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import BasicVariantGenerator

import keras_net


def train(config: dict[str, Any], arrays: list[Any], work: keras_net.Work) -> None:
    """Train a trial's net."""
    number = config.pop("number", None)
    values = config if number is None else work["configurations"][number]
    own = tune.get_context().get_trial_id() if number is None else number

    def report(epoch: int, accuracy: float) -> None:
        tune.report({"epoch": epoch, "val_accuracy": accuracy})

    keras_net.fit(work, own, values, arrays, report)


def space(work: keras_net.Work) -> dict[str, Any]:
    """The search space in Tune's words."""
    if "configurations" in work:
        return {"number": tune.grid_search(list(range(len(work["configurations"]))))}
    kinds = {
        "log_integer": lambda low, high: tune.lograndint(low, high + 1),
        "log_uniform": tune.loguniform,
        "uniform": tune.uniform,
    }
    return {name: kinds[kind](*ends) for name, (kind, ends) in work["space"].items()}


def main(path: str, stock: bool) -> None:
    """Train all trials, one on each CPU at a time."""
    keras_net.threads(1)
    if not stock:
        os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = "60"
        os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    with TemporaryDirectory() as folder:
        work = keras_net.read(path, folder)
        searches = "space" in work
        trainable = tune.with_parameters(train, arrays=keras_net.arrays(work), work=work)
        tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space=space(work),
            tune_config=tune.TuneConfig(
                metric="val_accuracy",
                mode="max",
                reuse_actors=not stock,
                num_samples=work["trials"] if searches else 1,
                search_alg=BasicVariantGenerator(random_state=work["seed"]),
                scheduler=asha(work) if searches else None,
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
        print(keras_net.result(work, work["trials"]))


def asha(work: keras_net.Work) -> ASHAScheduler:
    """Tune's ASHA with the rungs of the work."""
    return ASHAScheduler(
        max_t=work["epochs"],
        grace_period=work["grace_epochs"],
        reduction_factor=work["reduction_factor"],
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] == ["stock"])
