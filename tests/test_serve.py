"""The server: users run it, and clients of TensorFlow Serving call it."""

import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from conftest import Job, command_line, processes_with, token_of, wait_for
from sockets import in_reach_of_others, listening, sessions
from test_tables import assert_imports_neither

MAX_BYTES = 200_000
REPLICAS = min(2, len(os.sched_getaffinity(0)))
WEIGHTS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
CLASSES = np.array(["ant", "bee", "größer"])

# TensorFlow's threads are set once a process, so the tests' own stays without it.
MODELS = """
import json, sys
import numpy as np, tensorflow as tf
from pathlib import Path
out, weights, classes = Path(sys.argv[1]), np.array(json.loads(sys.argv[2]), "f"), sys.argv[3:]

def save(path, function, *inputs, signature="serving_default"):
    net = tf.Module()
    signed = tf.function(function, input_signature=[tf.TensorSpec(*i) for i in inputs])
    tf.saved_model.save(net, str(out / path), {signature: signed.get_concrete_function()})

def classify(images):
    scores = tf.reshape(tf.cast(images, tf.float32) / 255, [-1, 6]) @ weights
    return {
        "probabilities": tf.nn.softmax(scores),
        "class": tf.gather(tf.constant(classes), tf.argmax(scores, 1)),
        "rows": tf.fill([tf.shape(images)[0]], tf.shape(images)[0]),  # of the call
    }

def add(a, b):
    return {"sum": a + tf.reduce_sum(b, 1)}

image = [None, 2, 3], tf.uint8, "images"
save("tiny/3", classify, image)
save("tiny/2", lambda images: classify(255 - images), image)
save("pair", add, ([None], tf.float32, "a"), ([None, 2], tf.float32, "b"))
save("unnamed", classify, image, signature="other")
save("one", classify, ([1, 2, 3], tf.uint8, "images"))
save("texts", lambda t: {"t": t}, ([None, 2], tf.string, "t"))
save("none", lambda: {"a": tf.zeros([2])})
save("complex", lambda a: {"c": tf.complex(a, a)}, ([None], tf.float32, "a"))
save("mean", lambda a: {"mean": tf.reduce_mean(a)}, ([None], tf.float32, "a"))
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder of SavedModels: `tiny` and `pair` can be served, the others are refused."""
    out = tmp_path_factory.mktemp("models")
    subprocess.run(
        [sys.executable, "-c", MODELS, str(out), json.dumps(WEIGHTS.tolist()), *CLASSES],
        check=True, capture_output=True,
    )  # fmt: skip
    (out / "tiny" / "card.json").write_text('{"name": "insects"}')
    (out / "tiny" / "10").mkdir()  # a higher version that is not there yet
    (out / "damaged" / "1").mkdir(parents=True)
    (out / "damaged" / "1" / "saved_model.pb").write_bytes(b"no graph")
    return out


class Server:
    """A server's process and its address."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            command_line("serve", *arguments, "--port", 0),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that a signal reaches it alone
        )

    def ready(self) -> "Server":
        """Wait until the server says that it is ready."""
        assert self.process.stdout
        self.said, self.example = (self.process.stdout.readline().strip() for _ in range(2))
        assert self.said, self.process.communicate()
        self.path, self.port = re.findall(r"http://[\d.]+:(\d+)(/.*)", self.said)[0][::-1]
        return self

    def call(self, method: str, path: str, body: Any = None, headers: Any = ()) -> tuple[int, Any]:
        """Send a request. Returns the status and the JSON of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", int(self.port), timeout=60)
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        assert answer.headers["Content-Type"] == "application/json"
        value = json.load(answer)
        connection.close()
        return answer.status, value

    def predict(self, request: Any) -> tuple[int, Any]:
        """Send a predict request, a JSON value or bytes. Returns the status and the answer."""
        body = request if isinstance(request, bytes) else json.dumps(request).encode()
        return self.call("POST", f"{self.path}:predict", body)


