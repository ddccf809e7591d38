"""Reads data files: npz, IDX, Parquet and CIFAR-10's Python batches. `read(path)` tells which.

Every reader gives the parts as they stand in the files; splitting and checking come after
(`ffnet.data.load`). A file that is cut or of another kind raises InputError naming it.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ffnet.data import cache, cifar_batches, idx, images
from ffnet.data.raw import Array, Raw, matching, reading
from ffnet.errors import InputError

LABELS = ("label", "labels", "y", "target", "class")
ENCODED = ("img", "image")


def read(path: Path) -> Raw | None:
    """The data at `path`, or None when a folder holds nothing that ffnet can read.

    Args:
        path: a .npz or .parquet file, a cifar-10-python.tar.gz, or a folder with one of: Parquet
            files (named after their part, or one alone), IDX files, CIFAR-10 batches, one npz.

    Raises:
        InputError: a file that is not what its name says, or a file of an unknown kind.
    """
    if path.is_dir():
        return _read_folder(path)
    if path.suffix == ".npz":
        return read_npz(path)
    if path.suffix == ".parquet":
        return read_parquet({"train": [path]})
    if path.name.endswith((".tar.gz", ".tgz")):
        return _read_batches(path)
    raise InputError(
        f"{path}: data must be .npz, .parquet, a CIFAR-10 .tar.gz or a folder of files"
    )


def _read_folder(folder: Path) -> Raw | None:
    if any((folder / name).exists() for name in cifar_batches.FILES):
        return _read_batches(folder)
    pairs = idx.find(folder)
    if pairs:
        return idx.read(pairs)
    parquet = matching(folder, "*.parquet")
    if parquet:
        parts = {
            part: [p for p in parquet if p.name.startswith(part)] for part in ("train", "test")
        }
        if not parts["train"] and len(parquet) == 1:
            parts = {"train": parquet}
        if not parts["train"]:
            raise InputError(f"{folder}: Parquet files must be named train*.parquet, test*.parquet")
        return read_parquet({part: files for part, files in parts.items() if files})
    npz = matching(folder, "*.npz")
    if len(npz) > 1:
        raise InputError(f"{folder}: holds {len(npz)} npz files; give the path of one")
    return read_npz(npz[0]) if npz else None


def read_npz(path: Path) -> Raw:
    """Arrays x_train, y_train, x_test, y_test (Keras' layout), or x and y alone."""
    with reading(path, "npz"), path.open("rb") as opened:
        file = np.load(opened, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("a single array, not an archive of arrays")
        names = set(file.files)
        if {"x_train", "y_train"} <= names:
            parts = {"train": (file["x_train"], file["y_train"])}
            if {"x_test", "y_test"} <= names:
                parts["test"] = (file["x_test"], file["y_test"])
        elif {"x", "y"} <= names:
            parts = {"train": (file["x"], file["y"])}
        else:
            raise InputError(
                f"{path}: needs arrays x and y, or x_train, y_train, x_test, y_test. "
                f"Given: {', '.join(sorted(names)) or 'none'}"
            )
    return Raw(parts, (path,))


def read_parquet(files: dict[str, list[Path]]) -> Raw:
    """Parquet with a label column and encoded images, flat pixels or columns of features.

    Args:
        files: part → its files, read in order.
    """
    parts, classes = {}, None
    for part, paths in files.items():
        xs, ys, names = zip(*map(_read_parquet_file, paths), strict=True)
        shapes = {x.shape[1:] for x in xs}
        if len(shapes) > 1:
            raise InputError(f"{paths[0].parent}: examples must have one shape. Given: {shapes}")
        one = len(paths) == 1  # stays memory-mapped
        parts[part] = (xs[0], ys[0]) if one else (np.concatenate(xs), np.concatenate(ys))
        classes = classes or names[0]
    return Raw(parts, tuple(path for paths in files.values() for path in paths), classes)


def _read_parquet_file(path: Path) -> tuple[Array, Array, tuple[str, ...] | None]:
    with reading(path, "Parquet"):
        schema = pq.read_schema(path)
        label = next((name for name in LABELS if name in schema.names), None)
        if label is None:
            raise InputError(
                f"{path}: needs a label column, one of: {', '.join(LABELS)}. "
                f"Given: {', '.join(schema.names)}"
            )
        encoded = next((n for n in ENCODED if n in schema.names and _is_encoded(schema, n)), None)
        if encoded:
            x = cache.decoded(path, encoded, lambda: _decode(path, encoded))
            y = pq.read_table(path, columns=[label])[label].to_numpy()
        else:
            table = pq.read_table(path)
            y = table[label].to_numpy()
            x = _flat(table.drop_columns([label]), path)
    return x, y, _class_names(schema, label)


def _is_encoded(schema: pa.Schema, name: str) -> bool:
    kind = schema.field(name).type
    return any(t(kind) for t in (pa.types.is_struct, pa.types.is_binary, pa.types.is_large_binary))


def _decode(path: Path, column: str) -> Array:
    encoded = pq.read_table(path, columns=[column])[column].combine_chunks()
    if pa.types.is_struct(encoded.type):
        encoded = encoded.field("bytes")
    return images.decode(encoded.to_pylist(), path)


def _flat(table: pa.Table, path: Path) -> Array:
    """One list column (pixels or features), or every numeric column as a feature."""
    lists = [n for n in table.column_names if pa.types.is_nested(table.schema.field(n).type)]
    if len(lists) == 1:
        column = table[lists[0]].combine_chunks()
        rows = len(column)
        values: Array = column.flatten().to_numpy(zero_copy_only=False)
        if (
            rows == 0
            or len(values) % rows
            or len(set(pa.compute.list_value_length(column).to_pylist())) > 1
        ):
            raise InputError(f"{path}: every list in column {lists[0]!r} must have one length")
        return values.reshape(rows, *_pixel_shape(values, rows, table.schema.metadata))
    wrong = [
        f.name
        for f in table.schema
        if not (pa.types.is_integer(f.type) or pa.types.is_floating(f.type))
    ]
    if wrong or not table.column_names:
        raise InputError(
            f"{path}: needs an image column ({' or '.join(ENCODED)}), one list column, or numeric "
            f"columns only. Given: {', '.join(wrong) or 'labels alone'}"
        )
    return np.stack([table[name].to_numpy() for name in table.column_names], axis=1)


def _pixel_shape(values: Array, rows: int, metadata: dict[bytes, bytes] | None) -> tuple[int, ...]:
    """The shape in the file's metadata (`shape`, JSON); square for bytes; else a vector."""
    size = len(values) // rows
    if metadata and b"shape" in metadata:
        return tuple(json.loads(metadata[b"shape"]))
    if values.dtype == np.uint8:
        for channels in (1, 3):
            side = round((size / channels) ** 0.5)
            if side * side * channels == size:
                return (side, side) if channels == 1 else (side, side, 3)
    return (size,)


def _class_names(schema: pa.Schema, label: str) -> tuple[str, ...] | None:
    """Class names from the metadata that the Hugging Face hub writes, when there are any."""
    info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    names = info.get("info", {}).get("features", {}).get(label, {}).get("names")
    return tuple(names) if names else None


def _read_batches(path: Path) -> Raw:
    with reading(path, "CIFAR-10 batches"):
        parts = cifar_batches.read(path)
    files = (path,) if path.is_file() else tuple(path / name for name in cifar_batches.FILES)
    return Raw(parts, files)
