"""Measures requests per second and latency of jobs/serve.py, and checks every answer.

  python jobs/peers/serve_load.py MODEL_DIR [SECONDS [CLIENTS …]]

It starts the server on a free loopback port and runs 1, 8 and 64 clients for 10 s each. A client
keeps its connection open, and sends a request with one instance as soon as it has the answer to the
last. The instances are MNIST's test images if they fit the model and $FFNET_DATA has them, else
random numbers. The clients share the machine with the server. Prints JSON.
"""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from ffnet.export.folder import ModelFolder
from ffnet.serving.rest import SIGNATURE
from ffnet.system.output import redirected

SERVE = Path(__file__).parent.parent / "serve.py"
INSTANCES = 1024
WARM_UP_SECONDS = 1.0
TOLERANCE = 1e-5  # rounding depends on the other rows in a batch

Expected = list[dict[str, Any]]


class Load:
    """Clients of a server, and the figures of their requests."""

    def __init__(self, url: str, instances: Any, expected: Expected) -> None:
        self._url, self._expected = urlsplit(url), expected
        self._requests = [self._request(instance) for instance in instances.tolist()]

    def _request(self, instance: Any) -> bytes:
        body = json.dumps({"instances": [instance]}).encode()
        head = f"POST {self._url.path}:predict HTTP/1.1\r\nHost: {self._url.netloc}\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    async def measure(self, clients: int, seconds: float) -> dict[str, Any]:
        """Return the figures of so many clients as a row of the table."""
        self._times: list[float] = []
        self._wrong = 0
        begun = time.perf_counter()
        async with asyncio.timeout(2 * seconds + 60):
            await asyncio.gather(*(self._client(n, begun + seconds) for n in range(clients)))
        p50, p99 = np.percentile(self._times, [50, 99]) * 1000
        return {
            "clients": clients,
            "requests": len(self._times),
            "requests a second": round(len(self._times) / (time.perf_counter() - begun), 1),
            "p50 ms": round(float(p50), 2),
            "p99 ms": round(float(p99), 2),
            "wrong": self._wrong,
        }

    async def _client(self, number: int, end: float) -> None:
        """Send requests over a connection. Each client starts at another instance."""
        reader, writer = await asyncio.open_connection(self._url.hostname, self._url.port)
        for i in itertools.count(number * 61):
            begun = time.perf_counter()
            if begun > end:
                break
            writer.write(self._requests[i % INSTANCES])
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            body = await reader.readexactly(length)
            self._times.append(time.perf_counter() - begun)
            self._wrong += not _same(body, self._expected[i % INSTANCES])
        writer.close()
        await writer.wait_closed()


def _same(body: bytes, expected: dict[str, Any]) -> bool:
    answer = json.loads(body).get("predictions", [{}])[0]
    if answer.keys() != expected.keys():
        return False
    return all(
        answer[name] == value if isinstance(value, str) else
        np.allclose(answer[name], value, rtol=0, atol=TOLERANCE)
        for name, value in expected.items()
    )  # fmt: skip


def _instances_and_answers(path: Path) -> tuple[Any, Expected]:
    """Return the instances to send, and the SavedModel's answers without a server."""
    import tensorflow as tf

    model = tf.saved_model.load(str(path))  # alive until the signature has been called
    answer = model.signatures[SIGNATURE]
    (name, spec), = answer.structured_input_signature[1].items()  # fmt: skip
    instances = _instances(spec.shape[1:].as_list(), spec.dtype.as_numpy_dtype)
    outputs = {k: v.numpy() for k, v in answer(**{name: tf.constant(instances)}).items()}
    return instances, [
        {k: v[i].decode() if isinstance(v[i], bytes) else v[i] for k, v in outputs.items()}
        for i in range(INSTANCES)
    ]


def _instances(shape: list[int], dtype: type) -> Any:
    mnist = Path(os.environ.get("FFNET_DATA", "")) / "mnist" / "mnist.npz"
    if (shape, dtype) == ([28, 28], np.uint8) and mnist.is_file():
        return np.load(mnist)["x_test"][:INSTANCES]
    random = np.random.default_rng(0)
    if np.issubdtype(dtype, np.integer):
        return random.integers(0, 256, (INSTANCES, *shape)).astype(dtype)
    return random.normal(size=(INSTANCES, *shape)).astype(dtype)


async def _measure(load: Load, seconds: float, clients: list[int]) -> list[dict[str, Any]]:
    await load.measure(8, WARM_UP_SECONDS)
    return [await load.measure(n, seconds) for n in clients]


def main(model_dir: Path, seconds: float, clients: list[int]) -> None:
    """Measure and print."""
    with redirected(Path(os.devnull), 2):  # TensorFlow's greetings
        instances, expected = _instances_and_answers(ModelFolder.find(model_dir).path)
    command = [sys.executable, str(SERVE), str(model_dir), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            *_, url = server.stdout.readline().split()
            load = Load(url, instances, expected)
            print(json.dumps(asyncio.run(_measure(load, seconds, clients))))
        finally:
            server.send_signal(signal.SIGTERM)


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        float(sys.argv[2]) if len(sys.argv) > 2 else 10,
        [int(n) for n in sys.argv[3:]] or [1, 8, 64],
    )
