"""Reads the files of studies: a TOML file that a user wrote, or the study.json of a run."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from ffnet.errors import InputError, one_line
from ffnet.run.storage import File, checked, is_remote, knock, reason
from ffnet.spec.base import Values
from ffnet.spec.earlier import as_meant
from ffnet.spec.presets import studies
from ffnet.spec.relevance import relevant
from ffnet.spec.validation import SHOWN, did_you_mean, shown

MOST_BYTES = 2**24  # maximum size of a study's file
MOST_NAME = 100  # maximum bytes of a study's name
SECTIONS = {"data", "net", "training", "space", "tuning", "budget", "resources"}


def found(word: str) -> str:
    """The place of the study that a user named.

    Args:
        word: a TOML file, a run's study.json, or the name of a preset, such as `digits`.

    Raises:
        InputError: the word is none of these.
    """
    known = studies()
    if word in known and not Path(word).is_file():
        return str(known[word])
    if is_of_run(word) or Path(word).suffix or Path(word).exists():
        return word
    raise InputError(
        f"a study is a TOML file, or one of {', '.join(known)}. "
        f"Given: {word}{did_you_mean(word, known)}"
    )


def read_study(place: str) -> Values:
    """A study's values from a TOML file, or from a run's study.json, which may be in a store.

    Raises:
        InputError: the file does not exist or is malformed.
    """
    if not is_of_run(place):
        return read_toml(Path(place))
    file = File(checked(place))
    knock(file.place)
    study = read_run_json(file, place).get("study")
    if not isinstance(study, dict):
        raise not_of_a_run(place, f"needs an object `study`. Given: {shown(study)}")
    for section in SECTIONS & study.keys():
        if not isinstance(study[section], dict):
            raise not_of_a_run(place, f"{section} must be a table. Given: {shown(study[section])}")
    return as_meant(relevant(study))  # study.json has every field, even those without effect


def is_of_run(place: str) -> bool:
    """Whether a study's place is the study.json of a run, not a TOML file."""
    return is_remote(place) or place.endswith(".json")


def read_run_json(file: File, place: object) -> Values:
    """The JSON object in the study.json of a run, unchecked.

    Args:
        file: the study.json.
        place: the file's name in messages.

    Raises:
        InputError: the file cannot be read, or it is not a JSON object.
    """
    try:
        with file.open() as opened:
            text = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{place}: cannot be read ({reason(error)})") from None
    try:
        return json_object(text)
    except ValueError as error:
        raise not_of_a_run(place, error) from None


def not_of_a_run(place: object, why: object) -> InputError:
    """The error for a file that is not the study.json of a run."""
    return InputError(f"{place}: not a study.json of a run ({why})")


def json_object(text: bytes) -> Values:
    """The JSON object in a text. Raises ValueError if there is none, or if a key comes twice."""
    if len(text) > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES} bytes")
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError(f"needs a JSON object. Given: {shown(value)}")
    return value


def _once(pairs: list[tuple[str, Any]]) -> Values:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {shown(twice)} comes twice in one object")
    return made


def read_toml(path: Path) -> Values:
    """A TOML file as nested dicts. Raises InputError if it does not exist or is malformed."""
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise ValueError(f"larger than {MOST_BYTES} bytes")
        return tomllib.loads(text.decode("utf-8-sig"))  # editors on Windows begin with a mark
    except RecursionError:
        raise InputError(f"{path}: not a readable TOML file (nested too deep)") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else one_line(str(error), SHOWN)
        raise InputError(f"{path}: not a readable TOML file ({why})") from None


def name_of(place: str) -> str:
    """A study's name made from the name of its file: letters, digits, `_`, `.` and `-`."""
    file = Path(place).name.removesuffix(".toml").removesuffix(".json")
    name = re.sub(r"[^\w.-]+", "-", file).strip("-.").encode()[:MOST_NAME]
    return name.decode(errors="ignore").strip("-.") or "study"
