"""What `ffnet bench` computes from its measurements, and what it leaves out."""

import argparse
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from conftest import Job
from ffnet.cli import bench_ablation, bench_peers, bench_scale, bench_search, bench_tables
from ffnet.cli.bench_programs import keep
from ffnet.errors import InputError
from ffnet.run.tables import Row
from ffnet.spec.net import TUNABLE
from ffnet.spec.trial import TrialConfig

REPORTS: list[Row] = [  # trial 1 reports between the reports of trial 0; trial 2 diverges
    {"trial": 0, "epoch": 1, "val_accuracy": 0.41, "at": 110.0},
    {"trial": 0, "epoch": 2, "val_accuracy": 0.52, "at": 130.0},
    {"trial": 0, "epoch": 3, "val_accuracy": 0.50, "at": 150.0},
    {"trial": 1, "epoch": 1, "val_accuracy": 0.49, "at": 120.0},
    {"trial": 1, "epoch": 2, "val_accuracy": 0.5199, "at": 125.0},
    {"trial": 2, "epoch": 1, "val_accuracy": None, "at": 115.0},
]


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        (0.40, (110.0, 1)),
        (0.50, (125.0, 4)),  # after 0.41, the diverged report and 0.49
        (0.52, (130.0, 5)),  # a report at the target has reached it
        (0.53, None),
    ],
)
def test_an_accuracy_is_reached_at_the_first_report_that_has_it(
    target: float, answer: tuple[float, int] | None
) -> None:
    assert bench_search.reached(REPORTS, target) == answer
    assert bench_search.reached(REPORTS[::-1], target) == answer


def found(*reports: Row) -> dict[str, Any]:
    return {"launched": 100.0, "whole": 60.0, "reports": list(reports), "lost": 0}


def test_a_seed_that_did_not_reach_an_accuracy_is_the_latest_of_all() -> None:
    reached = {"trial": 0, "epoch": 1, "val_accuracy": 0.53, "at": 104.0}
    single: list[Row] = []
    for seed, reports in enumerate([[reached], REPORTS, REPORTS[:1]]):
        single += bench_search.rows_of(found(*reports), "cifar10", "ffnet", seed)
    single += bench_search.rows_of({}, "cifar10", "Optuna", 0)  # it failed
    (row,) = bench_search.medians(single, "cifar10")
    assert (row["0.5: s"], row["0.5: epochs"]) == (25.0, 4)  # of 4, 25 and never
    assert (row["0.52: s"], row["0.52: epochs"]) == (30.0, 5)
    assert (row["0.54: s"], row["0.54: epochs"]) == ("0 of 3 seeds", "0 of 3 seeds")
    assert row["best val_accuracy"] == 0.52
    assert row["all epochs"] == 1  # of 1, 6 and 1


def test_a_search_hands_the_other_programs_its_own_space_and_rungs() -> None:
    flags = argparse.Namespace(data_dir=None, trials=5, epochs=None)
    work = bench_search.work(bench_search._study(flags, "mnist", 3))
    assert work["space"] == {
        "hidden_sizes_0": ("log_integer", (256, 1024)),
        "hidden_sizes_1": ("log_integer", (256, 1024)),
        "hidden_sizes_2": ("log_integer", (256, 1024)),
        "learning_rate": ("log_uniform", (5e-4, 5e-3)),
        "dropout": ("uniform", (0.1, 0.5)),
    }
    assert (work["trials"], work["epochs"], work["seed"]) == (5, 9, 3)
    assert (work["grace_epochs"], work["reduction_factor"]) == (1, 3)
    assert (work["optimizer"], work["schedule"]) == ("adam", "cosine")
    assert (work["batch_norm"], work["bias"]) == (True, False)


def round_of(how: str, number: int, fit: float | None) -> Row:
    figures = dict.fromkeys(bench_peers.FIGURES, fit)
    return {"round": number, "how": how, **figures}


