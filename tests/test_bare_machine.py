"""ffnet without git, without a locale, and with folders of odd names."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from conftest import Job, command_line
from ffnet.errors import InputError
from ffnet.run import provenance, storage, tables
from ffnet.run.folder import RunFolder
from ffnet.run.hold import held
from ffnet.system import temporary

FAILING = {
    "no git": None,
    "git that refuses the checkout": "#!/bin/sh\necho dubious ownership >&2\nexit 128\n",
    "git that is no program": "not a program",
    "git that does not answer": "#!/bin/sh\nsleep 60\n",
    "git that prints no text": "#!/bin/sh\nprintf '\\377\\n'\nexit 1\n",
}  # fmt: skip


@pytest.mark.parametrize("name", FAILING)
def test_without_a_git_that_answers_the_commit_is_unknown(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = FAILING[name]
    if content is not None:
        (tmp_path / "git").write_text(content)
        (tmp_path / "git").chmod(0o755)
    path = tmp_path if "answer" not in name else f"{tmp_path}:{os.environ['PATH']}"
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setattr(provenance, "GIT_SECONDS", 0.5)
    monkeypatch.delenv("FFNET_COMMIT", raising=False)
    assert provenance.commit() is None
    monkeypatch.setenv("FFNET_COMMIT", "0123abc")
    assert provenance.commit() == "0123abc"


def test_the_commit_is_that_of_ffnets_own_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = provenance.commit()
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "another"], check=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))  # as in a hook of another project
    assert provenance.commit() == own
    monkeypatch.delenv("GIT_DIR")
    installed = tmp_path / "venv" / "provenance.py"  # ffnet installed below another's checkout
    installed.parent.mkdir()
    installed.touch()
    monkeypatch.setattr(provenance, "__file__", str(installed))
    assert provenance.commit() == os.environ.get("FFNET_COMMIT")


@pytest.fixture(scope="module")
def run_of_odd_name(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Make a run's folder whose name has odd characters of UTF-8."""
    name = "a b%20c?d#e×→…\n\t'\"\\$(x)*"
    name += "é" * ((255 - len(name.encode())) // 2)
    folder = RunFolder.create(tmp_path_factory.mktemp("odd") / name)
    storage.write_json(folder.study, {"study": {}, "data": {}, "versions": {}})
    rows = [{"trial": 0, "status": "failed", "reason": "8×8 → …"}]
    tables.write(folder.trials, rows, tables.TRIALS)
    tables.write(folder.epochs, [], tables.EPOCHS)
    return folder


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "nowhere", "PYTHONUTF8": "0"},
    ],
)
def test_any_encoding_of_the_output_will_do(
    environment: dict[str, str], run_of_odd_name: RunFolder, job: Job
) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG"))} | environment
    flags = ["--columns", "trial,reason"]
    done = subprocess.run(
        command_line("table", ".", *flags), capture_output=True, env=env, cwd=run_of_odd_name.place
    )
    assert done.returncode == 0 or b"must be text in UTF-8" in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) <= 1
    assert done.returncode or b"8" in done.stdout.splitlines()[2]
    shown = subprocess.run(command_line("tune", "--help"), capture_output=True, env=env)
    assert (shown.returncode, shown.stderr) == (0, b"")
    refused = subprocess.run(command_line("table", "×→…"), capture_output=True, env=env)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1


def test_a_folder_may_have_any_name_in_utf_8(run_of_odd_name: RunFolder, call: Job) -> None:
    done = call("table", run_of_odd_name.place, "--columns", "trial,reason")
    assert done.returncode == 0, done.stderr
    assert "8×8 → …" in done.stdout
    with held(RunFolder.at(run_of_odd_name.place)):
        pass


