"""Exports a run to an MLflow tracking server or database, through MLflow's own client.

The study is an experiment, the run is a parent run in it, and each trial is a child of that. Runs
that did not go well are easy to leave out, as MLflow has a status for them: a pruned or stopped
trial is KILLED, a diverged or failed trial is FAILED. MLflow's own export of Optuna does the same.
"""

import itertools
import logging
import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from ffnet.errors import InputError
from ffnet.report.tools.places import (
    Progress,
    already_there,
    check_database,
    in_one_line,
    needs,
    without_password,
)
from ffnet.report.tools.tracked import Tracked, Trial
from ffnet.run.tables import Status

STATUSES = {
    Status.RUNNING: "RUNNING",
    Status.DONE: "FINISHED",
    Status.PRUNED: "KILLED",
    Status.STOPPED: "KILLED",
    Status.DIVERGED: "FAILED",
    Status.FAILED: "FAILED",
}
"""A trial's status → the status of its run in MLflow, which has fewer of them."""

MOST_METRICS, MOST_PARAMS = 900, 100
"""What MLflow takes in one request: a hundred parameters, and a thousand things in all."""

MOST_TEXT = 5000
"""Characters of a parameter or tag that every version of MLflow takes."""

DATABASES = ("sqlite:", "mysql", "mssql", "postgresql")
"""How the URI of a database begins that MLflow's client writes to without a server."""

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # by default, MLflow tries for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
"""Environment variables of MLflow that are set unless the user has set them."""


def to_mlflow(run: Tracked, uri: str, name: str, progress: Progress) -> str:
    """Write a run to MLflow.

    Args:
        run: the run.
        uri: the tracking URI: http(s)://HOST:PORT of a server, or sqlite:///FILE.
        name: the name of the parent run.
        progress: is called after each trial.

    Returns:
        Lines for the user: where the run is now, and how to see it.

    Raises:
        InputError: MLflow is not installed, the URI is wrong, or it has a parent run of that name.
        RunError: MLflow could not be reached, or refused something. What had been written is
            removed if MLflow still answers.
    """
    for setting, value in SETTINGS.items():
        os.environ.setdefault(setting, value)
    with needs("mlflow"):
        from mlflow import MlflowClient
    for logger in ("mlflow", "alembic"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    if uri.startswith(DATABASES):
        check_database("--to-mlflow", uri)
    with in_one_line(uri):
        client = MlflowClient(tracking_uri=uri)
        experiment = _experiment(client, run.study)
        if any(found.info.run_name == name for found in _parents(client, experiment)):
            raise already_there(name, f"MLflow's experiment {run.study}")
        with _undone_on_failure(client) as made:
            _write(_Writer(client, experiment, made), run, name, progress)
    place = without_password(uri)
    where = f"MLflow: experiment {run.study}, run {name}, in {place}"
    if uri.startswith(("http://", "https://")):
        return where
    return f"{where}\nnext:   mlflow server --backend-store-uri {shlex.quote(place)}"


def _experiment(client: Any, name: str) -> str:
    """The number of the experiment, which is created if there is none."""
    if (found := client.get_experiment_by_name(name)) is None:
        return str(client.create_experiment(name))
    if found.lifecycle_stage != "active":
        raise InputError(
            f"MLflow's experiment {name} was deleted there: restore it, or remove it for good "
            f"with `mlflow gc`"
        )
    return str(found.experiment_id)


def _parents(client: Any, experiment: str) -> Iterator[Any]:
    """The runs of the experiment that ffnet has exported, without their trials."""
    token = None
    while True:
        page = client.search_runs([experiment], "tags.`ffnet.kind` = 'run'", page_token=token)
        yield from page
        if not (token := page.token):
            return


@contextmanager
def _undone_on_failure(client: Any) -> Iterator[list[str]]:
    """Yields a list for the runs that the block creates. They are deleted if the block fails."""
    made: list[str] = []
    try:
        yield made
    except BaseException:
        with suppress(Exception):  # the server may not answer any more
            for run in made:
                client.delete_run(run)
        raise


class _Writer:
    """Creates runs in an experiment."""

    def __init__(self, client: Any, experiment: str, made: list[str]) -> None:
        self._client, self._experiment, self._made = client, experiment, made

    def begin(self, name: str, begun: datetime | None, tags: dict[str, str]) -> str:
        """Create a run. Returns its identity."""
        run = self._client.create_run(
            self._experiment,
            start_time=_milliseconds(begun),
            tags={key: value[:MOST_TEXT] for key, value in tags.items()},
            run_name=name,
        )
        self._made.append(run.info.run_id)
        return str(run.info.run_id)

    def log(self, run: str, params: dict[str, Any], metrics: list[Any]) -> None:
        """Write the parameters and metrics of a run."""
        from mlflow.entities import Param

        texts = [Param(key, _text(value)[:MOST_TEXT]) for key, value in params.items()]
        batches = _batches(texts, MOST_PARAMS), _batches(metrics, MOST_METRICS)
        for some in itertools.zip_longest(*batches, fillvalue=()):
            self._client.log_batch(run, params=some[0], metrics=some[1])

    def end(self, run: str, status: str, ended: datetime | None) -> None:
        """Give a run its final status. A run that has not ended keeps the status RUNNING."""
        if status != "RUNNING":
            self._client.set_terminated(run, status=status, end_time=_milliseconds(ended))


def _write(writer: _Writer, run: Tracked, name: str, progress: Progress) -> None:
    tags = {"ffnet.kind": "run", **run.tags}
    parent = writer.begin(name, run.begun, tags)
    writer.log(parent, run.params, _metrics(run.metrics, 0, run.ended or run.begun))
    for done, trial in enumerate(run.trials, 1):
        tags = {"ffnet.kind": "trial", "mlflow.parentRunId": parent, **trial.tags}
        child = writer.begin(f"trial {trial.number}", trial.begun, tags)
        writer.log(child, trial.params, _of_trial(trial))
        writer.end(child, STATUSES[trial.status], trial.ended)
        progress(done, len(run.trials))
    running = Status.RUNNING in run.counts()
    writer.end(parent, "RUNNING" if running else "FINISHED", run.ended)


def _of_trial(trial: Trial) -> list[Any]:
    """The metrics of a trial: those of its reports, then its final figures at the last step."""
    last = trial.reports[-1].step if trial.reports else 0
    return [
        metric
        for report in trial.reports
        for metric in _metrics(report.metrics, report.step, report.at)
    ] + _metrics(trial.metrics, last, trial.ended or trial.begun)


def _metrics(values: dict[str, float], step: int, at: datetime | None) -> list[Any]:
    from mlflow.entities import Metric

    time = _milliseconds(at) or 0
    return [Metric(key, float(value), time, step) for key, value in values.items()]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _batches(values: list[Any], size: int) -> Iterable[list[Any]]:
    return (values[at : at + size] for at in range(0, len(values), size))


def _milliseconds(time: datetime | None) -> int | None:
    return round(time.timestamp() * 1000) if time else None
