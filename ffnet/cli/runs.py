"""List the runs in a folder, the newest first, each with its best trial.

  ffnet runs                    the runs in runs/
  ffnet runs /srv/ffnet/runs

Exit status: 0; 2 when the folder holds no run.
"""

from collections import Counter
from typing import Any

from ffnet.cli import command
from ffnet.errors import InputError
from ffnet.report import terminal
from ffnet.run import tables
from ffnet.run.folder import RunFolder
from ffnet.run.listing import HERE, runs
from ffnet.run.ranking import best_first, tuning_of
from ffnet.run.study_files import read_study

COLUMNS = ("run", "begun", "trials", "best_trial", "metric", "best")


def main(argv: list[str]) -> int:
    """Read each run's tables, and print a line for each run."""
    parser = command.parser("runs [FOLDER] [options]", __doc__)
    parser.add_argument(
        "folder", nargs="?", metavar="FOLDER", default=HERE, help="folder of runs [%(default)s]"
    )
    found = runs(parser.parse_args(argv).folder)
    faults: dict[str, str] = {}
    rows = [_row(run, faults) for run in found]
    most = terminal.width()
    table, left_out = terminal.fitted(rows, COLUMNS, most)
    print(table)
    if left_out:
        print(terminal.left_out_line(left_out, "a wider terminal or a pipe shows them", most))
    for name, fault in faults.items():
        print(f"{name}: {fault}")
    return 0


def _row(run: RunFolder, faults: dict[str, str]) -> dict[str, Any]:
    """A run's row. If the run cannot be read, the reason is put into `faults`."""
    row = dict.fromkeys(COLUMNS) | {"run": run.name}
    try:
        tuning = tuning_of(read_study(str(run.study)))
        best = f"best_{tuning.metric}"
        rows = tables.read(run.trials, ["trial", "status", "started_at", best])
    except (InputError, OSError) as error:
        if not run.trials.exists():
            return row | {"trials": "no table yet"}
        faults[run.name] = str(error)
        return row | {"trials": "unreadable"}
    counts = Counter(trial["status"] for trial in rows)
    begun = [trial["started_at"] for trial in rows if trial["started_at"]]
    row |= {
        "begun": min(begun) if begun else None,
        "trials": ", ".join(f"{counts[s]} {s}" for s in tables.Status if counts[s])
        or "no trial yet",
        "metric": tuning.metric,
    }
    for trial in best_first([row for row in rows if row[best] is not None], tuning)[:1]:
        row |= {"best_trial": trial["trial"], "best": trial[best]}
    return row
