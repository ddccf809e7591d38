"""The cache of decoded images: it is used the second time, but never if it may be wrong."""

import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ffnet.data import cache

IMAGES = np.arange(60 * 4 * 5).reshape(60, 4, 5).astype(np.uint8)
Way = Callable[[Path], None]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a file to decode; the cache lies beside it."""
    monkeypatch.setenv("FFNET_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "a.parquet"
    path.write_bytes(b"content")
    return path


def never() -> Any:
    raise AssertionError("decoded again")


def read(source: Path, decode: Callable[[], Any] = lambda: IMAGES) -> Any:
    return cache.decoded(source, "image", decode)


def cached(source: Path) -> Path:
    """Return the only file of the cache."""
    (path,) = (source.parent / "cache").iterdir()
    return path


def test_decoded_images_are_mapped_the_second_time(source: Path) -> None:
    for decode in (lambda: IMAGES, never):
        pixels = read(source, decode)
        assert (pixels == IMAGES).all()
        assert not pixels.flags.owndata
        assert not pixels.flags.writeable


def test_other_content_and_another_column_are_decoded_anew(source: Path) -> None:
    read(source)
    assert (cache.decoded(source, "mask", lambda: IMAGES[:9]) == IMAGES[:9]).all()
    source.write_bytes(b"other")
    assert (read(source, lambda: 255 - IMAGES) == 255 - IMAGES).all()


def test_cached_images_are_for_their_user_alone(source: Path) -> None:
    old = os.umask(0)
    try:
        read(source)
    finally:
        os.umask(old)
    assert cached(source).stat().st_mode & 0o777 == 0o600
    assert cached(source).parent.stat().st_mode & 0o777 == 0o700


def lying(shape: Any, pixels: bytes) -> bytes:
    """Write a cache file with wrong content but the right checksum."""
    rest = json.dumps(shape).encode().ljust(96) + pixels
    return hashlib.sha256(rest).digest() + rest


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x" * 20,
        b"x" * 200,
        lying([60, 4, 6], IMAGES.tobytes()),
        lying([60, -4, -5], IMAGES.tobytes()),
        lying([10**30, 4, 5], IMAGES.tobytes()),
        lying(["60", 4, 5], IMAGES.tobytes()),
        lying({"60": 4}, b""),
        lying(7, b""),
        lying("[" * 90, b"")[:-1],
    ],
)
def test_a_file_that_lies_is_not_believed(source: Path, content: bytes) -> None:
    read(source)
    cached(source).write_bytes(content)
    assert (read(source) == IMAGES).all()
    assert (read(source, never) == IMAGES).all()  # written anew


def test_a_changed_byte_anywhere_is_noticed(source: Path) -> None:
    read(source)
    whole = cached(source).read_bytes()
    for at in (0, 40, 100, 128, 700, len(whole) - 1):
        changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        cached(source).write_bytes(changed)
        assert (read(source) == IMAGES).all()
    cached(source).write_bytes(whole[:-1])
    assert (read(source) == IMAGES).all()


def linked(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


@pytest.mark.parametrize("way", [linked, lambda path: path.chmod(0o622)])
def test_a_file_that_others_could_have_written_is_not_believed(source: Path, way: Way) -> None:
    read(source)
    way(cached(source))
    assert (read(source, lambda: 255 - IMAGES) == 255 - IMAGES).all()


def test_a_file_of_another_user_is_not_believed(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(source)
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    assert (read(source, lambda: 255 - IMAGES) == 255 - IMAGES).all()


def test_an_interrupted_write_is_never_read(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            read(source)
    assert list((source.parent / "cache").iterdir()) == []
    assert (read(source) == IMAGES).all()


def test_what_killed_processes_and_earlier_versions_left_is_removed(source: Path) -> None:
    folder = source.parent / "cache"
    folder.mkdir()
    digest = cache.file_digest(source)
    for name in (f"{digest}-v1.arrow", "old.part", ".x.pixels-0", ".x.pixels-1", "other-v1.arrow"):
        (folder / name).touch()
    for name in ("old.part", ".x.pixels-0"):
        os.utime(folder / name, (time.time() - 7200,) * 2)
    read(source)
    left = {path.name for path in folder.iterdir() if not path.name.startswith(digest)}
    assert left == {".x.pixels-1", "other-v1.arrow"}
    assert (read(source, never) == IMAGES).all()


def test_a_cache_that_cannot_be_written_is_done_without(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source.parent / "file").touch()
    monkeypatch.setenv("FFNET_CACHE", str(source.parent / "file" / "cache"))
    assert (read(source) == IMAGES).all()
    assert cache.folder() == source.parent / "file" / "cache"


def _many(source: Path) -> None:
    for _ in range(20):
        assert (read(source) == IMAGES).all()
        for path in (source.parent / "cache").glob("*.pixels"):
            path.unlink(missing_ok=True)


def test_processes_that_write_the_same_file_all_read_it_right(source: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_many, args=(source,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
