"""The webhook: a study's headline reaches a chat, and no failure to send it harms the study."""

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import made_runs
from conftest import Job, command_line
from ffnet.data.load import load
from ffnet.errors import InputError, RunError
from ffnet.report.message import study_ended
from ffnet.run.provenance import about
from ffnet.spec.sections import Data
from ffnet.system import notify

SECRET = "T0SECRET"


class Hook(NamedTuple):
    """A webhook on loopback.

    Attributes:
        url: its URL.
        got: (Content-Type, JSON body) of each request so far.
    """

    url: str
    got: list[tuple[str | None, Any]]


@contextmanager
def hook(answer: Callable[[BaseHTTPRequestHandler], None] | int = 200) -> Iterator[Hook]:
    """Run a webhook in the block. It answers with a status, or by calling `answer`."""
    got: list[tuple[str | None, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.headers["Content-Type"], json.loads(body)))
            if callable(answer):
                answer(self)
            else:
                self.send_response(answer)
                self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield Hook(f"http://127.0.0.1:{server.server_port}/{SECRET}", got)
        finally:
            server.shutdown()


def told(url: str | None, monkeypatch: pytest.MonkeyPatch, text: str = "**Done**") -> list[str]:
    """Run an empty block that sends `text` at its end. Returns the lines for the user."""
    if url is None:
        monkeypatch.delenv(notify.VARIABLE, raising=False)
    else:
        monkeypatch.setenv(notify.VARIABLE, url)
    said: list[str] = []
    with notify.told(lambda: text, said.append):
        assert notify.VARIABLE not in os.environ
    assert os.environ.get(notify.VARIABLE) == url
    return said


