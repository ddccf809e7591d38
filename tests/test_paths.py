"""Which path a trial's steps take: measured, kept for each kind of CPU, recorded for each trial."""

import json
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path as File
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from conftest import Job
from ffnet.errors import InputError
from ffnet.run import recorded, tables
from ffnet.run.folder import RunFolder
from ffnet.spec import earlier
from ffnet.spec.net import NEWEST, PATH, NetSpec, Training
from ffnet.spec.trial import TrialConfig
from ffnet.training import paths
from ffnet.training.devices import threads
from ffnet.training.paths import Path
from ffnet.training.speed import Bench, products
from ffnet.tuning.bfloat16 import Rates, lines

PLAIN, TILES, FOUR, EIGHT = Path(1, False), Path(1, True), Path(4, False), Path(8, False)
ALL = [PLAIN, TILES, Path(2, False), FOUR, EIGHT]
WIDE = 512
"""With 2,100 features, 2²⁰ weights and more: every path is possible."""
FEATURES = 2100


def config(net: Any = None, **training: Any) -> TrialConfig:
    net = NetSpec(**{"hidden_sizes": WIDE} | (net or {}))
    return TrialConfig(number=0, net=net, training=Training(**training), epochs=2, seed=0)


def on(path: Path, asked: list[str] | None = None) -> paths.Agree:
    """What agrees on this path for all kinds, and collects them."""

    def agree(kind: str, measure: Callable[[], Path]) -> Path:
        if asked is not None:
            asked.append(kind)
        return path

    return agree


def unmeasured() -> Path:
    raise AssertionError("it is known already")