def test_peers_are_compared_by_the_medians_of_their_rounds() -> None:
    single = [
        *(round_of("ffnet", n, fit) for n, fit in enumerate([20.0, 10.0, 90.0])),
        *(round_of("Optuna", n, fit) for n, fit in enumerate([50.0, None, 70.0])),  # one failed
        *(round_of(bench_peers.PRODUCTS, n, 16.0) for n in range(3)),
        round_of("Syne Tune", 0, None),
    ]
    own, optuna, products, syne = bench_peers.medians(single)
    assert (own["fit s"], own["fit ÷ ffnet"], own["fit ÷ products"]) == (20.0, 1.0, 1.25)
    assert (optuna["fit s"], optuna["fit ÷ ffnet"], optuna["fit ÷ products"]) == (60.0, 3.0, 3.75)
    assert (products["fit ÷ ffnet"], products["fit ÷ products"]) == (0.8, 1.0)
    assert (syne["fit s"], syne["fit ÷ ffnet"]) == (None, None)


def test_a_program_whose_package_is_missing_is_left_out_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench_peers, "installed", lambda package: package != "syne-tune")
    known = ("ffnet", *bench_peers.PROGRAMS)
    names, lines = bench_peers.chosen("syne-tune, kerastuner,ffnet", known)
    assert names == ["ffnet", "kerastuner"]  # in the order in which they run
    (line,) = lines
    assert line.startswith("left out: Syne Tune + Keras fit, because syne-tune is not installed")
    assert "'.[peers]'" in line
    with pytest.raises(InputError, match="syne-tune is not installed"):
        bench_peers.chosen("syne-tune", known)


def test_installed_is_said_of_packages_that_can_be_imported() -> None:
    assert bench_peers.installed(None)
    assert bench_peers.installed("pytest")
    assert not bench_peers.installed("no-such-tuner")


def test_a_program_that_fails_is_named_and_the_others_go_on() -> None:
    def fails() -> dict[str, Any]:
        raise InputError("ray_keras.py failed: \n no memory")

    lines = ["first"]
    assert bench_peers.attempt("Ray Tune", fails, lines) == {}
    assert lines == ["first", "failed: Ray Tune: ray_keras.py failed: no memory"]
    assert bench_peers.attempt("ffnet", lambda: {"whole": 1.0}, lines) == {"whole": 1.0}
    assert len(lines) == 2


def test_the_rate_is_trials_a_second_beside_bare_tune_with_as_many_trials() -> None:
    own = {"how": "ffnet", "trials": 1000, "seconds": 25.0, "reports": 2300, "whole": 40.0}
    bare = {
        "how": "Ray Tune alone",
        "trials": 1000,
        "seconds": 20.0,
        "reports": 1500,
        "whole": 30.0,
    }
    row = bench_scale.row(own | {"memory": 3 * 2**20}, bare)
    assert row["trials a second"] == 40.0
    assert math.isclose(row["÷ bare Ray Tune"], 0.8)
    assert row["driver's peak MiB"] == 3.0


