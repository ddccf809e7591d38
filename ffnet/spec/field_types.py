"""Types of the fields of a net and its training: what a value may be, and why it is refused."""

from typing import Annotated, Literal

import numpy as np
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
)

from ffnet.spec.base import is_new
from ffnet.spec.space import MOST_LAYERS, as_sizes

PositiveInt = Annotated[int, Field(ge=1, lt=2**63, strict=True)]
Count = Annotated[int, Field(ge=1, lt=2**31, strict=True)]
"""A number of trials or epochs. Its columns in the tables have 32 bits."""


def _sizes(value: object) -> object:
    if isinstance(value, str):
        raise ValueError(f"needs a number or a list, e.g. [256, 128]. Given: {value[:50]!r}")
    return as_sizes(value)


SMALLEST, LARGEST = (float(each) for each in (np.finfo("f4").tiny, np.finfo("f4").max))


def _fits_float32(value: float, info: ValidationInfo) -> float:
    """Refuse a number that float32 cannot hold, because nets are trained in float32."""
    if is_new(info) and value and not SMALLEST <= abs(value) <= LARGEST:
        raise ValueError(
            f"must be a number that float32 holds, from {SMALLEST:.3g} to {LARGEST:.3g}. "
            f"Given: {value!r}"
        )
    return value


def _is_share_in_float32(value: float, info: ValidationInfo) -> float:
    if is_new(info) and np.float32(value) == 1:
        raise ValueError(f"must be below 1, but float32 rounds it to 1. Given: {value!r}")
    return value


HiddenSizes = Annotated[
    tuple[PositiveInt, ...], BeforeValidator(_sizes), Field(max_length=MOST_LAYERS)
]
EmbeddingSizes = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=2**31, strict=True)], ...],
    BeforeValidator(_sizes),
    Field(min_length=1),
]
NotNegative = Annotated[float, Field(ge=0), AfterValidator(_fits_float32)]
Positive = Annotated[float, Field(gt=0), AfterValidator(_fits_float32)]
Share = Annotated[Positive, Field(lt=1), AfterValidator(_is_share_in_float32)]
Rate = Annotated[NotNegative, Field(lt=1), AfterValidator(_is_share_in_float32)]
Rates = Annotated[
    Annotated[Rate, Tag("all")] | Annotated[tuple[Rate, ...], Tag("each")],
    Discriminator(lambda value: "each" if isinstance(value, list | tuple) else "all"),
]


def _trainable(value: object) -> object:
    if value in ("step", "perceptron", "threshold"):
        raise ValueError(
            f"gradient descent cannot train a threshold unit, because its derivative is 0; use "
            f"sigmoid, which is a smooth threshold. Given: {value}"
        )
    return value


Activation = Annotated[
    Literal[
        "relu", "sigmoid", "tanh", "elu", "selu", "gelu", "silu", "mish", "leaky_relu", "relu6",
        "softplus", "softsign", "hard_sigmoid", "linear",
    ],
    BeforeValidator(_trainable),
]  # fmt: skip

Initializer = Literal[
    "kaiming_normal", "kaiming_uniform", "variance_scaling", "glorot_normal", "glorot_uniform",
    "lecun_normal", "fitted",
]  # fmt: skip


Falling = Literal["constant", "cosine", "flat_cosine"]
