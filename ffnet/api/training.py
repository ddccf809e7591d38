"""`ffnet.train`, which trains one net from Python."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ffnet.api import notes, one_net
from ffnet.api.run import Run
from ffnet.data.given import as_given
from ffnet.data.load import load
from ffnet.errors import InputError, RunError
from ffnet.run.begin import new_place
from ffnet.run.folder import RunFolder
from ffnet.run.hold import held
from ffnet.run.study_files import read_toml
from ffnet.spec import presets
from ffnet.spec.base import Spec, Values
from ffnet.spec.study import OneNet
from ffnet.spec.validation import did_you_mean, validated
from ffnet.system import environment


def train(
    net: "str | Path | Mapping[str, Any] | OneNet | None" = None,
    *,
    out: str | Path | None = None,
    data: Any = None,
    device: str = "cpu",
    **fields: Any,
) -> Run:
    """Train one net without a tuner, in this process, and return its run.

    TensorFlow's settings in this process do not change. By default TensorFlow uses every CPU. Notes
    about the data are warnings.

    Args:
        net: a TOML file of one net, the name of one of ffnet's own nets ("mnist-dense"), a dict
            with the same values, or a `OneNet`. With None, the defaults.
        out: folder or URI (s3://, gs://) of the results. With None, a new folder in runs/.
        data: arrays (x, y), a DataFrame or Table, or a dict of parts, instead of the data set: see
            `ffnet.data.given`.
        device: "cpu" or "gpu".
        **fields: fields of the net, its training or its data, by name, for example
            hidden_sizes=[256], epochs=5, dataset="mnist". `ffnet train` has a flag for each.

    Returns:
        The run, which has one trial.

    Raises:
        InputError: a field, the data or the folder break a rule; the message says which.
        RunError: the loss diverged, or the run could not be written.

    Example:
        >>> fit = ffnet.train(hidden_sizes=[256], epochs=5, dataset="mnist")
        >>> fit.best()["best_val_accuracy"]
        >>> fit.load().predict(x)
    """
    one = _validated(net, fields)
    if data is not None:
        one = one.model_copy(update={"data": as_given(one.data)})
    if device not in ("cpu", "gpu"):
        raise InputError(f"device must be cpu or gpu. Given: {device}")
    dataset, config = load(one.data, data), one.trial_config()
    notes.warn(dataset, frames=1)
    with environment.restored():
        from ffnet.training import devices, examples, loop, memory, metrics, paths
        from ffnet.training.device_data import DeviceData
        from ffnet.training.trainer import Trainer

    metrics.refuse_undefined(one.metric, dataset.classes, [dataset.validation.y])
    memory.check(config, dataset)
    for line in examples.notes(dataset, [config.net]):
        warnings.warn(line, stacklevel=2)
    with held(RunFolder.at(out or new_place(dataset.name))) as hold, devices.on(device):
        trainer = Trainer(DeviceData(dataset), config)
        trainer.initialize(config)
        config = paths.chosen(config, trainer.features)
        reports = loop.train(trainer, config)
        with one_net.written(one, dataset, devices.threads(), hold) as rows:
            for report in one_net.trained(rows, one, config, trainer, reports):
                last = report
            if one.evaluate_test:
                one_net.tested(rows, trainer)
        if last.diverged:
            raise RunError(
                f"the loss is no longer finite after epoch {last.epoch:g}: lower the learning "
                f"rate; the reports are in {hold.folder}"
            )
    return Run(hold.folder.place)


def _validated(net: Any, fields: Values) -> OneNet:
    source, values = "one net", {}
    if isinstance(net, OneNet):
        values = net.model_dump()
    elif isinstance(net, Mapping):
        values = dict(net)
    elif isinstance(net, str | os.PathLike):
        source = os.fspath(net)
        values = read_toml(presets.nets().get(source) or Path(source))
    elif net is not None:
        raise InputError(
            f"a net is a path, a name, a dict or an ffnet.OneNet. Given: {type(net).__name__}"
        )
    places = _places()
    for name, value in fields.items():
        if name not in places:
            raise InputError(f"a net has no field {name}{did_you_mean(name, places)}")
        section = places[name]
        if section is None:
            values[name] = value
        else:
            values[section] = dict(values.get(section, {})) | {name: value}
    return validated(OneNet, values, source)


def _places() -> dict[str, str | None]:
    """Field → its section; None if it is in no section."""
    found: dict[str, str | None] = {}
    for name, field in OneNet.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Spec):
            found |= dict.fromkeys(field.annotation.model_fields, name)
        else:
            found[name] = None
    return found
