"""Tables on a terminal: they fit its width, and name the columns that they leave out."""

import os
import pty
import sys
from typing import Any

import pytest

from ffnet.report import terminal
from ffnet.report.columns import Column, cells_of, cut, side_by_side
from ffnet.report.terminal import fitted, wrapped
from ffnet.run.tables import Row

ROWS: list[Row] = [
    {
        "trial": 9, "status": "done", "hidden_sizes": [130], "learning_rate": 0.4964,
        "best_val_accuracy": 0.97778, "best_val_accuracy_epoch": 28.0, "last_val_loss": 0.0822,
        "epochs": 30.0, "train_seconds": 0.4315,
    },
    {
        "trial": 10, "status": "pruned",
        "hidden_sizes": [2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4],
        "learning_rate": 0.5285, "best_val_accuracy": 0.97407, "best_val_accuracy_epoch": 8.0,
        "last_val_loss": None, "epochs": 18.0, "train_seconds": 12.39,
    },
]  # fmt: skip
NAMES = list(ROWS[0])


def test_without_a_width_every_column_stands_under_its_full_name() -> None:
    text, left_out = fitted(ROWS, NAMES, None)
    assert text.splitlines()[0].split() == NAMES
    assert "2048-1024-512-256-128-64-32-16-8-4" in text
    assert left_out == []


def test_a_table_of_80_columns_has_short_names_and_the_epoch_beside_the_best_figure() -> None:
    text, left_out = fitted(ROWS, NAMES, 80)
    assert text.splitlines() == [
        "trial  status  hidden                    lr  best acc @epoch  last loss  epochs",
        "-----  ------  --------------------  ------  ---------------  ---------  ------",
        "    9  done    130                   0.4964  0.9778 @28          0.0822      30",
        "   10  pruned  2048-1024-512-256-1…  0.5285  0.9741 @8                       18",
    ]
    assert left_out == ["train_seconds"]
    line = terminal.left_out_line(left_out, "--columns shows them, --format csv has all", 80)
    assert line == "left out: train_seconds; --columns shows them, --format csv has all"


def test_hyper_parameters_keep_their_names_where_there_is_room() -> None:
    text, left_out = fitted(ROWS, NAMES, 110)
    assert text.splitlines()[0].split()[2:4] == ["hidden_sizes", "learning_rate"]
    assert "2048-1024-512-256-128-64-32-16-8-4" in text
    assert left_out == []


@pytest.mark.parametrize("most", [1, 2, 10, 24, 40, 60, 79, 80, 81, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_no_column_goes_without_a_word(most: int) -> None:
    text, left_out = fitted(ROWS, NAMES, most)
    assert all(cells_of(line) <= most for line in text.splitlines())
    assert len(text.splitlines()) == 4
    columns = len(text.splitlines()[1].split())
    if most >= 24:
        assert columns + 1 + len(left_out) == len(NAMES)  # two of them share a column
        assert not {"trial", "best_val_accuracy", "best_val_accuracy_epoch"} & set(left_out)
    text = wrapped(ROWS, NAMES, most)
    assert all(cells_of(line) <= most for line in text.splitlines())


def test_the_least_needed_columns_go_first_and_searched_ones_from_the_end() -> None:
    assert fitted(ROWS, NAMES, 75)[1] == ["last_val_loss", "train_seconds"]
    assert fitted(ROWS, NAMES, 55)[1] == [
        "learning_rate", "last_val_loss", "epochs", "train_seconds",
    ]  # fmt: skip


def test_columns_that_somebody_asked_for_are_all_shown_below_each_other() -> None:
    rows = [{"trial": 7, "reason": "a" * 50, "status": "failed"}]
    assert wrapped(rows, list(rows[0]), 30).splitlines() == [
        "trial  reason",
        "-----  -----------------------",
        "    7  aaaaaaaaaaaaaaaaaaaaaa…",
        "",
        "trial  status",
        "-----  ------",
        "    7  failed",
    ]
    assert "a" * 50 in wrapped(rows, list(rows[0]), None)


def test_wide_characters_take_two_cells() -> None:
    columns = [Column("run", "run", ["实验", "b"]), Column("x", "x", ["1", "2"], right=True)]
    assert side_by_side(columns).splitlines() == ["run   x", "----  -", "实验  1", "b     2"]
    assert cut("实验一二", 5) == "实验…"
    assert cut("实验一二", 4) == "实…"
    assert cut("实验", 4) == "实验"


def test_the_first_column_of_runs_is_never_shortened_while_others_may_go() -> None:
    name = "a-long-name-of-a-run-20261125-122844-738"
    rows: list[dict[str, Any]] = [{"run": name, "begun": None, "trials": "3 done", "best": 0.5}]
    text, left_out = fitted(rows, list(rows[0]), 60)
    assert name in text
    assert left_out == ["begun"]


def test_the_width_is_that_of_columns_else_of_the_terminal_else_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outer, inner = pty.openpty()
    with os.fdopen(outer, "rb"), os.fdopen(inner, "w") as screen:
        monkeypatch.setattr(sys, "stdout", screen)
        monkeypatch.delenv("COLUMNS", raising=False)
        assert terminal.width() == 80  # the default for a terminal of unknown width
        monkeypatch.setenv("COLUMNS", "123")
        assert terminal.width() == 123
    monkeypatch.setenv("COLUMNS", "0")
    with open(os.devnull, "w") as file:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", file)
        assert terminal.width() is None


def test_no_rows_are_a_head_alone() -> None:
    assert fitted([], NAMES, 42)[0].splitlines()[0] == "trial  status  hidden  lr  best acc @epoch"
    assert wrapped([], ["trial"], 40) == "trial\n-----"
