"""One net and how it is trained: NetSpec and Training.

Each field is a hyper-parameter: a study can search over it, and it has a column in the tables and a
flag. (The fields in UNTUNABLE only have flags.) This module imports neither TensorFlow nor Ray.
"""

from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from ffnet.spec.base import Spec
from ffnet.spec.field_types import (
    Activation,
    Count,
    EmbeddingSizes,
    Falling,
    HiddenSizes,
    Initializer,
    NotNegative,
    Positive,
    PositiveInt,
    Rate,
    Rates,
    Share,
)


class NumberVectors(NamedTuple):
    """How each number of an example becomes a vector: see `ffnet.nets.number_vectors`.

    kind is periodic, plr or pbld; size is that of a vector; frequencies is their number for each
    number; scale is the standard deviation of the first frequencies.
    """

    kind: str
    size: int
    frequencies: int
    scale: float

    @property
    def waves(self) -> int:
        """How many cosines and sines of a number there are: pbld has phases instead of sines."""
        return self.frequencies * (1 if self.kind == "pbld" else 2)


class NetSpec(Spec):
    """A feed-forward net: hidden layers of neurons between the features and the class scores.

    A hidden layer computes x·w + b, then a normalisation, the activation and dropout. The output
    layer computes x·w + b. Biases, normalisation and dropout are optional.

    Raises:
        InputError: a field has a wrong value.

    Example:
        >>> NetSpec(hidden_sizes=[256, 128], dropout=0.2).dropout_rates
        (0.2, 0.2)
    """

    api: Literal["barebones", "functional", "model", "sequential"] = Field(
        "barebones",
        description="how the net is written: in plain TensorFlow (barebones), or with one of three "
        "APIs of Keras",
    )
    hidden_sizes: HiddenSizes = Field(
        (512,),
        description="neurons in each hidden layer, 1 or more: a number, or a list such as "
        "[256, 128]; the list [] means no hidden layer",
    )
    activation: Activation = Field("relu", description="activation of every hidden layer")
    dropout: Rates = Field(
        0.0,
        description="share of a hidden layer's outputs that is dropped in training, from 0 to "
        "below 1: a number for all layers, or a list with a number for each layer",
    )
    batch_norm: bool = Field(False, description="normalise each hidden layer over the minibatch")
    layer_norm: bool = Field(
        False, description="normalise each hidden layer over its neurons, for each example alone"
    )
    residual: bool = Field(
        False,
        description="each hidden layer that is as wide as the hidden layer before it adds its "
        "input to its output",
    )
    bottleneck: Annotated[int, Field(ge=0, lt=2**31, strict=True)] = Field(
        0,
        description="neurons of a linear layer without bias between each two hidden layers; 0 "
        "means no such layer",
    )
    bias: bool = Field(True, description="add a bias in every layer, including the output layer")
    initializer: Initializer = Field(
        "kaiming_normal",
        description="how the initial weights are drawn (kaiming: variance 2 / inputs; fitted: "
        "gain² / inputs, with the gain that fits the activation)",
    )
    embedding_sizes: EmbeddingSizes | None = Field(
        None,
        description="learned vectors instead of one-hot vectors for columns of categories: with a "
        "number, each column with more categories than this gets a vector of so many numbers; a "
        "list has a number for each column of categories (a list of one number is that number); 0 "
        "means one-hot [all one-hot]",
    )
    number_embedding: Literal["none", "periodic", "plr", "pbld"] = Field(
        "none",
        description="learned vectors instead of numbers (of a table, columns of numbers and "
        "dates), made of cosines whose frequencies are learned: periodic only these; plr: then a "
        "linear map and relu; pbld: cosines with phases, a linear map, and the number itself",
    )
    number_embedding_size: Count | None = Field(
        None,
        description="only with number_embedding plr or pbld: numbers of each vector, 1 or more, "
        "for pbld 2 or more [plr 24, pbld 4]",
    )
    number_frequencies: Count | None = Field(
        None,
        description="only with number_embedding: frequencies of each number, 1 or more [pbld 16, "
        "others 48]",
    )
    frequency_scale: Positive | None = Field(
        None,
        description="only with number_embedding: standard deviation of the first frequencies, "
        "above 0 [pbld 0.1, others 0.01]",
    )
    scaling_layer: bool = Field(
        False, description="multiply each input of the first layer by a learned factor"
    )

    @property
    def dropout_rates(self) -> tuple[float, ...]:
        """The dropout rate of each hidden layer."""
        if isinstance(self.dropout, tuple):
            return self.dropout
        return (self.dropout,) * len(self.hidden_sizes)

    @property
    def normalizes(self) -> bool:
        """Whether the hidden layers have a normalisation."""
        return self.batch_norm or self.layer_norm

    @property
    def adds_input(self) -> tuple[bool, ...]:
        """Whether each hidden layer adds its input to its output. The first one never does."""
        pairs = pairwise((None, *self.hidden_sizes))
        return tuple(self.residual and before == size for before, size in pairs)

    @property
    def learns_vectors(self) -> bool:
        """Whether the net may learn vectors for categories; that depends on the data, too."""
        return any(self.embedding_sizes or ())

    @property
    def number_vectors(self) -> NumberVectors | None:
        """How each number becomes a vector, with the defaults of its kind; None if it does not.

        The defaults are those of the package rtdl_num_embeddings, and for pbld those of RealMLP.
        """
        kind, pbld = self.number_embedding, self.number_embedding == "pbld"
        frequencies = self.number_frequencies or (16 if pbld else 48)
        size = self.number_embedding_size or (4 if pbld else 24)
        size = 2 * frequencies if kind == "periodic" else size
        scale = self.frequency_scale or (0.1 if pbld else 0.01)
        return None if kind == "none" else NumberVectors(kind, size, frequencies, scale)

    @property
    def learns_inputs(self) -> bool:
        """Whether the inputs of the first layer may change while the net trains."""
        return self.learns_vectors or self.number_embedding != "none" or self.scaling_layer


