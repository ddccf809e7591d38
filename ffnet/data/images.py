"""Decodes PNG, JPEG and other encoded images with Pillow: exactly, or not at all.

Images with more than 8 bits a channel are refused: scaling 16 bits to 8 could make two classes look
the same, and ffnet cannot know which range of values matters. Transparent pixels are refused
because the background is unknown. Files with several pictures are refused, too.
"""

import io
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from ffnet.data.raw import Place, refuse_beyond_memory
from ffnet.errors import InputError, one_line
from ffnet.system import output

Pixels = npt.NDArray[Any]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""Pillow's other formats are not read: some start programs (EPS), others are rarely tested."""
GREY = ("1", "L", "LA")
MODES = (*GREY, "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
MOST_PIXELS = 1 << 24
"""Limit for an image. A hostile file of a few bytes can claim a billion pixels."""


def decode(
    encoded: Iterable[bytes | None],
    count: int,
    where: Place,
    size: tuple[int, int] | None = None,
    named: Callable[[int], str] | None = None,
) -> Pixels:
    """Decode images to uint8: [N, height, width] if all are grey, else [N, height, width, 3].

    If one image has colours, grey images get three equal channels. Images are turned as their
    EXIF orientation says.

    Args:
        encoded: the bytes of each image file.
        count: the number of images, N.
        where: the column or folder of the images.
        size: the height and width that each image gets, whatever its shape, by Pillow's bilinear
            filter. With None all images must have one size.
        named: returns what messages call an image, given its position. With None, its row.

    Raises:
        InputError: there are no images, an image cannot be decoded exactly, images differ in
            size, or this machine's memory cannot hold them.
    """
    if not count:
        raise InputError(f"{where}: has no images")
    named = named or where.row
    pixels = np.empty(0, np.uint8)
    with _strictly():
        for i, content in enumerate(encoded):  # threads were slower: see docs/log.md
            image = _pixels(content, size, f"{where}: {named(i)}")
            if i == 0:
                refuse_beyond_memory(where, count * image.size)
                pixels = np.empty((count, *image.shape), np.uint8)
            if image.shape[:2] != pixels.shape[1:3]:
                raise InputError(
                    f"{where}: images must have one size, {pixels.shape[1:3]} like the first. "
                    f"Given: {image.shape[:2]} at {named(i)}; resize the images first, in a "
                    f"folder of images with image_size"
                )
            if image.ndim == pixels.ndim:  # the first in colour after grey ones
                refuse_beyond_memory(where, count * image.size)
                pixels = in_colour(pixels)
            pixels[i] = image if image.ndim == pixels.ndim - 1 else in_colour(image)
    return pixels


def in_colour(grey: Pixels) -> Pixels:
    """Turn grey images [..., height, width] into [..., height, width, 3] with equal channels."""
    return np.repeat(grey[..., np.newaxis], 3, axis=-1)


@contextmanager
def _strictly() -> Iterator[None]:
    """Turn two of Pillow's warnings into errors: huge images, and an unreadable orientation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about other metadata
        warnings.filterwarnings("error", "Corrupt EXIF|.*tag 274", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _silently(content: bytes) -> AbstractContextManager[None]:
    """Silence libtiff, which writes to descriptor 2 what ffnet's own error line says already."""
    if content[:2] in (b"II", b"MM"):
        return output.redirected(Path(os.devnull), 2)
    return nullcontext()


def _pixels(content: bytes | None, size: tuple[int, int] | None, where: str) -> Pixels:
    """Decode an image to [height, width] or [height, width, 3]."""
    try:
        if content is None:
            raise ValueError("it has no bytes; ffnet does not open a path in a table")
        with _silently(content), Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check(image, content)
            exact = _channels(ImageOps.exif_transpose(image))
            if size is not None:
                exact = exact.resize(size[::-1], Image.Resampling.BILINEAR)
            return np.asarray(exact)
    except UnidentifiedImageError:
        reason = f"it is none of {', '.join(FORMATS)}"
    except Exception as error:  # a damaged image may raise anything in Pillow
        reason = one_line(str(error) or type(error).__name__, 200)
    raise InputError(f"{where} is not an image that can be decoded ({reason})")


def _check(image: Image.Image, content: bytes) -> None:
    """Raise ValueError if the header of an image shows that it cannot be kept exactly."""
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(
            f"an image must have at most {MOST_PIXELS} pixels. Given: {image.width}×{image.height}"
        )
    if image.mode not in MODES or _bits(image, content) > 8:
        raise ValueError(
            f"an image must have at most 8 bits a channel, grey or in colours. Given: "
            f"{_bits(image, content)} bits, Pillow's mode {image.mode}; convert it first"
        )
    if image.format == "TIFF" and set(image.tag_v2.get(339, (1,))) != {1}:  # type: ignore[attr-defined]
        raise ValueError("a TIFF must have unsigned values; convert it first")
    if image.mode == "L" and _bits(image, content) < 8 and "transparency" in image.info:
        raise ValueError("it has a transparent grey of less than 8 bits; convert it first")
    if image.format != "MPO" and getattr(image, "is_animated", False):  # MPO: a camera's JPEG
        raise ValueError("an image file must hold one picture. Given: several; keep one of them")
    if image.format == "GIF" and image.tile[0][1] != (0, 0, *image.size):  # type: ignore[attr-defined]
        raise ValueError("a GIF's picture must fill its screen")


def _bits(image: Image.Image, content: bytes) -> int:
    """Return the bits of a channel in the file. Pillow may keep fewer of them."""
    if image.format == "PNG":
        if content[12:16] != b"IHDR":
            raise ValueError("a PNG must begin with its head")
        return content[24]
    if image.format == "TIFF":
        return int(max(image.tag_v2.get(258, (1,))))  # type: ignore[attr-defined]
    return 8


def _channels(image: Image.Image) -> Image.Image:
    """Convert an image to mode L or RGB. Raises ValueError if a pixel is transparent."""
    mode = "L" if image.mode in GREY else "RGB"
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise ValueError("it has transparent pixels; put it on a background first")
    return image.convert(mode)
