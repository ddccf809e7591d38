"""CMA-ES over the ranges of a study's space (Hansen, "The CMA Evolution Strategy: A Tutorial",
2016), by the package cmaes.

CMA-ES moves a normal distribution to where trials rank high. It needs ranges that every
configuration has. Choices, and values that not every configuration has, are drawn at random.

Optuna's sampler is not used here. It keeps its state in its own trials, and it learns only from
complete trials, of which there are few under a scheduler. CMA-ES compares only ranks, so a pruned
trial can be ranked by how far it came. Here the state is computed from the rows for each
suggestion, so there is nothing to save, and a resumed study gets the same suggestions.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ffnet.run.tables import Row, Status
from ffnet.spec.base import Values
from ffnet.spec.cube import dimensions, share_of, value_at
from ffnet.spec.drawn import drawn
from ffnet.spec.space import Domain
from ffnet.spec.study import Study
from ffnet.spec.trial import TrialConfig
from ffnet.tuning.samplers import Learnt, seed_of

SIGMA = 1 / 6  # the first deviation in each dimension of the cube: that of Optuna

Solution = tuple[npt.NDArray[np.float64], tuple[float, ...]]
"""(point of the cube, how the trial ranks: lower is better)."""


class Cmaes:
    """Suggests values by CMA-ES; see `samplers.Sampler` for the methods."""

    def __init__(self, study: Study, learnt: Learnt = ()) -> None:
        """Begin with the trials of an earlier run, perhaps none.

        Args:
            study: the study; its search is cmaes.
            learnt: trials whose values the study's space offers. The first distribution is where
                the best of them are.
        """
        self._study = study
        self._ranges = {
            dimension.label: dimension.domain
            for dimension in dimensions(study.space, study.base)
            if dimension.always and dimension.domain.kind != "choice"
        }
        self._points: dict[int, npt.NDArray[np.float64]] = {}
        self._first: dict[str, Any] = {"mean": np.full(len(self._ranges), 0.5), "sigma": SIGMA}
        known = [(self._point(config), self._rank(row)) for config, row in learnt]
        if ranked := _ranked([(point, rank) for point, rank in known if rank]):
            from cmaes import get_warm_start_mgd

            share = min(1.0, max(0.1, 1.5 / len(ranked)))  # the best tenth, and at least one
            mean, sigma, covariance = get_warm_start_mgd(ranked, gamma=share)
            self._first = {"mean": mean, "sigma": max(sigma, 1e-10), "cov": covariance}

    def know(self, config: TrialConfig) -> None:
        """Remember the configuration of a trial that was handed out, now or before a resume."""
        self._points[config.number] = self._point(config)

    def suggest(self, number: int, rows: Mapping[int, Row]) -> Values:
        """The values that a trial gets for the fields of the space."""
        asked = self._state(number, rows).ask()
        places = dict(zip(self._ranges, asked, strict=True))
        at_random = self._study.space.suggests(self._study.seed, number)

        def suggest(label: str, domain: Domain) -> Any:
            if label in places:
                return value_at(domain, float(places[label]))
            return at_random(label, domain)

        return self._study.space.draw(suggest, self._study.base)

    def _state(self, number: int, rows: Mapping[int, Row]) -> Any:
        """CMA-ES after all whole generations of trials that have ended, by number."""
        from cmaes import CMA

        size = len(self._ranges)
        state = CMA(
            **self._first,
            bounds=np.tile([0.0, 1.0], (size, 1)),
            seed=seed_of(self._study, number),
        )
        ended = [
            (self._points[n], rank)
            for n in sorted(self._points)
            if (rank := self._rank(rows.get(n, {})))
        ]
        for generation in _whole(ended, state.population_size):
            state.tell(_ranked(generation))
        return state

    def _point(self, config: TrialConfig) -> npt.NDArray[np.float64]:
        found = drawn(self._study, config)
        return np.array([share_of(d, found[label].value) for label, d in self._ranges.items()])

    def _rank(self, row: Row) -> tuple[float, ...] | None:
        """How a trial ranks, lower is better; None if it tells nothing.

        Done trials come first, then pruned trials by how far they came, then diverged ones.
        """
        status = Status(row.get("status", Status.RUNNING))
        if not status.has_ended or status == Status.FAILED:
            return None
        best = row.get(f"best_{self._study.tuning.metric}")
        if status == Status.DIVERGED or best is None:
            return (2.0,)
        loss = -best if self._study.tuning.mode == "max" else best
        return (0.0, loss) if status == Status.DONE else (1.0, -row["epochs"], loss)


def _whole(trials: list[Solution], size: int) -> Iterator[list[Solution]]:
    """The whole generations of `size` trials each; the rest waits."""
    for begin in range(0, len(trials) - size + 1, size):
        yield trials[begin : begin + size]


def _ranked(trials: list[Solution]) -> list[tuple[npt.NDArray[np.float64], float]]:
    """(point, place) for each trial; equal trials have the same place."""
    places = {rank: float(place) for place, rank in enumerate(sorted({r for _, r in trials}))}
    return [(point, places[rank]) for point, rank in trials]