class Training(Spec):
    """How a net is trained. The loss is the mean softmax cross-entropy, in nats.

    With class_weight "balanced", steps minimise a weighted mean of it; with label_smoothing, they
    minimise it for smoothed targets. Reported losses are always unweighted and unsmoothed. A
    training loss is that of the examples as steps see them: with dropout, changed and mixed.

    Raises:
        InputError: a field has a wrong value.
    """

    optimizer: Literal["sgd", "adam", "adamw", "rmsprop"] = Field(
        "sgd", description="rule by which gradients change the weights"
    )
    learning_rate: Positive = Field(0.01, description="step size, above 0")
    momentum: Share | None = Field(
        None,
        description="momentum, above 0 and below 1; only with optimizer sgd or rmsprop [none]",
    )
    nesterov: bool = Field(False, description="Nesterov's momentum; only with sgd and momentum")
    weight_decay: NotNegative = Field(
        0.0,
        description="L2 penalty, 0 or more: weight_decay·w is added to the gradient of w; adamw "
        "decays the weights themselves",
    )
    weight_decay_schedule: Falling = Field(
        "constant",
        description="how weight_decay changes; cosine falls to 0 at the last epoch, flat_cosine "
        "does so in the second half of the training",
    )
    dropout_schedule: Falling = Field(
        "constant",
        description="how dropout changes; cosine falls to 0 at the last epoch, flat_cosine does so "
        "in the second half of the training",
    )
    schedule: Literal["constant", "cosine", "step", "one_cycle", "coslog4"] = Field(
        "constant",
        description="how the learning rate changes; cosine falls to 0 at the last epoch, step "
        "falls every step_epochs, one_cycle rises from a 25th in 0.3 of the training and then "
        "falls to 0, coslog4 rises and falls four times, each time more slowly",
    )
    warmup_epochs: NotNegative = Field(
        0.0,
        description="epochs in which the learning rate rises linearly from 0, 0 or more; not with "
        "schedule one_cycle or coslog4, which rise themselves",
    )
    step_epochs: Positive | None = Field(
        None,
        description="only with schedule step: epochs between falls of the learning rate, above 0",
    )
    step_factor: Share | None = Field(
        None,
        description="only with schedule step: factor of the learning rate at each fall, above 0 "
        "and below 1 [0.1]",
    )
    batch_size: PositiveInt = Field(64, description="examples in a minibatch, 1 or more")
    class_weight: Literal["none", "balanced"] = Field(
        "none",
        description="how much an example counts in the loss; balanced: training examples / "
        "(classes · examples of its class), so that all classes count the same",
    )
    label_smoothing: Rate = Field(
        0.0,
        description="share of the target that is spread evenly over all classes in the loss that "
        "is minimised, from 0 to below 1",
    )
    average_decay: Share | None = Field(
        None,
        description="decay of a moving average of the weights, above 0 and below 1: after each "
        "step the average becomes average_decay times itself and the rest the new weights; it is "
        "what is evaluated, kept as the best, exported and confirmed [none]",
    )
    clip_norm: Annotated[Positive, Field(le=1e9)] | None = Field(  # 1 / 1e38 is 0 in TensorFlow
        None,
        description="longest gradient, above 0: if the norm of all gradients together, without "
        "weight decay, is larger, they are scaled down to it; the steps are then plain ones [none]",
    )
    mixup: NotNegative = Field(
        0.0,
        description="mix each training example with another one: inputs and labels become λ times "
        "one and 1 - λ times the other, with λ from the distribution Beta(mixup, mixup); 0: not",
    )
    input_noise: NotNegative = Field(
        0.0,
        description="standard deviation of the Gaussian noise that is added to each input of a "
        "training example, after scaling, 0 or more",
    )
    augment_shift: Annotated[int, Field(ge=0, lt=2**15, strict=True)] = Field(
        0,
        description="move each training image by up to so many pixels, sideways and up or down, 0 "
        "or more; all augment_ fields need images of uint8 pixels, and change no other part",
    )
    augment_flip: bool = Field(
        False,
        description="mirror every other training image, left to right; only where that keeps the "
        "class",
    )
    augment_crop: Rate = Field(
        0.0,
        description="show a part of each training image, enlarged: up to this share of each side "
        "is cut off, from 0 to below 1",
    )
    augment_erase: Rate = Field(
        0.0,
        description="erase a square in each training image: up to this share of its pixels, from 0 "
        "to below 1",
    )
    augment_rotate: Annotated[NotNegative, Field(le=180)] = Field(
        0.0,
        description="turn each training image by up to so many degrees, to the left or right, 0 to "
        "180",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="number type of the first layer's products; bfloat16 is faster on CPUs that "
        "support it; the weights stay float32",
    )
    steps_per_block: Literal[1, 2, 4, 8] | None = Field(
        None,
        description="steps of sgd whose products with the first layer's weights are computed "
        "together: 1, 2, 4 or 8; it changes speed and rounding only, and each trial records it "
        "[the fastest on this kind of CPU]",
    )
    tiles: bool | None = Field(
        None,
        description="cut the first layer into parts that fit into a cache, only with "
        "steps_per_block 1; it changes speed and rounding only, and each trial records it "
        "[the fastest on this kind of CPU]",
    )
    report_steps: PositiveInt | None = Field(
        None,
        description="steps between two reports, each with a validation, 1 or more "
        "[the steps of an epoch]",
    )


