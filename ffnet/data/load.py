"""Finds a data set by name or path, reads it, checks it and splits it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ffnet.data import formats, split
from ffnet.data.dataset import DataSet, FloatArray, Part, checked, statistics
from ffnet.data.raw import Raw
from ffnet.errors import InputError
from ffnet.study import Data


@dataclass(frozen=True)
class Known:
    """A data set that ffnet knows by name.

    Attributes:
        places: where it may lie below a data folder; Keras' own names included.
        classes: the class names.
        validation, split: the default split, where it differs from every other set's.
    """

    places: tuple[str, ...]
    classes: tuple[str, ...]
    validation: float | None = None
    split: str | None = None


DIGITS = tuple("0123456789")
KNOWN = {
    "mnist": Known(("mnist", "mnist.npz"), DIGITS),
    "fashion-mnist": Known(
        ("fashion-mnist",),
        ("T-shirt/top", "trouser", "pullover", "dress", "coat",
         "sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
    "cifar10": Known(
        ("cifar10", "cifar-10-batches-py", "cifar-10-batches-py-target/cifar-10-batches-py",
         "cifar-10-python.tar.gz"),
        ("airplane", "automobile", "bird", "cat", "deer",
         "dog", "frog", "horse", "ship", "truck"),
        validation=1000,
        split="last",
    ),
}  # fmt: skip
DEFAULT_FRACTION = {True: 0.1, False: 0.15}  # of the training file: with, without a test part


def load(data: Data) -> DataSet:
    """The data set that `data` names, split and measured.

    Default splits: CIFAR-10 keeps the last 1,000 training examples for validation; any other set
    with a test part gives a stratified tenth of its training part; a set without one gives 15 %
    to test and 15 % to validation, stratified.

    Raises:
        InputError: nothing found (with the places searched), or data that break a rule.
    """
    known = KNOWN.get(data.dataset)
    raw = _find(data)
    classes = known.classes if known else raw.classes
    parts, classes = _parts(raw, classes or (DIGITS if data.dataset == "digits" else None))
    train, validation, test = _split(parts, data, known)
    mean, std = statistics(train.x) if data.scaling == "standard" else _unit(train.x)
    return DataSet(
        name=data.dataset if known or data.dataset == "digits" else Path(data.dataset).stem,
        train=train,
        validation=validation,
        test=test,
        classes=classes,
        mean=mean,
        std=std,
        source=", ".join(map(str, raw.files)),
        digest=raw.digest(),
    )


def _unit(x: npt.NDArray[Any]) -> tuple[FloatArray, FloatArray]:
    """What scales pixels to 0 … 1."""
    if x.dtype != np.uint8:
        raise InputError(f"scaling unit divides pixels (uint8) by 255. Given: {x.dtype} features")
    return np.zeros(1, np.float32), np.full(1, 255, np.float32)


def _find(data: Data) -> Raw:
    if data.dataset == "digits":
        with resources.as_file(resources.files("ffnet.data") / "digits.parquet") as path:
            return formats.read_parquet({"train": [path]})
    if data.dataset not in KNOWN:
        return _own(data)
    places = list(_places(data))
    for place in places:
        raw = formats.read(place) if place.exists() else None
        if raw:
            return raw
    return _download(data.dataset, places)


def _own(data: Data) -> Raw:
    """A user's own set, by a path of its own or below a data folder."""
    roots = [Path(), *_roots(data)]
    places = [root / Path(data.dataset).expanduser() for root in roots]
    for place in places:
        if place.exists():
            raw = formats.read(place)
            if raw is None:
                raise InputError(f"{place}: holds no npz, Parquet, IDX or CIFAR-10 batch files")
            return raw
    raise InputError(
        f"dataset {data.dataset!r} is neither a path nor one of: digits, {', '.join(KNOWN)}; "
        f"searched: {', '.join(map(str, places))}"
    )


def _roots(data: Data) -> Iterator[Path]:
    if data.data_dir is not None:
        root = Path(data.data_dir).expanduser()
        if not root.is_dir():
            raise InputError(f"data_dir must be a folder. Given: {data.data_dir}")
        yield root
    if os.environ.get("FFNET_DATA"):
        yield Path(os.environ["FFNET_DATA"])


def _keras_cache() -> Path:
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "datasets"


def _places(data: Data) -> Iterator[Path]:
    for root in (*_roots(data), _keras_cache()):
        for place in KNOWN[data.dataset].places:
            yield root / place


