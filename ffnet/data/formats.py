"""Reads data files: CSV, Parquet, Arrow, npz, IDX, CIFAR-10's batches. `read` finds out the format.

The readers return the parts that the files have; `ffnet.data.load` splits them later. A damaged
file, or a file of another kind, raises an InputError that names the file.
"""

import re
from collections.abc import Collection
from pathlib import Path

from ffnet.data import (
    arrow_table,
    cache,
    cifar_batches,
    csv_table,
    idx,
    image_folder,
    npy,
    npz,
    parquet,
)
from ffnet.data.raw import PARTS, Origin, Place, Raw, listed, matching, reading
from ffnet.errors import InputError
from ffnet.spec.sections import Data

TABLES = {
    "Parquet": ((".parquet",), parquet.read),
    "CSV": (
        tuple(f".{kind}{packed}" for kind in ("csv", "tsv") for packed in ("", ".gz", ".zst")),
        csv_table.read,
    ),
    "Arrow": ((".arrow", ".feather"), arrow_table.read),
}
"""{kind of table files: (their endings, their reader)}."""
UNREAD = (
    "txt", "dat", "data", "csv.bz2", "csv.xz", "csv.zip", "json", "jsonl", "ndjson", "xls", "xlsx",
    "ods", "orc", "pq", "ipc", "avro", "tfrecord", "h5", "hdf5", "mat", "pkl", "pickle", "pt",
    "npy", "npz", "arff", "libsvm", "svm", "dta", "sav", "sas7bdat", "rds", "rda", "zip", "tar",
)  # fmt: skip
"""Endings of files that may be a part of a data set, but that no reader of tables reads."""
HUBS_FOLDER = "data"  # where the Hugging Face hub keeps a set's files


def read(path: Path, data: Data | None = None) -> Raw | None:
    """Return the data at `path`, or None when a folder holds nothing that ffnet can read.

    Args:
        path: a table (an ending of `TABLES`), a .npz file, a cifar-10-python.tar.gz, or a folder.
            The folder holds either tables of one kind (a single file, or files named after their
            part), or IDX files, or CIFAR-10 batches, or a single npz file. CSV and Arrow files
            beside data of another kind are ignored, unless their names name a part.
        data: the `[data]` section of the study. None stands for its defaults.

    Raises:
        InputError: a file's content does not match its name, or the format is unknown.
    """
    data = data or Data()
    return _read_folder(path, data) if path.is_dir() else _read_file(path, data)


def refuse_unused_fields(raw: Raw, data: Data) -> None:
    """Raise InputError if a field of `data` is set that has no effect on data of this format."""
    first = raw.files[0] if raw.files else Path()
    unused = {"image_size": "folders of images"} if not (raw.files and first.is_dir()) else {}
    if not first.name.lower().endswith(TABLES["CSV"][0]):
        unused |= dict.fromkeys(("separator", "decimal", "missing"), "CSV files")
    for field, only in unused.items():
        value = getattr(data, field)
        if value != Data.model_fields[field].default:
            raise InputError(
                f"{field} has an effect only on {only}: leave it out. Given: {field} "
                f"{listed(value if isinstance(value, tuple) else [value])} for {raw.where}"
            )


def _read_file(path: Path, data: Data) -> Raw:
    name = path.name.lower()
    if name.endswith(".npz"):
        return npz.read(path, data)
    if name.endswith(".npy"):
        raise InputError(
            f"{path}: a single array is no data set; give the folder of x.npy and y.npy"
        )
    for endings, read_tables in TABLES.values():
        if name.endswith(endings):
            return read_tables({"train": [path]}, data)
    if name.endswith((".tar.gz", ".tgz")):
        return _without_names(_read_batches(path), data)
    raise InputError(
        f"{path}: data must be .csv or .tsv (also .gz or .zst), .parquet, .arrow, .feather, .npz, "
        f"a CIFAR-10 .tar.gz, or a folder of files"
    )


