"""Export a run to Optuna, MLflow or Weights & Biases, to look at it in their programs.

  ffnet export-study runs/digits-… --to-optuna sqlite:///study.db
  optuna-dashboard sqlite:///study.db

  ffnet export-study runs/digits-… --to-mlflow http://127.0.0.1:5000
  ffnet export-study runs/digits-… --to-mlflow sqlite:///mlflow.db
  mlflow server --backend-store-uri sqlite:///mlflow.db

  ffnet export-study runs/digits-… --to-wandb
  wandb sync              uploads the runs in ./wandb; nothing is sent before

All trials are exported, with their hyper-parameters, curves, figures and status. Optuna and MLflow
have fewer statuses than ffnet; the exact one is the attribute or tag `status`. Each program must be
installed: pip install optuna-dashboard, 'ffnet[mlflow]' or 'ffnet[wandb]'.

What was exported does not change when the run goes on. A second export of the same name to the same
place is refused. Exit status: 0; 1 when the place cannot be reached or written; 2 for bad input.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from ffnet.cli import command
from ffnet.run import tables
from ffnet.run.folder import RunFolder
from ffnet.system.live import LiveLine


def main(argv: list[str]) -> int:
    """Parse, read the run, export it to the one place that is named."""
    flags = _parser().parse_args(argv)
    folder = RunFolder.existing(flags.run)
    with LiveLine(sys.stderr) as live:
        said = _export(flags, folder, live)
    rows = tables.read(folder.trials, ["status"]) if folder.trials.exists() else []
    states = ", ".join(f"{n} {s}" for s, n in Counter(row["status"] for row in rows).items())
    print(f"{len(rows)} trials: {states or 'none began'}\n{said}")
    return 0


def _export(flags: argparse.Namespace, folder: RunFolder, live: LiveLine) -> str:
    """Export the run. Returns where it is now, and what to do next."""

    def progress(done: int, of: int) -> None:
        live.watch(lambda: f"{done:,} of {of:,} trials are exported, {100 * done // of} %")

    live.watch(lambda: f"reading {folder}…")
    # Each module is imported only if it is needed: Optuna, MLflow and W&B take seconds.
    name = flags.name or folder.name
    if flags.to_optuna is not None:
        from ffnet.report.tools.to_optuna import to_optuna

        return to_optuna(folder, flags.to_optuna, name, progress)
    from ffnet.report.tools.tracked import tracked

    if flags.to_mlflow is not None:
        from ffnet.report.tools.to_mlflow import to_mlflow

        return to_mlflow(tracked(folder), flags.to_mlflow, name, progress)
    from ffnet.report.tools.to_wandb import to_wandb

    return to_wandb(tracked(folder), Path(flags.to_wandb), name, progress)


def _parser() -> argparse.ArgumentParser:
    usage = "export-study RUN (--to-optuna URL | --to-mlflow URI | --to-wandb)"
    parser = command.parser(usage, __doc__)
    parser.add_argument("run", metavar="RUN", help="folder of the run, or its s3:// or gs:// URI")
    to = parser.add_mutually_exclusive_group(required=True)
    to.add_argument("--to-optuna", metavar="URL", help="Optuna's storage, as sqlite:///study.db")
    to.add_argument(
        "--to-mlflow", metavar="URI", help="MLflow's tracking URI: http://…, or sqlite:///mlflow.db"
    )
    to.add_argument(
        "--to-wandb",
        nargs="?",
        const=".",
        metavar="FOLDER",
        help="write offline runs of W&B into FOLDER/wandb [the working directory]",
    )
    parser.add_argument("--name", help="name of the run there [the name of its folder]")
    return parser
