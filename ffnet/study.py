"""The nouns of a study, validated: Study, Data, NetSpec, Training, SearchSpace, Tuning, Budget.

A study is a TOML file (see jobs/studies/). Its fields have names that are unique across sections,
so that each is also a flag, a column of the tables and a word in the README. Neither TensorFlow nor
Ray is imported here.
"""

import difflib
import itertools
import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    ValidationError,
    model_validator,
)

from ffnet.errors import InputError

Values = dict[str, Any]
M = TypeVar("M", bound="Spec")


class Spec(BaseModel):
    """A frozen model that refuses unknown keys, NaN and infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _as_sizes(value: object) -> object:
    """One number means one hidden layer."""
    return (value,) if isinstance(value, int) and not isinstance(value, bool) else value


PositiveInt = Annotated[int, Field(ge=1, strict=True)]
HiddenSizes = Annotated[tuple[PositiveInt, ...], BeforeValidator(_as_sizes)]


class Data(Spec):
    """Which data set, where it lies and how it is split."""

    dataset: str = Field(
        "digits",
        min_length=1,
        description="digits, mnist, fashion-mnist, cifar10, or the path of your own data set",
    )
    data_dir: str | None = Field(
        None, description="folder searched first for the data set (then $FFNET_DATA, Keras' cache)"
    )
    validation: float | None = Field(
        None, gt=0, description="validation examples: a count (>= 1) or a fraction (< 1) of the set"
    )
    test: float | None = Field(
        None, gt=0, description="test examples, likewise; only where the set has no test part"
    )
    split: Literal["last", "stratified"] | None = Field(
        None, description="validation examples: the last of the file, or drawn class by class"
    )
    split_seed: int = Field(0, ge=0, description="seed of a stratified split")


class NetSpec(Spec):
    """A feed-forward net: layers of neurons between the features and the class scores."""

    hidden_sizes: HiddenSizes = Field(
        (512,), description="neurons in each hidden layer: one number, or a list; [] for none"
    )
    activation: Literal["relu", "sigmoid", "tanh"] = Field(
        "relu", description="activation of every hidden layer"
    )
    initializer: Literal["kaiming_normal"] = Field(
        "kaiming_normal", description="initial weights: normal with deviation sqrt(2 / fan_in)"
    )


class Training(Spec):
    """How a net is trained: plain SGD on the mean softmax cross-entropy."""

    learning_rate: float = Field(0.01, gt=0, description="step size of SGD, > 0")
    batch_size: PositiveInt = Field(64, description="examples in a minibatch")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="of the first layer's products; bfloat16 is faster on CPUs that have it, its "
        "weights stay float32",
    )
    report_steps: PositiveInt | None = Field(
        None, description="validate and report every so many steps; default: every epoch"
    )


class Domain(Spec):
    """The values that one hyper-parameter may take; exactly one kind."""

    fixed: Any = None
    choice: tuple[Any, ...] | None = Field(None, min_length=1)
    uniform: tuple[float, float] | None = None
    log_uniform: tuple[float, float] | None = None
    integer: tuple[int, int] | None = None  # both ends included
    log_integer: tuple[int, int] | None = None  # both ends included

    @model_validator(mode="after")
    def _one_ordered_kind(self) -> Self:
        if len(self.model_fields_set) != 1:
            kinds = ", ".join(type(self).model_fields)
            raise ValueError(f"needs exactly one kind of domain, one of: {kinds}")
        if self.kind not in ("fixed", "choice"):
            low, high = self.value
            if not low < high:
                raise ValueError(f"{self.kind} needs low < high, e.g. {{{self.kind} = [1, 2]}}")
            if self.kind.startswith("log_") and low <= 0:
                raise ValueError(f"{self.kind} needs low > 0")
        return self

    @property
    def kind(self) -> str:
        """The kind's name: fixed, choice, uniform, log_uniform, integer or log_integer."""
        return next(iter(self.model_fields_set))

    @property
    def value(self) -> Any:
        """What was given for the kind: a value, the choices, or (low, high)."""
        return getattr(self, self.kind)


def _as_domain(value: object) -> object:
    return value if isinstance(value, Mapping | Domain) else {"fixed": value}


class SearchSpace(RootModel[dict[str, Annotated[Domain, BeforeValidator(_as_domain)]]]):
    """Hyper-parameter name → domain."""

    model_config = ConfigDict(frozen=True)

    def items(self) -> list[tuple[str, Domain]]:
        """The (name, domain) pairs in the study's order."""
        return list(self.root.items())

    def grid(self) -> list[Values]:
        """Every combination of the choices, the last name varying fastest."""
        axes = [d.value if d.kind == "choice" else [d.value] for _, d in self.items()]
        return [dict(zip(self.root, point, strict=True)) for point in itertools.product(*axes)]