def _download(name: str, searched: list[Path]) -> Raw:
    """Have Keras fetch a set into its cache, then read it from there."""
    from tensorflow import keras  # seconds to import, and needed here only

    try:
        getattr(keras.datasets, name.replace("-", "_")).load_data()
    except Exception as error:  # Keras raises a bare Exception for a failed download
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{name} was not found and could not be downloaded ({reason}); searched: "
            f"{', '.join(map(str, searched))}; put it in one of these places, or name its folder "
            f"with --data-dir or FFNET_DATA"
        ) from None
    for place in (_keras_cache() / p for p in KNOWN[name].places):
        raw = formats.read(place) if place.exists() else None
        if raw:
            return raw
    raise InputError(f"Keras downloaded {name} but not to {_keras_cache()}: set KERAS_HOME")


def _parts(raw: Raw, names: tuple[str, ...] | None) -> tuple[dict[str, Part], tuple[str, ...]]:
    """Checked parts and the class names; text labels and gaps in the files end here."""
    labels = {part: np.asarray(y).reshape(-1) for part, (_, y) in raw.parts.items()}
    train = labels["train"]
    if train.dtype.kind in "OUS":
        names = names or tuple(map(str, np.unique(train)))
        labels = {part: _numbered(y, names, raw.files[0]) for part, y in labels.items()}
    elif any(y.dtype.kind not in "iu" for y in labels.values()):
        raise InputError(f"{raw.files[0]}: labels must be integers or names. Given: {train.dtype}")
    if names is None:
        names = tuple(map(str, range(_count_classes(labels["train"], raw.files[0]))))
    if len(names) < 2:
        raise InputError(f"{raw.files[0]}: needs two classes or more. Given: {len(names)}")
    parts = {
        part: checked(
            Part(_features(x, raw.files[0]), labels[part].astype(np.int32)),
            len(names),
            f"{raw.files[0]} ({part})",
        )
        for part, (x, _) in raw.parts.items()
    }
    shapes = {part: p.x.shape[1:] for part, p in parts.items()}
    if len(set(shapes.values())) > 1:
        raise InputError(f"{raw.files[0]}: parts must have examples of one shape. Given: {shapes}")
    return parts, names


def _numbered(y: npt.NDArray[Any], names: tuple[str, ...], where: Path) -> npt.NDArray[Any]:
    number = {name: i for i, name in enumerate(names)}
    unknown = next((str(label) for label in y if str(label) not in number), None)
    if unknown is not None:
        raise InputError(f"{where}: label {unknown!r} is not among {', '.join(names)}")
    return np.array([number[str(label)] for label in y])


def _count_classes(y: npt.NDArray[Any], where: Path) -> int:
    """Highest label + 1. A class without one example means labels that do not count from 0."""
    present = np.unique(y)
    if len(present) and present[0] >= 0 and len(present) != present[-1] + 1:
        missing = np.flatnonzero(np.arange(len(present)) != present)[0]
        raise InputError(
            f"{where}: labels must be 0 to (classes - 1), each with an example. Given: up to "
            f"{present[-1]}, without {missing}; renumber the classes"
        )
    return int(present[-1]) + 1 if len(present) else 0


def _features(x: npt.NDArray[Any], where: Path) -> npt.NDArray[Any]:
    if x.ndim < 2 or x.ndim > 4 or x.dtype.kind not in "iufb":
        raise InputError(
            f"{where}: examples must be numbers in 2 to 4 dimensions. Given: {x.dtype} {x.shape}"
        )
    return x if x.dtype == np.uint8 else x.astype(np.float32)


def _split(parts: dict[str, Part], data: Data, known: Known | None) -> tuple[Part, Part, Part]:
    way = data.split or (known and known.split) or "stratified"

    def cut(part: Part, wanted: float, field: str) -> tuple[Part, Part]:
        count = split.amount(wanted, len(part), field)
        return (
            split.last(count, part)
            if way == "last"
            else split.stratified(count, part, data.split_seed)
        )

    rest, test = parts["train"], parts.get("test")
    default = DEFAULT_FRACTION[test is not None]
    wanted = data.validation or (known and known.validation) or default
    if wanted < 1:  # a fraction of the whole training file, also where test was cut from it
        wanted = split.amount(wanted, len(rest), "validation")
    if test is None:
        rest, test = cut(rest, data.test or default, "test")
    elif data.test is not None:
        raise InputError(f"test must be left out: {data.dataset} has a test part of its own")
    train, validation = cut(rest, wanted, "validation")
    return train, validation, test
