"""Files that a submitted job names: a study is sent, results lie here, local data are refused.

Also Ctrl-C while jobs/submit.py connects or prints a log, with a stand-in for the cluster.
"""

import asyncio
import builtins
import gc
import signal
import socket
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from conftest import Job
from ffnet.errors import InputError
from ffnet.ray_cluster import job, package
from ffnet.system import signals


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Make a working directory with studies in places that are sent and that are not sent."""
    here = tmp_path / "project"
    texts = {
        "jobs/tune.py": "", "jobs/table.py": "", "jobs/train.py": "", "jobs/export.py": "",
        "jobs/_environment.py": "", "a.toml": "", "jobs/studies/b.toml": "", ".hidden/c.toml": "",
        "runs/d/study.json": '{"study": {"data": {"dataset": "digits"}}}', "data/e.npz": "",
        "f.toml": '[data]\ndataset = "data/e.npz"', "../g.toml": "", "digits/x": "",
        "h.toml": '[data]\ndata_dir = "data"', "i.toml": '[data]\ndataset = "given"',
    }  # fmt: skip
    for name, text in texts.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(text)
    return here


def made(here: Path, *words: str) -> list[str]:
    return package.command_of(list(words), here).arguments


def test_a_study_that_the_copy_has_is_read_there(here: Path) -> None:
    for word in ("jobs/studies/b.toml", "./jobs/studies/b.toml", str(here / "jobs/studies/b.toml")):
        named = package.command_of(["tune", word, "--out", "x"], here)
        assert named.arguments[:2] == ["jobs/tune.py", "jobs/studies/b.toml"]
        assert not named.sent


@pytest.mark.parametrize("word", [".hidden/c.toml", "../g.toml", "runs/d/study.json"])
def test_a_study_that_the_copy_lacks_is_sent(here: Path, tmp_path: Path, word: str) -> None:
    for form in (word, str(here / word)):
        named = package.command_of(["tune", "--trials", "3", form], here)
        place = f"submitted/{Path(word).name}"
        assert named.arguments[3] == place
        assert named.sent[place].samefile(here / word)


def test_a_study_that_is_nowhere_is_refused_and_one_of_the_cluster_is_not(here: Path) -> None:
    with pytest.raises(InputError, match=r"with the job\. Given: absent\.toml, which does not"):
        made(here, "tune", "absent.toml")
    assert made(here, "tune", "/shared/a.toml")[1] == "/shared/a.toml"
    assert made(here, "tune", "s3://b/study.json")[1] == "s3://b/study.json"


def test_results_lie_here_and_runs_are_read_from_here(here: Path) -> None:
    assert made(here, "tune", "a.toml", "--out=x", "--trials", "3") == [
        "jobs/tune.py", "a.toml", "--trials", "3", "--out", f"{here}/x",
    ]  # fmt: skip
    assert made(here, "tune", "a.toml", "--out", "s3://bucket/x")[-1] == "s3://bucket/x"
    *_, flag, out = made(here, "tune", "jobs/studies/b.toml")
    assert flag == "--out"
    assert out.startswith(f"{here}/runs/b-")
    # Which run to go on with is the user's to say, and the job's to ask.
    assert made(here, "tune", "a.toml", "--resume") == ["jobs/tune.py", "a.toml", "--resume"]
    assert made(here, "table", "runs/d", "--top", "3")[1] == f"{here}/runs/d"
    assert made(here, "table", "/runs/x") == ["jobs/table.py", "/runs/x"]
    assert made(here, "train", "--from", "runs/d", "--trial", "1")[2] == f"{here}/runs/d"
    assert made(here, "train", "--from=runs/d", "--trial=1")[1] == f"--from={here}/runs/d"
    assert made(here, "train", "--save-figures", "figures")[2] == f"{here}/figures"
    assert package.resumed(made(here, "table", "/runs/x")) is None


def test_the_run_that_a_study_learns_from_is_read_from_here(here: Path) -> None:
    def learns(place: str, *words: str) -> list[str]:
        text = f'[tuning]\nlearn_from = "{place}"\n[data]\ndataset = "digits"'
        (here / "k.toml").write_text(text)
        return made(here, "tune", "k.toml", "--out", "x", *words)

    for form in ("runs/d", "./runs/d", "nowhere/../runs/d"):
        (here / "nowhere").mkdir(exist_ok=True)
        assert Path(learns(form)[-3]).samefile(here / "runs/d")
        assert Path(learns(form)[-3]).is_absolute()
    assert learns("runs/d")[2:4] == ["--learn-from", f"{here}/runs/d"]
    assert learns("s3://b/d")[2:4] == ["--learn-from", "s3://b/d"]
    assert learns("/shared/d")[2:4] == ["--learn-from", "/shared/d"]
    (here / "runs/e").mkdir()
    given = learns("runs/d", "--learn-from", "runs/e")
    assert given[2:] == ["--learn-from", f"{here}/runs/e", "--out", f"{here}/x"]
    assert "--learn-from" not in made(here, "tune", "a.toml")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tune", "a.toml", "--dataset", "data/e.npz"], "--dataset must be an absolute path that"),
        (["tune", "a.toml", "--dataset=data/e.npz"], "Given: data/e.npz"),
        (["tune", "f.toml"], "--dataset must be an absolute path that the cluster sees"),
        (["tune", "h.toml"], "--data-dir must be an absolute path that"),
        (["tune", "i.toml"], "that Python code passes to ffnet are not sent with a job"),
        (["train", "--data-dir", "data"], "--data-dir must be an absolute path that"),
        (["train", "--data-dir", "nowhere"], "data are not sent with a job. Given: nowhere"),
    ],
)
def test_data_that_are_not_sent_are_refused(here: Path, words: list[str], message: str) -> None:
    (here / "data" / "e.npz").touch()
    if "data" in words or "h.toml" in words:
        (here / "data").rename(here / ".data")
    with pytest.raises(InputError) as refused:
        made(here, *words)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "file",
    ["train-0.parquet", "data/train.PARQUET", "mnist/mnist.npz", "train-images-idx3-ubyte.gz"],
)
def test_a_folder_of_data_that_are_not_sent_is_refused(here: Path, file: str) -> None:
    (here / "mydata" / file).parent.mkdir(parents=True)
    (here / "mydata" / file).touch()
    (here / "mydata" / "README.md").touch()
    (here / "i.toml").write_text('[data]\ndataset = "mydata"')
    (here / "j.toml").write_text('[data]\ndata_dir = "./mydata"')
    for flag, *words in (
        ["--dataset", "tune", "a.toml", "--dataset", "mydata"],
        ["--dataset", "train", "--dataset=mydata/"],
        ["--dataset", "tune", "i.toml"],
        ["--data-dir", "tune", "a.toml", "--data-dir", "mydata"],
        ["--data-dir", "tune", "a.toml", "--data-dir", "."],
        ["--data-dir", "tune", "j.toml", "--dataset", "mnist"],
    ):
        with pytest.raises(InputError, match=f"^{flag} must be an absolute path that the cluster"):
            made(here, *words)
    # There it lies below another folder, whatever lies here.
    made(here, "tune", "i.toml", "--data-dir", "/shared")


def test_a_folder_of_data_by_links_is_refused_and_one_that_is_sent_whole_is_not(here: Path) -> None:
    (here / "idx" / ".cache").mkdir(parents=True)
    for name in ("train-images-idx3-ubyte", ".gitattributes", ".cache/x.parquet"):
        (here / "idx" / name).touch()
    made(here, "tune", "a.toml", "--dataset", "idx")
    made(here, "tune", "a.toml", "--data-dir", "idx")
    (here / "linked").mkdir()
    (here / "linked" / "train").symlink_to(here / "idx")
    for name in ("linked", "linked/train"):
        with pytest.raises(InputError, match=f"data are not sent with a job. Given: {name}$"):
            made(here, "tune", "a.toml", "--dataset", name)


@pytest.mark.parametrize("words", [["--out", ""], ["--out="], ["--dataset", " "], [""]])
def test_an_empty_value_does_not_mean_this_folder(here: Path, words: list[str]) -> None:
    with pytest.raises(InputError, match="needs a value, or leave it out"):
        made(here, "tune", *words)


@pytest.mark.parametrize(
    "words",
    [
        ["tune", "a.toml", "--dataset", "digits"],  # a folder has that name, too
        ["tune", "a.toml", "--dataset", "/shared/e.npz", "--data-dir", "/shared"],
        ["tune", "f.toml", "--dataset", "mnist"],
        ["tune", "a.toml", "--dataset", "sub/of/data-dir.npz"],
        ["tune", "a.toml", "--learning-rate", "-1"],
        ["tune", "a.toml", "--resume", "--retry-failed", "--seed", "3"],
    ],
)
def test_what_means_the_same_on_the_cluster_stays(here: Path, words: list[str]) -> None:
    expected = [f"jobs/{words[0]}.py", *words[1:]]
    assert made(here, *words)[: len(expected)] == expected


def test_unknown_jobs_and_forgotten_dashes_are_answered(here: Path, call: Job) -> None:
    with pytest.raises(InputError) as refused:
        made(here, "tuna")
    message = str(refused.value)
    assert message.endswith("(export, table, train, tune). Given: tuna (did you mean tune?)")
    done = call("submit", "tune", "a.toml", cwd=here)
    assert done.stderr == "error: write a job and its arguments after --, as in: -- tune …\n"
    assert "(did you mean status?)" in call("submit", "stauts").stderr


def test_a_job_that_ended_before_the_interrupt_is_seen() -> None:
    def client(status: str, error: bool = False) -> Any:
        def get_job_info(_: str) -> Any:
            if error:
                raise RuntimeError("gone")
            return SimpleNamespace(status=SimpleNamespace(is_terminal=lambda: status != "RUNNING"))

        return SimpleNamespace(get_job_info=get_job_info)

    assert job.ended(client("SUCCEEDED"), "x") is not None
    assert job.ended(client("RUNNING"), "x") is None
    assert job.ended(client("SUCCEEDED", error=True), "x") is None


# --- Ctrl-C ------------------------------------------------------------------------------------


@pytest.fixture
def address() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_ctrl_c_while_ray_is_imported_ends_quietly(
    call: Job, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = builtins.__import__

    def interrupted(name: str, *rest: Any, **more: Any) -> Any:
        if name == "ray.exceptions":
            signal.raise_signal(signal.SIGINT)
        return found(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", interrupted)
    done = call("submit", "--address", address, "list")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_while_the_cluster_is_asked_ends_quietly(
    call: Job, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ray.job_submission.JobSubmissionClient", lambda _: signal.raise_signal(signal.SIGINT)
    )
    done = call("submit", "--address", address, "list")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.fixture
def log() -> job.Log:
    """Return the log of a job that has ended, in two pieces."""

    async def tail_job_logs(_: str) -> AsyncIterator[str]:
        yield "one\n"
        yield "two\n"

    details = SimpleNamespace(status=SimpleNamespace(is_terminal=lambda: True))
    client = SimpleNamespace(tail_job_logs=tail_job_logs, get_job_info=lambda _: details)
    return job.Log(client, "x")


def test_a_log_that_breaks_is_printed_once(capfd: pytest.CaptureFixture[str]) -> None:
    texts, states = [["one\n"], ["on", "e\ntw"], ["one\ntwo\n"]], [False, False, True]

    async def tail_job_logs(_: str) -> AsyncIterator[str]:
        for text in texts.pop(0):
            yield text
        if texts:
            raise RuntimeError("the connection broke")

    details = SimpleNamespace(status=SimpleNamespace(is_terminal=lambda: states.pop(0)))
    client = SimpleNamespace(tail_job_logs=tail_job_logs, get_job_info=lambda _: details)
    assert job.Log(client, "x").follow() is details
    assert capfd.readouterr() == ("one\ntwo\n", "")


def test_ctrl_c_anywhere_in_the_log_raises_and_leaves_nothing_behind(
    log: job.Log, capfd: pytest.CaptureFixture[str]
) -> None:
    """Send a signal at each call of a function: none may leave an unfinished event loop."""

    def follow(at: int, sign: int) -> int:
        """Follow the log with a signal at a call. Returns the number of calls."""
        calls = 0

        def counted(_: FrameType, event: str, __: Any) -> None:
            nonlocal calls
            if event == "call":
                calls += 1
                if calls == at:
                    signal.raise_signal(sign)

        sys.setprofile(counted)
        try:
            log.follow()
        finally:
            sys.setprofile(None)
        return calls

    with signals.restored(), warnings.catch_warnings():
        warnings.simplefilter("error")  # unawaited coroutines and unclosed files warn
        signals.interrupt()
        follow(0, 0)  # objects that are made once
        for at in count(1, 3):
            try:
                calls = follow(at, signal.SIGTERM if at % 2 else signal.SIGINT)
            except KeyboardInterrupt:
                pass
            else:  # the log ended before the signal, or in its last calls
                assert 100 < calls < at + 5
                break
            for sign in (signal.SIGINT, signal.SIGTERM):
                with pytest.raises(KeyboardInterrupt):  # the next signal is not lost
                    signal.raise_signal(sign)
        gc.collect()
    assert capfd.readouterr().err == ""


def test_ctrl_c_ends_the_wait_for_a_quiet_log() -> None:
    async def tail_job_logs(_: str) -> AsyncIterator[str]:
        signal.raise_signal(signal.SIGINT)
        await asyncio.Event().wait()
        yield ""

    with signals.restored():
        signals.interrupt()
        with pytest.raises(KeyboardInterrupt):
            job.Log(SimpleNamespace(tail_job_logs=tail_job_logs), "x").follow()
