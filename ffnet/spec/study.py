"""The models of a study: Study, Data, Tuning, Budget, Resources; and OneNet, without a tuner.

A study is a TOML file (see jobs/studies/). The name of a field is unique across all sections, so
that it also names a flag, a column of the tables and a word in the README. Neither TensorFlow nor
Ray is imported here.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from functools import cached_property
from random import Random
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from ffnet.spec import relevance
from ffnet.spec.base import NEW, RECORDED, Spec, Values, is_recorded
from ffnet.spec.net import MUTABLE, TUNABLE, Count, NetSpec, PositiveInt, Training
from ffnet.spec.outcomes import OF_LAYERS, Grid, Outcomes, refuse_two_meanings, why_never_drawn
from ffnet.spec.space import SearchSpace, same
from ffnet.spec.trial import TrialConfig
from ffnet.spec.validation import explain, unknown_key

CHECKED_SAMPLES = 64, 1000  # samples that are checked before a study starts: at least, at most
MOST_TRIALS = 2**31 - 1  # more do not fit into the column of the tables


def _as_text(value: Any) -> Any:
    """A number, date or time as text: `name = 2024`."""
    is_one = isinstance(value, int | float | date | datetime | time)
    return str(value) if is_one and not isinstance(value, bool) else value


def _is_name(name: str) -> str:
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(f"needs letters, digits, '_', '.' or '-', and no other. Given: {name!r}")
    return name


Text = Annotated[str, BeforeValidator(_as_text)]
Name = Annotated[Text, Field(max_length=100), AfterValidator(_is_name)]

GIVEN = "given"
"""What `dataset` says where the data are given from Python."""


class Data(Spec):
    """Which data set, where it lies and how it is split."""

    dataset: Text = Field(
        "digits",
        min_length=1,
        description="digits, mnist, fashion-mnist, cifar10, or the path of your own data set",
    )
    data_dir: Text | None = Field(
        None, description="folder that holds the data set [$FFNET_DATA, else Keras' cache]"
    )
    target: Text | None = Field(
        None,
        min_length=1,
        description="column (Parquet) or array (npz) that holds the labels [the one that is called "
        "label, labels, y, target or class]",
    )
    drop_unlabelled: bool = Field(
        False, description="leave out rows without a label; otherwise they are refused"
    )
    validation: float | None = Field(
        None,
        gt=0,
        description="validation examples: a count (1 or more), or a share (below 1) of the "
        "training file; only for sets without a validation part "
        "[1000 for cifar10, 0.15 for sets without a test part, else 0.1]",
    )
    test: float | None = Field(
        None,
        gt=0,
        description="test examples: a count (1 or more), or a share (below 1) of the training "
        "file; only for sets without a test part [0.15]",
    )
    split: Literal["last", "stratified"] | None = Field(
        None,
        description="which examples become validation and test part: the last ones of the training "
        "file, or some of each class, drawn at random [last for cifar10, else stratified]",
    )
    split_seed: int = Field(0, ge=0, description="seed of a stratified split, 0 or more")
    scaling: Literal["standard", "unit"] = Field(
        "standard",
        description="standard: each feature or channel gets mean 0 and deviation 1 in the training "
        "part; unit: pixels are divided by 255",
    )


class Tuning(Spec):
    """How configurations are found and weak trials are stopped."""

    search: Literal["random", "grid", "tpe"] = Field(
        "random", description="how the trials' configurations are chosen"
    )
    scheduler: Literal["asha", "hyperband", "median", "pbt", "none"] = Field(
        "asha",
        description="what stops weak trials early; pbt lets them go on from the weights of better "
        "ones",
    )
    metric: Literal["val_accuracy", "val_loss"] = Field(
        "val_accuracy", description="figure by which search, scheduler and tables judge trials"
    )
    grace_epochs: float = Field(
        1, gt=0, description="asha, median: epochs before a trial may be stopped, above 0"
    )
    reduction_factor: float = Field(
        3,
        gt=1,
        description="asha, hyperband: at each rung one trial of this many goes on, above 1",
    )
    perturbation_epochs: float = Field(
        1, gt=0, description="pbt: epochs from one comparison of the trials to the next, above 0"
    )

    @property
    def mode(self) -> Literal["max", "min"]:
        """Whether a higher or a lower metric is better."""
        return "max" if self.metric == "val_accuracy" else "min"


class Budget(Spec):
    """What a study may use."""

    trials: Count | None = Field(None, description="trials to start, 1 or more [16; all of a grid]")
    epochs: Count = Field(8, description="epochs of a trial that is not stopped, 1 or more")
    wall_seconds: float | None = Field(
        None, gt=0, description="seconds after which the study stops, above 0 [no limit]"
    )
    concurrency: PositiveInt | None = Field(
        None,
        description="trials at the same time, 1 or more [as many as fit; 200 on an autoscaling "
        "cluster]",
    )
    max_failed: int = Field(
        0, ge=0, description="trials that may fail before the exit status is 1, 0 or more"
    )
    trial_timeout_seconds: float | None = Field(
        None,
        gt=0,
        description="seconds without a report, set-up included, after which a trial fails, above 0 "
        "[no limit]",
    )


class Resources(Spec):
    """What one trial holds while it trains."""

    cpus: float = Field(
        1, gt=0, description="CPUs per trial, above 0; TensorFlow uses as many threads"
    )
    gpus: float = Field(
        0, ge=0, description="GPUs per trial: 0, a fraction below 1, or a whole number"
    )

    @model_validator(mode="after")
    def _whole_gpus(self) -> Self:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError("gpus above 1 must be whole")
        return self

    @property
    def threads(self) -> int:
        """Threads that TensorFlow uses for a trial; a fraction of a CPU counts as a whole one."""
        return max(1, int(self.cpus))


class OneNet(Spec):
    """One net to train without a tuner."""

    seed: int = Field(
        0, ge=0, lt=2**31, description="seed of weights, batches and dropout, 0 or more"
    )
    epochs: Count = Field(1, description="epochs to train, 1 or more")
    evaluate_test: bool = Field(False, description="score the test part at the end")
    data: Data = Data()
    net: NetSpec = NetSpec()
    training: Training = Training()

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        relevance.check(self, ("data",))
        self.trial_config()
        return self

    def trial_config(self) -> TrialConfig:
        """The net as the training loop takes it: a trial with number 0."""
        return TrialConfig(
            number=0, net=self.net, training=self.training, epochs=self.epochs, seed=self.seed
        )


class Study(Spec):
    """A study: many trials of a net over a search space, under one budget."""

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
        if not is_recorded(info):
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
                raise ValueError(f"{name} stands in [space] and in its section: keep one of them")
            if bool(domain.depth) != bool(domain.each and name == "hidden_sizes"):
                raise ValueError(
                    "each needs depth in hidden_sizes, and there alone, e.g. hidden_sizes = "
                    "{each = {log_integer = [64, 512]}, depth = {integer = [1, 3]}}"
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
        """Whether each domain of a field has a `when`; where none holds, the section counts."""
        return all(domain.when for domain in self.space.root[name])

    def _never_drawn(self) -> Iterable[tuple[str, int, bool]]:
        return Outcomes(self.space, self.base).never_drawn()

    def _check_search(self) -> None:
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
                f"a grid may have {MOST_TRIALS} points, and this one has more: take choices out, "
                f"or search at random"
            )
        if self.budget.trials not in (None, size):
            raise ValueError(
                f"the grid has {size} points but budget.trials is {self.budget.trials}: "
                f"leave trials out, or change the choices"
            )

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
                f'{grace:g}, epochs {epochs}; lower grace_epochs, or say scheduler = "none"'
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
        if self.tuning.search == "tpe":
            raise ValueError("pbt changes what tpe suggests: use search random or grid")
        if not any(name in MUTABLE for name in self.space.root):
            raise ValueError(
                f"pbt needs a hyper-parameter in [space] that may change while a net trains: "
                f"{', '.join(MUTABLE)}. Given: {', '.join(self.space.root)}"
            )

    def _check_samples(self) -> None:
        """Check some configurations as a whole, for fields that contradict each other."""
        for sample in self._checked_samples():
            try:
                self.trial_config(0, sample, 0)
            except ValidationError as error:
                raise ValueError(
                    f"a configuration of [space] contradicts itself: {explain(error)}; a condition "
                    f'keeps apart what does not go together, e.g. when = {{optimizer = "sgd"}}'
                ) from None

    def _checked_samples(self) -> Iterable[Values]:
        """The samples of the study's first trials, or points from all over a grid."""
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
        """The fixed fields of nets and training, by name."""
        return {**self.net.model_dump(), **self.training.model_dump()}

    def grid(self) -> Grid:
        """The points of a grid search. Each point is made when it is asked for."""
        return self._grid

    @cached_property
    def _grid(self) -> Grid:
        return Grid(self.space, self.base)

    def sample(self, number: int) -> Values:
        """What a random search draws for a trial; only the study's seed and the number decide."""
        return self.space.sample(self.seed, number, self.base)

    def trial_config(self, number: int, sample: Mapping[str, Any], seed: int) -> TrialConfig:
        """Join a sample with the study's fixed fields."""
        return TrialConfig.of({**self.base, **sample}, number, self.budget.epochs, seed)

    def explored(self, config: TrialConfig, random: np.random.Generator) -> TrialConfig:
        """The trial with small changes to the hyper-parameters that may change in training."""
        known = {**self.base, **config.net.model_dump(), **config.training.model_dump()}
        changed = self.space.perturbed(known, MUTABLE, random)
        return self.trial_config(config.number, known | changed, config.seed)

    def resolved(self) -> Values:
        """The study with every default filled in, as JSON; reads back as the same study.

        Alternatives that are never drawn are left out; earlier versions accepted them.
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
    """Refuse a value that the field cannot have, or that it would have only after a conversion."""
    try:
        context = RECORDED if recorded else NEW
        becomes = getattr(TUNABLE[name].model_validate({name: value}, context=context), name)
    except ValidationError as error:
        raise ValueError(where + explain(error)) from None
    if recorded:
        return
    if not same(becomes, value) or isinstance(value, bool) > isinstance(becomes, bool):
        raise ValueError(f"{where}{name}: must be written as {becomes!r}. Given: {value!r}")
