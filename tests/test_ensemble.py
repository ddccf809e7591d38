"""Which nets an ensemble takes: answers worked out by hand, by calculus and by enumeration.

Also what a confirmation says about an ensemble. `test_again.py` confirms with nets that train.
"""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import made_runs
from ffnet.data.dataset import DataSet
from ffnet.data.folds import held_out
from ffnet.data.load import load
from ffnet.errors import InputError
from ffnet.report.page import page
from ffnet.report.page.facts import Facts
from ffnet.report.page.headline import headline
from ffnet.run import confirm, ensembles, tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row, Status
from ffnet.spec.sections import METRICS, Data, Tuning
from ffnet.training import metrics
from ffnet.training.ensemble import Answers, check_draws, joined, select
from ffnet.tuning import ensembles as confirming
from pages import Parsed

ACCURACY, LOSS = Tuning(), Tuning(metric="val_loss")


def two_classes(first: Sequence[float]) -> Answers:
    """What a net says about examples of class 0, by its probabilities of class 0."""
    p = np.array(first)
    labels = np.zeros(len(p), np.int32)
    return Answers.of(np.log(np.stack([p, 1 - p], axis=1)), labels)


def drawn(count: int, seed: int, examples: int = 12, classes: int = 3) -> list[Answers]:
    """What nets of random scores say."""
    random = np.random.default_rng(seed)
    labels = np.arange(examples) % classes
    scores = random.normal(size=(count, examples, classes)) + 0.8 * np.eye(classes)[labels]
    return [Answers.of(each, labels) for each in scores]


def key_of(nets: Sequence[Answers], members: Sequence[int], tuning: Tuning) -> Any:
    """The value of an ensemble by plain means, as something of which the largest is the best."""
    p = np.mean([nets[at].probabilities for at in members], axis=0)
    labels = nets[0].labels
    loss = -np.mean(np.log(p[np.arange(len(labels)), labels]))
    predicted = p.argmax(axis=1)
    value = {
        "val_accuracy": np.mean(predicted == labels),
        "val_loss": -loss,
        "val_balanced_accuracy": metrics.balanced_accuracy(predicted, labels),
        "val_macro_f1": metrics.macro_f1(predicted, labels),
        "val_auc": metrics.auc(np.log(p), labels),
    }[tuning.metric]
    return round(float(value or 0.0), 12), round(float(-loss), 12)


def members_of(draws: Sequence[int]) -> list[int]:
    return [at for at, times in enumerate(draws) for _ in range(times)]


def test_the_best_net_comes_first_and_then_the_one_that_helps_the_mean() -> None:
    a, b, c = (two_classes(p) for p in ([0.9, 0.9, 0.2], [0.31, 0.31, 0.9], [0.45, 0.45, 0.6]))
    assert [each.value("val_accuracy") for each in (a, b, c)] == pytest.approx(
        [2 / 3, 1 / 3, 1 / 3]
    )
    # a + b is right about all three; a + a and a + c are not.
    assert select([c, b, a], ACCURACY, 2) == [0, 1, 1]
    # A third draw is right about all, too, but no third net lowers the loss of a + b.
    assert select([c, b, a], ACCURACY, 3) == [0, 1, 1]


def test_of_equal_accuracies_the_lower_loss_counts() -> None:
    nets = [two_classes([0.6, 0.7]), two_classes([0.9, 0.8]), two_classes([0.8, 0.9])]
    assert select(nets, ACCURACY, 1) == [0, 1, 0]  # the first of two equal nets
    # All means are right, with losses -log √(0.9·0.8), and -log 0.85 for the two together.
    assert select(nets, ACCURACY, 2) == [0, 1, 1]
    assert joined(nets, [0, 1, 1]).loss() == pytest.approx(-np.log(0.85))


def test_a_net_that_is_taken_several_times_has_more_weight() -> None:
    """(0.1 + 0.8 w)·(0.9 - 0.6 w) is largest at w = 11/16, by its derivative."""
    nets = [two_classes([0.1, 0.9]), two_classes([0.9, 0.3])]
    assert select(nets, LOSS, 3) == [1, 2]
    many = select(nets, LOSS, 200)
    assert many[1] / sum(many) == pytest.approx(11 / 16, abs=0.005)