@pytest.fixture
def cache(tmp_path: File, monkeypatch: pytest.MonkeyPatch) -> File:
    monkeypatch.setenv("FFNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# --- the choice ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [PLAIN, TILES, Path(2, False), EIGHT])
def test_a_trial_gets_the_path_of_its_kind(path: Path) -> None:
    assert paths.chosen(config(), FEATURES, on(path)).path() == path._asdict()


@pytest.mark.parametrize(
    ("net", "training", "possible"),
    [
        ({}, {"optimizer": "adam"}, [PLAIN, TILES]),
        ({}, {"steps_per_block": 4}, [Path(4, False)]),
        ({}, {"steps_per_block": 1}, [PLAIN, TILES]),
        ({}, {"tiles": True}, [TILES]),
        ({}, {"tiles": False, "momentum": 0.9}, [PLAIN, *(Path(k, False) for k in (2, 4, 8))]),
        ({"hidden_sizes": 300}, {}, [PLAIN, *(Path(k, False) for k in (2, 4, 8))]),
        ({"hidden_sizes": 30}, {}, [PLAIN]),  # fewer than 2¹⁶ weights: nothing is measured
        ({"hidden_sizes": []}, {}, [PLAIN]),
        ({"api": "functional"}, {}, [PLAIN]),
        ({"embedding_sizes": 4}, {}, [PLAIN]),
        ({"number_embedding": "plr"}, {}, [PLAIN]),
        ({"scaling_layer": True}, {}, [PLAIN]),
        ({"hidden_sizes": [1024, 1024], "residual": True, "bottleneck": 9, "layer_norm": True},
         {"tiles": True}, [TILES]),
        ({}, {"clip_norm": 0.1}, [PLAIN]),
    ],
)  # fmt: skip
def test_only_paths_that_the_net_can_take_are_possible(
    net: Any, training: Any, possible: list[Path]
) -> None:
    of = config(net, **training)
    assert paths._possible(of, FEATURES) == possible
    asked: list[str] = []
    assert paths.chosen(of, FEATURES, on(Path(16, True), asked)).path() == possible[0]._asdict()
    assert bool(asked) == (len(possible) > 1)


@pytest.mark.parametrize(
    ("net", "training", "message"),
    [
        ({}, {"steps_per_block": 2, "optimizer": "adam"}, "needs api barebones, optimizer sgd"),
        ({"api": "model"}, {"steps_per_block": 8}, "steps_per_block 8, api model"),
        ({"hidden_sizes": []}, {"tiles": True}, "a hidden layer"),
        ({}, {"tiles": True, "steps_per_block": 4}, "no blocks"),
        ({}, {"steps_per_block": 3}, "1, 2, 4 or 8. Given: 3"),
    ],
)
def test_a_path_that_the_net_cannot_take_is_refused(net: Any, training: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        config(net, **training)


def test_kinds_differ_by_what_decides_the_speed() -> None:
    asked: list[str] = []
    each = [
        config(), config({"hidden_sizes": 1024}), config(batch_size=128), config(momentum=0.9),
        config(momentum=0.9, nesterov=True), config(weight_decay=0.1), config(optimizer="adam"),
        config(precision="bfloat16"), config(average_decay=0.9),
    ]  # fmt: skip
    for of in each:
        paths.chosen(of, FEATURES, on(PLAIN, asked))
    paths.chosen(config(), FEATURES + 1, on(PLAIN, asked))
    assert len({*asked}) == len(each) + 1
    assert all(kind.startswith(f"cpu {paths.cpu()}, threads ") for kind in asked)
    same = [config({"hidden_sizes": (530, 3)}, batch_size=61, learning_rate=0.3), config()]
    near: list[str] = []
    for of in same:
        paths.chosen(of, FEATURES, on(PLAIN, near))
    assert near[0] == near[1] == asked[0]


def test_the_fastest_path_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(20, Training(momentum=0.9, weight_decay=0.1, average_decay=0.9))
    seconds = bench.seconds(ALL, 50, 4)
    assert list(seconds) == ALL
    assert all(0 < each < 1 for each in seconds.values())
    for found, best, measured in (
        ([3, 4, 1.5, 1, 2], FOUR, 5),  # of 1, tiles, 2, 4 and 8 steps
        ([3, 4, 0.9, 1, 0.8], Path(2, False), 4),  # 8 steps are not measured
        ([3, 4, 1.2, 1, 0.8], EIGHT, 5),
        ([3, 4, 2.9, 2.97, 3], PLAIN, 5),  # hardly faster: perhaps by chance
        ([3, 2, 0.1, 2.3, 0.1], TILES, 3),  # as 4 steps are slow, 2 and 8 are not measured
        ([1.9, 1.8, 3, 1.85, 1.5], EIGHT, 5),
    ):
        known, asked = dict(zip(ALL, found, strict=True)), set[Path]()

        def seconds_of(
            paths: list[Path], *_: int, known: Any = known, asked: set[Path] = asked
        ) -> Any:
            asked |= {*paths}
            return {path: known[path] for path in paths}

        monkeypatch.setattr(bench, "seconds", seconds_of)
        assert bench.fastest(ALL, 50, 4) == best
        assert len(asked) == measured


@pytest.mark.parametrize(
    ("features", "batch_size"), [(3072, 64), (3072, 8192), (2**20, 64), (10**7, 1), (1, 1)]
)
def test_a_measurement_takes_little_memory(
    features: int, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    class Measured:
        def __init__(self, features: int, _: Training) -> None:
            made.append(8 * batch_size * features)

        def fastest(self, possible: list[Path], *_: int) -> Path:
            return possible[0]

    monkeypatch.setattr(paths, "_bench", Measured)
    asked: list[Callable[[], Path]] = []

    def agree(kind: str, measure: Callable[[], Path]) -> Path:
        asked.append(measure)
        return PLAIN

    of = config({"hidden_sizes": 4096}, batch_size=batch_size)
    paths.chosen(of, max(features, 16), agree)
    assert asked[0]() == PLAIN
    assert 0 < made[0] <= 2**24


# --- the cache -----------------------------------------------------------------------------------


def test_a_kind_is_measured_once(cache: File) -> None:
    assert paths.remembered("a", lambda: EIGHT) == EIGHT
    assert paths.remembered("a", unmeasured) == EIGHT
    assert paths.remembered("b", lambda: TILES) == TILES
    assert json.loads((cache / paths.CACHE).read_text()) == {"a": [8, False], "b": [1, True]}


def _slowly(number: int, results: Any) -> None:
    def measure() -> Path:
        time.sleep(0.2)  # both would measure without the lock
        return Path((2, 4)[number], False)

    results.put(paths.remembered("a", measure))


def test_two_workers_that_begin_together_get_the_same_path(cache: File) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [context.Process(target=_slowly, args=(n, results)) for n in range(2)]
    for worker in workers:
        worker.start()
    assert results.get(timeout=60) == results.get(timeout=60)
    for worker in workers:
        worker.join()


@pytest.mark.parametrize("content", ["", "[]", '{"a": 3}', '{"a": [3, false]}', '{"a": [1, "x"]}'])
def test_a_damaged_cache_is_replaced(cache: File, content: str) -> None:
    cache.mkdir()
    (cache / paths.CACHE).write_text(content)
    assert paths.remembered("a", lambda: EIGHT) == EIGHT
    assert paths.remembered("a", unmeasured) == EIGHT


def test_without_a_cache_folder_the_path_is_measured(
    tmp_path: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FFNET_CACHE", str(tmp_path / "file"))
    assert paths.remembered("a", lambda: EIGHT) == EIGHT


# --- the record ----------------------------------------------------------------------------------


def test_trials_record_their_path_and_train_again_on_it(
    tmp_path: File, cache: File, job: Job
) -> None:
    """The second training has a cache with another choice, and still gives the same bits."""
    random = np.random.default_rng(0)
    y = np.arange(300) % 3
    data = tmp_path / "wide.npz"
    np.savez(data, x=random.normal(size=(300, FEATURES)) + y[:, None] / 4, y=y)
    kinds: list[str] = []
    paths.chosen(config(momentum=0.9, batch_size=8), FEATURES, on(PLAIN, kinds))
    kind = kinds[0].replace(f"threads {threads()}", "threads 1")
    known = cache / paths.CACHE
    cache.mkdir()
    known.write_text(json.dumps({kind: [8, False]}))
    study = tmp_path / "study.toml"
    study.write_text(f"""
        [data]
        dataset = "{data}"
        [net]
        hidden_sizes = {WIDE}
        [training]
        batch_size = 8
        [space]
        momentum = {{choice = [0.5, 0.9]}}
        [tuning]
        scheduler = "none"
        [budget]
        trials = 2
        epochs = 2
    """)
    run = tmp_path / "run"
    done = job("tune", study, "--out", run)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = tables.read(RunFolder.at(run).trials)
    assert [(row["steps_per_block"], row["tiles"]) for row in rows] == [(8, False)] * 2
    known.write_text(json.dumps({kind: [2, False]}))
    again = job("train", "--from", run, "--trial", "1")
    assert "bit for bit" in again.stdout, again.stdout + again.stderr
    best = tmp_path / "best.toml"
    best.write_text(job("best", run).stdout)
    assert "steps_per_block = 8" in best.read_text()


def test_a_run_without_the_record_trains_by_the_rule_it_had(tmp_path: File) -> None:
    """Blocks of four steps from 2,048 neurons, with bfloat16 from 128; sgd without momentum."""
    folder = RunFolder.create(tmp_path / "run")
    rows: list[tables.Row] = [
        {"trial": n, "status": "done", "hidden_sizes": [width], "seed": n, "momentum": momentum}
        for n, (width, momentum) in enumerate([(2047, None), (2048, None), (2048, 0.9)])
    ]
    tables.write(folder.trials, rows, tables.TRIALS)
    table = pq.read_table(tmp_path / "run" / "trials.parquet")
    pq.write_table(table.drop_columns([*PATH, *NEWEST]), folder.trials.place)
    study: Any = {"net": {}, "training": {}, "epochs": 1}
    read = [recorded.config(study, row) for row in tables.read(folder.trials)]
    assert [of.path()["steps_per_block"] for of in read] == [1, 4, 1]
    assert not any(of.training.tiles for of in read)
    tables.write(folder.trials, tables.read(folder.trials), tables.TRIALS)  # as --resume does
    again = [recorded.config(study, row) for row in tables.read(folder.trials)]
    assert again == read


def test_the_rule_of_runs_without_a_record() -> None:
    for net, training, steps in (
        ({"hidden_sizes": 127}, {"precision": "bfloat16"}, 1),
        ({"hidden_sizes": 128}, {"precision": "bfloat16"}, 4),
        ({"hidden_sizes": (3000, 2)}, {}, 4),
        ({"hidden_sizes": (2, 3000)}, {}, 1),
        ({"hidden_sizes": []}, {}, 1),
        ({"hidden_sizes": 3000}, {"weight_decay": 0.1}, 1),
        ({"hidden_sizes": 3000}, {"optimizer": "adam"}, 1),
        ({"hidden_sizes": 3000, "api": "model"}, {}, 1),
    ):
        found = earlier.path(NetSpec(**net), Training(**training))
        assert found == {"steps_per_block": steps, "tiles": False}


# --- bfloat16 ------------------------------------------------------------------------------------


def test_nodes_that_multiply_bfloat16_slower_are_named_once() -> None:
    nodes = [
        Rates("new", 300.0, 600.0),
        Rates("old", 281.4, 145.2),
        Rates("old", 281.4, 145.2),
        Rates("same", 100.0, 100.0),
    ]
    (line,) = lines(nodes)
    assert line == (
        "old multiplies bfloat16 slower than float32 (145 against 281 GFLOP/s): precision = "
        '"float32" is faster there'
    )


def test_the_rates_of_both_number_types_are_measured() -> None:
    assert 0.01 < products("float32") < 1e5
    assert 0.01 < products("bfloat16") < 1e5
