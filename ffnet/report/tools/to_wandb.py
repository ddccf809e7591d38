"""Exports a run as offline runs of Weights & Biases, through its own client. Nothing is sent.

Each trial is a run of W&B, and all trials of the run are a group. `wandb sync` uploads them.
"""

import hashlib
import os
import shlex
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from ffnet.errors import InputError, RunError
from ffnet.report.tools.places import Progress, already_there, in_one_line, needs
from ffnet.report.tools.tracked import Tracked, Trial
from ffnet.run.tables import Status

MOST_NAME = 128  # characters of a name or a group that W&B takes
UNSOUND = (Status.DIVERGED, Status.FAILED)
"""Trials whose runs W&B shows as failed."""


def to_wandb(run: Tracked, folder: Path, name: str, progress: Progress) -> str:
    """Write a run's trials as offline runs, below FOLDER/wandb.

    Args:
        run: the run.
        folder: the folder. It is made if it does not exist.
        name: the name of the group.
        progress: is called after each trial.

    Returns:
        Lines for the user: where the runs are now, and how to upload them.

    Raises:
        InputError: W&B's package is not installed, the folder cannot be written or has this run
            already, or the run has no trials.
        RunError: W&B could not write a run. Nothing of the export is kept then.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    with needs("wandb"):
        import wandb
    if not run.trials:
        raise InputError(f"{run.name} has no trials yet, so W&B would have no run to show")
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if not (folder.is_dir() and os.access(folder, os.W_OK)):  # W&B would choose another folder
        raise InputError(f"--to-wandb must be a folder that can be written. Given: {folder}")
    key = hashlib.sha256(f"{run.tags['data.sha256']} {run.begun} {name}".encode()).hexdigest()[:8]
    there = folder / "wandb"
    if any(there.glob(f"offline-run-*-{key}-*")):
        raise already_there(name, str(there))
    try:
        with in_one_line(str(there)):
            for done, trial in enumerate(run.trials, 1):
                _write(wandb, run, trial, folder, name, f"{key}-{trial.number:05d}")
                progress(done, len(run.trials))
        _must_be_there(list(there.glob(f"offline-run-*-{key}-*")), run, there)
    except BaseException:
        for made in there.glob(f"offline-run-*-{key}-*"):
            shutil.rmtree(made, ignore_errors=True)
        raise
    finally:
        wandb.teardown()
    upload = "wandb sync" if folder == Path() else f"cd {shlex.quote(str(folder))} && wandb sync"
    return f"W&B: offline runs in {there}, group {name}\nnext: {upload}"


def _must_be_there(written: list[Path], run: Tracked, there: Path) -> None:
    """Raise RunError if W&B has silently written into its own temporary folder."""
    if len(written) < len(run.trials):
        raise RunError(
            f"{there}: W&B could not write {len(run.trials) - len(written)} of "
            f"{len(run.trials)} runs into this folder"
        )


def _write(wandb: Any, run: Tracked, trial: Trial, folder: Path, group: str, key: str) -> None:
    """Write one trial as an offline run."""
    made = wandb.init(
        project=run.study,
        group=group[:MOST_NAME],
        job_type="trial",
        name=f"trial {trial.number}",
        id=key,
        dir=str(folder),
        config=trial.params | trial.tags,
        tags=[str(trial.status), *(["best"] if "best" in trial.tags else [])],
        notes=trial.tags.get("reason"),
        settings=_settings(wandb),
    )
    for report in trial.reports:
        at = {"_timestamp": report.at.timestamp()} if report.at else {}
        made.log(report.metrics | at, step=report.step)
    made.summary.update(trial.metrics)
    made.finish(exit_code=int(trial.status in UNSOUND))


def _settings(wandb: Any) -> Any:
    """Offline, silent, and without anything about this machine, its code or its packages."""
    return wandb.Settings(
        mode="offline",
        silent=True,
        console="off",
        save_code=False,
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )
