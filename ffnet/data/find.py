"""Finds a data set by its name or its path, and lets the reader of its format read it."""

import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ffnet.data import formats, parquet
from ffnet.data.raw import Raw
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


def class_names(name: str, given: tuple[str, ...] | None) -> tuple[str, ...] | None:
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


def find(data: Data, download: bool) -> Raw:
    """Find and read the data set that `data` names.

    Args:
        data: `dataset` is a name or a path, `data_dir` may name the data folder.
        download: whether a known set that is not there may be downloaded.

    Raises:
        InputError: the data set is not found, or its files break a rule.
    """
    if data.dataset == GIVEN:
        raise InputError(
            f"the data of this study were given from Python: give them again, as data=…, to "
            f"ffnet.tune, ffnet.train, Run.confirm, Run.audit, or Run.load and Run.export with "
            f"ensemble=…. Given: dataset {GIVEN}"
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
