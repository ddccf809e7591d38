"""Loads a data set: finds and reads it, then checks, splits and scales it."""

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from ffnet.data import duplicates, features, find, formats, labels, rows, split, untaught
from ffnet.data import given as from_python
from ffnet.data.by_column import ByColumn
from ffnet.data.coded import Coded
from ffnet.data.dataset import DataSet, Part, refuse_odd
from ffnet.data.encode import encode
from ffnet.data.encoding import Column
from ffnet.data.features import fits_float32
from ffnet.data.leaks import telling
from ffnet.data.raw import Array, Raw, listed
from ffnet.data.scaling import standardized, statistics
from ffnet.errors import InputError
from ffnet.spec.sections import Data

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


def load_raw(data: Data, given: Any = None) -> tuple[DataSet, Part]:
    """Load a data set, and its validation part as it stands in the files. Downloads nothing.

    Args:
        data: name and place of the data set, as for `load`.
        given: data from Python, as for `load`.

    Returns:
        The data set, and the validation part with features that are not standardised. The examples
        of a table with an encoding are a structured array: see `ffnet.data.rows`.

    Raises:
        InputError: as `load`; or the data set would have to be downloaded.

    Example:
        >>> load_raw(Data())[1].x.shape
        (270, 8, 8)
    """
    whole, as_in_files = _load(data, given, download=False)
    return whole, as_in_files()


def _load(data: Data, given: Any, download: bool = True) -> tuple[DataSet, Callable[[], Part]]:
    if given is None:
        raw = find.find(data, download)
    else:
        data = from_python.as_given(data)
        raw = from_python.read(given, data)
    if data.group is not None and raw.groups is None:
        raise InputError(
            f"group names a column of a table; {raw.where} is no table. Given: {data.group}"
        )
    formats.refuse_unused_fields(raw, data)
    known = find.KNOWN.get(data.dataset)
    _refuse_no_columns(raw, data)
    with_columns = _has_encoding(raw, data)
    raw = raw if with_columns else _with_pixels(raw)
    by_column = isinstance(raw.parts["train"][0], ByColumn)
    parts, classes = _parts(raw, find.class_names(data.dataset, raw.classes), by_column)
    train, validation, test = split.divide(
        parts, data, known.validation if known else None, (known and known.split) or "stratified"
    )
    _refuse_unseen({"validation": validation, "test": test}, train, classes, raw)
    divided = {"train": train, "validation": validation, "test": test}
    in_files, columns = validation, None
    if by_column:
        of_parts = {name: part.x[:, 0] for name, part in divided.items()}
        found = encode(raw, of_parts, data, with_columns)
        columns, mean, std, dtype = found.columns, found.mean, found.std, found.dtype
        train, validation, test = (replace(p, x=found.x[name]) for name, p in divided.items())
        hashes = found.hashes
    else:
        hashes = {name: duplicates.hashes(part.x) for name, part in divided.items()}
        (train, validation, test), mean, std, dtype = _scaled((train, validation, test), data, raw)
    copies = duplicates.notes(hashes)
    scaled = {"train": train, "validation": validation, "test": test}
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
        dtype=dtype,
        columns=raw.columns,
        target=raw.target,
        unused=raw.unused,
        unlabelled=raw.unlabelled,
        max_categories=data.max_categories,
        encoding=columns,
        notes=(
            *raw.notes,
            *_few(divided, classes),
            *copies,
            *_warnings(scaled, raw, columns),
            *_without_effect(data, scaled, columns),
        ),
    )

    def as_in_files() -> Part:
        if not by_column:
            return in_files
        at = in_files.x[:, 0]
        x = rows.as_in_files(raw, at) if with_columns else raw.features().rows(at)
        return Part(x, in_files.y)

    return whole, as_in_files


def _with_pixels(raw: Raw) -> Raw:
    """Return the data with bytes as arrays, if the columns of a table hold only bytes."""
    if any(not isinstance(x, ByColumn) or x.dtype != np.uint8 for x, _ in raw.parts.values()):
        return raw
    return replace(raw, parts={part: (x.rows(), y) for part, (x, y) in raw.parts.items()})


