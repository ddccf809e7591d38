"""`ffnet report --serve`: the page follows the files of the run, and no other site reads it."""

import math
from html import unescape
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

import made_runs
from conftest import wait_for
from ffnet.errors import InputError
from ffnet.report.page import live
from ffnet.report.page.net import part_without
from ffnet.report.page.parts import Image, Part
from ffnet.run import audit, confirm, tables
from ffnet.run.folder import RunFolder
from pages import serving


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Write a run whose only trial is running."""
    study = made_runs.study_of()
    return made_runs.write(tmp_path / "run", study, *made_runs.trials(study, ["running"]))


def write(run: RunFolder, statuses: list[str]) -> None:
    rows, reports = made_runs.trials(made_runs.study_of(), statuses)
    tables.write(run.epochs, reports, tables.EPOCHS)
    tables.write(run.trials, rows, tables.TRIALS)


def fetched(server: live.Server, path: str, host: str | None = None) -> tuple[int, str]:
    connection = HTTPConnection(live.HOST, server.server_port)
    connection.request("GET", path, headers={"Host": host} if host else {})
    with connection.getresponse() as answer:
        found = answer.status, answer.read().decode()
    connection.close()
    return found


def test_the_served_page_follows_the_tables(run: RunFolder, monkeypatch: Any) -> None:
    monkeypatch.setattr(live, "SHARE", math.inf)  # no pause between two pages
    with serving(run) as server:
        status, whole = fetched(server, "/")
        assert (status, "data-live" in whole) == (200, True)
        assert "connect-src 'self'" in unescape(whole)
        before = fetched(server, "/stamp")
        assert fetched(server, "/stamp") == before
        write(run, ["done"] * 3)
        assert fetched(server, "/stamp") != before
        assert "3 trials (3 done)" in fetched(server, "/main")[1]
        Path(run.trials.place).write_bytes(b"half a table")
        assert "3 trials (3 done)" in fetched(server, "/main")[1]  # the last good page stays


def test_the_server_answers_only_its_own_paths_and_names(run: RunFolder) -> None:
    with serving(run) as server:
        assert server.server_address[0] == "127.0.0.1"
        assert fetched(server, "/../trials.parquet")[0] == 404
        assert fetched(server, "/main", "evil.example:80")[0] == 403
        assert fetched(server, "/main", f"localhost:{server.server_port}")[0] == 200


def test_a_port_that_is_taken_is_refused(run: RunFolder) -> None:
    with serving(run) as server, pytest.raises(InputError, match="--port must be free"):
        live.Server(run, server.server_port)


def net(number: int) -> Part:
    return Part("net", "The best net", [f"Net {number}."], (), [Image("", "", "")])


def test_the_best_net_is_measured_again_only_when_another_report_is_the_best(
    run: RunFolder, monkeypatch: Any
) -> None:
    monkeypatch.setattr(live, "SHARE", math.inf)
    made: list[Part] = []

    def measure() -> Part:
        made.append(net(len(made)))
        return made[-1]

    def shown(text: str) -> bool:
        return text in fetched(server, "/main")[1]

    with serving(run, measure) as server:
        wait_for(lambda: shown("Net 0."))
        tables.write(run.audit, [], audit.KIND.schema)
        stamp = fetched(server, "/stamp")
        write(run, ["running", "failed"])  # trial 0 stays the best
        assert fetched(server, "/stamp") != stamp
        assert shown("2 trials")
        assert len(made) == 1
        write(run, ["done"] * 3)
        wait_for(lambda: shown("Net 1."))
        assert len(made) == 2
    with serving(run) as server:
        assert "The best net" not in fetched(server, "/main")[1]


def test_a_net_whose_weights_are_not_there_yet_is_looked_for_again(
    run: RunFolder, monkeypatch: Any
) -> None:
    monkeypatch.setattr(live, "SHARE", math.inf)
    found: list[Part] = []
    asked = []

    def measure() -> Part:
        asked.append(len(found))
        if not found:
            raise OSError("no answer")
        return found[-1]

    def shown(text: str) -> bool:
        return text in fetched(server, "/main")[1]

    with serving(run, measure) as server:
        wait_for(lambda: asked and not server._net._thread.is_alive())
        found.append(part_without("no weights"))
        tables.write(run.confirm, [], confirm.KIND.schema)
        wait_for(lambda: shown("It is not shown here: no weights."))
        found.append(net(0))
        tables.write(run.audit, [], audit.KIND.schema)
        wait_for(lambda: shown("Net 0."))
