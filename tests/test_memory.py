"""Estimates of memory, and refusals of trials that cannot fit."""

from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import Job
from ffnet.data.dataset import DataSet, Part
from ffnet.data.load import load
from ffnet.errors import InputError
from ffnet.nets.inputs import Inputs, as_inputs
from ffnet.spec.net import NetSpec, Training
from ffnet.spec.sections import Data
from ffnet.spec.trial import TrialConfig
from ffnet.training import memory
from ffnet.tuning.worker import TrialWorker


def config(net: dict[str, Any], **training: Any) -> TrialConfig:
    return TrialConfig(
        number=0, net=NetSpec(**net), training=Training(**training), epochs=1, seed=0
    )


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(Data())


@pytest.mark.parametrize(
    ("memory_max", "expected"),
    [("2000000000", 2_000_000_000), ("max", 24_000_000 * 1024), ("99999999999", 24_000_000 * 1024)],
)
def test_the_limit_of_a_control_group_counts(
    memory_max: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "/proc/meminfo": ["MemTotal:       24000000 kB", "MemFree: 1 kB"],
        "/proc/self/cgroup": ["0::/kubepods/pod/box"],
        "/sys/fs/cgroup/kubepods/pod/box/memory.max": ["max"],
        "/sys/fs/cgroup/kubepods/memory.max": [memory_max],
    }
    monkeypatch.setattr(memory, "_lines", lambda path: files.get(path, []))
    assert memory.machine_limit() == expected


def test_the_older_control_groups_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/proc/meminfo": ["MemTotal:       24000000 kB"],
        "/proc/self/cgroup": ["3:memory:/docker/x", "2:cpu:/docker/x"],
        "/sys/fs/cgroup/memory/memory.limit_in_bytes": ["3000000000"],
    }
    monkeypatch.setattr(memory, "_lines", lambda path: files.get(path, []))
    assert memory.machine_limit() == 3_000_000_000


def test_this_machine_has_a_limit() -> None:
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert 10**8 < memory.machine_limit() <= total


def test_what_fits_is_taken_and_what_does_not_is_one_line_with_both_figures(
    digits: DataSet,
) -> None:
    wide = config({"hidden_sizes": [60_000]}, optimizer="adam")
    needed = memory.worker_bytes(wide, digits)
    memory.check(wide, digits, limit=needed)
    with pytest.raises(InputError, match=r"memory of a node. Given: hidden_sizes \[60000\]") as e:
        memory.check(wide, digits, limit=needed - 1)
    assert f"about {needed / 1e9:,.1f} GB of {needed / 1e9:,.1f} GB" in str(e.value)
    assert len(str(e.value).splitlines()) == 1


ADAM, MOMENTUM = {"optimizer": "adam"}, {"momentum": 0.9, "steps_per_block": 1}


@pytest.mark.parametrize(
    ("sizes", "training", "net", "measured"),
    [
        ([16384], {}, {}, 723 + 487),
        ([16384], MOMENTUM, {}, 727 + 651),
        ([16384], ADAM, {}, 728 + 876),
        ([16384], {"optimizer": "rmsprop"}, {}, 727 + 856),
        ([16384], ADAM, {"batch_norm": True}, 731 + 861),
        ([16384], {"batch_size": 2048}, {}, 810 + 742),
        ([16384], {}, {"api": "sequential"}, 724 + 452),
        ([16384], {"precision": "bfloat16"}, {}, 727 + 655),
        ([6000, 6000], {}, {}, 727 + 585),
        ([6000, 6000], MOMENTUM, {}, 728 + 926),
        ([6000, 6000], ADAM, {}, 725 + 1100),
        ([6000, 6000], {"optimizer": "adamw", "weight_decay": 0.01}, {}, 729 + 1174),
        ([6000, 6000], {"weight_decay": 0.01, "steps_per_block": 1}, {}, 727 + 627),
        ([6000, 6000], ADAM, {"api": "functional"}, 729 + 1098),
        ([6000, 6000], MOMENTUM, {"api": "model", "batch_norm": True}, 734 + 706),
        ([2000, 12000], MOMENTUM, {}, 725 + 470),
        ([12000, 2000], MOMENTUM, {}, 725 + 868),
        ([1000, 8000, 6000], MOMENTUM, {}, 725 + 1320),
        ([4096, 4096, 4096], ADAM | {"batch_size": 4096}, {}, 845 + 1040),
        ([4096] * 3, MOMENTUM | {"batch_size": 4096}, {"batch_norm": True}, 857 + 986),
        ([4096] * 3, MOMENTUM | {"batch_size": 4096}, {"dropout": 0.3}, 854 + 1067),
        (
            [4096] * 3,
            MOMENTUM | {"batch_size": 4096},
            {"dropout": 0.3, "activation": "gelu"},
            853 + 1502,
        ),
    ],
)
def test_the_estimate_is_within_a_quarter_of_what_was_measured(
    sizes: list[int], training: dict[str, Any], net: dict[str, Any], measured: float
) -> None:
    """Peak resident MB of a worker: 3,072 features, 10 classes, 2 cores of an AMD EPYC."""
    of = config({"hidden_sizes": sizes, **net}, **training)
    estimate = memory.WORKER + memory.trial_bytes(of, Inputs(3072), 10, 5734)
    assert estimate / 1e6 == pytest.approx(measured, rel=0.25)


