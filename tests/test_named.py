"""What a submitted job names: its study is sent, its results lie here, its data are refused."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import Job
from ffnet.errors import InputError
from ffnet.submit import job, package


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A working directory with studies in places that its copy has and has not."""
    here = tmp_path / "project"
    texts = {
        "jobs/tune.py": "", "jobs/table.py": "", "jobs/train.py": "", "jobs/export.py": "",
        "jobs/_environment.py": "", "a.toml": "", "jobs/studies/b.toml": "", ".hidden/c.toml": "",
        "runs/d/study.json": '{"study": {"data": {"dataset": "digits"}}}', "data/e.npz": "",
        "f.toml": '[data]\ndataset = "data/e.npz"', "../g.toml": "", "digits/x": "",
        "h.toml": '[data]\ndata_dir = "data"',
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
    with pytest.raises(InputError, match=r"must be a file here, to be sent\. Given: absent\.toml"):
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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tune", "a.toml", "--dataset", "data/e.npz"], "--dataset must be a path that the"),
        (["tune", "a.toml", "--dataset=data/e.npz"], "Given: data/e.npz"),
        (["tune", "f.toml"], "--dataset must be a path that the cluster sees, from /"),
        (["tune", "h.toml"], "--data-dir must be a path that the cluster sees"),
        (["train", "--data-dir", "data"], "--data-dir must be a path that the cluster sees"),
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


@pytest.mark.parametrize("words", [["--out", ""], ["--out="], ["--dataset", " "], [""]])
def test_an_empty_value_does_not_mean_this_folder(here: Path, words: list[str]) -> None:
    with pytest.raises(InputError, match="needs a value, or leave it out"):
        made(here, "tune", *words)


@pytest.mark.parametrize(
    "words",
    [
        ["tune", "a.toml", "--dataset", "digits"],  # there is a folder of that name too
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
    assert done.stderr == "error: a job and its arguments stand after --, as in: -- tune …\n"
    assert "invalid choice: 'stauts' (choose from " in call("submit", "stauts").stderr


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