@pytest.fixture(scope="module")
def servers(models: Path) -> Iterator[tuple[Server, ...]]:
    """Start servers of `tiny` and `pair` at once."""
    started = (
        Server(models / "tiny", "--max-bytes", MAX_BYTES),
        Server(models / "pair", "--name", "p.1", "--replicas", REPLICAS, "--host", "0.0.0.0"),
    )
    yield started
    for server in started:
        server.process.send_signal(signal.SIGTERM)
        server.process.communicate(timeout=60)


@pytest.fixture(scope="module")
def tiny(servers: tuple[Server, ...]) -> Server:
    """Return the server of the image model."""
    return servers[0].ready()


@pytest.fixture(scope="module")
def pair(servers: tuple[Server, ...]) -> Server:
    """Return the server of the model with two inputs and an output."""
    return servers[1].ready()


def images(seed: int, count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, 256, (count, 2, 3))


def assert_right(x: npt.NDArray[np.int64], predictions: list[dict[str, Any]]) -> None:
    scores = x.reshape(-1, 6) / np.float32(255) @ WEIGHTS
    odds = np.exp(scores)
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    assert [p["class"] for p in predictions] == CLASSES[scores.argmax(axis=1)].tolist()
    given = [p["probabilities"] for p in predictions]
    np.testing.assert_allclose(given, probabilities, rtol=0, atol=1e-6)


# --- answers -----------------------------------------------------------------------------------


def test_the_server_says_what_it_serves_and_the_example_it_prints_is_answered(
    tiny: Server, models: Path
) -> None:
    assert tiny.said == f"insects, version 3: http://127.0.0.1:{tiny.port}/v1/models/insects"
    assert tiny.example.startswith("try: python3 -c ")
    assert tiny.example.endswith(f"| curl -d @- {tiny.said.split()[-1]}:predict")
    code = shlex.split(tiny.example)[3]
    body = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    status, answer = tiny.predict(body)
    assert status == 200
    assert_right(np.zeros((1, 2, 3), int), answer["predictions"])