def test_results_are_kept_as_markdown_and_parquet(tmp_path: Path) -> None:
    single: list[Row] = [{"how": "a|b", "fit_seconds": 1.5}, {"how": "c", "fit_seconds": None}]
    keep(
        str(tmp_path / "new" / "out"), "peers", ["2 CPUs"], [[{"how": "a|b", "fit s": 1.5}]], single
    )
    folder = tmp_path / "new" / "out"
    text = (folder / "peers.md").read_text()
    assert text.startswith("# ffnet bench peers\n\n- 2 CPUs\n\n| how")
    assert "| a\\|b |" in text
    assert pq.read_table(folder / "peers.parquet").to_pylist() == single
    keep(str(folder), "search", ["all failed"], [[]], [])
    assert (folder / "search.md").read_text() == "# ffnet bench search\n\n- all failed\n"
    assert pq.read_table(folder / "search.parquet").num_rows == 0
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--out must be a folder that can be written"):
        keep(str(tmp_path / "file"), "peers", [], [], single)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scale", "--only", "ffnet"], "--only has no effect on scale: leave it out"),
        (["sweep", "--out", "x"], "--out has no effect on sweep: leave it out"),
        (["peers", "--only", "optun"], "Given: optun (did you mean optuna?)"),
        (
            ["search", "--only", "plain"],
            "--only must have names of programs: ffnet, ffnet-tpe",
        ),
        (["search", "--dataset", "cifar"], "Given: cifar (did you mean cifar10?)"),
        (["search", "--epochs", "1"], "asha can prune nothing unless grace_epochs < epochs"),
        (["peers", "--rounds", "0"], "must be a whole number, 1 or more. Given: '0'"),
        (["scale", "--trials", "-3"], "must be a whole number, 1 or more. Given: '-3'"),
    ],
)
def test_bench_refuses_flags_that_it_cannot_heed(words: list[str], message: str, call: Job) -> None:
    done = call("bench", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_last_row_of_bench_tables_has_the_means_of_the_accuracies_alone() -> None:
    sets = [
        {
            "set": "a",
            "ffnet": 0.5,
            "trees": 0.25,
            bench_tables.ABOVE: 1.0,
            bench_tables.SECONDS: 9.0,
        },
        {
            "set": "b",
            "ffnet": 1.0,
            "trees": 0.75,
            bench_tables.ABOVE: 3.0,
            bench_tables.SECONDS: 1.0,
        },
    ]
    *kept, mean = bench_tables.with_means(sets)
    assert kept == sets
    assert mean == {
        "set": "mean", "ffnet": 0.75, "trees": 0.5, bench_tables.ABOVE: None,
        bench_tables.SECONDS: None,
    }  # fmt: skip


def test_the_gain_of_an_ingredient_is_that_of_nets_with_the_same_seed() -> None:
    single: list[Row] = [
        {"dataset": "mnist", "net": net, "seed": seed, "accuracy": accuracy, "seconds": seed + 1.0}
        | {"together": 0.99 if seed == 2 else None}
        for net, each in (("base", (0.90, 0.92, 0.97)), ("mixup", (0.91, 0.93, 0.98)))
        for seed, accuracy in enumerate(each)
    ]
    base, mixup = bench_ablation.table(single)
    assert base["gain"] is None
    assert mixup["mean"] == pytest.approx(0.94)
    assert [mixup[name] for name in ("gain", "from", "to")] == pytest.approx(
        [0.01] * 3
    )  # all equal
    assert mixup["mean of all nets' probabilities"] == 0.99
    assert mixup["seconds a net"] == 2.0
    assert bench_ablation.gains([[base, mixup]]) == [{"net": "mixup", "mnist": "+0.0100*"}]


def test_gains_have_a_star_where_their_interval_has_no_0_and_a_gap_where_there_is_none() -> None:
    def row(data: str, net: str, gain: float, low: float | None, high: float | None) -> Row:
        return {"data set": data, "net": net, "gain": gain, "from": low, "to": high}

    a = [row("a", "x", 0.02, -0.01, 0.05), row("a", "y", -0.03, -0.04, -0.02)]
    b = [row("b", "x", 0.0, 0.0, 0.0), row("b", "z", 0.01, None, None)]
    assert bench_ablation.gains([a, b]) == [
        {"net": "x", "a": "+0.0200", "b": "+0.0000"},
        {"net": "y", "a": "-0.0300*", "b": None},
        {"net": "z", "a": None, "b": "+0.0100"},
    ]


def test_only_the_base_and_the_named_nets_of_the_ablation_are_trained() -> None:
    known = bench_ablation.nets("pima")
    assert list(bench_ablation._chosen("pbld, gelu", known)) == ["base", "gelu", "pbld"]
    assert bench_ablation._chosen(None, known) == known
    assert not any("," in name for name in known)  # --only separates names by commas
    with pytest.raises(InputError, match=r"names of nets: base, .* Given: gleu .*mean gelu"):
        bench_ablation._chosen("pbld,gleu", known)


@pytest.mark.parametrize("dataset", ["mnist", "cifar10", "pima"])
def test_each_net_of_the_ablation_is_one_that_ffnet_can_train(dataset: str) -> None:
    nets = bench_ablation.nets(dataset)
    base = TrialConfig.of(nets["base"], 0, 10, 0).hyperparameters()
    for name, fields in nets.items():
        config = TrialConfig.of(fields, 0, 10, 0)
        assert (config.hyperparameters() != base) == (name != "base")
        usual = config.net.initializer == "kaiming_normal"
        assert usual or config.net.activation != "relu"  # for relu, fitted is the same
        assert fields.keys() <= TUNABLE.keys()
