"""Opens CSV files, and finds out from their first rows how they are written."""

import codecs
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from ffnet.data.raw import listed
from ffnet.errors import InputError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
"""The separators that are found out. Any other must be named."""
BLOCK = 8 << 20
"""How many bytes PyArrow parses at a time. A row must fit into one block."""
_HEAD = 1 << 20
_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_OTHER = {
    b"\xff\xfe": "text in UTF-16", b"\xfe\xff": "text in UTF-16", b"PK\x03\x04": "zip or Excel",
    b"\xd0\xcf\x11\xe0": "Excel", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PAR1": "Parquet",
    b"ARROW1": "Arrow", b"\x93NUMPY": "npy",
}  # fmt: skip
_NUMBER = re.compile(r"[-+]?([0-9]+[.,]?[0-9]*|[.,][0-9]+)([eE][-+]?[0-9]+)?")
REMEDY = "; save it as CSV in UTF-8"


def opened(path: Path) -> pa.NativeFile:
    """Open a file, unpacked: its first bytes say whether it is packed, whatever its name says."""
    with path.open("rb") as file:
        first = file.read(8)
    packed = next((kind for magic, kind in _PACKED.items() if first.startswith(magic)), None)
    return pa.input_stream(str(path), compression=packed)


def options(separator: str) -> pa.csv.ParseOptions:
    """Return how rows are taken apart: quotes as in RFC 4180, also around line breaks."""
    return pa.csv.ParseOptions(delimiter=separator, newlines_in_values=True)


def into(odd: list[pa.csv.InvalidRow], then: str) -> Callable[[pa.csv.InvalidRow], str]:
    """Return what PyArrow calls for a row with too many or too few cells: it keeps the row.

    Args:
        odd: gets the row.
        then: what PyArrow does next, "skip" or "error".
    """

    def keep(row: pa.csv.InvalidRow) -> str:
        odd.append(row)
        return then

    return keep


def look(path: Path, wanted: str | None) -> tuple[str, list[str]]:
    """Return the separator, and the columns' names as the first row has them.

    Args:
        path: the file.
        wanted: the separator if it is known. With None, it is the one of `SEPARATORS` with
            which the fewest rows have more or fewer cells than the first, and the first has most.

    Raises:
        InputError: the file is no text in UTF-8, or its first row does not name two columns.
    """
    with opened(path) as file:
        head = _read(file, _HEAD)
        if b"\n" not in head and b"\r" not in head:  # a row of very many names
            head += _read(file, BLOCK - len(head))
        whole = not file.read(1)
    _refuse_no_text(head, path)
    if first := re.match(rb"(\xef\xbb\xbf)?(\"?sep=.\"?)\r?\n", head, re.I):
        raise InputError(
            f"{path}: the first row must name the columns. Given: {first[2].decode()}, which only "
            f"Excel reads; remove this row"
        )
    if whole and len(head.strip().splitlines()) < 2:
        raise InputError(f"{path}: must have a row of names and rows of data. Given: a single row")
    rows = head if whole else head[: max(head.rfind(b"\n"), head.rfind(b"\r")) + 1]
    if not rows:
        raise InputError(
            f"{path}: its rows must be shorter than {BLOCK >> 20} MiB. Given: a first row without "
            f"an end{REMEDY}"
        )
    _, names, separator = min(
        (_parsed(rows, each) for each in ([wanted] if wanted else SEPARATORS)),
        key=lambda found: (found[0], -len(found[1])),
    )
    if len(names) < 2:
        known = ", ".join(SEPARATORS.values()) if wanted is None else repr(wanted)
        raise InputError(
            f"{path}: the first row must name two columns or more, separated by "
            f"{known}. Given: {listed(names)}; name another "
            f"separator with separator"
        )
    _refuse_data(names, path)
    return separator, names


def _read(file: pa.NativeFile, count: int) -> bytes:
    """Read so many bytes, or what is there: a packed file may return them in pieces."""
    found = b""
    while len(found) < count and (more := file.read(count - len(found))):
        found += more
    return found


def _parsed(rows: bytes, separator: str) -> tuple[float, list[str], str]:
    """Return the share of rows with another number of cells, the names, and the separator.

    A single name counts as no name: then all rows are odd.
    """
    odd: list[pa.csv.InvalidRow] = []
    way = options(separator)
    way.invalid_row_handler = into(odd, "skip")
    table = pa.csv.read_csv(
        pa.BufferReader(rows), pa.csv.ReadOptions(use_threads=False, block_size=len(rows) + 1), way,
        pa.csv.ConvertOptions(check_utf8=False),
    )  # fmt: skip
    names = table.schema.names
    share = len(odd) / max(1, len(odd) + len(table))
    return share if len(names) > 1 else 2.0, names, separator


def first_rows(path: Path, separator: str) -> pa.Table:
    """Return the first rows of a file as texts, with gaps as they are written."""
    with opened(path) as file:
        head = _read(file, _HEAD)
        whole = not file.read(1)
    rows = head if whole else head[: max(head.rfind(b"\n"), head.rfind(b"\r")) + 1]
    way = options(separator)
    way.invalid_row_handler = into([], "skip")
    read = pa.csv.ReadOptions(use_threads=False, block_size=len(rows) + 1)
    texts = pa.csv.ConvertOptions(check_utf8=False, null_values=[], column_types={})
    return pa.csv.read_csv(pa.BufferReader(rows), read, way, texts)


def _refuse_no_text(head: bytes, path: Path) -> None:
    for magic, kind in _OTHER.items():
        if head.startswith(magic):
            raise InputError(f"{path}: must be CSV in UTF-8. Given: {kind}{REMEDY}")
    if not head.strip(b"\xef\xbb\xbf\r\n\t "):
        raise InputError(f"{path}: must have a row of names and rows of data. Given: an empty file")
    if b"\0" in head:
        raise InputError(
            f"{path}: must be text in UTF-8. Given: NUL at byte {head.index(0)}, as in UTF-16 or "
            f"in a binary file{REMEDY}"
        )
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError as error:
        line = head[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}: must be text in UTF-8. Given: the byte {head[error.start]:#x} in line "
            f"{line}, as in Latin-1 or Windows-1252{REMEDY}"
        ) from None


def _refuse_data(names: list[str], path: Path) -> None:
    """Raise InputError if the first row is certainly no row of names.

    Numbers can be names: different whole numbers, or numbers that rise or fall, as wavelengths do.
    """
    numbers = [name.strip() for name in names if _NUMBER.fullmatch(name.strip())]
    values = [float(number.replace(",", ".")) for number in numbers]
    steps = {(a < b) - (a > b) for a, b in pairwise(values)}
    positions = all(map(str.isdigit, numbers)) and len(set(values)) == len(values)
    if not positions and steps not in (set(), {1}, {-1}):
        raise InputError(
            f"{path}: the first row must name the columns. Given: {listed(names)}; write a row of "
            f"names above the data"
        )