def test_status_and_metadata_are_those_of_tensorflow_serving(tiny: Server) -> None:
    state = {
        "version": "3",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    for path in (tiny.path, f"{tiny.path}/versions/3"):
        assert tiny.call("GET", path) == (200, {"model_version_status": [state]})
        status, answer = tiny.call("GET", f"{path}/metadata")
        assert status == 200
        assert answer["model_spec"] == {"name": "insects", "signature_name": "", "version": "3"}
        signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
        assert signature["method_name"] == "tensorflow/serving/predict"
        assert signature["inputs"]["images"]["dtype"] == "DT_UINT8"
        sizes = [dim["size"] for dim in signature["inputs"]["images"]["tensor_shape"]["dim"]]
        assert sizes == ["-1", "2", "3"]
        assert signature["outputs"].keys() == {"probabilities", "class", "rows"}
        assert signature["outputs"]["class"]["dtype"] == "DT_STRING"


def test_rows_and_columns_named_or_bare_get_the_model_s_answers(tiny: Server) -> None:
    x = images(1, 4)
    named = [{"images": image} for image in x.tolist()]
    for request in (
        {"instances": x.tolist()},
        {"instances": named, "signature_name": "serving_default"},
    ):
        status, answer = tiny.predict(request)
        assert (status, answer.keys()) == (200, {"predictions"})
        assert_right(x, answer["predictions"])
    for inputs in (x.tolist(), {"images": x.tolist()}):
        status, answer = tiny.predict({"inputs": inputs})
        assert (status, answer.keys()) == (200, {"outputs"})
        outputs = answer["outputs"]
        assert_right(x, [dict(zip(outputs, row)) for row in zip(*outputs.values())])  # noqa: B905
    status, answer = tiny.call(
        "POST", f"{tiny.path}/versions/3:predict", json.dumps({"instances": x.tolist()})
    )
    assert status == 200
    assert_right(x, answer["predictions"])


def test_two_inputs_are_named_and_one_output_is_not(pair: Server) -> None:
    assert pair.path == "/v1/models/p.1"
    rows = [{"a": 1, "b": [2, 3]}, {"a": 0.5, "b": [1e-3, -1]}]
    expected = [6.0, pytest.approx(-0.499)]
    assert pair.predict({"instances": rows}) == (200, {"predictions": expected})
    columns = {name: [row[name] for row in rows] for name in ("a", "b")}
    assert pair.predict({"inputs": columns}) == (200, {"outputs": expected})


def test_concurrent_requests_are_joined_and_each_gets_its_own_answer(tiny: Server) -> None:
    def ask(n: int) -> int:
        x = images(n, 1 + n % 5)
        status, answer = tiny.predict({"instances": x.tolist()})
        assert status == 200
        assert_right(x, answer["predictions"])
        return int(answer["predictions"][0]["rows"]) - len(
            x
        )  # rows of other requests in the same call

    with ThreadPoolExecutor(32) as clients:
        others = list(clients.map(ask, range(640)))
    assert len(others) == 640
    assert max(others) > 0
    assert ask(0) == 0


def test_many_instances_are_answered_in_several_calls_of_the_model(tiny: Server) -> None:
    x = images(2, 3000)
    status, answer = tiny.predict({"instances": x.tolist()})
    assert status == 200
    assert_right(x, answer["predictions"])
    assert max(p["rows"] for p in answer["predictions"]) < 3000


def test_a_body_in_chunks_on_a_connection_that_is_kept_is_answered(tiny: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", int(tiny.port), timeout=60)
    for n in range(3):
        x = images(n, 2)
        body = json.dumps({"instances": x.tolist()}).encode()
        connection.request("POST", f"{tiny.path}:predict", iter([body[:7], body[7:]]))
        assert_right(x, json.load(connection.getresponse())["predictions"])
    connection.close()


# --- refusals of requests ----------------------------------------------------------------------

IMAGE = [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("request_", "words"),
    [  # more of them in test_requests.py
        (b"", "a request must be JSON"),
        ({"instances": []}, "must have 1 to 8192 instances. Given: 0 of images"),
        ({"instances": [IMAGE, 4]}, "images must be lists of equal lengths"),
        ({"instances": [{"images": {"b64": "AA"}}]}, 'Given: an object with "b64"'),
    ],
)
def test_a_request_that_breaks_a_rule_gets_400_and_the_reason(
    tiny: Server, request_: Any, words: str
) -> None:
    status, answer = tiny.predict(request_)
    assert (status, answer.keys()) == (400, {"error"})
    assert words in answer["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        (
            "GET",
            "/v1/models/other",
            404,
            "Servable not found: other; this server has insects, version 3",
        ),
        ("POST", "/v1/models/other:predict", 404, "Servable not found: other"),
        (
            "GET",
            "/v1/models/insects/versions/2",
            404,
            "insects, version 2; this server has insects",
        ),
        ("POST", "/v1/models/insects/versions/4:predict", 404, "insects, version 4"),
        ("GET", "/v1/models/insects/versions/x", 400, "Malformed request: GET /v1/models/ins"),
        ("POST", "/v1/models/insects:classify", 400, "Malformed request: POST"),
        ("GET", "/", 404, "Malformed request: GET /"),
        ("GET", "/v1/models/insects:predict", 405, "predict needs the method POST. Given: GET"),
        ("POST", "/v1/models/insects", 405, "status needs the method GET. Given: POST"),
        ("DELETE", "/v1/models/insects/metadata", 405, "metadata needs the method GET"),
    ],
)
def test_what_is_not_there_gets_404_and_another_method_405(
    tiny: Server, method: str, path: str, status: int, words: str
) -> None:
    given, answer = tiny.call(method, path, b"{}" if method == "POST" else None)
    assert (given, answer.keys()) == (status, {"error"})
    assert words in answer["error"]


