"""Reads npz: arrays of examples and of labels, under the names that are usual."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from ffnet.data import features, labels
from ffnet.data.labels import Labels
from ffnet.data.raw import PARTS, Array, Raw, listed, reading, refuse_beyond_memory
from ffnet.errors import InputError
from ffnet.spec.study import Data

EXAMPLES = ("x", "data", "features", "images", "inputs")
LABELS = ("y", "target", "targets", "label", "labels", "class")
LAYOUTS = "x and y (or data and target), or x_train, y_train, x_test, y_test"


def read(path: Path, data: Data) -> Raw:
    """The parts in a file: x and y, or x_train, y_train and perhaps x_val, y_val, x_test, y_test.

    Args:
        path: the file.
        data: its target is the name of the labels: `labels` also stands for `labels_train`, ….

    Raises:
        InputError: the file is damaged, or does not say which arrays are the data.
    """
    with reading(path, "npz"), path.open("rb") as file:
        if file.read(6) == np.lib.format.MAGIC_PREFIX:
            raise ValueError("a single array, not an archive of arrays")
        with zipfile.ZipFile(file) as archive:
            members = _members(archive, path)
            examples = _named(members, EXAMPLES, path)
            targets = _named(members, (data.target,) if data.target else LABELS, path)
            _refuse_halves(examples, targets, members, path)
            refuse_beyond_memory(
                path, sum(members[n].file_size for n in (*examples.values(), *targets.values()))
            )
            parts, unlabelled, kinds, dtypes = {}, {}, {}, {}
            for part, name in examples.items():
                x = _array(archive, members[name], path)
                y = _array(archive, members[targets[part]], path)
                dtypes[name] = x.dtype
                array = f"{path}, array {targets[part]}"
                found = kinds[array] = labels.from_array(y, array)
                x = _labelled(x, found, path, part, data.drop_unlabelled)
                parts[part] = (_numbers(x, f"{path}, array {name}"), found.values)
                unlabelled[part] = int((~found.there).sum())
    labels.of_one_kind(kinds)
    _refuse_two_scales(dtypes, path)
    used = {*examples.values(), *targets.values()}
    return Raw(
        parts,
        (path,),
        target=targets["train"],
        unused=tuple(name for name in members if name not in used),
        unlabelled={part: count for part, count in unlabelled.items() if count},
    )


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Array name → where it stands in the archive."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in members:
            raise InputError(f"{path}: each array needs a name of its own. Given: {listed([name])}")
        members[name] = info
    return members


def _named(members: Mapping[str, Any], roles: tuple[str, ...], path: Path) -> dict[str, str]:
    """Part → the array whose name is of one of the roles: `x_train`, `train_x`, or `x` alone."""
    found: dict[str, str] = {}
    for name in members:
        part = _part(name, roles)
        if part in found:
            raise InputError(
                f"{path}: more than one array could be the {part} part's {roles[0]}: "
                f"{listed([found[part], name])}; keep one, or name the labels with --target"
            )
        if part:
            found[part] = name
    return found


def _part(name: str, roles: tuple[str, ...]) -> str | None:
    lower = name.lower()
    if lower in map(str.lower, roles):
        return "train"
    for role in map(str.lower, roles):
        if match := re.fullmatch(rf"{re.escape(role)}_?([a-z]+)|([a-z]+)_{re.escape(role)}", lower):
            return PARTS.get(match[1] or match[2])
    return None


def _refuse_halves(
    examples: Mapping[str, str], targets: Mapping[str, str], members: Mapping[str, Any], path: Path
) -> None:
    if "train" not in examples or "train" not in targets:
        raise InputError(
            f"{path}: needs arrays {LAYOUTS}; --target names the labels. "
            f"Given: {listed(sorted(members), 12) or 'none'}"
        )
    for part in examples.keys() ^ targets.keys():
        half = examples.get(part) or targets[part]
        raise InputError(f"{path}: {listed([half])} must have examples and labels. Given: one half")


def _refuse_two_scales(dtypes: Mapping[str, np.dtype[Any]], path: Path) -> None:
    """Refuse bytes beside floats: one part may be pixels from 0 to 255, the other from 0 to 1."""
    of_bytes = [name for name, dtype in dtypes.items() if dtype == np.uint8]
    of_floats = [name for name, dtype in dtypes.items() if dtype.kind == "f"]
    if of_bytes and of_floats:
        raise InputError(
            f"{path}: the examples of all parts must be of one type. Given: {of_bytes[0]} of uint8 "
            f"and {of_floats[0]} of {dtypes[of_floats[0]]}; save both in the same"
        )


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Array:
    """One array of numbers or text, if the archive has as many bytes as its head says."""
    with archive.open(info) as member:
        shape, dtype = _head(member)
        if dtype.hasobject:
            name = listed([info.filename.removesuffix(".npy")])
            raise InputError(
                f"{path}: array {name} must hold numbers or text. Given: Python objects, which "
                f"only pickle could load; save np.array(values.tolist()) instead"
            )
        size = dtype.itemsize
        for side in shape:
            size *= side
        if size != info.file_size - member.tell():
            raise ValueError(
                f"{info.filename} says {shape} {dtype}, but has {info.file_size} bytes"
            )
    with archive.open(info) as member:
        array: Array = np.lib.format.read_array(member, allow_pickle=False)
        if member.read(1):
            raise ValueError(f"{info.filename} has bytes after its array")
    return array


def _head(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(member)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in read:
        raise ValueError(f"an array of format {version}")
    shape, _, dtype = read[version](member)
    return shape, dtype


def _labelled(x: Array, found: Labels, path: Path, part: str, drop: bool) -> Array:
    """The examples that have a label."""
    where = f"{path} ({part})"
    if x.ndim == 0 or len(x) != len(found.there):
        raise InputError(
            f"{where}: needs as many labels as examples. Given: {len(x) if x.ndim else 'no'} "
            f"examples, {len(found.there)} labels; the two come from different files or a cut one"
        )
    if not drop:
        labels.refuse_missing(found, where)
    return x if found.there.all() else x[found.there]


def _numbers(x: Array, where: str) -> Array:
    return x if x.dtype == np.uint8 else features.as_floats(x, where)
