"""Chooses what learns from a study's earlier trials and suggests the next ones."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Protocol

from ffnet.errors import InputError
from ffnet.run.tables import Row
from ffnet.spec.base import Values
from ffnet.spec.study import Study
from ffnet.spec.trial import TrialConfig
from ffnet.tuning.samplers import Learnt

NEEDED = {"gp": ("torch", "0.8 GB or more"), "cmaes": ("cmaes", "0.2 MB")}
"""Search → the package that it needs besides ffnet's own, and the size of that package."""


class Learner(Protocol):
    """Suggests the values of trials; see `samplers.Sampler`."""

    def know(self, config: TrialConfig) -> None:
        """Remember the configuration of a trial that was handed out, now or before a resume."""

    def suggest(self, number: int, rows: Mapping[int, Row]) -> Values:
        """The values that a trial gets for the fields of the space."""


def learner(study: Study, learnt: Learnt = ()) -> Learner | None:
    """What suggests a study's trials; None if its search does not learn.

    Args:
        study: the study.
        learnt: trials of an earlier run, whose values the study's space offers.
    """
    from ffnet.tuning.cmaes import Cmaes
    from ffnet.tuning.samplers import Sampler

    if not study.tuning.learns:
        return None
    return Cmaes(study, learnt) if study.tuning.search == "cmaes" else Sampler(study, learnt)


def refuse_missing(study: Study) -> None:
    """Refuse a search whose package is not installed.

    Raises:
        InputError: names the package, and ffnet's extra that installs it.
    """
    search = study.tuning.search
    if search not in NEEDED:
        return
    package, size = NEEDED[search]
    if find_spec(package) is None:
        raise InputError(
            f"search {search} needs the package {package} ({size}), which is not installed: "
            f"install ffnet's extra with pip install 'ffnet[{search}]'"
        )
