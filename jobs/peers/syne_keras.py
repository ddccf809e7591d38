"""Trains nets with Syne Tune and Keras `fit`.

  python jobs/peers/syne_keras.py WORK.json        (jobs/bench.py runs this)

Settings: Syne Tune's local backend, with one trial of one thread on each CPU. Every trial is a new
process, because Syne Tune has no other way; it reads the normalised data from a file of NumPy. The
tuner looks for reports every 0.1 s instead of every 5 s, and stores neither itself nor results. A
search is random, pruned by Syne Tune's ASHA with one bracket. Prints a line of JSON.
"""

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import keras_net

LOOK_SECONDS = 0.1


def train(words: list[str]) -> None:
    """Train the net of a trial. Syne Tune starts this program for each trial."""
    from syne_tune import Reporter

    work = json.loads(Path(words[words.index("--work") + 1]).read_text())
    kinds = {name: kind for name, (kind, _) in work.get("space", {}).items()}
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path)
    parser.add_argument("--number", type=int)
    parser.add_argument("--st_checkpoint_dir", type=Path)
    for name, kind in kinds.items():
        parser.add_argument(f"--{name}", type=int if "integer" in kind else float)
    given = parser.parse_args(words)
    if "space" in work:
        number = int(given.st_checkpoint_dir.parent.name)  # the folder has the trial's number
        values = {name: getattr(given, name) for name in kinds}
    else:
        number, values = given.number, work["configurations"][given.number]
    arrays = [np.load(given.work.with_name(f"{i}.npy")) for i in range(4)]
    report = Reporter()
    keras_net.fit(
        work, number, values, arrays, lambda epoch, value: report(epoch=epoch, val_accuracy=value)
    )


def space(work: keras_net.Work) -> dict[str, Any]:
    """The search space in Syne Tune's words."""
    from syne_tune import config_space

    if "configurations" in work:
        return {"number": config_space.choice(list(range(len(work["configurations"]))))}
    kinds = {
        "log_integer": config_space.lograndint,
        "log_uniform": config_space.loguniform,
        "uniform": config_space.uniform,
    }
    return {name: kinds[kind](*ends) for name, (kind, ends) in work["space"].items()}


def scheduler(work: keras_net.Work, whole: dict[str, Any]) -> Any:
    """The scheduler for fixed nets, or for a search. It starts as many trials as the work says."""
    from syne_tune.optimizer.baselines import ASHA, RandomSearch

    common = {"do_minimize": False, "random_seed": work["seed"]}
    if "configurations" in work:
        points = [{"number": number} for number in range(work["trials"])]
        made = RandomSearch(whole, ["val_accuracy"], points_to_evaluate=points, **common)
    else:
        made = ASHA(
            whole,
            "val_accuracy",
            time_attr="epoch",
            max_t=work["epochs"],
            grace_period=work["grace_epochs"],
            reduction_factor=work["reduction_factor"],
            **common,
        )
    suggest, left = made.suggest, iter(range(work["trials"]))
    made.suggest = lambda: suggest() if next(left, None) is not None else None
    return made


def main(path: str) -> None:
    """Write the data, and train all trials, one on each CPU at a time."""
    keras_net.threads(1)
    with TemporaryDirectory() as folder:
        os.environ["SYNETUNE_FOLDER"] = folder
        from syne_tune import StoppingCriterion, Tuner
        from syne_tune.backend import LocalBackend

        work = keras_net.read(path, folder)
        for i, array in enumerate(keras_net.arrays(work)):
            np.save(Path(folder) / f"{i}.npy", array)
        written = Path(folder) / "work.json"
        written.write_text(json.dumps(work))
        with contextlib.redirect_stdout(sys.stderr):
            Tuner(
                trial_backend=LocalBackend(__file__, rotate_gpus=False),
                scheduler=scheduler(work, space(work) | {"work": str(written)}),
                stop_criterion=StoppingCriterion(),  # never: the scheduler has no more to suggest
                n_workers=keras_net.CPUS,
                sleep_time=LOOK_SECONDS,
                max_failures=work["trials"],
                save_tuner=False,
                callbacks=[],
            ).run()
        print(keras_net.result(work, work["trials"]))


if __name__ == "__main__":
    if "--work" in sys.argv:
        train(sys.argv[1:])
    else:
        main(sys.argv[1])
