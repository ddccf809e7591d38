"""Decodes PNG, JPEG and other encoded images with Pillow."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ffnet.errors import InputError


def decode(encoded: Sequence[bytes | None], where: Path) -> npt.NDArray[Any]:
    """Images as uint8 [N, height, width] (all grey) or [N, height, width, 3].

    Args:
        encoded: the bytes of one image file each.
        where: the file they come from, for the messages.

    Raises:
        InputError: no images, one that cannot be decoded, or images of different sizes.
    """
    if not encoded:
        raise InputError(f"{where}: has no images")
    first = _pixels(encoded[0], None, 0, where)
    mode = "L" if first.ndim == 2 else "RGB"
    pixels = np.empty((len(encoded), *first.shape), np.uint8)
    for i, content in enumerate(encoded):  # threads were slower: see docs/log.md
        image = _pixels(content, mode, i, where)
        if image.shape != first.shape:
            raise InputError(
                f"{where}: images must have one size, {first.shape[:2]} like the first. "
                f"Given: {image.shape[:2]} at row {i}; resize them before"
            )
        pixels[i] = image
    return pixels


def _pixels(content: bytes | None, mode: str | None, row: int, where: Path) -> npt.NDArray[Any]:
    try:
        if content is None:
            raise ValueError("no bytes")
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert(mode or ("L" if image.mode in ("L", "1") else "RGB")))
    except (
        OSError,
        ValueError,
        SyntaxError,
        UnidentifiedImageError,
        Image.DecompressionBombError,
    ) as error:
        raise InputError(
            f"{where}: row {row} is not an image that can be decoded ({error})"
        ) from None
