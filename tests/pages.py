"""Reads a page back: its visible text, and the data of its figures and its table; serves it."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from ffnet.report.page import live
from ffnet.report.page.parts import Part
from ffnet.run.folder import RunFolder


class Parsed(HTMLParser):
    """A page.

    Attributes:
        text: what a reader sees, without scripts and styles.
        data: the JSON of the figures and of the table of trials.
        tags: (tag, attributes) of all elements, in order.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._inside, self._text, self._data = "", list[str](), ""
        self.feed(path.read_text())
        self.close()
        self.text = " ".join(" ".join(self._text).split())
        self.data: dict[str, Any] = json.loads(self._data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = "data" if ("id", "data") in attrs else tag

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self._text.append(data)
        elif self._inside == "data":
            self._data += data

    def traces(self, key: str) -> list[dict[str, Any]]:
        """The traces of a figure, with lists for Plotly's coded arrays."""
        return [plain(trace) for trace in self.data["figures"][key]["data"]]

    def points(self, key: str) -> dict[int, tuple[Any, Any]]:
        """Trial → (x, y) in a figure with a point for each trial."""
        return {
            number: (x, y)
            for trace in self.traces(key)
            if "legendgroup" in trace
            for number, x, y in zip(trace["customdata"], trace["x"], trace["y"], strict=True)
        }

    def words(self) -> str:
        """The text without blanks between a number and a mark, for comparisons."""
        return re.sub(r"\s+([.,:;])", r"\1", self.text)


def plain(value: Any) -> Any:
    """Plotly's JSON with lists instead of coded arrays."""
    if isinstance(value, dict) and "bdata" in value:
        found = np.frombuffer(base64.b64decode(value["bdata"]), value["dtype"])
        shape = value.get("shape")
        return (found.reshape([int(n) for n in shape.split(",")]) if shape else found).tolist()
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


@contextmanager
def serving(run: RunFolder, measure: Callable[[], Part] | None = None) -> Iterator[live.Server]:
    """Serve the page of a run, in a thread."""
    with live.Server(run, 0, measure) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
