"""An exported net of a table takes raw rows, and answers as `run.load()` and the server do."""

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

import ffnet
from ffnet.errors import InputError
from ffnet.serving import rest
from ffnet.serving.tensors import Refused
from test_serve import Server

Array = npt.NDArray[Any]
Values = dict[str, Any]

COLUMNS = ("age (years)", "job", "self", "seen", "flag", "code")
EPOCH = np.datetime64("2020-01-01T00:00:00")


def write(path: Path, rows: int, seed: int, jobs: str) -> None:
    """Write a part: numbers with gaps, categories with gaps, dates with gaps, booleans, codes."""
    random = np.random.default_rng(seed)
    lines = []
    for _ in range(rows):
        age, job = random.integers(18, 90), jobs[random.integers(len(jobs))]
        seen = EPOCH + np.timedelta64(int(random.integers(10**8)), "s")
        cells = [str(age), {"x": ""}.get(job, f"job {job}"), f"{random.normal():.3f}"]
        cells += [str(seen).replace("T", " "), str(bool(random.integers(2))).lower()]
        cells += [f"c{random.integers(7)}"]
        for i in (0, 2, 3):
            cells[i] = "" if random.random() < 0.1 else cells[i]
        lines.append([*cells, "rich" if age + 20 * (job in "ab") > 60 else "poor"])
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([[*COLUMNS, "target"], *lines])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ffnet.Run:
    """Train a net on a table whose validation part has categories that the training part lacks."""
    folder = tmp_path_factory.mktemp("rows")
    (folder / "people").mkdir()
    for part, rows, jobs in (("train", 600, "abcdex"), ("validation", 200, "abcdefx")):
        write(folder / "people" / f"{part}.csv", rows, len(part), jobs)
    write(folder / "people" / "test.csv", 100, 9, "abfx")
    ffnet.train(
        hidden_sizes=[16], epochs=5, learning_rate=0.1, dataset=str(folder / "people"),
        max_categories=3, embedding_sizes=[4, 0, 0], evaluate_test=True, out=folder / "run",
    )  # fmt: skip
    return ffnet.Run(folder / "run")


