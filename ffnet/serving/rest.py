"""TensorFlow Serving's REST API: reads paths and bodies of requests, and writes answers.

See https://www.tensorflow.org/tfx/serving/api_rest. This module needs neither TensorFlow nor Ray.
"""

import codecs
import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NoReturn

from ffnet.serving.tensors import Array, Input, Refused, in_words

Call = Literal["status", "metadata", "predict"]

SIGNATURE = "serving_default"
MAX_INSTANCES = 8192
"""Limit for the rows of a request: memory holds many answers at a time, as JSON."""
LISTED = 4  # of a model with more inputs a message names so many that are missing or unknown

_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(/versions/(?P<version>\d{1,18}))?(?P<rest>/metadata|:predict)?"
)
_CALLS: dict[str | None, tuple[str, Call]] = {
    None: ("GET", "status"),
    "/metadata": ("GET", "metadata"),
    ":predict": ("POST", "predict"),
}


def route(method: str, path: str, name: str, version: int) -> Call:
    """Return what a request asks for. The server has one version of one model.

    Args:
        method, path: those of the request, for example GET and /v1/models/digits.
        name, version: those of the model on this server.

    Raises:
        Refused: 400 or 404 if the API has no such path, 404 for another model or version, 405 for
            the wrong method.
    """
    match = _PATH.fullmatch(path)
    if not match:
        raise Refused(
            f"Malformed request: {method} {path[:60]}; ask for /v1/models/{name}"
            f"[/versions/{version}], or add /metadata or :predict to it",
            400 if path.startswith("/v1/") else 404,
        )
    there = f"this server has {name}, version {version}"
    if match["name"] != name:
        raise Refused(f"Servable not found: {match['name'][:60]}; {there}", 404)
    if match["version"] and int(match["version"]) != version:
        raise Refused(f"Servable not found: {name}, version {match['version']}; {there}", 404)
    allowed, call = _CALLS[match["rest"]]
    if method != allowed:
        raise Refused(
            f"{call} needs the method {allowed}. Given: {method}", 405, {"Allow": allowed}
        )
    return call


def read(body: bytes, inputs: Sequence[Input]) -> tuple[dict[str, Array], bool]:
    """Read the body of a predict request.

    Returns:
        {name of an input: array [N, …]}, and whether the request has its values by row
        ("instances") instead of by input ("inputs").

    Raises:
        Refused: 400 if the request breaks a rule.
    """
    request = _parse(body)
    by_row = "instances" in request
    if by_row == ("inputs" in request):
        given = "both" if by_row else "neither"
        raise Refused(f'a request must have either "instances" or "inputs". Given: {given}')
    signature = request.get("signature_name", SIGNATURE)
    if signature not in (SIGNATURE, "", None):
        raise Refused(f"signature_name must be {SIGNATURE}. Given: {in_words(signature)}")
    columns = (_by_row if by_row else _by_column)(request, inputs)
    _check_counts(columns)
    each = _may_hold_others(body, request)
    return {i.name: i.array(columns[i.name], each) for i in inputs}, by_row


def _parse(body: bytes) -> dict[str, Any]:
    try:
        request = _JSON.decode(body.removeprefix(codecs.BOM_UTF8).decode())
    except RecursionError:
        raise Refused("lists must not be deeper than an input's shape") from None
    except UnicodeDecodeError as error:
        raise Refused(f"a request must be JSON in UTF-8. Given: {error}") from None
    except ValueError as error:
        raise Refused(f"a request must be JSON: {_reason(error)}") from None
    if not isinstance(request, dict):
        raise Refused(f"a request must be a JSON object. Given: {in_words(request)}")
    return request


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number in JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):  # the json module would silently keep the last value
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"names in an object must differ. Given twice: {in_words(twice)}")
    return made


_JSON = json.JSONDecoder(parse_constant=_no_number, object_pairs_hook=_object)


def _reason(error: ValueError) -> str:
    text = str(error)
    if "int_max_str_digits" in text:  # Python's message gives advice to programmers
        return f"a number must have at most {sys.get_int_max_str_digits()} digits"
    return text


def _check_counts(columns: Mapping[str, Any]) -> None:
    """Raise Refused unless all inputs have the same number of instances, 1 to MAX_INSTANCES."""
    counts = {name: len(rows) for name, rows in columns.items() if isinstance(rows, list)}
    if counts and (len(set(counts.values())) > 1 or not 1 <= min(counts.values()) <= MAX_INSTANCES):
        given = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise Refused(f"a request must have 1 to {MAX_INSTANCES} instances. Given: {given}")


def _may_hold_others(body: bytes, request: Mapping[str, Any]) -> bool:
    """Whether a value may be a text, true or false. Most requests have none, so this only counts.

    If so, each value is checked before NumPy sees it. NumPy reads true beside numbers as 1, and a
    single long text makes an array in which every value takes as much room.
    """
    values = request.get("instances", request.get("inputs"))
    rows = values if isinstance(values, list) else [values]
    texts = len(request) + ("signature_name" in request)
    texts += sum(len(row) for row in rows if isinstance(row, dict))
    return b"true" in body or b"false" in body or body.count(b'"') > 2 * texts


def _by_row(request: Mapping[str, Any], inputs: Sequence[Input]) -> dict[str, Any]:
    rows = request["instances"]
    if not isinstance(rows, list):
        raise Refused(f'"instances" must be a list. Given: {in_words(rows)}')
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
    wanted = dict.fromkeys(i.name for i in inputs)
    if isinstance(named, dict) and named.keys() == wanted.keys():
        return
    if isinstance(named, dict) and len(wanted) > LISTED:
        missing, unknown = wanted.keys() - named.keys(), named.keys() - wanted.keys()
        given = [f"without {in_words(name)}" for name in wanted if name in missing][:LISTED]
        given += [f"with {in_words(name)}" for name in named if name in unknown][:LISTED]
        raise Refused(
            f"values must be in an object with the {len(wanted)} inputs of the model. Given: an "
            f"object {', '.join(given)}"
        )
    raise Refused(f"values must be in an object with {', '.join(wanted)}. Given: {in_words(named)}")


def write(outputs: Mapping[str, list[Any]], by_row: bool) -> bytes:
    """Write the answer to a predict request. If a model has a single output, its name is left out.

    Raises:
        Refused: 422 if the model returned NaN or infinity, which JSON cannot express.
    """
    only = next(iter(outputs.values())) if len(outputs) == 1 else None
    try:
        if not by_row:
            return _json({"outputs": only or outputs})
        rows = [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
        return _json({"predictions": only or rows})
    except ValueError:
        raise Refused(
            "the model must return finite numbers. Given: NaN or infinity; are the inputs like "
            "those that it was trained on?",
            422,
        ) from None


def status(version: int) -> bytes:
    """Write the answer to a status request."""
    fine = {"error_code": "OK", "error_message": ""}
    state = {"version": str(version), "state": "AVAILABLE", "status": fine}
    return _json({"model_version_status": [state]})


def metadata(name: str, version: int, signatures: Mapping[str, Any]) -> bytes:
    """Write the answer to a metadata request."""
    spec = {"name": name, "signature_name": "", "version": str(version)}
    return _json({"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}})


def error(reason: str) -> bytes:
    """Write the answer to a request that fails."""
    return _json({"error": reason})


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
