"""List the runs in a folder, the newest first, each with its best trial.

  ffnet runs                    those in runs/
  ffnet runs /srv/ffnet/runs

Exit status: 0; 2 when the folder holds no run.
"""

from collections import Counter
from typing import Any

from ffnet.cli import command
from ffnet.errors import InputError
from ffnet.report.text import render
from ffnet.run import tables
from ffnet.run.folder import RunFolder
from ffnet.run.listing import HERE, runs
from ffnet.run.ranking import best_first, tuning_of
from ffnet.run.study_files import read_study

COLUMNS = ("run", "begun", "trials", "best_trial", "metric", "best")


def main(argv: list[str]) -> int:
    """Read each run's tables, and print a line for it."""
    parser = command.parser("runs [FOLDER] [options]", __doc__)
    parser.add_argument(
        "folder", nargs="?", metavar="FOLDER", default=HERE, help="folder of runs [%(default)s]"
    )
    found = runs(parser.parse_args(argv).folder)
    print(render([_row(run) for run in found], COLUMNS, "table"))
    return 0


def _row(run: RunFolder) -> dict[str, Any]:
    row = dict.fromkeys(COLUMNS) | {"run": run.name}
    try:
        tuning = tuning_of(read_study(str(run.study)))
        best = f"best_{tuning.metric}"
        rows = tables.read(run.trials, ["trial", "status", "started_at", best])
    except (InputError, OSError) as error:  # one damaged run hides no other
        return row | {"trials": str(error) if run.trials.exists() else "no table yet"}
    counts = Counter(trial["status"] for trial in rows)
    begun = [trial["started_at"] for trial in rows if trial["started_at"]]
    row |= {
        "begun": min(begun) if begun else None,
        "trials": ", ".join(f"{n} {status}" for status, n in counts.items()),
        "metric": tuning.metric,
    }
    for trial in best_first(rows, tuning)[:1]:
        row |= {"best_trial": trial["trial"], "best": trial[best]}
    return row
