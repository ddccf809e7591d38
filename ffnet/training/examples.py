"""Which changes of the training examples a data set can have. This module imports no TensorFlow."""

from typing import Protocol

from ffnet.errors import InputError
from ffnet.spec.net import AUGMENTING, Training

DIGITS = ("digits", "mnist")


class Examples(Protocol):
    """A data set, or its parts on a device: the attributes of `DataSet` that are asked for."""

    @property
    def name(self) -> str: ...
    @property
    def pixels(self) -> tuple[int, ...] | None: ...


def refuse_unfit(training: Training, data: Examples) -> None:
    """Refuse changes that the examples of a data set cannot have.

    Args:
        training: the trial's training.
        data: the data set.

    Raises:
        InputError: names the field, the rule and the value.
    """
    pixels = data.pixels
    asked = {name: value for name in AUGMENTING if (value := getattr(training, name))}
    if asked and pixels is None:
        name, value = next(iter(asked.items()))
        raise InputError(
            f"{name} needs images whose pixels are whole numbers from 0 to 255 (uint8). Given: "
            f"{name} {value}, and other data; leave it out"
        )
    if pixels and training.augment_shift >= min(pixels[:2]):
        raise InputError(
            f"augment_shift must be less than height and width of the images, {pixels[0]} and "
            f"{pixels[1]}. Given: {training.augment_shift}"
        )
    if training.augment_flip and data.name in DIGITS:
        raise InputError(
            f"augment_flip mirrors images, and a mirrored digit is no digit: leave it out. Given: "
            f"augment_flip true, dataset {data.name}"
        )
