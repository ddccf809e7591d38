"""Reads pairs of npy files: x.npy and y.npy, or x_train.npy, y_train.npy, x_test.npy, …"""

from dataclasses import replace
from pathlib import Path

from ffnet.data import arrays, labels, npz
from ffnet.data.raw import PARTS, Array, Place, Raw, matching, reading, refuse_beyond_memory
from ffnet.errors import InputError
from ffnet.spec.sections import Data


def find(folder: Path) -> dict[str, Path]:
    """Return {name: its file} for the arrays of a folder, and of its folders of parts.

    A name is that of an array in an npz file: train/x.npy is x_train.

    Raises:
        InputError: two files have one name.
    """
    found: dict[str, Path] = {}
    for place in [folder, *(p for p in matching(folder, "*") if p.name in PARTS and p.is_dir())]:
        for path in matching(place, "*"):
            if path.suffix.lower() != ".npy":
                continue
            words = path.stem.lower().replace("-", "_").split("_")
            inside = place != folder and place.name not in words
            name = f"{path.stem}_{place.name}" if inside else path.stem
            if name in found:
                raise InputError(
                    f"{folder}: each array must be there once. Given: {found[name]} and {path}"
                )
            found[name] = path
    return found


def read(found: dict[str, Path], folder: Path, data: Data) -> Raw:
    """Read the arrays that `find` has found, by the rules of npz files; see `npz.read`."""
    examples, targets = npz.roles(found, folder, data.target)
    pairs = []
    for part, name in examples.items():
        x, y = found[name], found[targets[part]]
        values = labels.from_array(_array(y), Place(str(y)))
        where = Place(f"{folder} ({part})")
        pairs.append(arrays.Pair(part, where, Place(str(x)), _array(x), Place(str(y)), values))
    used = {*examples.values(), *targets.values()}
    return replace(
        arrays.read(pairs, data.drop_unlabelled),
        files=tuple(found[name] for name in found if name in used),
        target=targets["train"],
        unused=tuple(name for name in found if name not in used),
    )


def _array(path: Path) -> Array:
    with reading(path, "npy"):
        size = path.stat().st_size
        refuse_beyond_memory(path, size)
        return npz.array(lambda: path.open("rb"), size, path.stem, path)
