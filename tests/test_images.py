"""Encoded images: every depth and mode is read exactly or refused."""

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ffnet.data import formats, images
from ffnet.data.raw import Place
from ffnet.errors import InputError

GREY = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
COLOUR = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
WHERE = Place("some.parquet")


def saved(image: Image.Image | np.ndarray[Any, Any], kind: str = "png", **options: Any) -> bytes:
    file = io.BytesIO()
    made = image if isinstance(image, Image.Image) else Image.fromarray(image)
    made.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def png(depth: int, colour: int, rows: list[bytes], width: int, *before: bytes) -> bytes:
    """Write a PNG with a colour type (0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA)."""
    head = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [chunk(b"IHDR", head), *before, chunk(b"IDAT", content), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def decoded(*encoded: bytes) -> np.ndarray[Any, Any]:
    return images.decode(encoded, len(encoded), WHERE)


def refusal(*encoded: bytes | None) -> str:
    with pytest.raises(InputError) as caught:
        images.decode(encoded, len(encoded), WHERE)
    message = str(caught.value)
    assert message.startswith("some.parquet: ")
    assert message.isprintable()
    assert len(message) < 400
    return message


# --- read exactly ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff"])
def test_grey_images_keep_their_pixels(kind: str) -> None:
    read = decoded(saved(GREY, kind))
    assert read.shape == (1, 4, 6)
    assert (read == GREY).all()


def test_a_grey_gif_is_in_colour_as_it_has_a_palette() -> None:
    read = decoded(saved(GREY, "gif"))
    assert read.shape == (1, 4, 6, 3)
    assert (read == GREY[..., np.newaxis]).all()


@pytest.mark.parametrize(
    ("kind", "options"),
    [("png", {}), ("bmp", {}), ("tiff", {}), ("tiff", {"compression": "tiff_lzw"}),
     ("webp", {"lossless": True})],
)  # fmt: skip
def test_colour_images_keep_their_pixels(kind: str, options: Any) -> None:
    assert (decoded(saved(COLOUR, kind, **options)) == COLOUR[np.newaxis]).all()


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_grey_of_fewer_bits_spans_black_to_white(depth: int) -> None:
    count = min(1 << depth, 8)
    values = [*range(count - 1), (1 << depth) - 1]
    bits = "".join(f"{value:0{depth}b}" for value in values).ljust(64, "0")
    read = decoded(png(depth, 0, [int(bits, 2).to_bytes(8, "big")], count))
    assert read[0, 0].tolist() == [value * 255 // ((1 << depth) - 1) for value in values]


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_palette_is_looked_up(depth: int) -> None:
    palette = chunk(b"PLTE", bytes([1, 2, 3, 250, 0, 9]))
    row = {1: 0b01000000, 2: 0b00010000, 4: 0b00000001}.get(depth)
    packed = bytes([0, 1]) if row is None else bytes([row])
    read = decoded(png(depth, 3, [packed], 2, palette))
    assert read.tolist() == [[[[1, 2, 3], [250, 0, 9]]]]


def test_alpha_that_is_opaque_everywhere_is_dropped() -> None:
    full = np.full((4, 6, 1), 255, np.uint8)
    assert (decoded(saved(np.concatenate([COLOUR, full], 2))) == COLOUR).all()
    assert (
        decoded(saved(np.concatenate([COLOUR, full], 2), "webp", lossless=True)) == COLOUR
    ).all()
    read = decoded(saved(np.concatenate([GREY[..., None], full], 2)))  # LA
    assert read.shape == (1, 4, 6)
    assert (read == GREY).all()
    palette = chunk(b"PLTE", bytes(6)) + chunk(b"tRNS", b"\xff\xff")
    assert (decoded(png(8, 3, [bytes([0, 1])], 2, palette)) == 0).all()
    unused = chunk(b"tRNS", struct.pack(">H", 77))
    assert decoded(png(8, 0, [bytes([7, 9])], 2, unused)).tolist() == [[[7, 9]]]


def test_a_single_colour_image_makes_the_set_colour_wherever_it_stands() -> None:
    grey, colour = saved(GREY), saved(COLOUR)
    in_three = np.stack([GREY] * 3, axis=-1)
    for place in range(3):
        encoded = [grey, grey, grey]
        encoded[place] = colour
        read = decoded(*encoded)
        assert read.shape == (3, 4, 6, 3)
        assert (read[place] == COLOUR).all()
        for other in {0, 1, 2} - {place}:
            assert (read[other] == in_three).all()
    assert decoded(grey, grey).shape == (2, 4, 6)


def test_a_colour_image_in_one_file_makes_all_files_of_the_set_colour(tmp_path: Path) -> None:
    names = ("train-0", "train-1", "test-0")
    for name, image in zip(names, (GREY, GREY, COLOUR), strict=True):
        column = [{"bytes": saved(image), "path": name}] * 2
        table = pa.table({"image": column, "label": [0, 1]})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    raw = formats.read(tmp_path)
    assert raw
    train, test = raw.parts["train"][0], raw.parts["test"][0]
    assert train.shape == (4, 4, 6, 3)
    assert (train == GREY[..., np.newaxis]).all()
    assert (test == COLOUR).all()


BYTES = {
    "binary": pa.binary(),
    "large": pa.large_binary(),
    "view": pa.binary_view(),
    "dictionary": pa.dictionary(pa.int32(), pa.binary()),
    "struct": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    "struct of view": pa.struct([("bytes", pa.binary_view())]),
}


@pytest.mark.parametrize("kind", BYTES)
def test_images_are_read_from_bytes_of_any_type(tmp_path: Path, kind: str) -> None:
    images: list[Any] = [saved(image) for image in (GREY, 255 - GREY, GREY)]
    if "struct" in kind:
        images = [{"bytes": image} for image in images]
    table = pa.table({"picture": pa.array(images, BYTES[kind]), "label": [0, 1, 0]})
    pq.write_table(table, tmp_path / "own.parquet")
    raw = formats.read(tmp_path / "own.parquet")
    assert raw
    assert (raw.parts["train"][0] == np.stack([GREY, 255 - GREY, GREY])).all()


def test_colour_images_that_look_grey_stay_colour() -> None:
    assert decoded(saved(np.stack([GREY] * 3, axis=-1))).shape == (1, 4, 6, 3)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_other_colours_become_rgb(mode: str) -> None:
    image = Image.new("RGB", (16, 16), (200, 30, 90)).convert(mode)
    read = decoded(saved(image, "tiff"))
    assert np.abs(read.astype(int) - (200, 30, 90)).max() <= 2
    read = decoded(saved(image, "jpeg", quality=100))
    assert np.abs(read.astype(int) - (200, 30, 90)).max() <= 3


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
def test_images_are_turned_as_their_exif_says(kind: str) -> None:
    scene = np.zeros((16, 32, 3), np.uint8)
    scene[:8, :16] = 250  # the upper left
    turned = {3: scene[::-1, ::-1], 6: np.rot90(scene, -1), 8: np.rot90(scene), 2: scene[:, ::-1]}
    for orientation, upright in turned.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"quality": 100} if kind == "jpeg" else {}
        options |= {"lossless": True} if kind == "webp" else {}
        read = decoded(saved(scene, kind, exif=exif, **options))
        assert read.shape == (1, *upright.shape)
        assert np.abs(read[0].astype(int) - upright).max() < 10


def test_a_camera_s_jpeg_with_a_preview_is_its_first_picture() -> None:
    main, preview = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8))
    file = saved(main, "mpo", save_all=True, append_images=[preview])
    assert decoded(file)[0, 0, 0, 0] > 250