def test_a_folder_whose_name_is_no_text_is_refused(tmp_path: Path, call: Job) -> None:
    done = call("table", os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    assert done.returncode == 2
    assert "must be text in UTF-8" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("s3://bucket/a\nb", "no control characters"),
        ("s3://bucket/a?b", "query may have endpoint_override, region"),
        ("s3://bucket/a#b", "must have no #"),
        ("a\0b", "no control characters"),
    ],
)
def test_a_place_that_would_be_read_as_another_is_refused(place: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        RunFolder.at(place)


def test_json_holds_bytes_of_a_name_that_are_no_text(tmp_path: Path) -> None:
    file = storage.File(str(tmp_path / "a.json"))
    storage.write_json(file, {"command": ["tune", "\udcff", "×"]})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {
        "command": ["tune", "\udcff", "×"]
    }


@pytest.mark.parametrize("make", [temporary.folder, temporary.file])
def test_no_room_for_temporary_files_is_one_line(
    make: "Callable[[], AbstractContextManager[object]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    monkeypatch.setenv("TMPDIR", "/nowhere")
    with pytest.raises(InputError, match="Given: /nowhere \\(No such file or directory\\)"), make():
        pass


def test_a_temporary_folder_of_a_killed_process_goes_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = "import sys\nfrom ffnet.system import temporary\nwith temporary.folder() as folder:\n"
    code += "    (folder / 'ray.log').touch()\n    print('made', flush=True)\n    sys.stdin.read()"
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"made\n"
        process.kill()
    (left,) = tmp_path.iterdir()
    with temporary.folder() as folder:
        assert not left.exists()
        assert list(tmp_path.iterdir()) == [folder]
    assert not list(tmp_path.iterdir())


# --- a study that ended before its first trial -------------------------------------------------


@pytest.fixture
def never_begun(tmp_path: Path) -> RunFolder:
    """Make what a study leaves if it is killed before its first trial."""
    folder = RunFolder.create(tmp_path / "run")
    storage.write_json(folder.study, {"study": {}, "data": {}, "versions": {}})
    tables.write(folder.trials, [], tables.TRIALS)
    tables.write(folder.epochs, [], tables.EPOCHS)
    (tmp_path / "run" / "ray.log").touch()
    return folder


def test_its_folder_is_taken_for_empty(never_begun: RunFolder) -> None:
    RunFolder.create(never_begun.place)
    assert storage.names(never_begun.place) == []


def test_another_file_beside_it_or_a_trial_in_it_keeps_it(never_begun: RunFolder) -> None:
    mine = Path(never_begun.place) / "notes.txt"
    mine.touch()
    with pytest.raises(InputError, match="holds another study"):
        RunFolder.create(never_begun.place)
    mine.unlink()
    tables.write(never_begun.trials, [{"trial": 0, "status": "running"}], tables.TRIALS)
    with pytest.raises(InputError, match="holds another study"):
        RunFolder.create(never_begun.place)
    assert never_begun.study.exists()


def test_a_study_json_that_no_study_wrote_is_kept(tmp_path: Path) -> None:
    for content in ('{"study": {}}', "[" * 100_000, "no JSON"):
        (tmp_path / "study.json").write_text(content)
        with pytest.raises(InputError, match="holds another study"):
            RunFolder.create(tmp_path)
        assert (tmp_path / "study.json").read_text() == content


@pytest.mark.parametrize("was_there", [True, False])
def test_a_refused_study_leaves_the_folder_as_it_found_it(
    was_there: bool, tmp_path: Path, small_study: Path, call: Job
) -> None:
    out = tmp_path / "run"
    if was_there:
        out.mkdir()
    done = call("tune", small_study, "--out", out, "--address", "127.0.0.1:1")
    assert done.returncode == 2
    assert "address must be a running Ray cluster" in done.stderr
    assert out.exists() == was_there
    assert not was_there or list(out.iterdir()) == []


def test_a_study_that_crashes_before_its_first_trial_leaves_the_folder_as_it_found_it(
    tmp_path: Path, small_study: Path
) -> None:
    code = f"""
import ffnet.tuning.driver as driver
def crash(*_, **__): raise RuntimeError("crashed")
driver.run_study = crash
from ffnet.cli import tune
tune.main([{str(small_study)!r}, "--out", {str(tmp_path / "run")!r}])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert "RuntimeError: crashed" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [["table", "runs/x"], ["tune", "{study}"], ["export", "runs/x"]])
def test_a_working_directory_that_is_gone_is_one_line(
    words: list[str], small_study: Path, tmp_path: Path
) -> None:
    name, *rest = [word.format(study=small_study) for word in words]
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'rmdir "$0"; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, str(gone), *command_line(name, *rest)],
        cwd=gone, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "a relative path needs a working directory" in done.stderr
    assert len(done.stderr.splitlines()) == 1
