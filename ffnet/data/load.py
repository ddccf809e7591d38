"""Finds a data set by its name or path, then reads, checks, splits and standardises it."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import resources
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from ffnet.data import duplicates, features, formats, labels, parquet, rows, split
from ffnet.data import given as from_python
from ffnet.data.dataset import DataSet, Part, refuse_odd
from ffnet.data.encode import encode
from ffnet.data.encoding import Column
from ffnet.data.features import fits_float32
from ffnet.data.leaks import telling
from ffnet.data.raw import Raw, listed
from ffnet.data.scaling import standardized, statistics
from ffnet.data.split import Way
from ffnet.errors import InputError
from ffnet.spec.sections import GIVEN, Data
from ffnet.spec.validation import did_you_mean
from ffnet.system.output import redirected


@dataclass(frozen=True)
class KnownDataSet:
    """A data set that ffnet knows by name.

    Attributes:
        places: its possible paths below a data folder; Keras' names are among them.
        classes: the class names.
        validation, split: defaults of these fields; None stands for the defaults of other sets.
    """

    places: tuple[str, ...]
    classes: tuple[str, ...]
    validation: float | None = None
    split: Way | None = None


DIGITS = tuple("0123456789")
KNOWN = {
    "mnist": KnownDataSet(("mnist", "mnist.npz"), DIGITS),
    "fashion-mnist": KnownDataSet(
        ("fashion-mnist",),
        ("T-shirt/top", "trouser", "pullover", "dress", "coat",
         "sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
    "cifar10": KnownDataSet(
        ("cifar10", "cifar-10-batches-py", "cifar-10-batches-py-target/cifar-10-batches-py",
         "cifar-10-python.tar.gz"),
        ("airplane", "automobile", "bird", "cat", "deer",
         "dog", "frog", "horse", "ship", "truck"),
        validation=1000,
        split="last",
    ),
}  # fmt: skip
PIXELS = np.zeros(1, np.float32), np.full(1, 255, np.float32)
"""Mean 0 and deviation 255: they divide pixels by 255."""


def load(data: Data, given: Any = None) -> DataSet:
    """Load the data set that `data` names, or data from Python; split and standardise it.

    Default validation parts: the last 1,000 training examples of CIFAR-10; a stratified tenth of
    the training part for other sets with a test part. A set without a test part is split into
    70 % training, 15 % validation and 15 % test, stratified.

    Args:
        data: name and place of the data set, and how to split and scale it.
        given: arrays or tables in a form that `ffnet.data.given` lists; `data` must then name no
            data set. With None the data are read from files.

    Raises:
        InputError: the data are not found (the message lists the places searched), or they break
            a rule.

    Example:
        >>> x, y = np.random.normal(size=(100, 4)), np.arange(100) % 2
        >>> load(Data(), (x, y)).describe()
        'given: 70/15/15 train/validation/test, 4, 2 classes'
    """
    return _load(data, given)[0]


def load_raw(data: Data) -> tuple[DataSet, Part]:
    """Load a data set, and its validation part as it stands in the files. Downloads nothing.

    Returns:
        The data set, and the validation part with features that are not standardised. The examples
        of a table with an encoding are a structured array: see `ffnet.data.rows`.

    Raises:
        InputError: as `load`; or the data set would have to be downloaded.

    Example:
        >>> load_raw(Data())[1].x.shape
        (270, 8, 8)
    """
    whole, as_in_files = _load(data, None, download=False)
    return whole, as_in_files()


def _load(data: Data, given: Any, download: bool = True) -> tuple[DataSet, Callable[[], Part]]:
    if given is None:
        raw = _find(data, download)
    else:
        data = from_python.as_given(data)
        raw = from_python.read(given, data)
    if data.group is not None and raw.groups is None:
        raise InputError(
            f"group names a column of a table; {raw.where} is no table. Given: {data.group}"
        )
    formats.refuse_unused_fields(raw, data)
    known = KNOWN.get(data.dataset)
    _refuse_no_columns(raw, data)
    by_column = _is_by_column(raw, data)
    parts, classes = _parts(raw, _class_names(data.dataset, raw.classes), by_column)
    train, validation, test = split.divide(
        parts, data, known.validation if known else None, (known and known.split) or "stratified"
    )
    _refuse_unseen({"validation": validation, "test": test}, train, classes, raw.where)
    divided = {"train": train, "validation": validation, "test": test}
    columns: tuple[Column, ...] | None = None
    if by_column:
        found = encode(raw, {name: part.x[:, 0] for name, part in divided.items()}, data)
        as_in_files = partial(_raw_rows, raw, validation)
        columns, mean, std = found.columns, found.mean, found.std
        divided = {name: replace(part, x=found.x[name]) for name, part in divided.items()}
        train, validation, test = divided.values()
    notes = (*raw.notes, *_few(divided, classes), *duplicates.notes(divided))
    if not columns:
        as_in_files = partial(replace, validation)
    dtype = train.x.dtype
    if columns:
        dtype = np.dtype(np.float64)
    elif dtype == np.uint8:
        mean, std = statistics(train.x) if data.scaling == "standard" else PIXELS
    elif data.scaling == "unit":
        raise InputError("scaling unit divides pixels (uint8) by 255. Given: features")
    else:
        fits = all(fits_float32(part.x) for part in (train, validation, test))
        dtype = np.dtype(np.float32 if fits else np.float64)
        mean, std = statistics(train.x, raw.columns)
        train, validation, test = (
            replace(part, x=standardized(part.x, mean, std)) for part in (train, validation, test)
        )
    whole = DataSet(
        name=data.dataset if known or data.dataset == "digits" else Path(data.dataset).stem,
        train=train,
        validation=validation,
        test=test,
        classes=classes,
        mean=mean,
        std=std,
        source=raw.source,
        digest=raw.digest(),
        dtype=dtype.name,
        columns=raw.columns,
        target=raw.target,
        unused=raw.unused,
        unlabelled=raw.unlabelled,
        max_categories=data.max_categories,
        encoding=columns,
        notes=(*notes, *_warnings(train, raw)),
    )
    return whole, as_in_files


def _raw_rows(raw: Raw, numbers: Part) -> Part:
    return Part(rows.as_in_files(raw, numbers.x[:, 0]), numbers.y)


def _class_names(name: str, given: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the class names of the files, or the usual names of a known set.

    The usual names win if the files have no names, or names that are spelled differently. Files
    with the usual names in another order keep their order.
    """
    if name == "digits":
        return DIGITS
    usual = KNOWN[name].classes if name in KNOWN else None
    if usual and (given is None or (len(given) == len(usual) and set(given) != set(usual))):
        return usual  # the Hugging Face hub spells some names differently
    return given


