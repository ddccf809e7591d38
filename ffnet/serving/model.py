"""A SavedModel in memory: its `serving_default` signature, checked, and called on whole batches.

Imports TensorFlow: only replicas import this.
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
from ffnet.export.folder import GRAPH
from ffnet.serving.rest import SIGNATURE
from ffnet.serving.tensors import Array, Input

ROWS = 1024
"""Rows of one call at most: what the layers make of them takes memory."""


def configure() -> None:
    """Let this process use one CPU: at these sizes a second thread mostly waits for the first."""
    tf.config.set_visible_devices([], "GPU")  # Ray lets a replica without one see all
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


class Model:
    """A model that is loaded and has answered once.

    Attributes:
        inputs: of its signature.
        signatures: the signature by its name, as TensorFlow Serving's metadata show it.
    """

    def __init__(self, path: Path) -> None:
        """Load a SavedModel; its graph is run, so it must come from a trusted source.

        Raises:
            InputError: it cannot be loaded, or its signature cannot be served in batches.
        """
        try:
            self._load(path)
        except InputError:
            raise
        except Exception as error:  # whatever a damaged file leads to
            reason = one_line(str(error) or type(error).__name__, 200)
            raise InputError(f"{path} must be a SavedModel that can be served: {reason}") from None

    def _load(self, path: Path) -> None:
        graph = SavedModel.FromString((path / GRAPH).read_bytes()).meta_graphs[0]
        self._model = tf.saved_model.load(str(path))  # alive as long as its signature
        if SIGNATURE not in graph.signature_def:
            given = one_line(", ".join(graph.signature_def), 200)
            raise InputError(f"{path} must have the signature {SIGNATURE}. Given: {given}")
        signature = graph.signature_def[SIGNATURE]
        self.inputs = [_input(name, info) for name, info in sorted(signature.inputs.items())]
        if not self.inputs:
            raise InputError(f"{path} must have an input. Given: none")
        self.signatures = {SIGNATURE: _as_json(signature)}
        self._call = self._model.signatures[SIGNATURE]
        self._warm_up()

    def __call__(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs [N x …] by name for the inputs [N x …] by name."""
        count = len(next(iter(arrays.values())))
        parts = [self._part(arrays, slice(i, i + ROWS)) for i in range(0, count, ROWS)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _part(self, arrays: Mapping[str, Array], rows: slice) -> dict[str, Array]:
        outputs = self._call(**{name: tf.constant(array[rows]) for name, array in arrays.items()})
        return {name: _texts(output.numpy()) for name, output in outputs.items()}

    def _warm_up(self) -> None:
        """The first call, slow, on two rows: each output must have a row for each, fit for JSON."""
        zeros = {i.name: np.zeros((2, *i.shape), i.dtype) for i in self.inputs}
        outputs = self._part(zeros, slice(None))
        for name, output in outputs.items():
            if output.shape[:1] != (2,):
                raise InputError(
                    f"output {name} must have a row for each of the inputs. "
                    f"Given: shape {output.shape} for 2 rows"
                )
            json.dumps(output.tolist())


def _input(name: str, info: Any) -> Input:
    shape = [dim.size for dim in info.tensor_shape.dim]
    dtype = np.dtype(tf.dtypes.as_dtype(info.dtype).as_numpy_dtype)
    if dtype.kind not in "iuf" or shape[:1] != [-1] or min(shape[1:], default=1) < 1:
        raise InputError(
            f"input {one_line(name, 60)} must be of numbers, its first axis of any size, the "
            f"others of known sizes. Given: {dtype} {one_line(str(shape), 100)}"
        )
    return Input(name, dtype, tuple(shape[1:]))


def _as_json(signature: Any) -> dict[str, Any]:
    """Protobuf's JSON for a signature, with the fields that have their default."""
    return dict(
        MessageToDict(
            signature, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
    )


def _texts(values: Array) -> Array:
    """TensorFlow's strings, which are bytes, as text; other values as they are."""
    if values.dtype.kind != "O":
        return values
    texts = [value.decode(errors="replace") for value in values.ravel()]
    return np.array(texts, object).reshape(values.shape)
