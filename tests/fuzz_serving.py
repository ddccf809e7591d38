"""Fuzzed parsers of the server: see tests/fuzzing.py."""

import json
from pathlib import Path

import numpy as np

from ffnet.export.folder import ModelFolder
from ffnet.serving import rest
from ffnet.serving.tensors import Input, Refused
from fuzzing import fuzzed

BYTES = [Input("images", np.dtype(np.uint8), (2, 2))]
PAIR = [Input("a", np.dtype(np.float32), ()), Input("b", np.dtype(np.int64), (2,))]
WORDS = [
    b"[", b"]", b"{", b"}", b",", b'"', b":", b"true", b"false", b"null", b"NaN", b"Infinity",
    b"-", b"1e999", b"9" * 5000, b"[" * 500, b"\xff", b"\\ud800", b'"instances"', b'"inputs"',
    b'"signature_name":', b'"images":', b'"b64":', b'"name":',
]  # fmt: skip


def _requests() -> list[bytes]:
    image = [[1, 2], [3, 255]]
    row = {"a": 0.5, "b": [1, -2]}
    seeds = [
        {"instances": [image] * 3},
        {"instances": [{"images": image}], "signature_name": "serving_default"},
        {"inputs": {"images": [image]}},
        {"instances": [row, row]},
        {"inputs": {"a": [1e-5, 3e38], "b": [[2**60, 7], [0, 0]]}},
    ]
    return [json.dumps(seed).encode() for seed in seeds]


@fuzzed("request", _requests, words=WORDS, refusals=(Refused,))
def request(data: bytes, folder: Path) -> object:
    """Read a predict request with two models: one reads it, or both refuse it."""
    try:
        return rest.read(data, BYTES)
    except Refused as refused:
        if len(str(refused)) > 300:
            raise ValueError("a reason of more than 300 characters") from None
        return rest.read(data, PAIR)


def _cards() -> list[bytes]:
    return [json.dumps({"name": "digits", "version": 3, "test": {"a": [1.5, None]}}).encode()]


@fuzzed("card", _cards, words=WORDS)
def card(data: bytes, folder: Path) -> object:
    """Find a model in a folder with this card."""
    (folder / "1").mkdir()
    (folder / "1" / "saved_model.pb").touch()
    (folder / "card.json").write_bytes(data)
    return ModelFolder.find(folder)
