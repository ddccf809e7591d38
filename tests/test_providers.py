"""Storage follows the settings of the providers' tools, or is refused; silent servers are named."""

import contextlib
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from conftest import ROOT, Job
from ffnet.errors import InputError
from ffnet.ray_cluster.package import command_of
from ffnet.run import storage
from ffnet.run.folder import RunFolder
from s3_server import BUCKET, s3_server

OURS = ("AWS_", "STORAGE_EMULATOR", "CLOUD", "GOOGLE_")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Remove all variables and files of providers. Returns the home folder."""
    for name in list(os.environ):
        if name.startswith(OURS) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


def write(home: Path, name: str, text: str) -> None:
    (home / name).parent.mkdir(parents=True, exist_ok=True)
    (home / name).write_text(text)


SERVICES = """
[profile p]
endpoint_url = http://no:1
services = x
[services x]
sts =
  endpoint_url = http://no:2
s3 =
  endpoint_url = URL
"""
PLACES = {
    "AWS_ENDPOINT_URL": ({"AWS_ENDPOINT_URL": "URL"}, ""),
    "AWS_ENDPOINT_URL_S3": ({"AWS_ENDPOINT_URL_S3": "URL", "AWS_ENDPOINT_URL": "http://no:1"}, ""),
    "default profile": ({}, "[default]\nendpoint_url = URL\n"),
    "named profile": ({"AWS_PROFILE": "p"}, "[default]\n[profile p]\nendpoint_url=URL\n"),
    "services": (
        {"AWS_PROFILE": "p"},
        SERVICES,
    ),
    "variable before profile": ({"AWS_ENDPOINT_URL": "URL"}, "[default]\nendpoint_url=http://no:1"),
}


@pytest.mark.parametrize("case", PLACES)
@pytest.mark.parametrize("moved", [False, True])
def test_amazons_endpoint_is_honoured(
    case: str, moved: bool, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables, config = PLACES[case]
    url = "http://127.0.0.1:1234"
    for name, value in variables.items():
        monkeypatch.setenv(name, value.replace("URL", url))
    if moved:
        monkeypatch.setenv("AWS_CONFIG_FILE", str(bare / "elsewhere" / "config"))
    path = "elsewhere/config" if moved else ".aws/config"
    write(bare, path, config.replace("URL", url))
    place = RunFolder.at("s3://b/runs/x").place
    assert place == "s3://b/runs/x?endpoint_override=127.0.0.1:1234&scheme=http"
    assert RunFolder.at(place).place == place


@pytest.mark.parametrize(
    ("variables", "config"),
    [
        ({"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true", "AWS_ENDPOINT_URL": "http://no:1"}, ""),
        ({}, "[default]\nendpoint_url = http://no:1\nignore_configured_endpoint_urls = true\n"),
        ({"AWS_ENDPOINT_URL_STS": "http://no:1"}, ""),
        ({}, "[profile other]\nendpoint_url = http://no:1\n"),
    ],
)
def test_an_endpoint_that_is_not_for_this_is_not_taken(
    variables: dict[str, str], config: str, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    write(bare, ".aws/config", config)
    assert RunFolder.at("s3://b/runs/x").place == "s3://b/runs/x"


def test_the_uris_own_server_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://no:1")
    place = RunFolder.at("s3://b/runs/x?endpoint_override=h:2&scheme=http").place
    assert place == "s3://b/runs/x?endpoint_override=h:2&scheme=http"


@pytest.mark.parametrize(
    ("variables", "config"),
    [
        ({"AWS_REGION": "eu-west-3", "AWS_DEFAULT_REGION": "us-west-1"}, ""),
        ({"AWS_DEFAULT_REGION": "eu-west-3"}, "[default]\nregion = us-west-1\n"),
        ({}, "[default]\nregion = eu-west-3\n"),
    ],
)
def test_the_region_goes_with_the_run(
    variables: dict[str, str], config: str, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    write(bare, ".aws/config", config)
    folder = RunFolder.at("s3://b/runs/x")
    assert folder.place == "s3://b/runs/x?region=eu-west-3"
    assert storage.located(folder.place)[0].region == "eu-west-3"


REFUSED = {
    "no URL": ({"AWS_ENDPOINT_URL": "here:9000"}, "", "AWS_ENDPOINT_URL must be http://"),
    "password": ({"AWS_ENDPOINT_URL": "http://u:secret@h"}, "", "Given: http://…@…"),
    "path": ({"AWS_ENDPOINT_URL_S3": "http://h/minio"}, "", "must have no path"),
    "FIPS": ({"AWS_USE_FIPS_ENDPOINT": "true"}, "", "does not use AWS_USE_FIPS_ENDPOINT"),
    "dual stack": ({"AWS_USE_DUALSTACK_ENDPOINT": "TRUE"}, "", "PyArrow does not use AWS_USE_D"),
    "FIPS of the profile": ({}, "[default]\nuse_fips_endpoint = true\n", "FIPS"),
    "accelerated": ({}, "[default]\ns3 =\n  use_accelerate_endpoint = true\n", "accelerate"),
    "path style": ({}, "[default]\ns3 =\n  addressing_style = path\n", "addressing_style"),
    "profile that is not there": ({"AWS_PROFILE": "p"}, "", "AWS_PROFILE must name a profile"),
    "default profile": ({"AWS_DEFAULT_PROFILE": "p"}, "[profile p]\n", "set AWS_PROFILE"),
    "role": ({}, "[default]\nrole_arn = a\nsource_profile = b\n", "use the profile's role_arn"),
    "role for another server": (
        {"AWS_ROLE_ARN": "a", "AWS_ENDPOINT_URL": "http://h:1"}, "", "AWS_ROLE_ARN works only",
    ),
    "no configuration": ({}, "endpoint_url = x\n", "not a readable configuration file"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_pyarrow_cannot_do_is_refused(
    case: str, bare: Path, monkeypatch: pytest.MonkeyPatch, call: Job
) -> None:
    variables, config, words = REFUSED[case]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    write(bare, ".aws/config", config)
    monkeypatch.setattr(storage, "_s3", lambda _: pytest.fail("it was contacted"))
    done = call("table", "s3://b/runs/x")
    assert done.returncode == 2
    assert words.replace("FIPS", "fips") in done.stderr or words in done.stderr
    assert "secret" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("AWS_MAX_ATTEMPTS", "many", "AWS_MAX_ATTEMPTS must be a number"),
        ("AWS_RETRY_MODE", "adaptive", "AWS_RETRY_MODE must be legacy or standard"),
        ("AWS_CA_BUNDLE", "/nowhere", "AWS_CA_BUNDLE must be a file of certificates"),
    ],
)
def test_odd_retries_and_certificates_are_refused(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=words):
        storage.located("s3://b/x?region=odd")


GOOGLE = {
    "STORAGE_EMULATOR_HOST": "127.0.0.1:1234",
    "CLOUD_STORAGE_EMULATOR_ENDPOINT": "http://127.0.0.1:1234",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": "http://127.0.0.1:1234/storage/v1/",
}


@pytest.mark.parametrize("name", GOOGLE)
def test_googles_endpoint_is_honoured(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, GOOGLE[name])
    place = RunFolder.at("gs://b/runs/x").place
    assert place == "gs://b/runs/x?endpoint_override=127.0.0.1:1234&scheme=http"


def test_gclouds_configuration_is_honoured(bare: Path) -> None:
    write(bare, ".config/gcloud/active_config", "mine\n")
    text = "[core]\n[api_endpoint_overrides]\nstorage = https://private.example/\n"
    write(bare, ".config/gcloud/configurations/config_mine", text)
    place = RunFolder.at("gs://b/runs/x").place
    assert place == "gs://b/runs/x?endpoint_override=private.example&scheme=https"


@pytest.mark.parametrize(
    "name", ["CLOUDSDK_AUTH_ACCESS_TOKEN", "GOOGLE_CLOUD_UNIVERSE_DOMAIN", "CLOUDSDK_CORE_ACCOUNT"]
)
def test_what_only_gcloud_can_do_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "secret")
    with pytest.raises(InputError, match=f"PyArrow does not use {name}") as error:
        RunFolder.at("gs://b/runs/x")
    assert "Given: secret" not in str(error.value)


# --- reached -------------------------------------------------------------------------------------


class _Log(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        seen: list[str] = self.server.seen  # type: ignore[attr-defined]
        seen.append(f"{self.command} {self.path}")
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = do_PUT = do_POST = _answer  # noqa: N815 - names of the library

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def server_that_notes() -> Iterator[tuple[str, list[str]]]:
    """Start a server that notes the requests it gets. Returns its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Log)
    server.seen = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", server.seen  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()


