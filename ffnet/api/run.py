"""A run as a Python object. To read its tables, neither Ray nor TensorFlow is needed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ffnet.errors import InputError
from ffnet.run import ledger, ranking, recorded, tables
from ffnet.run.folder import RunFolder
from ffnet.run.ledger import Ledger
from ffnet.run.tables import Row
from ffnet.spec.study import OneNet, Study
from ffnet.spec.validation import validated
from ffnet.system import environment

if TYPE_CHECKING:
    from ffnet.api.net import Net
    from ffnet.run.audit import Audited
    from ffnet.run.confirm import Confirmed


class Run:
    """A run's folder: the tables and the weights of a study, or of one trained net.

    Each call reads the tables again, so they are up to date while a study runs.

    Example:
        >>> run = ffnet.Run("runs/digits")
        >>> run.best()["hidden_sizes"]
        [130]
        >>> run.trials().to_pandas().groupby("status").size()

    Attributes:
        place: absolute path of the run's folder, or its URI in an object store.
    """

    def __init__(self, place: str | Path) -> None:
        """Open a run.

        Args:
            place: the run's folder, or its URI such as s3://bucket/runs/digits.

        Raises:
            InputError: there is no run, or the store does not answer.
        """
        self._folder = RunFolder.existing(place)
        self.place = self._folder.place

    def __repr__(self) -> str:
        return f"ffnet.Run({self.place!r})"

    @property
    def study(self) -> Study | OneNet:
        """The `Study` with all its defaults, or the `OneNet` if the run is a single net.

        Raises:
            InputError: study.json cannot be read, or is not valid.
        """
        study = recorded.read_study_json(self._folder)["study"]
        source = str(self._folder.study)
        if "budget" in study:
            return validated(Study, study, source, recorded=True)
        return validated(OneNet, study, source, recorded=True)

    def trials(self) -> pa.Table:
        """trials.parquet: a row for each trial that has begun. `.to_pandas()` gives a DataFrame.

        A missing value is null. Columns `*_seconds` are in seconds, `*_at` are UTC timestamps,
        accuracies are from 0 to 1, and losses are in nats.

        Raises:
            InputError: the table cannot be read, or has a value that is not possible.
        """
        return tables.read_table(self._folder.trials)

    def epochs(self) -> pa.Table:
        """epochs.parquet: a row for each report of each trial. Units are as in `trials`.

        Raises:
            InputError: the table cannot be read, or has a value that is not possible.
        """
        return tables.read_table(self._folder.epochs)

    def best(self) -> Row | None:
        """The best trial's row by the study's metric, as a dict. None while no trial has reported.

        Raises:
            InputError: the run cannot be read.
        """
        study = recorded.read_study_json(self._folder)["study"]
        tuning = ranking.tuning_of(study, str(self._folder.study))
        return ranking.best(tables.read(self._folder.trials), tuning)

    def ledger(self) -> Ledger:
        """Where the study's core-seconds went, as the line below `ffnet table` says it.

        Raises:
            InputError: a table cannot be read, or has a value that is not possible.

        Example:
            >>> run.ledger().share("train")
            0.91
        """
        return ledger.read(self._folder)

    def report(
        self, out: str | Path | None = None, figures: str | Path | None = None, net: bool = True
    ) -> Path:
        """Write the page of the run: one HTML file, which needs no network.

        Args:
            out: the file. With None, report.html in the run's folder.
            figures: a folder for the figures as PNG, PDF and SVG. With None, they are not written.
            net: whether the page and the figures show the best net's mistakes on the validation
                part. This needs TensorFlow, the net's weights and the data; if they are missing,
                the page says so.

        Returns:
            The page's path.

        Raises:
            InputError: the run cannot be read, or a file cannot be written.
        """
        # Imported here, because Optuna and Plotly take a second.
        from ffnet.api.best_net import looked_at
        from ffnet.report.page import page, papers

        path = Path(out) if out else self._folder.local / "report.html"
        part, drawn = looked_at(self._folder) if net else (None, {})
        page.write(page.page_of(self._folder, [part] if part else []), path)
        if figures:
            papers.write(self._folder, Path(figures), drawn)
        return path

    def confirm(
        self,
        top: int | None = None,
        seeds: int = 5,
        *,
        folds: int | None = None,
        again: bool = False,
        ensemble: int | None = None,
        data: Any = None,
        address: str | None = None,
    ) -> "Confirmed":
        """Train the best configurations again from fresh seeds, choose one, and test it.

        It is `ffnet confirm`: confirm.parquet gets a row for each net, and study.json records that
        the test part was looked at. This uses Ray as `ffnet.tune` does.

        Args:
            top: number of configurations. With None, three, or as many as there are.
            seeds: number of fresh seeds for each configuration, 2 or more.
            folds: number of folds of a cross-validation over the training and validation parts.
                With None, the study's own split.
            again: whether to look at the test part once more.
            ensemble: with a number, 2 or more, an ensemble of the nets is tested, too, of so many
                draws: see `ffnet confirm`.
            data: the data, if the study's data were given from Python.
            address: address of a Ray cluster. With None, the value of RAY_ADDRESS, if it is set.

        Returns:
            What the nets say: `.chosen`, `.test.mean`, `.told_apart`, `.ensemble`, …; `.lines()` in
            sentences.

        Raises:
            InputError: the run cannot be confirmed so, or its test part was looked at before.
            RunError: each configuration has a net that diverged or failed.

        Example:
            >>> ffnet.Run("runs/digits").confirm(top=2).test.mean
        """
        from ffnet.api.again import confirm

        return confirm(self._folder, (top, seeds, folds, again, ensemble), data, address)

    def audit(
        self, trials: int | None = None, *, data: Any = None, address: str | None = None
    ) -> "Audited":
        """Train pruned trials to the end, to see what pruning has cost and saved.

        It is `ffnet audit`: audit.parquet gets a row for each of them. The test part is not used.

        Args:
            trials: how many pruned trials, drawn at random. With None, ten, or as many as there
                are.
            data: the data, if the study's data were given from Python.
            address: address of a Ray cluster. With None, the value of RAY_ADDRESS, if it is set.

        Returns:
            What the trials say: `.beaten_by`, `.regret`, `.saved`, …; `.lines()` in sentences.

        Raises:
            InputError: there are fewer pruned trials.

        Example:
            >>> ffnet.Run("runs/digits").audit(trials=5).regret
        """
        from ffnet.api.again import audit

        return audit(self._folder, trials, data, address)

    def load(
        self, trial: int | None = None, *, ensemble: int | None = None, data: Any = None
    ) -> "Net":
        """The trained net of a trial, or an ensemble. This imports TensorFlow.

        Args:
            trial: the trial's number. With None, the best trial, the first row of `ffnet table`.
            ensemble: with a number, 2 or more, an ensemble of the kept nets, of so many draws,
                chosen on the validation part: see `ffnet export`.
            data: the data, if the study's data were given from Python. Only an ensemble needs them.

        Returns:
            The net with the weights of the trial's best epoch. `ffnet export` takes the same
            weights. Runs of earlier versions have only the weights after a trial's last report.

        Raises:
            InputError: the trial does not exist, or its weights are not saved or are damaged; an
                ensemble is asked for without the data of the run, or with a trial.

        Example:
            >>> ffnet.Run("runs/digits").load(ensemble=5).weights
            {7: 0.6, 3: 0.4}
        """
        _refuse_both(trial, ensemble)
        with environment.restored():
            from ffnet.api.net import Net
            from ffnet.export.ensemble import choose

        chosen = None if ensemble is None else choose(self._folder, ensemble, data)
        return Net(self._folder, trial, chosen)

    def export(
        self,
        out: str | Path | None = None,
        trial: int | None = None,
        *,
        ensemble: int | None = None,
        data: Any = None,
    ) -> dict[str, Any]:
        """Write a net as a SavedModel that needs TensorFlow alone: `ffnet export`.

        Args:
            out: folder of the model; its name is the model's name. With None, a folder of the run.
            trial: the trial's number. With None, the best trial.
            ensemble: with a number, 2 or more, an ensemble of the kept nets, of so many draws.
            data: the data, if the study's data were given from Python. Only an ensemble needs them.

        Returns:
            The model's card: its version, classes, figures, and where it comes from. That of an
            ensemble has the figures of each of its nets under `members`.

        Raises:
            InputError: the trial has no saved weights, the net measured again has other figures
                than the table, or the folder cannot be written; an ensemble is asked for without
                the data of the run, or with a trial.

        Example:
            >>> ffnet.Run("runs/digits").export("models/digits")["version"]
            1
        """
        _refuse_both(trial, ensemble)
        wanted = None if out is None else Path(out)
        with environment.restored():
            from ffnet.export import card, export
            from ffnet.export import ensemble as ensembles

        if ensemble is not None:
            chosen = ensembles.choose(self._folder, ensemble, data)
            return ensembles.export(chosen, chosen.out(wanted))
        choice = card.choose(self._folder, None if trial is None else str(trial))
        return export.export(choice, choice.out(wanted))


def _refuse_both(trial: int | None, ensemble: int | None) -> None:
    if trial is not None and ensemble is not None:
        raise InputError("ensemble chooses the trials itself: leave trial out")
