"""A replica of the server: it listens, reads requests, joins those that wait, calls the model.

Each replica listens on the server's port itself, and the kernel shares the connections out. Serve's
own HTTP proxy hands a request on by several calls between processes: behind it the same replica
answered an eighth of the requests a second. Serve starts, watches and replaces replicas here, and
joins requests.
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
"""Requests in one call of the model at most."""

BODY_SECONDS = 60
"""Time for a request's body to arrive."""

STOP_SECONDS = 5
"""Time for requests that are under way when the server stops."""


@dataclass(frozen=True)
class Options:
    """How to serve: where to listen, with how many replicas, and the largest body taken."""

    host: str
    port: int
    replicas: int
    max_bytes: int


class Replica:
    """A process that holds the model and answers requests."""

    async def __init__(self, folder: ModelFolder, options: Options) -> None:  # type: ignore[misc]
        """Load the model and listen; Serve awaits this."""
        from ffnet.ray_cluster.ray_internals import keep_replica_on_loopback
        from ffnet.serving import model  # TensorFlow: in replicas only

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
        """Serve calls this at intervals, and replaces a replica that raises."""
        if self._serving.done():
            raise RuntimeError("the HTTP server has ended")

    async def __del__(self) -> None:
        """Serve's last call: answer what is under way and listen no longer."""
        self._server.should_exit = True
        await self._serving

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request and its answer (an ASGI application)."""
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

    # No wait for more to join: the call holds up the event loop, so what comes meanwhile is next.
    @serve.batch(max_batch_size=JOINED, batch_wait_timeout_s=0)  # type: ignore[untyped-decorator]
    async def _joined(self, requests: list[dict[str, Array]]) -> list[dict[str, list[Any]]]:
        """Each request's own rows of one call for all of them."""
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
                if len(body) > max_bytes:  # in chunks, who knows how many more
                    raise Refused(f"{rule}. Given: more", 413, {"connection": "close"})
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        raise Refused(f"the body must arrive in {BODY_SECONDS} s", 408) from None
