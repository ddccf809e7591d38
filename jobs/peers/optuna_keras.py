"""Trains nets with Optuna and Keras `fit`.

  python jobs/peers/optuna_keras.py WORK.json        (jobs/bench.py runs this)

Settings: as Optuna's guide advises for several CPUs, a process with one thread for each CPU, and a
journal file that they share. A process imports TensorFlow and loads the data once. A search is
Optuna's default, TPE, with the liar for parallel trials, pruned by successive halving: as quick a
pruner as ASHA, and asynchronous too. Prints a line of JSON.
"""

import multiprocessing
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import keras_net


def study(work: keras_net.Work, seed: int) -> optuna.Study:
    """The study that all processes share; each has a sampler of its own seed."""
    journal = JournalFileBackend(str(Path(work["reports"]).with_name("journal.log")))
    pruner = optuna.pruners.NopPruner()
    if "space" in work:
        pruner = optuna.pruners.SuccessiveHalvingPruner(
            min_resource=work["grace_epochs"], reduction_factor=work["reduction_factor"]
        )
    return optuna.create_study(
        study_name="peer",
        storage=JournalStorage(journal),
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True),
        pruner=pruner,
    )


def values(trial: optuna.Trial, work: keras_net.Work) -> dict[str, Any]:
    """The values of a trial: those of its number, or suggested ones."""
    if "configurations" in work:
        found: dict[str, Any] = work["configurations"][trial.number]
        return found
    kinds = {
        "log_integer": lambda name, low, high: trial.suggest_int(name, low, high, log=True),
        "log_uniform": lambda name, low, high: trial.suggest_float(name, low, high, log=True),
        "uniform": trial.suggest_float,
    }
    return {name: kinds[kind](name, *ends) for name, (kind, ends) in work["space"].items()}


def worker(work: keras_net.Work, number: int, next_trial: Any) -> None:
    """Train trials until all have been taken."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    arrays = keras_net.arrays(work)
    shared = study(work, work["seed"] * keras_net.CPUS + number)

    def objective(trial: optuna.Trial) -> float:
        best = 0.0

        def report(epoch: int, accuracy: float) -> None:
            nonlocal best
            best = max(best, accuracy)
            trial.report(accuracy, epoch)
            if epoch < work["epochs"] and trial.should_prune():
                raise optuna.TrialPruned

        keras_net.fit(work, trial.number, values(trial, work), arrays, report)
        return best

    while True:
        with next_trial.get_lock():
            if next_trial.value >= work["trials"]:
                return
            next_trial.value += 1
        shared.optimize(objective, n_trials=1)


def main(path: str) -> None:
    """Start a process for each CPU, and wait for all."""
    keras_net.threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spawn = multiprocessing.get_context("spawn")
    with TemporaryDirectory() as folder:
        work = keras_net.read(path, folder)
        study(work, work["seed"])
        next_trial = spawn.Value("i", 0)
        processes = [
            spawn.Process(target=worker, args=(work, number, next_trial))
            for number in range(keras_net.CPUS)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        print(keras_net.result(work, work["trials"]))


if __name__ == "__main__":
    main(sys.argv[1])
