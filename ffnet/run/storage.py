"""Where the files of a run lie: in a folder, or in an object store through PyArrow.

A place is an absolute path or a URI, s3://bucket/runs/mine or gs://bucket/runs/mine. Credentials
never stand in it: PyArrow finds them as the providers' own tools do, in the environment, in their
configuration files or in the machine's role.
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

S3_ATTEMPTS = 12  # the waits between them double from 25 ms, to 20 s at most: about 50 s in all
GS_SECONDS = 60  # for which a request is tried again
OPTIONS = {"endpoint_override", "region", "scheme"}
"""What a URI's query may say of the server; `providers` finds the rest."""
ANSWER_SECONDS = 8.0  # in which a store must answer at the start


def _s3(options: dict[str, str]) -> Any:
    mode, most = providers.amazon_retries(S3_ATTEMPTS)
    kinds = {"legacy": fs.AwsDefaultS3RetryStrategy, "standard": fs.AwsStandardS3RetryStrategy}
    # Delayed, a file of up to 10 MB is one request instead of three.
    return fs.S3FileSystem(
        retry_strategy=kinds[mode](max_attempts=most),
        allow_delayed_open=True,
        **options,
        **providers.amazon_client(options),
    )


def _gs(options: dict[str, str]) -> Any:
    return fs.GcsFileSystem(
        retry_time_limit=timedelta(seconds=GS_SECONDS),
        anonymous=options.get("scheme") == "http",  # an emulator; a key never travels in clear
        **options,
    )


SERVERS = {"s3": "s3.{}.amazonaws.com", "gs": "storage.googleapis.com"}
REMOTE: dict[str, Callable[[dict[str, str]], Any]] = {"s3": _s3, "gs": _gs}


def is_remote(place: str) -> bool:
    """Whether a place is a URI."""
    return "://" in place


def checked(place: str | Path) -> str:
    """A place as a person wrote it, made absolute; a URI with the server that it is for.

    Raises:
        InputError: a URI of another kind, without a folder in its bucket, or with a password; or
            the environment names a server that cannot be honoured.
    """
    try:
        place = str(place) if is_remote(str(place)) else str(Path(place).absolute())
    except FileNotFoundError:
        raise InputError(
            f"a relative path needs a working directory. Given: {place}, and the directory is gone"
        ) from None
    _check_characters(place)
    if not is_remote(place):
        return place
    parts = urlsplit(place)
    if parts.scheme not in REMOTE:
        known = " or ".join(f"{name}://" for name in REMOTE)
        raise InputError(f"results lie in a folder or at {known}. Given: {place}")
    if "@" in parts.netloc:
        raise InputError(
            f"a URI must not hold credentials. Given: {parts.scheme}://…@…; put them into the "
            f"environment or the provider's configuration files"
        )
    options = dict(parse_qsl(parts.query, True))
    unknown = sorted(options.keys() - OPTIONS)
    if unknown:
        raise InputError(f"a URI's query has {', '.join(sorted(OPTIONS))}. Given: {unknown[0]}")
    if "#" in place:
        raise InputError(f"a URI must have no #. Given: {place}; name another folder")
    folder = parts.path.strip("/")
    if not parts.netloc or not folder:
        raise InputError(f"a URI must name a bucket and a folder in it. Given: {place}")
    query = urlencode(providers.resolved(parts.scheme, options), safe=":[]")
    return parts._replace(path=f"/{folder}", query=query, fragment="").geturl()


def _check_characters(place: str) -> None:
    """Refuse what cannot be written into a table, a log or a URI as it is."""
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
    """The place of a file or folder in a place."""
    if not is_remote(place):
        return f"{place}/{name}"
    parts = urlsplit(place)
    return parts._replace(path=f"{parts.path}/{name}").geturl()


def knock(place: str) -> None:
    """Refuse a store that does not answer now: once a study runs, its requests are repeated long.

    Raises:
        InputError: naming the server, and what became of the request.
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
    # In a thread of its own: looking up a name has no time limit.
    thread = Thread(target=lambda: answers.append(_no_answer(url)), daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    wrong = answers[0] if answers else f"no answer in {ANSWER_SECONDS:g} s"
    if wrong:
        raise InputError(f"the store of a run must answer. Given: {place}, at {host} ({wrong})")


def _no_answer(url: str) -> str:
    """Why a server gives no answer; nothing when it gives any, as a refusal is."""
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
        """An answer, which leads elsewhere: nobody is asked there."""


def located(place: str) -> tuple[Any, str]:
    """PyArrow's file system of a place, one a process and server, and the path in it."""
    if not is_remote(place):
        return fs.LocalFileSystem(), place
    parts = urlsplit(place)
    return _remote(parts.scheme, parts.query), f"{parts.netloc}{parts.path}"


