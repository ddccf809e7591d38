"""Kill, freeze and starve studies at random moments, resume them, and compare what is left.

  python tests/chaos.py                                    all: about 25 minutes on two cores
  python tests/chaos.py --only asha:tpe,nodes --kills 20 --seed 7 --json figures.json
  python tests/chaos.py --quick                            one combination, about half a minute

For developers of ffnet. Studies of every scheduler with every search run as users run them, and
their drivers and workers are frozen, or killed with SIGKILL. Other studies run on three nodes that
are killed (`nodes`), on a disk that becomes full (`disk`, only if root may mount one) and in an S3
store that goes away (`store`). Each study is resumed until it has ended, and the tables are read
all the time. Exit status: 0 if nothing was lost, doubled or changed; otherwise 1.
"""

import argparse
import itertools
import json
import logging
import random
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from chaos_runs import Case, Event, Result, Run
from chaos_stages import Disk, DiskRun, Nodes, NodesRun, StoreRun
from chaos_world import World
from ffnet.report import text
from ffnet.run.provenance import commit
from s3_server import s3_server

SCHEDULERS, SEARCHES = ("asha", "median", "none", "hyperband", "pbt"), ("random", "grid", "tpe")
COMBINATIONS = [
    f"{scheduler}:{search}"
    for scheduler, search in itertools.product(SCHEDULERS, SEARCHES)
    if (scheduler, search) != ("pbt", "tpe")  # ffnet refuses it
]
STAGES = {
    "nodes": ["none:random", "asha:tpe", "median:grid", "hyperband:random", "pbt:random"],
    "disk": ["asha:random", "none:grid"],
    "store": ["asha:random", "median:tpe"],
}
ALONE = ("asha", "median", "none")
"""Schedulers whose studies always end the same, with one trial at a time, despite disturbances."""

DISTURBANCES = (
    "driver kills", "worker kills", "node kills", "freezes", "full disks", "outages",
)  # fmt: skip
DONE = (
    *DISTURBANCES, "survivals", "epochs", "epochs repeated", "readings", "checkpoints read",
    "seconds",
)  # fmt: skip
FAULTS = (
    "rows lost", "trials twice", "reports twice", "reports missing", "ended rows changed",
    "decisions changed", "failed, or not ended", "unreadable moments", "wrong exits", "tracebacks",
    "second drivers", "hung", "studies that never ended", "left behind",
    "left behind while the next trained", "best weights lost",
)  # fmt: skip
"""Findings that must not occur."""

FREEZES = ("orphan", "frozen worker", "frozen driver", "second driver")
"""Events that freeze processes; see `Run`."""

SHOWN, MOST = 3, 500
"""How many cases of a finding are printed, and characters of each. The file of --json has all."""

EPOCHS = 9
DRAWN = """
hidden_sizes = { log_integer = [4, 32] }
learning_rate = { log_uniform = [1e-4, 3e-1] }
dropout = { choice = [0.0, 0.2, 0.4] }
"""
GRID = """
hidden_sizes = { choice = [4, 16] }
learning_rate = { choice = [0.0003, 0.003, 0.03, 0.3] }
"""


# --- studies -------------------------------------------------------------------------------------


def make_data(folder: Path) -> Path:
    """Make three classes that overlap, so that nets differ in their accuracy."""
    random_numbers = np.random.default_rng(0)
    y = np.arange(3000) % 3
    x = random_numbers.normal(size=(3000, 12)) + np.eye(3)[y] @ random_numbers.normal(size=(3, 12))
    path = folder / "overlapping.npz"
    np.savez(path, x=x.astype(np.float32), y=y)
    return path


def make_case(name: str, data: Path, alone: bool = True) -> Case:
    """Write a study of some tiny nets for a combination.

    Args:
        name: SCHEDULER:SEARCH.
        data: the file of the data set; the study's file is written beside it.
        alone: whether trials run one at a time, if the scheduler allows it.
    """
    scheduler, search = name.split(":")
    # TPE draws ten trials before it learns from them.
    trials = {"grid": 8, "tpe": 14, "random": 8}[search]
    path = data.with_name(f"{scheduler}-{search}.toml")
    path.write_text(
        f"""
[data]
dataset = "{data}"
[training]
batch_size = 2
[space]{GRID if search == "grid" else DRAWN}
[tuning]
search = "{search}"
scheduler = "{scheduler}"
[budget]
trials = {trials}
epochs = {EPOCHS}
"""
    )
    alone = alone and scheduler in ALONE
    always = ("none:random", "none:grid", "hyperband:random", "hyperband:grid")
    decided = alone or name in always
    flags = ("--concurrency", "1") if alone else ()
    return Case(name, path, flags, trials, scheduler == "pbt", decided)