def test_a_store_of_google_is_reached_at_its_own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with server_that_notes() as (url, seen):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        with pytest.raises(InputError, match="is not a run"):
            RunFolder.existing("gs://b/runs/x")
        assert "GET /storage/v1/b/b/o/runs%2Fx%2Fstudy.json" in seen


def test_a_worker_goes_where_the_driver_went(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server() as server, server_that_notes() as (other, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
        folder = RunFolder.create(f"s3://{BUCKET}/runs/worker")
        storage.write_json(folder.study, {})
        code = f"import pickle; print(pickle.loads({pickle.dumps(folder)!r}).study.exists())"
        for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):  # of the worker's own machine
            monkeypatch.setenv(name, other)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout == "True\n", done.stderr
        assert seen == []


def test_a_job_that_is_submitted_goes_where_the_submitter_would(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1234")
    command = command_of(["tune", "jobs/studies/digits.toml", "--out", "s3://b/runs/x"], ROOT)
    assert command.arguments[-1] == "s3://b/runs/x?endpoint_override=127.0.0.1:1234&scheme=http"


# --- silent --------------------------------------------------------------------------------------


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """Start a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@contextlib.contextmanager
def closed() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def unknown() -> Iterator[str]:
    yield "nowhere.invalid"


@pytest.mark.parametrize("kind", [pytest.param(silent, marks=pytest.mark.slow), closed, unknown])
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_store_that_does_not_answer_is_said_soon(
    kind: "type[contextlib.AbstractContextManager[str]]", scheme: str, small_study: Path, call: Job,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(storage, "ANSWER_SECONDS", 1.0)
    with kind() as host:
        uri = f"{scheme}://b/runs/x?endpoint_override={host}&scheme=http"
        for words in (
            ["tune", small_study, "--out", uri],
            ["tune", small_study, "--out", uri, "--resume"],
            ["tune", f"{uri}".replace("runs/x?", "runs/x/study.json?")],
            ["train", "--out", uri],
            ["train", "--from", uri, "--trial", 0],
            ["table", uri],
            ["export", uri],
            ["board", uri],
        ):
            begun = time.monotonic()
            done = call(*words)
            assert done.returncode == 2, words
            assert f"the store of a run must answer. Given: {scheme}://b/runs/x" in done.stderr
            assert host in done.stderr
            assert len(done.stderr.splitlines()) == 1
            assert time.monotonic() - begun < 10


def test_a_server_that_refuses_has_answered() -> None:
    with server_that_notes() as (url, _):
        storage.knock(f"s3://b/x?endpoint_override={url[7:]}&scheme=http")