def _scaled(
    parts: tuple[Part, Part, Part], data: Data, raw: Raw
) -> tuple[tuple[Part, ...], Array, Array, str]:
    """Return parts that are no columns of an encoding, mean and std, and the dtype of the files."""
    train = parts[0]
    if train.x.dtype == np.uint8:
        mean, std = statistics(train.x) if data.scaling == "standard" else PIXELS
        return parts, mean, std, "uint8"
    if data.scaling == "unit":
        raise InputError("scaling unit divides pixels (uint8) by 255. Given: features")
    fits = all(fits_float32(part.x) for part in parts)
    mean, std = statistics(train.x, raw.cell)
    scaled = (replace(part, x=standardized(part.x, mean, std, raw.cell)) for part in parts)
    return tuple(scaled), mean, std, "float32" if fits else "float64"


def _parts(
    raw: Raw, names: tuple[str, ...] | None, by_column: bool
) -> tuple[dict[str, Part], tuple[str, ...]]:
    """Check the parts and turn labels into class numbers. Returns parts and class names."""
    found: dict[str, Any] = {}
    for part, (x, y) in raw.parts.items():
        origin, _ = raw.origin(part)
        refuse_odd(x, len(y), origin.x)
        if isinstance(y, Coded):
            found[part] = y
            continue
        read = labels.from_array(np.asarray(y), origin.y)
        labels.refuse_missing(read, origin.y)  # some readers do not check this
        found[part] = read.values
    numbered, classes = labels.numbered(found, names, raw)
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
            x if pixels else features.as_floats(x, raw.origin(part)[0].x),
            numbered[part],
            None if raw.groups is None else raw.groups[part],
        )
        for part, (x, _) in raw.parts.items()
    }
    shapes = {part: p.x.shape[1:] for part, p in parts.items()}
    if len(set(shapes.values())) > 1:
        given = ", ".join(f"{shape} in {raw.origin(part)[0].x}" for part, shape in shapes.items())
        raise InputError(f"parts must have examples of one shape. Given: {given}")
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


def _has_encoding(raw: Raw, data: Data) -> bool:
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
    for field in ("drop", "categorical", "numeric", "imputation", "max_categories"):
        value = getattr(data, field)
        if value != Data.model_fields[field].default and raw.columns is None:
            raise InputError(
                f"{field} must be left out: the examples of {raw.where} are not columns of a "
                f"table. Given: {listed(value if isinstance(value, tuple) else [value])}"
            )


def _without_effect(
    data: Data, parts: dict[str, Part], encoding: tuple[Column, ...] | None
) -> list[str]:
    """Return a note for each field about columns that is set and changes nothing."""
    numbers = [i for i, column in enumerate(encoding or ()) if column.kind != "category"]
    gaps = any(np.isnan(part.x[:, i]).any() for part in parts.values() for i in numbers)
    categories = len(numbers) < len(encoding or ())
    return [
        f"{field} has no effect, because no column {why}"
        for field, has_effect, why in (
            ("imputation", gaps, "of numbers or dates has a gap"),
            ("max_categories", categories, "holds categories"),
        )
        if getattr(data, field) != Data.model_fields[field].default and not has_effect
    ]


def _warnings(parts: dict[str, Part], raw: Raw, encoding: tuple[Column, ...] | None) -> list[str]:
    """Return warnings about the columns of the training part."""
    if raw.columns is None:
        return []
    return untaught.notes(parts, raw.columns, encoding) + [
        f"column {listed([raw.columns[i]])} alone tells the class of every training example; leave "
        f"it out with drop if it is known only after the class is"
        for i in telling(parts["train"])
    ]


def _refuse_unseen(parts: dict[str, Part], train: Part, classes: tuple[str, ...], raw: Raw) -> None:
    """Raise InputError if a class of another part has no training example: no net can learn it."""
    learnt = np.bincount(train.y, minlength=len(classes)) > 0
    for name, part in parts.items():
        unseen = np.unique(part.y[~learnt[part.y]])
        if len(unseen):
            raise InputError(
                f"{raw.origin('train')[0].y}: each class needs an example in the training "
                f"part. Given: {listed(classes[i] for i in unseen)} in {name} only; split with "
                f"split = stratified, or correct the data"
            )