def test_draws_that_make_the_ensemble_worse_are_taken_back() -> None:
    good, bad = two_classes([0.9, 0.9]), two_classes([0.2, 0.3])
    assert select([bad, good], ACCURACY, 9) == [0, 1]
    assert select([bad], ACCURACY, 9) == [1]


@pytest.mark.parametrize("metric", METRICS)
def test_two_draws_are_the_best_pair_with_the_best_net(metric: Any) -> None:
    tuning = Tuning(metric=metric)
    for seed in range(20):
        nets = drawn(6, seed)
        best = max(range(6), key=lambda at: key_of(nets, [at], tuning))
        pairs = [[best], *([best, other] for other in range(6))]
        expected = max(key_of(nets, pair, tuning) for pair in pairs)
        assert key_of(nets, members_of(select(nets, tuning, 2)), tuning) == expected


@pytest.mark.parametrize("metric", METRICS)
def test_each_draw_is_the_best_of_all_by_enumeration(metric: Any) -> None:
    tuning = Tuning(metric=metric)
    for seed in range(10):
        nets = drawn(4, seed)
        now: list[int] = []
        ways: list[tuple[Any, list[int]]] = []
        for _ in range(6):
            keys = [key_of(nets, [*now, at], tuning) for at in range(4)]
            now = [*now, keys.index(max(keys))]
            ways.append((key_of(nets, now, tuning), now))
        best = max(key for key, _ in ways)
        assert members_of(select(nets, tuning, 6)) == sorted(
            next(members for key, members in ways if key == best)
        )


def test_an_ensemble_is_never_worse_than_its_best_net_nor_better_than_the_best_of_all() -> None:
    for seed in range(20):
        nets = drawn(4, seed)
        found = key_of(nets, members_of(select(nets, ACCURACY, 4)), ACCURACY)
        possible = [
            key_of(nets, members, ACCURACY)
            for count in range(1, 5)
            for members in combinations_with_replacement(range(4), count)
        ]
        assert max(key_of(nets, [at], ACCURACY) for at in range(4)) <= found <= max(possible)


def test_the_figures_are_those_of_the_mean_of_the_probabilities() -> None:
    nets, draws = drawn(3, seed=0, examples=30), [2, 0, 1]
    found, members = joined(nets, draws).score().figures("val"), members_of(draws)
    for metric in METRICS:
        value = key_of(nets, members, Tuning(metric=metric))[0]
        assert found[metric] == pytest.approx(abs(value), abs=1e-11)


def test_a_probability_that_is_rounded_to_0_has_the_right_loss() -> None:
    scores: npt.NDArray[Any] = np.array([[0.0, 2000.0], [5.0, 0.0]], np.float32)
    net = Answers.of(scores, np.array([0, 0]))
    assert net.probabilities[0, 0] == 0
    assert net.loss() == pytest.approx((2000 + np.log1p(np.exp(-5))) / 2)
    assert (net + net).loss() == pytest.approx(net.loss())


@pytest.mark.parametrize("draws", [-1, 0, 1, 1001])
def test_numbers_of_draws_that_make_no_ensemble_are_refused(draws: int) -> None:
    check_draws(2)
    check_draws(1000)
    with pytest.raises(InputError, match=f"from 2 to 1000 draws .*Given: {draws}"):
        check_draws(draws)


# --- what a confirmation says --------------------------------------------------------------------

ENSEMBLE: Row = {
    "look": 1, "nets": 4, "most": 5, "members": [0, 3], "draws": [1, 2], "val_accuracy": 0.93,
    "val_loss": 0.2, "test_accuracy": 0.9, "test_loss": 0.25,
}  # fmt: skip
NETS: list[Row] = [
    {
        "look": 1, "net": n, "trial": n // 2, "seed": 50 + n, "status": "done", "best_epoch": 2.0,
        "val_accuracy": 0.92 - n / 100, "val_loss": 0.3, "epochs": 10.0, "chosen": n < 2,
        "test_accuracy": 0.88 if n < 2 else None, "test_loss": 0.4 if n < 2 else None,
    }
    for n in range(4)
]  # fmt: skip