# --- sending -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 204])
def test_the_message_arrives_as_json_that_chats_take(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hook(status) as found:
        assert told(found.url, monkeypatch, "**Dönè**") == []
    assert found.got == [("application/json", {"text": "**Dönè**"})]


def test_nothing_is_made_or_sent_without_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(notify.VARIABLE, raising=False)
    with notify.told(lambda: pytest.fail("a message is made"), pytest.fail):
        pass


def test_a_blank_around_the_url_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with hook() as found:
        monkeypatch.setenv(notify.VARIABLE, f" {found.url}\n")
        with notify.told(lambda: "x", pytest.fail):
            pass
    assert len(found.got) == 1


@pytest.mark.parametrize("status", [302, 400, 404, 500])
def test_another_answer_than_success_is_said_in_one_line_without_the_url(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hook(status) as found:
        (line,) = told(found.url, monkeypatch)
    assert line == (
        f"warning: the webhook of FFNET_WEBHOOK did not take the message: its server answered with "
        f"status {status}"
    )
    assert len(found.got) == 1


def test_a_redirect_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(request: BaseHTTPRequestHandler) -> None:
        request.send_response(307)
        request.send_header("Location", other.url)
        request.end_headers()

    with hook() as other, hook(elsewhere) as found:
        assert "status 307" in told(found.url, monkeypatch)[0]
    assert other.got == []


def test_a_server_that_is_not_there_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (line,) = told(f"http://127.0.0.1:{free.getsockname()[1]}/{SECRET}", monkeypatch)
    assert line.endswith("did not take the message: Connection refused")


def test_a_server_that_never_answers_or_answers_byte_by_byte_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        try:
            while not over.wait(0.05):
                request.wfile.write(b"H")
        except OSError:
            pass

    def silent(_: BaseHTTPRequestHandler) -> None:
        over.wait()

    monkeypatch.setattr(notify.send, "__defaults__", (0.5,))
    with hook(drip) as slow, hook(silent) as dead:
        for found in (slow, dead):
            (line,) = told(found.url, monkeypatch)
            assert line.endswith("no answer within 0.5 s")
        over.set()


def test_a_server_that_speaks_no_http_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def nonsense(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"SSH-2.0 " + request.path.encode() + b"\r\n\r\n")
        request.close_connection = True

    with hook(nonsense) as found:
        (line,) = told(found.url, monkeypatch)
    assert line.endswith("BadStatusLine")


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://host/{SECRET}", f"file:///etc/{SECRET}", SECRET, f"http:///{SECRET}",
        f"http://host:port/{SECRET}", f"http://host/{SECRET} x", f"http://[::1/{SECRET}",
        f"//host/{SECRET}", f"http://host/{SECRET}\x00",
    ],
)  # fmt: skip
def test_what_is_no_url_of_the_web_is_said_at_the_start_and_never_opened(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "\x00" in url:  # no environment can hold it
        monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(notify, "send", lambda *_: pytest.fail("something is sent"))
    (line,) = told(url, monkeypatch)
    assert "http:// or https://" in line
    assert SECRET not in line


def test_a_failed_run_is_told_and_still_fails_but_wrong_input_and_ctrl_c_are_not_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with hook() as found:
        monkeypatch.setenv(notify.VARIABLE, found.url)
        for error in (RunError("disk <full>"), InputError("no"), KeyboardInterrupt()):
            with pytest.raises(type(error)), notify.told(lambda: "x", pytest.fail):
                raise error
    assert [body["text"] for _, body in found.got] == [
        "A study has ended with an error: disk &lt;full&gt;"
    ]


def test_a_message_that_cannot_be_made_does_not_fail_the_study(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> str:
        raise OSError("the store\nis gone")

    with hook() as found:
        monkeypatch.setenv(notify.VARIABLE, found.url)
        with notify.told(broken, pytest.fail):
            pass
    assert [body["text"] for _, body in found.got] == [
        "A study has ended. Its headline cannot be read: the store is gone"
    ]


# --- the message -------------------------------------------------------------------------------


def test_the_message_is_the_headline_of_the_page(tmp_path: Path) -> None:
    study = made_runs.study_of(name="digits")
    rows, reports = made_runs.trials(study, ["done", "pruned", "failed"])
    text = study_ended(made_runs.write(tmp_path / "run", study, rows, reports))
    first, blank, *points = text.splitlines()
    assert (first, blank) == ("The study `run` has ended.", "")
    assert [line.split("**")[1] for line in points] == [
        "What was searched", "What won", "How sure", "What it cost",
    ]  # fmt: skip
    best = max(rows[:2], key=lambda row: row["best_val_accuracy"])  # done or pruned
    won = f"Trial {best['trial']} with validation accuracy {best['best_val_accuracy']:.4f}"
    assert won in points[1]
    assert "1 done, 1 pruned, 1 failed" in points[3]


@pytest.mark.parametrize("statuses", [[], ["failed"], ["diverged"], ["pruned", "stopped"]])
def test_there_is_a_message_about_every_study(statuses: list[str], tmp_path: Path) -> None:
    study = made_runs.study_of()
    run = made_runs.write(tmp_path / "run", study, *made_runs.trials(study, statuses))
    assert len(study_ended(run).splitlines()) == 6


def test_no_name_calls_people_or_is_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = made_runs.study_of()
    place = tmp_path / "`<!channel> @all & <script>"
    run = made_runs.write(place, study, *made_runs.trials(study, ["done"]), name="<@U1>")
    with hook() as found:
        assert told(found.url, monkeypatch, study_ended(run)) == []
    text = found.got[0][1]["text"]
    assert text.startswith("The study `'&lt;!channel&gt; @\u200ball &amp; &lt;script&gt;` has")
    assert "<" not in text
    assert "on &lt;@\u200bU1&gt;" in text


# --- studies -----------------------------------------------------------------------------------


def with_the_secret(driver: int) -> tuple[list[str], int]:
    """Names of the processes that have the secret in their environment, without the driver.

    Also returns how many processes of Ray there are.
    """
    names, rays = [], 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name = (process / "cmdline").read_bytes().decode(errors="replace")
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        rays += name.startswith("ray::")
        if SECRET.encode() in environment and int(process.name) != driver:
            names.append(name)
    return names, rays


@pytest.mark.slow
def test_a_study_tells_the_webhook_and_neither_its_workers_nor_its_files_know_the_url(
    small_study: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with hook() as found:
        environment = os.environ | {notify.VARIABLE: found.url}
        with subprocess.Popen(
            command_line("tune", small_study, "--out", run, "--concurrency", 1), env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as driver:  # fmt: skip
            most = 0
            while driver.poll() is None:
                names, rays = with_the_secret(driver.pid)
                assert names == []
                most = max(most, rays)
                time.sleep(0.1)  # a look at all processes takes time of the study's
            assert driver.stdout
            output = driver.stdout.read()
    assert driver.returncode == 0, output
    assert most > 0
    assert SECRET.encode() not in output
    files = [path for path in run.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    ((_, body),) = found.got
    assert body["text"].startswith("The study `run` has ended.\n\n- **What was searched**: ")


@pytest.mark.slow
def test_a_study_ends_as_without_a_webhook_when_the_webhook_does_not_answer(
    tmp_path: Path, call: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = made_runs.study_of(budget={"trials": 1})
    rows, reports = made_runs.trials(study, ["done"])
    run = made_runs.write(tmp_path / "run", study, rows, reports, **about(load(Data())))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv(notify.VARIABLE, f"http://127.0.0.1:{free.getsockname()[1]}/{SECRET}")
        done = call("tune", run.study.place, "--out", run.place, "--resume")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "warning: the webhook of FFNET_WEBHOOK did not take the message: Connection refused"
    ]
    assert SECRET not in done.stdout