def test_a_body_that_is_too_large_gets_413_before_it_has_been_read(tiny: Server) -> None:
    fits = json.dumps({"instances": images(3, 1).tolist()}).encode().ljust(MAX_BYTES)
    assert tiny.predict(fits)[0] == 200
    rule = f"the body must have at most {MAX_BYTES} bytes. Given:"
    assert tiny.predict(fits + b" ") == (413, {"error": f"{rule} {MAX_BYTES + 1}"})
    head = f"POST {tiny.path}:predict HTTP/1.1\r\nHost: x\r\n".encode()
    announced = head + b"Content-Length: 99999999999\r\n\r\n"
    assert _answer_to_part(tiny, announced) == (413, f"{rule} 99999999999")
    chunks = b"2710\r\n" + b" " * 10_000 + b"\r\n"
    unending = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks * 21
    assert _answer_to_part(tiny, unending) == (413, f"{rule} more")


def _answer_to_part(server: Server, part: bytes) -> tuple[int, str]:
    """Return the answer to a request whose end is never sent."""
    with socket.create_connection(("127.0.0.1", int(server.port)), timeout=30) as connection:
        connection.sendall(part)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, json.load(answer)["error"]


def test_refusals_do_not_disturb_the_requests_beside_them(tiny: Server) -> None:
    def ask(n: int) -> None:
        x = images(n, 2)
        x[0, 0, 0] += 256 * (n % 2)
        status, answer = tiny.predict({"instances": x.tolist()})
        assert status == (400 if n % 2 else 200)
        if status == 200:
            assert_right(x, answer["predictions"])

    with ThreadPoolExecutor(16) as clients:
        assert len(list(clients.map(ask, range(160)))) == 160


# --- refusals of the command line --------------------------------------------------------------


def test_help_needs_neither_ray_nor_tensorflow() -> None:
    assert_imports_neither(["serve.py", "--help"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "MODEL_DIR must be a folder. Given: nowhere"),
        (["."], "MODEL_DIR must hold a SavedModel"),
        (["tiny", "--port", "65536"], "--port must be a number from 0 to 65535. Given: 65536"),
        (["tiny", "--replicas", "0"], "--replicas must be a number from 1 to "),
        (["tiny", "--max-bytes", "1e6"], "--max-bytes must be a number from 1 to "),
        (["tiny", "--name", "a/b"], "a model's name must have 1 to 100 letters"),
        (["tiny", "--host", "203.0.113.1"], "must be free to listen on. Given: 203.0.113.1:8501"),
    ],
)
def test_bad_input_is_one_line(call: Job, models: Path, arguments: list[str], words: str) -> None:
    done = call("serve", *arguments, cwd=models)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_a_model_that_its_replica_refuses_is_one_line(models: Path) -> None:
    server = Server(models / "one")
    printed, errors = server.process.communicate(timeout=120)
    assert server.process.returncode == 2
    assert len(errors.splitlines()) == 1
    assert "input images must hold numbers, or one text in each row; its first axis must" in errors
    assert "Given: uint8 [1, 2, 3]" in errors
    assert printed == ""


def test_without_the_extra_serve_it_says_what_to_install(models: Path) -> None:
    code = """
import runpy, sys
sys.modules["uvicorn"] = None  # importing it is an error
del sys.argv[0]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    python, *rest = command_line("serve", models / "tiny", "--port", 0)
    done = subprocess.run([python, "-c", code, *rest], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "install ffnet with its extra serve" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_card_without_a_name_is_refused(call: Job, tmp_path: Path, models: Path) -> None:
    (tmp_path / "1").symlink_to(models / "tiny" / "3")
    (tmp_path / "card.json").write_text("{}")
    done = call("serve", tmp_path)
    assert done.returncode == 2
    assert 'card.json must be a JSON object with a "name"' in done.stderr


def test_a_port_in_use_is_one_line(call: Job, models: Path, tiny: Server) -> None:
    done = call("serve", models / "pair", "--port", tiny.port)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert f"must be free to listen on. Given: 127.0.0.1:{tiny.port}" in done.stderr


@pytest.mark.slow
def test_models_that_cannot_be_served_are_refused_with_the_reason(models: Path) -> None:
    words = {
        "damaged/1": "must be a SavedModel",
        "unnamed": "must have the signature serving_default. Given: ",
        "texts": "input t must hold numbers, or one text in each row",
        "none": "must have an input. Given: none",
        "complex": "must be a SavedModel that can be served: Object of type complex is not JSON",
        "mean": "output mean must have a row for each of the inputs. Given: shape () for 2 rows",
    }
    code = """
