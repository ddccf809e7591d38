"""Runs in an object store: moto's S3 server on this machine."""

import itertools
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from pyarrow import fs

import made_runs
from conftest import Job, command_line, reports_of, rows_of, unpruned_study, wait_for
from ffnet.cli.table import watch
from ffnet.errors import InputError
from ffnet.report.trials import Asked
from ffnet.run import storage, tables
from ffnet.run.folder import RunFolder
from ffnet.run.hold import held
from s3_server import SECRET, Server, s3_server
from test_same_net import assert_the_same_net
from test_table_runs import screen, shown

SAME = ("trial", "status", "hidden_sizes", "learning_rate", "seed", "best_val_accuracy", "epochs")
EPOCHS = 30
OUTAGE = 10.0  # seconds


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module")
def study_file(tmp_path_factory: pytest.TempPathFactory, blobs: Path) -> Path:
    """Write a study without pruning, so that its figures are known. Trials last some seconds."""
    return unpruned_study(tmp_path_factory.mktemp("study") / "four.toml", blobs, 4, EPOCHS)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, study_file: Path, tune: Job) -> Path:
    out = tmp_path_factory.mktemp("local") / "run"
    done = tune(study_file, "--out", out, "--concurrency", 1)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the folder in which jobs run; runs in a store write their local files there."""
    return tmp_path_factory.mktemp("here")


@pytest.fixture(scope="module")
def remote(server: Server, study_file: Path, folder: Path) -> str:
    """Run the study in the bucket, whose server is gone for ten seconds meanwhile.

    The secret is in no command line and not in the output.
    """
    uri = server.uri("first")
    driver = start(study_file, uri, folder)
    try:
        wait_for(lambda: any(row["epochs"] >= 10 for row in rows_of(uri)))
        assert all(SECRET.encode() not in line for line in command_lines())
        server.stop()
        time.sleep(OUTAGE)
        assert driver.poll() is None
        server.start()
        out, errors = driver.communicate(timeout=200)
    finally:
        driver.kill()
    assert driver.returncode == 0, errors
    assert SECRET not in out + errors
    return uri


def same(run: str | Path) -> list[dict[str, Any]]:
    return [{name: row[name] for name in SAME} for row in rows_of(run)]


def curves(run: str | Path) -> list[tuple[Any, ...]]:
    reports = ((r["trial"], r["epoch"], r["train_loss"], r["val_loss"]) for r in reports_of(run))
    return sorted(reports)


@pytest.mark.slow
def test_a_study_in_a_bucket_has_the_table_of_one_in_a_folder(
    remote: str, local: Path, call: Job
) -> None:
    assert sorted(same(remote), key=str) == sorted(same(local), key=str)
    flags = ["--sort", "trial", "--format", "csv", "--columns", ",".join(SAME)]
    assert call("table", remote, *flags).stdout == call("table", local, *flags).stdout
    names = {"study.json", "trials.parquet", "epochs.parquet", "checkpoints", "ray.log"}
    assert set(storage.names(remote)) == names
    kept = storage.names(storage.below(remote, "checkpoints"))
    assert len([name for name in kept if not name.endswith("-best.npy")]) == 4


@pytest.mark.slow
def test_a_net_of_a_run_in_a_bucket_is_the_first_of_the_table(
    remote: str, call: Job, tmp_path: Path
) -> None:
    assert_the_same_net(remote, call, tmp_path / "model")


@pytest.mark.slow
def test_a_server_that_is_gone_for_ten_seconds_loses_nothing(remote: str, local: Path) -> None:
    assert Counter(row["status"] for row in rows_of(remote)) == {"done": 4}
    assert curves(remote) == curves(local)
    assert len({report["worker"] for report in reports_of(remote)}) <= 2  # no worker died


@pytest.mark.slow
def test_every_job_reads_it(
    remote: str, study_file: Path, job: Job, call: Job, call_tensorflow: Job, folder: Path
) -> None:
    again = job("train", "--from", remote, "--trial", 2)
    assert f"match: all {EPOCHS} reports of trial 2" in again.stdout, again.stderr
    exported = call_tensorflow("export", remote, cwd=folder)
    assert exported.returncode == 0, exported.stderr
    assert (folder / "runs" / "first" / "export" / "four" / "1" / "saved_model.pb").exists()
    board = call("board", remote, "--convert-only", cwd=folder)
    assert board.returncode == 0, board.stderr
    assert len(list((folder / "runs" / "first" / "tensorboard").glob("0000?-done"))) == 4
    done = call("tune", study_file, "--out", remote, "--resume", cwd=folder)
    assert "nothing is left to train: all 4 trials have ended" in done.stdout, done.stderr
    once_more = call("tune", storage.below(remote, "study.json"), "--out", remote, cwd=folder)
    assert once_more.returncode == 2
    assert "holds this study already: add --resume to continue it" in once_more.stderr


@pytest.mark.slow
def test_one_net_is_saved_there_too(server: Server, call_tensorflow: Job, tmp_path: Path) -> None:
    uri = server.uri("net")
    fields = ("--dataset", "digits", "--epochs", 1)
    done = call_tensorflow("train", *fields, "--out", uri, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(rows_of(uri)) == 1
    assert call_tensorflow("train", "--from", uri, "--trial", 0).returncode == 0


@pytest.mark.slow
def test_no_secret_is_written_into_a_run(remote: str) -> None:
    there, path = storage.located(remote)
    held = there.get_file_info(fs.FileSelector(path, recursive=True))
    files = [info.path for info in held if info.type == fs.FileType.File]
    assert f"{path}/ray.log" in files
    assert all(SECRET.encode() not in there.open_input_file(file).read() for file in files)


@pytest.mark.slow
def test_a_table_is_read_while_it_is_replaced(server: Server) -> None:
    file = RunFolder.at(server.uri("replaced")).trials
    tables.write(file, [], tables.TRIALS)
    ended = Event()

    def write() -> None:
        for n in itertools.cycle(range(200)):
            tables.write(file, [{"trial": i, "status": "done"} for i in range(n)], tables.TRIALS)
            if ended.is_set():
                return

    writer = Thread(target=write)
    writer.start()
    try:
        lengths = {len(tables.read(file)) for _ in range(50)}
    finally:
        ended.set()
        writer.join()
    assert len(lengths) > 10


def test_a_table_in_a_bucket_is_watched_until_its_driver_ends(
    server: Server, tmp_path: Path
) -> None:
    study = made_runs.study_of()
    made_runs.write(tmp_path / "made", study, *made_runs.trials(study, ["done", "running"]))
    folder, console, looks = RunFolder.at(server.uri("watched")), screen(), iter(range(4))
    hold = held(folder)
    hold.__enter__()

    def wait(_: float) -> None:
        if (look := next(looks)) == 0:
            assert "no table yet" in shown(console)
            for file in (folder.study, folder.epochs, folder.trials):
                with file.replacing() as opened:
                    opened.write((tmp_path / "made" / file.name).read_bytes())
            return
        assert " running " in shown(console)
        if look == 1:
            server.stop()
        else:
            assert "not up to date: the store of a run must answer" in shown(console)
            server.start()
            hold.__exit__(None, None, None)

    assert watch([folder], Asked(), console, wait) == 0
    assert list(looks) == [3]
    assert "no process runs this study any more" in shown(console).splitlines()[-1]


def start(study: Path, uri: str, cwd: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command_line("tune", study, "--out", uri),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )


def command_lines() -> Iterator[bytes]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            yield (process / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue


# --- places that cannot be ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("s3://bucket", "must name a bucket and a folder in it"),
        ("s3:///folder", "must name a bucket and a folder in it"),
        ("ftp://host/run", "in a folder or at s3:// or gs://"),
        ("s3://id:secret@bucket/run", "must not hold credentials. Given: s3://…@…"),
        ("s3://bucket/run?secret_key=x", "query may have endpoint_override, region, scheme"),
    ],
)
def test_a_place_that_cannot_be_is_refused(place: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        RunFolder.at(place)
    assert words in str(error.value)
    assert "secret@" not in str(error.value)


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_one_line(
    server: Server, study_file: Path, call: Job
) -> None:
    uri = f"s3://nowhere/run?{server.endpoint}"
    for done in (call("tune", study_file, "--out", uri), call("table", uri)):
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert "nowhere" in done.stderr


def test_a_place_is_the_same_however_it_is_written(tmp_path: Path) -> None:
    assert RunFolder.at("s3://b/runs/x/").place == RunFolder.at("s3://b/runs/x").place
    assert RunFolder.at("gs://b/a run").checkpoint(3).place == "gs://b/a run/checkpoints/00003.npy"
    assert RunFolder.at(tmp_path / "a?b#c").study.place == f"{tmp_path}/a?b#c/study.json"
    assert RunFolder.at("s3://b/x?scheme=http").study.place == "s3://b/x/study.json?scheme=http"
    assert RunFolder.at("s3://b/runs/x?scheme=http").local == Path("runs/x")
