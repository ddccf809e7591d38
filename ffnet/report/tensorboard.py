"""Writes the tables of a run as TensorBoard's event files: scalars, and the HParams dashboard.

A trial's events depend only on its rows and the study, and later rows only add events at the end.
So a second conversion appends the new events, even if the first conversion was interrupted. A
TensorBoard that reads at the same time shows each point once.

TensorBoard keeps the first status that it reads in a folder, so the status is in the folder's name:
00003-running becomes 00003-done. For the same reason, a changed list of hyper-parameters gets a new
folder. Old folders are removed.
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
from ffnet.spec.sections import LOWER_IS_BETTER, METRICS, Tuning

SCALARS = {
    "val_accuracy": "accuracy/validation",
    "val_loss": "loss/validation",
    "val_balanced_accuracy": "balanced_accuracy/validation",
    "val_macro_f1": "macro_f1/validation",
    "val_auc": "auc/validation",
    "train_loss": "loss/train",
}
"""Column of epochs.parquet → TensorBoard's tag."""

BEST = {metric: (f"best/{metric}", min if metric in LOWER_IS_BETTER else max) for metric in METRICS}
"""Metric → (tag of its best value so far, function that gives the better of two values)."""

STATUS = {
    "running": api_pb2.STATUS_RUNNING,
    "done": api_pb2.STATUS_SUCCESS,
    "pruned": api_pb2.STATUS_SUCCESS,
    "diverged": api_pb2.STATUS_FAILURE,
    "failed": api_pb2.STATUS_FAILURE,
    "stopped": api_pb2.STATUS_UNKNOWN,  # neither success nor failure: the study ended first
}
OURS = re.compile(rf"\d{{5,}}-({'|'.join(STATUS)})|hparams-[0-9a-f]{{8}}")
MOST_TEXTS = 20  # with more different texts, the dashboard has no list, but a search


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
        folder: TensorBoard's --logdir. It is created if it does not exist.
        trials: every row of trials.parquet so far. A row needs `trial` and `status`; other
            columns may be absent or None.
        reports: every row of epochs.parquet so far, in any order. A row needs `trial` and `step`.
        tuning: names the study's metric, which comes first in the dashboard.
        hparams: the hyper-parameters that the dashboard shows. With None, all.
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
    """Append missing events to the file in a folder, or begin a new file if the content differs.

    The content differs when a lost trial was trained again, so that its times differ, or when PBT
    changed its hyper-parameters. A TensorBoard that has read the old file replaces the old steps by
    those of the new file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    *older, last = sorted(folder.glob("events.out.tfevents.*")) or [_event_file(folder, 0)]
    have = last.read_bytes() if last.exists() else b""
    if not content.startswith(have):
        older, last, have = [*older, last], _event_file(folder, int(last.suffix[1:]) + 1), b""
    if content != have:
        last.touch()
        with last.open("r+b") as file:  # not in append mode: two conversions may write at once
            file.seek(len(have))
            file.write(content[len(have) :])
    for path in older:
        path.unlink(missing_ok=True)


def _event_file(folder: Path, number: int) -> Path:
    return folder / f"events.out.tfevents.{number:010d}"


# --- events ------------------------------------------------------------------------------------


def _session(row: Row, hparams: Mapping[str, Value], reports: Sequence[Row]) -> Iterator[Event]:
    """The events of a trial: its hyper-parameters and status, then its reports by step."""
    reports = sorted(reports, key=lambda report: report["step"])
    begun = _seconds(row.get("started_at"), *(report.get("reported_at") for report in reports[:1]))
    yield Event(wall_time=begun, file_version="brain.Event:2")
    # After this event, TensorBoard forgets the steps that it has read in an earlier file.
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
    """The events that list the hyper-parameters and metrics of all trials."""
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
    """Best and last figures, named as in trials.parquet. The study's metric comes first."""
    metrics = sorted(BEST, key=lambda metric: metric != tuning.metric)
    for prefix, tags in (("best_", {m: BEST[m][0] for m in BEST}), ("last_", SCALARS)):
        for metric in metrics:
            yield api_pb2.MetricInfo(
                name=api_pb2.MetricName(tag=tags[metric]),
                display_name=prefix + metric,
                dataset_type=api_pb2.DATASET_VALIDATION,
            )


def _hparam_info(name: str, different: Set[Value]) -> api_pb2.HParamInfo:
    """The description of a hyper-parameter, given its different values."""
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
    """An event of the HParams plugin, which has its content in the metadata of an empty tensor."""
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
