"""Fuzzed parsers of studies: TOML files and the study.json of a run; see tests/fuzzing.py."""

import json
import random
import tomllib
from pathlib import Path
from typing import Any

from ffnet.run.study_files import name_of, read_study
from ffnet.spec.study import Study
from ffnet.spec.validation import validated
from fuzzing import fuzzed

STUDIES = Path(__file__).parent.parent / "jobs" / "studies"
SPACE = b"""
seed = 3
name = "a"
[net]
dropout = 0.1
[space]
hidden_sizes = { each = { log_integer = [64, 512] }, depth = { integer = [1, 3] } }
momentum = { uniform = [0.5, 0.95], when = { optimizer = ["sgd", "rmsprop"] } }
optimizer = { choice = ["sgd", "adam"] }
batch_size = { choice = [8, 16] }
learning_rate = [
  { choice = [0.1, 0.2], when = { optimizer = "sgd" } },
  { choice = [0.3], when = { optimizer = "adam", batch_size = 8 } },
]
[tuning]
search = "tpe"
learn_from = "runs/a"
points = [{ batch_size = 8, optimizer = "sgd", momentum = 0.9 }, { hidden_sizes = [64, 65] }]
"""
GRID = b"""
[space]
hidden_sizes = { each = { choice = [4, 8] }, depth = { choice = [1, 2] } }
momentum = { choice = [0.5, 0.9], when = { hidden_sizes = [[4, 8], 8] } }
[tuning]
search = "grid"
"""
LAYERS = b"""
[space]
hidden_sizes = { layers = [64, { choice = [8, 16] }] }
dropout = { each = { uniform = [0.1, 0.2] } }
bias = { choice = [true, false] }
[tuning]
points = [{ hidden_sizes = [64, 8], dropout = [0.1, 0.2], bias = true }]
scheduler = "pbt"
metric = "val_loss"
[budget]
trials = 20
epochs = 2
"""
WORDS = (
    *(b"[space]", b"[", b"]", b"{", b"}", b"=", b",", b"\"", b"'''", b"inf", b"nan", b"true"),
    *(b"choice", b"uniform", b"each", b"depth", b"layers", b"when", b"fixed", b"log_integer"),
    *(b"1e308", b"-1", b"0", b"1.5", b"9" * 5000, b"0x" + b"f" * 900, b"2024-01-01", b"[[[[" * 60),
    *(b"\\u0000", b"\\ud800", b"\x1b[31m", "\u2028\u202e".encode(), b"\xef\xbb\xbf", b"\r\n"),
    *(b"a." * 300, b"optimizer", b"hidden_sizes", b"momentum", b"[[space]]", b"10000000000"),
)  # fmt: skip


def _tomls() -> list[bytes]:
    return [SPACE, GRID, LAYERS, *(path.read_bytes() for path in sorted(STUDIES.glob("*.toml")))]


def _jsons() -> list[bytes]:
    folder = Path(__file__).parent
    made = []
    for text in _tomls():
        values = tomllib.loads(text.decode())
        study = validated(Study, {"name": "a"} | values, str(folder))
        made.append(json.dumps({"study": study.resolved(), "data": {}, "versions": {}}).encode())
    return made


def _read(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    study = validated(Study, {"name": name_of(str(path)), **read_study(str(path))}, path.name)
    study.resolved()


@fuzzed("toml", _tomls, WORDS)
def toml(data: bytes, folder: Path) -> None:
    _read(data, folder / "study.toml")


@fuzzed("study_json", _jsons, WORDS)
def study_json(data: bytes, folder: Path) -> None:
    _read(data, folder / "study.json")


ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**40, 2**70, 10**5000, 0.5, -0.0, 1e308, float("nan"),
    float("inf"), "", "sgd", "x" * 1000, "\x1b[2J", "\ud800", [], {}, [[]], [{}], {"fixed": 1},
    {"choice": [1, 2]}, {"uniform": [0.1, 0.2]}, {"each": 4, "depth": 2}, {"layers": [4, 8]},
    {"choice": [1], "when": {"optimizer": "adam"}}, {"when": {}}, {"": {"": {}}},
    [1, {"choice": 1}],
)  # fmt: skip


def _changed(draw: random.Random, tree: Any) -> Any:
    """Return a tree with an odd value in place of one of its nodes."""
    if not isinstance(tree, dict | list) or not tree or draw.random() < 0.15:
        return draw.choice(ODD)
    copy: Any = tree.copy()
    key = draw.choice(list(tree) if isinstance(tree, dict) else range(len(tree)))
    if isinstance(copy, dict) and draw.random() < 0.2:
        copy[draw.choice(("when", "each", "choice", "fixed", "x", "optimizer", "dropout"))] = (
            copy.pop(key)
        )
    else:
        copy[key] = _changed(draw, tree[key])
    return copy


@fuzzed("study_values", lambda: [b"0123456789" * 4])
def study_values(data: bytes, folder: Path) -> None:
    """Validate a study with an odd value. The input changes the values, not the text."""
    draw = random.Random(data)
    values = tomllib.loads(draw.choice(_tomls()).decode())
    for _ in range(draw.choice((1, 1, 2, 4))):
        values = _changed(draw, values)
    if isinstance(values, dict):
        validated(Study, values, "values").resolved()
