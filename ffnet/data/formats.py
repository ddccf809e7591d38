"""Reads data files: npz, IDX, Parquet and CIFAR-10's Python batches. `read` finds out the format.

The readers return the parts that the files have; `ffnet.data.load` splits them later. A damaged
file, or a file of another kind, raises an InputError that names the file.
"""

import re
from pathlib import Path

from ffnet.data import cache, cifar_batches, idx, npz, parquet
from ffnet.data.raw import PARTS, Raw, listed, matching, reading
from ffnet.errors import InputError
from ffnet.spec.sections import Data

UNREAD = ("csv", "tsv", "jsonl", "arrow", "feather", "orc", "npy", "pkl", "pickle", "xlsx", "pq")
"""Endings of table files that ffnet does not read."""
HUBS_FOLDER = "data"  # where the Hugging Face hub keeps a set's Parquet files


def read(path: Path, data: Data | None = None) -> Raw | None:
    """Return the data at `path`, or None when a folder holds nothing that ffnet can read.

    Args:
        path: a .npz or .parquet file, a cifar-10-python.tar.gz, or a folder. The folder holds
            either Parquet files (a single file, or files named after their part), or IDX files,
            or CIFAR-10 batches, or a single npz file.
        data: the `[data]` section of the study. None stands for its defaults.

    Raises:
        InputError: a file's content does not match its name, or the format is unknown.
    """
    data = data or Data()
    if path.is_dir():
        return _read_folder(path, data)
    name = path.name.lower()
    if name.endswith(".npz"):
        return npz.read(path, data)
    if name.endswith(".parquet"):
        return parquet.read({"train": [path]}, data)
    if name.endswith((".tar.gz", ".tgz")):
        return _without_names(_read_batches(path), data)
    raise InputError(
        f"{path}: data must be .npz, .parquet, a CIFAR-10 .tar.gz or a folder of files"
    )


def _read_folder(folder: Path, data: Data) -> Raw | None:
    batches = [folder / name for name in cifar_batches.FILES if (folder / name).exists()]
    pairs = idx.find(folder)
    tables = _parquet_files(folder)
    archives = _ending(folder, ".npz")
    kinds = {
        "CIFAR-10 batches": batches, "IDX": pairs, "Parquet": tables, "npz": archives,
    }  # fmt: skip
    given = [kind for kind, files in kinds.items() if files]
    if len(given) > 1:
        raise InputError(
            f"{folder}: must hold data of one kind. Given: {' and '.join(given)} files"
        )
    if batches:
        return _without_names(_read_batches(folder), data)
    if pairs:
        return _without_names(idx.read(pairs), data)
    if tables:
        _refuse_unread(tables[0].parent)
        return parquet.read(_parts(tables, folder), data)
    if len(archives) > 1:
        raise InputError(f"{folder}: holds {len(archives)} npz files; give the path of one of them")
    return npz.read(archives[0], data) if archives else None


def _without_names(raw: Raw, data: Data) -> Raw:
    if data.target is not None:
        raise InputError(
            f"target names a column of Parquet or an array of npz; {raw.files[0]} has neither. "
            f"Given: {data.target}"
        )
    return raw


def _read_batches(path: Path) -> Raw:
    with reading(path, "CIFAR-10 batches"):
        parts = cifar_batches.read(path)
    files = (path,) if path.is_file() else tuple(path / name for name in cifar_batches.FILES)
    return Raw(parts, files)


def _ending(folder: Path, ending: str) -> list[Path]:
    return [path for path in matching(folder, "*") if path.suffix.lower() == ending]


# --- Parquet files of a folder -------------------------------------------------------------------


def _parquet_files(folder: Path) -> list[Path]:
    """Find Parquet files in a folder, or in its folder `data`, or in its folder for each part."""
    found = {}
    below = sorted(p for p in folder.iterdir() if p.name in PARTS and p.is_dir())
    for places in ([folder], [folder / HUBS_FOLDER], below):
        files = [file for place in places for file in _ending(place, ".parquet")]
        if files:
            found[files[0].parent] = files
    if len(found) > 1:
        raise InputError(f"{folder}: must hold Parquet files in one place. Given: {listed(found)}")
    return next(iter(found.values()), [])


def _parts(files: list[Path], folder: Path) -> dict[str, list[Path]]:
    """Return {part: its files}, judged by the files' names. A single file may have any name."""
    parts: dict[str, list[Path]] = {"train": [], "validation": [], "test": []}
    nameless = []
    for file in files:
        words = re.split("[^a-z]+", file.stem.lower())
        words += [file.parent.name] if file.parent != folder else []
        named = list({PARTS[word] for word in words if word in PARTS})
        if len(named) == 1:
            parts[named[0]].append(file)
        else:
            nameless.append(file.name)
    if len(files) == len(nameless) == 1:
        return {"train": files}
    if nameless or not parts["train"]:
        raise InputError(
            f"{folder}: Parquet files must be named train*.parquet, validation*.parquet or "
            f"test*.parquet, after their part. Given: {listed(nameless or [f.name for f in files])}"
        )
    _refuse_copies(files)
    for of_part in parts.values():
        _refuse_missing_shards(of_part)
    return {name: of_part for name, of_part in parts.items() if of_part}


def _refuse_unread(folder: Path) -> None:
    """Raise InputError for a file whose name names a part but which ffnet cannot read.

    Without the error, that part would be missing in silence.
    """
    for path in matching(folder, "*"):
        stem = path.name.partition(".")[0].lower()
        kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
        if re.split("[^a-z]", stem)[0] in PARTS and kind in UNREAD:
            raise InputError(
                f"{path}: all parts must be Parquet files if one part is. Given: {kind}; convert "
                f"or remove it"
            )


def _refuse_copies(files: list[Path]) -> None:
    """Raise InputError if two files are equal.

    Examples would count twice, or a net would be tested on examples that it was trained on.
    """
    seen: dict[tuple[int, str], Path] = {}
    sizes = [file.stat().st_size for file in files]
    for file, size in zip(files, sizes, strict=True):
        if sizes.count(size) > 1:
            with reading(file, "Parquet"):
                other = seen.setdefault((size, cache.file_digest(file)), file)
            if other is not file:
                raise InputError(
                    f"{file}: must not have the same content as another file. Given: a copy of "
                    f"{other.name}; remove one of them"
                )


def _refuse_missing_shards(files: list[Path]) -> None:
    """Raise InputError unless all shards are there: `train-00000-of-00003.parquet` has three."""
    shards: dict[tuple[str, int], list[int]] = {}
    for file in files:
        if match := re.match(r"(.*?)-(\d{1,9})-of-(\d{1,9})", file.name):
            shards.setdefault((match[1], int(match[3])), []).append(int(match[2]))
    for (name, count), numbers in shards.items():
        if sorted(numbers) != list(range(count)):
            raise InputError(
                f"{files[0].parent}: needs files 0 to {count - 1} of {name}-…-of-{count:05}, each "
                f"once. Given: {listed(sorted(numbers))}"
            )
