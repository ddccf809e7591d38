"""Requests and cards, tested without a server: they are read exactly, or refused in a line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffnet.errors import InputError
from ffnet.export.folder import ModelFolder
from ffnet.serving import rest
from ffnet.serving.tensors import Input, Refused

BYTES = [Input("images", np.dtype(np.uint8), (2,))]
FLOATS = [Input("features", np.dtype(np.float32), (2,))]
IMAGES = [Input("images", np.dtype(np.uint8), (2, 3))]
IMAGE = [[1, 2, 3], [4, 5, 6]]
FLOATS_OF_TWO = [Input("a", np.dtype(np.float32), ()), Input("b", np.dtype(np.float32), (2,))]
PAIR = [Input("a", np.dtype(np.float32), ()), Input("b", np.dtype(np.int64), (2,))]


def refusal(request: Any, inputs: list[Input] = BYTES) -> str:
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    with pytest.raises(Refused) as caught:
        rest.read(body, inputs)
    message = str(caught.value)
    assert caught.value.status == 400
    assert message.isprintable()
    assert len(message) <= 300
    return message


def read(request: Any, inputs: list[Input]) -> dict[str, Any]:
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    arrays, _ = rest.read(body, inputs)
    assert all(arrays[i.name].dtype == i.dtype for i in inputs)
    return {name: array.tolist() for name, array in arrays.items()}


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (b"", "a request must be JSON"),
        (b'{"instances": [', "a request must be JSON"),
        (b"\xff\xfe\x00", "a request must be JSON"),
        (b'{"instances": [[[1, NaN, 3], [4, 5, 6]]]}', "NaN is not a number"),
        (b"[" * 100_000, "deeper than an input's shape"),
        (b'{"instances": ' + b"[" * 200 + b"]" * 200 + b"}", "images must be"),
        ([IMAGE], "a request must be a JSON object. Given: a list of 1"),
        ({}, 'either "instances" or "inputs". Given: neither'),
        ({"instances": [IMAGE], "inputs": [IMAGE]}, "Given: both"),
        ({"instances": [IMAGE], "signature_name": "x"}, 'must be serving_default. Given: "x"'),
        ({"instances": 5}, '"instances" must be a list. Given: 5'),
        ({"instances": []}, "Given: 0 of images"),
        ({"inputs": 7}, "must be instances of 2×3. Given: no list"),
        ({"instances": IMAGE}, "must be instances of 2×3. Given: 3"),
        ({"instances": [[IMAGE]]}, "must be instances of 2×3. Given: 1×2×3"),
        ({"instances": [[[1, 2], [4, 5, 6]]]}, "images must be lists of equal lengths"),
        ({"instances": [IMAGE, 4]}, "images must be lists of equal lengths"),
        ({"instances": [[[256, 2, 3], [4, 5, 6]]]}, "whole numbers from 0 to 255. Given: 256"),
        ({"instances": [[[1, 2, 3], [4, -1, 6]]]}, "whole numbers from 0 to 255. Given: -1"),
        ({"instances": [[[1, 2, 3], [4, 5, 0.5]]]}, "whole numbers from 0 to 255. Given: 0.5"),
        ({"instances": [[[1, 2, 3], [4, 5, 10**30]]]}, f"Given: {10**30}"),
        ({"instances": [[[1, 2, 3], [4, 5, True]]]}, "Given: true"),
        ({"instances": [[[1, 2, 3], [4, 5, None]]]}, "Given: null"),
        ({"instances": [[[1, 2, 3], [4, 5, "6"]]]}, 'Given: "6"'),
        ({"instances": [{"b64": "AAAA"}]}, "object with images. Given: an object with \"b64\""),
        ({"instances": [{"images": {"b64": "AA"}}]}, "Given: an object with \"b64\""),
        ({"instances": [{"images": IMAGE, "x": 1}]}, "Given: an object with \"images\", \"x\""),
        ({"instances": [{"images": IMAGE}, IMAGE]}, "object with images. Given: a list of 2"),
        ({"inputs": {"pixels": [IMAGE]}}, "object with images. Given: an object with \"pixels\""),
    ],
)  # fmt: skip
def test_a_request_of_images_that_breaks_a_rule_is_told_which(request_: Any, words: str) -> None:
    assert words in refusal(request_, IMAGES)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"instances": [1, 2]}, "object with a, b. Given: a list of 2"),
        ({"instances": [{"a": 1}]}, 'object with a, b. Given: an object with "a"'),
        ({"inputs": {"a": [1, 2], "b": [[1, 2]]}}, "instances. Given: 2 of a, 1 of b"),
        ({"inputs": {"a": [], "b": []}}, "Given: 0 of a, 0 of b"),
        ({"instances": [{"a": 1e39, "b": [1, 2]}]}, "a must be finite float32 numbers"),
        ({"instances": [{"a": False, "b": [1, 2]}]}, "Given: false"),
        (b'{"instances": [{"a": 1e999, "b": [1, 2]}]}', "a must be finite float32 numbers"),
        ({"inputs": {"a": [0] * 9000, "b": [[0, 0]] * 9000}}, "1 to 8192 instances. Given: 9000"),
    ],
)
def test_a_request_of_floats_that_breaks_a_rule_is_told_which(request_: Any, words: str) -> None:
    assert words in refusal(request_, FLOATS_OF_TWO)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"instances": []}, "must have 1 to 8192 instances. Given: 0 of images"),
        ({"inputs": []}, "must have 1 to 8192 instances. Given: 0 of images"),
        ({"inputs": {"images": []}}, "must have 1 to 8192 instances. Given: 0 of images"),
        ({"instances": [[]]}, "images must be instances of 2. Given: 0"),
        ({"instances": [[1, 2]] * 8193}, "1 to 8192 instances. Given: 8193 of images"),
        (b"[" * 1_000_000, "deeper than an input's shape"),
        (b'{"a":' * 100_000, "deeper than an input's shape"),
        (b'{"instances": [[1, ' + b"9" * 5000 + b"]]}", "a number must have at most 4300 digits"),
        (b'{"instances": [[1, ' + b"9" * 4000 + b"]]}", "Given: a number of more than 60 digits"),
        (b'{"instances": [[1, -Infinity]]}', "-Infinity is not a number"),
        (b'{"instances": [[1, 1e400]]}', "whole numbers from 0 to 255"),
        (b'{"instances": [[1, 2]], "instances": [[3, 4]]}', 'Given twice: "instances"'),
        (b'{"instances": [{"images": [1, 2], "images": [3, 4]}]}', 'Given twice: "images"'),
        (b'{"instances": [["\\ud800", 1]]}', "images must be whole numbers"),
        (b'{"instances": [[1, 2]], "signature_name": "\\ud800\\u001b[31m"}', "\\ud800\\u001b[31m"),
        (b'{"instances": [[1, 2]], "signature_name": ["x"]}', "Given: a list of 1"),
        (b'{"instances": [[1, 2]], "signature_name": 0}', "serving_default. Given: 0"),
        ('{"instances": [[1, 2]]}'.encode("utf-16"), "must be JSON in UTF-8"),
        (b'{"instances": [["\xff", 1]]}', "must be JSON in UTF-8"),
        (b'{"instances": [["\xed\xa0\x80", 1]]}', "must be JSON in UTF-8"),
        (b'"instances"', "must be a JSON object"),
        (b"null", "must be a JSON object. Given: null"),
        ({"instances": [["x" * 100_000, 1]] + [[1, 1]] * 8000}, 'Given: "xxx'),
        ({"instances": ["x" * 100_000] + [[1, 1]] * 8000}, 'Given: "xxx'),
        ({"instances": [{"images": "x" * 100_000}]}, 'Given: "xxx'),
        ({"instances": [{"b64": "x" * 9999}]}, 'Given: an object with "b64"'),
        ({"instances": [{"\x1b" * 999: 1, "\n": 2}]}, "an object with images. Given: an object"),
        ({"instances": [[[[[[[1]]]]]]]}, "images must be instances of 2. Given: 1×1×1×1×1×1"),
        ({"instances": [[1, None]]}, "Given: null"),
        ({"instances": [[1, {}]]}, "Given: an object with nothing"),
        ({"instances": {"images": [1, 2]}}, '"instances" must be a list'),
    ],
)  # fmt: skip
def test_a_request_that_breaks_a_rule_is_told_which(request_: Any, words: str) -> None:
    assert words in refusal(request_)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"inputs": {"a": [], "b": [[1, 2]]}}, "Given: 0 of a, 1 of b"),
        ({"inputs": {"a": 1, "b": [[1, 2]]}}, "a must be instances of one number. Given: no list"),
        ({"instances": [{"a": 1e39, "b": [1, 2]}]}, "a must be finite float32 numbers"),
        ({"instances": [{"a": 10**60, "b": [1, 2]}]}, "a must be finite float32 numbers"),
        ({"instances": [{"a": 1, "b": [1, 2**63]}]}, f"Given: {2**63}"),
        ({"instances": [{"a": 1, "b": [1.0, 2]}]}, "Given: 1.0"),
    ],
)
def test_values_beyond_an_input_s_type_are_refused(request_: Any, words: str) -> None:
    assert words in refusal(request_, PAIR)


def test_values_at_the_ends_of_a_type_are_exact() -> None:
    rows = [{"a": -1.5, "b": [2**63 - 1, -(2**63)]}, {"a": 0, "b": [2**53 + 1, -1]}]
    assert read({"instances": rows}, PAIR) == {
        "a": [-1.5, 0.0],
        "b": [row["b"] for row in rows],
    }
    largest = float(np.finfo(np.float32).max)
    assert read({"instances": [[largest, 1e-60]]}, FLOATS) == {"features": [[largest, 0.0]]}
    assert read({"instances": [[10**30, -0.0]]}, FLOATS) == {
        "features": [[float(np.float32(10**30)), 0.0]]
    }


def test_a_byte_order_mark_is_no_part_of_a_request() -> None:
    assert read(b'\xef\xbb\xbf{"instances": [[1, 2]]}', BYTES) == {"images": [[1, 2]]}


def test_an_answer_that_json_cannot_hold_is_no_answer() -> None:
    for by_row in (True, False):
        with pytest.raises(Refused, match=r"finite numbers\. Given: NaN"):
            rest.write({"p": [[0.5, float("nan")]], "class": ["x"]}, by_row)
    assert rest.write({"p": [0.5]}, by_row=True) == b'{"predictions":[0.5]}'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(["instances", "inputs", "signature_name", "images", "a", "b", "x"])


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.dictionaries(NAMES, JSON | st.dictionaries(NAMES, JSON) | st.lists(JSON)))
def test_any_json_is_read_or_refused(request_: Any) -> None:
    for inputs in (BYTES, FLOATS, PAIR):
        reason = ""
        try:
            arrays, _ = rest.read(json.dumps(request_).encode(), inputs)
            assert all(arrays[i.name].shape[1:] == i.shape for i in inputs)
        except Refused as refused:
            reason = str(refused)
        assert reason.isprintable()
        assert len(reason) <= 300


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), min_size=1, max_size=5))
def test_what_fits_is_read_as_it_is(rows: list[tuple[int, int]]) -> None:
    expected = {"images": [list(row) for row in rows]}
    assert read({"instances": rows}, BYTES) == expected
    assert read({"instances": [{"images": row} for row in rows]}, BYTES) == expected
    assert read({"inputs": {"images": rows}}, BYTES) == expected


# --- cards and model folders -------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Make a folder with one version of a model."""
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "saved_model.pb").touch()
    return tmp_path / "m"


