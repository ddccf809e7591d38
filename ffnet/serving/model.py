"""Loads a SavedModel, checks its signature `serving_default`, and calls it on batches.

This module imports TensorFlow, so only replicas import it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from ffnet.errors import InputError, one_line
from ffnet.export.folder import GRAPH, card_beside
from ffnet.serving.rest import SIGNATURE
from ffnet.serving.tensors import Array, Input

ROWS = 1024
"""Limit for the rows of a call, because the outputs of the layers take memory."""


def configure() -> None:
    """Let TensorFlow use one CPU: with such small batches a second thread would mostly wait."""
    tf.config.set_visible_devices([], "GPU")  # Ray does not hide GPUs from replicas
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


class Model:
    """A model that is loaded and has answered once.

    Attributes:
        inputs: the inputs of the signature.
        signatures: {name of the signature: the signature as in TensorFlow Serving's metadata}.
    """

    def __init__(self, path: Path) -> None:
        """Load a SavedModel and run it once. The file must come from a source that you trust.

        Raises:
            InputError: the model cannot be loaded, or its signature cannot be served in batches.
        """
        try:
            self._load(path)
        except InputError:
            raise
        except Exception as error:  # a damaged file may raise anything
            reason = one_line(str(error) or type(error).__name__, 200)
            raise InputError(f"{path} must be a SavedModel that can be served: {reason}") from None

    def _load(self, path: Path) -> None:
        graph = SavedModel.FromString((path / GRAPH).read_bytes()).meta_graphs[0]
        self._model = tf.saved_model.load(str(path))  # alive as long as its signature
        if SIGNATURE not in graph.signature_def:
            given = one_line(", ".join(graph.signature_def), 200)
            raise InputError(f"{path} must have the signature {SIGNATURE}. Given: {given}")
        signature = graph.signature_def[SIGNATURE]
        about, gaps = _on_card(path), _gap_texts(path)
        self.inputs = [
            _input(name, info, about.get(name, {}), gaps)
            for name, info in sorted(signature.inputs.items())
        ]
        if not self.inputs:
            raise InputError(f"{path} must have an input. Given: none")
        self.signatures = {SIGNATURE: _as_json(signature)}
        self._call = self._model.signatures[SIGNATURE]
        self._warm_up()

    def __call__(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Return {name: output [N, …]} for {name: input [N, …]}."""
        count = len(next(iter(arrays.values())))
        parts = [self._part(arrays, slice(i, i + ROWS)) for i in range(0, count, ROWS)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _part(self, arrays: Mapping[str, Array], rows: slice) -> dict[str, Array]:
        tensors = {i.key: tf.constant(arrays[i.name][rows]) for i in self.inputs}
        outputs = self._call(**tensors)
        return {name: _texts(output.numpy()) for name, output in outputs.items()}

    def _warm_up(self) -> None:
        """Make the first, slow call with two rows, and check its outputs.

        Raises:
            InputError: an output does not have two rows.
            TypeError, ValueError: an output cannot be written as JSON.
        """
        zeros = {i.name: np.full((2, *i.shape), i.empty, i.dtype) for i in self.inputs}
        outputs = self._part(zeros, slice(None))
        for name, output in outputs.items():
            if output.shape[:1] != (2,):
                raise InputError(
                    f"output {name} must have a row for each of the inputs. "
                    f"Given: shape {output.shape} for 2 rows"
                )
            json.dumps(output.tolist())


def _on_card(path: Path) -> dict[str, Any]:
    """{name of an input: what the card says about it}; empty for a model of another program."""
    signature = card_beside(path).get("signature")
    inputs = signature.get("inputs") if isinstance(signature, dict) else None
    found = inputs.items() if isinstance(inputs, dict) else ()
    return {name: about for name, about in found if isinstance(about, dict)}


def _gap_texts(path: Path) -> frozenset[str]:
    """The texts that stand for a gap, as the card says; none for a model of another program."""
    texts = card_beside(path).get("gap_texts")
    texts = texts if isinstance(texts, list) else []
    return frozenset(text for text in texts if isinstance(text, str))


def _input(name: str, info: Any, about: Mapping[str, Any], gaps: frozenset[str]) -> Input:
    shape = [dim.size for dim in info.tensor_shape.dim]
    kind = tf.dtypes.as_dtype(info.dtype)
    dtype = np.dtype(kind.as_numpy_dtype)
    if kind == tf.string and shape == [-1]:
        dtype = np.dtype(object)
    elif dtype.kind not in "iuf" or shape[:1] != [-1] or min(shape[1:], default=1) < 1:
        raise InputError(
            f"input {one_line(name, 60)} must hold numbers, or one text in each row; its first "
            f"axis must have any size, the other axes fixed sizes. Given: {kind.name} "
            f"{one_line(str(shape), 100)}"
        )
    column, holds = about.get("column", name), about.get("kind")
    possible = ("category", "date") if kind == tf.string else ("number",)
    right = isinstance(column, str) and shape == [-1] and holds in possible
    if not right:
        return Input(name, dtype, (*shape[1:],))
    return Input(column, dtype, (), holds, name, gaps)


def _as_json(signature: Any) -> dict[str, Any]:
    """Return a signature as Protobuf's JSON, including fields with their default value."""
    return dict(
        MessageToDict(
            signature, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
    )


def _texts(values: Array) -> Array:
    """Decode TensorFlow's strings, which are bytes, to text. Other values stay as they are."""
    if values.dtype.kind != "O":
        return values
    texts = [value.decode(errors="replace") for value in values.ravel()]
    return np.array(texts, object).reshape(values.shape)