class Tuning(Spec):
    """How configurations are found and weak trials are stopped."""

    search: Literal["random", "grid", "tpe"] = Field(
        "random", description="where samples come from"
    )
    scheduler: Literal["asha", "hyperband", "median", "none"] = Field(
        "asha", description="what stops weak trials early"
    )
    metric: Literal["val_accuracy", "val_loss"] = Field(
        "val_accuracy", description="what the search and the scheduler judge by"
    )
    grace_epochs: float = Field(
        1, gt=0, description="epochs every trial may train before it can be stopped"
    )
    reduction_factor: float = Field(
        3, gt=1, description="asha, hyperband: one in so many trials goes on at each rung"
    )

    @property
    def mode(self) -> Literal["max", "min"]:
        """Whether a higher or a lower metric is better."""
        return "max" if self.metric == "val_accuracy" else "min"


class Budget(Spec):
    """What a study may use."""

    trials: PositiveInt | None = Field(None, description="trials to start; default 16, or the grid")
    epochs: PositiveInt = Field(8, description="epochs a trial trains when it is not stopped")
    wall_seconds: float | None = Field(None, gt=0, description="stop the study after so long")
    concurrency: PositiveInt | None = Field(
        None, description="trials at a time; default: as many as the resources hold"
    )
    max_failed: int = Field(0, ge=0, description="failed trials that still leave exit status 0")


class Resources(Spec):
    """What one trial holds while it trains."""

    cpus: float = Field(1, gt=0, description="CPUs a trial; TensorFlow's threads follow")
    gpus: float = Field(0, ge=0, description="GPUs a trial: 0, a fraction below 1, or whole ones")

    @model_validator(mode="after")
    def _whole_gpus(self) -> Self:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError("gpus above 1 must be whole")
        return self


TUNABLE: dict[str, type[Spec]] = {
    **dict.fromkeys(NetSpec.model_fields, NetSpec),
    **dict.fromkeys(("learning_rate", "batch_size"), Training),
}
"""Hyper-parameter name → the model that holds it. Anything here may stand in [space]."""


class TrialConfig(Spec):
    """Everything one trial needs besides its data."""

    number: int = Field(ge=0)
    net: NetSpec
    training: Training
    epochs: PositiveInt
    seed: int = Field(ge=0)


class OneNet(Spec):
    """One net to train without a tuner."""

    seed: int = Field(0, ge=0, lt=2**31, description="decides the weights and the batches")
    epochs: PositiveInt = Field(1, description="times that every example is trained on")
    data: Data = Data()
    net: NetSpec = NetSpec()
    training: Training = Training()

    def trial_config(self) -> TrialConfig:
        """What the training loop takes."""
        return TrialConfig(
            number=0, net=self.net, training=self.training, epochs=self.epochs, seed=self.seed
        )


