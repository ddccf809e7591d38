"""Progress within a long epoch: a worker tells how far its trial is, and the screen shows it."""

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import wait_for
from ffnet.data.load import load
from ffnet.run.folder import RunFolder
from ffnet.spec.sections import Data
from ffnet.spec.study import OneNet
from ffnet.tuning import pulse
from ffnet.tuning.progress import Interval, Progress, where
from ffnet.tuning.pulse import Pulse


@pytest.mark.parametrize(
    ("interval", "epochs", "text"),
    [
        (Interval(None, 100.0, 1.0, 60.0), 1.417, "trial 3: 42 % of epoch 2"),
        (Interval(None, 100.0, 0.0), 0.5, "trial 3: 50 % of epoch 1"),
        (
            Interval(None, 100.0, 2.0, 60.0),
            1.9,  # of the interval before
            "trial 3: no report for 0:41, the one before took 1:00",
        ),
        (Interval(None, 100.0), None, "trial 3: no report for 0:41"),
    ],
)  # fmt: skip
def test_a_trial_is_shown_by_its_workers_word_or_else_by_the_time(
    interval: Interval, epochs: float | None, text: str
) -> None:
    assert where(3, interval, epochs, 141.0) == text


def test_a_worker_writes_how_far_it_is_while_it_trains_and_a_folder_that_is_gone_stays_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "SECONDS", 0.01)
    folder, counted = RunFolder.at(tmp_path / "run"), itertools.count(1)
    beats = Pulse()
    with beats.beating(folder, 3, lambda: next(counted) / 100):
        wait_for(lambda: next(counted) > 5)
        assert not (tmp_path / "run").exists()
        Path(folder.tune).mkdir(parents=True)
        wait_for(lambda: pulse.read(folder, 3))
    assert pulse.read(folder, 4) is None
    (Path(folder.tune) / "00004.epochs").write_text("0.")
    assert pulse.read(folder, 4) == 0
    (Path(folder.tune) / "00004.epochs").write_text("")
    assert pulse.read(folder, 4) is None


def test_the_trials_that_are_silent_for_the_longest_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trial(number: int, status: str = "RUNNING") -> Any:
        return SimpleNamespace(config={"trial": {"number": number}}, status=status)

    clock = itertools.count(0, 20)
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    folder = RunFolder.at(tmp_path / "run")
    Path(folder.tune).mkdir(parents=True)
    (Path(folder.tune) / "00001.epochs").write_text("1.25")
    unused: Any = None
    shown = Progress(unused, unused, unused, folder)
    for number in (4, 1, 2, 3, 5):
        shown.on_trial_start(trial(number, "PAUSED" if number == 4 else "RUNNING"))
    shown.on_trial_complete(trial(5))
    shown.on_trial_result(trial(1), {"epoch": 1.0})
    assert shown._long(125.0) == ["trial 2: no report for 1:05", "trial 3: no report for 0:45"]
    shown.on_trial_error(trial(2))
    assert shown._long(200.0)[1] == "trial 1: 25 % of epoch 2"


@pytest.mark.parametrize(
    ("net", "training"),
    [
        ({"hidden_sizes": [8], "dropout": 0.1}, {"batch_size": 4, "optimizer": "adam"}),
        ({"hidden_sizes": [99]}, {"batch_size": 4, "steps_per_block": 4}),
        ({"hidden_sizes": [99]}, {"batch_size": 4, "momentum": 0.5, "steps_per_block": 8}),
        ({"hidden_sizes": [99]}, {"batch_size": 4, "optimizer": "adam", "tiles": True}),
    ],
)
def test_short_calls_train_to_the_same_bits_as_long_ones_and_say_how_far_they_are(
    net: dict[str, Any], training: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ffnet.training import trainer as module
    from ffnet.training.device_data import DeviceData

    config = OneNet.model_validate({"net": net, "training": training}).trial_config()
    trainer = module.Trainer(DeviceData(load(Data(dataset="digits"))), config)
    plain, seen, results = trainer._arguments, [], []

    def arguments(*given: Any) -> Any:
        seen.append(trainer.epochs_now)
        return plain(*given)

    monkeypatch.setattr(trainer, "_arguments", arguments)
    for seconds in (1e9, 0.0):
        monkeypatch.setattr(module, "CALL_SECONDS", seconds)
        trainer.initialize(config)
        seen.clear()
        result = trainer.run(config, 2, range(1, 315))  # an epoch has 315 steps
        results.append((result, [weight.numpy().tolist() for weight in trainer.net.weights]))
        assert seen[:2] == [2 + 1 / 315, 2 + (1 + module.FIRST_STEPS) / 315]
        assert seen == sorted(seen)
        assert trainer.epochs_now == 3
    assert len(seen) > (314 - module.FIRST_STEPS) / module.MOST_STEPS
    assert results[0] == results[1]
