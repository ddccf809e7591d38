"""An object store for tests: moto's S3 server on this machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from moto.server import ThreadedMotoServer
from pyarrow import fs

BUCKET, SECRET = "studies", "a-secret-key-for-tests"


class Server:
    """An S3 server that can go away and come back with its content."""

    def __init__(self, port: int = 0) -> None:
        self._server = ThreadedMotoServer(port=port, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server = ThreadedMotoServer(port=self.port, verbose=False)
        self._server.start()

    @property
    def endpoint(self) -> str:
        return f"endpoint_override=127.0.0.1:{self.port}&scheme=http"

    def uri(self, name: str) -> str:
        return f"s3://{BUCKET}/runs/{name}?{self.endpoint}"


@contextmanager
def s3_server() -> Iterator[Server]:
    """Start a server with a bucket, and put the credentials into the environment meanwhile."""
    before = dict(os.environ)
    os.environ |= {"AWS_ACCESS_KEY_ID": "an-id", "AWS_SECRET_ACCESS_KEY": SECRET}
    server = Server()
    try:
        there, _ = fs.FileSystem.from_uri(f"s3://?{server.endpoint}&allow_bucket_creation=true")
        there.create_dir(BUCKET)
        yield server
    finally:
        server.stop()
        os.environ.clear()
        os.environ.update(before)
