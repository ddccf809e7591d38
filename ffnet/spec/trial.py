"""One trial: its net, training, epochs and reports, and which fields contradict each other.

This module imports neither TensorFlow nor Ray.
"""

import math
from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from ffnet.spec.base import Spec, Values
from ffnet.spec.field_types import Count
from ffnet.spec.net import PATH, TUNABLE, NetSpec, Training
from ffnet.spec.validation import shown


class TrialConfig(Spec):
    """Everything that a trial needs, except its data."""

    number: int = Field(ge=0)
    net: NetSpec
    training: Training
    epochs: Count
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        check(self.net, self.training, self.epochs)
        return self

    @classmethod
    def of(cls, values: Mapping[str, Any], number: int, epochs: int, seed: Any) -> Self:
        """A trial whose net and training have these values; other fields have their defaults.

        Args:
            values: fields of `NetSpec` and `Training` by name. Other names are ignored.
            number: the trial's number, from 0.
            epochs: how many epochs it trains.
            seed: the seed of its weights, batches and dropout.

        Raises:
            InputError: a field cannot have its value, or two fields contradict each other.

        >>> TrialConfig.of({"hidden_sizes": [8], "momentum": 0.9}, 0, 1, 0).net.hidden_sizes
        (8,)
        """
        net, training = (
            model(**{name: values[name] for name in model.model_fields if name in values})
            for model in (NetSpec, Training)
        )
        return cls(number=number, net=net, training=training, epochs=epochs, seed=seed)

    def on_path(self, path: Values) -> Self:
        """The trial with these fields PATH."""
        training = Training(**(self.training.model_dump() | path))
        return self.model_copy(update={"training": training})

    def path(self) -> Values:
        """The fields PATH that the trial has."""
        found = {name: getattr(self.training, name) for name in PATH}
        return {name: value for name, value in found.items() if value is not None}

    def hyperparameters(self) -> Values:
        """Name of a hyper-parameter → value, perhaps None. dropout has a rate for each layer."""
        return {
            name: value
            for name, value in (self.net.model_dump() | self.training.model_dump()).items()
            if name in TUNABLE
        } | {"dropout": self.net.dropout_rates}


