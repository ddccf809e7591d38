"""Runs many empty trials under Ray Tune alone: how fast Tune itself is.

  python jobs/peers/bare_tune.py TRIALS SEED        (jobs/bench.py scale runs this)

Settings: each trial reports three random numbers and ends; one trial on each CPU; actors are
reused; Tune's ASHA stops the weak ones; Tune's log files are off, and its state is saved once in
five minutes. These are Tune's fastest settings that still record which trials there were. Prints a
line of JSON: seconds from the first trial's start to the last trial's end, and the reports.
"""

import json
import os
import random
import sys
import time
from tempfile import TemporaryDirectory
from typing import Any

os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = "60"
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "300"

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler

REPORTS = 3


def train(config: dict[str, float]) -> None:
    """Report and end."""
    for _ in range(REPORTS):
        tune.report({"score": config["start"] + random.random()})


class Clock(tune.Callback):  # type: ignore[misc]
    """Notes when the first trial began and the last one ended, and counts the reports."""

    def __init__(self) -> None:
        self.begun = self.ended = 0.0
        self.reports = 0

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Called by Tune."""
        self.begun = self.begun or time.time()

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any
    ) -> None:
        """Called by Tune."""
        self.reports += 1

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Called by Tune."""
        self.ended = time.time()


def main(trials: int, seed: int) -> None:
    """Run the trials and print."""
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    clock = Clock()
    with TemporaryDirectory() as folder:
        tune.Tuner(
            tune.with_resources(train, {"cpu": 1}),
            param_space={"start": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                num_samples=trials,
                reuse_actors=True,
                search_alg=tune.search.BasicVariantGenerator(random_state=seed),
                scheduler=ASHAScheduler(max_t=REPORTS, grace_period=1, reduction_factor=3),
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[clock]),
        ).fit()
    print(json.dumps({"seconds": clock.ended - clock.begun, "reports": clock.reports}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