def test_blocks_count_when_they_are_forced_and_when_they_may_be_chosen() -> None:
    def bytes_of(training: dict[str, Any], net: dict[str, Any] | None = None) -> int:
        of = config({"hidden_sizes": [5000, 20], **(net or {})}, **training)
        return memory.trial_bytes(of, Inputs(3072), 10, 5734)

    kernel = 4 * 3072 * 5000
    for training in ({"momentum": 0.9}, {"weight_decay": 0.1}):
        plain = bytes_of(training | {"steps_per_block": 1})
        assert bytes_of(training | {"steps_per_block": 4}) == plain + 2 * kernel
        assert bytes_of(training) == plain + 2 * kernel
        assert bytes_of(training | {"tiles": True}) == plain
        assert bytes_of(training, {"api": "sequential"}) == bytes_of(
            training | {"steps_per_block": 1}, {"api": "sequential"}
        )
    assert bytes_of({}) == bytes_of({"steps_per_block": 1})  # sgd alone keeps no other change


def test_examples_that_change_count_as_often_as_a_block_has_steps(digits: DataSet) -> None:
    """Three copies of 64 float32 numbers for each of 30 examples and each step, or of all."""

    def more(**training: Any) -> int:
        of = (config({}, batch_size=30, **training, mixup=mixup) for mixup in (0.1, 0.0))
        mixed, plain = (memory.worker_bytes(each, digits) for each in of)
        return mixed - plain

    each = 3 * 4 * 64 * 30
    assert more(steps_per_block=1) == more(tiles=True) == more(optimizer="adam") == each
    assert more(steps_per_block=4) == 4 * each
    assert more() == 8 * each  # the path is chosen later
    plain = memory.worker_bytes(config({}, batch_size=1000), digits)
    for field in ("mixup", "input_noise", "augment_erase"):
        changed = memory.worker_bytes(config({}, batch_size=1000, **{field: 0.1}), digits)
        assert changed - plain == 3 * 4 * 64 * len(digits.train)


@pytest.mark.parametrize(
    ("net", "features", "measured"),
    [
        ({}, 512, 243),
        ({"layer_norm": True}, 512, 573),
        ({"residual": True}, 512, 309),
        ({"bottleneck": 512}, 512, 268),
        ({"scaling_layer": True}, 512, 221),
        ({"hidden_sizes": [64], "number_embedding": "periodic"}, 64, 614),
        ({"hidden_sizes": [64], "number_embedding": "plr"}, 64, 1074),
        ({"hidden_sizes": [64], "number_embedding": "pbld"}, 64, 170),
    ],
)
def test_what_a_batch_adds_is_within_a_third_of_what_was_measured(
    net: dict[str, Any], features: int, measured: float
) -> None:
    """Growth of the peak in MiB from batches of 64 to batches of 8,192, four layers of 1,024."""
    of = {"hidden_sizes": [1024] * 4} | net
    large, small = (
        memory.trial_bytes(
            config(of, batch_size=size, **MOMENTUM), as_inputs(features, NetSpec(**of)), 10, 8192
        )
        for size in (8192, 64)
    )
    assert (large - small) / 2**20 == pytest.approx(measured, rel=0.33)


def test_data_and_slots_count(digits: DataSet) -> None:
    wide: dict[str, Any] = {"hidden_sizes": [60_000]}
    sgd, momentum, adam = (
        memory.worker_bytes(config(wide, **t), digits) for t in ({}, MOMENTUM, ADAM)
    )
    weights = 4 * 60_000 * (64 + 10)
    assert momentum - sgd == pytest.approx(weights, rel=0.5)
    assert adam - momentum == pytest.approx(weights)
    huge: Any = SimpleNamespace(nbytes=10**12)
    part = Part(huge, digits.validation.y)
    larger: Any = SimpleNamespace(
        train=digits.train, validation=part, features=64, classes=digits.classes, encoding=None,
        max_categories=100,
    )  # fmt: skip
    assert memory.worker_bytes(config(wide), larger) > 10**12


def test_a_worker_forgets_what_is_not_in_use_and_large() -> None:
    trial: Any = TrialWorker.__new__(TrialWorker)

    def left(*megabytes: int) -> list[int]:
        held = {n: SimpleNamespace(held_bytes=lambda size=size: size * 10**6)
                for n, size in enumerate(megabytes)}  # fmt: skip
        trial._trainers = OrderedDict(held)
        trial._forget_trainers()
        return list(trial._trainers)

    assert left(*[1] * 8) == list(range(8))
    assert left(*[1] * 10) == list(range(2, 10))
    assert left(100, 300, 300, 900) == [2, 3]
    assert left(600, 100, 300, 900) == [1, 2, 3]
    assert left(900) == [0]


def test_a_study_of_which_nothing_fits_is_refused_before_ray_starts(
    call: Job, small_study: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    done = call("tune", small_study, "--out", out, "--hidden-sizes", "[2000000000, 2000000000]")
    assert done.returncode == 2
    assert "a trial must fit into the memory of a node" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not out.exists()
