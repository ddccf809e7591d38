"""HParams: hyper-parameters that the space varies are shown, as numbers if possible."""

from typing import Any

import pytest

from ffnet.report.hparams import HParams, of_study
from ffnet.spec.study import Study

LAYERS = {"each": {"integer": [8, 64]}, "depth": {"integer": [1, 3]}}


def shown(space: dict[str, Any], row: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """Return what the dashboard shows of a trial of a study with this space."""
    space = {"learning_rate": {"uniform": [0.1, 0.2]}} | space
    study = Study.model_validate({"space": space, **sections})
    everything = {"activation": "relu", "batch_size": 64, "optimizer": "sgd", "momentum": None}
    columns = of_study(study.resolved(), "study.json").of(everything | row)
    assert columns == HParams(study).of(everything | row)  # read back, it is the same
    return columns


@pytest.mark.parametrize(
    "domain",
    [
        {"log_integer": [8, 64]},
        {"choice": [16, 32]},
        {"choice": [[16], [32]]},
        {"each": {"choice": [16, 32]}, "depth": 1},
        {"layers": [{"integer": [8, 64]}]},
        [
            {"integer": [8, 20], "when": {"optimizer": "sgd"}},
            {"choice": [16, [32]], "when": {"optimizer": "adam"}},
        ],
    ],
)
def test_the_width_of_one_hidden_layer_is_a_number(domain: Any) -> None:
    space = {"hidden_sizes": domain, "optimizer": {"choice": ["sgd", "adam"]}}
    row = {"hidden_sizes": [16], "optimizer": "adam"}
    assert shown(space, row) == {"hidden_sizes": 16, "optimizer": "adam"}


def test_layers_that_are_drawn_are_numbers_of_their_own_and_so_is_their_count() -> None:
    space = {"hidden_sizes": LAYERS, "dropout": {"each": {"uniform": [0.1, 0.5]}}}
    assert shown(space, {"hidden_sizes": [16, 8], "dropout": [0.25, 0.125]}) == {
        "hidden_sizes.depth": 2, "hidden_sizes.1": 16, "hidden_sizes.2": 8,
        "dropout.1": 0.25, "dropout.2": 0.125,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("domain", "columns"),
    [
        ({"layers": [64, {"integer": [8, 64]}]}, {"hidden_sizes.2": 8}),
        ({"each": 64, "depth": {"choice": [2, 5]}}, {"hidden_sizes.depth": 2}),
        (
            {"each": {"choice": [8, 64]}, "depth": 2},
            {"hidden_sizes.1": 64, "hidden_sizes.2": 8},
        ),
        ({"each": 64, "depth": 2}, {}),
        (
            {"repeat": {"choice": [8, 64]}, "depth": {"choice": [2, 5]}},
            {"hidden_sizes.depth": 2, "hidden_sizes.1": 64},
        ),
        ({"repeat": {"choice": [8, 64]}, "depth": 2}, {"hidden_sizes.1": 64}),
    ],
)
def test_layers_or_a_depth_that_never_vary_are_left_out(domain: Any, columns: Any) -> None:
    assert shown({"hidden_sizes": domain}, {"hidden_sizes": [64, 8]}) == columns


def test_whole_nets_to_choose_from_are_texts() -> None:
    space = {"hidden_sizes": {"choice": [[], [512], [512, 256]]}}
    assert shown(space, {"hidden_sizes": [512, 256]}) == {"hidden_sizes": "512-256"}
    assert shown(space, {"hidden_sizes": [512]}) == {"hidden_sizes": "512"}
    assert shown(space, {"hidden_sizes": []}) == {"hidden_sizes": "none"}


def test_one_dropout_for_all_layers_is_one_number() -> None:
    space = {"hidden_sizes": LAYERS, "dropout": {"uniform": [0.1, 0.5]}}
    assert shown(space, {"dropout": [0.25, 0.25, 0.25]}) == {"dropout": 0.25}
    one_layer = {"dropout": {"each": {"uniform": [0.1, 0.5]}}}
    assert shown(one_layer, {"dropout": [0.25]}) == {"dropout": 0.25}
    choice = {
        "hidden_sizes": {"choice": [[8, 8], [9, 9]]},
        "dropout": {"choice": [0.5, [0.1, 0.2]]},
    }
    assert shown(choice, {"dropout": [0.5, 0.5]}) == {"dropout": "0.5 0.5"}


@pytest.mark.parametrize(
    "space",
    [
        {"weight_decay": 0.5},
        {"weight_decay": {"choice": [0.5]}},
        {"weight_decay": {"fixed": 0.5, "when": {"optimizer": "sgd"}}},  # always true: the default
        {"hidden_sizes": {"choice": [[64]]}, "dropout": 0.5},
        {"hidden_sizes": {"layers": [64, 32]}, "dropout": {"each": 0.5}},
    ],
)
def test_what_is_the_same_in_all_trials_is_left_out(space: Any) -> None:
    row = {"weight_decay": 0.5, "hidden_sizes": [64, 32], "dropout": [0.5, 0.5]}
    assert shown(space, row | {"learning_rate": 0.15}) == {"learning_rate": 0.15}


def test_what_only_some_trials_have_varies() -> None:
    space = {
        "optimizer": {"choice": ["sgd", "adam"]},
        "momentum": {"fixed": 0.9, "when": {"optimizer": "sgd"}},
        "learning_rate": [
            {"fixed": 0.1, "when": {"optimizer": "sgd"}},
            {"fixed": 0.01, "when": {"optimizer": "adam"}},
        ],
        "weight_decay": [{"fixed": 0.0, "when": {"optimizer": "sgd"}}, {"fixed": 0.0}],
    }
    sgd = {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.1, "weight_decay": 0.0}
    assert shown(space, sgd) == {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.1}
    adam = sgd | {"optimizer": "adam", "momentum": None, "learning_rate": 0.01}
    assert shown(space, adam) == {"optimizer": "adam", "learning_rate": 0.01}


def test_what_pbt_changes_is_shown_where_it_is_in_the_space() -> None:
    space = {"momentum": {"uniform": [0.5, 0.9]}, "batch_norm": {"choice": [True, False]}}
    row = {"learning_rate": 0.12, "momentum": 0.6, "batch_norm": False, "weight_decay": 0.5}
    varies = {"learning_rate": 0.12, "momentum": 0.6, "batch_norm": False}
    assert shown(space, row, tuning={"scheduler": "pbt"}) == varies


@pytest.mark.parametrize(
    ("sizes", "written"), [([64], 64), ([64, 32], "64-32"), ([], "none"), (None, None)]
)
def test_of_one_net_every_hyper_parameter_is_shown(sizes: Any, written: Any) -> None:
    row = {"hidden_sizes": sizes, "dropout": [0.5, 0.5], "bias": True, "momentum": None}
    sizes_shown = {} if written is None else {"hidden_sizes": written}
    assert of_study({"net": {}}, "study.json").of(row) == sizes_shown | {
        "dropout": 0.5, "bias": True,
    }  # fmt: skip