AUGMENTING = ("augment_shift", "augment_flip", "augment_crop", "augment_erase", "augment_rotate")
"""Fields of [training] that change the training images."""

PATH = ("steps_per_block", "tiles")
"""Fields of [training] that say how the steps are computed. They are chosen for each trial."""

ENDING = {
    "schedule": ("cosine", "one_cycle", "coslog4"),
    "weight_decay_schedule": ("cosine", "flat_cosine"),
    "dropout_schedule": ("cosine", "flat_cosine"),
}
"""Field → its values that end at the last epoch. With more epochs, all steps would be others."""

UNTUNABLE = ("precision", *PATH, "report_steps")
"""Fields of [training] that are no hyper-parameters."""

NEWEST = (
    "layer_norm", "residual", "bottleneck", "number_embedding", "number_embedding_size",
    "number_frequencies", "frequency_scale", "scaling_layer", "weight_decay_schedule",
    "dropout_schedule", "label_smoothing", "average_decay", "clip_norm", "mixup",
    "input_noise", *AUGMENTING,
)  # fmt: skip
"""The latest hyper-parameters. Tables of earlier versions lack their columns."""

TUNABLE: dict[str, type[Spec]] = {
    **dict.fromkeys(NetSpec.model_fields, NetSpec),
    **{n: Training for n in Training.model_fields if n not in UNTUNABLE},
}
"""Name of a hyper-parameter that [space] may have → the model that has the field."""

MUTABLE = ("learning_rate", "momentum", "weight_decay", "dropout")
"""Hyper-parameters that population-based training may change while a net trains."""