@functools.cache
def _remote(scheme: str, query: str) -> Any:
    return REMOTE[scheme](dict(parse_qsl(query)))


@dataclass(frozen=True)
class File:
    """A file of a run; others see it before or after it is written, never between.

    Pickled it is only its place, so that credentials do not travel with it. Every method raises
    OSError when the storage fails.

    Attributes:
        place: absolute path or URI.
    """

    place: str

    def __str__(self) -> str:
        return self.place

    @property
    def name(self) -> str:
        """The file's own name."""
        return Path(urlsplit(self.place).path if is_remote(self.place) else self.place).name

    def exists(self) -> bool:
        """Whether there is such a file."""
        return bool(self._info().type == fs.FileType.File)

    def stamp(self) -> tuple[int, int]:
        """Another one after each write, or almost: when in ns, and the size in bytes."""
        info = self._info()
        return (info.mtime_ns, info.size) if info.type == fs.FileType.File else (0, 0)

    def open(self) -> IO[bytes]:
        """To read, from any position; it stays what it was when another takes its place."""
        where, path = located(self.place)
        if not is_remote(self.place):
            opened: IO[bytes] = where.open_input_file(path)
            return opened
        while True:  # an object's size and its bytes are two requests; another may come between
            with where.open_input_file(path) as file:
                whole, version = file.readall(), file.metadata()
            with where.open_input_file(path) as file:
                if file.metadata() == version:
                    return io.BytesIO(whole)

    @contextmanager
    def replacing(self, sync: bool = False, keep: "File | None" = None) -> Iterator[IO[bytes]]:
        """A file to write that takes this one's place when complete; see `storage.replacing`."""
        if not is_remote(self.place):
            with replacing(Path(self.place), sync, Path(keep.place) if keep else None) as file:
                yield file
            return
        whole = io.BytesIO()  # an error while it is filled must not leave a part of it there
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
        """Remove it, if it is there."""
        delete(self.place)

    def _info(self) -> Any:
        where, path = located(self.place)
        return where.get_file_info(path)


def reason(error: OSError) -> str:
    """What the storage says, in one line."""
    return error.strerror or (str(error).splitlines() or [type(error).__name__])[0]


def exists(place: str) -> bool:
    """Whether there is a file or a folder at a place."""
    where, path = located(place)
    return bool(where.get_file_info(path).type != fs.FileType.NotFound)


def names(place: str) -> list[str]:
    """What lies in a folder; nothing where there is none."""
    where, path = located(place)
    found = where.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return [info.base_name for info in found]


def delete(place: str) -> None:
    """Remove a file, or a folder with all that it holds, if it is there."""
    where, path = located(place)
    kind = where.get_file_info(path).type
    if kind == fs.FileType.Directory:
        where.delete_dir(path)
    elif kind == fs.FileType.File:
        where.delete_file(path)


@contextmanager
def replacing(path: Path, sync: bool = False, keep: Path | None = None) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` when complete, never before.

    A reader sees the old file or the new one, also after a kill: see `atomic_write`.

    Args:
        path: the file; parent folders are made.
        sync: wait until the disk has the content, so that it outlives a loss of power too.
        keep: the file before stays there, under this name.

    Raises:
        OSError: it could not be written; the error has the file's name.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, sync, keep) as file:
            yield file
    except OSError as error:
        raise named(error, path) from error


def named(error: OSError, place: object) -> StorageError:
    """The error with the name of the file that was written: the disk's own has none."""
    return StorageError(error.errno or errno.EIO, reason(error), str(place))


def write_json(file: File, value: Any) -> None:
    """`value` as indented JSON, in one piece."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    with file.replacing(sync=True) as opened:
        # What UTF-8 lacks, such as bytes of a file's name, becomes JSON's own escapes.
        opened.write(text.encode(errors="backslashreplace") + b"\n")