@pytest.fixture(scope="module")
def model(run: ffnet.Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export the net; measuring it again must give the figures of the table."""
    out = tmp_path_factory.mktemp("exported") / "people"
    card = run.export(out)
    assert card["measured_again"]["val_accuracy"] == card["val_accuracy"]
    return out


def cells(run: ffnet.Run, part: str = "validation") -> list[dict[str, str]]:
    source = Path(json.loads(Path(run.place, "study.json").read_text())["study"]["data"]["dataset"])
    with (source / f"{part}.csv").open() as file:
        return list(csv.DictReader(file))


def as_rows(card: Mapping[str, Any], found: list[dict[str, str]]) -> list[Values]:
    """Turn cells of CSV into rows for the server: null for an empty cell."""
    inputs = card["signature"]["inputs"].values()

    def value(about: Values, cell: str) -> Any:
        return None if not cell else float(cell) if about["kind"] == "number" else cell

    return [{i["column"]: value(i, row[i["column"]]) for i in inputs} for row in found]


def card_of(model: Path) -> Values:
    card: Values = json.loads((model / "card.json").read_text())
    return card


def test_the_card_describes_each_input(model: Path) -> None:
    card = card_of(model)
    inputs = card["signature"]["inputs"]
    assert {name: (i["column"], i["kind"], i["dtype"]) for name, i in inputs.items()} == {
        "age__years_": ("age (years)", "number", "float64"),
        "job": ("job", "category", "string"),
        "self_2": ("self", "number", "float64"),
        "seen": ("seen", "date", "string"),
        "flag": ("flag", "category", "string"),
        "code": ("code", "category", "string"),
    }
    assert list(card["example"]) == list(COLUMNS)
    assert card["example"]["seen"].startswith("2021-")


def test_tensorflow_alone_answers_raw_rows_as_measured(run: ffnet.Run, model: Path) -> None:
    import tensorflow as tf

    found, card = cells(run), card_of(model)
    loaded = tf.saved_model.load(str(model / "1"))
    values = {}
    for name, about in card["signature"]["inputs"].items():
        column: list[Any] = [row[about["column"]] for row in found]
        if about["kind"] == "number":
            column = [float(cell) if cell else math.nan for cell in column]
        values[name] = tf.constant(column, about["dtype"])
    answer = loaded.signatures["serving_default"](**values)
    names = answer["class"].numpy().astype(str)
    assert np.mean(names == [row["target"] for row in found]) == card["val_accuracy"]
    expected = run.load().probabilities(as_rows(card, found))
    np.testing.assert_array_equal(answer["probabilities"], expected)


def test_predict_takes_tables_and_rows(run: ffnet.Run, model: Path) -> None:
    net = run.load()
    rows = as_rows(card_of(model), cells(run))
    expected = net.probabilities(rows)
    table = pa.Table.from_pylist(rows)
    typed = table.set_column(3, "seen", table["seen"].cast(pa.timestamp("s")))
    typed = typed.set_column(1, "job", typed["job"].dictionary_encode()).append_column(
        "more", pa.nulls(len(table))
    )
    for form in (table, typed, table.to_pydict()):
        np.testing.assert_array_equal(net.probabilities(form), expected)
    assert set(net.predict(table)) == {"rich", "poor"}
    assert net.probabilities(table.slice(0, 0)).shape == (0, 2)
    gaps = dict.fromkeys(COLUMNS)
    unknown = gaps | {"job": "never seen"}
    assert net.probabilities([gaps, unknown]).shape == (2, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"age (years)": "old"}, "must hold numbers"),
        ({"age (years)": math.inf}, "must be finite"),
        ({"seen": "yesterday"}, "must hold dates such as 2024-02-29. Given: yesterday in row 0"),
        (None, "row 0 (counted from 0) without job; a gap is null or NaN"),
    ],
)
def test_predict_refuses_other_kinds(run: ffnet.Run, change: Values | None, words: str) -> None:
    row = dict.fromkeys(COLUMNS) | (change or {})
    if change is None:
        del row["job"]
    with pytest.raises(InputError) as refused:
        run.load().predict([row])
    assert words in str(refused.value)


@pytest.fixture(scope="module")
def served(model: Path) -> Any:
    """Load the model as a replica of the server does."""
    from ffnet.serving.model import Model

    return Model(model / "1")


def asked(served: Any, request: Values) -> Any:
    """Answer the body of a request as a replica does."""
    arrays, by_row = rest.read(json.dumps(request).encode(), served.inputs)
    outputs = {name: values.tolist() for name, values in served(arrays).items()}
    return json.loads(rest.write(outputs, by_row))


def test_the_server_takes_rows_and_columns_with_gaps(
    run: ffnet.Run, model: Path, served: Any
) -> None:
    rows = as_rows(card_of(model), cells(run))
    expected = run.load().probabilities(rows)
    by_row = asked(served, {"instances": rows})["predictions"]
    np.testing.assert_array_equal([row["probabilities"] for row in by_row], expected)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    by_column = asked(served, {"inputs": columns})["outputs"]
    np.testing.assert_array_equal(by_column["probabilities"], expected)
    example = card_of(model)["example"]
    assert asked(served, {"instances": [example]})["predictions"][0]["class"] in ("rich", "poor")


def test_the_server_reads_categories_and_dates_as_the_data_were_read(served: Any) -> None:
    def probabilities(**change: Any) -> Any:
        row = dict.fromkeys(COLUMNS) | {"age (years)": 40} | change
        return asked(served, {"instances": [row]})["predictions"][0]["probabilities"]

    assert probabilities(flag=True) == probabilities(flag="true") != probabilities(flag=False)
    assert probabilities(job=7) == probabilities(job="never seen") != probabilities(job=None)
    assert probabilities(**{"age (years)": "NA"}) == probabilities(**{"age (years)": None})
    assert probabilities(seen="NaN") == probabilities(seen=None)
    day, noon = probabilities(seen="2021-02-03"), probabilities(seen="2021-06-03T12:00:00")
    assert day == probabilities(seen="2021-02-03T01:30:00+01:30") != noon
    assert noon == probabilities(seen="2021-06-03 12:00") == probabilities(seen="20210603T120000Z")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"age (years)": "39"}, 'age (years) must be a finite number, or null for a gap. Given: "'),
        ({"age (years)": True}, "age (years) must be a finite number, or null for a gap. Given: t"),
        ({"job": ["a"]}, "job must be a text, a number, true or false, or null for a gap. Given: "),
        ({"seen": "2021-13-01"}, "seen must be a date such as 2024-02-29 or 2024-02-29T12:30:00,"),
        ({"seen": 20210101}, "seen must be a date such as 2024-02-29 or 2024-02-29T12:30:00, or"),
        ({"ago": 1}, 'the 6 inputs of the model. Given: an object with "ago"'),
        ({"job": ...}, 'the 6 inputs of the model. Given: an object without "job"'),
    ],
)
def test_the_server_refuses_wrong_kinds_in_one_line(
    served: Any, change: Values, reason: str
) -> None:
    row = {n: v for n, v in (dict.fromkeys(COLUMNS) | change).items() if v is not ...}
    with pytest.raises(Refused) as refused:
        asked(served, {"instances": [row]})
    assert refused.value.status == 400
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_dates_in_the_graph_are_those_of_numpy() -> None:
    from ffnet.export.columns import days

    texts = ["1970-01-01", "2000-02-29", "1899-12-31", "2100-03-01", "1600-02-29", "0001-01-01"]
    texts += [f"20{year:02}-{month:02}-01" for year in range(40) for month in range(1, 13)]
    expected = np.array(texts, "datetime64[D]").astype(np.float64)
    np.testing.assert_array_equal(days(texts), expected)
    times = ["1970-01-01T06:00:00", "1970-01-01 00:00:00.5", "1970-01-02T00:00:00+12:00", ""]
    times += ["1969-12-31T18:00Z", "1970-01-01T00:00:00-0600"]
    found = np.asarray(days(times))
    np.testing.assert_allclose(found[[0, 1, 2, 4, 5]], [0.25, 0.5 / 86_400, 0.5, -0.25, 0.25])
    assert np.isnan(found[3])
    with pytest.raises(Exception, match="dates"):
        days(["soon"])


@pytest.mark.slow
def test_a_hundred_thousand_categories_train_and_are_exported(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    codes = np.concatenate([np.arange(100_000), random.integers(100_000, size=50_000)])
    table = pa.table({"user": [f"u{code}" for code in codes], "x": random.normal(size=len(codes)),
                      "y": ["odd" if code % 2 else "even" for code in codes]})  # fmt: skip
    fit = ffnet.train(
        hidden_sizes=[8], epochs=1, batch_size=1024, optimizer="adam", data=table, target="y",
        embedding_sizes=8, categorical=["user"], out=tmp_path / "run",
    )  # fmt: skip
    net = ffnet.Run(tmp_path / "run").load()
    assert net.probabilities(table.slice(0, 50)).shape == (50, 2)
    card = ffnet.Run(tmp_path / "run").export(tmp_path / "model")
    assert card["signature"]["inputs"]["user"]["known"] > 60_000
    assert fit.trials()["train_seconds"][0].as_py() < 60


@pytest.mark.filterwarnings("ignore:soybean. :UserWarning")  # notes about the data
@pytest.mark.slow
def test_the_test_accuracy_through_the_server_is_that_of_the_table(
    real_data: Path, tmp_path: Path
) -> None:
    source = real_data / "tables" / "soybean"
    fit = ffnet.train(
        hidden_sizes=[64], epochs=20, learning_rate=0.02, metric="val_loss", dataset=str(source),
        target="Class", evaluate_test=True, out=tmp_path / "run",
    )  # fmt: skip
    card = ffnet.Run(tmp_path / "run").export(tmp_path / "soybean")
    with (source / "test.csv").open() as file:
        found = list(csv.DictReader(file))
    server = Server(tmp_path / "soybean").ready()
    try:
        status, answer = server.predict({"instances": as_rows(card, found)})
    finally:
        server.process.terminate()
        server.process.communicate(timeout=120)
    assert status == 200, answer
    names = np.array([each["class"] for each in answer["predictions"]])
    right = names == [row["Class"] for row in found]
    assert np.mean(right) == card["test_accuracy"] == fit.trials()["test_accuracy"][0].as_py()
