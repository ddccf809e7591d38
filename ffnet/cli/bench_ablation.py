"""`ffnet bench ablation`: what each ingredient of a net and of its training is worth.

A base net, the base with each ingredient alone, and the base with all of them that go together are
trained from several seeds. The figures are validation accuracies after the last epoch, so nothing
is chosen by them, and the test parts are not touched.
"""

import argparse
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ffnet.cli.bench_programs import CPUS, PEERS, keep, last_line, machine, named, show
from ffnet.cli.bench_tables import TARGETS
from ffnet.errors import InputError
from ffnet.run import intervals
from ffnet.run.tables import Row
from ffnet.spec.validation import did_you_mean

Fields = dict[str, Any]
BASE = "base"
ALL = "all together"

ANY: dict[str, Fields] = {
    "layer_norm": {"layer_norm": True},
    "batch_norm": {"batch_norm": True},
    "residual": {"residual": True},
    "gelu": {"activation": "gelu"},
    "selu": {"activation": "selu"},
    "selu + initializer fitted": {"activation": "selu", "initializer": "fitted"},
    "dropout 0.2": {"dropout": 0.2},
    "weight_decay 0.02": {"optimizer": "adamw", "weight_decay": 0.02},
    "label_smoothing 0.1": {"label_smoothing": 0.1},
    "clip_norm 1": {"clip_norm": 1.0},
    "average_decay 0.999": {"average_decay": 0.999},
    "mixup 0.2": {"mixup": 0.2},
    "input_noise 0.3": {"input_noise": 0.3},
    "cosine": {"schedule": "cosine"},
    "one_cycle": {"schedule": "one_cycle"},
    "coslog4": {"schedule": "coslog4"},
}
"""Ingredients of every data set: name → the fields that differ from the base."""

OF_IMAGES: dict[str, Fields] = {
    "bottleneck 128": {"bottleneck": 128},
    "augment_shift": {"augment_shift": 2},
    "augment_crop 0.2": {"augment_crop": 0.2},
    "augment_erase 0.1": {"augment_erase": 0.1},
    "augment_rotate 10": {"augment_rotate": 10.0},
}
OF_TABLES: dict[str, Fields] = {
    "scaling_layer": {"scaling_layer": True},
    "periodic": {"number_embedding": "periodic"},
    "plr": {"number_embedding": "plr"},
    "pbld": {"number_embedding": "pbld"},
}
IMAGES_BASE: dict[str, Any] = {
    "hidden_sizes": [256, 256], "optimizer": "adam", "learning_rate": 1e-3, "batch_size": 256,
}  # fmt: skip
TABLES_BASE = IMAGES_BASE | {"learning_rate": 2e-3, "batch_size": 128}

TOGETHER: dict[str, Any] = {
    "dropout": 0.2, "schedule": "one_cycle", "optimizer": "adamw", "weight_decay": 0.02,
    "label_smoothing": 0.1, "average_decay": 0.999,
}  # fmt: skip


def nets(dataset: str) -> dict[str, Fields]:
    """Name → the fields of a net and its training, for a data set."""
    if dataset in TARGETS:
        base, own = TABLES_BASE, dict(OF_TABLES)
        together = TOGETHER | {
            "layer_norm": True,
            "residual": True,
            "number_embedding": "pbld",
        }
    else:
        base, own = IMAGES_BASE, dict(OF_IMAGES)
        together = TOGETHER | {"batch_norm": True, "augment_shift": 2}
        if dataset != "mnist":  # a mirrored digit is no digit
            own["augment_flip"] = {"augment_flip": True}
            together |= {"augment_flip": True}
    found = {BASE: base} | {name: base | fields for name, fields in (ANY | own).items()}
    return found | {ALL: base | together}


def main(flags: argparse.Namespace) -> None:
    """Train all nets of the data sets that the flags name, and show their tables and gains."""
    wanted = _datasets(flags.dataset)
    chosen = {name: _chosen(flags.only, nets(name)) for name in wanted}
    epochs = {name: flags.epochs or (50 if name in TARGETS else 10) for name in wanted}
    lines = [
        machine("tensorflow"),
        f"validation accuracy, {flags.seeds or 5} seeds; intervals of 95 % (t)",
    ]
    single: list[Row] = []
    shown: list[list[Row]] = []
    tables: list[list[Row]] = []
    for dataset in wanted:
        work = {
            "data": _data(dataset, flags.data_dir), "epochs": epochs[dataset],
            "seeds": flags.seeds or 5,
        }  # fmt: skip
        found = [{"dataset": dataset, **row} for row in _trained(work, chosen[dataset])]
        single += found
        shown.append(table(found))
        tables = [*shown, gains(shown)] if len(shown) > 1 else shown
        keep(flags.out, "ablation", lines, tables, single)
    show(lines, tables)


