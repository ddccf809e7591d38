"""Exports to Optuna, MLflow and W&B, opened with those programs: the same trials as the table."""

import contextlib
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest

import made_runs
from conftest import Job, wait_for
from ffnet.report.tools import to_mlflow
from ffnet.report.tools.places import without_password
from ffnet.report.tools.tracked import tracked
from ffnet.run import ranking, tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row, Status
from ffnet.spec.sections import Tuning

# The other programs use libraries in ways that are deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

STATUSES = ["done", "done", "pruned", "diverged", "failed", "stopped", "pruned", "done", "running"]
SEED = 6
"""With this seed, the best trial is number 7, although a diverged trial had a higher accuracy."""

ODD = "n a'me \"<script>alert(1) ä € `x` 1% & * _"
"""The name of a folder with characters that mean something in HTML, URLs, SQL and shells."""


def made(place: Path, statuses: list[str]) -> RunFolder:
    """Write a run over a conditional space with trials of these statuses. The best is number 7."""
    study = made_runs.study_of(name="digits")
    return made_runs.write(place, study, *made_runs.trials(study, statuses, seed=SEED))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with trials of every status and an odd name."""
    return made(tmp_path_factory.mktemp("export") / ODD, STATUSES)


def best_of(run: RunFolder) -> Row:
    """The first row of the table."""
    rows = tables.read(run.trials)
    return ranking.best_first(rows, Tuning())[0]


def counts_of(run: RunFolder) -> Counter[str]:
    return Counter(row["status"] for row in tables.read(run.trials))


def answer(url: str, body: Any = None) -> Any:
    """The JSON that a server on loopback answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def free_port() -> int:
    """A port on loopback that nobody uses now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=60):
            return True
    except OSError:
        return False


@contextmanager
def server(command: list[str], ready: str, log: Path, **env: str) -> Iterator[None]:
    """Run a program in the block, after `ready`, a URL, has answered."""
    with (
        log.open("wb") as out,
        subprocess.Popen(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=os.environ | env,
            start_new_session=True,
        ) as process,
    ):  # fmt: skip
        try:
            wait_for(lambda: process.poll() is not None or is_up(ready))
            assert process.poll() is None, log.read_text()
            yield
        finally:
            os.killpg(process.pid, 15)


# --- Optuna ------------------------------------------------------------------------------------


def test_optuna_dashboard_shows_the_trials_of_the_table_with_their_curves_and_the_same_best(
    run: RunFolder, tmp_path: Path, call: Job
) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    done = call("export-study", run, "--to-optuna", storage)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"study {ODD} in {storage}" in done.stdout
    port = free_port()
    program = [sys.executable, "-m", "optuna_dashboard._cli", storage, "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with server(program, url + "/api/studies", tmp_path / "log"):
        (summary,) = answer(url + "/api/studies")["study_summaries"]
        shown = answer(f"{url}/api/studies/{summary['study_id']}")
    assert summary["study_name"] == ODD
    assert summary["directions"] == ["maximize"]
    rows = {row["trial"]: row for row in tables.read(run.trials)}
    reports = tables.read(run.epochs)
    assert len(shown["trials"]) == len(rows)
    statuses: Counter[str] = Counter()
    for trial in shown["trials"]:
        number = trial["number"]
        attributes = {each["key"]: each["value"] for each in trial["user_attrs"]}
        statuses[attributes["status"]] += 1
        assert attributes["seed"] == str(rows[number]["seed"])
        curve = [(one["step"], one["value"]) for one in trial["intermediate_values"]]
        assert curve == [(r["epoch"], r["val_accuracy"]) for r in reports if r["trial"] == number]
    assert statuses == counts_of(run)
    complete = [trial for trial in shown["trials"] if trial["state"] == "Complete"]
    best = max(complete, key=lambda trial: trial["values"][0])
    assert best["number"] == best_of(run)["trial"] == 7
    assert best["values"] == [best_of(run)["best_val_accuracy"]]
    assert "note:" not in done.stdout


def test_the_user_is_told_when_the_best_trial_of_optuna_is_another(
    tmp_path: Path, call: Job
) -> None:
    study = made_runs.study_of()
    pruned, done = (
        made_runs.trial(study, 0, "pruned", [0.9]),
        made_runs.trial(study, 1, "done", [0.5]),
    )
    run = made_runs.write(tmp_path / "run", study, [pruned[0], done[0]], [*pruned[1], *done[1]])
    said = call("export-study", run, "--to-optuna", f"sqlite:///{tmp_path}/s.db").stdout
    assert "the best trial of the table is 0 (pruned), that of Optuna is 1, because" in said


@pytest.mark.parametrize("flag", ["--to-optuna", "--to-mlflow"])
@pytest.mark.parametrize(
    ("url", "status", "why"),
    [
        ("sqlite:///FOLDER/not/there.db", 1, "unable to open database file"),
        ("sqlite:///FOLDER/text.db", 1, "not a database"),
        ("sqlite://", 2, "a database in memory would be lost"),
        ("sqlite:///:memory:", 2, "a database in memory would be lost"),
        ("postgresql://ada:geheim@127.0.0.1/x", 2, "needs the database's driver psycopg"),
        ("mysqlx://ada:geheim@127.0.0.1/x", 2, "Can't load plugin"),
    ],
)
def test_a_database_that_cannot_be_used_is_refused_at_once_in_one_line(
    flag: str, url: str, status: int, why: str, run: RunFolder, tmp_path: Path, call: Job
) -> None:
    (tmp_path / "text.db").write_text("this is no database, but a text of some length" * 99)
    done = call("export-study", run, flag, url.replace("FOLDER", str(tmp_path)))
    assert done.returncode == status, done.stderr
    assert done.stderr.count("\n") == 1
    assert why in done.stderr
    assert "geheim" not in done.stderr
    assert not (tmp_path / "not").exists()


def test_what_is_no_url_is_refused(run: RunFolder, call: Job) -> None:
    done = call("export-study", run, "--to-optuna", "study.db")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: --to-optuna must be a URL such as sqlite:///study.db. Given: study.db ("
    )


@pytest.mark.parametrize("first", ["optuna", "mlflow"])
def test_the_database_of_another_program_is_not_touched(
    first: str, tmp_path: Path, call: Job
) -> None:
    run = made(tmp_path / "run", ["done"])
    url = f"sqlite:///{tmp_path}/shared.db"
    second = {"optuna": "mlflow", "mlflow": "optuna"}[first]
    assert call("export-study", run, f"--to-{first}", url).returncode == 0
    before = dump(tmp_path / "shared.db")
    done = call("export-study", run, f"--to-{second}", url)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"error: {url}: ")
    assert before <= dump(tmp_path / "shared.db")


def test_an_export_that_is_interrupted_leaves_nothing_in_the_storage(
    run: RunFolder, tmp_path: Path, call: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = optuna.Study.add_trial
    calls = iter(range(100))

    def interrupted(study: optuna.Study, trial: Any) -> None:
        if next(calls) == 12:  # `study_of` adds the nine trials to a study in memory first
            raise KeyboardInterrupt
        add(study, trial)

    monkeypatch.setattr(optuna.Study, "add_trial", interrupted)
    storage = f"sqlite:///{tmp_path}/study.db"
    assert call("export-study", run, "--to-optuna", storage).returncode == 130
    assert optuna.get_all_study_names(storage) == []
    monkeypatch.undo()
    assert call("export-study", run, "--to-optuna", storage).returncode == 0


def test_the_time_of_an_export_to_optuna_grows_only_as_its_trials(
    run: RunFolder, tmp_path: Path, call: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    get_trials, copies = optuna.Study.get_trials, list[bool]()

    def counted(study: optuna.Study, deepcopy: bool = True, states: Any = None) -> Any:
        copies.append(deepcopy)
        return get_trials(study, deepcopy, states)

    monkeypatch.setattr(optuna.Study, "get_trials", counted)
    done = call("export-study", run, "--to-optuna", f"sqlite:///{tmp_path}/study.db")
    assert done.returncode == 0, done.stderr
    assert not any(copies)  # each copy is one of all trials


def dump(database: Path) -> set[str]:
    """The rows of a SQLite database, as statements."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return set(connection.iterdump())


