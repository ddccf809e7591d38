"""The files of a run, in a folder or in an object store (through PyArrow).

A place is an absolute path or a URI, such as s3://bucket/runs/mine or gs://bucket/runs/mine. It
never contains credentials: PyArrow finds them in the environment, in the providers' configuration
files or in the machine's role, as the providers' own tools do.
"""

import errno
import functools
import io
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.client import HTTPException
from pathlib import Path
from threading import Thread
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import parse_qsl, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pyarrow import fs

from ffnet.errors import InputError, StorageError
from ffnet.run import providers
from ffnet.system.atomic import atomic_write

S3_ATTEMPTS = 12  # the waits between them double from 25 ms up to 20 s: about 50 s in all
GS_SECONDS = 60  # a failed request is repeated for so long
OPTIONS = {"endpoint_override", "region", "scheme"}
"""Keys about the server that a URI's query may have; `providers` adds those that are missing."""
ANSWER_SECONDS = 8.0  # a store must answer within this time when a command starts


def _s3(options: dict[str, str]) -> Any:
    mode, most = providers.amazon_retries(S3_ATTEMPTS)
    kinds = {"legacy": fs.AwsDefaultS3RetryStrategy, "standard": fs.AwsStandardS3RetryStrategy}
    # With allow_delayed_open, a file of up to 10 MB is one request instead of three.
    return fs.S3FileSystem(
        retry_strategy=kinds[mode](max_attempts=most),
        allow_delayed_open=True,
        **options,
        **providers.amazon_client(options),
    )


def _gs(options: dict[str, str]) -> Any:
    return fs.GcsFileSystem(
        retry_time_limit=timedelta(seconds=GS_SECONDS),
        anonymous=options.get("scheme") == "http",  # an emulator: never send a key unencrypted
        **options,
    )


SERVERS = {"s3": "s3.{}.amazonaws.com", "gs": "storage.googleapis.com"}
REMOTE: dict[str, Callable[[dict[str, str]], Any]] = {"s3": _s3, "gs": _gs}


def is_remote(place: str) -> bool:
    """Whether a place is a URI."""
    return "://" in place


def checked(place: str | Path) -> str:
    """A place that a user wrote, as an absolute path or as a URI that names its server.

    Raises:
        InputError: the URI is not s3:// or gs://, names no folder in its bucket or has a password,
            or the environment has a setting that PyArrow cannot follow.
    """
    try:
        place = str(place) if is_remote(str(place)) else str(Path(place).absolute())
    except FileNotFoundError:
        raise InputError(
            f"a relative path needs a working directory. Given: {place}, but the working directory "
            f"does not exist any more"
        ) from None
    _check_characters(place)
    if not is_remote(place):
        return place
    parts = urlsplit(place)
    if parts.scheme not in REMOTE:
        known = " or ".join(f"{name}://" for name in REMOTE)
        raise InputError(f"results must be in a folder or at {known}. Given: {place}")
    if "@" in parts.netloc:
        raise InputError(
            f"a URI must not hold credentials. Given: {parts.scheme}://…@…; put them into the "
            f"environment or the provider's configuration files"
        )
    options = dict(parse_qsl(parts.query, True))
    unknown = sorted(options.keys() - OPTIONS)
    if unknown:
        raise InputError(
            f"a URI's query may have {', '.join(sorted(OPTIONS))}. Given: {unknown[0]}"
        )
    if "#" in place:
        raise InputError(f"a URI must have no #. Given: {place}; name another folder")
    folder = parts.path.strip("/")
    if not parts.netloc or not folder:
        raise InputError(f"a URI must name a bucket and a folder in it. Given: {place}")
    query = urlencode(providers.resolved(parts.scheme, options), safe=":[]")
    return parts._replace(path=f"/{folder}", query=query, fragment="").geturl()


def _check_characters(place: str) -> None:
    """Refuse characters that cannot be written into a table, a log or a URI."""
    try:
        place.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"a folder's name must be text in UTF-8. Given: {place!r}; rename it, or set "
            f"LC_ALL=C.UTF-8"
        ) from None
    if "\0" in place or (is_remote(place) and not place.isprintable()):
        raise InputError(f"a place must have no control characters. Given: {place!r}")


def below(place: str, name: str) -> str:
    """The place of the file or folder `name` in the folder `place`."""
    if not is_remote(place):
        return f"{place}/{name}"
    parts = urlsplit(place)
    return parts._replace(path=f"{parts.path}/{name}").geturl()


