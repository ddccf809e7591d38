"""The sections Data, Tuning, Budget and Resources of a study.

A field's name is unique across all sections. Flags and columns of the tables have the same names.
"""

import re
from datetime import date, datetime, time
from itertools import combinations
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ffnet.spec.base import Spec
from ffnet.spec.field_types import Count, PositiveInt


def _as_text(value: Any) -> Any:
    """A number, date or time as text: `name = 2024`."""
    is_one = isinstance(value, int | float | date | datetime | time)
    return str(value) if is_one and not isinstance(value, bool) else value


def _is_name(name: str) -> str:
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(f"may have only letters, digits, '_', '.' and '-'. Given: {name!r}")
    return name


Text = Annotated[str, BeforeValidator(_as_text)]
Name = Annotated[Text, Field(max_length=100), AfterValidator(_is_name)]


def _as_list(value: Any) -> Any:
    """A single name as a list: `drop = "id"`."""
    return value if isinstance(value, list | tuple) else [value]


def _as_sides(value: Any) -> Any:
    """The side of a square as height and width: `image_size = 32`."""
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


def _is_separator(text: str) -> str:
    text = {"tab": "\t", r"\t": "\t"}.get(text, text)
    if len(text.encode()) != 1 or text in '\r\n"':
        raise ValueError(f'must be one ASCII character other than ", or tab. Given: {text!r}')
    return text


Separator = Annotated[str, AfterValidator(_is_separator)]
Names = Annotated[tuple[Text, ...], BeforeValidator(_as_list)]

GIVEN = "given"
"""The value of `dataset` in a study whose data were passed as Python objects."""


Metric = Literal["val_accuracy", "val_loss", "val_balanced_accuracy", "val_macro_f1", "val_auc"]
METRICS: tuple[Metric, ...] = get_args(Metric)
"""Figures of the validation part. Each has columns in the tables, and can be a study's metric."""

LOWER_IS_BETTER: tuple[Metric, ...] = ("val_loss",)
"""The metrics of which a lower value is better. All others are shares, from 0 to 1."""


def on_test(metric: Metric) -> str:
    """The column of the same figure of the test part: test_accuracy for val_accuracy."""
    return metric.replace("val_", "test_", 1)


Patience = Annotated[
    float | None,
    Field(
        gt=0,
        description="epochs without a better value of the metric after which training ends, "
        "above 0 [it always goes on to the last epoch]",
    ),
]
MinDelta = Annotated[
    float,
    Field(
        ge=0,
        description="only with patience_epochs: a value counts as better only if it is better by "
        "more than this, 0 or more",
    ),
]


class Data(Spec):
    """Which data set is used, where it is, and how it is split."""

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
        description="column of a table or array (npz) that holds the labels [the one named label, "
        "labels, y, target or class]",
    )
    separator: Separator | None = Field(
        None,
        description="CSV: the character between two cells [found out: comma, semicolon, tab or |]",
    )
    decimal: Literal[".", ","] = Field(
        ".", description='CSV: the character before the decimals of a number, "." or ","'
    )
    missing: Names = Field(
        (),
        description="CSV: texts that stand for a missing value, besides empty cells, NA, NaN, null "
        "and other usual ones",
    )
    image_size: Annotated[tuple[Count, Count], BeforeValidator(_as_sides)] | None = Field(
        None,
        description="folders of images: the size that each image gets: 32, or [height, width] "
        "[the size of the images, which must all have one]",
    )
    drop_unlabelled: bool = Field(
        False, description="leave out rows without a label; otherwise they are refused"
    )
    drop: Names = Field((), description="columns of a table to leave out: --drop '[\"id\"]'")
    categorical: Names = Field(
        (), description="columns of a table that are categories although they hold numbers or dates"
    )
    numeric: Names = Field(
        (), description="columns of a table that are numbers although they hold text or booleans"
    )
    imputation: Literal["mean", "median"] = Field(
        "mean",
        description="what stands for a gap in a column of numbers: its mean or its median in the "
        "training part; an indicator tells the net of the gap",
    )
    max_categories: Count = Field(
        100,
        description="categories of a column that each get a neuron of the input, the most frequent "
        "ones; rarer ones share one",
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
        description="which examples become the validation and test parts: the last of the training "
        "file, or some of each class, drawn at random [last for cifar10, else stratified]",
    )
    split_seed: int = Field(0, ge=0, description="seed of a stratified split, 0 or more")
    group: Text | None = Field(
        None,
        min_length=1,
        description="column of a table, for example patient: rows with the same value in it stay "
        "in one part, also in the folds of ffnet confirm; it is no feature",
    )
    scaling: Literal["standard", "robust", "quantile", "unit"] = Field(
        "standard",
        description="standard: each feature or channel gets mean 0 and deviation 1 in the training "
        "part; unit: pixels are divided by 255; for columns of a table also robust: median 0, "
        "distance of the quartiles 1, and a smooth clip at 3; quantile: the training part's "
        "numbers become normally distributed",
    )

    @model_validator(mode="after")
    def _each_column_once(self) -> Self:
        columns = {"target": self.target, "group": self.group}
        uses = {field: {name} for field, name in columns.items() if name is not None}
        uses |= {field: set(getattr(self, field)) for field in ("drop", "categorical", "numeric")}
        for one, other in combinations(uses, 2):
            for name in sorted(uses[one] & uses[other]):
                raise ValueError(
                    f"a column must be named only once in target, group, drop, categorical and "
                    f"numeric. Given: {name} in {one} and in {other}"
                )
        return self