def test_a_model_is_named_by_its_card(model: Path) -> None:
    assert ModelFolder.find(model).name == "m"
    (model / "card.json").write_text('{"name": "a.b-c_1"}')
    assert ModelFolder.find(model).name == "a.b-c_1"


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff", b"null", b"[]", b"{}", b"7", b'{"name": null}', b'{"name": 7}',
        b'{"name": {"a": 1}}', b"[" * 100_000, b'{"name": ' + b"9" * 5000 + b"}",
        b'{"name": "a/b"}', b'{"name": ".."}', b'{"name": ""}', b'{"name": "a\\u001b[31m\\n"}',
        b'{"name": "\\ud800"}', b'{"name": "' + b"x" * 9999 + b'"}',
    ],
)  # fmt: skip
def test_a_card_of_any_other_content_is_refused_in_a_line(model: Path, content: bytes) -> None:
    (model / "card.json").write_bytes(content)
    with pytest.raises(InputError) as caught:
        ModelFolder.find(model)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_a_card_with_a_key_twice_is_refused_by_the_key(model: Path) -> None:
    (model / "card.json").write_text('{"name": "a", "name": "b"}')
    with pytest.raises(InputError, match=r"card\.json must be .*\(the key 'name' comes twice"):
        ModelFolder.find(model)


def test_a_card_that_is_a_folder_is_refused(model: Path) -> None:
    (model / "card.json").mkdir()
    with pytest.raises(InputError, match="must be a file that can be read"):
        ModelFolder.find(model)