def run_with(place: Path, ensemble: Row | None) -> RunFolder:
    """Write a run with a confirmation, perhaps with an ensemble, and 100 test examples."""
    study = made_runs.study_of()
    sizes = {"train": 1437, "validation": 270, "test": 100}
    run = made_runs.write(place, study, *made_runs.trials(study, ["done"] * 2), sizes=sizes)
    tables.write(run.confirm, NETS, confirm.KIND.schema)
    if ensemble:
        tables.write(run.ensembles, [ensemble], ensembles.KIND.schema)
    return run


def last(run: RunFolder) -> confirm.Confirmed:
    found = confirm.last(run, ACCURACY, {"sizes": {"test": 100}})
    assert found
    return found


def test_an_ensemble_is_said_with_its_nets_and_its_interval(tmp_path: Path) -> None:
    """Wilson's interval of 90 of 100 is computed from its formula."""
    run = run_with(tmp_path / "run", ENSEMBLE)
    found = last(run).ensemble
    assert found
    members = [(net.trial, net.seed, net.draws, round(net.value, 2)) for net in found.members]
    assert members == [(1, 53, 2, 0.89), (0, 50, 1, 0.92)]
    z = 1.959963985
    middle, half = 0.9 + z**2 / 200, z * np.sqrt(0.9 * 0.1 / 100 + z**2 / 40000)
    scale = 1 + z**2 / 100
    assert found.interval == pytest.approx(((middle - half) / scale, (middle + half) / scale))
    first, second = last(run).lines()[-2:]
    assert first == (
        "ensemble of 2 of the 4 nets, in 3 draws: val_accuracy 0.9300, a little too good because "
        "it chose the nets"
    )
    assert second == (
        "test accuracy of the ensemble: 0.9000, 95 % interval 0.8256 to 0.9448 (Wilson, 100 test "
        "examples); loss 0.2500"
    )


def test_the_page_shows_the_nets_of_the_ensemble(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", ENSEMBLE)
    page.write(page.page_of(run), tmp_path / "page.html")
    text = Parsed(tmp_path / "page.html").text
    assert "The nets of the ensemble" in text
    assert "1 53 2 0.8900 0 50 1 0.9200" in text
    assert "Test accuracy of the ensemble: 0.9000" in text
    said = headline(Facts.read(run))[2].text
    assert "An ensemble of 2 nets has 0.9000, 0.8256 to 0.9448 on the test part." in said


def test_a_confirmation_without_an_ensemble_says_nothing_of_one(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", None)
    assert last(run).ensemble is None
    tables.write(run.ensembles, [ENSEMBLE | {"look": 2}], ensembles.KIND.schema)
    assert last(run).ensemble is None
    assert "ensemble" not in " ".join(last(run).lines())


def test_an_ensemble_whose_test_was_interrupted_says_so(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", ENSEMBLE | {"test_accuracy": None, "test_loss": None})
    assert last(run).lines()[-1] == "the ensemble was not evaluated on the test part"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"draws": [1]}, r"different ones .*Given: members \[0, 3\], draws \[1\], nets 4"),
        (
            {"draws": [0, 1]},
            "members must be different ones of the nets, each with",
        ),
        ({"members": [3, 3]}, "members must be different ones"),
        ({"members": None, "draws": None}, r"Given: members \[\], draws \[\]"),
        ({"nets": 1}, "Given: .*nets 1"),
        ({"members": [], "draws": []}, "members must be different ones"),
        ({"members": [0, 9]}, r"look 1 must have nets of confirm\.parquet .*Given: net 9"),
        ({"val_accuracy": None}, "Given: no val_accuracy"),
        ({"test_accuracy": 1.5}, "test_accuracy must be from 0 to 1. Given: 1.5"),
    ],
)
def test_ensembles_that_no_confirmation_has_are_refused(
    tmp_path: Path, wrong: Row, words: str
) -> None:
    run = run_with(tmp_path / "run", ENSEMBLE | wrong)
    with pytest.raises(InputError, match=words):
        last(run)


