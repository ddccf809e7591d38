"""Exports a run to an Optuna storage, which the program optuna-dashboard shows."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from shlex import quote

import optuna
from optuna.trial import TrialState

from ffnet.report.optuna_study import study_of
from ffnet.report.tools.places import (
    Progress,
    already_there,
    check_database,
    in_one_line,
    without_password,
)
from ffnet.run import ranking, tables
from ffnet.run.folder import RunFolder
from ffnet.run.study_files import read_study


def to_optuna(folder: RunFolder, url: str, name: str, progress: Progress) -> str:
    """Write a run to an Optuna storage: see `optuna_study.as_optuna`.

    Args:
        folder: the run. It may be running.
        url: the storage as Optuna names it: sqlite:///FILE, or the URL of another database.
        name: the name of the study there.
        progress: is called after each trial.

    Returns:
        Lines for the user: where the study is now, and how to see it.

    Raises:
        InputError: the run cannot be read, or the storage has a study of that name.
        RunError: the storage cannot be opened or written. What had been written is removed if the
            storage still answers.
    """
    made = study_of(folder)
    check_database("--to-optuna", url)
    with _quiet(), in_one_line(url):
        storage = optuna.storages.RDBStorage(url)
        try:
            copy = optuna.create_study(storage=storage, study_name=name, direction=made.direction)
        except optuna.exceptions.DuplicatedStudyError:
            raise already_there(name, without_password(url)) from None
        try:
            for key, value in made.user_attrs.items():
                copy.set_user_attr(key, value)
            trials = made.get_trials(deepcopy=False)
            for done, trial in enumerate(trials, 1):
                copy.add_trial(trial)
                progress(done, len(trials))
        except BaseException:
            with suppress(Exception):  # the database may not answer any more
                optuna.delete_study(study_name=name, storage=storage)
            raise
    place = without_password(url)
    where, see = f"Optuna: study {name} in {place}", f"next:   optuna-dashboard {quote(place)}"
    return "\n".join(filter(None, (where, _about_the_best(folder, copy), see)))


def _about_the_best(folder: RunFolder, study: optuna.Study) -> str:
    """A note if Optuna's best trial is not the table's; otherwise an empty text."""
    rows = tables.read(folder.trials) if folder.trials.exists() else []
    best = ranking.best(rows, ranking.tuning_of(read_study(str(folder.study))))
    done = any(trial.state == TrialState.COMPLETE for trial in study.get_trials(deepcopy=False))
    its_best = study.best_trial.number if done else "none"
    if best is None or best["trial"] == its_best:
        return ""
    return (
        f"note:   the best trial of the table is {best['trial']} ({best['status']}), that of "
        f"Optuna is {its_best}, because Optuna counts only trials that are done"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
