"""TensorFlow Serving's REST API: what a path asks for, what a body holds, how it is answered.

https://www.tensorflow.org/tfx/serving/api_rest. Knows neither TensorFlow nor Ray.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NoReturn

from ffnet.serving.tensors import Array, Input, Refused, shown

Call = Literal["status", "metadata", "predict"]

SIGNATURE = "serving_default"
MAX_INSTANCES = 8192
"""Rows of one request: their answer, as JSON, must fit in memory many times over."""

_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(/versions/(?P<version>\d{1,18}))?(?P<rest>/metadata|:predict)?"
)
_CALLS: dict[str | None, tuple[str, Call]] = {
    None: ("GET", "status"),
    "/metadata": ("GET", "metadata"),
    ":predict": ("POST", "predict"),
}


def route(method: str, path: str, name: str, version: int) -> Call:
    """What a request to the server of one version of one model asks for.

    Raises:
        Refused: 400 or 404 for a path that is none of the API's, 404 for another model or
            version, 405 for another method.
    """
    match = _PATH.fullmatch(path)
    if not match:
        raise Refused(
            f"Malformed request: {method} {path[:60]}; there are "
            f"/v1/models/{name}[/versions/{version}] and its /metadata and :predict",
            400 if path.startswith("/v1/") else 404,
        )
    there = f"there is {name}, version {version}"
    if match["name"] != name:
        raise Refused(f"Servable not found: {match['name'][:60]}; {there}", 404)
    if match["version"] and int(match["version"]) != version:
        raise Refused(f"Servable not found: {name}, version {match['version']}; {there}", 404)
    allowed, call = _CALLS[match["rest"]]
    if method != allowed:
        raise Refused(f"{call} is asked for by {allowed}. Given: {method}", 405, {"Allow": allowed})
    return call


def read(body: bytes, inputs: Sequence[Input]) -> tuple[dict[str, Array], bool]:
    """What a predict request holds.

    Returns:
        The array [N x shape] of each input, N the same in all, and whether the request was by
        row ("instances").

    Raises:
        Refused: 400, it breaks a rule.
    """
    request = _parse(body)
    by_row = "instances" in request
    if by_row == ("inputs" in request):
        given = "both" if by_row else "neither"
        raise Refused(f'a request must have either "instances" or "inputs". Given: {given}')
    signature = request.get("signature_name") or SIGNATURE
    if signature != SIGNATURE:
        raise Refused(f"signature_name must be {SIGNATURE}. Given: {shown(signature)}")
    columns = (_by_row if by_row else _by_column)(request, inputs)
    # Beside a number numpy takes true for 1: where one may be, each value is looked at.
    each = b"true" in body or b"false" in body
    arrays = {i.name: i.array(columns[i.name], each) for i in inputs}
    counts = {len(array) for array in arrays.values()}
    if len(counts) > 1 or not 1 <= min(counts) <= MAX_INSTANCES:
        given = ", ".join(f"{len(array)} of {name}" for name, array in arrays.items())
        raise Refused(f"a request must have 1 to {MAX_INSTANCES} instances. Given: {given}")
    return arrays, by_row


def _parse(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body, parse_constant=_no_number)
    except RecursionError:
        raise Refused("lists must not be deeper than an input's shape") from None
    except ValueError as error:
        raise Refused(f"a request must be JSON: {error}") from None
    if not isinstance(request, dict):
        raise Refused(f"a request must be a JSON object. Given: {shown(request)}")
    return request


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _by_row(request: Mapping[str, Any], inputs: Sequence[Input]) -> dict[str, Any]:
    rows = request["instances"]
    if not isinstance(rows, list):
        raise Refused(f'"instances" must be a list. Given: {shown(rows)}')
    if not any(isinstance(row, dict) for row in rows):
        return _unnamed(rows, inputs)
    for row in rows:
        _check_names(row, inputs)
    return {i.name: [row[i.name] for row in rows] for i in inputs}


def _by_column(request: Mapping[str, Any], inputs: Sequence[Input]) -> dict[str, Any]:
    columns = request["inputs"]
    if not isinstance(columns, dict):
        return _unnamed(columns, inputs)
    _check_names(columns, inputs)
    return columns


def _unnamed(values: object, inputs: Sequence[Input]) -> dict[str, Any]:
    if len(inputs) > 1:
        _check_names(values, inputs)
    return {inputs[0].name: values}


def _check_names(named: object, inputs: Sequence[Input]) -> None:
    if not isinstance(named, dict) or named.keys() != {i.name for i in inputs}:
        names = ", ".join(i.name for i in inputs)
        raise Refused(f"values must be in an object with {names}. Given: {shown(named)}")


def write(outputs: Mapping[str, list[Any]], by_row: bool) -> bytes:
    """The answer to a predict request; a model's only output goes without its name."""
    only = next(iter(outputs.values())) if len(outputs) == 1 else None
    if not by_row:
        return _json({"outputs": only or outputs})
    rows = [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
    return _json({"predictions": only or rows})


def status(version: int) -> bytes:
    """The answer to a status request."""
    fine = {"error_code": "OK", "error_message": ""}
    state = {"version": str(version), "state": "AVAILABLE", "status": fine}
    return _json({"model_version_status": [state]})


def metadata(name: str, version: int, signatures: Mapping[str, Any]) -> bytes:
    """The answer to a metadata request."""
    spec = {"name": name, "signature_name": "", "version": str(version)}
    return _json({"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}})


def error(reason: str) -> bytes:
    """The answer to a request that fails."""
    return _json({"error": reason})


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
