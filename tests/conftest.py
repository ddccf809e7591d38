"""Fixtures that tests share: small data, the real data if it is there, and ways to run jobs."""

import contextlib
import importlib
import io
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from ffnet.cli import command
from ffnet.run import tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row
from ffnet.system import signals

ROOT = Path(__file__).parent.parent
Job = Callable[..., subprocess.CompletedProcess[str]]


def pytest_configure() -> None:
    """Restore the signals' default actions: `nohup` and `&` let child processes ignore some."""
    for number in signals.ENDING:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):  # type: ignore[no-untyped-def]
    """With FFNET_NO_SKIPS, as in CI, a skipped test fails: everything it needs must be there."""
    report = yield
    if report.skipped and os.environ.get("FFNET_NO_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may skip: {call.excinfo.value}"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with the most slow tests first, so that no worker has a long one at the end.

    The workers of pytest-xdist take files in this order, with `--no-loadscope-reorder`.
    """
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True, scope="session")
def own_places() -> Iterator[None]:
    """Give the tests a cache and a Ray folder, which are removed at the end."""
    # The path is short because Ray's sockets lie below it: a socket's path may have 107 bytes.
    folder = tempfile.mkdtemp(prefix="fft-", dir="/tmp")
    before = dict(os.environ)
    ray = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    for name in ("COLUMNS", *ray):  # pytest-xdist sets a width
        os.environ.pop(name, None)
    os.environ |= {
        "FFNET_CACHE": f"{folder}/cache",
        "KERAS_HOME": f"{folder}/keras",
        "RAY_TMPDIR": folder,
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    yield
    os.environ.clear()
    os.environ.update(before)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with MNIST and CIFAR-10."""
    root = os.environ.get("FFNET_DATA")
    if not root:
        pytest.skip("set FFNET_DATA to a folder with mnist/ and cifar10/")
    return Path(root)


@pytest.fixture(scope="session")
def fashion_mnist() -> Path:
    """The folder above Debian's fashion-mnist."""
    root = Path("/usr/share/datasets")
    if not (root / "fashion-mnist").is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    return root


@pytest.fixture(scope="session")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 1,200 easy feature vectors of 3 classes to an npz file."""
    random = np.random.default_rng(0)
    y = np.arange(1200) % 3
    x = random.normal(size=(1200, 20)) + 3 * np.eye(3)[y] @ random.normal(size=(3, 20))
    path = tmp_path_factory.mktemp("blobs") / "blobs.npz"
    np.savez(path, x=x, y=y)
    return path


@pytest.fixture(scope="session")
def job() -> Job:
    """Runs a command line of jobs/ to its end: job("tune", "digits.toml", …)."""

    def run(name: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            command_line(name, *arguments), capture_output=True, text=True, timeout=300, **options
        )

    return run


class RunningRay(NamedTuple):
    """A running Ray with a token.

    Attributes:
        address: address of the head, HOST:PORT.
        environment: variables that clients need.
    """

    address: str
    environment: dict[str, str]


HEAD = """
import ray, sys
info = ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False).address_info
print("ADDRESS", info["gcs_address"], flush=True)
sys.stdin.read()
"""
"""A program: runs a Ray with two CPUs and a pretended GPU until its standard input is closed."""


@pytest.fixture(scope="session")
def running_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRay]:
    """Start the Ray that all studies share which need no private Ray, in another process."""
    token = tmp_path_factory.mktemp("ray") / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    settings = {"RAY_USAGE_STATS_ENABLED": "0"}
    with subprocess.Popen(
        [sys.executable, "-c", HEAD], env=os.environ | environment | settings,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as head:  # fmt: skip
        assert head.stdin
        assert head.stdout
        address = next(line.split()[1] for line in head.stdout if line.startswith("ADDRESS"))
        yield RunningRay(address, environment)
        head.stdin.close()
        head.wait(timeout=60)
    wait_for(lambda: not processes_with(str(token)), seconds=20)


@pytest.fixture(scope="session")
def tune(running_ray: RunningRay, job: Job) -> Job:
    """Runs a study on the shared Ray to its end: tune("digits.toml", "--out", run, …)."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        environment = os.environ | running_ray.environment
        return job("tune", *arguments, "--address", running_ray.address, env=environment)

    return run