LEARNING = ("tpe", "gp", "cmaes")
"""The searches that learn from earlier trials."""


class Tuning(Spec):
    """How configurations are chosen, compared and stopped."""

    search: Literal["random", "grid", "qmc", "tpe", "gp", "cmaes"] = Field(
        "random",
        description="how the trials' configurations are chosen; qmc: Sobol points, which fill the "
        "space more evenly than random ones; tpe, gp (Gaussian process) and cmaes (CMA-ES of the "
        "ranges, the rest at random) learn from earlier trials",
    )
    points: tuple[dict[str, Any], ...] = Field(
        (),
        description="configurations to try first: '[{learning_rate = 0.1}]'; the fields of "
        "[space] that a point leaves out are drawn; a field's own flag takes it out of a file's "
        "points",
    )
    learn_from: Text | None = Field(
        None,
        min_length=1,
        description="tpe, gp, cmaes: folder or URI of an earlier run from whose trials the search "
        "learns, too; its space may differ",
    )
    scheduler: Literal["asha", "hyperband", "median", "pbt", "none"] = Field(
        "asha",
        description="rule that stops weak trials early; pbt does not stop them: they continue from "
        "the weights of better trials",
    )
    metric: Metric = Field(
        "val_accuracy", description="figure by which search, scheduler and tables compare trials"
    )
    grace_epochs: float = Field(
        1, gt=0, description="asha, median: epochs before a trial may be stopped, above 0"
    )
    reduction_factor: float = Field(
        3,
        gt=1,
        description="asha, hyperband: at each rung, 1 in this many trials continues, above 1",
    )
    perturbation_epochs: float = Field(
        1, gt=0, description="pbt: epochs between two comparisons of the trials, above 0"
    )
    patience_epochs: Patience = None
    min_delta: MinDelta = 0.0

    @property
    def learns(self) -> bool:
        """Whether the search learns from earlier trials."""
        return self.search in LEARNING

    @property
    def mode(self) -> Literal["max", "min"]:
        """Whether a higher ("max") or a lower ("min") metric is better."""
        return "min" if self.metric in LOWER_IS_BETTER else "max"

    def check_patience(self, epochs: int) -> None:
        """Refuse a patience that can end no trial, or that ends every trial.

        Args:
            epochs: epochs of a trial that is not stopped.

        Raises:
            ValueError: names the rule and the values.
        """
        patience, delta = self.patience_epochs, self.min_delta
        if patience is None:
            if delta:
                raise ValueError(
                    f"min_delta has an effect only with patience_epochs: leave it out, or set "
                    f"patience_epochs. Given: min_delta {delta:g}, no patience_epochs"
                )
            return
        if patience >= epochs:
            raise ValueError(
                f"patience_epochs ends no training unless it is below epochs. Given: "
                f"patience_epochs {patience:g}, epochs {epochs}; lower it, or leave it out"
            )
        if self.mode == "max" and delta >= 1:
            raise ValueError(
                f"min_delta must be below 1 for {self.metric}, which is a share. Given: {delta:g}"
            )
        if self.scheduler == "pbt":
            raise ValueError(
                f"pbt lets a trial that is no better continue from the weights of a better trial: "
                f"leave patience_epochs out. Given: {patience:g}"
            )


class Budget(Spec):
    """How many trials and epochs a study trains, and its limits."""

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
    keep_checkpoints: Count = Field(
        5, description="ended trials, the best ones, whose weights are kept, 1 or more"
    )


class Resources(Spec):
    """The CPUs and GPUs that one trial uses while it trains."""

    cpus: float = Field(
        1, gt=0, description="CPUs per trial, above 0; TensorFlow uses as many threads"
    )
    gpus: float = Field(
        0, ge=0, description="GPUs per trial: 0, a fraction below 1, or a whole number"
    )

    @model_validator(mode="after")
    def _whole_gpus(self) -> Self:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError("gpus above 1 must be a whole number")
        return self

    @property
    def threads(self) -> int:
        """How many threads TensorFlow uses for a trial: `cpus` rounded down, but at least 1."""
        return max(1, int(self.cpus))