def check(net: NetSpec, training: Training, epochs: int) -> None:
    """Refuse fields that contradict each other, so that no field is ignored without a message.

    Raises:
        ValueError: names the rule and the values.
    """
    depth, rule = len(net.hidden_sizes), training.optimizer
    blocks = (training.steps_per_block or 1) > 1
    plain = net.api == "barebones" and rule == "sgd" and not training.momentum
    learnt = (
        f"embedding_sizes {shown(net.embedding_sizes)}, number_embedding {net.number_embedding}, "
        f"scaling_layer {str(net.scaling_layer).lower()}"
    )
    kind = net.number_embedding
    refusals = {
        f"dropout needs one rate for each of {depth} hidden layers. Given: {shown(net.dropout)}": (
            len(net.dropout_rates) != depth or (not depth and net.dropout)
        ),
        "batch_norm needs a hidden layer. Given: hidden_sizes []": net.batch_norm and not depth,
        "layer_norm needs a hidden layer. Given: hidden_sizes []": net.layer_norm and not depth,
        "batch_norm and layer_norm are two normalisations of the same layers: leave one of them "
        "out. Given: both": net.batch_norm and net.layer_norm,
        "layer_norm needs hidden layers of two neurons or more, because a neuron alone is its own "
        f"mean. Given: hidden_sizes {list(net.hidden_sizes)}": (
            net.layer_norm and 1 in net.hidden_sizes
        ),
        "residual needs two neighbouring hidden layers of the same width, e.g. [256, 256]; to "
        "draw such layers: hidden_sizes = {repeat = {log_integer = [64, 512]}, depth = {integer = "
        f"[2, 4]}}}}. Given: hidden_sizes {list(net.hidden_sizes)}": (
            net.residual and not any(net.adds_input)
        ),
        f"batch_norm needs batches of two or more. Given: batch_size {training.batch_size}": (
            net.batch_norm and training.batch_size < 2
        ),
        "bottleneck is a layer between two hidden layers, and needs two of them or more, e.g. "
        "[256, 256]; to draw them, give hidden_sizes depth = {integer = [2, 4]}. Given: "
        f"bottleneck {net.bottleneck}, hidden_sizes {list(net.hidden_sizes)}": (
            net.bottleneck and depth < 2
        ),
        "number_embedding_size is only for number_embedding plr and pbld; leave it out. Given: "
        f"number_embedding_size {net.number_embedding_size}, number_embedding {kind}": (
            net.number_embedding_size and kind not in ("plr", "pbld")
        ),
        "number_embedding pbld needs number_embedding_size 2 or more, because one number of each "
        f"vector is the number itself. Given: {net.number_embedding_size}": (
            kind == "pbld" and net.number_embedding_size == 1
        ),
        "number_frequencies and frequency_scale need number_embedding periodic, plr or pbld. "
        f"Given: number_frequencies {net.number_frequencies}, frequency_scale "
        f"{net.frequency_scale}, number_embedding none": (
            kind == "none" and (net.number_frequencies or net.frequency_scale)
        ),
        f"momentum is only for sgd and rmsprop; leave it out. Given: momentum {training.momentum}, "
        f"optimizer {rule}": training.momentum and rule in ("adam", "adamw"),
        f"nesterov needs sgd with momentum. Given: optimizer {rule}, momentum "
        f"{training.momentum}": training.nesterov and not (rule == "sgd" and training.momentum),
        "adamw needs weight_decay > 0; without weight decay use adam. Given: weight_decay 0": (
            rule == "adamw" and not training.weight_decay
        ),
        f"schedule step needs step_epochs. Given: {training.step_epochs}": (
            training.schedule == "step" and not training.step_epochs
        ),
        f"step_epochs and step_factor need schedule step. Given: {training.schedule}": (
            training.schedule != "step" and (training.step_epochs or training.step_factor)
        ),
        "warmup_epochs needs schedule constant, cosine or step; the others rise themselves. Given: "
        f"warmup_epochs {training.warmup_epochs:g}, schedule {training.schedule}": (
            training.warmup_epochs and training.schedule in ("one_cycle", "coslog4")
        ),
        "weight_decay_schedule needs weight_decay above 0; without weight decay leave it out. "
        f"Given: {training.weight_decay_schedule}, weight_decay {training.weight_decay:g}": (
            training.weight_decay_schedule != "constant" and not training.weight_decay
        ),
        "dropout_schedule needs dropout above 0; without dropout leave it out. Given: "
        f"{training.dropout_schedule}, dropout {shown(net.dropout)}": (
            training.dropout_schedule != "constant" and not any(net.dropout_rates)
        ),
        f"warmup_epochs must be below epochs ({epochs}). Given: {training.warmup_epochs:g}": (
            training.warmup_epochs >= epochs
        ),
        "precision bfloat16 needs api barebones, and sgd without momentum or weight_decay. "
        f"Given: api {net.api}, optimizer {rule}, momentum {training.momentum}, weight_decay "
        f"{training.weight_decay:g}": (
            training.precision == "bfloat16" and not (plain and not training.weight_decay)
        ),
        f"precision bfloat16 needs inputs without learned vectors or factors. Given: {learnt}": (
            training.precision == "bfloat16" and net.learns_inputs
        ),
        f"mixup needs batches of two or more. Given: batch_size {training.batch_size}": (
            training.mixup and training.batch_size < 2
        ),
        f"mixup cannot mix categories with learned vectors: leave one of them out. Given: mixup "
        f"{training.mixup:g}, embedding_sizes {shown(net.embedding_sizes)}": (
            training.mixup and net.learns_vectors
        ),
        f"input_noise cannot change categories with learned vectors: leave one of them out. Given: "
        f"input_noise {training.input_noise:g}, embedding_sizes {shown(net.embedding_sizes)}": (
            training.input_noise and net.learns_vectors
        ),
        f"clip_norm needs plain steps: leave steps_per_block, tiles and precision out. Given: "
        f"clip_norm {training.clip_norm}, steps_per_block {training.steps_per_block}, tiles "
        f"{training.tiles}, precision {training.precision}": (
            training.clip_norm and (blocks or training.tiles or training.precision != "float32")
        ),
        "steps_per_block above 1 needs api barebones, optimizer sgd, and inputs without learned "
        f"vectors or factors. Given: steps_per_block {training.steps_per_block}, api {net.api}, "
        f"optimizer {rule}, {learnt}": (blocks and not may_be_blocked(net, training)),
        "tiles need api barebones, a hidden layer, inputs without learned vectors or factors, and "
        f"no blocks. Given: api {net.api}, hidden_sizes {list(net.hidden_sizes)}, {learnt}, "
        f"steps_per_block {training.steps_per_block}": (
            training.tiles and (blocks or not may_be_tiled(net, training))
        ),
    }
    for refusal, given in refusals.items():
        if given:
            raise ValueError(refusal)


def may_be_blocked(net: NetSpec, training: Training) -> bool:
    """Whether a net can train in blocks of several steps: see `training.blocked`."""
    return _in_parts(net, training) and training.optimizer == "sgd"


def may_be_tiled(net: NetSpec, training: Training) -> bool:
    """Whether a net can train in tiles: see `training.tiles`."""
    return _in_parts(net, training) and bool(net.hidden_sizes)


def _in_parts(net: NetSpec, training: Training) -> bool:
    """Whether the first layer may be updated apart from the others.

    The norm of all gradients would have to be known before.
    """
    return net.api == "barebones" and not net.learns_inputs and training.clip_norm is None


def steps_per_epoch(config: TrialConfig, examples: int) -> int:
    """Number of steps in which the net sees every training example once."""
    return math.ceil(examples / config.training.batch_size)


def report_points(config: TrialConfig, examples: int) -> list[int]:
    """The steps after which a trial reports: every `report_steps` or every epoch, and the last."""
    per_epoch = steps_per_epoch(config, examples)
    end = config.epochs * per_epoch
    interval = config.training.report_steps or per_epoch
    return [*range(interval, end, interval), end]
