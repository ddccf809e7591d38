"""The tables of a run as TensorBoard's event files: scalars, and the HParams dashboard.

A trial's events follow from its rows and the study alone, and later rows only add events at the
end. So a second conversion appends what is new, even where the first one was cut off, and a
TensorBoard that reads meanwhile shows each point once.

TensorBoard keeps the first status, and the first list of hyper-parameters, that it reads in a
folder. So each status has a folder of its own, 00003-running and later 00003-done, and so has each
list; a folder that is out of date is removed.
"""

import io
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import datetime
from pathlib import Path
from typing import Any
from zlib import crc32

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import (
    HParamsPluginData,
    SessionEndInfo,
    SessionStartInfo,
)
from tensorboard.summary.writer.record_writer import RecordWriter

from ffnet.report.hparams import HParams, Value, of_study
from ffnet.run import tables
from ffnet.run.folder import RunFolder
from ffnet.run.ranking import tuning_of
from ffnet.run.study_files import read_study
from ffnet.run.tables import Row
from ffnet.spec.sections import Tuning

SCALARS = {
    "val_accuracy": "accuracy/validation",
    "val_loss": "loss/validation",
    "train_loss": "loss/train",
}
"""Column of epochs.parquet → TensorBoard's tag."""

BEST = {"val_accuracy": ("best/val_accuracy", max), "val_loss": ("best/val_loss", min)}
"""Metric → the tag of its best value so far, and which of two values is the better one."""

STATUS = {
    "running": api_pb2.STATUS_RUNNING,
    "done": api_pb2.STATUS_SUCCESS,
    "pruned": api_pb2.STATUS_SUCCESS,
    "diverged": api_pb2.STATUS_FAILURE,
    "failed": api_pb2.STATUS_FAILURE,
    "stopped": api_pb2.STATUS_UNKNOWN,  # neither success nor failure: the study ended first
}
OURS = re.compile(rf"\d{{5,}}-({'|'.join(STATUS)})|hparams-[0-9a-f]{{8}}")
MOST_TEXTS = 20  # the dashboard lists at most so many different texts; else it offers a search


def convert(run: RunFolder) -> None:
    """Bring a run's event files up to its tables. Raises InputError when one cannot be read."""
    place = str(run.study)
    study = read_study(place)
    trials, reports = tables.read(run.trials), tables.read(run.epochs)
    tuning, hparams = tuning_of(study, place), of_study(study, place)
    write_run(run.tensorboard, trials, reports, tuning, hparams)


def write_run(
    folder: Path,
    trials: Sequence[Row],
    reports: Iterable[Row],
    tuning: Tuning,
    hparams: HParams | None = None,
) -> None:
    """Bring the event files below a folder up to the rows.

    Args:
        folder: TensorBoard's --logdir. It is made when it is absent.
        trials: every row of trials.parquet so far. A row needs `trial` and `status`; other
            columns may be absent or None.
        reports: every row of epochs.parquet so far, in any order. A row needs `trial` and `step`.
        tuning: names the metric that trials are judged by, the first in the dashboard.
        hparams: the hyper-parameters that the dashboard shows. With None it shows all.
    """
    of_trial = defaultdict(list)
    for report in reports:
        of_trial[report["trial"]].append(report)
    values = [(hparams or HParams()).of(row) for row in trials]
    experiment = _records(_experiment(trials, values, tuning))
    contents = {f"hparams-{crc32(experiment):08x}": experiment}
    for row, own in zip(trials, values, strict=True):
        name = f"{row['trial']:05d}-{row['status']}"
        contents[name] = _records(_session(row, own, of_trial[row["trial"]]))
    for name, content in contents.items():
        _bring_up_to(folder / name, content)
    for path in folder.iterdir():
        if OURS.fullmatch(path.name) and path.name not in contents:
            shutil.rmtree(path, ignore_errors=True)


def _records(events: Iterable[Event]) -> bytes:
    file = io.BytesIO()
    writer = RecordWriter(file)
    for event in events:
        writer.write(event.SerializeToString(deterministic=True))
    return file.getvalue()