def data_of(y: npt.NDArray[Any], y_val: npt.NDArray[Any], y_test: npt.NDArray[Any]) -> DataSet:
    """A data set of two classes or more, whose only feature is the example's number."""
    parts = {"train": y, "validation": y_val, "test": y_test}
    numbers = {part: np.arange(float(len(labels)))[:, None] for part, labels in parts.items()}
    return load(Data(), {part: (numbers[part], labels) for part, labels in parts.items()})


def trained(count: int, **more: Any) -> list[Row]:
    """Rows of confirm.parquet for nets of other trials, which are numbered from 0."""
    empty = dict.fromkeys(confirm.KIND.schema.names)
    return [
        empty | {"look": 1, "net": n, "trial": n, "seed": 7, "status": Status.DONE} | more
        for n in range(count)
    ]


def test_a_confirmation_takes_sound_nets_and_tests_their_mean() -> None:
    random = np.random.default_rng(1)
    data = data_of(np.arange(60) % 3, np.arange(40) % 3, np.arange(30) % 3)
    assert data.test
    y, labels = data.validation.y, data.test.y
    rows = trained(5)
    rows[1]["status"] = rows[3]["status"] = Status.DIVERGED
    validation = random.normal(size=(3, 40, 3)) + np.eye(3)[y]
    test = random.normal(size=(3, 30, 3)).astype(np.float32)
    row = confirming.chosen(rows, of_nets(validation), data, ACCURACY, 4)
    draws = select([Answers.of(scores, y) for scores in validation], ACCURACY, 4)
    assert row["members"] == [n for n, times in zip((0, 2, 4), draws, strict=True) if times]
    assert row["draws"] == [times for times in draws if times]
    assert (row["look"], row["nets"], row["most"]) == (1, 3, 4)
    found = confirming.tested(row, of_nets(test), labels)
    p = np.exp(test) / np.exp(test).sum(axis=2, keepdims=True)
    mean = np.average(p, axis=0, weights=draws)
    assert found["test_accuracy"] == (mean.argmax(axis=1) == labels).mean()
    assert found["test_loss"] == pytest.approx(-np.log(mean[np.arange(30), labels]).mean())
    assert {*found} == {*tables.TEST}


def of_nets(scores: npt.NDArray[Any]) -> dict[int, Any]:
    """Scores of the nets 0, 2 and 4, as a pool gives them."""
    return {number: ({}, each) for number, each in zip((0, 2, 4), scores, strict=True)}


def test_the_nets_of_all_folds_answer_together_for_examples_that_they_were_not_taught() -> None:
    """A net is sure and right where its configuration is good, elsewhere a little wrong."""
    y, y_val = np.arange(50) % 2, np.arange(30) % 2
    data, labels = data_of(y, y_val, y_val[:9]), np.concatenate([y, y_val])
    good = {0: np.arange(80) % 4 < 2, 1: np.arange(80) % 4 >= 2, 2: np.zeros(80, bool)}
    right = np.where(labels[:, None] == np.arange(2), 2.0, -2.0)
    rows: list[Row] = []
    nets: dict[int, Any] = {}
    for trial, of_trial in good.items():
        whole = np.where(of_trial[:, None], right, -0.1 * right)
        held, _ = held_out(data, 5, seed=trial)
        for fold, at in enumerate(held):
            number = len(rows)
            rows += [
                trained(1)[0]
                | {"net": number, "trial": trial, "seed": trial, "fold": fold, "folds": 5}
            ]
            nets[number] = ({}, whole[at])
    row = confirming.chosen(rows, nets, data, ACCURACY, 3)
    # Half of each mean is right and sure, half is wrong and unsure: together all are right.
    assert (row["val_accuracy"], row["members"]) == (1.0, [*range(10)])
    assert row["draws"] == [1] * 10
    rows[3]["status"] = Status.FAILED  # then trial 0 cannot answer for all examples
    assert confirming.groups(rows) == [tuple(range(5, 10)), tuple(range(10, 15))]
    del nets[0], nets[1], nets[2], nets[3], nets[4]
    row = confirming.chosen(rows, nets, data, ACCURACY, 3)
    assert (row["val_accuracy"], row["members"]) == (0.5, [*range(5, 10)])