def _read_folder(folder: Path, data: Data) -> Raw | None:
    batches = [folder / name for name in cifar_batches.FILES if (folder / name).exists()]
    pairs = idx.find(folder)
    archives = _ending(folder, (".npz",))
    tables = {"Parquet": _table_files(folder, "Parquet")}
    kinds: dict[str, Collection[object]] = {
        "CIFAR-10 batches": batches, "IDX": pairs, **tables, "npz": archives,
    }  # fmt: skip
    npys: dict[str, Path] = {}
    pictures: image_folder.Images | None = None
    if not any(kinds.values()):
        tables = {kind: _table_files(folder, kind) for kind in TABLES}
        npys = npy.find(folder)
        if not any(tables.values()) or any(place.name in PARTS for place in matching(folder, "*/")):
            pictures = image_folder.find(folder)
        kinds = {**tables, "npy": npys, "image": pictures or ()}
    given = [kind for kind, files in kinds.items() if files]
    if len(given) > 1:
        raise InputError(
            f"{folder}: must hold data of one kind. Given: {' and '.join(given)} files"
        )
    if not given:
        return None
    if batches:
        return _without_names(_read_batches(folder), data)
    if pairs:
        return _without_names(idx.read(pairs), data)
    if given[0] in TABLES:
        files = tables[given[0]]
        _refuse_unread(files[0].parent, given[0])
        return TABLES[given[0]][1](_parts(files, folder, given[0]), data)
    if npys:
        return npy.read(npys, folder, data)
    if pictures:
        return _without_names(image_folder.read(folder, pictures, data), data)
    if len(archives) > 1:
        parts = {_part(path, folder): path for path in archives}
        if "train" in parts and None not in parts and len(parts) == len(archives):
            return npz.read_parts({part: path for part, path in parts.items() if part}, data)
        raise InputError(
            f"{folder}: holds {len(archives)} npz files; give the path of one of them, or name "
            f"them train.npz, validation.npz and test.npz"
        )
    return npz.read(archives[0], data)


def _without_names(raw: Raw, data: Data) -> Raw:
    if data.target is not None:
        raise InputError(
            f"target names a column of a table or an array of npz; {raw.files[0]} has neither. "
            f"Given: {data.target}"
        )
    return raw


def _read_batches(path: Path) -> Raw:
    with reading(path, "CIFAR-10 batches"):
        parts = cifar_batches.read(path)
    files = (path,) if path.is_file() else tuple(path / name for name in cifar_batches.FILES)
    origins = {}
    for part, names in (("train", "data_batch_1 to 5"), ("test", "test_batch")):
        place = Place(f"{path} ({names})")
        origins[part] = (Origin(place, place, len(parts[part][0])),)
    return Raw(parts, files, origins=origins)


def _ending(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    return [path for path in matching(folder, "*") if path.name.lower().endswith(endings)]


# --- tables of a folder --------------------------------------------------------------------------


def _table_files(folder: Path, kind: str) -> list[Path]:
    """Find tables in a folder, or in its folder `data`, or in its folder for each part."""
    found = {}
    below = sorted(p for p in folder.iterdir() if p.name in PARTS and p.is_dir())
    for places in ([folder], [folder / HUBS_FOLDER], below):
        files = [file for place in places for file in _ending(place, TABLES[kind][0])]
        if files:
            found[files[0].parent] = files
    if len(found) > 1:
        raise InputError(f"{folder}: must hold {kind} files in one place. Given: {listed(found)}")
    return next(iter(found.values()), [])


def _parts(files: list[Path], folder: Path, kind: str) -> dict[str, list[Path]]:
    """Return {part: its files}, judged by the files' names. A single file may have any name."""
    parts: dict[str, list[Path]] = {"train": [], "validation": [], "test": []}
    nameless = []
    for file in files:
        if part := _part(file, folder):
            parts[part].append(file)
        else:
            nameless.append(file.name)
    if len(files) == len(nameless) == 1:
        return {"train": files}
    if nameless or not parts["train"]:
        end = TABLES[kind][0][0]
        raise InputError(
            f"{folder}: {kind} files must be named train*{end}, validation*{end} or test*{end}, "
            f"after their part. Given: {listed(nameless or [f.name for f in files])}"
        )
    _refuse_copies(files, kind)
    for of_part in parts.values():
        _refuse_missing_shards(of_part)
    return {name: of_part for name, of_part in parts.items() if of_part}


def _part(file: Path, folder: Path) -> str | None:
    """Return the part that a file's name, or its folder's name below `folder`, names alone."""
    words = re.split("[^a-z]+", file.stem.lower())
    words += [file.parent.name] if file.parent != folder else []
    named = list({PARTS[word] for word in words if word in PARTS})
    return named[0] if len(named) == 1 else None


def _refuse_unread(folder: Path, kind: str) -> None:
    """Raise InputError for a file whose name names a part but which is not of this kind of tables.

    Without the error, that part would be missing in silence.
    """
    others = [ending for other in TABLES if other != kind for ending in TABLES[other][0]]
    others += [f".{ending}" for ending in UNREAD]
    for path in matching(folder, "*"):
        name = path.name.lower().removesuffix(".gz")
        ending = next((ending for ending in others if name.endswith(ending)), None)
        if ending and re.split("[^a-z]", name)[0] in PARTS:
            raise InputError(
                f"{path}: all parts must be {kind} files if one part is. Given: {ending[1:]}; "
                f"convert or remove it"
            )


def _refuse_copies(files: list[Path], kind: str) -> None:
    """Raise InputError if two files are equal.

    Examples would count twice, or a net would be tested on examples that it was trained on.
    """
    seen: dict[tuple[int, str], Path] = {}
    sizes = [file.stat().st_size for file in files]
    for file, size in zip(files, sizes, strict=True):
        if sizes.count(size) > 1:
            with reading(file, kind):
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