@pytest.fixture(scope="session")
def call() -> Job:
    """Runs a command in this process: call("table", run, "--top", 0).

    It returns the same as `job`, but takes milliseconds. Use it for commands that are refused, or
    that need neither Ray nor TensorFlow. `cwd` and `env` are the same as for `job`.
    """

    def run(
        name: str, *arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        words = list(map(str, arguments))
        out, err, before = io.StringIO(), io.StringIO(), dict(os.environ)
        with (
            signals.restored(),
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.chdir(cwd or Path.cwd())
            _set_environment(env or before)
            try:
                module = importlib.import_module(f"ffnet.cli.{name.replace('-', '_')}")
                command.run(module.main, words)
            except SystemExit as end:
                status = end.code
            finally:
                _set_environment(before)
        assert isinstance(status, int)
        return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def call_tensorflow(call: Job) -> Job:
    """Runs a command that uses TensorFlow in this process: call_tensorflow("train", "--epochs", 1).

    A process can limit TensorFlow's threads and devices only before its first operation. Here they
    stay as they are.
    """
    import tensorflow as tf

    def run(name: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        with pytest.MonkeyPatch.context() as patch:
            for kind in ("inter", "intra"):
                setter = f"set_{kind}_op_parallelism_threads"
                patch.setattr(tf.config.threading, setter, lambda _: None)
            patch.setattr(tf.config, "set_visible_devices", lambda *_: None)
            return call(name, *arguments, **options)

    return run


def _set_environment(values: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(values)


def command_line(name: str, *arguments: object) -> list[str]:
    """Return the command that runs a job."""
    return [sys.executable, str(ROOT / "jobs" / f"{name}.py"), *map(str, arguments)]


def rows_of(run: str | Path) -> list[Row]:
    """Return the rows of trials.parquet; none while the table does not exist."""
    file = RunFolder.at(run).trials
    return tables.read(file) if file.exists() else []


def reports_of(run: str | Path) -> list[Row]:
    """Return the rows of epochs.parquet."""
    return tables.read(RunFolder.existing(run).epochs)


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> Any:
    """Wait until the condition is true, and return its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def unpruned_study(
    path: Path, dataset: Path, trials: int, epochs: int,
    net: str = "hidden_sizes = 64", training: str = "batch_size = 8",
) -> Path:  # fmt: skip
    """Write a study without pruning, so that every trial's epochs are known."""
    path.write_text(
        f"""
[data]
dataset = "{dataset}"
[net]
{net}
[training]
{training}
[space]
learning_rate = {{ log_uniform = [1e-4, 1e-2] }}
[tuning]
scheduler = "none"
[budget]
trials = {trials}
epochs = {epochs}
"""
    )
    return path


@pytest.fixture
def small_study(tmp_path: Path, blobs: Path) -> Path:
    """Write a study of six quick trials on the blobs."""
    path = tmp_path / "small.toml"
    path.write_text(
        f"""
[data]
dataset = "{blobs}"
[space]
hidden_sizes = {{ log_integer = [4, 64] }}
learning_rate = {{ log_uniform = [1e-3, 1e-1] }}
[budget]
trials = 6
epochs = 4
"""
    )
    return path


def _environment(pid: str) -> dict[str, str]:
    try:
        text = Path(f"/proc/{pid}/environ").read_text(errors="replace")
    except OSError:
        return {}
    return dict(pair.partition("=")[::2] for pair in text.split("\0"))


def token_of(driver: int) -> Path | None:
    """Return the token file that a child process of the driver got."""
    for process in Path("/proc").glob("[0-9]*"):
        path = _environment(process.name).get("RAY_AUTH_TOKEN_PATH")
        try:
            parent = re.search(r"PPid:\t(\d+)", (process / "status").read_text())
        except OSError:
            continue
        if path and parent and int(parent[1]) == driver:
            return Path(path)
    return None


def processes_with(token: str) -> list[str]:
    """Return the processes that have the path of a token in their environment."""
    pids = [process.name for process in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if _environment(pid).get("RAY_AUTH_TOKEN_PATH") == token]