# --- MLflow ------------------------------------------------------------------------------------


def mlflow_runs(uri: str, filter_string: str, **more: Any) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("digits")
    assert experiment
    return list(client.search_runs([experiment.experiment_id], filter_string, **more))


def test_mlflow_has_a_parent_run_with_a_child_for_each_trial_of_the_table(
    run: RunFolder, tmp_path: Path, call: Job
) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    done = call("export-study", run, "--to-mlflow", uri, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (parent,) = mlflow_runs(uri, "tags.`ffnet.kind` = 'run'")
    best = best_of(run)
    assert parent.info.run_name == ODD
    assert parent.data.params["tuning.scheduler"] == "asha"
    assert parent.data.tags["best_trial"] == str(best["trial"])
    assert parent.data.metrics["best_val_accuracy"] == best["best_val_accuracy"]
    assert parent.data.metrics["trials_pruned"] == 2
    assert parent.info.status == "RUNNING"  # like one of its trials
    children = mlflow_runs(uri, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert Counter(child.data.tags["status"] for child in children) == counts_of(run)
    assert Counter(child.info.status for child in children) == {
        "FINISHED": 3, "KILLED": 3, "FAILED": 2, "RUNNING": 1
    }  # fmt: skip
    rows = {str(row["trial"]): row for row in tables.read(run.trials)}
    reports = tables.read(run.epochs)
    for child in children:
        row = rows[child.data.tags["trial"]]
        own = [report for report in reports if report["trial"] == row["trial"]]
        history = MlflowClient(uri).get_metric_history(child.info.run_id, "val_accuracy")
        assert [(m.step, m.value, m.timestamp) for m in history] == [
            (r["step"], r["val_accuracy"], r["reported_at"].timestamp() * 1000) for r in own
        ]
        assert child.info.start_time == row["started_at"].timestamp() * 1000
        assert ("momentum" in child.data.params) == (row["optimizer"] == "sgd")
        assert child.data.params["learning_rate"] == str(row["learning_rate"])
        assert child.data.params["hidden_sizes"] == "-".join(map(str, row["hidden_sizes"]))
        assert child.data.params["hidden_sizes.1"] == str(row["hidden_sizes"][0])
        figures = ("best_val_accuracy", "train_seconds", "epochs")
        assert {n: child.data.metrics.get(n) for n in figures} == {n: row.get(n) for n in figures}
    (first,) = mlflow_runs(
        uri,
        "tags.`ffnet.kind` = 'trial' and attributes.status != 'FAILED'",
        order_by=["metrics.best_val_accuracy DESC"],
        max_results=1,
    )
    assert first.data.tags["trial"] == str(best["trial"])
    assert first.data.tags["best"] == "true"


@pytest.mark.slow
def test_a_server_of_mlflow_takes_an_export_and_answers_with_the_same_best_trial(
    run: RunFolder, tmp_path: Path, call: Job
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    program = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    store = ["--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db"]
    artifacts = ["--default-artifact-root", str(tmp_path / "artifacts")]
    settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with server([*program, *store, *artifacts], url + "/health", tmp_path / "log", **settings):
        assert call("export-study", run, "--to-mlflow", url, "--name", "other").returncode == 0
        api = url + "/api/2.0/mlflow"
        name = "digits"
        found = answer(f"{api}/experiments/get-by-name?experiment_name={name}")["experiment"]
        query = {
            "experiment_ids": [found["experiment_id"]],
            "filter": "tags.`ffnet.kind` = 'trial' and attributes.status != 'FAILED'",
            "order_by": ["metrics.best_val_accuracy DESC"],
        }
        shown = answer(f"{api}/runs/search", query)["runs"]
    assert shown[0]["info"]["run_name"] == f"trial {best_of(run)['trial']}"
    sound = counts_of(run).total() - counts_of(run)["failed"] - counts_of(run)["diverged"]
    assert len(shown) == sound


def test_a_tracking_server_that_does_not_answer_or_a_wrong_uri_is_an_error_in_one_line(
    run: RunFolder, call: Job
) -> None:
    address = f"http://ada:geheim@127.0.0.1:{free_port()}"
    once = os.environ | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    for uri in (address, "nonsense://u:geheim@x"):
        done = call("export-study", run, "--to-mlflow", uri, env=once)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith(f"error: {without_password(uri)}: ")
        assert "geheim" not in done.stderr


# --- Weights & Biases --------------------------------------------------------------------------


def inspect(folder: Path, *flags: str) -> bytes:
    """What W&B's own reader, `wandb leet inspect`, prints about an offline run."""
    from wandb.util import get_core_path

    (file,) = folder.glob("*.wandb")
    # The program behind the command, because the command imports W&B's package for seconds.
    program = [get_core_path(), "leet", "inspect", "--no-observability", "--json", *flags]
    named = ["--run-file", str(file)]
    return subprocess.run([*program, *named], capture_output=True, check=True).stdout


def wandb_history(folder: Path) -> list[Any]:
    """The steps of an offline run."""
    records = [json.loads(line) for line in inspect(folder).splitlines()]
    return [one["history"]["item"] for one in records if one["type"] == "history"]


@pytest.mark.slow
def test_wandb_reads_an_offline_run_for_each_trial_of_the_table(
    run: RunFolder, tmp_path: Path, call: Job
) -> None:
    done = call("export-study", run, "--to-wandb", tmp_path / "new/folder")
    assert done.returncode == 0, done.stderr
    assert f"group {ODD}" in done.stdout
    folders = sorted(
        (tmp_path / "new/folder/wandb").glob("offline-run-*"), key=lambda path: path.name[-5:]
    )
    rows, reports = tables.read(run.trials), tables.read(run.epochs)
    assert len(folders) == len(rows)
    best, statuses = [], Counter[str]()
    for row, folder in zip(rows, folders, strict=True):
        shown = json.loads(inspect(folder, "--summary"))
        assert (shown["project"], shown["name"]) == ("digits", f"trial {row['trial']}")
        statuses[shown["config"]["status"]] += 1
        assert row["status"] in shown["tags"]
        best += [row["trial"]] if "best" in shown["tags"] else []
        assert shown["state"] == (
            "failed" if row["status"] in ("failed", "diverged") else "finished"
        )
        assert shown["config"]["learning_rate"] == row["learning_rate"]
        assert shown["config"]["hidden_sizes.1"] == row["hidden_sizes"][0]
        assert ("momentum" in shown["config"]) == (row["optimizer"] == "sgd")
        assert shown["summary"].get("best_val_accuracy") == row["best_val_accuracy"]
    assert best == [best_of(run)["trial"]]
    assert statuses == counts_of(run)
    for row, folder in zip(rows, folders, strict=True):
        assert [(h["_step"], h["val_accuracy"]) for h in wandb_history(folder)] == [
            (r["step"], r["val_accuracy"]) for r in reports if r["trial"] == row["trial"]
        ]
    said = b"".join(path.read_bytes() for path in (tmp_path / "new/folder/wandb").rglob("*.wandb"))
    assert b"Ran on" not in said
    assert not list((tmp_path / "new/folder/wandb").rglob("requirements.txt"))


def test_a_folder_that_wandb_could_not_write_is_refused_not_replaced_by_another(
    run: RunFolder, tmp_path: Path, call: Job
) -> None:
    (tmp_path / "file").touch()
    done = call("export-study", run, "--to-wandb", tmp_path / "file/runs")
    assert done.returncode == 2
    assert "--to-wandb must be a folder that can be written" in done.stderr
    (tmp_path / "wandb").write_text("a file where W&B wants a folder")
    done = call("export-study", run, "--to-wandb", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"error: {tmp_path}/wandb: ")


def test_a_run_that_mlflow_refuses_half_way_is_removed_and_can_be_exported_again(
    tmp_path: Path, call: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    run = made(tmp_path / "run", ["done", "pruned"])
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    ended = iter((None, OSError("the network\nis down")))

    def set_terminated(*_: Any, **__: Any) -> None:
        if error := next(ended):
            raise error

    monkeypatch.setattr(MlflowClient, "set_terminated", set_terminated)
    done = call("export-study", run, "--to-mlflow", uri)
    assert (done.returncode, done.stderr) == (1, f"error: {uri}: the network is down\n")
    assert mlflow_runs(uri, "") == []
    monkeypatch.undo()
    assert call("export-study", run, "--to-mlflow", uri).returncode == 0
    assert len(mlflow_runs(uri, "")) == 3


def test_a_run_that_wandb_refuses_half_way_is_removed_and_can_be_exported_again(
    tmp_path: Path, call: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    run = made(tmp_path / "run", ["done", "pruned"])
    init = wandb.init
    calls = iter(range(9))

    def failing(**fields: Any) -> Any:
        if next(calls) == 1:
            raise wandb.Error("no")
        return init(**fields)

    monkeypatch.setattr(wandb, "init", failing)
    done = call("export-study", run, "--to-wandb", tmp_path)
    assert (done.returncode, done.stderr) == (1, f"error: {tmp_path}/wandb: no\n")
    assert list((tmp_path / "wandb").glob("offline-run-*")) == []
    monkeypatch.undo()
    assert call("export-study", run, "--to-wandb", tmp_path).returncode == 0
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 2


# --- all ---------------------------------------------------------------------------------------

PLACES: list[Callable[[Path], tuple[str, str]]] = [
    lambda folder: ("--to-optuna", f"sqlite:///{folder}/optuna.db"),
    lambda folder: ("--to-mlflow", f"sqlite:///{folder}/mlflow.db"),
    lambda folder: ("--to-wandb", str(folder)),
]
every_place = pytest.mark.parametrize("place", PLACES, ids=("optuna", "mlflow", "wandb"))


@every_place
def test_a_second_export_of_the_same_name_is_refused_and_another_name_is_not(
    place: Any, tmp_path: Path, call: Job
) -> None:
    run = made(tmp_path / "run", ["done", "pruned"])
    to = place(tmp_path)
    assert call("export-study", run, *to).returncode == 0
    again = call("export-study", run, *to)
    assert again.returncode == 2
    assert re.fullmatch(r"error: .* has run already: .* with --name\n", again.stderr)
    assert call("export-study", run, *to, "--name", "second").returncode == 0


@every_place
def test_runs_of_one_status_are_exported(place: Any, tmp_path: Path, call: Job) -> None:
    for statuses in (["failed"], ["diverged"] * 2, ["pruned"] * 3, ["done"]):
        run = made(tmp_path / statuses[0], statuses)
        done = call("export-study", run, *place(tmp_path))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"{len(statuses)} trials: {len(statuses)} {statuses[0]}\n")


@every_place
def test_a_study_without_a_trial_is_exported_where_there_is_something_to_show(
    place: Any, tmp_path: Path, call: Job
) -> None:
    run = made(tmp_path / "run", [])
    Path(run.trials.place).unlink()
    Path(run.epochs.place).unlink()
    done = call("export-study", run, *place(tmp_path))
    if "--to-wandb" in place(tmp_path):
        assert done.returncode == 2
        assert "run has no trials yet" in done.stderr
    else:
        assert (done.returncode, done.stdout[:24]) == (
            0,
            "0 trials: none began\n"[:24] + done.stdout[21:24],
        )


@every_place
def test_a_single_net_is_a_run_with_one_trial(place: Any, tmp_path: Path, call: Job) -> None:
    study = made_runs.study_of()
    run = made_runs.write(tmp_path / "one: 50%", study, *made_runs.trials(study, ["done"]))
    document = json.loads(Path(run.study.place).read_text())
    of_one = ("seed", "data", "net", "training")
    document["study"] = {n: document["study"][n] for n in of_one} | {"epochs": 10}
    Path(run.study.place).write_text(json.dumps(document))
    done = call("export-study", run, *place(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1 trials: 1 done\n")


@pytest.mark.parametrize("extra", ["mlflow", "wandb"])
def test_a_package_that_is_not_installed_is_named_with_the_extra_of_ffnet(
    extra: str, tmp_path: Path, call: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made(tmp_path / "run", ["done"])
    for name in [name for name in sys.modules if name.split(".")[0] == extra]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, extra, None)
    to = dict([place(tmp_path) for place in PLACES])[f"--to-{extra}"]
    done = call("export-study", run, f"--to-{extra}", to)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"pip install 'ffnet[{extra}]'" in done.stderr


def test_exactly_one_place_must_be_named(tmp_path: Path, call: Job) -> None:
    run = made(tmp_path / "run", ["done"])
    assert "one of the arguments" in call("export-study", run).stderr
    both = call("export-study", run, "--to-wandb", tmp_path, "--to-optuna", "sqlite:///x.db")
    assert (both.returncode, "not allowed with" in both.stderr) == (2, True)


def test_what_population_based_training_changed_is_a_metric_of_the_step(tmp_path: Path) -> None:
    study = made_runs.study_of(
        {"learning_rate": {"uniform": [0.01, 0.5]}}, tuning={"scheduler": "pbt"}
    )
    row, reports = made_runs.trial(study, 1, "done", [0.5, 0.6], parent=0)
    reports[1]["learning_rate"] = row["learning_rate"] = 0.25
    first, _ = made_runs.trial(study, 0, "done", [0.4])
    run = tracked(made_runs.write(tmp_path / "run", study, [first, row], reports))
    child = run.trials[1]
    assert child.tags["parent"] == "0"
    assert [report.metrics["learning_rate"] for report in child.reports] == [
        reports[0]["learning_rate"], 0.25,
    ]  # fmt: skip
    assert child.params["learning_rate"] == 0.25
    assert "momentum" not in child.reports[0].metrics


def test_a_password_in_an_address_is_not_shown() -> None:
    assert without_password("at postgresql://ada:geheim@db/x?y=1") == (
        "at postgresql://ada:***@db/x?y=1"
    )
    assert without_password("http://:geheim@h") == "http://:***@h"
    assert without_password("sqlite:////tmp/a.db http://h:80/x@y") == (
        "sqlite:////tmp/a.db http://h:80/x@y"
    )


def test_statuses_of_ffnet_have_a_status_of_mlflow() -> None:
    assert set(to_mlflow.STATUSES) == set(Status)