# --- refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (saved(GREY.astype(np.uint16) * 256), "Given: 16 bits, Pillow's mode I;16"),
        (png(16, 2, [bytes(6)], 1), "Given: 16 bits, Pillow's mode RGB"),
        (png(16, 4, [bytes(4)], 1), "Given: 16 bits"),
        (png(16, 6, [bytes(8)], 1), "Given: 16 bits, Pillow's mode RGBA"),
        (saved(GREY.astype(np.uint16), "tiff"), "Given: 16 bits, Pillow's mode I;16"),
        (saved(GREY.astype(np.int32), "tiff"), "Given: 32 bits, Pillow's mode I"),
        (saved(GREY.astype(np.float32), "tiff"), "Given: 32 bits, Pillow's mode F"),
        (saved(Image.new("LAB", (2, 2)), "tiff"), "Pillow's mode LAB"),
        (saved(GREY, "tiff", tiffinfo={339: 2}), "must have unsigned values"),
    ],
)
def test_more_than_8_bits_and_other_colour_spaces_are_refused(content: bytes, words: str) -> None:
    message = refusal(saved(GREY), content)
    assert "row 1 (counted from 0) is not an image" in message
    assert words in message


@pytest.mark.parametrize(
    "content",
    [
        saved(np.dstack([COLOUR, GREY])),
        saved(np.dstack([GREY, GREY])),
        saved(np.dstack([COLOUR, GREY]), "webp", lossless=True),
        saved(np.dstack([COLOUR, GREY]), "tiff"),
        png(8, 0, [bytes([7, 9])], 2, chunk(b"tRNS", struct.pack(">H", 9))),
        png(2, 0, [bytes([0b00011011])], 4, chunk(b"tRNS", struct.pack(">H", 2))),
        png(1, 0, [bytes([0b01000000])], 2, chunk(b"tRNS", struct.pack(">H", 1))),
        png(8, 2, [bytes(range(6))], 2, chunk(b"tRNS", struct.pack(">3H", 3, 4, 5))),
        png(8, 3, [b"\0\1"], 2, chunk(b"PLTE", bytes(6)), chunk(b"tRNS", b"\xff\x80")),
        saved(Image.new("P", (4, 4)), "gif", transparency=0),
    ],
)
def test_transparent_pixels_are_refused(content: bytes) -> None:
    assert "row 0 (counted from 0) is not an image that can be decoded (it has" in refusal(content)
    assert "transparent" in refusal(content)