class Study(Spec):
    """A study: many trials of a net over a search space, under one budget."""

    name: str = Field("study", pattern=r"^[\w.-]+$", description="names the run's folder")
    seed: int = Field(0, ge=0, lt=2**31, description="every random number of the study follows it")
    data: Data = Data()
    net: NetSpec = NetSpec()
    training: Training = Training()
    space: SearchSpace = SearchSpace({})
    tuning: Tuning = Tuning()
    budget: Budget = Budget()
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        self._check_space()
        self._check_search()
        self._check_pruning()
        return self

    def _check_space(self) -> None:
        for name, domain in self.space.items():
            if name not in TUNABLE:
                raise ValueError(unknown_key(name, "space", TUNABLE))
            if name in self.net.model_fields_set | self.training.model_fields_set:
                raise ValueError(f"{name} stands in [space] and in its section: keep one of them")
            probes = (domain.value,) if domain.kind == "fixed" else domain.value
            for probe in probes:
                try:
                    TUNABLE[name].model_validate({name: probe})
                except ValidationError as error:
                    raise ValueError(f"space.{explain(error)}") from None
        if all(domain.kind == "fixed" for _, domain in self.space.items()):
            raise ValueError(
                "the search space is empty: give a field a domain in [space], e.g. "
                "learning_rate = {log_uniform = [1e-3, 1e-1]}; to train one net use jobs/train.py"
            )

    def _check_search(self) -> None:
        if self.tuning.search != "grid":
            return
        for name, domain in self.space.items():
            if domain.kind not in ("fixed", "choice"):
                raise ValueError(f"grid search needs {name} as a choice. Given: {domain.kind}")
        size = len(self.space.grid())
        if self.budget.trials not in (None, size):
            raise ValueError(
                f"the grid has {size} points but budget.trials is {self.budget.trials}: "
                f"leave trials out, or change the choices"
            )

    def _check_pruning(self) -> None:
        scheduler, grace, epochs = (
            self.tuning.scheduler,
            self.tuning.grace_epochs,
            self.budget.epochs,
        )
        if scheduler == "none":
            return
        if scheduler == "hyperband" and epochs < self.tuning.reduction_factor:
            raise ValueError(
                f"hyperband needs epochs >= reduction_factor ({self.tuning.reduction_factor:g}). "
                f"Given: {epochs} epochs"
            )
        if scheduler == "hyperband" and self.budget.concurrency:
            raise ValueError(
                f"hyperband pauses trials and fills all resources: leave concurrency out. "
                f"Given: {self.budget.concurrency}"
            )
        if grace >= epochs:
            raise ValueError(
                f"{scheduler} can prune nothing unless grace_epochs < epochs. Given: grace_epochs "
                f'{grace:g}, epochs {epochs}; lower grace_epochs, or say scheduler = "none"'
            )

    @property
    def trials(self) -> int:
        """Trials the study starts."""
        grid = self.tuning.search == "grid"
        return self.budget.trials or (len(self.space.grid()) if grid else 16)

    def trial_config(self, number: int, sample: Mapping[str, Any], seed: int) -> TrialConfig:
        """Join a sample with the study's fixed fields."""
        base = {**self.net.model_dump(), **self.training.model_dump()}
        merged = {**base, **sample}
        return TrialConfig(
            number=number,
            net=NetSpec(**{k: merged[k] for k in NetSpec.model_fields}),
            training=Training(**{k: merged[k] for k in Training.model_fields}),
            epochs=self.budget.epochs,
            seed=seed,
        )

    def resolved(self) -> Values:
        """The study with every default filled in, as JSON; reads back as the same study."""
        whole = self.model_dump(mode="json", exclude={"space"})
        for section in ("net", "training"):
            whole[section] = {k: v for k, v in whole[section].items() if k not in self.space.root}
        whole["space"] = self.space.model_dump(mode="json", exclude_unset=True)
        return whole


def unknown_key(name: str, section: str, valid: Mapping[str, Any]) -> str:
    """The message for a key that does not exist, with the valid ones."""
    close = difflib.get_close_matches(name, valid, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"unknown key {name!r} in [{section}]{hint}; valid keys: {', '.join(valid)}"


def explain(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """One line for the first thing wrong: where, the rule, the value received.

    Args:
        error: what pydantic raised.
        model: the model that was validated, to name the valid keys when one is unknown.
    """
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden" and model is not None:
        section, valid = _valid_keys(model, place[:-1])
        return unknown_key(place[-1], section, valid)
    message = first["msg"].removeprefix("Value error, ")
    where = ".".join(place)
    if first["type"] == "value_error":
        return f"{where}: {message}" if where else message
    given = first["input"]
    shown = "nan" if isinstance(given, float) and math.isnan(given) else repr(given)
    return f"{where}: {message[0].lower()}{message[1:]}. Given: {shown}"


def _valid_keys(model: type[BaseModel], place: list[str]) -> tuple[str, Mapping[str, Any]]:
    if place[:1] == ["space"]:
        return ".".join(place[:2]), Domain.model_fields
    for part in place:
        annotation = model.model_fields[part].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        model = annotation
    return ".".join(place) or "the study", model.model_fields


def validated(model: type[M], values: Values, source: str) -> M:
    """The model made from `values`; raises InputError with one line that names `source`."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{source}: {explain(error, model)}") from None


def read_study(path: Path) -> Values:
    """A study's values from its TOML file, or from the study.json of a run.

    Raises:
        InputError: the file is absent or malformed.
    """
    if path.suffix != ".json":
        return read_toml(path)
    try:
        values: Values = json.loads(path.read_text(encoding="utf-8"))["study"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a study.json of a run ({error})") from None
    return values


def read_toml(path: Path) -> Values:
    """A TOML file as nested dicts. Raises InputError when it is absent or malformed."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{path}: not a readable TOML file ({reason})") from None
