"""Print the best net of a run as a TOML file, which trains that net again.

  ffnet best runs/digits-… > best.toml
  ffnet train best.toml --out runs/best

The best trial is the first in `ffnet table`; --trial names another trial. The file has all fields
of the net and its training, the trial's seed, and what ends a trial that is not pruned: the study's
number of epochs and its patience. With the same data, versions and number of threads, the net gets
the same weights, bit for bit; `ffnet train --from RUN --trial ID` checks this.

Exit status: 0; 2 for bad input.
"""

from typing import Any

import tomli_w

from ffnet.cli import command
from ffnet.errors import InputError
from ffnet.run import ranking, recorded, tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row
from ffnet.spec.base import Values
from ffnet.spec.relevance import relevant
from ffnet.spec.sections import Tuning
from ffnet.spec.study import OneNet
from ffnet.spec.validation import validated


def main(argv: list[str]) -> int:
    """Parse, choose the trial, print."""
    parser = command.parser("best RUN [options]", __doc__)
    parser.add_argument("run", metavar="RUN", help="folder of the run, or its s3:// or gs:// URI")
    parser.add_argument("--trial", help="number of the trial in the table [the best]")
    flags = parser.parse_args(argv)
    folder = RunFolder.existing(flags.run)
    study, rows = recorded.read_study_json(folder)["study"], tables.read(folder.trials)
    tuning = ranking.tuning_of(study, str(folder.study))
    row = recorded.trial(rows, flags.trial) if flags.trial else _best(rows, tuning)
    recorded.refuse_follower(row)
    print(_about(folder, row, tuning.metric))
    print(tomli_w.dumps(relevant(one_net(study, row).model_dump(mode="json", exclude_none=True))))
    return 0


def one_net(study: Values, row: Row) -> OneNet:
    """A trial as one net. `ffnet train` trains it as the study does without a scheduler.

    Args:
        study: the study or the one net, as in study.json.
        row: the trial's row of trials.parquet.

    Raises:
        InputError: the row has values that no trial can have.
    """
    config, tuning = recorded.config(study, row), study.get("tuning", study)
    values: dict[str, Any] = {
        "seed": config.seed,
        "epochs": config.epochs,
        "metric": tuning["metric"],
        "patience_epochs": tuning["patience_epochs"],
        "min_delta": tuning["min_delta"],
        "evaluate_test": study.get("evaluate_test", False),
        "data": study["data"],
        "net": config.net.model_dump(),
        "training": config.training.model_dump(),
    }
    return validated(OneNet, relevant(values), f"trial {row['trial']}", recorded=True)


def _best(rows: list[Row], tuning: Tuning) -> Row:
    """The row of the best trial."""
    if row := ranking.best(rows, tuning):
        return row
    raise InputError(f"no trial of this run has reported a {tuning.metric}: name one with --trial")


def _about(folder: RunFolder, row: Row, metric: str) -> str:
    """Comments for the file: the trial, its best figure, and how to train it again."""
    name, best = f"best_{metric}", "no report"
    if row[name] is not None:
        best = f"{name} {row[name]:.4f} at epoch {row[f'{name}_epoch']:g}"
    return (
        f"# Trial {row['trial']} of {folder.name}: {row['status']} after {row['epochs'] or 0:g} "
        f"epochs, {best}.\n# To train it again: ffnet train FILE"
    )
