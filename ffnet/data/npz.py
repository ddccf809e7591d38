"""Reads npz files, which hold arrays of examples and of labels under their usual names."""

import math
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from ffnet.data import arrays, labels
from ffnet.data.raw import PARTS, Array, Place, Raw, listed, reading, refuse_beyond_memory
from ffnet.errors import InputError
from ffnet.spec.sections import Data

EXAMPLES = ("x", "data", "features", "images", "inputs")
LABELS = ("y", "target", "targets", "label", "labels", "class")
LAYOUTS = "x and y (or data and target), or x_train, y_train, x_test, y_test"


def read(path: Path, data: Data) -> Raw:
    """Read x and y, or x_train, y_train and, if they are there, x_val, y_val, x_test, y_test.

    Args:
        path: the file.
        data: `target` names the array of labels; `labels` also stands for `labels_train`, ….

    Raises:
        InputError: the file is damaged, or its names do not tell which arrays are the data.
    """
    with reading(path, "npz"), path.open("rb") as file:
        if file.read(6) == np.lib.format.MAGIC_PREFIX:
            raise ValueError("a single array, not an archive of arrays")
        with zipfile.ZipFile(file) as archive:
            members = _members(archive, path)
            examples, targets = roles(members, path, data.target)
            refuse_beyond_memory(
                path, sum(members[n].file_size for n in (*examples.values(), *targets.values()))
            )
            pairs = _pairs(archive, members, examples, targets, path)
            raw = arrays.read(pairs, data.drop_unlabelled)
    used = {*examples.values(), *targets.values()}
    return replace(
        raw,
        files=(path,),
        target=targets["train"],
        unused=tuple(name for name in members if name not in used),
    )


def read_parts(files: Mapping[str, Path], data: Data) -> Raw:
    """Read a file for each part, each with x and y.

    Args:
        files: {part: its file}; the part "train" must be among them.
        data: as in `read`.

    Raises:
        InputError: as in `read`; or a file has parts itself, or the files do not match.
    """
    raws = {part: read(path, data) for part, path in files.items()}
    pairs = []
    for part, raw in raws.items():
        if len(raw.parts) > 1:
            raise InputError(
                f"{raw.where}: the file of the {part} part must have x and y only. Given: parts "
                f"{listed(raw.parts)}"
            )
        x, y = raw.parts["train"]
        of_x, of_y = raw.origins["train"][0][:2]
        where = Place(str(files[part]))
        pairs.append(arrays.Pair(part, where, of_x, x, of_y, labels.from_array(y, of_y)))
    return replace(
        arrays.read(pairs, data.drop_unlabelled),
        files=tuple(files.values()),
        target=raws["train"].target,
        unused=tuple(dict.fromkeys(name for raw in raws.values() for name in raw.unused)),
        unlabelled={p: raw.unlabelled["train"] for p, raw in raws.items() if raw.unlabelled},
    )


def roles(
    names: Mapping[str, Any], path: Path, target: str | None
) -> tuple[dict[str, str], dict[str, str]]:
    """Return {part: name of its examples} and {part: name of its labels} for names of arrays.

    Raises:
        InputError: the names do not tell which arrays are the data.
    """
    examples = _named(names, EXAMPLES, path)
    targets = _named(names, (target,) if target else LABELS, path)
    _refuse_halves(examples, targets, names, path)
    return examples, targets


def _pairs(
    archive: zipfile.ZipFile,
    members: Mapping[str, zipfile.ZipInfo],
    examples: Mapping[str, str],
    targets: Mapping[str, str],
    path: Path,
) -> Iterator[arrays.Pair]:
    """Read the arrays of each part, one part at a time."""
    for part, name in examples.items():
        x, y = (Place(f"{path}, array {each}") for each in (name, targets[part]))
        values = _member(archive, members[name], path)
        found = labels.from_array(_member(archive, members[targets[part]], path), y)
        yield arrays.Pair(part, Place(f"{path} ({part})"), x, values, y, found)


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return {name of an array: its entry in the archive}."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in members:
            raise InputError(
                f"{path}: arrays must have different names. Given twice: {listed([name])}"
            )
        members[name] = info
    return members


def _named(members: Mapping[str, Any], roles: tuple[str, ...], path: Path) -> dict[str, str]:
    """Return {part: name of its array}: `x_train`, `train_x`, or `x`, for `x` and other roles."""
    found: dict[str, str] = {}
    for name in members:
        part = _part(name, roles)
        if part in found:
            raise InputError(
                f"{path}: more than one array could be the {part} part's {roles[0]}: "
                f"{listed([found[part], name])}; keep one, or name the labels with target"
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
            f"{path}: needs arrays {LAYOUTS}; target names the labels. "
            f"Given: {listed(sorted(members), 12) or 'none'}"
        )
    for part in examples.keys() ^ targets.keys():
        half = examples.get(part) or targets[part]
        missing = "labels" if part in examples else "examples"
        raise InputError(
            f"{path}: each part needs examples and labels. Given: {listed([half])} without "
            f"{missing}"
        )


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Array:
    name = info.filename.removesuffix(".npy")
    return array(lambda: archive.open(info), info.file_size, name, path)


def array(opened: Callable[[], IO[bytes]], size: int, name: str, path: Path) -> Array:
    """Read an array of numbers or text from a file of format npy.

    Args:
        opened: opens the file.
        size: the number of its bytes; its header must match it.
        name: what messages call the array.
        path: what messages call its place.

    Raises:
        InputError: the array holds Python objects.
        ValueError: the file is damaged.
    """
    with opened() as member:
        shape, dtype = _head(member)
        if dtype.hasobject:
            raise InputError(
                f"{path}: array {listed([name])} must hold numbers or text. Given: Python objects, "
                f"which only pickle could load; save np.array(values.tolist()) instead"
            )
        expected = dtype.itemsize * math.prod(shape)
        if expected != size - member.tell():
            raise ValueError(f"{name}.npy says {shape} {dtype}, but has {size} bytes")
    with opened() as member:
        values: Array = np.lib.format.read_array(member, allow_pickle=False)
        if member.read(1):
            raise ValueError(f"{name}.npy has bytes after its array")
    return values


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