def knock(place: str) -> None:
    """Refuse a store that does not answer within ANSWER_SECONDS.

    Without this check a user would wait long, because PyArrow repeats failed requests.

    Raises:
        InputError: names the server, and says why there is no answer.
    """
    if not is_remote(place):
        return
    parts = urlsplit(place)
    options = dict(parse_qsl(parts.query))
    host = options.get("endpoint_override") or SERVERS[parts.scheme].format(
        options.get("region", "us-east-1")
    )
    url = f"{options.get('scheme', 'https')}://{host}/{parts.netloc}"
    answers: list[str] = []
    # In another thread, because the look-up of a host name has no time limit.
    thread = Thread(target=lambda: answers.append(_no_answer(url)), daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    wrong = answers[0] if answers else f"no answer in {ANSWER_SECONDS:g} s"
    if wrong:
        raise InputError(f"the store of a run must answer. Given: {place}, at {host} ({wrong})")


def _no_answer(url: str) -> str:
    """Why a server gives no answer. Empty if it gives any answer, even a refusal."""
    request = Request(url, method="HEAD")  # noqa: S310 - http or https
    try:
        build_opener(_NoRedirect).open(request, timeout=ANSWER_SECONDS / 2).close()
    except HTTPError as error:
        return f"HTTP {error.code}" if error.code in (502, 503, 504) else ""
    except (OSError, HTTPException) as error:
        why = getattr(error, "reason", error)
        return "" if isinstance(why, ssl.SSLError) else str(why) or type(why).__name__
    return ""


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Return None: a redirection is an answer, and need not be followed."""


def located(place: str) -> tuple[Any, str]:
    """(PyArrow's file system for a place, the path in it). A process has one for each server."""
    if not is_remote(place):
        return fs.LocalFileSystem(), place
    parts = urlsplit(place)
    return _remote(parts.scheme, parts.query), f"{parts.netloc}{parts.path}"


@functools.cache
def _remote(scheme: str, query: str) -> Any:
    return REMOTE[scheme](dict(parse_qsl(query)))


@dataclass(frozen=True)
class File:
    """A file of a run. A reader sees the old or the new file, never a part of one.

    A pickle of it contains only the place and no credentials. Every method raises OSError when the
    storage fails.

    Attributes:
        place: absolute path or URI.
    """

    place: str

    def __str__(self) -> str:
        return self.place

    @property
    def name(self) -> str:
        """The last part of the file's path."""
        return Path(urlsplit(self.place).path if is_remote(self.place) else self.place).name

    def exists(self) -> bool:
        """Whether the file exists."""
        return bool(self._info().type == fs.FileType.File)

    def stamp(self) -> tuple[int, int]:
        """(time of the last write in ns, size in bytes): almost every write changes it.

        (0, 0) if the file does not exist.
        """
        info = self._info()
        return (info.mtime_ns, info.size) if info.type == fs.FileType.File else (0, 0)

    def open(self) -> IO[bytes]:
        """Open the file for reading, from any position.

        If the file is replaced meanwhile, the reader still reads the version that it opened.
        """
        where, path = located(self.place)
        if not is_remote(self.place):
            opened: IO[bytes] = where.open_input_file(path)
            return opened
        while True:  # size and bytes are two requests: between them, the object may be replaced
            with where.open_input_file(path) as file:
                whole, version = file.readall(), file.metadata()
            with where.open_input_file(path) as file:
                if file.metadata() == version:
                    return io.BytesIO(whole)

    @contextmanager
    def replacing(self, sync: bool = False, keep: "File | None" = None) -> Iterator[IO[bytes]]:
        """A new file to write, which replaces this file when it is complete: see `replacing`."""
        if not is_remote(self.place):
            with replacing(Path(self.place), sync, Path(keep.place) if keep else None) as file:
                yield file
            return
        whole = io.BytesIO()  # sent in one piece, so that an error leaves no part of a file
        yield whole
        where, path = located(self.place)
        try:
            if keep and self.exists():
                where.copy_file(path, located(keep.place)[1])
            with where.open_output_stream(path) as stream:
                stream.write(whole.getbuffer())
        except OSError as error:
            raise named(error, self.place) from error

    def delete(self) -> None:
        """Remove the file if it exists."""
        delete(self.place)

    def _info(self) -> Any:
        where, path = located(self.place)
        return where.get_file_info(path)


def reason(error: OSError) -> str:
    """The storage's message in an error, in one line."""
    return error.strerror or (str(error).splitlines() or [type(error).__name__])[0]


def exists(place: str) -> bool:
    """Whether there is a file or a folder at a place."""
    where, path = located(place)
    return bool(where.get_file_info(path).type != fs.FileType.NotFound)


def names(place: str) -> list[str]:
    """The names of the files and folders in a folder; no names if it does not exist."""
    where, path = located(place)
    found = where.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return [info.base_name for info in found]


def delete(place: str) -> None:
    """Remove a file, or a folder with its content, if it exists."""
    where, path = located(place)
    kind = where.get_file_info(path).type
    if kind == fs.FileType.Directory:
        where.delete_dir(path)
    elif kind == fs.FileType.File:
        where.delete_file(path)


@contextmanager
def replacing(path: Path, sync: bool = False, keep: Path | None = None) -> Iterator[IO[bytes]]:
    """A new file to write, which replaces `path` when it is complete.

    A reader sees the old file or the new file, even after a kill: see `atomic_write`.

    Args:
        path: the file. Its parent folders are created.
        sync: whether to wait until the disk has the content, so that a loss of power is harmless.
        keep: the path under which the old file stays. With None, the old file is removed.

    Raises:
        OSError: the file could not be written; the error has the file's name.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, sync, keep) as file:
            yield file
    except OSError as error:
        raise named(error, path) from error


def named(error: OSError, place: object) -> StorageError:
    """The error with the file's name: errors of a write have no name."""
    return StorageError(error.errno or errno.EIO, reason(error), str(place))


def write_json(file: File, value: Any) -> None:
    """Write `value` as indented JSON; the file is replaced in one piece."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    with file.replacing(sync=True) as opened:
        # JSON's escapes stand for text that UTF-8 cannot encode, such as odd bytes of file names.
        opened.write(text.encode(errors="backslashreplace") + b"\n")
