"""What ffnet tells TensorFlow about GPUs. Here are none: calls are recorded, not executed."""

from typing import Any

import pytest
import tensorflow as tf

from ffnet.training.devices import configure

GPUS = [f"/physical_device:GPU:{number}" for number in range(2)]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Record calls (name of the function, arguments) on a pretended machine with two GPUs."""
    made: list[tuple[Any, ...]] = []

    def record(module: Any, name: str) -> None:
        monkeypatch.setattr(module, name, lambda *arguments: made.append((name, *arguments)))

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: GPUS)
    record(tf.config, "set_visible_devices")
    record(tf.config.experimental, "set_memory_growth")
    record(tf.config.threading, "set_intra_op_parallelism_threads")
    record(tf.config.threading, "set_inter_op_parallelism_threads")
    return made


def threads(count: int) -> list[tuple[Any, ...]]:
    return [
        ("set_intra_op_parallelism_threads", count),
        ("set_inter_op_parallelism_threads", count),
    ]


def test_a_trial_without_gpus_sees_none(calls: list[tuple[Any, ...]]) -> None:
    configure(threads=3, gpus=0)
    assert calls == [*threads(3), ("set_visible_devices", [], "GPU")]


@pytest.mark.parametrize("gpus", [0.5, 2])
def test_gpus_are_not_filled_at_once_so_that_trials_can_share_them(
    calls: list[tuple[Any, ...]], gpus: float
) -> None:
    configure(threads=1, gpus=gpus)
    assert calls == [*threads(1), *(("set_memory_growth", gpu, True) for gpu in GPUS)]
