"""A replica of the server: it reads requests, joins waiting requests, and calls the model.

Each replica listens on the server's port, and the kernel distributes the connections. Ray Serve
starts, watches and replaces the replicas and joins requests, but its HTTP proxy is not used: it
passes each request through several processes, and a replica behind it answered only an eighth of
the requests per second.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import uvicorn
from ray import serve

from ffnet.errors import one_line
from ffnet.export.folder import ModelFolder
from ffnet.serving import rest
from ffnet.serving.listen import shared_socket
from ffnet.serving.tensors import LONGEST, Array, Refused

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

JOINED = 64
"""Limit for the requests in a call of the model."""

BODY_SECONDS = 60
"""A request's body must arrive within this time."""

STOP_SECONDS = 5
"""When the server stops, unfinished requests have this time to end."""


@dataclass(frozen=True)
class Options:
    """How to serve: address, number of replicas, and the largest body in bytes."""

    host: str
    port: int
    replicas: int
    max_bytes: int


class Replica:
    """A process that holds the model and answers requests."""

    async def __init__(self, folder: ModelFolder, options: Options) -> None:  # type: ignore[misc]
        """Load the model and start to listen. Ray Serve waits until this is done."""
        from ffnet.ray_cluster.ray_internals import keep_replica_on_loopback
        from ffnet.serving import model  # imports TensorFlow, which only replicas need

        keep_replica_on_loopback()
        model.configure()
        self._folder, self._max_bytes = folder, options.max_bytes
        self._model = model.Model(folder.path)
        listening = shared_socket(options.host, options.port)
        listening.listen(2048)
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        self._server = uvicorn.Server(config)
        self._serving = asyncio.create_task(self._server.serve([listening]))

    def check_health(self) -> None:
        """Raise if the HTTP server has ended. Ray Serve then replaces this replica."""
        if self._serving.done():
            raise RuntimeError("the HTTP server has ended")

    async def __del__(self) -> None:
        """Stop listening, and finish the requests that have begun. Ray Serve calls this last."""
        self._server.should_exit = True
        await self._serving

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request (this is an ASGI application)."""
        status, headers = 200, {"content-type": "application/json"}
        try:
            body = await self._answer(scope, receive)
        except Refused as refusal:
            status, body = refusal.status, rest.error(str(refusal))
            headers.update(refusal.headers)
        except Exception as error:
            logging.getLogger("ray.serve").exception("a request failed")
            status, body = 500, rest.error(one_line(f"the server failed: {error}", LONGEST))
        headers["content-length"] = str(len(body))
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> bytes:
        name, version = self._folder.name, self._folder.version
        match rest.route(scope["method"], scope["path"], name, version):
            case "status":
                return rest.status(version)
            case "metadata":
                return rest.metadata(name, version, self._model.signatures)
            case "predict":
                body = await _body(scope, receive, self._max_bytes)
                arrays, by_row = rest.read(body, self._model.inputs)
                return rest.write(await self._joined(arrays), by_row)

    # No waiting: requests that arrive while the model runs form the next batch.
    @serve.batch(max_batch_size=JOINED, batch_wait_timeout_s=0)  # type: ignore[untyped-decorator]
    async def _joined(self, requests: list[dict[str, Array]]) -> list[dict[str, list[Any]]]:
        """Call the model once for all requests, and return each request's rows."""
        outputs = self._model(
            {name: np.concatenate([r[name] for r in requests]) for name in requests[0]}
        )
        ends = np.cumsum([len(next(iter(request.values()))) for request in requests])
        answers = [np.split(rows, ends[:-1]) for rows in outputs.values()]
        return [
            {name: rows.tolist() for name, rows in zip(outputs, own, strict=True)}
            for own in zip(*answers, strict=True)
        ]


async def _body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    rule = f"the body must have at most {max_bytes} bytes"
    announced = int(dict(scope["headers"]).get(b"content-length", 0))
    if announced > max_bytes:
        raise Refused(f"{rule}. Given: {announced}", 413)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                body += message.get("body", b"")
                if len(body) > max_bytes:  # sent in chunks: the total size is unknown
                    raise Refused(f"{rule}. Given: more", 413, {"connection": "close"})
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        raise Refused(f"the body must arrive in {BODY_SECONDS} s", 408) from None
