"""Show what ffnet understands of a data set: columns, classes, parts, warnings. Nothing is written.

  ffnet data measurements.csv --target species
  ffnet data mnist --json

The flags of section [data] are those of `ffnet tune`.

Exit status: 0; 2 when the data set is refused.
"""

import json
from typing import TYPE_CHECKING, Any

from ffnet.cli import command
from ffnet.cli.flags import add_flags, given, override
from ffnet.report import terminal
from ffnet.report.columns import side_by_side, total_width
from ffnet.report.text import columns_of
from ffnet.spec.base import Spec
from ffnet.spec.sections import Data
from ffnet.spec.validation import validated

if TYPE_CHECKING:
    from ffnet.data.dataset import DataSet

MOST_CLASSES = 40
"""The output names so many classes at most; --json names all."""
SHOWN = ("column", "kind", "missing", "distinct", "range")


class DataOnly(Spec):
    """The part of a study that says which data are used."""

    data: Data = Data()


def main(argv: list[str]) -> int:
    """Load the data set and describe it."""
    parser = command.parser("data [DATASET] [options]", __doc__)
    parser.add_argument(
        "name", nargs="?", metavar="DATASET", help="as --dataset: a name or a path [digits]"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    add_flags(parser, DataOnly)
    flags = parser.parse_args(argv)
    if flags.name is not None and flags.dataset is not None:
        parser.error("give the data set once: as DATASET or with --dataset")
    flags.dataset = flags.dataset if flags.name is None else flags.name
    values = override({}, flags, DataOnly)
    asked = validated(DataOnly, values, "command line", given(flags, DataOnly)).data

    from ffnet.data.load import load_raw

    data = load_raw(asked)[0]
    print(json.dumps(_document(data), indent=2) if flags.json else _text(data))
    return 0


def _document(data: "DataSet") -> dict[str, Any]:
    from ffnet.data import summary
    from ffnet.run.provenance import about

    kept = (
        "name", "description", "source", "sha256", "sizes", "example_shape", "target", "unused",
        "unlabelled", "notes",
    )  # fmt: skip
    whole = about(data)
    return {name: whole[name] for name in kept} | {
        "columns": summary.columns(data),
        "classes": summary.classes(data),
    }


def _text(data: "DataSet") -> str:
    from ffnet.data import summary

    most = terminal.width()
    sizes = ", ".join(f"{len(part):,} {name}" for name, part in summary.parts(data).items())
    shape = "×".join(map(str, data.example_shape))
    columns = [each | {"range": _range(each)} for each in summary.columns(data)]
    about = f"{len(columns)} columns" if columns else f"examples of {shape} ({data.dtype})"
    blocks = [terminal.wrapped_text(f"{data.name}: {sizes}; {about}", most)]
    if columns:
        blocks.append(_table(columns, most))
    classes = summary.classes(data)
    head = f"{len(classes)} classes" + (f", column {data.target}" if data.target else "")
    table = terminal.wrapped(classes[:MOST_CLASSES], list(classes[0]), most)
    more = len(classes) - MOST_CLASSES
    blocks.append(f"{head}\n\n{table}" + (f"\n{more:,} more" if more > 0 else ""))
    notes = list(data.notes)
    notes += [
        f"{n:,} {part} rows without a label are left out" for part, n in data.unlabelled.items()
    ]
    if notes:
        blocks.append("\n".join(terminal.wrapped_text(f"- {note}", most) for note in notes))
    return "\n\n".join(blocks)


def _table(columns: list[dict[str, Any]], most: int | None) -> str:
    """A line for each column. Long names and ranges are cut if the table would be too wide."""
    *first, last = columns_of(columns, SHOWN)
    if most is not None:
        first[0] = first[0].cut(max(most // 3, 1))
        last = last.cut(max(most - total_width(first) - 2, 1))
    return side_by_side([*first, last])


def _range(column: dict[str, Any]) -> str:
    """Return the range of a column: its lowest and highest value, or its categories."""
    if column["kind"] == "category":
        unseen = f"{column['unseen']:,} unseen in train; " if column["unseen"] else ""
        shown = ", ".join(column["categories"][:20])
        return unseen + shown
    low, high = (v if isinstance(v, str) else f"{v:.6g}" for v in (column["low"], column["high"]))
    return f"{low} to {high}"