def plan(kills: int, workers: int, freezes: int, dice: random.Random) -> list[Event]:
    """Return the disturbances in their order."""
    order = ["middle", "ray", "first", "tables", "between", "middle"]
    dice.shuffle(order)
    when = itertools.cycle([*order, "end", "over"])
    events = [Event("driver", next(when)) for _ in range(kills)]
    others = [Event("worker", dice.choice(["first", "middle", "middle"])) for _ in range(workers)]
    whats = itertools.islice(itertools.cycle(dice.sample(FREEZES, len(FREEZES))), freezes)
    for event in [*others, *(Event(what, "middle") for what in whats)]:
        events.insert(dice.randint(0, len(events)), event)
    return events


# --- what runs -----------------------------------------------------------------------------------

Make = Callable[[Case, str], Run]


class Chaos:
    """Runs the combinations and stages that the user asked for, several at the same time."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._asked = asked
        self.results: dict[str, Result] = {}

    def run(self) -> None:
        """Run everything, and print the result of each part when it ends."""
        names = self._asked.only or [*STAGES, *COMBINATIONS]  # the longest first
        kills = shared_out(self._asked.kills, [name for name in names if name not in STAGES])
        workers = shared_out(self._asked.workers_kills, [*kills])
        with ThreadPoolExecutor(self._asked.lanes) as lanes:
            parts = {
                lanes.submit(self._part, name, kills.get(name, 0), workers.get(name, 0)): name
                for name in names
            }
            for part in as_completed(parts):
                name = parts[part]
                self.results[name] = part.result()
                print(describe(name, self.results[name]), flush=True)

    def _part(self, name: str, kills: int, workers: int) -> Result:
        begun = time.monotonic()
        with closing(World(self._asked.keep)) as world:
            if name in STAGES:
                result: Result = getattr(self, f"_{name}")(world)
            else:
                dice = random.Random(f"{self._asked.seed}:{name}")
                events = plan(kills, workers, self._asked.freezes, dice)
                case = make_case(name, make_data(world.folder))
                result = self._disturbed(world, case, partial(Run, world), events)
        result.done["seconds"] = round(time.monotonic() - begun)
        return result

    def _nodes(self, world: World) -> Result:
        result, names = Result(), STAGES["nodes"]
        with closing(Nodes(world.folder / "n")) as nodes:
            for name, kills in shared_out(self._asked.nodes, names).items():
                case = make_case(name, make_data(world.folder), alone=False)
                events = [Event("node", "middle")] * kills
                events.insert(kills // 2, Event("driver", "middle"))
                result.add(self._disturbed(world, case, partial(NodesRun, nodes, world), events))
        return result

    def _disk(self, world: World) -> Result:
        result = Result()
        for name in STAGES["disk"]:
            case = make_case(name, make_data(world.folder))
            try:
                disk = Disk(world.folder / f"disk-{name.replace(':', '-')}")
            except PermissionError as error:
                print(f"disk: not tried, as no file system can be mounted here ({error})")
                return result
            with closing(disk):
                events = [Event("full disk", "middle"), Event("driver", "middle")]
                result.add(self._disturbed(world, case, partial(DiskRun, disk, world), events))
        return result

    def _store(self, world: World) -> Result:
        result = Result()
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # moto would log each request
        with s3_server() as server:
            for name in STAGES["store"]:
                case = make_case(name, make_data(world.folder))
                events = [Event("outage", "middle"), Event("outage and kill", "middle")]
                result.add(self._disturbed(world, case, partial(StoreRun, server, world), events))
        return result

    def _disturbed(self, world: World, case: Case, make: Make, events: list[Event]) -> Result:
        """Run a study again and again until all events have happened."""
        result = Result()
        if case.decided:
            run = Run(world, case, f"{self._asked.seed}:{case.name}:whole")
            case = replace(case, whole=run.through([]))
            result.add(run.result)
        left = len(events) + 1
        for number in itertools.count(1):
            run = make(case, f"{self._asked.seed}:{case.name}:{number}")
            run.through(events)
            result.add(run.result)
            if not events or len(events) == left:
                break
            left = len(events)
        result.findings["events that never came"] |= {str(event) for event in events}
        return result


def shared_out(count: int, names: Sequence[str]) -> dict[str, int]:
    """Divide `count` into nearly equal shares."""
    return {n: count // len(names) + (i < count % len(names)) for i, n in enumerate(names)}


# --- figures -------------------------------------------------------------------------------------


def is_right(result: Result) -> bool:
    """Whether there is no forbidden finding, and at most an epoch per kill was trained again."""
    kills = sum(result.done[name] for name in DISTURBANCES)
    return not any(result.findings[name] for name in FAULTS) and (
        result.done["epochs repeated"] <= kills
    )


def describe(name: str, result: Result) -> str:
    """Describe in a line what was done, then each finding in a line."""
    done = ", ".join(f"{count} {what}" for what, count in result.done.items() if count)
    lines = [f"{'right' if is_right(result) else 'WRONG'}  {name}: {done}"]
    for fault, cases in result.findings.items():
        shown = [" ".join(case.split())[-MOST:] for case in sorted(cases)[:SHOWN]]
        lines += [f"    {fault} ({len(cases)}): {case}" for case in shown]
    return "\n".join(lines)


def figures(results: dict[str, Result]) -> dict[str, dict[str, int]]:
    """Return the counts of each part, and their sum."""
    total = Result()
    for name, result in results.items():
        for fault, cases in result.findings.items():
            total.findings[fault] |= {f"{name} {case}" for case in cases}
        total.done.update(result.done)
    return {
        name: {what: result.done[what] for what in DONE}
        | {fault: len(result.findings[fault]) for fault in FAULTS}
        for name, result in {**results, "sum": total}.items()
    }


def table(counts: dict[str, dict[str, int]]) -> str:
    """Format the counts as a table with a row for each kind."""
    rows = [{"": what} | {name: of[what] for name, of in counts.items()} for what in counts["sum"]]
    return text.render(rows, ["", *counts], "table")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random moments [0]")
    parser.add_argument("--kills", type=int, default=112, help="SIGKILLs of drivers [112]")
    parser.add_argument("--workers-kills", type=int, default=56, help="SIGKILLs of workers [56]")
    parser.add_argument("--nodes", type=int, default=10, help="nodes that are killed [10]")
    parser.add_argument(
        "--freezes", type=int, default=1, help="processes that are frozen in each combination [1]"
    )
    parser.add_argument("--lanes", type=int, default=2, help="studies at the same time [2]")
    parser.add_argument("--only", type=_names, help="such as asha:tpe,none:grid,nodes,disk,store")
    parser.add_argument("--json", type=Path, help="file for the figures and findings")
    parser.add_argument("--keep", type=Path, help="folder that gets the runs and what was printed")
    parser.add_argument("--quick", action="store_true", help="one combination, about half a minute")
    return parser


def _names(value: str) -> list[str]:
    names = value.split(",")
    for name in names:
        if name not in [*COMBINATIONS, *STAGES]:
            raise argparse.ArgumentTypeError(f"known are {', '.join([*COMBINATIONS, *STAGES])}")
    return names


def main(argv: list[str]) -> int:
    """Run, print, and write the figures."""
    asked = _parser().parse_args(argv)
    if asked.quick:
        asked.only = ["asha:tpe"]
        asked.kills, asked.workers_kills, asked.freezes = 1, 1, 0
    chaos, begun = Chaos(asked), time.monotonic()
    chaos.run()
    counts, seconds = figures(chaos.results), time.monotonic() - begun
    print(f"\n{table(counts)}\n")
    right = all(is_right(result) for result in chaos.results.values())
    print(f"{'right' if right else 'WRONG'}: seed {asked.seed}, {seconds:.0f} s")
    if asked.json:
        findings = {
            name: {fault: sorted(cases) for fault, cases in result.findings.items() if cases}
            for name, result in chaos.results.items()
        }
        whole = {"seed": asked.seed, "commit": commit(), "seconds": round(seconds), "right": right}
        asked.json.write_text(
            json.dumps(whole | {"figures": counts, "findings": findings}, indent=1)
        )
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
