"""A run as an object of Python. Opening its tables needs neither Ray nor TensorFlow."""

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from ffnet.run import ranking, recorded, tables
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row
from ffnet.spec.study import OneNet, Study
from ffnet.spec.validation import validated
from ffnet.system import environment

if TYPE_CHECKING:
    from ffnet.api.net import Net


class Run:
    """A study, or one trained net, with its tables and its weights.

    The tables are read anew at each call, so a run can be looked at while its study runs.

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
            place: its folder, or a URI such as s3://bucket/runs/digits.

        Raises:
            InputError: no run is there.
        """
        self._folder = RunFolder.existing(place)
        self.place = self._folder.place

    def __repr__(self) -> str:
        return f"ffnet.Run({self.place!r})"

    @property
    def study(self) -> Study | OneNet:
        """What was run, with every default filled in: a `OneNet` where no study was."""
        study = recorded.read_study_json(self._folder)["study"]
        source = str(self._folder.study)
        if "budget" in study:
            return validated(Study, study, source, recorded=True)
        return validated(OneNet, study, source, recorded=True)

    def trials(self) -> pa.Table:
        """trials.parquet: a row for each trial started. `.to_pandas()` gives a DataFrame.

        Raises:
            InputError: the table cannot be read, or holds what no run writes.
        """
        return tables.read_table(self._folder.trials)

    def epochs(self) -> pa.Table:
        """epochs.parquet: a row for each report of each trial.

        Raises:
            InputError: the table cannot be read, or holds what no run writes.
        """
        return tables.read_table(self._folder.epochs)

    def best(self) -> Row | None:
        """The row of the best trial by the study's metric; None while no trial has reported."""
        study = recorded.read_study_json(self._folder)["study"]
        tuning = ranking.tuning_of(study, str(self._folder.study))
        return ranking.best(tables.read(self._folder.trials), tuning)

    def load(self, trial: int | None = None) -> "Net":
        """The trained net of a trial. This imports TensorFlow.

        Args:
            trial: its number. With None, the best trial among those whose weights are kept, as
                `ffnet export` chooses it.

        Returns:
            The net with the weights after the trial's last report.

        Raises:
            InputError: the trial's weights are not kept, or are damaged.
        """
        with environment.restored():
            from ffnet.api.net import Net

        return Net(self._folder, trial)
