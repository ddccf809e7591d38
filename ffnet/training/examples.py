"""What fits the examples of a data set. This module imports no TensorFlow."""

from collections.abc import Iterable
from typing import Protocol

from ffnet.errors import InputError
from ffnet.nets import inputs
from ffnet.spec.net import AUGMENTING, NetSpec, Training

DIGITS = ("digits", "mnist")
QUARTER = 90  # degrees
MOST_CHANNELS = 4  # red, green, blue, opacity


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
            f"{name} needs images [height, width] or [height, width, channels] whose pixels are "
            f"whole numbers from 0 to 255 (uint8). Given: {name} {value}, and data that are no "
            f"such images: leave it out, or, if the data are pixels, save them in this shape"
        )
    if asked and pixels and len(pixels) == 3 and pixels[0] <= MOST_CHANNELS < pixels[2]:
        raise InputError(
            f"{next(iter(asked))} needs images [height, width] or [height, width, channels]. "
            f"Given: images {list(pixels)}, whose channels seem to be first: move them to the end"
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
    if training.augment_rotate > QUARTER and data.name in DIGITS:
        raise InputError(
            f"augment_rotate must be at most {QUARTER} for digits: a 6 that is turned further is a "
            f"9. Given: augment_rotate {training.augment_rotate:g}, dataset {data.name}"
        )


def notes(data: inputs.Examples, nets: Iterable[NetSpec]) -> list[str]:
    """Lines that tell the user which fields of nets have no effect with these data.

    They are not refused, because a study searches over them for tables of every kind.
    """
    if inputs.numbers_of(data.features, data.encoding):
        return []
    kinds = {net.number_embedding for net in nets} - {"none"}
    if not kinds:
        return []
    named = " and ".join(sorted(kinds))
    reason = "the data have no column of numbers or dates"
    return [f"note: number_embedding {named} has no effect, because {reason}"]
