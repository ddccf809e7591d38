"""Conditions of `ffnet table --where`: what they keep, and what is refused in one line."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from conftest import Job
from ffnet.errors import InputError
from ffnet.report.where import Condition
from ffnet.run import storage, tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)

ROWS: list[Row] = [
    {"trial": 0, "status": "done", "hidden_sizes": [512, 64], "optimizer": "sgd", "momentum": 0.9,
     "batch_norm": True, "epochs": 8.0, "batch_size": 32, "started_at": NOON},
    {"trial": 1, "status": "pruned", "hidden_sizes": [256], "optimizer": "adam", "epochs": 2.0,
     "batch_norm": False, "batch_size": 64, "started_at": NOON.replace(hour=13)},
    {"trial": 2, "status": "failed", "hidden_sizes": [], "optimizer": None, "epochs": 0.0,
     "reason": "worker lost 4 times", "batch_size": 64},
    {"trial": 3, "status": "done", "hidden_sizes": [300], "optimizer": "sgd", "momentum": 0.0,
     "batch_norm": False, "epochs": 8.0, "batch_size": 128, "started_at": NOON.replace(hour=14)},
]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder.create(tmp_path / "run")
    storage.write_json(folder.study, {"study": {}})
    tables.write(folder.trials, ROWS, tables.TRIALS)
    return folder


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("status == 'done'", [0, 3]),
        ("status == 'done' and hidden_sizes[0] > 256", [0, 3]),
        ("status == 'done' and hidden_sizes[0] > 300", [0]),
        ('status != "done"', [1, 2]),
        ("'done' == status", [0, 3]),
        ("status in ['failed', 'pruned']", [1, 2]),
        ("status not in ('failed', 'pruned')", [0, 3]),
        ("not status == 'done'", [1, 2]),
        ("trial < 1 or trial >= 3", [0, 3]),
        ("0 < trial <= 2", [1, 2]),
        ("trial in [0, 2]", [0, 2]),
        ("epochs in [8]", [0, 3]),
        ("hidden_sizes[1] == 64", [0]),
        ("hidden_sizes[-1] <= 256", [0, 1]),
        ("hidden_sizes[9] == 64", []),
        ("len(hidden_sizes) == 0", [2]),
        ("len(hidden_sizes) > 1", [0]),
        ("hidden_sizes == [256]", [1]),
        ("hidden_sizes == []", [2]),
        ("hidden_sizes != [256]", [0, 2, 3]),
        ("hidden_sizes in [[256], [300]]", [1, 3]),
        ("64 in hidden_sizes", [0]),
        ("64 not in hidden_sizes", [1, 2, 3]),
        ("'lost' in reason", [2]),
        ("batch_norm", [0]),
        ("not batch_norm", [1, 3]),
        ("batch_norm == true", [0]),
        ("batch_norm == False", [1, 3]),
        ("optimizer == 'sgd' and momentum > 0", [0]),
        ("batch_size * epochs == 256", [0]),
        ("batch_size / 100 < 0.5", [0]),
        ("batch_size + 1 > 2 * 64", [3]),
        ("trial - 3 == -1", [2]),
        ("-trial == -1", [1]),
        ("trial == 1e0", [1]),
        ("started_at > '2026-11-25 12:30'", [1, 3]),
        ("started_at <= '2026-11-25T14:00+01:00'", [0, 1]),
        # A comparison with a missing value keeps no row, with or without not.
        ("optimizer != 'sgd'", [1]),
        ("not optimizer == 'sgd'", [1]),
        ("optimizer not in ['sgd']", [1]),
        ("momentum < 0.5", [3]),
        ("optimizer == None", [2]),
        ("optimizer is null", [2]),
        ("optimizer is not None", [0, 1, 3]),
        ("optimizer != null", [0, 1, 3]),
        ("momentum < 0.5 or trial == 2", [2, 3]),
        ("  trial == 0  ", [0]),
        ("(trial == 0)", [0]),
        ("run == 'run' and trial == 0", [0]),
    ],
)
def test_a_condition_keeps_the_rows_for_which_it_is_true(
    run: RunFolder, call: Job, text: str, kept: list[int]
) -> None:
    done = call(
        "table", run.place, "--where", text, "--columns", "trial", "--sort", "trial",
        "--format", "csv",
    )  # fmt: skip
    assert done.stderr == ""
    assert [int(word) for word in done.stdout.split()[1:]] == kept


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("statu == 'done'", "no column 'statu' (did you mean status?); the columns are: trial,"),
        ("done == status", "no column 'done'"),
        ("status = 'done'", "compare with =="),
        ("status == 'done' AND trial > 1", "compare with =="),
        ("status ==", "compare with =="),
        ("a\x00b", "compare with =="),
        ("status == 'finished'", "a status is one of running, done,"),
        ("status in ['done', 'prund']", "not prund (did you mean pruned?)"),
        ("status > 3", "status > 3 does not fit the types of the columns"),
        ("trial == 'x'", "does not fit the types"),
        ("trial in ['1']", "does not fit the types"),
        ("hidden_sizes > 3", "hidden_sizes > 3 does not fit the types"),
        ("hidden_sizes == ['a']", "does not fit the types"),
        ("trial[0] == 1", "does not fit the types"),
        ("status[0] == 'd'", "does not fit the types"),
        ("hidden_sizes['a'] == 1", "does not fit the types"),
        ("trial and status == 'done'", "does not fit the types"),
        ("started_at > 'yesterday'", "does not fit the types"),
        ("started_at > status", "does not fit the types"),
        ("trial > 99999999999999999999999999", "does not fit the types"),
        ("len(status) > 1", "does not fit the types"),
        ("momentum < None", "momentum < None does not fit the types"),
        ("trial not in null", "does not fit the types"),
        ("status is 'done'", "does not fit the types"),
        ("1 / trial > 0", ""),
        ("trial", "it must be true or false for each row"),
        ("1 < 2", "it must name a column"),
        ("", "needs a value"),
        ("__import__('os').system('true')", "no column '__import__'"),
        ("trial.real == 1", "trial.real is not supported"),
        ("[t for t in trial]", "no column 't'"),
        ("(lambda: trial)()", "is not supported"),
        ("trial ** 2 > 1", "trial ** 2 is not supported"),
        ("f'{trial}' == '1'", "is not supported"),
        ("trial if trial else trial", "is not supported"),
        ("hidden_sizes[0:1] == 1", "is not supported there"),
        ("hidden_sizes[trial] == 1", "is not supported there"),
        ("len(trial, trial) == 1", "is not supported"),
        ("sum(trial) == 1", "no column 'sum'"),
        ("trial == b'1'", "is not supported"),
        ("(trial := 1) == 1", "is not supported"),
        ("(" * 300 + "trial" + ")" * 300 + " > 1", "compare with =="),
        ("not " * 200 + "batch_norm", ""),
        ("trial > 1" + " " * 1000, "at most 1000 characters"),
    ],
)
def test_what_a_condition_cannot_say_is_refused_in_one_line(
    run: RunFolder, call: Job, text: str, words: str
) -> None:
    done = call("table", run.place, "--where", text)
    if words:
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
    assert len(done.stderr.splitlines()) == (done.returncode == 2)
    assert done.returncode in (0, 2)


def test_a_whole_number_that_is_too_large_is_refused_and_never_wraps(run: RunFolder) -> None:
    table = tables.read_table(run.trials)
    with pytest.raises(InputError, match="does not fit the types"):
        Condition("(trial + 1) * 9223372036854775807 > 0").keep(table)


def test_a_condition_on_an_empty_table_keeps_nothing(run: RunFolder, call: Job) -> None:
    tables.write(run.trials, [], tables.TRIALS)
    done = call("table", run.place, "--where", "hidden_sizes[0] > 1 and 64 in hidden_sizes")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no trial yet" in done.stdout


def test_a_table_without_such_a_trial_says_so(run: RunFolder, call: Job) -> None:
    assert "no such trial" in call("table", run.place, "--where", "trial > 9").stdout
