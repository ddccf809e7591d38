"""The folder of an exported model: finds the version and the name to serve."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ffnet.errors import InputError, one_line
from ffnet.run.study_files import MOST_BYTES, json_object

CARD = "card.json"
GRAPH = "saved_model.pb"
"""A folder with this file is a SavedModel."""


@dataclass(frozen=True)
class ModelFolder:
    """The folder of a SavedModel, and the name and version in its URL."""

    path: Path
    name: str
    version: int

    @classmethod
    def find(cls, folder: Path, name: str | None = None) -> "ModelFolder":
        """Find the highest version in a model's folder.

        Args:
            folder: a SavedModel, or a folder with a SavedModel for each version, named by its
                number. It may hold card.json.
            name: the model's name. With None it is the name on the card, or the folder's name if
                there is no card.

        Raises:
            InputError: there is no SavedModel, the card is not a JSON object with a name, or the
                name cannot be part of a URL.
        """
        if not folder.is_dir():
            raise InputError(f"MODEL_DIR must be a folder. Given: {folder}")
        folder = folder.absolute()  # replicas run in another directory
        path = folder if (folder / GRAPH).is_file() else _highest(folder)
        home = path.parent if path.name.isdecimal() else path
        name = name or _name_on_card(home / CARD) or home.resolve().name
        if not re.fullmatch(r"(?!\.+$)[\w.-]{1,100}", name, re.ASCII):
            raise InputError(
                f"a model's name must have 1 to 100 letters, digits, '.', '_' and '-', because it "
                f"is part of the URL. Given: {one_line(name, 60)}; set --name"
            )
        return cls(path, name, int(path.name) if path.name.isdecimal() else 1)


def card_beside(path: Path) -> dict[str, Any]:
    """Return the card in the folder of a SavedModel; {} if there is none that can be read."""
    try:
        with (path / CARD).open("rb") as file:
            return json_object(file.read(MOST_BYTES + 1))
    except (OSError, ValueError):  # the model is served without it
        return {}


def _highest(folder: Path) -> Path:
    versions = [path.parent for path in folder.glob(f"*/{GRAPH}") if path.parent.name.isdecimal()]
    if not versions:
        raise InputError(
            f"MODEL_DIR must hold a SavedModel: {GRAPH}, or {GRAPH} in a folder named by a "
            f"version's number. Given: {folder}"
        )
    return max(versions, key=lambda path: int(path.name))


def _name_on_card(card: Path) -> str | None:
    rule = f'{card} must be a JSON object with a "name" that is a text'
    try:
        with card.open("rb") as file:
            name = json_object(file.read(MOST_BYTES + 1)).get("name")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{card} must be a file that can be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError(f"{rule} ({one_line(str(error), 100)}); correct it") from None
    if not isinstance(name, str) or not name:
        raise InputError(f"{rule}; correct it")
    return name
