"""The tables of a run as TensorBoard's event files: scalars, and the HParams dashboard.

A trial's events follow from its rows alone, and rows that come later only add to their end. So
converting again appends what is new, wherever the last conversion ended or was cut off, and a
TensorBoard that reads meanwhile shows each point once.

Of a status and of the list of hyper-parameters TensorBoard keeps the first that it reads in a
folder. So folders are named after them, 00003-running and later 00003-done, and one that is out
of date is removed.
"""

import io
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
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

from ffnet.run import tables
from ffnet.run.folder import RunFolder
from ffnet.run.ranking import tuning_of
from ffnet.run.study_files import read_study
from ffnet.run.tables import Row
from ffnet.spec.study import Tuning

SCALARS = {
    "val_accuracy": ("accuracy/validation", api_pb2.DATASET_VALIDATION),
    "val_loss": ("loss/validation", api_pb2.DATASET_VALIDATION),
    "train_loss": ("loss/train", api_pb2.DATASET_TRAINING),
}
"""Column of epochs.parquet → TensorBoard's tag, and the data that it is measured on."""

STATUS = {
    "running": api_pb2.STATUS_RUNNING,
    "done": api_pb2.STATUS_SUCCESS,
    "pruned": api_pb2.STATUS_SUCCESS,
    "diverged": api_pb2.STATUS_FAILURE,
    "failed": api_pb2.STATUS_FAILURE,
    "stopped": api_pb2.STATUS_UNKNOWN,  # neither: the study ended first
}
OURS = re.compile(rf"\d{{5,}}-({'|'.join(STATUS)})|hparams-[0-9a-f]{{8}}")
MOST_TEXTS = 20  # different ones that the dashboard offers one by one; else a search


def convert(run: RunFolder) -> None:
    """Bring a run's event files up to its tables. Raises InputError when one cannot be read."""
    tuning = tuning_of(read_study(str(run.study)), str(run.study))
    write_run(run.tensorboard, tables.read(run.trials), tables.read(run.epochs), tuning)


def write_run(folder: Path, trials: Sequence[Row], reports: Iterable[Row], tuning: Tuning) -> None:
    """Bring the event files below a folder up to the rows.

    Args:
        folder: TensorBoard's --logdir; made when absent.
        trials: every row of trials.parquet so far. A row needs `trial` and `status`; other
            columns may be absent or None.
        reports: every row of epochs.parquet so far, in any order. A row needs `trial` and `step`.
        tuning: names the metric that trials are judged by, the first in the dashboard.
    """
    of_trial = defaultdict(list)
    for report in reports:
        of_trial[report["trial"]].append(report)
    hparams = _records(_experiment(trials, tuning))
    contents = {f"hparams-{crc32(hparams):08x}": hparams}
    for row in trials:
        name = f"{row['trial']:05d}-{row['status']}"
        contents[name] = _records(_session(row, of_trial[row["trial"]], tuning))
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
    """Append what the event file in a folder lacks, or begin another if it holds something else.

    It does when a lost trial was begun again and measured other times, or when its
    hyper-parameters changed while it ran. In a TensorBoard that has read the file before, the
    later one takes the place of its steps.
    """
    folder.mkdir(parents=True, exist_ok=True)
    *older, last = sorted(folder.glob("events.out.tfevents.*")) or [_event_file(folder, 0)]
    have = last.read_bytes() if last.exists() else b""
    if not content.startswith(have):
        older, last, have = [*older, last], _event_file(folder, int(last.suffix[1:]) + 1), b""
    if content != have:
        last.touch()
        with last.open("r+b") as file:  # not to append: another conversion may be at it too
            file.seek(len(have))
            file.write(content[len(have) :])
    for path in older:
        path.unlink(missing_ok=True)


def _event_file(folder: Path, number: int) -> Path:
    return folder / f"events.out.tfevents.{number:010d}"


# --- events ------------------------------------------------------------------------------------