@pytest.mark.parametrize("kind", ["gif", "png", "tiff", "webp"])
def test_files_of_several_pictures_are_refused(kind: str) -> None:
    frames = [Image.fromarray(COLOUR), Image.fromarray(255 - COLOUR)]
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    assert "must hold one picture. Given: several" in refusal(content)


def test_cut_and_changed_files_are_refused() -> None:
    random = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for kind in ("png", "jpeg", "webp", "gif", "bmp", "tiff"):
        content = saved(random, kind)
        for length in (0, 10, len(content) // 2, len(content) - 40):
            assert "row 0 (counted from 0) is not an image" in refusal(content[:length])
    content = saved(random)
    changed = content[:-60] + bytes([content[-60] ^ 1]) + content[-59:]
    assert "row 0 (counted from 0) is not an image" in refusal(changed)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "it has no bytes; ffnet does not open a path"),
        (b"", "it is none of PNG, JPEG, "),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is none of PNG, JPEG, "),
        (b"P5 2 1 255\nab", "it is none of PNG, JPEG, "),
        (saved(GREY)[:8] + chunk(b"teXt", b"") + saved(GREY)[8:], "a PNG must begin with its head"),
        (saved(GREY, "jpeg")[:2] + b"\xff" * 5000, "row 0 (counted from 0) is not an image"),
    ],
)
def test_what_is_no_image_of_a_known_kind_is_refused(content: bytes | None, words: str) -> None:
    assert words in refusal(content)


@pytest.mark.parametrize(("width", "height"), [(4097, 4096), (9500, 9500), (60_000, 60_000)])
def test_bombs_are_refused_by_their_heads_and_without_warnings(width: int, height: int) -> None:
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b""))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "pixels" in refusal(content)


def test_more_images_than_memory_holds_are_refused() -> None:
    content = saved(Image.new("RGB", (4096, 4096)))
    assert "must fit into memory when unpacked. Given: 50,331.6 GB" in refusal(*[content] * 10**6)


def test_images_of_two_sizes_are_refused_also_when_turning_makes_them_so() -> None:
    assert "(4, 6) like the first. Given: (3, 6) at row 1" in refusal(saved(GREY), saved(GREY[:3]))
    exif = Image.Exif()
    exif[0x0112] = 6
    assert "Given: (6, 4) at row 1" in refusal(saved(GREY), saved(GREY, exif=exif))


def exif(tag: int) -> bytes:
    """Return EXIF data with an entry whose value lies beyond the end."""
    entry = struct.pack(">HHII", tag, 3, 255, 0xFFFF)
    return b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01" + entry + bytes(4)


def test_an_orientation_that_cannot_be_read_is_refused_and_other_metadata_are_not() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "tag 274" in refusal(saved(GREY, "jpeg", exif=exif(274)))
        assert "Corrupt EXIF" in refusal(saved(GREY, "jpeg", exif=exif(274)[:-13]))
        assert decoded(saved(GREY, "jpeg", exif=exif(296))).shape == (1, 4, 6)


def test_a_damaged_tiff_is_told_by_its_refusal_alone(capfd: pytest.CaptureFixture[str]) -> None:
    content = saved(COLOUR, "tiff", compression="tiff_deflate")
    at = content.index(b"\x78\x9c") + 9
    changed = content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]
    assert "row 0 (counted from 0) is not an image" in refusal(changed)
    assert capfd.readouterr() == ("", "")