def _find(data: Data, download: bool) -> Raw:
    if data.dataset == GIVEN:
        raise InputError(
            f"the data of this study were given from Python: give them again, as data=…, to "
            f"ffnet.tune, ffnet.train, Run.confirm or Run.audit. Given: dataset {GIVEN}"
        )
    if data.dataset == "digits":
        with resources.as_file(resources.files("ffnet.data") / "digits.parquet") as path:
            return parquet.read({"train": [path]}, data)
    if data.dataset not in KNOWN:
        return _own(data)
    root = _named_root(data)
    places = [
        r / place
        for r in ([root] if root else [_keras_cache()])
        for place in KNOWN[data.dataset].places
    ]
    for place in places:
        raw = formats.read(place, data) if place.exists() else None
        if raw:
            return raw
    if root:
        raise InputError(
            f"{data.dataset} must lie in the data folder that --data-dir or FFNET_DATA names; "
            f"searched: {', '.join(map(str, places))}; without --data-dir and FFNET_DATA Keras "
            f"downloads it"
        )
    if not download:
        raise InputError(f"{data.dataset} was not found; searched: {', '.join(map(str, places))}")
    return _download(data.dataset, places)


def _own(data: Data) -> Raw:
    """Read a data set that ffnet does not know by name: `dataset` is a path."""
    path = _expanded(data.dataset)
    # Without --data-dir a relative path may start here or in $FFNET_DATA.
    places = [path] if data.data_dir is None else []
    if data.data_dir is not None or not path.is_absolute():
        root = _named_root(data)
        places += [root / path] if root else []
    found = [place for place in places if place.exists()]
    if len(found) > 1 and not found[0].samefile(found[1]):
        raise InputError(
            f"dataset {data.dataset!r} must be in one place. Given: {found[0].absolute()} and "
            f"{found[1]} (FFNET_DATA); give the whole path"
        )
    if not found:
        raise InputError(
            f"dataset {data.dataset!r} is neither a path nor one of: digits, {', '.join(KNOWN)}"
            f"{did_you_mean(data.dataset, ['digits', *KNOWN])}; "
            f"searched: {', '.join(map(str, places))}"
        )
    raw = formats.read(found[0], data)
    if raw is None:
        raise InputError(
            f"{found[0]}: holds no CSV, Parquet, Arrow, npz, npy, IDX or CIFAR-10 batch files and "
            f"no folders of images"
        )
    return raw


def _expanded(place: str) -> Path:
    try:
        return Path(place).expanduser()
    except RuntimeError:
        raise InputError(f"~ must stand for an existing user's folder. Given: {place}") from None


def _named_root(data: Data) -> Path | None:
    """Return the data folder: data_dir, else $FFNET_DATA, else None.

    Raises:
        InputError: it is not a folder.
    """
    field, named = "data_dir", data.data_dir
    if named is None:
        field, named = "FFNET_DATA", os.environ.get("FFNET_DATA") or None
    if named is None:
        return None
    root = _expanded(named)
    if not root.is_dir():
        raise InputError(f"{field} must be a folder. Given: {named}")
    return root


