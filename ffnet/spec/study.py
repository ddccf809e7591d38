"""Study, and OneNet without a tuner: all sections together, and the rules between sections.

A study is written as a TOML file (see jobs/studies/). This module imports neither TensorFlow nor
Ray.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from random import Random
from typing import Any, Self

import numpy as np
from pydantic import Field, ValidationError, ValidationInfo, model_validator

from ffnet.errors import InputError
from ffnet.spec import points, relevance
from ffnet.spec.base import NEW, RECORDED, Spec, Values, is_recorded
from ffnet.spec.cube import dimensions, sobol, value_at
from ffnet.spec.field_types import Count
from ffnet.spec.net import MUTABLE, TUNABLE, NetSpec, Training
from ffnet.spec.outcomes import OF_LAYERS, Grid, Outcomes, refuse_two_meanings, why_never_drawn
from ffnet.spec.sections import Budget, Data, Metric, MinDelta, Name, Patience, Resources, Tuning
from ffnet.spec.space import SearchSpace, Suggest, same
from ffnet.spec.trial import TrialConfig
from ffnet.spec.validation import explain, unknown_key

CHECKED_SAMPLES = 64, 1000  # minimum and maximum number of samples checked before a study starts
MOST_TRIALS = 2**31 - 1  # the column `trial` of the tables has 32 bits


class OneNet(Spec):
    """One net to train without a tuner, with its data.

    Raises:
        InputError: a field has a wrong value, or fields contradict each other.
    """

    seed: int = Field(
        0, ge=0, lt=2**31, description="seed of weights, batches and dropout, 0 or more"
    )
    epochs: Count = Field(1, description="epochs to train, 1 or more")
    metric: Metric = Field("val_accuracy", description="figure that says which epoch is the best")
    patience_epochs: Patience = None
    min_delta: MinDelta = 0.0
    evaluate_test: bool = Field(False, description="evaluate the net on the test part at the end")
    data: Data = Data()
    net: NetSpec = NetSpec()
    training: Training = Training()

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        relevance.check(self, ("data",))
        self.trial_config()
        self.tuning.check_patience(self.epochs)
        return self

    @property
    def tuning(self) -> Tuning:
        """How its reports are compared: by its metric, with its patience."""
        return Tuning(
            metric=self.metric, patience_epochs=self.patience_epochs, min_delta=self.min_delta
        )

    def trial_config(self) -> TrialConfig:
        """The net as trial 0, which is what the training loop needs."""
        return TrialConfig(
            number=0, net=self.net, training=self.training, epochs=self.epochs, seed=self.seed
        )


class Study(Spec):
    """A study: many trials, whose configurations come from a search space.

    Raises:
        InputError: a field has a wrong value, or fields contradict each other.

    Example:
        >>> study = Study(space={"learning_rate": {"log_uniform": [1e-3, 1e-1]}})
        >>> study.trials
        16
    """

    name: Name = Field(
        "study",
        description="name of the study and of its folder in runs/ [the file's name]",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="seed of all random numbers, 0 or more")
    data: Data = Data()
    net: NetSpec = NetSpec()
    training: Training = Training()
    space: SearchSpace = SearchSpace({})
    tuning: Tuning = Tuning()
    budget: Budget = Budget()
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _coherent(self, info: ValidationInfo) -> Self:
        relevance.check(self, ("data", "tuning"))
        self._check_space(is_recorded(info))
        self._check_search()
        self._check_scheduler()
        self.tuning.check_patience(self.budget.epochs)
        if not is_recorded(info):
            self._check_points()
            self._check_samples()
        return self

    def _check_space(self, recorded: bool) -> None:
        for name, domain in self.space.items():
            for known in (name, *(domain.when or ())):
                if known not in TUNABLE:
                    raise ValueError(unknown_key(known, "space", TUNABLE))
            if (domain.each or domain.layers) and name not in OF_LAYERS:
                raise ValueError(
                    f"each and layers are for {' and '.join(OF_LAYERS)}. Given: {name}"
                )
            both = name in self.net.model_fields_set | self.training.model_fields_set
            if both and not self._only_under_conditions(name):
                raise ValueError(f"{name} is in [space] and in its own section: keep one of them")
            if domain.repeat and name != "hidden_sizes":
                raise ValueError(f"repeat is for hidden_sizes: leave it out. Given: {name}")
            counted = "repeat" if domain.repeat else "each"
            if bool(domain.depth) != bool(getattr(domain, counted) and name == "hidden_sizes"):
                raise ValueError(
                    f"{counted} needs depth in hidden_sizes, and only there, e.g. hidden_sizes = "
                    f"{{{counted} = {{log_integer = [64, 512]}}, depth = {{integer = [1, 3]}}}}"
                )
            for probe in domain.probes():
                _check_drawn(name, probe, "space.", recorded)
            for asked, value in (domain.when or {}).items():
                if not recorded:
                    refuse_two_meanings(name, asked, value)
                for one in value if isinstance(value, list) else [value]:
                    _check_drawn(asked, one, f"space.{name}.when.", recorded)
        if all(domain.kind == "fixed" for _, domain in self.space.leaves()):
            raise ValueError(
                "the search space is empty: give a field a domain in [space], e.g. "
                "learning_rate = {log_uniform = [1e-3, 1e-1]}; to train one net use `ffnet train`"
            )
        for name, number, holds in () if recorded else self._never_drawn():
            raise ValueError(why_never_drawn(name, self.space.root[name], number, holds))

    def _only_under_conditions(self, name: str) -> bool:
        """Whether each domain has a `when`. If none of them holds, the section's value is used."""
        return all(domain.when for domain in self.space.root[name])

    def _never_drawn(self) -> Iterable[tuple[str, int, bool]]:
        return Outcomes(self.space, self.base).never_drawn()

    def _check_search(self) -> None:
        if self.tuning.search == "cmaes":
            found = dimensions(self.space, self.base)
            if not any(d.always and d.domain.kind != "choice" for d in found):
                raise ValueError(
                    "cmaes needs a range in [space] that every configuration has, e.g. "
                    "learning_rate = {log_uniform = [1e-3, 1e-1]}; for choices and conditions use "
                    "search tpe"
                )
        if self.tuning.search != "grid":
            return
        for name, domain in self.space.items():
            for leaf in domain.leaves():
                finite = leaf.kind in ("fixed", "choice")
                if leaf is not domain.depth and not finite:
                    raise ValueError(f"grid search needs {name} as a choice. Given: {leaf.kind}")
        size = self.grid().size
        if size > MOST_TRIALS:
            raise ValueError(
                f"a grid may have {MOST_TRIALS} points, and this grid has more: remove choices, or "
                f"use random search"
            )
        if self.budget.trials not in (None, size):
            raise ValueError(
                f"the grid has {size} points but budget.trials is {self.budget.trials}: "
                f"leave trials out, or change the choices"
            )

    def _check_points(self) -> None:
        for number, point in enumerate(self.tuning.points):
            for name in point.keys() & self.space.root.keys():
                _check_drawn(name, point[name], f"tuning.points, point {number + 1}: ", False)
        points.check(self)

    def _check_scheduler(self) -> None:
        tuning, epochs = self.tuning, self.budget.epochs
        scheduler, grace = tuning.scheduler, tuning.grace_epochs
        if scheduler == "none":
            return
        if scheduler == "hyperband" and epochs < tuning.reduction_factor:
            raise ValueError(
                f"hyperband needs epochs >= reduction_factor ({tuning.reduction_factor:g}). "
                f"Given: {epochs} epochs"
            )
        if scheduler in ("hyperband", "pbt") and self.budget.concurrency:
            raise ValueError(
                f"{scheduler} pauses trials and fills all resources: leave concurrency out. "
                f"Given: {self.budget.concurrency}"
            )
        if scheduler == "pbt":
            self._check_pbt()
        elif grace >= epochs:
            raise ValueError(
                f"{scheduler} can prune nothing unless grace_epochs < epochs. Given: grace_epochs "
                f'{grace:g}, epochs {epochs}; lower grace_epochs, or set scheduler = "none"'
            )

    def _check_pbt(self) -> None:
        epochs, every = self.budget.epochs, self.tuning.perturbation_epochs
        if every >= epochs:
            raise ValueError(
                f"pbt changes nothing unless perturbation_epochs < epochs. Given: "
                f"perturbation_epochs {every:g}, epochs {epochs}"
            )
        if self.trials < 2:
            raise ValueError(f"pbt needs a population of two trials or more. Given: {self.trials}")
        if self.tuning.learns:
            raise ValueError(
                f"pbt changes what {self.tuning.search} suggests: use search random, qmc or grid"
            )
        if not any(name in MUTABLE for name in self.space.root):
            raise ValueError(
                f"pbt needs a hyper-parameter in [space] that may change while a net trains: "
                f"{', '.join(MUTABLE)}. Given: {', '.join(self.space.root)}"
            )

    def _check_samples(self) -> None:
        """Check that the fields of some configurations do not contradict each other."""
        found = {self._contradiction(sample): None for sample in self._checked_samples()}
        wrong = next(filter(None, found), None)
        if wrong is None:
            return
        if [*found] == [self._contradiction({})]:  # with the fixed fields alone, too
            raise ValueError(wrong)
        raise ValueError(
            f"a configuration of [space] contradicts itself: {wrong}; prevent it by other values, "
            f"or by a condition in [space], e.g. "
            f'warmup_epochs = {{fixed = 1, when = {{schedule = "cosine"}}}}'
        )

    def _contradiction(self, sample: Values) -> str | None:
        """Why a configuration contradicts itself; None if it does not."""
        try:
            self.trial_config(0, sample, 0)
        except InputError as error:
            return str(error)
        return None

    def _checked_samples(self) -> Iterable[Values]:
        """The samples of the study's first trials, or points that are spread over the grid."""
        least, most = CHECKED_SAMPLES
        if self.tuning.search != "grid":
            return map(self.sample, range(min(most, max(least, self.trials))))
        size = self.grid().size
        numbers = Random(0).sample(range(size), min(most, size))
        return (self.grid()[number] for number in sorted(numbers))

    @property
    def trials(self) -> int:
        """How many trials the study starts."""
        grid = self.tuning.search == "grid"
        return self.budget.trials or (self.grid().size if grid else 16)

    @property
    def base(self) -> Values:
        """The fixed fields of net and training: name → value."""
        return {**self.net.model_dump(), **self.training.model_dump()}

    def grid(self) -> Grid:
        """The points of a grid search. A point is computed when it is used."""
        return self._grid

    @cached_property
    def _grid(self) -> Grid:
        return Grid(self.space, self.base)

    def sample(self, number: int) -> Values:
        """The values of a trial of a random or qmc search, from the study's seed and `number`.

        The first trials have the values of the study's points.
        """
        given = self.tuning.points[number : number + 1]
        suggest = self._suggests(number)
        return self.space.draw(points.filled(suggest, given[0]) if given else suggest, self.base)

    def _suggests(self, number: int) -> Suggest:
        if self.tuning.search != "qmc":
            return self.space.suggests(self.seed, number)
        point = sobol(self.seed, number, len(self._places))
        return lambda label, domain: value_at(domain, float(point[self._places[label]]))

    @cached_property
    def _places(self) -> dict[str, int]:
        """The label of each dimension of the space → the dimension's number."""
        found = dimensions(self.space, self.base)
        return {dimension.label: place for place, dimension in enumerate(found)}

    def trial_config(self, number: int, sample: Mapping[str, Any], seed: int) -> TrialConfig:
        """The configuration of a trial: a sample joined with the study's fixed fields."""
        return TrialConfig.of({**self.base, **sample}, number, self.budget.epochs, seed)

    def explored(self, config: TrialConfig, random: np.random.Generator) -> TrialConfig:
        """The trial with changed values of the hyper-parameters in MUTABLE: see `perturbed`.

        If the changed values contradict another field, the trial stays as it is. For example, a
        schedule of dropout needs dropout.
        """
        known = {**self.base, **config.net.model_dump(), **config.training.model_dump()}
        changed = self.space.perturbed(known, MUTABLE, random)
        try:
            return self.trial_config(config.number, known | changed, config.seed)
        except InputError:
            return config

    def resolved(self) -> Values:
        """The study as JSON values, with all defaults. `Study` makes the same study from them.

        Alternatives that are never drawn are left out. Earlier versions accepted them.
        """
        whole = self.model_dump(mode="json", exclude={"space"})
        never = {(name, number) for name, number, _ in self._never_drawn()}
        space = self.space.model_dump(mode="json", exclude_unset=True)
        for name, domains in space.items():
            space[name] = [d for i, d in enumerate(domains) if (name, i) not in never]
        whole["space"] = {name: domains for name, domains in space.items() if domains}
        for section in ("net", "training"):
            whole[section] = {
                name: value
                for name, value in whole[section].items()
                if name not in whole["space"] or self._only_under_conditions(name)
            }
        return whole


def _check_drawn(name: str, value: Any, where: str, recorded: bool) -> None:
    """Refuse a value that the field cannot have, or that must be converted first."""
    try:
        context = RECORDED if recorded else NEW
        becomes = getattr(TUNABLE[name].model_validate({name: value}, context=context), name)
    except ValidationError as error:
        raise ValueError(where + explain(error)) from None
    if recorded:
        return
    if not same(becomes, value) or isinstance(value, bool) > isinstance(becomes, bool):
        raise ValueError(f"{where}{name}: must be written as {becomes!r}. Given: {value!r}")
