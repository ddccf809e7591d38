"""The local cluster and jobs on it through a real Jobs server: from `up` to `down`."""

import os
import pty
import signal
import stat
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import ROOT, Job, command_line, rows_of, wait_for
from ffnet.errors import InputError
from ffnet.ray_cluster import package
from sockets import in_reach_of_others, listening, sessions
from test_notify import Hook, hook

LOCAL = ROOT / "cluster" / "local.sh"
DIGITS = "jobs/studies/digits.toml"

STAND_IN = """
import os, pathlib, signal, sys, time

def stopped(*_):
    time.sleep(4)  # longer than Ray's own grace
    pathlib.Path(out, "in-order").touch()
    sys.exit(75)

words = sys.argv[1:]
out = words[words.index("--out") + 1]
os.makedirs(out, exist_ok=True)
signal.signal(signal.SIGTERM, stopped)
print("words", words, flush=True)
pathlib.Path(out, f"pid-{len(os.listdir(out))}").write_text(str(os.getpid()))
if "--resume" in words and "once" in words:
    print("went on", flush=True)
elif "exit" in words:
    sys.exit(int(words[words.index("exit") + 1]))
else:
    time.sleep(600)
"""


@dataclass(frozen=True)
class Cluster:
    """A local cluster with a new state folder."""

    state: Path

    def local(self, *words: object, **env: str) -> subprocess.CompletedProcess[str]:
        """Run cluster/local.sh."""
        return subprocess.run(
            [LOCAL, *map(str, words)],
            env=os.environ | {"FFNET_LOCAL": str(self.state)} | env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def up(self, *words: object, **env: str) -> subprocess.CompletedProcess[str]:
        done = self.local("up", *words, **env)
        assert done.returncode == 0, done.stderr
        return done

    def remembered(self) -> dict[str, str]:
        """Return the values in local.sh's state file."""
        names = ("mark", "temp", "dashboard", "nodes")
        code = f'. "$0"; for name in {" ".join(names)}; do printf "%s\\0" "${{!name}}"; done'
        shown = subprocess.run(
            ["bash", "-c", code, self.state / "cluster"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return dict(zip(names, shown.split("\0"), strict=False))

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that `local.sh env` sets."""
        shown = subprocess.run(
            ["bash", "-c", f'eval "$({LOCAL} env)"; env -0'],
            env=os.environ | {"FFNET_LOCAL": str(self.state)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return dict(pair.partition("=")[::2] for pair in shown.split("\0") if pair)


def with_mark(mark: str) -> list[str]:
    """Return the processes that a cluster has started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if f"FFNET_LOCAL_CLUSTER={mark}".encode() in environment.split(b"\0"):
            found.append(process.name)
    return found


@pytest.fixture(scope="module")
def webhook() -> Iterator[Hook]:
    """A webhook whose URL only the cluster knows."""
    with hook() as found:
        yield found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, webhook: Hook) -> Iterator[Cluster]:
    """Start a local cluster; at the end, check that nothing is left."""
    made = Cluster(tmp_path_factory.mktemp("first") / "state")
    made.up("--cpus", 2, FFNET_WEBHOOK=webhook.url)
    remembered = made.remembered()
    assert with_mark(remembered["mark"])
    yield made
    done = made.local("down")
    assert done.returncode == 0, done.stderr
    assert not with_mark(remembered["mark"])
    assert not Path(remembered["temp"]).exists()
    assert not made.state.exists()


@pytest.fixture(scope="module")
def submit(cluster: Cluster, job: Job) -> Job:
    """Runs jobs/submit.py with the cluster's environment."""
    environment = cluster.environment

    def run(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
        return job("submit", *words, **{"env": environment, "cwd": ROOT, **options})

    return run


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """Make a working directory whose jobs/tune.py only waits, or ends as its arguments say."""
    folder = tmp_path / "project"
    (folder / "jobs").mkdir(parents=True)
    (folder / "jobs" / "tune.py").write_text(STAND_IN)
    (folder / "some.toml").touch()
    return folder


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(cluster: Cluster, stand_in: Path) -> Iterator[Start]:
    """Starts jobs/submit.py in the stand-in's folder and leaves it running."""
    started = []

    def run(*words: object, cwd: Path = stand_in, **env: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                command_line("submit", *words),
                env=cluster.environment | env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def pids(out: Path) -> list[int]:
    texts = [path.read_text() for path in sorted(out.glob("pid-*"))]
    return [int(text) for text in texts if text]


# --- a study from up to its table --------------------------------------------------------------


@pytest.mark.slow
def test_a_study_whose_driver_is_killed_goes_on_to_its_table(
    cluster: Cluster, start: Start, call: Job, webhook: Hook, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    of_the_client = f"{webhook.url}-of-the-client"
    driver = start(
        "--", "tune", DIGITS, "--out", out, "--trials", 4, "--epochs", 150,
        "--scheduler", "none", cwd=ROOT, FFNET_WEBHOOK=of_the_client,
    )  # fmt: skip
    found = wait_for(lambda: _reported(out) and _driver(out), 90)
    os.kill(found, signal.SIGKILL)
    printed, notes = driver.communicate(timeout=200)
    assert driver.returncode == 0, printed + notes
    assert "note: FFNET_WEBHOOK is not sent" in notes
    assert "its driver was lost (exit status 137)" in notes
    assert "4 trials: 4 done" in printed  # the log
    rows = rows_of(out)
    assert [row["status"] for row in rows] == ["done"] * 4
    assert sum(row["epochs"] for row in rows) == 4 * 150
    table = call("table", out, "--top", 3, "--format", "csv")
    assert table.stdout.startswith("trial,status,hidden_sizes"), table.stderr
    assert len(table.stdout.splitlines()) == 4
    listed = cluster.local("submit", "list").stdout
    assert "SUCCEEDED (0)" in listed
    assert str(out) in listed
    assert [m["text"].splitlines()[0] for _, m in webhook.got] == ["The study `run` has ended."]
    file = cluster.state / "token"
    token = file.read_bytes()
    assert len(token) == 64
    assert file.stat().st_mode & 0o777 == 0o600
    assert cluster.state.stat().st_mode & 0o777 == 0o700
    headers = {"Authorization": f"Bearer {token.decode()}"}
    jobs = f"http://{cluster.remembered()['dashboard']}/api/jobs/"
    request = urllib.request.Request(jobs, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        described = answer.read()
    assert b"FFNET_COMMIT" in described  # the job's environment
    places = [out, Path(cluster.remembered()["temp"]), cluster.state / "ray.log"]
    for secret in (token, webhook.url.encode(), of_the_client.encode()):
        assert secret not in described + printed.encode() + notes.encode()
        _assert_nowhere(secret, places)


def _assert_nowhere(secret: bytes, places: list[Path]) -> None:
    """Check that a secret is in no file below these places, and in no command line."""
    files = [p for place in places for p in (place, *place.rglob("*")) if p.is_file()]
    assert len(files) > 20
    assert [path for path in files if secret in path.read_bytes()] == []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            assert secret not in (process / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended


def _reported(out: Path) -> bool:
    return any(row["epochs"] >= 2 for row in rows_of(out))


def _driver(out: Path) -> int | None:
    """Return the process on the cluster that runs the study with this `--out`."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"jobs/tune.py" in words and str(out).encode() in words:
            return int(process.name)
    return None


# --- how jobs end ------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_log_comes_while_the_job_runs_and_stop_leaves_it_time(
    submit: Job, start: Start, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start("--", "tune", "some.toml", "--out", out)
    assert process.stdout
    line = next(line for line in process.stdout if line.startswith("words"))
    assert line == f"words {['some.toml', '--out', str(out)]}\n"
    name = submit("list").stdout.split()[0]
    running = submit("status", name)
    assert running.returncode == 0
    assert f"{name}  RUNNING" in running.stdout
    stopped = submit("stop", name)
    assert stopped.returncode == 0
    assert f"{name}  STOPPED (75)" in stopped.stdout
    assert process.wait(timeout=60) == 75
    assert (out / "in-order").exists()
    assert submit("logs", name).returncode == 75
    assert "STOPPED (75)" in submit("status").stdout  # the newest


@pytest.mark.slow
def test_a_driver_that_is_killed_again_and_again_is_an_error(start: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("--retries", 1, "--", "tune", "--out", out)
    wait_for(lambda: len(pids(out)) == 1)
    os.kill(pids(out)[-1], signal.SIGKILL)
    wait_for(lambda: len(pids(out)) == 2)
    os.kill(pids(out)[-1], signal.SIGKILL)
    printed, notes = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGKILL
    assert notes.count("its driver was lost") == 2
    assert "'--resume'" in printed.splitlines()[-1]
    assert len(pids(out)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("status", [1, 75, 130])
def test_a_job_that_ends_in_order_is_not_submitted_again(
    submit: Job, stand_in: Path, tmp_path: Path, status: int
) -> None:
    out = tmp_path / "out"
    done = submit("--", "tune", "exit", status, "--out", out, cwd=stand_in)
    assert done.returncode == status
    assert done.stderr.splitlines()[-1].endswith(f"FAILED (exit status {status})")
    assert len(pids(out)) == 1


@pytest.mark.slow
def test_ctrl_c_leaves_a_job_running_or_stops_it(
    cluster: Cluster, submit: Job, start: Start, stand_in: Path
) -> None:
    process = start("--", "tune")
    out = wait_for(lambda: next(stand_in.glob("runs/run-*"), None))  # a new folder
    wait_for(lambda: pids(out))
    process.send_signal(signal.SIGINT)
    _, notes = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on" in notes  # without a terminal it does not ask
    name = submit("list").stdout.split()[0]
    assert "RUNNING" in submit("status", name).stdout

    ours, theirs = pty.openpty()
    again = subprocess.Popen(
        command_line("submit", "logs", name),
        env=cluster.environment,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert again.stdout
    next(line for line in again.stdout if line.startswith("words"))
    again.send_signal(signal.SIGINT)
    os.write(ours, b"stop\n")
    again.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert again.returncode == 75
    assert (out / "in-order").exists()


# --- who may come in ---------------------------------------------------------------------------


@pytest.mark.slow
def test_no_token_and_a_wrong_one_are_refused(cluster: Cluster, job: Job) -> None:
    environment = cluster.environment
    wrong = cluster.state.parent / "wrong"
    wrong.write_text("0" * 64)
    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")
    without = {k: v for k, v in environment.items() if k not in names}
    without["HOME"] = str(wrong.parent)  # the user's home may hold a token of Ray
    for given, words in (
        (without, "asks for a token: set RAY_AUTH_TOKEN_PATH"),
        (without | {"RAY_AUTH_MODE": "token"}, "asks for a token: set RAY_AUTH_TOKEN_PATH"),
        (without | {"RAY_AUTH_TOKEN_PATH": str(wrong)}, f"refuses the token from {wrong}"),
        (without | {"RAY_AUTH_TOKEN_PATH": "/nowhere"}, "must be a file that you can read"),
    ):
        _assert_refused(job("submit", "list", env=given), words)


@pytest.mark.slow
def test_all_of_the_cluster_listens_on_loopback_and_its_files_are_closed(cluster: Cluster) -> None:
    remembered = cluster.remembered()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"http://{remembered['dashboard']}/api/jobs/", timeout=10)
    leaders = [int(line.split()[0]) for line in remembered["nodes"].splitlines()]
    # Ray may start and end workers between the two checks.
    wait_for(lambda: set(map(int, with_mark(remembered["mark"]))) <= set(sessions(*leaders)))
    pids = sessions(*leaders)
    ports = {port for _, port in listening(pids)}
    for address in (remembered["dashboard"], cluster.environment["RAY_ADDRESS"]):
        assert int(address.rpartition(":")[2]) in ports
    assert in_reach_of_others(pids) == []
    for folder in (cluster.state, Path(remembered["temp"])):  # everything below is closed, too
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert any(path.is_file() for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--", "tuna"], "the first word after -- must be a job in"),
        (["--address", "here", "list"], "--address must be the URL"),
        (["--address", "http://127.0.0.1:1", "list"], "a running Ray cluster must answer"),
        (["list", "--", "tune"], "not both. Given: list and a job"),
        (["--driver-cpus", "-1", "list"], "--driver-cpus must be 0 or more. Given: -1"),
        ([], "name a job after --, or status, logs, stop or list"),
    ],
)
def test_bad_input_is_one_line(call: Job, words: list[str], message: str) -> None:
    _assert_refused(call("submit", *words, cwd=ROOT), message)


@pytest.mark.slow
def test_to_stop_needs_a_job_of_the_cluster(submit: Job) -> None:
    _assert_refused(submit("stop"), "stop needs the name of a job")
    _assert_refused(submit("stop", "nobody"), "there is no job nobody")


def _assert_refused(done: subprocess.CompletedProcess[str], message: str) -> None:
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


# --- up and down -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_second_cluster_beside_it_comes_and_goes_alone(
    cluster: Cluster, submit: Job, tmp_path: Path
) -> None:
    second = Cluster(tmp_path / "a state folder")
    assert second.local("status").returncode == 1
    assert "up: 2 node(s)" in second.up("--nodes", 2, "--cpus", 1).stdout
    try:
        before = second.remembered()
        assert "already up: 2 node(s)" in second.up().stdout
        assert second.remembered() == before
        assert "up: 2 of 2 node(s) answer" in second.local("status").stdout
        # A head that was killed leaves its node; `up` then starts anew.
        os.kill(int(before["nodes"].split()[0]), signal.SIGKILL)
        wait_for(lambda: second.local("status").returncode == 1)
        second.up("--cpus", 1)
        assert not with_mark(before["mark"])
        after = second.remembered()
        assert after["mark"] != before["mark"]
    finally:
        assert second.local("down").returncode == 0
    assert not with_mark(after["mark"])
    assert not second.state.exists()
    assert not Path(after["temp"]).exists()
    assert second.local("down").returncode == 0
    refused = second.local("submit", "list")
    assert refused.returncode == 1
    assert "no local cluster is up" in refused.stderr
    assert submit("list").returncode == 0  # the first cluster has not noticed


@pytest.mark.slow
def test_a_driver_may_ask_for_cpus_and_waits_until_a_node_has_them(
    start: Start, submit: Job, stand_in: Path, tmp_path: Path
) -> None:
    """This is the last test on the cluster, because Ray cannot stop a job that waits."""
    words = ["--", "tune", "exit", 0, "--out"]
    start("--driver-cpus", 64, *words, tmp_path / "many")
    wait_for(lambda: "PENDING" in submit("status").stdout)
    name = submit("list").stdout.split()[0]
    later = submit("--driver-cpus", 1, *words, tmp_path / "later", cwd=stand_in)
    assert later.returncode == 0  # it has started and ended meanwhile
    assert "PENDING" in submit("status", name).stdout
    assert not pids(tmp_path / "many")


# --- the package -------------------------------------------------------------------------------


def test_the_package_has_the_code_and_no_data_results_or_secrets(tmp_path: Path) -> None:
    here, to = tmp_path / "here", tmp_path / "to"
    kept = ["jobs/tune.py", "jobs/studies/my.toml", "ffnet/data/digits.parquet", "README.md"]
    left = [
        ".env", ".git/HEAD", "runs/a/trials.parquet", "mine/study.json", "mine/ray.log",
        "env/pyvenv.cfg", "env/bin/python", "x.npz", "data/train.parquet",
        "ffnet/__pycache__/a.pyc", "ffnet.egg-info/PKG-INFO",
    ]  # fmt: skip
    for name in kept + left:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(name)
    (here / "link").symlink_to(tmp_path)
    (here / "broken").symlink_to("nowhere")
    package.copy_code(here, to)
    assert sorted(str(p.relative_to(to)) for p in to.rglob("*") if p.is_file()) == sorted(kept)


def test_a_package_too_large_names_its_largest_file(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    with (tmp_path / "here" / "weights.dat").open("wb") as file:
        file.truncate(int(package.PACKAGE_LIMIT) + 1)
    with pytest.raises(InputError, match=r"the largest file is weights\.dat \(100 MB\)"):
        package.copy_code(tmp_path / "here", tmp_path / "to")