import sys
from pathlib import Path
from ffnet.errors import InputError
from ffnet.serving.model import Model
for path in sys.argv[1:]:
    try:
        Model(Path(path))
    except InputError as error:
        print(error)
"""
    paths = [str(models / name) for name in words]
    done = subprocess.run(
        [sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True
    )
    for line, expected in zip(done.stdout.splitlines(), words.values(), strict=True):
        assert expected in line


# --- where it listens, and how it ends ---------------------------------------------------------


def test_only_the_loopback_address_is_listened_on(tiny: Server) -> None:
    with pytest.raises(
        ConnectionRefusedError
    ):  # it would be open if the server listened on 0.0.0.0
        socket.create_connection(("127.0.0.2", int(tiny.port)))


@pytest.mark.slow
def test_a_replica_that_dies_is_replaced(pair: Server) -> None:
    request = {"instances": [{"a": 1, "b": [2, 3]}]}
    before = _replicas(pair)
    assert len(before) == REPLICAS
    os.kill(before[0], signal.SIGKILL)
    wait_for(lambda: len(set(_replicas(pair)) - {before[0]}) == REPLICAS)
    wait_for(lambda: _listening(pair) == REPLICAS)
    for _ in range(20):  # several connections: the kernel distributes them
        assert pair.predict(request) == (200, {"predictions": [6]})


def _replicas(server: Server) -> list[int]:
    """Return the processes that answer."""
    pids = processes_with(str(token_of(server.process.pid)))
    return [pid for pid in map(int, pids) if "ServeReplica" in _command(pid)]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def _listening(server: Server) -> int:
    """Return the sockets that listen on the port (state 0A)."""
    lines = Path("/proc/net/tcp").read_text().splitlines()
    return sum(f":{int(server.port):04X} 00000000:0000 0A" in line for line in lines)


def test_a_server_listens_where_it_is_told_and_its_ray_on_loopback(
    tiny: Server, pair: Server
) -> None:
    for server, told in ((tiny, set()), (pair, {("00000000", int(pair.port))})):
        host = int((_token(server).parent / "host").read_text())
        pids = [server.process.pid, *sessions(host)]
        assert ("0100007F" if server is tiny else "00000000", int(server.port)) in listening(pids)
        assert set(in_reach_of_others(pids)) == told


@pytest.mark.slow
def test_sigterm_while_it_starts_leaves_nothing(models: Path) -> None:
    server = Server(models / "tiny")
    token = wait_for(lambda: token_of(server.process.pid))
    server.process.send_signal(signal.SIGTERM)
    _assert_gone(server, token)


# The last two tests end the module's servers.


def test_sigterm_lets_a_request_end_and_leaves_nothing(tiny: Server) -> None:
    token = _token(tiny)
    x = images(5, 1)
    body = json.dumps({"instances": x.tolist()}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", int(tiny.port), timeout=60)
    connection.putrequest("POST", f"{tiny.path}:predict")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:9])
    tiny.process.send_signal(signal.SIGTERM)
    wait_for(lambda: _refuses(tiny))
    connection.send(body[9:])
    assert_right(x, json.load(connection.getresponse())["predictions"])
    connection.close()
    _assert_gone(tiny, token)


def test_ctrl_c_leaves_nothing(pair: Server) -> None:
    token = _token(pair)
    pair.process.send_signal(signal.SIGINT)
    _assert_gone(pair, token)


def _token(server: Server) -> Path:
    token = token_of(server.process.pid)
    assert token
    assert token.stat().st_mode & 0o777 == 0o600
    assert processes_with(str(token))
    return token


def _refuses(server: Server) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(server.port))).close()
    except ConnectionRefusedError:
        return True
    return False


def _assert_gone(server: Server, token: Path) -> None:
    assert server.process.communicate(timeout=60) == ("", "")
    assert server.process.returncode == 0
    assert not token.parent.exists()
    wait_for(lambda: not processes_with(str(token)), seconds=20)