def _datasets(asked: str | None) -> list[str]:
    known = ["mnist", "cifar10", *TARGETS]
    if asked is None:
        return known
    if asked not in known:
        raise InputError(
            f"--dataset must be one of {', '.join(known)} for ablation. "
            f"Given: {asked}{did_you_mean(asked, known)}"
        )
    return [asked]


def _chosen(only: str | None, known: Mapping[str, Fields]) -> dict[str, Fields]:
    """The base and the nets that --only names."""
    names = named(only, list(known), "nets")
    return {name: fields for name, fields in known.items() if name in (BASE, *names)}


def _data(dataset: str, data_dir: str | None) -> dict[str, Any]:
    if dataset not in TARGETS:
        return {"dataset": dataset, "data_dir": data_dir}
    root = Path(data_dir or os.environ.get("FFNET_DATA") or ".").expanduser() / "tables"
    return {
        "dataset": str((root / dataset).absolute()),
        "target": TARGETS[dataset],
        "scaling": "quantile",
    }


def _trained(work: dict[str, Any], nets: Mapping[str, Fields]) -> list[Row]:
    """Train the nets in as many processes as there are CPUs, each with one thread."""
    with TemporaryDirectory(prefix="ffnet-bench-") as folder, ThreadPoolExecutor(CPUS) as pool:
        files = []
        for number in range(CPUS):
            files.append(Path(folder) / f"{number}.json")
            own = dict([*nets.items()][number::CPUS])
            files[-1].write_text(json.dumps(work | {"nets": own}))
        parts = [*pool.map(lambda file: last_line(PEERS / "ablation.py", file), files)]
    found: dict[str, list[Row]] = {name: [] for name in nets}
    for row in (row for part in parts for row in part):
        found[row["net"]].append(row)
    return [row for rows in found.values() for row in rows]


def table(single: Sequence[Row]) -> list[Row]:
    """A row for each net of a data set: mean, gain over the base with its interval, ensemble.

    The gain is that of nets with the same seed, so its interval is a paired one.

    Example:
        >>> row = {"dataset": "mnist", "net": "base", "seed": 0, "accuracy": 0.5, "seconds": 2.0}
        >>> table([row | {"together": 0.5}])[0]["mean"]
        0.5
    """
    base = {row["seed"]: row["accuracy"] for row in single if row["net"] == BASE}
    rows = []
    for name in dict.fromkeys(row["net"] for row in single):
        own = {row["seed"]: row for row in single if row["net"] == name}
        gain = intervals.mean([row["accuracy"] - base[seed] for seed, row in own.items()])
        together = next(row["together"] for row in own.values() if row["together"] is not None)
        compared = name != BASE
        rows.append(
            {
                "data set": single[0]["dataset"],
                "net": name,
                "mean": _rounded(statistics.mean(row["accuracy"] for row in own.values())),
                "gain": _rounded(gain.mean) if compared else None,
                "from": _rounded(gain.low) if compared else None,
                "to": _rounded(gain.high) if compared else None,
                "mean of all nets' probabilities": _rounded(together),
                "seconds a net": statistics.median(row["seconds"] for row in own.values()),
            }
        )
    return rows


def gains(tables: Sequence[Sequence[Row]]) -> list[Row]:
    """A row for each net with its gain on each data set, and a star where the interval has no 0.

    Example:
        >>> row = {"data set": "pima", "net": "plr", "gain": 0.0345, "from": 0.0131, "to": 0.0559}
        >>> gains([[row]])
        [{'net': 'plr', 'pima': '+0.0345*'}]
    """
    empty = {rows[0]["data set"]: None for rows in tables}
    found: dict[str, Row] = {}
    for row in (row for rows in tables for row in rows if row["net"] != BASE):
        apart = row["from"] is not None and (row["from"] > 0 or row["to"] < 0)
        own = found.setdefault(row["net"], {"net": row["net"]} | empty)
        own[row["data set"]] = f"{row['gain']:+.4f}{'*' * apart}"
    return list(found.values())


def _rounded(value: float | None) -> float | None:
    """Four decimals, as many as accuracies have in all tables; -0.0 becomes 0.0."""
    return None if value is None else round(value, 4) + 0.0