def _session(row: Row, reports: Sequence[Row], tuning: Tuning) -> Iterator[Event]:
    """A trial: its hyper-parameters and status, then its reports by step."""
    reports = sorted(reports, key=lambda report: report["step"])
    begun = _seconds(row.get("started_at"), *(report.get("reported_at") for report in reports[:1]))
    yield Event(wall_time=begun, file_version="brain.Event:2")
    # A restart: the steps of an earlier file are to be forgotten.
    yield Event(wall_time=begun, session_log=SessionLog(status=SessionLog.START))
    start = SessionStartInfo(start_time_secs=begun)
    for name, value in _hyperparameters(row).items():
        kind = {bool: "bool_value", str: "string_value"}.get(type(value), "number_value")
        setattr(start.hparams[name], kind, value)
    yield _hparams_event(metadata.SESSION_START_INFO_TAG, begun, session_start_info=start)
    ended = _seconds(row.get("ended_at"))
    end = SessionEndInfo(status=STATUS[row["status"]], end_time_secs=ended)
    yield _hparams_event(metadata.SESSION_END_INFO_TAG, begun, session_end_info=end)
    best: float | None = None
    better = max if tuning.mode == "max" else min
    for report in reports:
        scalars = [
            Summary.Value(tag=tag, simple_value=report[column])
            for column, (tag, _) in SCALARS.items()
            if report.get(column) is not None
        ]
        # The dashboard shows a tag's last value; the table's rank is by the best one.
        if (score := report.get(tuning.metric)) is not None:
            best = score if best is None else better(best, score)
            scalars.append(Summary.Value(tag=_best_tag(tuning), simple_value=best))
        yield Event(
            wall_time=_seconds(report.get("reported_at")),
            step=report["step"],
            summary=Summary(value=scalars),
        )


def _best_tag(tuning: Tuning) -> str:
    """The tag of the best value so far of the metric: the column of the table at the end."""
    return f"best/{tuning.metric}"


def _experiment(trials: Sequence[Row], tuning: Tuning) -> Iterator[Event]:
    """All trials: which hyper-parameters and metrics there are."""
    begun = min((_seconds(row.get("started_at")) for row in trials), default=0.0)
    values = defaultdict(set)
    for row in trials:
        for name, value in _hyperparameters(row).items():
            values[name].add(value)
    experiment = api_pb2.Experiment(
        time_created_secs=begun,
        hparam_infos=[_hparam_info(name, sorted(values[name])) for name in values],
        metric_infos=[
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), dataset_type=measured_on)
            for tag, measured_on in (
                (_best_tag(tuning), api_pb2.DATASET_VALIDATION),
                *SCALARS.values(),
            )
        ],
    )
    yield Event(wall_time=begun, file_version="brain.Event:2")
    yield _hparams_event(metadata.EXPERIMENT_TAG, begun, experiment=experiment)


def _hparam_info(name: str, values: Sequence[Any]) -> api_pb2.HParamInfo:
    """A hyper-parameter of these different values, which are ascending and of one type."""
    info = api_pb2.HParamInfo(name=name, differs=len(values) > 1)
    if isinstance(values[0], bool):
        info.type = api_pb2.DATA_TYPE_BOOL
        info.domain_discrete.extend(values)
    elif isinstance(values[0], str):
        info.type = api_pb2.DATA_TYPE_STRING
        info.domain_discrete.extend(values if len(values) <= MOST_TEXTS else ())
    else:
        info.type = api_pb2.DATA_TYPE_FLOAT64
        info.domain_interval.min_value, info.domain_interval.max_value = values[0], values[-1]
    return info


def _hparams_event(tag: str, wall_time: float, **content: Any) -> Event:
    """An event of the HParams plugin, which keeps its content beside an empty tensor."""
    data = HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content)
    plugin_data = SummaryMetadata.PluginData(
        plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString(deterministic=True)
    )
    value = Summary.Value(
        tag=tag, metadata=SummaryMetadata(plugin_data=plugin_data), tensor=metadata.NULL_TENSOR
    )
    return Event(wall_time=wall_time, summary=Summary(value=[value]))


def _hyperparameters(row: Row) -> dict[str, bool | float | str]:
    """Those that the row has, in the types that TensorBoard knows: 512-256 for a list."""
    values = {name: row.get(name) for name in tables.HYPERPARAMETERS}
    return {
        name: "-".join(map(str, value)) or "none" if isinstance(value, list | tuple) else value
        for name, value in values.items()
        if value is not None
    }


def _seconds(*times: datetime | None) -> float:
    """The first time that is known, in seconds since 1970; 0 when none is."""
    return next((time.timestamp() for time in times if time), 0.0)