def _bring_up_to(folder: Path, content: bytes) -> None:
    """Append what the event file in a folder lacks, or begin another file if the content differs.

    The content differs when a lost trial was trained again and its times are others, or when its
    hyper-parameters changed while it ran (PBT). A TensorBoard that has read the old file replaces
    its steps by those of the new one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    *older, last = sorted(folder.glob("events.out.tfevents.*")) or [_event_file(folder, 0)]
    have = last.read_bytes() if last.exists() else b""
    if not content.startswith(have):
        older, last, have = [*older, last], _event_file(folder, int(last.suffix[1:]) + 1), b""
    if content != have:
        last.touch()
        with last.open("r+b") as file:  # no append mode: another conversion may write at once
            file.seek(len(have))
            file.write(content[len(have) :])
    for path in older:
        path.unlink(missing_ok=True)


def _event_file(folder: Path, number: int) -> Path:
    return folder / f"events.out.tfevents.{number:010d}"


# --- events ------------------------------------------------------------------------------------


def _session(row: Row, hparams: Mapping[str, Value], reports: Sequence[Row]) -> Iterator[Event]:
    """A trial: its hyper-parameters and status, then its reports by step."""
    reports = sorted(reports, key=lambda report: report["step"])
    begun = _seconds(row.get("started_at"), *(report.get("reported_at") for report in reports[:1]))
    yield Event(wall_time=begun, file_version="brain.Event:2")
    # A restart: TensorBoard forgets the steps that it has read in an earlier file.
    yield Event(wall_time=begun, session_log=SessionLog(status=SessionLog.START))
    start = SessionStartInfo(start_time_secs=begun)
    for name, value in hparams.items():
        kind = {bool: "bool_value", str: "string_value"}.get(type(value), "number_value")
        setattr(start.hparams[name], kind, value)
    yield _hparams_event(metadata.SESSION_START_INFO_TAG, begun, session_start_info=start)
    ended = _seconds(row.get("ended_at"))
    end = SessionEndInfo(status=STATUS[row["status"]], end_time_secs=ended)
    yield _hparams_event(metadata.SESSION_END_INFO_TAG, begun, session_end_info=end)
    best: dict[str, float] = {}
    for report in reports:
        measured = {name: report[name] for name in SCALARS if report.get(name) is not None}
        scalars = [(SCALARS[name], number) for name, number in measured.items()]
        # The dashboard shows the last value of a tag, so the best value so far has its own tag.
        for metric, (tag, better) in BEST.items():
            if metric in measured:
                best[metric] = better(best.get(metric, measured[metric]), measured[metric])
                scalars.append((tag, best[metric]))
        values = [Summary.Value(tag=tag, simple_value=number) for tag, number in scalars]
        yield Event(
            wall_time=_seconds(report.get("reported_at")),
            step=report["step"],
            summary=Summary(value=values),
        )


def _experiment(
    trials: Sequence[Row], hparams: Sequence[Mapping[str, Value]], tuning: Tuning
) -> Iterator[Event]:
    """All trials: which hyper-parameters and metrics there are."""
    begun = min((_seconds(row.get("started_at")) for row in trials), default=0.0)
    values = defaultdict(set)
    for own in hparams:
        for name, value in own.items():
            values[name].add(value)
    experiment = api_pb2.Experiment(
        time_created_secs=begun,
        hparam_infos=[_hparam_info(name, values[name]) for name in values],
        metric_infos=list(_metric_infos(tuning)),
    )
    yield Event(wall_time=begun, file_version="brain.Event:2")
    yield _hparams_event(metadata.EXPERIMENT_TAG, begun, experiment=experiment)


def _metric_infos(tuning: Tuning) -> Iterator[api_pb2.MetricInfo]:
    """Best and last figures, named as in trials.parquet; first the metric that the study judges."""
    metrics = sorted(BEST, key=lambda metric: metric != tuning.metric)
    for prefix, tags in (("best_", {m: BEST[m][0] for m in BEST}), ("last_", SCALARS)):
        for metric in metrics:
            yield api_pb2.MetricInfo(
                name=api_pb2.MetricName(tag=tags[metric]),
                display_name=prefix + metric,
                dataset_type=api_pb2.DATASET_VALIDATION,
            )


def _hparam_info(name: str, different: Set[Value]) -> api_pb2.HParamInfo:
    """The description of a hyper-parameter that has these different values."""
    info = api_pb2.HParamInfo(name=name, differs=len(different) > 1)
    if any(isinstance(value, str) for value in different):
        info.type = api_pb2.DATA_TYPE_STRING
        info.domain_discrete.extend(
            sorted(map(str, different)) if len(different) <= MOST_TEXTS else ()
        )
    elif any(isinstance(value, bool) for value in different):
        info.type = api_pb2.DATA_TYPE_BOOL
        info.domain_discrete.extend(sorted(different))
    else:
        info.type = api_pb2.DATA_TYPE_FLOAT64
        info.domain_interval.min_value = min(different)
        info.domain_interval.max_value = max(different)
    return info


def _hparams_event(tag: str, wall_time: float, **content: Any) -> Event:
    """An event of the HParams plugin. The plugin keeps its content beside an empty tensor."""
    data = HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content)
    plugin_data = SummaryMetadata.PluginData(
        plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString(deterministic=True)
    )
    value = Summary.Value(
        tag=tag, metadata=SummaryMetadata(plugin_data=plugin_data), tensor=metadata.NULL_TENSOR
    )
    return Event(wall_time=wall_time, summary=Summary(value=[value]))


def _seconds(*times: datetime | None) -> float:
    """The first time that is not None, in seconds since 1970; 0 when all are None."""
    return next((time.timestamp() for time in times if time), 0.0)