def _keras_cache() -> Path:
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "datasets"


def _download(name: str, searched: list[Path]) -> Raw:
    """Let Keras download a data set into its cache, then read it there."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with redirected(Path(os.devnull), 1, 2):  # TensorFlow's greetings and Keras' progress bar
            from tensorflow import keras  # takes seconds to import and is only needed here

            getattr(keras.datasets, name.replace("-", "_")).load_data()
    except Exception as error:  # Keras raises a bare Exception for a failed download
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{name} was not found and could not be downloaded ({reason}); searched: "
            f"{', '.join(map(str, searched))}; put it in one of these places, or name its folder "
            f"with --data-dir or FFNET_DATA"
        ) from None
    for place in (_keras_cache() / p for p in KNOWN[name].places):
        raw = formats.read(place, Data(dataset=name)) if place.exists() else None
        if raw:
            return raw
    raise InputError(f"Keras downloaded {name} but not to {_keras_cache()}: set KERAS_HOME")


def _parts(
    raw: Raw, names: tuple[str, ...] | None, by_column: bool
) -> tuple[dict[str, Part], tuple[str, ...]]:
    """Check the parts and turn labels into class numbers. Returns parts and class names."""
    where = raw.where
    found = {}
    for part, (x, y) in raw.parts.items():
        of_part = f"{where} ({part})"
        refuse_odd(x, len(y), of_part)
        read = labels.from_array(np.asarray(y), of_part)
        labels.refuse_missing(read, of_part)  # some readers do not check this
        found[part] = read.values
    numbered, classes = labels.numbered(found, names, where)
    if by_column:  # rows are split by their numbers, and the columns are encoded after that
        starts = accumulate(map(len, numbered.values()), initial=0)
        return {
            part: Part(
                np.arange(start, start + len(y))[:, None],
                y,
                None if raw.groups is None else raw.groups[part],
            )
            for start, (part, y) in zip(starts, numbered.items(), strict=False)
        }, classes
    pixels = all(x.dtype == np.uint8 for x, _ in raw.parts.values())
    parts = {
        part: Part(
            x if pixels else features.as_floats(x, where),
            numbered[part],
            None if raw.groups is None else raw.groups[part],
        )
        for part, (x, _) in raw.parts.items()
    }
    shapes = {part: p.x.shape[1:] for part, p in parts.items()}
    if len(set(shapes.values())) > 1:
        raise InputError(f"{where}: parts must have examples of one shape. Given: {shapes}")
    return parts, classes


def _few(parts: dict[str, Part], classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return a sentence about the classes of up to `split.FEW` examples, if there are any."""
    y = np.concatenate([part.y for part in parts.values()])
    counts = np.bincount(y, minlength=len(classes))
    few = [f"{name} ({n})" for name, n in zip(classes, counts, strict=True) if 0 < n <= split.FEW]
    if not few:
        return ()
    told = "at least one is in the training part, and no figure says how well a net knows them"
    return (f"classes with only one or two examples: {listed(few)}; {told}",)


def _is_by_column(raw: Raw, data: Data) -> bool:
    """Whether the data set gets an encoding.

    Raises:
        InputError: the scaling is for columns of a table, and there are none.
    """
    wanted = data.scaling in ("robust", "quantile")
    if wanted and raw.columns is None:
        raise InputError(
            f"scaling {data.scaling} is for the columns of a table; {raw.where} has none. Use "
            f"standard, or give a table"
        )
    return raw.is_mixed or wanted


def _refuse_no_columns(raw: Raw, data: Data) -> None:
    """Raise InputError if the study names columns, but the data have none."""
    for field in ("drop", "categorical", "numeric"):
        if getattr(data, field) and raw.columns is None:
            raise InputError(
                f"{field} must be left out: the examples of {raw.where} are not columns of a "
                f"table. Given: {listed(getattr(data, field))}"
            )


def _warnings(train: Part, raw: Raw) -> list[str]:
    """Return warnings about the columns of the training part."""
    if raw.columns is None:
        return []
    return [
        f"column {listed([raw.columns[i]])} alone tells the class of every training example; leave "
        f"it out with drop if it is known only after the class is"
        for i in telling(train)
    ]


def _refuse_unseen(
    parts: dict[str, Part], train: Part, classes: tuple[str, ...], where: str
) -> None:
    """Raise InputError if a class of another part has no training example: no net can learn it."""
    learnt = np.bincount(train.y, minlength=len(classes)) > 0
    for name, part in parts.items():
        unseen = np.unique(part.y[~learnt[part.y]])
        if len(unseen):
            raise InputError(
                f"{where}: each class needs an example in the training part. Given: "
                f"{listed(classes[i] for i in unseen)} in {name} only; split with "
                f"split = stratified, or correct the data"
            )
