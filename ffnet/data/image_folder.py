"""Reads images that lie in a folder for each class.

    own/cat/1.png, own/dog/2.png                            a set without parts
    own/train/cat/1.png, own/test/dog/2.jpg                 its parts

The examples are in the order of the files' names across all classes, and 2.png is before 10.png. So
files that are numbered in the order of another set give its order. If the folders of all classes
have whole numbers as names, the classes are in the order of these numbers.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ffnet.data import cache, images
from ffnet.data.raw import PARTS, Array, Place, Raw, listed, matching, refuse_irregular
from ffnet.errors import InputError
from ffnet.spec.sections import Data

ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_PARTS = ("train", "validation", "test")


class Images(NamedTuple):
    """The files of a set, in order.

    Attributes:
        parts: {part: its images}.
        others: files in the folders of classes that are no images.
    """

    parts: dict[str, list[Path]]
    others: list[Path]


def find(folder: Path) -> Images | None:
    """Find the images below a folder, or return None if there are none.

    Raises:
        InputError: images lie elsewhere than in folders of classes, or a class has no image.
    """
    below = _folders(folder)
    named = [place for place in below if place.name.lower() in PARTS]
    places: dict[str, Path] = {}
    for place in named:
        part = PARTS[place.name.lower()]
        if part in places:
            raise InputError(
                f"{folder}: each part must have one folder. Given: {places[part].name} and "
                f"{place.name}"
            )
        places[part] = place
    if named:
        found = {part: _classes(places[part]) for part in _PARTS if part in places}
        stray = [place for place in below if place not in named and _has_images(place)]
    else:
        found, stray = {"train": _classes(folder)}, []
    if not any(of_class[0] for part in found.values() for of_class in part.values()):
        for place in [folder, *named]:
            _refuse_images(place)
        return None
    if stray or "train" not in found:
        raise InputError(
            f"{folder}: images must lie in train/CLASS/, and perhaps validation/CLASS/ and "
            f"test/CLASS/. Given: {listed(place.name for place in stray or named)}"
        )
    for place in [folder, *named]:
        _refuse_images(place)
    for of_part in found.values():
        for place, (pictures, _) in of_part.items():
            if not pictures:
                raise InputError(
                    f"{place}: the folder of a class must hold an image. Given: none that ends in "
                    f"{', '.join(ENDINGS)}; remove the folder if it is no class"
                )
    parts = {
        part: sorted((p for pictures, _ in of.values() for p in pictures), key=_in_order)
        for part, of in found.items()
    }
    return Images(parts, [p for of in found.values() for _, others in of.values() for p in others])


def read(folder: Path, found: Images, data: Data) -> Raw:
    """Read the images that `find` has found.

    Args:
        folder: the folder of the data set.
        found: its images.
        data: `image_size` is the size that all images get; None keeps their size.

    Raises:
        InputError: an image cannot be decoded exactly, or images differ in size.
    """
    files = [path for paths in found.parts.values() for path in paths]
    digest = hashlib.sha256()
    for path, content in zip(files, _contents(files), strict=True):
        digest.update(f"{path.relative_to(folder).as_posix()}\n{len(content)}\n".encode())
        digest.update(content)

    def decode() -> Array:
        return images.decode(
            _contents(files),
            len(files),
            Place(str(folder)),
            data.image_size,
            lambda at: str(files[at]),
        )

    name = digest.hexdigest()
    pixels = cache.kept(name, f"images {data.image_size}", decode)
    labels = _labels([path.parent.name for path in files])
    parts, start = {}, 0
    for part, paths in found.parts.items():
        rows = slice(start, start := start + len(paths))
        parts[part] = (pixels[rows], labels[rows])
    others = listed(path.relative_to(folder) for path in found.others)
    note = f"{len(found.others):,} files below folders of classes are no images: {others}."
    return Raw(parts, (folder,), notes=(note,) if found.others else (), content=name)


def _folders(folder: Path) -> list[Path]:
    return [path for path in matching(folder, "*") if path.is_dir()]


def _classes(folder: Path) -> dict[Path, tuple[list[Path], list[Path]]]:
    """Return {folder of a class: (its images, its other files)}."""
    found = {}
    for place in _folders(folder):
        inside = matching(place, "*")
        for below in filter(Path.is_dir, inside):
            if _has_images(below):
                raise InputError(
                    f"{below}: images must lie in the folder of their class itself. Given: images "
                    f"in a folder inside it; move them up"
                )
        pictures = [p for p in inside if p.suffix.lower() in ENDINGS and not p.is_dir()]
        taken = set(pictures)
        found[place] = (pictures, [p for p in inside if p not in taken])
    return found


def _has_images(folder: Path) -> bool:
    return any(path.suffix.lower() in ENDINGS for path in matching(folder, "*"))


def _refuse_images(folder: Path) -> None:
    if _has_images(folder):
        raise InputError(
            f"{folder}: images must lie in a folder for each class, named after it. Given: images "
            f"in no such folder"
        )


def _in_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Return a key that sorts by the file's name, with numbers in it by their values."""
    pieces = re.findall(r"(\d+)|(\D+)", path.name)
    return [(int(digits or -1), text) for digits, text in pieces], path.parent.name


def _contents(files: list[Path]) -> Iterator[bytes]:
    for path in files:
        refuse_irregular(path)
        try:
            yield path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _labels(names: list[str]) -> Array:
    if all(name.isdecimal() and str(int(name)) == name for name in set(names)):
        return np.array(names).astype(np.int64)
    return np.array(names)
